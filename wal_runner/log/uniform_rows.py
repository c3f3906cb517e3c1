"""The rows of a leaf whose nodes are of one size, read without a step for each of them.

Imported by `wal_runner.log.pages`. Invariant: what it returns is sound; what is unsound, or only unusual, it leaves to
its caller.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from wal_runner.log.rows import CRC_RESIDUE


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD_BYTES: Final = 8
_HEAD: Final = struct.Struct("<H I H").unpack_from
"""The size of the value, which is on the page if the next field is 0; that field; the size of the key."""


def uniform_rows(page: bytes, offsets: tuple[int, ...], upper: int) -> tuple[list[bytes], list[bytes]] | None:
    """Return the keys and values of leaf *page*; None if its nodes differ in size, were not appended, or are unsound.

    *offsets* are its node pointers, *upper* is the least of them; the page's header was checked. The checksum of each
    row fits. The order of the keys is not looked at. Most leaves of most logs are such leaves, and a rerun passes every
    row through here: it takes a third of the instructions of a loop over the nodes.
    """
    size, flags, key_bytes = _HEAD(page, upper)
    row_bytes = key_bytes + size
    node_bytes = (HEAD_BYTES + row_bytes + 1) & -2
    # LMDB puts each node below the one before it.
    if flags or offsets != tuple(range(len(page) - node_bytes, upper - 1, -node_bytes)):
        return None
    heads, rows = zip(*_layout(row_bytes)(page[upper:]), strict=True)
    if set(heads) != {page[upper : upper + HEAD_BYTES]} or set(map(zlib.crc32, rows)) != {CRC_RESIDUE}:
        return None
    rows = rows[::-1]
    return [row[:key_bytes] for row in rows], [row[key_bytes:] for row in rows]


@lru_cache(maxsize=256)
def _layout(row_bytes: int) -> Callable[[bytes], Iterator[tuple[bytes, bytes]]]:
    """Return what cuts the nodes of rows of *row_bytes* each into head and row; LMDB pads them to even sizes."""
    return struct.Struct(f"<{HEAD_BYTES}s{row_bytes}s{row_bytes % 2}x").iter_unpack
