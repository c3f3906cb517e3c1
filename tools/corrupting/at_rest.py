"""Damage at rest in large logs: the size, time and inode of data.mdb are as HEAD remembers them.

Imported by the command line. Invariant: all items of a log are finished but the new ones among those asked for, so
whatever else runs is a redo; and a trial is told by its seed and number alone.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import lmdb

from tools.corrupting import judging, nursery
from tools.corrupting.folders import Prepared
from tools.corrupting.mutators import MUTATORS, Patient
from wal_runner import Runner
from wal_runner.core.arrays import SUCCEEDED, first_start
from wal_runner.errors import WalRunnerError
from wal_runner.log.format import ARCHIVE_NAME, DATA_NAME, HEAD_NAME, META_PLACE, META_TABLE, SESSIONS_NAME, TABLES_MAX
from wal_runner.log.head import open_head, read_head, write_head


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wal_runner.core.events import EventArray

SIZES: Final = (40_000, 1_000_000)
NEW_EVERY: Final = 997
"""Among the items asked for, one in so many is new; its absence must be proven too."""

ITEMS_A_TURN: Final = 5_000
TAIL_EVENTS_MAX: Final = 100
ELAPSED_NS: Final = 1_000

MUTATORS_AT_REST: Final = (
    "bit",
    "bit in a page header",
    "bit in a leaf",
    "bit in a value",
    "bit in a branch",
    "bit in a meta page",
    "8 random bytes",
    "zeroed sector",
    "zeroed page",
    "another page",
    "another page, renumbered",
)
"""What a disk does to a file by itself. An older version of a page is left out: see what the docs do not promise."""

IN_ORDER: Final = "in order"
SHUFFLED: Final = "shuffled"
ORDERS: Final = (IN_ORDER, SHUFFLED)


@dataclass(frozen=True)
class AtRest:
    """What was done to a large log, and what came of it."""

    number: int
    items: int
    order: str
    mutator: str
    did: str
    word: str
    why: str
    redone: int
    seconds: float


class LargeLogs:
    """Large logs, built once, of which one at a time is damaged in a folder under *home*."""

    def __init__(self, home: Path, built: Path, sizes: Sequence[int] = SIZES) -> None:
        """Read what `build` made in *built*; damage copies of it under *home*."""
        self.plant: Callable[[], None] = lambda: None
        self._folder = home / "large"
        self._content = {items: _read(built / str(items)) for items in sizes}
        self._asked = {(items, order): _asked(items, order) for items in sizes for order in ORDERS}
        nursery.settle_down()
        for items in sizes:
            for order in ORDERS:
                self._check_undamaged(items, order)

    def trial(self, seed: object, number: int, items: int, mutators: Sequence[str] = MUTATORS_AT_REST) -> AtRest:
        """Do trial *number* of *seed* on the log of *items*."""
        chance = random.Random(f"{seed}/{items}/{number}")  # noqa: S311 - it must be repeatable
        order = chance.choice(ORDERS)
        patient = self._patient(items)
        (name,) = chance.choices(mutators, [MUTATORS[name].weight for name in mutators])
        did = MUTATORS[name].damage(patient, chance)
        end = self._look(patient, items, order)
        word, why, redone = self._verdict(end, items, order)
        return AtRest(number, items, order, name, did or "nothing", word, why, redone, end.seconds)

    def _check_undamaged(self, items: int, order: str) -> None:
        end = self._look(self._patient(items), items, order)
        word, why, _ = self._verdict(end, items, order)
        assert word == judging.TRUE, f"the undamaged log of {items:,} items: {word} {why}"

    def _patient(self, items: int) -> Patient:
        files = self._content[items]
        prepared = Prepared("large", files, (), {}, (), crashed=False)
        return Patient(prepared, prepared, {name: bytearray(content) for name, content in files.items()})

    def _look(self, patient: Patient, items: int, order: str) -> nursery.End:
        self._lay_out(patient)
        asked = self._asked[items, order]

        def question() -> dict[str, Any]:
            self.plant()
            return _run(self._folder, asked)

        return nursery.ask(question, seconds_max=10 + items // 20_000)

    def _lay_out(self, patient: Patient) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        for folder in (self._folder, self._folder / SESSIONS_NAME, self._folder / ARCHIVE_NAME):
            folder.mkdir(mode=0o700)
        for name, content in patient.files.items():
            (self._folder / name).write_bytes(content)
        _remember(self._folder)

    def _verdict(self, end: nursery.End, items: int, order: str) -> tuple[str, str, int]:
        if end.signal:
            word = judging.UNBOUNDED if end.signal in judging.TIME_IS_UP else judging.SIGNAL
            return word, f"signal {end.signal} after {end.seconds:.1f} s", 0
        if end.value is None:
            return judging.UNBOUNDED, f"the process ended with {end.code}", 0
        called, error, is_ours = end.value["called"], end.value["error"], end.value["is_ours"]
        new = {item_id for item_id in self._asked[items, order] if _is_new(item_id)}
        redone = sorted(set(called) - new)
        if redone or len(set(called)) != len(called):
            return judging.WRONG, f"{len(redone)} redone: {redone[:3]}; {error}", max(len(redone), 1)
        if error:
            return judging.TYPED if is_ours else judging.UNTYPED, error, 0
        if set(called) != new:
            return judging.WRONG, f"{len(new - set(called))} new items did not run", 0
        return judging.TRUE, "", 0


def build(folder: Path, items: int) -> None:
    """Make a log of *items* that succeeded in *folder*, with the events of thousands in each commit."""
    runner = Runner(folder)
    writer = runner.writer
    runner.run([_id(0)], lambda _item: None, signals=False)  # which fixes the key rule, as every run does first
    for start in range(1, items, ITEMS_A_TURN):
        ids = [_id(number) for number in range(start, min(start + ITEMS_A_TURN, items))]
        events: list[EventArray] = [first_start(item_id) for item_id in ids]
        events += [(SUCCEEDED, len(ids), ELAPSED_NS)] * len(ids)
        writer.turn(lambda _turn, events=events: events)  # type: ignore[misc]
    # A snapshot that was under way stands for an earlier event: all items are to be found by their rows.
    while writer.state.seq - writer.state.snapshot_seq > TAIL_EVENTS_MAX:
        writer.take_snapshot()
    runner.close()
    _forget_place(folder)


def _forget_place(folder: Path) -> None:
    """Let the log be at home in whatever folder it is laid out: a damage is tried, and not a copy."""
    with lmdb.open(str(folder / DATA_NAME), subdir=False, max_dbs=TABLES_MAX, lock=False, map_size=1 << 30) as env:
        meta = env.open_db(META_TABLE, create=False)
        with env.begin(write=True) as txn:
            txn.delete(META_PLACE, db=meta)
    _remember(folder)


def _remember(folder: Path) -> None:
    """Let HEAD remember data.mdb as it is, as after a commit."""
    witness = read_head(folder / HEAD_NAME)
    assert witness is not None
    found = (folder / DATA_NAME).stat()
    descriptor = open_head(folder / HEAD_NAME)
    write_head(descriptor, witness._replace(inode=found.st_ino, size=found.st_size, mtime_ns=found.st_mtime_ns))
    os.close(descriptor)


def _id(number: int) -> str:
    return f"item-{number:08}"


def _is_new(item_id: str) -> bool:
    return item_id.endswith("+")


def _asked(items: int, order: str) -> list[str]:
    ids = [_id(number) for number in range(items)]
    ids += [f"{_id(number)}+" for number in range(0, items, NEW_EVERY)]
    ids.sort()
    if order == SHUFFLED:
        random.Random(items).shuffle(ids)  # noqa: S311 - it must be repeatable
    return ids


def _read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _run(folder: Path, asked: Sequence[str]) -> dict[str, Any]:
    """Run all of *asked* on the log in *folder*; say what fn was called for, and which error ended it."""
    logging.disable(logging.CRITICAL)
    called: list[str] = []
    try:
        with Runner(folder, must_exist=True) as runner:
            runner.run(asked, called.append, signals=False)
    except Exception as error:  # noqa: BLE001 - whatever comes is an answer
        is_ours = isinstance(error, WalRunnerError)
        return {"called": called, "error": str(error) if is_ours else traceback.format_exc(), "is_ours": is_ours}
    return {"called": called, "error": "", "is_ours": True}
