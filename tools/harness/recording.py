"""Lives as they were recorded: lived under the interposer, read back, and held against what is really there."""

from __future__ import annotations

import errno
import random
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tools.harness import stream
from tools.harness.disk import Disk, differences
from tools.harness.interposer import Fault
from tools.harness.lives import LIVES
from tools.harness.nursery import Order, said_by
from tools.harness.stream import Entry, Kind


if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.harness.nursery import Nursery


FAILING: Final = "failing_"
"""Before the name of a life: one of its barriers fails."""

LATE: Final = "late_"
"""Before the name of a life: one write of LMDB's meta page fails, and is on the disk all the same, or not."""

NAMES: Final = (
    *LIVES,
    *(FAILING + life for life in ("windows", "results", "snapshots", "compaction", "sessions")),
    *(LATE + life for life in ("windows", "compaction", "sessions")),
)
"""Every life that can be recorded."""


class Recording(NamedTuple):
    """One life, call by call. *root* is the inode of the folder that was watched."""

    life: str
    seed: int
    root: int
    entries: list[Entry]
    path: Path

    @property
    def calls(self) -> int:
        """Give how many calls changed something, behind the one that failed where one did."""
        return sum(entry.kind is not Kind.MARK for entry in self.entries[self.first_of_interest :])

    @property
    def first_of_interest(self) -> int:
        """Give the number of the entry from which on states are looked at: other lives show what is before a fault."""
        return next((number for number, entry in enumerate(self.entries) if entry.kind is Kind.FAULT), 0)


class LifeFailed(Exception):
    """A life without a planted fault failed; the message is what it said."""


class RecorderBlind(Exception):
    """What is on the disk is not what the interposer saw: nothing built on the recording can be believed."""


def is_failing(life: str) -> bool:
    """Say whether a call of that life fails, drawn by chance."""
    return life.startswith((FAILING, LATE))


def record(nursery: Nursery, folder: Path, life: str, seed: int, *, planted: str = "") -> Recording:
    """Let *life* be lived in a new folder under *folder*, and give what was recorded.

    A life with a planted fault may fail; what happened until then is recorded all the same. One of which a call
    fails is lived twice: to see its calls, and to let one of them fail, by chance.
    """
    if not is_failing(life):
        return _record(nursery, folder, Order(life, "", "", seed, planted))
    base = life.removeprefix(FAILING).removeprefix(LATE)
    clean = _record(nursery, folder, Order(base, "", "", seed, planted))
    barriers = [entry for entry in clean.entries if entry.is_barrier]
    # The first third creates the log: little is promised by then.
    numbers: Sequence[int] = range(len(barriers) // 3, len(barriers))
    faults = [Fault.FAIL_ONCE, Fault.FAIL_LATE]
    if life.startswith(LATE):
        numbers, faults = [number for number in numbers if barriers[number].kind is Kind.WRITE], [Fault.FAIL_LATE]
    if not numbers:
        raise LifeFailed(f"{base} with seed {seed} has no barrier that could fail: the library does not sync")
    chance = random.Random(f"{seed} {life}")  # noqa: S311 - no secret
    order = Order(
        base,
        "",
        "",
        seed,
        planted,
        call=chance.choice(numbers),
        fault=chance.choice(faults),
        error=errno.EIO,
        barriers_only=True,
        forgiving=True,
    )
    return _record(nursery, folder, order)._replace(life=life)


def _record(nursery: Nursery, folder: Path, blank: Order) -> Recording:
    life, seed, planted = blank.life, blank.seed, blank.planted
    place = Path(tempfile.mkdtemp(prefix=f"{life}-", dir=folder))
    order = replace(blank, folder=str(place), stream=f"{place}.stream")
    code = nursery.live(order)
    if code != 0 and not planted:
        raise LifeFailed(f"{life} with seed {seed} ended with {code}:\n{said_by(order)}")
    found = Recording(life, seed, place.stat().st_ino, list(stream.read(Path(order.stream))), Path(order.stream))
    missed = differences(_replayed(found), contents(place))
    if missed:
        raise RecorderBlind(f"{life} with seed {seed}: {'; '.join(missed[:5])}")
    shutil.rmtree(place)
    return found


def keep(recording: Recording, folder: Path) -> Path:
    """Copy *recording* into *folder* under a name that tells what it is; give the path."""
    path = folder / f"{recording.life}-{recording.seed}-{recording.root}.stream"
    shutil.copyfile(recording.path, path)
    return path


def kept(path: Path) -> Recording:
    """Read a recording that `keep` wrote."""
    life, seed, root = path.stem.rsplit("-", 2)
    return Recording(life, int(seed), int(root), list(stream.read(path)), path)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Read everything under *folder*: paths to contents, None for folders."""
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


def _replayed(recording: Recording) -> Disk:
    disk = Disk(recording.root)
    for entry in recording.entries:
        disk.apply(entry)
    return disk
