"""Name the items of a run as they are pulled.

Imported by the feed. Invariant: each item is named once, when it is pulled; an id that the log cannot hold, or that
was promised to come once and comes twice, raises before the item is started.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from wal_runner.errors import DuplicateItem, ItemIdInvalid
from wal_runner.log.format import ITEM_ID_BYTES_MAX
from wal_runner.log.results import printable


if TYPE_CHECKING:
    from collections.abc import Callable

    from wal_runner.core.identity import KeyRule

ERROR_CHARS_READ: Final = 1_000

ON_ANOTHER_THREAD: Final = (
    "An asynchronous run reads a plain iterable, and calls key=, on one thread of its own. Give a list, or an async "
    "iterator, which is read in the event loop; or open what is bound to its thread inside of the iterable."
)
"""What to do if a source can be used only by the thread that made it, as a cursor of sqlite3."""


class Namer:
    """Applies the key rule of a run to its items, and checks the ids."""

    def __init__(self, rule: KeyRule, *, refuse_duplicates: bool, expect: Callable[[str], None] | None) -> None:
        self._id_of = rule.id_of
        self._seen: set[str] | None = set() if refuse_duplicates else None
        self._expect = expect
        self.takes_text_as_it_is = rule.is_item_itself and self._seen is None and expect is None
        """Whether plain text needs no call of `name`: it is its own id, and no check needs it."""

    def name(self, item: Any) -> str:  # noqa: ANN401 - the user's own
        """Return the id of *item*. Raise `ItemIdInvalid` if it is too long, `DuplicateItem` if it came before."""
        item_id = self._id_of(item)
        if len(item_id) > ITEM_ID_BYTES_MAX:
            raise ItemIdInvalid(
                f"An id of {len(item_id):,} characters is over the limit of {ITEM_ID_BYTES_MAX:,}. Name the item by "
                "something shorter, or by_content."
            )
        if self._seen is not None:
            if item_id in self._seen:
                raise DuplicateItem(
                    f'The source gave the id {item_id[:80]!r} twice. Remove one, or run with on_duplicate="skip".'
                )
            self._seen.add(item_id)
        if self._expect is not None:
            self._expect(item_id)
        return item_id


def explain_thread(error: BaseException) -> None:
    """Add what to do to an error that a source raised because it belongs to another thread."""
    if "thread" in printable(error, ERROR_CHARS_READ):
        with suppress(Exception):  # the exception is the user's
            error.add_note(ON_ANOTHER_THREAD)
