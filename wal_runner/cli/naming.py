"""Which item an event speaks of, where it names only the start.

Imported by replay. Invariant: the memory is that of the attempts that are open or were in doubt, not that
of the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.core.events import (
    ItemAttested,
    ItemFailed,
    ItemGivenUp,
    ItemHeld,
    ItemReleased,
    ItemReopened,
    ItemStarted,
    ItemSucceeded,
    LateOutcome,
)
from wal_runner.core.places import EffectFailed, EffectStarted, EffectSucceeded


if TYPE_CHECKING:
    from wal_runner.core.state import State
    from wal_runner.recovery.reader import HistoryEntry


class Names:
    """Follows the history of a log, event by event, from its *base* on.

    With *wanted* only that item's starts are remembered, and all of them.
    """

    def __init__(self, base: State, wanted: str | None = None) -> None:
        self._wanted = wanted
        self._by_start = {
            start_seq: attempt.item_id
            for start_seq, attempt in base.attempts()
            if wanted is None or attempt.item_id == wanted
        }

    def of(self, entry: HistoryEntry) -> str | None:  # noqa: PLR0911 - one case a kind of event
        """Return the id of the item that the next event speaks of, or None if there is none, or it is not known."""
        event = entry.event
        match event:
            case ItemStarted() | ItemAttested():
                self._remember(entry.seq, event.item_id)
                return event.item_id
            case ItemHeld():
                self._remember(event.start_seq, event.item_id)
                return event.item_id
            case ItemReopened() | ItemGivenUp() | LateOutcome():
                return event.item_id
            case EffectStarted():
                name = self._by_start.get(event.start_seq)
                if name is not None:
                    self._remember(entry.seq, name)
                return name
            case EffectSucceeded() | EffectFailed():
                return self._by_start.get(event.effect_seq)
            case ItemSucceeded() | ItemFailed() | ItemReleased() if self._wanted is None:
                # The end of an attempt that ran its course. One that was in doubt and settled by a verdict
                # stays: its process may still report, and that is what an auditor looks for.
                return self._by_start.pop(event.start_seq, None)
            case _:
                return self._by_start.get(getattr(event, "start_seq", 0))

    def _remember(self, start_seq: int, item_id: str) -> None:
        if self._wanted is None or item_id == self._wanted:
            self._by_start[start_seq] = item_id
