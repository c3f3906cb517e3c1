"""Outcomes in the order of the source, for ``run_iter(..., ordered=True)``."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar


if TYPE_CHECKING:
    from collections.abc import Iterator

    from wal_runner.runner.outcome import Outcome

T = TypeVar("T")


class Ordering(Generic[T]):
    """Holds outcomes back until it is their turn. Memory grows with what overtakes a slow item."""

    def __init__(self) -> None:
        self._expected: deque[str] = deque()
        self._early: dict[str, Outcome[T]] = {}

    def expect(self, item_id: str) -> None:
        """Note that the source gave an item."""
        self._expected.append(item_id)

    def drop(self, item_id: str) -> None:
        """Note that the latest item of that id is a duplicate, of which no outcome comes."""
        for index in range(len(self._expected) - 1, -1, -1):
            if self._expected[index] == item_id:
                del self._expected[index]
                return

    def due(self, outcomes: deque[Outcome[T]]) -> list[Outcome[T]]:
        """Take all *outcomes*, and give those whose turn has come, in order.

        Nothing is put back: the flusher, another thread, adds to *outcomes* at any moment.
        """
        while outcomes:
            outcome = outcomes.popleft()
            self._early[outcome.item_id] = outcome
        found = []
        while self._expected and self._expected[0] in self._early:
            found.append(self._early.pop(self._expected.popleft()))
        return found

    def rest(self) -> Iterator[Outcome[T]]:
        """Give what is left at the end: items that were released have no outcome, and hold up nobody."""
        for item_id in self._expected:
            if item_id in self._early:
                yield self._early.pop(item_id)
        # Settled anew by a reconciler, after their turn.
        yield from self._early.values()
