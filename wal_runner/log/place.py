"""Where a log was last used: the inodes of its GATE and of its folder, kept in the log itself.

Imported by the LMDB engine. Invariant: a rename, a bind mount, a remount, a crash and a compaction leave a log at its
place; `cp`, rsync, tar and a restore do not. A copy that is run repeats what the original did since, and does what the
original does at the same time.

A device number is no part of it: it may change with each boot. The generation of an inode is, where the file system
tells it: ext4 gives a restored folder the numbers of the deleted one (measured), and another generation.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from wal_runner.log.files import opened_folder
from wal_runner.log.filesystems import has_lasting_inodes
from wal_runner.log.format import META_PLACE
from wal_runner.log.rows import pack, unpack_fields
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from pathlib import Path

logger = ShieldedLogger(__name__)

_GET_GENERATION: Final = 0x8008_7601
"""FS_IOC_GETVERSION of Linux: ``_IOR('v', 1, long)``. The kernel fills in 32 bits."""

_GENERATION: Final = struct.Struct("=I4x")


class Place(NamedTuple):
    """Inode numbers and generations. A generation is 0 where the file system does not tell it."""

    gate: int
    gate_generation: int
    folder: int
    folder_generation: int

    def is_at(self, other: Place) -> bool:
        """Return whether both are one place. A generation that is not known is not compared."""
        return (
            (self.gate, self.folder) == (other.gate, other.folder)
            and _same(self.gate_generation, other.gate_generation)
            and _same(self.folder_generation, other.folder_generation)
        )

    def __str__(self) -> str:
        return f"{self.folder}.{self.folder_generation}/{self.gate}.{self.gate_generation}"


def place_of(folder: Path, gate: int) -> Place:
    """Return the place of the log in *folder*, whose GATE is open as the descriptor *gate*. Raises OSError."""
    with opened_folder(folder) as opened:
        return Place(os.fstat(gate).st_ino, _generation(gate), os.fstat(opened).st_ino, _generation(opened))


def stored_place(value: bytes | None) -> Place | None:
    """Return the place that the log says it was last used at; None in a log from before places were kept."""
    return None if value is None else Place(*unpack_fields(META_PLACE, value, int, int, int, int))


def packed_place(place: Place) -> bytes:
    """Return what is stored under `META_PLACE`."""
    return pack(META_PLACE, tuple(place))


def copied_from(folder: Path, stored: Place | None, here: Place) -> str:
    """Return where the log in *folder*, which is *here*, was last used, if that is elsewhere; else "".

    Always "" on a file system whose inode numbers do not last, because there nobody can know.
    """
    return str(stored) if stored is not None and not stored.is_at(here) and has_lasting_inodes(folder) else ""


def warn_if_unknown(folder: Path, stored: Place | None, here: Place) -> None:
    """Log one warning if *folder* is not at its place on a file system that cannot tell what that means."""
    if stored is not None and not stored.is_at(here) and not has_lasting_inodes(folder):
        logger.warning(
            "%s is on a file system whose inode numbers do not last (vfat, exfat, FUSE, overlay), so nobody can tell "
            "whether it is a copy of the log that ran last. Running an older copy repeats what was done since.",
            folder,
        )


def _same(one: int, other: int) -> bool:
    return not one or not other or one == other


def _generation(descriptor: int) -> int:
    try:
        found: tuple[int] = _GENERATION.unpack(fcntl.ioctl(descriptor, _GET_GENERATION, bytes(_GENERATION.size)))
    except OSError:
        return 0
    return found[0]
