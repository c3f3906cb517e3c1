"""What the interposer wrote down: the calls of a life, and its marks, in the order in which they happened.

The layout and the kinds are those of ``interposer.c``.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENTRY: Final = struct.Struct("=IIIIQQQQII")


class Kind(IntEnum):
    """What an entry is about."""

    WRITE = 1
    SYNC = 2
    SIZE = 3
    CREATE = 4
    MKDIR = 5
    LINK = 6
    UNLINK = 7
    RMDIR = 8
    RENAME = 9
    STORE = 10
    MARK = 11
    FAULT = 12


AT_ONCE_DURABLE: Final = 1
"""Flag of a WRITE: the descriptor was opened with O_DSYNC, so the write is durable when it returns."""

SHRINKS: Final = 2


class Entry(NamedTuple):
    """One call that changed something, or one mark. See ``struct entry`` in ``interposer.c``."""

    kind: Kind
    flags: int
    pid: int
    inode: int
    folder: int
    place: int
    size: int
    name: str
    new_name: str
    data: bytes

    @property
    def is_barrier(self) -> bool:
        """Say whether the call returned when the disk had the data."""
        return self.kind is Kind.SYNC or (self.kind is Kind.WRITE and bool(self.flags & AT_ONCE_DURABLE))

    @property
    def mark(self) -> Any:  # noqa: ANN401 - whatever the witness said
        """Give what a MARK says."""
        return msgpack.unpackb(self.data, use_list=False, strict_map_key=False)


def read(path: Path) -> Iterator[Entry]:
    """Give the entries of the stream at *path*."""
    content = path.read_bytes()
    at = 0
    while at < len(content):
        kind, flags, pid, name_bytes, inode, folder, place, size, new_name_bytes, data_bytes = _ENTRY.unpack_from(
            content, at
        )
        at += _ENTRY.size
        name, new_name, data = (
            content[at : at + name_bytes],
            content[at + name_bytes : at + name_bytes + new_name_bytes],
            content[at + name_bytes + new_name_bytes : at + name_bytes + new_name_bytes + data_bytes],
        )
        at += name_bytes + new_name_bytes + data_bytes
        yield Entry(Kind(kind), flags, pid, inode, folder, place, size, name.decode(), new_name.decode(), data)
