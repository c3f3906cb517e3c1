"""LMDB 0.9 pages, as far as a mutator must know them to hit what matters.

Invariant: reads bytes only; nothing here opens the file with LMDB.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = 4096
SECTOR: Final = 512
META_PAGES: Final = 2
HEADER_BYTES: Final = 16
NODE_BYTES: Final = 8
BRANCH: Final = 0x01
LEAF: Final = 0x02
OVERFLOW: Final = 0x04

_LAST_PAGE_AT: Final = 136
_TXN_AT: Final = 144


def transaction(content: bytes | bytearray, meta: int) -> int:
    """Give the transaction id in meta page 0 or 1."""
    (number,) = struct.unpack_from("<Q", content, meta * PAGE + _TXN_AT)
    return int(number)


def newest_meta(content: bytes | bytearray) -> int:
    """Give which of the two meta pages LMDB goes by."""
    return int(transaction(content, 1) > transaction(content, 0))


def used_pages(content: bytes | bytearray) -> int:
    """Give how many pages of the file LMDB uses; what is behind is room kept free."""
    (last,) = struct.unpack_from("<Q", content, newest_meta(content) * PAGE + _LAST_PAGE_AT)
    return int(last) + 1


def kind(content: bytes | bytearray, page: int) -> int:
    """Give the flags of a page."""
    (flags,) = struct.unpack_from("<H", content, page * PAGE + 10)
    return int(flags)


def pages_of(content: bytes | bytearray, wanted: int) -> list[int]:
    """Give the pages of a kind, stale ones that are free by now included."""
    return [page for page in range(META_PAGES, used_pages(content)) if kind(content, page) & wanted]


def nodes(content: bytes | bytearray, page: int) -> Iterator[tuple[int, int, int]]:
    """Give (where its key is, how long the key is, how long its value is) of each node of a leaf or branch page."""
    start = page * PAGE
    (lower,) = struct.unpack_from("<H", content, start + 12)
    for at in range(HEADER_BYTES, lower, 2):
        (offset,) = struct.unpack_from("<H", content, start + at)
        low, high, _, size = struct.unpack_from("<HHHH", content, start + offset)
        yield start + offset + NODE_BYTES, size, low | high << 16
