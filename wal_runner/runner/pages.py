"""Paged sources: which cursor may be saved when.

Imported by the feed and the dispatcher. Invariant: a page's next cursor is saved in the transaction
that settles the last of its items, never before; so a crash resumes in the page where it happened.
The cursor serves crash resume only: it is cleared when the source ends.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from wal_runner.core.events import CursorAdvanced
from wal_runner.errors import CursorInvalid, LogCorrupt
from wal_runner.log.results import decode_plain, encode_plain


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    FetchPage = Callable[[Any, int], tuple[Iterable[Any], Any]]
    FetchPageAsync = Callable[[Any, int], Awaitable[tuple[Iterable[Any], Any]]]

CURSOR_BYTES_MAX: Final = 64 * 1024
_PAIR: Final = 2


class Page:
    """One page of a source: how many of its items are unsettled, and where the next page begins."""

    __slots__ = ("closed", "next_cursor", "unsettled")

    def __init__(self) -> None:
        self.unsettled = 0
        self.closed = False
        self.next_cursor: bytes | None = None


class Pages:
    """The pages of one source that are under way, in order.

    The source is read in one thread, and what ran is committed in another.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.ended = False
        self._current = Page()
        self._under_way: deque[Page] = deque([self._current])
        self._lock = threading.RLock()

    def take(self) -> Page:
        """Count an item that was just pulled as unsettled, and give its page.

        At once, and not when it is looked up: the page may be read to its end, and an outcome be
        committed, in between; its cursor would be saved before its items had run.
        """
        with self._lock:
            self._current.unsettled += 1
            return self._current

    def settle(self, pages: Iterable[Page | None]) -> None:
        """Count one item of each of *pages* as settled: it ran, or needs no run."""
        with self._lock:
            for page in pages:
                if page is not None:
                    page.unsettled -= 1

    def turn_page(self, next_cursor: bytes | None) -> None:
        """Note that the current page was read to its end, and begin the next."""
        with self._lock:
            self._current.next_cursor = next_cursor
            self._current.closed = True
            self.ended = next_cursor is None
            self._current = Page()
            self._under_way.append(self._current)

    def due(self, settling: Iterable[Page | None]) -> tuple[list[CursorAdvanced], int]:
        """Give the event for the pages that are done once *settling* are, and how many those are."""
        being_settled: dict[int, int] = {}
        for page in settling:
            if page is not None:
                being_settled[id(page)] = being_settled.get(id(page), 0) + 1
        done = 0
        cursor: bytes | None = None
        with self._lock:
            for page in self._under_way:
                if not page.closed or page.unsettled - being_settled.get(id(page), 0) > 0:
                    break
                done, cursor = done + 1, page.next_cursor
        # Only the last of them counts; a crash resumes there.
        return ([CursorAdvanced(self.source, cursor)] if done else []), done

    def passed(self, count: int) -> None:
        """Forget *count* pages whose event is durable."""
        with self._lock:
            for _ in range(count):
                self._under_way.popleft()


def pack_cursor(cursor: object) -> bytes:
    """Pack a cursor for the log, or raise `CursorInvalid`."""
    packed, why = encode_plain(cursor, CURSOR_BYTES_MAX)
    if packed is None:
        raise CursorInvalid(
            f"The cursor {cursor!r:.80} cannot be stored ({why}). Let fetch_page return text, a number or a list of "
            "these."
        )
    return packed


def unpack_cursor(packed: bytes) -> Any:  # noqa: ANN401 - whatever fetch_page returned
    """Give back what `pack_cursor` packed."""
    try:
        return decode_plain(packed)
    except LogCorrupt as error:
        raise CursorInvalid(f"The stored cursor cannot be read ({error}). Run `walrun verify`.") from error


def read_pages(fetch: FetchPage, size: int, cursor: bytes | None, pages: Pages) -> Iterator[Any]:
    """Give the items of all pages from *cursor* on, telling *pages* when one is at its end."""
    following = None if cursor is None else unpack_cursor(cursor)
    while True:
        items, following = _checked(fetch(following, size))
        yield from items
        pages.turn_page(None if following is None else pack_cursor(following))
        if following is None:
            return


async def read_pages_async(fetch: FetchPageAsync, size: int, cursor: bytes | None, pages: Pages) -> AsyncIterator[Any]:
    """As `read_pages`, for a coroutine function."""
    following = None if cursor is None else unpack_cursor(cursor)
    while True:
        items, following = _checked(await fetch(following, size))
        for item in items:
            yield item
        pages.turn_page(None if following is None else pack_cursor(following))
        if following is None:
            return


def _checked(answer: object) -> tuple[Iterable[Any], Any]:
    if not isinstance(answer, tuple) or len(answer) != _PAIR:
        raise CursorInvalid(
            f"fetch_page returned {answer!r:.80}. Let it return two things: the page's items, and the next cursor "
            "(None after the last page)."
        )
    return answer
