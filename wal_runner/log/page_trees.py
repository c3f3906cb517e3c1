"""The trees of data.mdb as of its last commit, and the way down to a leaf.

Imported by `wal_runner.log.page_guard`, which checks what is passed on the way. Invariant: reads only, and a branch
page that is kept from an earlier transaction is compared with the file before it is used again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from wal_runner.log import pages
from wal_runner.log.pages import NO_ROOT, Branch, Meta, PageDamaged, PageFile, Tree


if TYPE_CHECKING:
    from collections.abc import Iterator

BRANCHES_HELD_MAX: Final = 4096
"""Parsed branch pages that are kept: some 20 KB each, and a table of 10 million rows has some 600."""


class Leaf(NamedTuple):
    """A leaf page by number, and the keys between which a look-up that comes there may be."""

    number: int
    least: bytes | None
    beyond: bytes | None


class Held(NamedTuple):
    """A branch page as it was parsed, with what it was parsed from."""

    page: bytes
    least: bytes | None
    beyond: bytes | None
    branch: Branch


class PageTrees:
    """The tables of one file by name, and the branch pages that were read of them."""

    def __init__(self, descriptor: int, page_bytes: int) -> None:
        """Begin with nothing read."""
        self._file = PageFile(descriptor, page_bytes)
        self._trees: dict[bytes, Tree] = {}
        self._txn = -1
        self._held: dict[int, Held] = {}
        self._fresh: set[int] = set()
        """The branch pages that are known to be as they are held, in this transaction."""

    def _tree(self, name: bytes) -> Tree:
        try:
            return self._trees[name]
        except KeyError:
            raise PageDamaged(f"the main tree: the table {name.decode()} is missing") from None

    def _read_meta(self) -> Meta:
        meta = pages.read_meta(self._file.descriptor)
        if meta.page_bytes != self._file.page_bytes:
            raise PageDamaged(f"the meta pages name pages of {meta.page_bytes} bytes")
        self._file.last_page = meta.last_page
        self._txn = meta.txn
        self._fresh.clear()
        if len(self._held) > BRANCHES_HELD_MAX:
            self._held.clear()
        self._trees = {
            node.key: read_table(node)
            for leaf in self._leaves(meta.main, b"", None)
            for node in self._file.nodes(self._file.page(leaf.number), *leaf)
        }
        return meta

    def _leaf(self, tree: Tree, key: bytes, *, before: bool = False) -> Leaf | None:
        """Return the leaf on which *key* is or would be; *before* that, the one that ends where *key* begins."""
        if tree.root == NO_ROOT:
            return None
        number, least, beyond = tree.root, None, None
        for level in range(tree.depth, 1, -1):
            keys, children = self._branch(Leaf(number, least, beyond), level, tree.depth)
            at = (bisect_left if before else bisect_right)(keys, key, 1) - 1
            number = children[at]
            if at:
                least = keys[at]
            if at + 1 < len(keys):
                beyond = keys[at + 1]
        return Leaf(number, least, beyond)

    def _leaves(self, tree: Tree, first: bytes, last: bytes | None, *, siblings: bool = False) -> Iterator[Leaf]:
        """Yield the leaves of *tree* from that of *first* to that of *last*, or to the end, in order."""
        if tree.root == NO_ROOT:
            return
        waiting = [(Leaf(tree.root, None, None), tree.depth)]
        while waiting:
            leaf, level = waiting.pop()
            if level <= 1:
                yield leaf
                continue
            keys, children = self._branch(leaf, level, tree.depth)
            start = bisect_right(keys, first, 1) - 1
            end = len(keys) - 1 if last is None else bisect_right(keys, last, 1) - 1
            bounds = [leaf.least, *keys[1:], leaf.beyond]
            below = [(Leaf(children[at], bounds[at], bounds[at + 1]), level - 1) for at in range(start, end + 1)]
            if siblings and level > 2:  # noqa: PLR2004 - whose children are branches
                for child, _ in below[:2]:
                    self._branch(child, level - 1, tree.depth)
            waiting += reversed(below)

    def _branch(self, place: Leaf, level: int, depth: int) -> Branch:
        """Return the branch page at *place*, checked."""
        number, least, beyond = place
        held = self._held.get(number)
        if held is not None and number in self._fresh and held.least == least and held.beyond == beyond:
            return held.branch
        if depth > pages.DEPTH_MAX:
            raise PageDamaged(f"a tree of {depth} levels")
        page = self._file.page(number)
        if held is None or held[:3] != (page, least, beyond):
            held = Held(page, least, beyond, self._file.branch(page, number, least, beyond))
            self._check_branch(number, held, is_leaf=level == 2)  # noqa: PLR2004 - the level above the leaves
            self._held[number] = held
        self._fresh.add(number)
        return held.branch

    def _check_branch(self, number: int, held: Held, *, is_leaf: bool) -> None:
        """Check a branch page that was not read before, or not as it is now; *is_leaf* says what its children are."""


def read_table(node: pages.Node) -> Tree:
    """Return the table that a node of the main tree describes, or raise `PageDamaged` if it is none of ours."""
    name = node.key.decode(errors="replace")
    if node.flags != pages.SUB_TREE or len(node.value) != pages.TREE_BYTES:
        raise PageDamaged(f"the main tree: {name} is not a table")
    tree = pages.read_tree(node.value)
    if tree.flags or tree.page_bytes:
        raise PageDamaged(f"{name}: is not of the kind that we make")
    if (tree.root == NO_ROOT) != (not tree.depth) or tree.depth > pages.DEPTH_MAX:
        raise PageDamaged(f"{name}: has a depth of {tree.depth} levels")
    return tree
