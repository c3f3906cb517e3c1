"""What one turn of a run is to write, decided inside it.

Used by the dispatcher. Invariant: an item is started only as the log knows it in this very turn, and
its slot is armed before its start is durable; what was looked up earlier is a hint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wal_runner.core.arrays import first_start
from wal_runner.core.decide import Course
from wal_runner.core.events import Decision, ItemReconciled, ItemStarted, Status
from wal_runner.core.items import item_of, long_row
from wal_runner.log.rows import row_of
from wal_runner.recovery.formats import fit
from wal_runner.recovery.naming import check_key_rule
from wal_runner.runner.attempt import Attempt


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wal_runner.core.events import CursorAdvanced, Event, EventArray, OutcomeEvent
    from wal_runner.core.items import ItemState
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.deaths import DeathLimit
    from wal_runner.recovery.writer import LogWriter
    from wal_runner.runner.chunks import Candidate
    from wal_runner.runner.feed import Feed
    from wal_runner.runner.limbo import Limbo
    from wal_runner.runner.pages import Pages

IDEMPOTENT_POLICY: Final = "policy: idempotent"

_make: Any = tuple.__new__


class Desk(NamedTuple):
    """What lies before the dispatcher, and before each of its plans."""

    writer: LogWriter
    feed: Feed
    limbo: Limbo
    pages: Pages | None
    in_flight: dict[int, Attempt]
    deaths: DeathLimit


class Plan:
    """What one turn is to write, decided inside it."""

    def __init__(
        self,
        desk: Desk,
        outcomes: Sequence[OutcomeEvent],
        candidates: Sequence[Candidate],
        *,
        has_tagged: bool = False,
        unconfirmed: Mapping[int, OutcomeEvent] | None = None,
        alone: bool = False,
    ) -> None:
        self._desk = desk
        self._outcomes = outcomes
        self._candidates = candidates
        self._has_tagged = has_tagged
        self._is_unsure = unconfirmed is not None
        self._alone = alone
        self._unconfirmed = unconfirmed or {}
        self.replaced: Mapping[int, OutcomeEvent] = self._unconfirmed
        """Outcomes that are stored otherwise than they were handed in, by start_seq: without their result."""
        self._slots: list[int] = []
        self.adopted: list[int] = []
        self.started: list[Attempt] = []
        self.dropped: list[tuple[Candidate, Any, Course]] = []
        self.postponed: list[Candidate] = []
        """Suspects: items that are to run last and alone, because their process died with them repeatedly."""
        self.pages_done = 0

    def has_cursors(self) -> bool:
        """Say whether a page ended without an outcome to ride with."""
        pages = self._desk.pages
        return pages is not None and bool(pages.due(())[0])

    def decide(self, turn: Turn) -> list[Event | EventArray]:
        """Give the events of the turn. May be called again, after the log was loaded anew."""
        self.undo()
        self.started, self.dropped, self.adopted, self.postponed, self.pages_done = [], [], [], [], 0
        desk = self._desk
        state = desk.writer.state
        still_open = state.open
        number = desk.writer.session.number
        desk.limbo.settle(state, number)
        # No longer open: an earlier commit that raised CommitUnknown did write it.
        outcomes = [event for event in self._outcomes if event[0] in still_open]
        if self._is_unsure:
            # Open for another session: that commit wrote a doubt, and the verdict on it was taken back there; no log
            # with our outcome could be folded.
            outcomes = [event for event in outcomes if still_open[event[0]][1] == number]
        events: list[Event | EventArray] = [*outcomes]
        if self._has_tagged:  # else the scan is left out: it would be thousands of events in each turn
            events = self._fitted(turn, events)
        events += self._cursors()
        if self._candidates:
            check_key_rule(desk.writer, desk.feed.rule_name)
            turn.reserve(len(desk.in_flight) + len(self._candidates))
            if not self._start_all(turn, events):
                self._start(turn, events)
        return events

    def ranges(self) -> list[tuple[int, int]]:
        """Give the starts of this turn as pairs of seqs, first and last."""
        own = [attempt.start_seq for attempt in self.started if attempt.start_seq not in self.adopted]
        return [(seq, seq) for seq in self.adopted] + ([(own[0], own[-1])] if own else [])

    def undo(self) -> None:
        """Take back the slots of starts that were not committed."""
        if self._slots:
            self._desk.writer.session.scratch.disarm(self._slots)
            self._slots = []

    def leave_in_limbo(self) -> None:
        """Leave the slots of starts whose commit failed as they are; the next turn asks the log."""
        kept = self._desk.limbo.keep(self.started)
        self._slots = [slot for slot in self._slots if slot not in kept]
        self.undo()

    def _fitted(self, turn: Turn, outcomes: list[Any]) -> list[Any]:
        """Return *outcomes*, all open, as the log's format takes them, and note which are replaced."""
        fitted = list(fit(turn, self._desk.writer.state, outcomes))
        # Still open: no earlier commit wrote it. No longer open: an earlier commit that raised CommitUnknown did,
        # with or without its result, and an older session that has ended since does not change that.
        still_open = {event[0] for event in outcomes}
        self.replaced = {seq: event for seq, event in self._unconfirmed.items() if seq not in still_open} | {
            event[0]: event for event, given in zip(fitted, outcomes, strict=True) if event is not given
        }
        return fitted

    def _cursors(self) -> list[CursorAdvanced]:
        pages = self._desk.pages
        if pages is None:
            return []
        in_flight = self._desk.in_flight
        attempts = [in_flight[event[0]] for event in self._outcomes if event[0] in in_flight]
        cursors, self.pages_done = pages.due(attempt.page for attempt in attempts)
        return cursors

    def _start_all(self, turn: Turn, events: list[Event | EventArray]) -> bool:
        """Start all candidates at once where each is new to the log; else do nothing, and say so.

        What `_start` does one by one; most windows of most runs are like this.
        """
        writer = self._desk.writer
        state = writer.state
        ids = [candidate[1] for candidate in self._candidates]
        if (
            any(candidate[2] is not None or candidate[3] != writer.generation for candidate in self._candidates)
            or len(set(ids)) < len(ids)
            or not state.items.keys().isdisjoint(ids)
            or not state.frozen.keys().isdisjoint(ids)
        ):
            return False
        first_seq = turn.end + len(events) + 1
        events += [first_start(item_id) for item_id in ids]
        scratch, log_id = writer.session.scratch, writer.log.log_id
        slots = self._slots = scratch.take(len(ids))
        scratch.arm_all(slots, first_seq)
        self.started = [
            _make(Attempt, (candidate[0], candidate[1], 1, 0, start_seq, slot, log_id, candidate[4]))
            for start_seq, (candidate, slot) in enumerate(zip(self._candidates, slots, strict=True), first_seq)
        ]
        return True

    def _start(self, turn: Turn, events: list[Event | EventArray]) -> None:
        writer = self._desk.writer
        state, generation = writer.state, writer.generation
        touched, frozen = state.items, state.frozen
        starting: set[str] = set()
        scratch, log_id = writer.session.scratch, writer.log.log_id
        arm, attempts = scratch.arm, self.started
        slots = self._slots = scratch.take(min(len(self._candidates), scratch.free_slots()))
        used = 0
        seq = turn.end + len(events)
        stored = self._looked_up_again(turn, generation)
        for candidate in self._candidates:
            item, item_id, known, looked_up_at, page = candidate
            if item_id in starting:
                self.dropped.append((candidate, known, Course.DUPLICATE))
                continue
            row = touched.get(item_id) or frozen.get(item_id)
            if row is None and looked_up_at != generation:
                row = row_of(item_id, stored[item_id])
                known = None
            if row is not None:
                known = item_of(long_row(row))
            slot: int | None = None
            if known is None:
                events.append(first_start(item_id))
                seq += 1
                start_seq, number, item_generation = seq, 1, 0
            elif (slot := self._unconfirmed_slot(known)) is not None:
                start_seq, number, item_generation = known.start_seq, known.attempts, known.generation
                self.adopted.append(start_seq)
            else:
                again = self._again(turn, candidate, known)
                events += again
                seq += len(again)
                if not again or type(again[-1]) is not ItemStarted:
                    if again:  # held in this turn; the same id again must not be
                        starting.add(item_id)
                    continue
                start_seq, number, item_generation = seq, known.attempts + 1, known.generation
            starting.add(item_id)
            if slot is None:
                slot = slots[used]
                used += 1
                # Before it is durable: a crash right behind the commit must find it released.
                arm(slot, start_seq)
            attempts.append(_make(Attempt, (item, item_id, number, item_generation, start_seq, slot, log_id, page)))
        scratch.disarm(slots[used:])
        del slots[used:]

    def _again(self, turn: Turn, candidate: Candidate, known: ItemState) -> list[Any]:
        """Return the events that start a *known* item, the `ItemStarted` last; note why if it is not started."""
        desk = self._desk
        decided = desk.feed.decide(known)
        if decided not in {Course.START, Course.REDO}:
            self.dropped.append((candidate, known, decided))
            return []
        events: list[Any] = []
        before, deaths = known.status, known.deaths
        if deaths or decided is Course.REDO:
            judged = desk.deaths.judge(known)
            if judged.is_suspect and not judged.is_held and self._may_postpone(candidate):
                self.postponed.append(candidate)
                return []
            if decided is Course.REDO:
                events = desk.deaths.settle(turn, candidate.item_id, known, judged, _redo(known.start_seq))
                if judged.is_held:
                    self.dropped.append((candidate, known, Course.HOLD))
                    return events
                before, deaths = Status.PENDING, events[0].deaths
        number, generation = known.attempts + 1, known.generation
        events.append(ItemStarted(candidate.item_id, number, generation, before, known.failures, deaths))
        return events

    def _may_postpone(self, candidate: Candidate) -> bool:
        """Return whether a suspect can be put behind the other items, to run alone."""
        if self._alone or self._desk.deaths.keeps_order:
            return False
        # Else the source would change the item until then.
        return self._desk.feed.may_read_ahead(candidate.item)

    def _looked_up_again(self, turn: Turn, generation: int) -> dict[str, bytes | None]:
        """Give the stored rows of candidates that were looked up before items left the overlay, or never."""
        stale = [candidate[1] for candidate in self._candidates if candidate[3] != generation]
        return dict(zip(stale, turn.look_up(stale), strict=True)) if stale else {}

    def _unconfirmed_slot(self, known: ItemState) -> int | None:
        """Return the slot of a start that a commit of unknown result made for this run, or None.

        Only such a start was never handed to a worker. "Ours, and not in flight" is not enough: an earlier run of
        this process may have begun it.
        """
        if known.status is not Status.STARTED:
            return None
        # `decide` asked the log first: what is left in limbo is open, and this session's.
        return self._desk.limbo.slot_of(known.start_seq)


def _redo(start_seq: int) -> ItemReconciled:
    note = "a redo is harmless, so the doubt is settled by running it again"
    return ItemReconciled(start_seq, Decision.DID_NOT_HAPPEN, IDEMPOTENT_POLICY, note)
