"""What people, policies and imports state of items whose last attempt is over: folded into the tables.

Pure. Imported by `wal_runner.core.state` only. Invariant: these events are complete in themselves, so that
folding a tail reads no row; what the overlay knows is held against them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.core.arrays import corrupt
from wal_runner.core.events import ItemGivenUp, ItemHeld, Status
from wal_runner.core.items import ItemState, OpenAttempt, attempt_row, item_row
from wal_runner.core.state_sessions import StateOfSessions
from wal_runner.core.transitions import Attempt, Happening, transition


if TYPE_CHECKING:
    from wal_runner.core.events import ItemAttested, ItemReopened

_ATTESTATIONS = {
    Status.SUCCEEDED: Happening.ATTESTED_SUCCEEDED,
    Status.FAILED: Happening.ATTESTED_FAILED,
    Status.IN_DOUBT: Happening.ATTESTED_IN_DOUBT,
}


class StateOfDecisions(StateOfSessions):
    """The fold of reopenings, of verdicts that are taken back, of items given up, and of imports."""

    __slots__ = ()

    def _change_what_is_over(
        self, seq: int, event: ItemReopened | ItemHeld | ItemGivenUp, happening: Happening
    ) -> ItemState:
        """Move an item whose last attempt is over. The event is complete in itself: only an overlay is compared."""
        known = self.item(event.item_id)
        if known is not None and known.status is not event.before:
            raise corrupt(seq, f"an item that is {known.status.word} is not {happening.value} as {event.before.word}")
        status = transition(event.before, happening, Attempt.STALE)
        if not isinstance(status, Status):
            raise corrupt(seq, f"an item that is {event.before.word} cannot be {happening.value}")
        generation = event.generation - 1 if happening is Happening.REOPENED else event.generation
        last = (event.start_seq, event.attempts, generation)
        if known is not None and last != (known.start_seq, known.attempts, known.generation):
            raise corrupt(
                seq, f"what is {happening.value} is attempt {event.start_seq}, and the item's last is {known.start_seq}"
            )
        self.counts[event.before] -= 1
        self.counts[status] += 1
        item = ItemState(status, event.start_seq, event.attempts, event.generation)
        if isinstance(event, ItemGivenUp):
            item = item._replace(error=event.error)
        elif isinstance(event, ItemHeld):
            item = item._replace(deaths=event.deaths)
        self.items[event.item_id] = item_row(item)
        return item

    def _hold(self, seq: int, session: int, time_ns: int, event: ItemHeld) -> None:
        item = self._change_what_is_over(seq, event, Happening.HELD)
        if event.start_seq in self.open:
            raise corrupt(seq, f"it holds attempt {event.start_seq}, which is open")
        self.open[event.start_seq] = attempt_row(
            OpenAttempt(
                *(event.item_id, session, time_ns, item.attempts, item.generation),
                status=Status.IN_DOUBT,
                doubted_ns=time_ns,
                reason=_said("held", event.by, event.note),
                deaths=event.deaths,
            )
        )

    def _attest(self, seq: int, session: int, time_ns: int, event: ItemAttested) -> None:
        happening = _ATTESTATIONS.get(event.status)
        status = None if happening is None else transition(Status.PENDING, happening, Attempt.STALE)
        if not isinstance(status, Status):
            raise corrupt(seq, f"it attests that an item is {event.status.word}")
        if self.item(event.item_id) is not None:
            raise corrupt(seq, f"it attests item {event.item_id!r:.80}, which the log knows")
        item = ItemState(status, seq, event.attempts, event.generation, error=event.error)
        if status is Status.IN_DOUBT:
            self.open[seq] = attempt_row(
                OpenAttempt(
                    *(event.item_id, session, event.happened_ns or time_ns, event.attempts, event.generation),
                    status=Status.IN_DOUBT,
                    doubted_ns=time_ns,
                    reason=_said("attested", event.by, event.note),
                )
            )
        elif status is Status.FAILED:
            item = item._replace(failed_seq=seq)
        else:
            item = item._replace(result=event.result, omitted=event.omitted)
            self.results_omitted += event.omitted is not None
        self.counts[status] += 1
        self.items[event.item_id] = item_row(item)


def _said(what: str, by: str, note: str) -> str:
    return f"{what} by {by}: {note}" if note else f"{what} by {by}"
