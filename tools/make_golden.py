"""Write the golden logs of format 2 that are not there yet, each as one file of hex text.

python tools/make_golden.py

What is written once is never changed: tests/golden/test_golden_v2.py opens each log for ever, so that a log
which is on a disk today is read by every version to come. A feature that stores something new adds a log to
tests/golden/expected_v2.py, and the version that introduces it writes it with this tool. Files that are there are
not overwritten. Format 1 is complete: tests/golden/v1 was written by version 0.1.0.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING


ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.golden.expected_v2 import LOGS, PLACES, T0, Golden  # noqa: E402 - found by the line above
from wal_runner.core.state import State  # noqa: E402
from wal_runner.log.codec import encode_records, first_chain  # noqa: E402
from wal_runner.log.folder import create_folder, read_identity  # noqa: E402
from wal_runner.log.lmdb_log import LmdbLog  # noqa: E402


if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = ROOT / "tests" / "golden" / "v2"
LOG_ID = "00" * 16
LINE_CHARS = 100
WHOLE_FILES = ("IDENTITY", "data.mdb", "GATE", ".gitignore")


def main() -> int:
    """Write what is missing; return 1 if nothing is."""
    FOLDER.mkdir(exist_ok=True)
    missing = [name for name in LOGS if not (FOLDER / f"{name}.hex").exists()]
    for name in missing:
        write(FOLDER / f"{name}.hex", (line for pair in whole_log(LOGS[name]).items() for line in lines_of(*pair)))
    if not (FOLDER / "places.records").exists():
        write(FOLDER / "places.records", places())
        missing.append("places")
    if not missing:
        print(
            f"All logs are in {FOLDER}. Golden files are never changed: a log like them is on somebody's disk. If "
            "bytes differ now, the format has changed; then raise FORMAT_VERSION, and read both.",
            file=sys.stderr,
        )
        return 1
    print(f"Wrote {', '.join(missing)} to {FOLDER}. Commit them, and never change them.")
    return 0


def whole_log(golden: Golden) -> dict[str, bytes]:
    """Make the log in a folder, with a snapshot before its last record, and return its files."""
    times = itertools.count(T0)
    state = State()
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent) / "golden.wal"
        create_folder(path)
        log = LmdbLog(path, read_identity(path), read_only=False, clock_ns=times.__next__)
        stored = golden.stored()
        for first_seq, session, _, events in stored:
            with log.exclusive(first_seq - 1) as turn:
                turn.require_format(2, ())
                turn.append(session, events)
                for record in turn.appended:
                    state.apply(record)
                if first_seq == stored[-2][0]:
                    turn.put_rows(sorted(state.items.items()), seconds_max=60.0)
                    turn.put_snapshot(state)
        log.rewrite()
        log.close()
        return {name: (path / name).read_bytes() for name in WHOLE_FILES}


def places() -> Iterator[str]:
    """Yield the records of what has a place only, each as its first seq and its bytes; none follows another."""
    for seq, events in enumerate(PLACES, 10):
        [(_, value)] = encode_records(events, first_seq=seq, session=1, time_ns=T0, previous=first_chain(LOG_ID))
        yield f"{seq} {value.hex()}"


def lines_of(name: str, content: bytes) -> Iterator[str]:
    """Yield the compressed *content* of the file *name*, cut into lines."""
    code = zlib.compress(content, 9).hex()
    yield from (f"{name} {code[at : at + LINE_CHARS]}" for at in range(0, len(code), LINE_CHARS))


def write(path: Path, lines: Iterator[str]) -> None:
    """Write a golden file, which is not there yet."""
    with path.open("x") as file:
        file.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
