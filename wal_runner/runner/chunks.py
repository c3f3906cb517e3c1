"""What the feed pulls and looks up at a time, and what comes of it.

Imported by the feed, and by those that start its candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wal_runner.core.events import Status
from wal_runner.log.format import ITEM_ID_BYTES_MAX
from wal_runner.log.rows import statuses_in


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wal_runner.core.items import ItemState
    from wal_runner.runner.pages import Page

_SUCCEEDED: Final = int(Status.SUCCEEDED)


NOT_LOOKED_UP: Final = -1
"""Replaces the generation in which a candidate was looked up."""


class Candidate(NamedTuple):
    """An item that may be started: looked up already, decided about in the turn that starts it."""

    item: Any
    item_id: str
    known: ItemState | None
    generation: int
    page: Page | None = None


class Looked(NamedTuple):
    """A chunk of the source, and what is known of its items: rows of the state, stored rows of the rest."""

    chunk: Sequence[Any]
    pages: Sequence[Page | None]
    ids: Sequence[str]
    rows: Sequence[Any]
    values: Iterator[bytes | None]
    generation: int


class Chunk(NamedTuple):
    """Items that were pulled, with their pages if there are any, and their ids unless all are to be named later."""

    items: list[Any]
    pages: list[Page | None]
    ids: list[str]

    def drop_unlike(self, is_as_named: Callable[[object, str], bool]) -> None:
        """Take out the items that are not what their ids name."""
        for index in reversed(range(len(self.items))):
            if not is_as_named(self.items[index], self.ids[index]):
                del self.items[index], self.ids[index], self.pages[index : index + 1]


def is_plain_text(chunk: Sequence[Any]) -> bool:
    """Say whether every item is text that is its own id: what `item_id` returns as it is."""
    return (
        set(map(type, chunk)) == {str}
        and all(map(str.isascii, chunk))
        and 0 < min(map(len, chunk)) <= max(map(len, chunk)) <= ITEM_ID_BYTES_MAX
    )


def are_all_done(values: Sequence[bytes | None]) -> bool:
    """Say whether every stored row is that of an item that succeeded."""
    return statuses_in(values) == {_SUCCEEDED}
