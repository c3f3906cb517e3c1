"""Write the golden files of the current format: what is stored of a history, as hex text.

python tools/make_golden.py

Once written they are never changed: tests/golden/test_golden.py decodes them forever, so that a log
which is on a disk today is read by every version to come. Files that are there are not overwritten; a
new format has a folder of its own.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING


ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.golden.expected import RECORDS, ROWS, SNAPSHOT_AT  # noqa: E402 - found by the line above
from wal_runner.core.state import State, fold  # noqa: E402
from wal_runner.log.codec import encode_records, first_chain  # noqa: E402
from wal_runner.log.folder import create_folder, read_identity  # noqa: E402
from wal_runner.log.format import FORMAT_FIRST, META_BASE_STATE, META_SNAPSHOT  # noqa: E402
from wal_runner.log.lmdb_log import LmdbLog  # noqa: E402
from wal_runner.log.rows import encode_row, row_key  # noqa: E402
from wal_runner.log.stored_state import encode_base_state, encode_open, encode_snapshot  # noqa: E402


if TYPE_CHECKING:
    from collections.abc import Iterable

    from wal_runner.core.events import Record

FOLDER = ROOT / "tests" / "golden" / f"v{FORMAT_FIRST}"
LOG_ID = "00" * 16
LINE_CHARS = 100
WHOLE_FILES = ("IDENTITY", "data.mdb", "GATE", ".gitignore")


def main() -> int:
    """Write the files, or refuse."""
    if FOLDER.exists():
        print(
            f"{FOLDER} is there. Golden files are never changed: a log like them is on somebody's disk. If bytes "
            "differ now, the format has changed; then it is a new format, and both are read.",
            file=sys.stderr,
        )
        return 1
    FOLDER.mkdir()
    stored = records()
    state = fold(record for record, _ in stored if record.last_seq <= SNAPSHOT_AT)
    write("records.hex", ((str(record.first_seq), value.hex()) for record, value in stored))
    write("rows.hex", ((row_key(i).hex(), encode_row(row_key(i), i, row).hex()) for i, row in ROWS.items()))
    write("snapshot.hex", snapshot(fold(record for record, _ in stored if record.last_seq <= OPEN_AT)))
    for name, content in whole_log(state).items():
        write(f"log-{name.lstrip('.')}.hex", ((line,) for line in lines_of(zlib.compress(content, 9).hex())))
    print(f"Wrote {FOLDER}. Commit it, and never change it.")
    return 0


OPEN_AT = 22
"""Here two attempts are in doubt and two are started."""


def records() -> list[tuple[Record, bytes]]:
    """Encode the history, a record each, chained."""
    made: list[tuple[Record, bytes]] = []
    previous = first_chain(LOG_ID)
    for first_seq, session, time_ns, events in RECORDS:
        encoded = encode_records(events, first_seq=first_seq, session=session, time_ns=time_ns, previous=previous)
        assert len(encoded) == 1, "each stands for one record"
        made += encoded
        previous = encoded[0][0].chain
    return made


def snapshot(state: State) -> Iterable[tuple[str, str]]:
    """Encode what a snapshot holds beside its rows, and what a replay begins with."""
    yield "snapshot", encode_snapshot(META_SNAPSHOT, state).hex()
    yield "base_state", encode_base_state(META_BASE_STATE, state).hex()
    for start_seq, row in state.open.items():
        key = start_seq.to_bytes(8, "big")
        yield key.hex(), encode_open(key, row).hex()


def whole_log(state: State) -> dict[str, bytes]:
    """Make a log of the history in a folder, with a snapshot of *state* in it."""
    times = itertools.cycle(time_ns for _, _, time_ns, _ in RECORDS)
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent) / "golden.wal"
        create_folder(path)
        log = LmdbLog(path, read_identity(path), read_only=False, clock_ns=times.__next__)
        for first_seq, session, _, events in RECORDS:
            with log.exclusive(first_seq - 1) as turn:
                turn.append(session, events)
                if turn.end == SNAPSHOT_AT:
                    state.chain = turn.appended[-1].chain
                    turn.put_rows(sorted(state.items.items()), seconds_max=60.0)
                    turn.put_snapshot(state)
        log.rewrite()
        log.close()
        files = {name: (path / name).read_bytes() for name in WHOLE_FILES}
        shutil.rmtree(path)
    return files


def lines_of(text: str) -> list[str]:
    """Cut *text* into lines."""
    return [text[at : at + LINE_CHARS] for at in range(0, len(text), LINE_CHARS)]


def write(name: str, lines: Iterable[tuple[str, ...]]) -> None:
    """Write a file of the folder."""
    (FOLDER / name).write_text("".join(" ".join(line) + "\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
