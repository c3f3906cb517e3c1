"""Every page of data.mdb, walked without LMDB.

Imported by the LMDB engine, for a file that something else may have changed, and by verification. Invariant: reads
only. A file in which the walk finds nothing has each of its pages in one place, and each key where a look-up seeks it.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from wal_runner.log import pages
from wal_runner.log.format import ITEMS_TABLE
from wal_runner.log.page_trees import read_table
from wal_runner.log.pages import FIRST_PAGE, NO_ROOT, PageDamaged, PageFile, RowDamaged, Tree
from wal_runner.log.rows import SUM_MODULUS, stored_checksum


if TYPE_CHECKING:
    from wal_runner.log.pages import Comparable, Node

WALK_ERRORS: Final = (OSError, ValueError, IndexError, RecursionError, OverflowError, MemoryError, struct.error)
"""What a walk over damaged pages may raise beside `PageDamaged`."""

UNWRITTEN_PAGES_MAX: Final = 1 << 16

_FREE_LIST: Final = "the free list"
_MAIN: Final = "the main tree"


class Walked(NamedTuple):
    """What a walk found: the first *problem* of the structure, the first of the rows, and what the rows add up to."""

    problem: str = ""
    row_problem: str = ""
    sums: tuple[int, int] = (0, 0)


def walk(descriptor: int) -> Walked:
    """Walk all pages of the file behind *descriptor* and return what was found. Raise nothing."""
    try:
        return _Walk(descriptor).all()
    except PageDamaged as error:
        return Walked(str(error))
    except WALK_ERRORS as error:
        return Walked(f"its pages cannot be walked ({type(error).__name__}: {error})")


class _Walk:
    def __init__(self, descriptor: int) -> None:
        self._meta = pages.read_meta(descriptor)
        self._file = PageFile(descriptor, self._meta.page_bytes)
        last_page = self._meta.last_page
        in_file = os.fstat(descriptor).st_size // self._meta.page_bytes
        # A free page at the end may never have been written. Memory is taken for each page that is claimed.
        if last_page >= in_file + max(in_file, UNWRITTEN_PAGES_MAX):
            raise PageDamaged(f"the meta page says that {last_page + 1} pages are in use, and the file has {in_file}")
        self._file.last_page = last_page
        self._seen = bytearray(last_page + 1)
        self._seen[:FIRST_PAGE] = b"\1" * FIRST_PAGE
        self._tables: dict[str, Tree] = {}
        self._free: list[int] = []
        self._row_problem = ""
        self._count = self._total = 0

    def all(self) -> Walked:
        self._tree(_FREE_LIST, self._meta.free, pages.native)
        self._tree(_MAIN, self._meta.main)
        for name, tree in self._tables.items():
            self._tree(name, tree)
        for number in self._free:
            self._take(number)
        if (lost := self._seen.find(0)) >= 0:
            raise PageDamaged(f"page {lost} is neither in use nor free")
        return Walked("", self._row_problem, (self._count, self._total % SUM_MODULUS))

    def _tree(self, name: str, tree: Tree, order: Comparable | None = None) -> None:
        """Check every page of *tree*, and that its record says how many there are."""
        if (tree.root == NO_ROOT) != (not tree.depth) or tree.depth > pages.DEPTH_MAX:
            raise PageDamaged(f"{name}: has a depth of {tree.depth} levels")
        branches = leaves = bigs = entries = 0
        waiting = [] if tree.root == NO_ROOT else [(tree.root, None, None, tree.depth)]
        while waiting:
            number, least, beyond, level = waiting.pop()
            page = self._file.page(number)
            self._take(number)
            try:
                if level > 1:
                    branches += 1
                    keys, children = self._file.branch(page, number, least, beyond, order)
                    bounds: list[bytes | None] = [least, *keys[1:], beyond]
                    waiting += [(child, bounds[i], bounds[i + 1], level - 1) for i, child in enumerate(children)]  # type: ignore[misc]
                    continue
                leaves += 1
                if name == ITEMS_TABLE.decode():
                    found = self._rows(page, number, least, beyond)
                    entries += found[0]
                    bigs += found[1]
                else:
                    nodes = self._file.nodes(page, number, least, beyond, order)
                    entries += len(nodes)
                    bigs += sum(self._node(name, node) for node in nodes)
            except PageDamaged as error:
                raise PageDamaged(f"{name}: {error}") from None
        counted = (branches, leaves, bigs, entries)
        if counted != tree[3:7]:
            raise PageDamaged(f"{name}: has {counted} branches, leaves, other pages and entries, and says {tree[3:7]}")

    def _rows(self, page: bytes, number: int, least: bytes | None, beyond: bytes | None) -> tuple[int, int]:
        """Check the rows of one leaf; return how many there are, and how many pages they have beside it."""
        count = self._file.count(page)
        try:
            _, values = self._file.sealed_rows(page, number, least, beyond)
        except RowDamaged as error:
            self._row_problem = self._row_problem or str(error)
        else:
            self._count += count
            self._total += sum(map(stored_checksum, values))
            if self._file.is_plain(page):
                return count, 0
        nodes = self._file.nodes(page, number, least, beyond)
        return count, sum(self._node("", node) for node in nodes)

    def _node(self, name: str, node: Node) -> int:
        """Check what *node* has beside its page; return how many pages that is."""
        taken = self._file.pages_of(node)
        for number in taken:
            self._take(number)
        if name == _FREE_LIST:
            self._free += pages.free_pages(self._file.value_of(node), self._meta.last_page)
        elif name == _MAIN:
            self._tables[node.key.decode(errors="replace")] = read_table(node)
        elif node.flags & pages.SUB_TREE:
            raise PageDamaged("a table inside a table")
        return len(taken)

    def _take(self, number: int) -> None:
        if self._seen[number]:
            raise PageDamaged(f"page {number} is in use twice, or in use and free")
        self._seen[number] = 1
