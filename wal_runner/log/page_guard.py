"""Pages of data.mdb, checked when this process first touches them.

Imported by the LMDB engine, which asks here before it lets LMDB near a page. Invariant: a page that LMDB visits
was checked here against its parent, or was written by wal_runner since the file was opened. So an item that LMDB
does not find is one that is not there, and a damaged page is `LogCorrupt`, not the end of the process.

`_marks` has a byte for each page that the file had when it was opened. Pages that were free then, and pages behind
the last one, can only have been written since. A writer checks a page before it copies or frees it, so a page
number that is given out again needs no new check.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from wal_runner.errors import RESTORE, LogCorrupt
from wal_runner.log import pages
from wal_runner.log.format import ITEMS_TABLE, LOG_TABLE, META_TABLE, OPEN_TABLE
from wal_runner.log.page_trees import Held, Leaf, PageTrees
from wal_runner.log.pages import NO_ROOT, PageDamaged, Tree


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wal_runner.log.pages import Rows

UNCHECKED: Final = 0
CHECKED: Final = 1
FREE: Final = 2

LEAVES_A_KEY: Final = 1 / 8
"""Keys are read by a walk over their leaves if there are at most so many leaves for each key."""

LEAVES_MORE: Final = 2


class PageGuard(PageTrees):
    """What of one open data.mdb was checked; see the module's docstring."""

    def __init__(self, path: Path, descriptor: int, page_bytes: int, *, trusts_all: bool) -> None:
        """Begin with nothing checked, or with *trusts_all* where the whole file was walked just now."""
        self.trusts_all = trusts_all
        """Whether no page needs a check any more."""
        super().__init__(descriptor, page_bytes)
        self._path = path
        self._marks = bytearray()
        self._expected_txn = -1
        self._began_txn = -1
        self._is_alone = True
        """Whether no other process has committed since: then every unchecked page is as it was at the opening."""
        self._complete: set[int] = set()
        """The branch pages above leaves, all of which were checked."""
        self._last: tuple[int, int, Rows] = (-1, -1, ([], []))
        """The transaction, number and rows of the leaf that was read last: where one walk ends, the next begins."""

    # --- At the opening, and between commits ---------------------------------------------------

    def begin(self) -> None:
        """Check what LMDB visits in any transaction: the meta pages, the trees' records, the free list, `meta`, `open`.

        Raise `LogCorrupt` if one of them is damaged.
        """
        with self._named():
            meta = self._read_meta()
            self._expected_txn = self._began_txn = self._txn
            if self.trusts_all:
                return
            self._marks = bytearray(self._file.last_page + 1)
            self._check_free_list(meta.free)
            self._check_all(meta.main, order=None, is_sealed=False)
            for name, tree in self._trees.items():
                if tree.root != NO_ROOT and self._mark_of(tree.root) != UNCHECKED:
                    raise PageDamaged(f"{name.decode(errors='replace')}: its root is a page of something else")
            for name in (META_TABLE, OPEN_TABLE):
                self._check_all(self._tree(name), order=None, is_sealed=name == OPEN_TABLE)
            self._check_last(self._tree(LOG_TABLE))

    def committed(self) -> None:
        """Note that this process has committed a transaction."""
        self._expected_txn += 1

    # --- Before a look-up --------------------------------------------------------------------

    def check_keys(self, keys: Sequence[bytes]) -> None:
        """Check the leaf of the items table on which each of *keys* is, or would be."""
        if not self.trusts_all:
            with self._named():
                tree = self._now(ITEMS_TABLE)
                if tree.root != NO_ROOT:
                    self._check_below(Leaf(tree.root, None, None), tree.depth, tree.depth, sorted(keys))

    def _check_below(self, place: Leaf, level: int, depth: int, wanted: Sequence[bytes]) -> None:
        """Check the leaves of *wanted*, which are in order and lie below *place*."""
        if level <= 1:
            self._check_leaf(place)
            return
        if place.number in self._complete and place.number in self._fresh:
            return
        keys, children = self._branch(place, level, depth)
        marks, known, last = self._marks, len(self._marks), len(keys) - 1
        start, count, is_complete = 0, len(wanted), level == 2  # noqa: PLR2004 - the level above the leaves
        while start < count:
            at = bisect_right(keys, wanted[start], 1) - 1
            beyond = place.beyond if at == last else keys[at + 1]
            end = count if at == last else bisect_left(wanted, keys[at + 1], start + 1)
            child = children[at]
            if level > 2 or (child < known and not marks[child]):  # noqa: PLR2004
                is_complete = False
                least = keys[at] if at else place.least
                self._check_below(Leaf(child, least, beyond), level - 1, depth, wanted[start:end])
            start = end
        if is_complete and all(child >= known or marks[child] for child in children):
            self._complete.add(place.number)

    def check_gap(self, first: bytes, last: bytes) -> None:
        """Check what proves that no row lies from *first* to *last*: their leaves, and the one behind the first."""
        if not self.trusts_all:
            with self._named():
                tree = self._now(ITEMS_TABLE)
                leaf = self._leaf(tree, first)
                self._check_leaf(leaf)
                # A cursor that finds nothing more on a leaf goes on to the next one.
                for key in {last} if leaf is None or leaf.beyond is None else {last, leaf.beyond}:
                    self._check_leaf(self._leaf(tree, key))

    def rows_of(self, keys: Sequence[bytes]) -> list[bytes | None] | None:
        """Return the stored rows of *keys*, which are in order, or None if they lie too far apart for a walk.

        Each leaf is read once and checked whole. That takes half the time of LMDB's cursor with a checksum
        for each row. Only what is committed is seen.
        """
        with self._named():
            tree = self._now(ITEMS_TABLE)
            if tree.root == NO_ROOT:
                return [None] * len(keys)
            leaves = []
            for leaf in self._leaves(tree, keys[0], keys[-1]):
                leaves.append(leaf)
                if len(leaves) > len(keys) * LEAVES_A_KEY + LEAVES_MORE:
                    return None
            values: list[bytes | None] = []
            for leaf in leaves:
                start = len(values)
                end = len(keys) if leaf.beyond is None else bisect_left(keys, leaf.beyond, start)
                wanted = keys[start:end]
                there, rows = self._rows(leaf)
                at = bisect_left(there, wanted[0]) if wanted else 0
                until = at + len(wanted)
                if there[at:until] == wanted:
                    values += rows[at:until]
                else:
                    values += map(dict(zip(there, rows, strict=True)).get, wanted)
        return values

    def _rows(self, leaf: Leaf) -> Rows:
        """Return the rows of *leaf*, checked."""
        txn, number, rows = self._last
        if leaf.number != number or txn != self._txn:
            rows = self._file.sealed_rows(self._file.page(leaf.number), *leaf)
            self._mark(leaf.number)
            self._last = (self._txn, leaf.number, rows)
        return rows

    # --- Before a walk, a deletion, a copy ------------------------------------------------------

    def check_from(self, name: bytes, key: bytes, rows: int, *, deletes: bool = False) -> None:
        """Check the leaves of table *name* from *key* on, until they hold *rows* rows, and one leaf more.

        With *deletes*, check the siblings that LMDB may merge with them too.
        """
        if self.trusts_all:
            return
        with self._named():
            tree = self._now(name)
            is_first = True
            for leaf in self._leaves(tree, key, None, siblings=deletes):
                page = self._file.page(leaf.number)
                self._check_leaf(leaf, page, is_sealed=name == ITEMS_TABLE)
                if rows <= 0:
                    return
                # Of the first leaf, all may lie before *key*.
                rows -= 0 if is_first else self._file.count(page)
                is_first = False

    def check_around(self, name: bytes, key: bytes) -> None:
        """Check the leaf of table *name* on which *key* is or would be, and those on both sides of it."""
        if self.trusts_all:
            return
        with self._named():
            tree = self._now(name)
            leaf = self._leaf(tree, key)
            if leaf is None:
                return
            for near in (
                leaf,
                None if leaf.least is None else self._leaf(tree, leaf.least, before=True),
                None if leaf.beyond is None else self._leaf(tree, leaf.beyond),
            ):
                self._check_leaf(near, is_sealed=name == ITEMS_TABLE)

    def check_everything(self) -> None:
        """Check every page that was not checked yet: before a copy of all tables."""
        if self.trusts_all:
            return
        with self._named():
            for name in self._trees:
                tree = self._now(name)
                for leaf in self._leaves(tree, b"", None):
                    self._check_leaf(leaf, is_sealed=name == ITEMS_TABLE)
        self.trusts_all = self._is_alone

    # --- Trees as of the last commit ------------------------------------------------------------

    def _now(self, name: bytes) -> Tree:
        """Return the table *name* as of the last commit."""
        if self._file.transaction() != self._txn:
            self._read_meta()
            if self._txn != self._expected_txn:
                self._is_alone = False
                self._expected_txn = self._txn
        return self._tree(name)

    def _check_free_list(self, tree: Tree) -> None:
        for number in self._check_all(tree, order=pages.native, is_sealed=False, is_free_list=True):
            if self._marks[number] != UNCHECKED:
                raise PageDamaged(f"the free list: page {number} is in use, or named twice")
            self._marks[number] = FREE

    def _check_all(
        self, tree: Tree, *, order: pages.Comparable | None, is_sealed: bool, is_free_list: bool = False
    ) -> list[int]:
        """Check every page of *tree*, which is small; return the pages that it names if it is the free list."""
        named: list[int] = []
        if tree.root == NO_ROOT:
            return named
        waiting = [(Leaf(tree.root, None, None), tree.depth)]
        while waiting:
            (number, least, beyond), level = waiting.pop()
            page = self._file.page(number)
            if self._mark_of(number) != UNCHECKED:
                raise PageDamaged(f"page {number} is in use for something else")
            self._mark(number)
            if level > 1:
                keys, children = self._file.branch(page, number, least, beyond, order)
                bounds = [least, *keys[1:], beyond]
                waiting += [(Leaf(child, bounds[at], bounds[at + 1]), level - 1) for at, child in enumerate(children)]
            elif is_sealed:
                self._file.sealed_rows(page, number, least, beyond)
            else:
                for node in self._file.nodes(page, number, least, beyond, order):
                    for taken in self._file.pages_of(node):
                        self._mark(taken)
                    if is_free_list:
                        named += pages.free_pages(self._file.value_of(node), self._file.last_page)
        return named

    def _check_last(self, tree: Tree) -> None:
        """Check the way to the last leaf of *tree*, to which LMDB appends."""
        if tree.root != NO_ROOT:
            leaf = Leaf(tree.root, None, None)
            for level in range(tree.depth, 1, -1):
                branch = self._branch(leaf, level, tree.depth)
                leaf = Leaf(branch.children[-1], branch.keys[-1], leaf.beyond)
            self._check_leaf(leaf, is_sealed=False)

    def _check_branch(self, number: int, held: Held, *, is_leaf: bool) -> None:
        """Check that the children of a branch page that was not checked yet are its own."""
        self._complete.discard(number)
        if self._mark_of(number) != UNCHECKED:
            return
        _, least, beyond, (keys, children) = held
        bounds = [least, *keys[1:], beyond]
        for at, child in enumerate(children):
            if self._mark_of(child) != UNCHECKED:
                if self._txn == self._began_txn:
                    # A page of this age leads to no page that was free then, or that another page led to. After a
                    # commit of ours it may be a new page, in the place of one that was never looked at.
                    raise PageDamaged(f"page {child} is named twice, or free")
                if child < len(self._marks):
                    self._marks[child] = UNCHECKED
            self._file.check_ends(child, bounds[at], bounds[at + 1], is_leaf=is_leaf)
        self._mark(number)

    def _check_leaf(self, leaf: Leaf | None, page: bytes | None = None, *, is_sealed: bool = True) -> None:
        """Check *leaf* if it was not; *page* is its content where the caller has read it."""
        if leaf is None or self._mark_of(leaf.number) != UNCHECKED:
            return
        page = page or self._file.page(leaf.number)
        if is_sealed:
            self._file.sealed_rows(page, *leaf)
        else:
            self._file.nodes(page, *leaf)
        self._mark(leaf.number)

    def _mark_of(self, number: int) -> int:
        return self._marks[number] if number < len(self._marks) else FREE

    def _mark(self, number: int) -> None:
        if number < len(self._marks) and self._marks[number] == UNCHECKED:
            self._marks[number] = CHECKED

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except PageDamaged as error:
            raise LogCorrupt(
                f"{self._path} is damaged: {error}. Do not run anything on it: finished items would be done again. "
                f"Run `walrun verify`. {RESTORE}"
            ) from error
