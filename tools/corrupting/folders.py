"""Logs to be damaged: each made by the library itself in a child process, the same bytes each time.

Invariant: a prepared folder comes with a model of what it holds, written down while it was made; the
truth that trials are judged by is checked against it once.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import traceback
from dataclasses import dataclass, field
from hashlib import blake2b
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from tools.harness.replacing import be_at_home_anywhere
from wal_runner import failpoints
from wal_runner.core.events import ItemInterrupted, SessionOpened
from wal_runner.log import folder as log_folder
from wal_runner.log.format import DATA_NAME, HEAD_NAME
from wal_runner.log.lmdb_log import LmdbLog
from wal_runner.recovery import recover
from wal_runner.recovery.compact import compact
from wal_runner.recovery.naming import set_key_rule
from wal_runner.recovery.recover import open_writer
from wal_runner.runner.options import RunOptions
from wal_runner.runner.run import Run


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from wal_runner.runner.attempt import Attempt

ITEMS: Final = 200
RUN: Final = 160
"""So many of the items are run while a folder is prepared; a trial's own run finds the rest pending."""

WINDOW: Final = 16
ELAPSED_NS: Final = 1_000
LONG: Final = "a long id, whose row goes by its hash, " + "x" * 280
LARGE: Final = "a result that fits no scratch slot, " * 30

Model = dict[str, tuple[str, Any]]
"""How each item stands after the next opening in place: (status word, result)."""


@dataclass(frozen=True)
class Prepared:
    """A log to be damaged: its *files* by relative path, and what is known of it.

    *kept* are data.mdb and HEAD at earlier moments, the oldest first. *crashed* says that a session
    died in it, so that the next opening has something to record. *unheard* is data.mdb as it was
    before a commit that was written and of which nobody heard, HEAD neither: to lose it is to lose nothing.
    """

    name: str
    files: Mapping[str, bytes]
    items: tuple[str, ...]
    model: Model
    kept: tuple[tuple[bytes, bytes], ...]
    crashed: bool
    unheard: bytes | None = None


@dataclass
class Life:
    """One session at a log that is being prepared, driven by hand so that each run gives the same bytes."""

    folder: Path
    aside: Path
    model: Model
    run: Run = field(init=False)

    def __post_init__(self) -> None:
        """Begin the session."""
        writer, _ = open_writer(self.folder)
        self.run = Run(writer, (), lambda _: None, RunOptions())
        self.run.begin()
        set_key_rule(writer, self.run._rule.name)  # noqa: SLF001 - as every run does first

    def start(self, ids: Sequence[str]) -> list[Attempt]:
        """Commit the outcomes so far and start *ids*."""
        started = self.run.dispatcher.commit(self.run.feed.classify(ids, ()))
        self.model.update((attempt.item_id, ("pending", None)) for attempt in started)
        return started

    def begin(self, attempts: Sequence[Attempt]) -> None:
        """Mark that fn runs: where the process dies now, the items are in doubt."""
        for attempt in attempts:
            self.run.dispatcher.begin(attempt)
            self.model[attempt.item_id] = ("in_doubt", None)

    def succeed(self, attempt: Attempt, result: object = None) -> None:
        """End an attempt well."""
        self.run.dispatcher.finish(attempt, self.run.execution.success(attempt.start_seq, ELAPSED_NS, result))
        self.model[attempt.item_id] = ("succeeded", result)

    def fail(self, attempt: Attempt, message: str = "no such mailbox") -> None:
        """End an attempt badly."""
        self.run.dispatcher.finish(
            attempt, self.run.execution.judge(attempt.start_seq, ELAPSED_NS, ValueError(message))
        )
        self.model[attempt.item_id] = ("failed", None)

    def doubt(self, attempt: Attempt) -> None:
        """Leave an attempt in doubt, on record."""
        self.run.dispatcher.finish(attempt, ItemInterrupted(attempt.start_seq, ELAPSED_NS, "timed out"))
        self.model[attempt.item_id] = ("in_doubt", None)

    def work(self, ids: Sequence[str], result_of: Callable[[str], object] = lambda _: None) -> None:
        """Run *ids* window by window: most succeed, some fail, a few are in doubt."""
        for window in _windows(ids):
            attempts = self.start(window)
            self.begin(attempts)
            for attempt in attempts:
                chance = blake2b(attempt.item_id.encode(), digest_size=1).digest()[0]
                if chance < 20:  # noqa: PLR2004 - of 256
                    self.fail(attempt)
                elif chance < 30:  # noqa: PLR2004
                    self.doubt(attempt)
                else:
                    self.succeed(attempt, result_of(attempt.item_id))
        self.run.dispatcher.flush()

    def snapshot(self) -> None:
        """Write a whole snapshot."""
        self.run.dispatcher.writer.take_snapshot()

    def keep(self) -> None:
        """Keep data.mdb and HEAD as they are now."""
        number = len(list(self.aside.glob("*.data")))
        shutil.copyfile(self.folder / DATA_NAME, self.aside / f"{number:02}.data")
        shutil.copyfile(self.folder / HEAD_NAME, self.aside / f"{number:02}.head")

    def close(self) -> None:
        """End the session in order."""
        self.run.dispatcher.writer.close()


# --- The logs ------------------------------------------------------------------------------

_IDS: Final = tuple(f"item-{number:03}" for number in range(ITEMS))
_NAMES: Final = tuple(
    f"{'é' if number % 7 == 0 else LONG if number % 11 == 0 else 'user'}-{number:03}" for number in range(ITEMS)
)


def _result_of(item_id: str) -> object:
    number = int(item_id[-3:])
    return {"sent": item_id, "parts": ["a", 1.5, None]} if number % 20 else [item_id, LARGE]


def _new(folder: Path, aside: Path, model: Model) -> None:
    """Make a log and run nothing."""
    life = Life(folder, aside, model)
    life.keep()
    life.close()


def _clean(folder: Path, aside: Path, model: Model) -> None:
    """Run in one session, which closes: all of it is tail."""
    life = Life(folder, aside, model)
    life.work(_IDS[:80])
    life.keep()
    life.work(_IDS[80:120])
    life.keep()
    life.work(_IDS[120:RUN])
    life.close()


def _snapshot(folder: Path, aside: Path, model: Model) -> None:
    """Run with two snapshots and a tail; some items failed before the second, and were run again."""
    life = Life(folder, aside, model)
    life.work(_IDS[:80])
    life.snapshot()
    life.keep()
    life.close()
    life = Life(folder, aside, model)
    for window in _windows([item_id for item_id, known in model.items() if known[0] == "failed"]):
        attempts = life.start(window)
        life.begin(attempts)
        for attempt in attempts:
            life.succeed(attempt, {"again": attempt.item_id})
    life.work(_IDS[80:120])
    life.keep()
    life.snapshot()
    life.keep()
    life.work(_IDS[120:RUN])
    life.close()


def _results(folder: Path, aside: Path, model: Model) -> None:
    """Keep results small and large, of ids in other alphabets and of ids that are too long for a key."""
    life = Life(folder, aside, model)
    life.work(_NAMES[:100], _result_of)
    life.keep()
    life.snapshot()
    life.work(_NAMES[100:RUN], _result_of)
    life.close()


def _compacted(folder: Path, aside: Path, model: Model) -> None:
    """Compact what was run, then run more."""
    life = Life(folder, aside, model)
    life.work(_IDS[:100])
    life.keep()
    life.close()
    compact(folder)
    life = Life(folder, aside, model)
    life.work(_IDS[100:RUN])
    life.keep()
    life.snapshot()
    life.close()
    compact(folder)
    life = Life(folder, aside, model)
    life.close()


def _killed(folder: Path, aside: Path, model: Model) -> None:
    """Die in mid-run: finished in all ways, begun, and armed items are in the slots only."""
    life = Life(folder, aside, model)
    life.work(_IDS[:100], _result_of)
    life.snapshot()
    life.keep()
    life.work(_IDS[100:120], _result_of)
    _leave_slots(life, _IDS[120:RUN])


def _killed_in_commit(folder: Path, aside: Path, model: Model) -> None:
    """Die between the commit and its mark in HEAD, which still says "writing"."""
    life = Life(folder, aside, model)
    life.work(_IDS[:120])
    life.keep()
    attempts = life.start(_IDS[120:140])
    life.begin(attempts)
    for attempt in attempts:
        life.succeed(attempt)
    shutil.copyfile(folder / DATA_NAME, aside / "unheard")
    failpoints.arm("commit.after_commit", lambda: _end(aside, model))
    model.update((item_id, ("pending", None)) for item_id in _IDS[140:RUN])
    life.start(_IDS[140:RUN])


def _two_sessions(folder: Path, aside: Path, model: Model) -> None:
    """Run in two processes at once; the second ends in order, the first dies with its slots."""
    life = Life(folder, aside, model)
    life.work(_IDS[:60])
    begun = life.start(_IDS[60:70])
    life.begin(begun)
    child = os.fork()
    if child == 0:
        try:
            beside = Life(folder, aside, {})
            beside.work(_IDS[60:110])
            beside.keep()
            beside.close()
            (aside / "beside").write_text(json.dumps(beside.model))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    told: Model = {
        item_id: (known[0], known[1]) for item_id, known in json.loads((aside / "beside").read_text()).items()
    }
    model.update(told)
    for attempt in begun[:5]:
        life.succeed(attempt)
    life.work(_IDS[110:130])
    life.snapshot()
    _leave_slots(life, _IDS[130:RUN])


LOGS: Final[dict[str, Callable[[Path, Path, Model], None]]] = {
    "new": _new,
    "clean": _clean,
    "snapshot": _snapshot,
    "results": _results,
    "compacted": _compacted,
    "killed": _killed,
    "killed in commit": _killed_in_commit,
    "two sessions": _two_sessions,
}


def prepare(name: str, scratch: Path, *, log_id: str = "") -> Prepared:
    """Make the log *name* in a child process, in a folder under *scratch*, and read it in."""
    home = scratch / "prepared"
    shutil.rmtree(home, ignore_errors=True)
    folder, aside = home / "log", home / "aside"
    aside.mkdir(parents=True)
    child = os.fork()
    if child == 0:
        model: Model = {}
        try:
            _be_repeatable(log_id or blake2b(name.encode(), digest_size=16).hexdigest())
            LOGS[name](folder, aside, model)
            _end(aside, model)
        except BaseException:  # noqa: BLE001 - told by the exit code
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the log {name!r} could not be prepared"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    kept = [(path.read_bytes(), path.with_suffix(".head").read_bytes()) for path in sorted(aside.glob("*.data"))]
    told = json.loads((aside / "model").read_text())
    unheard = (aside / "unheard").read_bytes() if (aside / "unheard").exists() else None
    shutil.rmtree(home)
    return Prepared(
        name=name,
        files=files,
        items=_NAMES if name == "results" else _IDS,
        model={item_id: (known[0], known[1]) for item_id, known in told.items()},
        kept=tuple(kept),
        crashed=any(path.startswith("sessions/") for path in files),
        unheard=unheard,
    )


# --- Helpers ---------------------------------------------------------------------------------


def _leave_slots(life: Life, ids: Sequence[str]) -> None:
    """Start *ids*, leave their outcomes in the slots, and never commit again."""
    attempts = life.start(ids)
    life.begin(attempts[:24])
    for attempt in attempts[:6]:
        life.succeed(attempt)
    for attempt in attempts[6:11]:
        life.succeed(attempt, {"id": attempt.item_id})
    for attempt in attempts[11:14]:
        life.fail(attempt)
    life.succeed(attempts[14], [attempts[14].item_id, LARGE])
    life.fail(attempts[15], LARGE)
    life.doubt(attempts[16])


def _end(aside: Path, model: Model) -> None:
    """Die as by SIGKILL: nothing is closed, nothing is flushed."""
    (aside / "model").write_text(json.dumps(model))
    os._exit(0)


def _be_repeatable(log_id: str) -> None:
    """Take from this process what differs from run to run: names by chance, clocks, pids."""
    stand_ins: dict[Any, dict[str, Any]] = {
        log_folder: {"secrets": SimpleNamespace(token_hex=lambda size: log_id[: 2 * size])},
        recover: {
            "_session_opened": lambda number, accepted: SessionOpened(
                number, "mailer", 4_321, "boot", ("walrun", "run"), "/srv", "mail", "0.1.0", "99", accepted
            )
        },
    }
    be_at_home_anywhere()
    for module, names in stand_ins.items():
        for name, stand_in in names.items():
            setattr(module, name, stand_in)
    clock = itertools.count(1_700_000_000_000_000_000, 1_000_000)
    defaults: Any = LmdbLog.__init__.__kwdefaults__
    defaults["clock_ns"] = clock.__next__


def _windows(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(ids), WINDOW):
        yield ids[at : at + WINDOW]
