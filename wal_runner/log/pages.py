"""The pages of data.mdb, read and checked without LMDB.

Imported by `wal_runner.log.page_guard` and `wal_runner.log.page_walk`. Invariant: reads only, and every number
that a page holds is compared with its bounds before it is used. LMDB follows such numbers without a check and
answers a wrong one with SIGABRT or SIGBUS; a wrong key makes it miss a row that is there.
"""

from __future__ import annotations

import os
import struct
import zlib
from itertools import islice, pairwise
from operator import lt
from typing import TYPE_CHECKING, Final, NamedTuple

from wal_runner.log.format import EVENT_BYTES_MAX
from wal_runner.log.rows import CRC_RESIDUE
from wal_runner.log.uniform_rows import uniform_rows


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Comparable = Callable[[bytes], object]
    Rows = tuple[list[bytes], list[bytes]]

FIRST_PAGE: Final = 2
"""Pages 0 and 1 are the meta pages."""

NO_ROOT: Final = (1 << 64) - 1
KEY_BYTES_MAX: Final = 511
PAGE_BYTES_MAX: Final = 1 << 16
DEPTH_MAX: Final = 32
VALUE_BYTES_MAX: Final = EVENT_BYTES_MAX + 1024
"""No value of ours is larger; LMDB copies whatever a node claims."""

BRANCH: Final = 0x01
LEAF: Final = 0x02
OVERFLOW: Final = 0x04
META: Final = 0x08

BIG_VALUE: Final = 0x01
SUB_TREE: Final = 0x02

NUMBERS_AS_KEYS: Final = 0x08
ONE_FILE: Final = 0x4000
"""Stands with the flags of the free list and is about the file: it has no folder of its own."""

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_META_BYTES: Final = 152
_TXN_AT: Final = 144
_META: Final = struct.Struct("<Q 2x H 4x I I 8x 8x 48s 48s Q Q")
"""Page number, flags; magic, version; the free list's tree, the main tree, the last page, the transaction."""

_TREE: Final = struct.Struct("<I H H Q Q Q Q Q")
TREE_BYTES: Final = _TREE.size
_HEADER: Final = struct.Struct("<Q 2x H H H").unpack_from
"""Page number, flags, the end of the node pointers, the beginning of the nodes."""

_OVERFLOW_HEADER: Final = struct.Struct("<Q 2x H I").unpack_from
_HEADER_BYTES: Final = 16

_NODE: Final = struct.Struct("<I H H").unpack_from
"""The size of the value (or 32 bits of the child page), flags (or 16 more), the size of the key."""

_SMALL_NODE: Final = struct.Struct("<H I H").unpack_from
"""The same, for a node whose value is on its page: the field in the middle is 0 then."""

_NODE_BYTES: Final = 8
_PAGE_NUMBER: Final = struct.Struct("<Q").unpack_from


class PageDamaged(Exception):
    """A page that is not as LMDB writes it. The text says which and why."""


class RowDamaged(PageDamaged):
    """A row whose checksum does not fit; the page may be sound otherwise."""


class Tree(NamedTuple):
    """What a tree's record says of it."""

    page_bytes: int
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class Meta(NamedTuple):
    """A meta page, and the page size of the file."""

    page_bytes: int
    free: Tree
    main: Tree
    last_page: int
    txn: int


class Node(NamedTuple):
    """One entry of a leaf page; *value* is on the page, or the big value's page number and *size*."""

    key: bytes
    flags: int
    size: int
    value: bytes


class Branch(NamedTuple):
    """A branch page: child *i* holds the keys from keys[i] up to, and without, keys[i + 1]."""

    keys: list[bytes]
    children: tuple[int, ...]


def read_meta(descriptor: int) -> Meta:
    """Return the newest meta page. Raise `PageDamaged` unless both are as LMDB writes them.

    LMDB chooses by the transaction alone, so a turned bit there rolls a commit back; parity and the last page
    tell some of those.
    """
    first = _meta(os.pread(descriptor, _META_BYTES, 0), 0)
    second = _meta(os.pread(descriptor, _META_BYTES, first.page_bytes), 1)
    if first.page_bytes != second.page_bytes:
        raise PageDamaged("the meta pages name two page sizes")
    if (first.txn and first.txn % 2) or (second.txn and not second.txn % 2):
        raise PageDamaged("a meta page holds the other one's transaction")
    older, newest = sorted((first, second), key=lambda meta: meta.txn)
    if older.txn and newest.last_page < older.last_page:
        raise PageDamaged("the newest meta page says that the file has shrunk")
    if newest.last_page < FIRST_PAGE - 1:
        raise PageDamaged("the newest meta page says that there are no pages")
    # A flag too much is not noticed until the tree is written to, and then by an assertion of LMDB's.
    if newest.free.flags & ~ONE_FILE != NUMBERS_AS_KEYS:
        raise PageDamaged("the free list: is not of the kind that LMDB makes")
    if newest.main.flags or newest.main.page_bytes:
        raise PageDamaged("the main tree: is not of the kind that we make")
    return newest


def used_bytes(descriptor: int) -> int:
    """Return how far the pages in use reach by the newest meta page; 0 if it does not say."""
    try:
        meta = read_meta(descriptor)
    except (OSError, PageDamaged):
        return 0
    return (meta.last_page + 1) * meta.page_bytes


def _meta(content: bytes, number: int) -> Meta:
    if len(content) < _META_BYTES:
        raise PageDamaged(f"meta page {number} is cut short")
    stored, flags, magic, version, free, main, last_page, txn = _META.unpack(content)
    tree = read_tree(free)
    page_bytes = tree.page_bytes
    if stored != number or not flags & META or magic != _MAGIC or version != _VERSION:
        raise PageDamaged(f"page {number} is not a meta page")
    if not 512 <= page_bytes <= PAGE_BYTES_MAX // 2 or page_bytes & (page_bytes - 1):  # noqa: PLR2004 - LMDB's least
        raise PageDamaged(f"meta page {number} names a page of {page_bytes} bytes")
    return Meta(page_bytes, tree, read_tree(main), last_page, txn)


def read_tree(record: bytes) -> Tree:
    """Return the tree that a record of 48 bytes describes."""
    return Tree(*_TREE.unpack(record))


def native(key: bytes) -> int:
    """Return a key of the free list, which is a number as the machine has it."""
    return int.from_bytes(key, "little")


class PageFile:
    """The pages of one file, read one by one."""

    def __init__(self, descriptor: int, page_bytes: int) -> None:
        self.descriptor = descriptor
        self.page_bytes = page_bytes
        self.last_page = 0
        self._pointers: dict[int, Callable[[bytes, int], tuple[int, ...]]] = {}

    def page(self, number: int) -> bytes:
        """Return page *number*, or raise `PageDamaged` if there is no such page."""
        if not FIRST_PAGE <= number <= self.last_page:
            raise PageDamaged(f"page {number} is named, and the file uses {self.last_page + 1}")
        page = os.pread(self.descriptor, self.page_bytes, number * self.page_bytes)
        if len(page) != self.page_bytes:
            raise PageDamaged(f"page {number} is beyond the end of the file")
        return page

    def transaction(self) -> int:
        """Return the newest transaction. Both meta pages were checked before."""
        metas = os.pread(self.descriptor, self.page_bytes + _META_BYTES, 0)
        first, second = _PAGE_NUMBER(metas, _TXN_AT)[0], _PAGE_NUMBER(metas, self.page_bytes + _TXN_AT)[0]
        return int(max(first, second))

    def count(self, page: bytes) -> int:
        """Return how many nodes *page* has, which was checked."""
        return int(_HEADER(page)[2] - _HEADER_BYTES) // 2

    def is_plain(self, page: bytes) -> bool:
        """Return whether all values of *page*, a leaf that was checked, are on it."""
        offsets, _ = self._offsets(page, _PAGE_NUMBER(page)[0], LEAF)
        return not any(_SMALL_NODE(page, at)[1] for at in offsets)

    def branch(
        self, page: bytes, number: int, least: bytes | None, beyond: bytes | None, order: Comparable | None = None
    ) -> Branch:
        """Return branch *page*, checked: its own number, the bounds of its nodes, the order and range of its keys."""
        offsets, upper = self._offsets(page, number, BRANCH)
        if len(offsets) < 2:  # noqa: PLR2004 - LMDB's assertion
            raise PageDamaged(f"page {number} is a branch of one child")
        keys, children, total = [], [], 0
        for at in offsets:
            low, high, size = _NODE(page, at)
            keys.append(page[at + _NODE_BYTES : at + _NODE_BYTES + size])
            children.append(low | high << 32)
            total += (size + _NODE_BYTES + 1) & -2
        # The first key is not looked at: whatever is less than the second goes to the first child.
        self._check_keys(number, keys[1:], least, beyond, order)
        if total != self.page_bytes - upper or max(map(len, keys)) > KEY_BYTES_MAX:
            raise PageDamaged(f"page {number}: its nodes do not fill their room")
        keys[0] = b"" if least is None else least
        return Branch(keys, tuple(children))

    def sealed_rows(self, page: bytes, number: int, least: bytes | None, beyond: bytes | None) -> Rows:
        """Return the rows of leaf *page*, all of it checked, the checksum of each row too."""
        offsets, upper = self._offsets(page, number, LEAF)
        keys, values = uniform_rows(page, offsets, upper) or self._rows(page, number, offsets)
        if not all(map(lt, keys, islice(keys, 1, None))):
            raise PageDamaged(f"page {number}: its keys are not in order")
        if (least is not None and keys[0] < least) or (beyond is not None and keys[-1] >= beyond):
            raise PageDamaged(f"page {number} holds keys that a look-up seeks on another page")
        return keys, values

    def _rows(self, page: bytes, number: int, offsets: tuple[int, ...]) -> Rows:
        """Return the rows of any leaf, their checksums checked."""
        crc32, page_bytes = zlib.crc32, len(page)
        keys: list[bytes] = []
        values: list[bytes] = []
        add_key, add_value = keys.append, values.append
        for at in offsets:
            size, flags, end = _SMALL_NODE(page, at)
            start = at + _NODE_BYTES
            end += start
            until = end + size
            key = page[start:end]
            if flags:
                value = self._big_value(page, number, at)
                is_sound = crc32(value, crc32(key)) == CRC_RESIDUE
            else:
                value = page[end:until]
                # A key said to be longer, in the last node of the page: the slice ends where it did, and its sum fits.
                is_sound = until <= page_bytes and crc32(page[start:until]) == CRC_RESIDUE
            if not is_sound:
                raise RowDamaged(f"page {number}: the checksum of the row {key[:60]!r} does not fit")
            add_key(key)
            add_value(value)
        return keys, values

    def nodes(
        self, page: bytes, number: int, least: bytes | None, beyond: bytes | None, order: Comparable | None = None
    ) -> list[Node]:
        """Return the nodes of leaf *page*, checked but for what their values mean."""
        offsets, upper = self._offsets(page, number, LEAF)
        found, total = [], 0
        for at in offsets:
            size, flags, key_size = _NODE(page, at)
            start = at + _NODE_BYTES
            middle = start + key_size
            end = middle + (_NODE_BYTES if flags & BIG_VALUE else size)
            if end > len(page) or flags not in {0, BIG_VALUE, SUB_TREE}:
                raise PageDamaged(f"page {number}: a node reaches beyond its page")
            if flags & BIG_VALUE:
                self.check_big(_PAGE_NUMBER(page, middle)[0], size)
            found.append(Node(page[start:middle], flags, size, page[middle:end]))
            total += (end - at + 1) & -2
        if total != self.page_bytes - upper:
            raise PageDamaged(f"page {number}: its nodes do not fill their room")
        self._check_keys(number, [node.key for node in found], least, beyond, order)
        return found

    def check_ends(self, number: int, least: bytes | None, beyond: bytes | None, *, is_leaf: bool) -> None:
        """Check that page *number* is what its parent says: its kind, and that its keys lie in the parent's range.

        A child pointer with a turned bit may lead to another sound page, where a look-up misses every row.
        """
        page = self.page(number)
        offsets, _ = self._offsets(page, number, LEAF if is_leaf else BRANCH)
        ends = (offsets[0], offsets[-1]) if is_leaf else (offsets[min(1, len(offsets) - 1)], offsets[-1])
        keys = []
        for at in ends:
            size, flags, key_size = _NODE(page, at)
            start = at + _NODE_BYTES
            if is_leaf and start + key_size + (_NODE_BYTES if flags & BIG_VALUE else size) > len(page):
                raise PageDamaged(f"page {number}: a node reaches beyond its page")
            keys.append(page[start : start + key_size])
        if (least is not None and keys[0] < least) or (beyond is not None and keys[1] >= beyond):
            raise PageDamaged(f"page {number} holds keys that a look-up seeks on another page")

    def check_big(self, number: int, size: int) -> range:
        """Return the pages that hold a value of *size* bytes, or raise `PageDamaged` if they cannot."""
        if size > VALUE_BYTES_MAX:
            raise PageDamaged(f"page {number} is named for a value of {size:,} bytes")
        count = (_HEADER_BYTES + size - 1) // self.page_bytes + 1
        if not FIRST_PAGE <= number <= self.last_page + 1 - count:
            raise PageDamaged(f"page {number} is named for {count} pages, and the file uses {self.last_page + 1}")
        header = os.pread(self.descriptor, _HEADER_BYTES, number * self.page_bytes)
        if len(header) != _HEADER_BYTES or _OVERFLOW_HEADER(header) != (number, OVERFLOW, count):
            raise PageDamaged(f"page {number} does not begin a value of {size} bytes")
        return range(number, number + count)

    def big_value(self, number: int, size: int) -> bytes:
        """Return the value of *size* bytes that begins on page *number*."""
        self.check_big(number, size)
        value = os.pread(self.descriptor, size, number * self.page_bytes + _HEADER_BYTES)
        if len(value) != size:
            raise PageDamaged(f"page {number} is beyond the end of the file")
        return value

    def value_of(self, node: Node) -> bytes:
        """Return the value of *node*, wherever it is."""
        return self.big_value(_PAGE_NUMBER(node.value)[0], node.size) if node.flags & BIG_VALUE else node.value

    def pages_of(self, node: Node) -> range:
        """Return the pages that *node* has beside its own."""
        return self.check_big(_PAGE_NUMBER(node.value)[0], node.size) if node.flags & BIG_VALUE else range(0)

    def _big_value(self, page: bytes, number: int, at: int) -> bytes:
        size, flags, key_size = _NODE(page, at)
        middle = at + _NODE_BYTES + key_size
        if flags not in {0, BIG_VALUE} or middle + _NODE_BYTES > len(page) or not flags:
            raise PageDamaged(f"page {number}: a node reaches beyond its page")
        return self.big_value(_PAGE_NUMBER(page, middle)[0], size)

    def _offsets(self, page: bytes, number: int, kind: int) -> tuple[tuple[int, ...], int]:
        """Return where the nodes of *page* are, and where the first of them begins; its header is checked."""
        stored, flags, lower, upper = _HEADER(page)
        if stored != number or flags != kind:
            what = "branch" if kind == BRANCH else "leaf"
            raise PageDamaged(f"page {number} is not the {what} page that it should be")
        count = (lower - _HEADER_BYTES) // 2
        if count <= 0 or lower % 2 or not lower <= upper < len(page):
            raise PageDamaged(f"page {number}: its header is out of bounds")
        pointers = self._pointers.get(count)
        if pointers is None:
            pointers = self._pointers[count] = struct.Struct(f"<{count}H").unpack_from
        offsets = pointers(page, _HEADER_BYTES)
        if min(offsets) != upper or max(offsets) > len(page) - _NODE_BYTES:
            raise PageDamaged(f"page {number}: a node is out of bounds")
        return offsets, upper

    def _check_keys(
        self,
        number: int,
        keys: Sequence[bytes],
        least: bytes | None,
        beyond: bytes | None,
        order: Comparable | None,
    ) -> None:
        wanted: Sequence[object] = keys if order is None else list(map(order, keys))
        bounds = [bound if bound is None or order is None else order(bound) for bound in (least, beyond)]
        if any(not a < b for a, b in pairwise(wanted)):  # type: ignore[operator]
            raise PageDamaged(f"page {number}: its keys are not in order")
        if (bounds[0] is not None and wanted[0] < bounds[0]) or (bounds[1] is not None and wanted[-1] >= bounds[1]):  # type: ignore[operator]
            raise PageDamaged(f"page {number} holds keys that a look-up seeks on another page")


def free_pages(value: bytes, last_page: int) -> tuple[int, ...]:
    """Return the pages that one record of the free list names, or raise `PageDamaged`.

    LMDB copies as many as the first number says, and writes over each of them.
    """
    count = len(value) // 8 - 1
    if len(value) % 8 or count < 0:
        raise PageDamaged("the free list: a record is cut short")
    said, *numbers = struct.unpack(f"<{count + 1}Q", value)
    if said > count:
        raise PageDamaged("the free list: a record names more pages than it holds")
    numbers = numbers[:said]
    if numbers and (numbers[0] > last_page or numbers[-1] < FIRST_PAGE or not _is_descending(numbers)):
        raise PageDamaged("the free list: a record names pages out of order")
    return tuple(numbers)


def _is_descending(numbers: Iterable[int]) -> bool:
    before = 1 << 64
    for number in numbers:
        if number >= before:
            return False
        before = number
    return True
