"""Look at msgpack without unpacking it: which ext types stand in it, and how many values.

Imported by `wal_runner.log.tags` and `wal_runner.log.results`. Invariant: nothing is allocated for
what the bytes announce. *nested* are the numbers of the ext types whose payload is msgpack, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Container, Iterator

# By first byte: how many bytes of the value follow it, or how many bytes say that.
_SIZES: Final = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_TEXT_WIDTHS: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAY_WIDTHS: Final = {0xDC: 2, 0xDD: 4}
_MAP_WIDTHS: Final = {0xDE: 2, 0xDF: 4}
_FIX_EXT: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_EXT_WIDTHS: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_TIMESTAMP: Final = 0xFF
_TIMESTAMP_BYTE: Final = b"\xff"
_TIMESTAMPS: Final = (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff")


EXT_MARKS: Final = frozenset((*_FIX_EXT, *_EXT_WIDTHS))
"""The first byte of each ext type."""


def ext_header(packed: bytes) -> tuple[int, int, int]:
    """Return the number of the ext type that *packed* begins with, its size, and where its payload begins."""
    width = _EXT_WIDTHS.get(packed[0], 0)
    if len(packed) < width + 2:
        raise ValueError("an ext type without a number")
    size = _FIX_EXT.get(packed[0]) or int.from_bytes(packed[1 : 1 + width], "big")
    return packed[1 + width], size, width + 2


def has_many_elements(packed: bytes, nested: Container[int], most: int) -> bool:
    """Say whether arrays and maps in *packed* announce more than *most* values in all.

    Lists of nothing take sixty times their packed size in memory, and an array's header alone makes
    the unpacker allocate what it announces.
    """
    left = most
    for announced, _ in _walk(packed, nested):
        left -= announced
        if left < 0:
            return True
    return False


def refuse_timestamps(packed: bytes, nested: Container[int]) -> None:
    """Raise ValueError for msgpack's own ext type -1, which is read without asking an ``ext_hook``."""
    if _TIMESTAMP_BYTE not in packed or not any(mark in packed for mark in _TIMESTAMPS):
        return
    # A text may hold these bytes, too.
    if any(number == _TIMESTAMP for _, number in _walk(packed, nested)):
        raise ValueError("an ext type -1, which is not a result tag")


def _walk(packed: bytes, nested: Container[int]) -> Iterator[tuple[int, int]]:
    """Yield (values announced, ext type or 0) for each array, map and ext type.

    What is not msgpack is walked wrongly, and then refused by the unpacker where it begins.
    """
    at, end = 0, len(packed)
    while at < end:
        mark = packed[at]
        at += 1
        if mark < 0x80 or mark >= 0xE0:  # noqa: PLR2004 - small ints
            continue
        if mark < 0x90:  # noqa: PLR2004 - a short map
            yield 2 * (mark & 0x0F), 0
        elif mark < 0xA0:  # noqa: PLR2004 - a short array
            yield mark & 0x0F, 0
        elif mark < 0xC0:  # noqa: PLR2004 - a short text
            at += mark & 0x1F
        elif mark in EXT_MARKS:
            width = _EXT_WIDTHS.get(mark, 0)
            size = _FIX_EXT.get(mark) or int.from_bytes(packed[at : at + width], "big")
            at += width
            number = packed[at] if at < end else 0
            yield 0, number
            at += 1 if number in nested else 1 + size
        elif mark in _TEXT_WIDTHS:
            width = _TEXT_WIDTHS[mark]
            at += width + int.from_bytes(packed[at : at + width], "big")
        elif mark in _ARRAY_WIDTHS or mark in _MAP_WIDTHS:
            width = _ARRAY_WIDTHS.get(mark) or _MAP_WIDTHS[mark]
            yield int.from_bytes(packed[at : at + width], "big") * (2 if mark in _MAP_WIDTHS else 1), 0
            at += width
        else:
            at += _SIZES.get(mark, 0)
