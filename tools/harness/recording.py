"""Lives as they were recorded: lived under the interposer, read back, and held against what is really there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tools.harness import stream
from tools.harness.disk import Disk, differences
from tools.harness.nursery import Order, said_by
from tools.harness.stream import Entry, Kind


if TYPE_CHECKING:
    from tools.harness.nursery import Nursery


class Recording(NamedTuple):
    """One life, call by call. *root* is the inode of the folder that was watched."""

    life: str
    seed: int
    root: int
    entries: list[Entry]
    path: Path

    @property
    def calls(self) -> int:
        """Give how many calls changed something."""
        return sum(entry.kind is not Kind.MARK for entry in self.entries)


class LifeFailed(Exception):
    """A life without a planted fault failed; the message is what it said."""


class RecorderBlind(Exception):
    """What is on the disk is not what the interposer saw: nothing built on the recording can be believed."""


def record(nursery: Nursery, folder: Path, life: str, seed: int, *, planted: str = "") -> Recording:
    """Let *life* be lived in a new folder under *folder*, and give what was recorded.

    A life with a planted fault may fail; what happened until then is recorded all the same.
    """
    place = folder / f"{life}-{seed}-{planted}"
    place.mkdir()
    order = Order(life, str(place), f"{place}.stream", seed, planted)
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
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")
    }


def _replayed(recording: Recording) -> Disk:
    disk = Disk(recording.root)
    for entry in recording.entries:
        disk.apply(entry)
    return disk
