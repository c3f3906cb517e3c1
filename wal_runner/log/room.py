"""Room ahead: disk space that is ours before anything is started.

Imported by the LMDB engine, inside the gate. Invariant: when an item has been started, the disk
holds room for an outcome of 4 KB already, so a disk that fills up meanwhile loses nothing. Larger ones
use what is kept beside, and else wait in the session's slots until there is space.

A ballast file that is deleted in need was tried and works only after a failed commit, and others
can take the space; blocks allocated past the end of data.mdb cannot be taken (measured).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from wal_runner.errors import DiskFull, StorageFailed
from wal_runner.log.format import ROOM_AN_ITEM_BYTES, ROOM_FLOOR_BYTES


if TYPE_CHECKING:
    from pathlib import Path

GROWTH_BYTES_MIN = 64 * 1024
GROWTH_BYTES_MAX = 1024 * 1024
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_SUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


def reserve(data: Path, descriptor: int, *, used_bytes: int, running: int) -> None:
    """Make the file reach far enough beyond *used_bytes*, or raise `DiskFull`."""
    wanted = used_bytes + ROOM_FLOOR_BYTES + running * ROOM_AN_ITEM_BYTES
    size = os.fstat(descriptor).st_size
    if size >= wanted:
        return
    # Some more than needed, so that this is not done at every commit.
    growth = min(max(used_bytes // 8, GROWTH_BYTES_MIN), GROWTH_BYTES_MAX)
    try:
        _allocate(descriptor, size, wanted + growth)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise StorageFailed(f"The disk of {data} gave no room: {error.strerror}. Look at the disk.") from error
        try:
            _allocate(descriptor, size, wanted)
        except OSError as last:
            if last.errno not in _NO_ROOM:
                raise StorageFailed(f"The disk of {data} gave no room: {last.strerror}. Look at the disk.") from last
            raise DiskFull(
                f"The disk of {data} has no room for the outcomes of {running} more running items. Nothing more was "
                "started. Free some space, then run the same again."
            ) from last


def _allocate(descriptor: int, start: int, end: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, start, end - start)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
        else:
            return
    # macOS has no posix_fallocate. Zeros past the last page in use are never read by LMDB.
    block = bytes(64 * 1024)
    while start < end:
        start += os.pwrite(descriptor, block[: end - start], start)
