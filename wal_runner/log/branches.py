"""The branch pages of data.mdb, and whether they lead to the keys that the leaves hold.

Imported by `wal_runner.log.structure`, which has made sure before that the pages themselves are sound.
Invariant: reads only. A bit that turned in a branch page's key leaves everything in order, and leads a
look-up past the row that it wants: the item would be new, and be done again. `lmdb.verify` does not ask,
and whoever reads all rows in order finds them all.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

from wal_runner.log.files import open_file


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Key = Callable[[bytes], object]

_PAGE_SIZE_AT: Final = 40
_META: Final = struct.Struct("<16x 4x 4x 8x 8x 48s 48s Q Q")
"""The page's header, magic, version, address and map size; the free list's tree, the main tree, the last page,
the transaction."""

_TREE: Final = struct.Struct("<I H H Q Q Q Q Q")
"""Padding, flags, depth, three counts of pages, entries, root."""

_PAGE: Final = struct.Struct("<Q H H H H")
"""Page number, padding, flags, the end of the node pointers, the beginning of the nodes."""

_NODE: Final = struct.Struct("<H H H H")
"""The child page or the size of the data (32 bits), flags or 16 more bits of the page, the size of the key."""

_PAGE_BYTES_MAX: Final = 1 << 16
_HEADER_BYTES: Final = 16
_BRANCH: Final = 0x01
_SUB_TREE: Final = 0x02
_NO_ROOT: Final = (1 << 64) - 1

_NUMBERS_AS_KEYS: Final = 0x08
_ONE_FILE: Final = 0x4000
"""Stands with the flags of the free list, and is about the file: it has no folder of its own."""


def misleading_branches(data: Path) -> Iterator[str]:
    """Give what is wrong with the ways that the branch pages of *data* show.

    The pages must have been walked before: what is out of bounds here raises struct.error or IndexError.
    """
    descriptor = open_file(data.parent, data.name)
    try:
        yield from _Trees(descriptor).problems()
    finally:
        os.close(descriptor)


def used_bytes(data: Path) -> int:
    """Give how far the pages in use reach by the newest meta page; 0 where it does not say."""
    descriptor = open_file(data.parent, data.name)
    try:
        trees = _Trees(descriptor)
        return trees.pages * trees.page_bytes
    except (OSError, struct.error):
        return 0
    finally:
        os.close(descriptor)


class _Trees:
    """The trees of one file, as of its newest meta page."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.page_bytes = int.from_bytes(os.pread(descriptor, 4, _PAGE_SIZE_AT), "little")
        if self.page_bytes > _PAGE_BYTES_MAX:
            raise struct.error(f"a page of {self.page_bytes} bytes")
        metas = [_META.unpack_from(self._page(number)) for number in (0, 1)]
        self._free, self._main, last_page, _ = max(metas, key=lambda meta: int(meta[-1]))
        self.pages = int(last_page) + 1

    def problems(self) -> Iterator[str]:
        # A flag too much is not noticed until the tree is written to, and then by an assertion of LMDB's.
        if _TREE.unpack(self._free)[1] & ~_ONE_FILE != _NUMBERS_AS_KEYS:
            yield "the free list: is not of the kind that LMDB makes"
        yield from self._tree("the free list", self._free, _native)
        for name, tree in [("the main tree", self._main), *self._sub_trees()]:
            if _TREE.unpack(tree)[1]:
                yield f"{name}: is not of the kind that we make"
            yield from self._tree(name, tree, bytes)

    def _sub_trees(self) -> Iterator[tuple[str, bytes]]:
        waiting = [root] if (root := _TREE.unpack(self._main)[-1]) != _NO_ROOT else []
        while waiting:
            page = self._page(waiting.pop())
            is_branch, nodes = _nodes(page)
            for child, flags, at, size in nodes:
                if is_branch:
                    waiting.append(child)
                elif flags & _SUB_TREE:
                    yield page[at : at + size].decode(errors="replace"), page[at + size : at + size + _TREE.size]

    def _tree(self, name: str, tree: bytes, key_of: Key) -> Iterator[str]:
        root = _TREE.unpack(tree)[-1]
        if root == _NO_ROOT:
            return
        # Page, and the keys between which a look-up that comes there may be: the first belongs to it.
        waiting: list[tuple[int, bytes | None, bytes | None]] = [(root, None, None)]
        while waiting:
            number, least, beyond = waiting.pop()
            page = self._page(number)
            is_branch, nodes = _nodes(page)
            keys = [page[at : at + size] for _, _, at, size in (nodes if is_branch else (nodes[0], nodes[-1]))]
            # The first key of a branch is empty: whatever is less than the second goes there.
            inside = keys[1:] if is_branch else keys
            if any(not _is_between(key, least, beyond, key_of) for key in inside):
                yield f"{name}: page {number} holds keys that a look-up seeks on another page"
            elif is_branch:
                bounds = [least, *inside, beyond]
                waiting += [(node[0], bounds[i], bounds[i + 1]) for i, node in enumerate(nodes)]

    def _page(self, number: int) -> bytes:
        return os.pread(self._descriptor, self.page_bytes, number * self.page_bytes)


def _nodes(page: bytes) -> tuple[bool, list[tuple[int, int, int, int]]]:
    """Say whether it is a branch page; give (child, flags, where the key is, its size) of each node."""
    _, _, flags, lower, _ = _PAGE.unpack_from(page)
    found = []
    for (offset,) in struct.iter_unpack("<H", page[_HEADER_BYTES:lower]):
        low, high, node_flags, size = _NODE.unpack_from(page, offset)
        found.append((low | high << 16 | node_flags << 32, node_flags, offset + _NODE.size, size))
    return bool(flags & _BRANCH), found


def _is_between(key: bytes, least: bytes | None, beyond: bytes | None, key_of: Key) -> bool:
    own: object = key_of(key)
    return not (least is not None and own < key_of(least)) and not (beyond is not None and own >= key_of(beyond))  # type: ignore[operator]


def _native(key: bytes) -> int:
    """Give a key of the free list, which is a number as the machine has it."""
    return int.from_bytes(key, "little")
