"""The dispatcher: the one who writes during a run.

Imported by the drivers (serial, threads, coroutines, claims). Invariant: one commit carries the
outcomes so far and the next window of starts; no fn is called before the start that it belongs to is
durable, and nothing is counted, yielded or forgotten before its outcome is.

Workers call `begin` and `finish` only, from any thread. Everything else is one turn at the log.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from wal_runner.core.arrays import first_start
from wal_runner.core.decide import Course
from wal_runner.core.events import (
    Decision,
    ItemInterrupted,
    ItemReconciled,
    ItemReleased,
    ItemStarted,
    Status,
)
from wal_runner.core.items import item_of, long_row
from wal_runner.core.window import Window
from wal_runner.errors import CommitUnknown, DiskFull
from wal_runner.failpoints import failpoint
from wal_runner.log.rows import decode_row, row_key
from wal_runner.recovery.naming import check_key_rule
from wal_runner.runner.attempt import Attempt
from wal_runner.runner.limbo import Limbo


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wal_runner.core.events import CursorAdvanced, Event, EventArray
    from wal_runner.core.items import ItemState
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.writer import LogWriter
    from wal_runner.runner.feed import Candidate, Feed
    from wal_runner.runner.pages import Pages
    from wal_runner.runner.settling import OutcomeEvent, Settling

logger = logging.getLogger(__name__)

DISK_FULL_WAIT_S: Final = 30.0
"""So long a run waits for space before it gives up; what had finished is written meanwhile."""

DISK_FULL_POLL_S: Final = 0.25

COMMITS_UNKNOWN_MAX: Final = 3

FLUSH_SECONDS: Final = 0.05
"""An outcome waits no longer for its commit, whatever the source, fn or the consumer does."""

IDEMPOTENT_POLICY: Final = "policy: idempotent"


class Dispatcher:
    """Commits the outcomes of a run together with its next starts."""

    def __init__(
        self,
        writer: LogWriter,
        feed: Feed,
        settling: Settling,
        *,
        window_max: int,
        in_doubt_max: int,
        is_stopping: Callable[[], bool],
        pages: Pages | None = None,
    ) -> None:
        self.writer = writer
        self.feed = feed
        self.settling = settling
        self.window = Window(window_max)
        self.in_doubt_max = in_doubt_max
        self.is_stopping = is_stopping
        self.lock = threading.RLock()
        self.commit_s = 0.0
        self.committed_at = time.perf_counter()
        self.in_flight: dict[int, Attempt] = {}
        """Attempts whose outcome is not durable, by start_seq."""
        self._outcomes: deque[OutcomeEvent] = deque()
        self.pages = pages
        self.scratch = writer.session.scratch
        self.limbo = Limbo(self.scratch)
        self._conflicts_before = writer.state.conflicts

    # --- For the workers ------------------------------------------------------------

    def begin(self, attempt: Attempt) -> None:
        """Mark that the attempt's fn is about to be called."""
        self.scratch.begin(attempt.slot, attempt.start_seq)

    def finish(self, attempt: Attempt, event: OutcomeEvent) -> None:
        """Take the outcome of an attempt: safe from our death now, durable with the next commit."""
        failpoint("run.after_effect")
        self.scratch.finish(attempt.slot, attempt.start_seq, event)
        self._outcomes.append(event)

    @property
    def unsaved(self) -> int:
        """Say how many outcomes wait for the next commit."""
        return len(self._outcomes)

    # --- Turns ------------------------------------------------------------------------

    def room(self) -> int:
        """Say how many more items may be started; outcomes that wait for the commit make room with it."""
        return min(self.in_doubt_max - len(self.in_flight) + len(self._outcomes), self.scratch.free_slots())

    def advance(self, wanted: int) -> list[Attempt]:
        """Commit the outcomes so far and start up to *wanted* items of the feed; give their attempts.

        None are given where the source has ended or is slow. Raise `DiskFull` when space does not
        come back in time; the outcomes are written all the same.
        """
        candidates = self.feed.take(min(wanted, self.room()))
        return self.commit(candidates)

    def flush(self) -> None:
        """Commit the outcomes so far."""
        self.commit(())

    def flush_if_old(self) -> None:
        """Commit the outcomes so far if they have waited too long; for a thread beside the run."""
        if self._outcomes and time.perf_counter() - self.committed_at > FLUSH_SECONDS:
            self.flush()

    def commit(self, candidates: Sequence[Candidate]) -> list[Attempt]:
        """Commit the outcomes so far and start *candidates*, as far as they may be."""
        self.writer.check_process()
        with self.lock:
            gives_up = time.monotonic() + DISK_FULL_WAIT_S
            unknown = 0
            warned = False
            while True:
                try:
                    return self._commit(candidates)
                except CommitUnknown:
                    # Written or not: the next turn folds the log again and looks.
                    unknown += 1
                    if unknown == COMMITS_UNKNOWN_MAX:
                        raise
                except DiskFull as error:
                    self._save_outcomes(error)
                    if self.is_stopping() or time.monotonic() > gives_up:
                        self.feed.put_back(candidates)
                        raise
                    if not warned:
                        logger.warning("%s Waiting up to %g s for space.", error, DISK_FULL_WAIT_S)
                        warned = True
                    time.sleep(DISK_FULL_POLL_S)

    def release(self, attempts: Iterable[Attempt]) -> None:
        """Give attempts back whose fn never began; their items are pending again."""
        attempts = list(attempts)
        # Closing released them; and in a forked child they are the parent's.
        if not attempts or self.writer.closed or self.writer.is_the_parents:
            return
        with self.lock:
            writer = self.writer
            # One that is not open any more was released by a commit of which we did not hear.
            writer.turn(lambda _turn: [ItemReleased(a.start_seq) for a in attempts if a.start_seq in writer.state.open])
            for attempt in attempts:
                self.in_flight.pop(attempt.start_seq, None)
            self.scratch.free(attempt.slot for attempt in attempts)
            self.settling.released(len(attempts))

    def settle_the_rest(self, reason: str) -> None:
        """Settle what is in flight by what its slot proves; what began and did not end is in doubt for *reason*."""
        self.flush()
        if not (left := list(self.in_flight.values())):
            return
        self.writer.catch_up()
        # What is not open any more was released by a commit of which we did not hear.
        over = self.in_flight.keys() - self.writer.state.open.keys()
        proofs: dict[int, Any] = {seq: ItemReleased(seq) for seq in over} | self.writer.proofs()
        self.release([a for a in left if isinstance(proofs.get(a.start_seq), ItemReleased)])
        for start_seq in self.in_flight:
            outcome: Any = proofs.get(start_seq)
            self._outcomes.append(outcome or ItemInterrupted(start_seq, 0, reason))
        self.flush()

    def _save_outcomes(self, error: DiskFull) -> None:
        """Write what ran, without starting anything; where even that fails, the disk is waited for."""
        try:
            self._commit(())
        except (DiskFull, CommitUnknown):
            logger.debug("Outcomes wait for space too: %s", error)

    def _commit(self, candidates: Sequence[Candidate]) -> list[Attempt]:
        began = time.perf_counter()
        outcomes = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
        plan = _Plan(self, outcomes, candidates)
        if not (outcomes or candidates or self.limbo or plan.has_cursors()):
            return []
        try:
            self.writer.turn(plan.decide)
        except BaseException:
            # Not written, or nobody knows: the next turn asks the log which.
            self._outcomes.extendleft(reversed(outcomes))
            plan.leave_in_limbo()
            raise
        self.committed_at = time.perf_counter()
        self.commit_s = self.committed_at - began
        return self._landed(plan, outcomes)

    def _landed(self, plan: _Plan, outcomes: list[OutcomeEvent]) -> list[Attempt]:
        in_flight = self.in_flight
        settled: list[tuple[Attempt, OutcomeEvent]] = []
        for event in outcomes:
            attempt = in_flight.pop(event[0], None)
            if attempt is not None:  # else it was interrupted, and counted so, before it returned after all
                settled.append((attempt, event))
        self.settling.settled(settled)
        self.scratch.free([attempt.slot for attempt, _ in settled])
        if self.pages is not None:
            self.pages.settle(attempt.page for attempt, _ in settled)
            self.pages.settle(dropped[0].page for dropped in plan.dropped)
            self.pages.passed(plan.pages_done)
        for attempt in plan.started:
            in_flight[attempt.start_seq] = attempt
        for first_seq, last_seq in plan.ranges():
            self.settling.started(first_seq, last_seq)
        report = self.settling.report
        report.doubt_bound = max(report.doubt_bound, len(in_flight))
        report.conflicts = self.writer.state.conflicts - self._conflicts_before
        for candidate, known, decided in plan.dropped:
            self.settling.met(candidate.item, candidate.item_id, known, decided)
            self.feed.was_dropped()
        return plan.started


_make: Any = tuple.__new__


class _Plan:
    """What one turn is to write, decided inside it."""

    def __init__(
        self, dispatcher: Dispatcher, outcomes: Sequence[OutcomeEvent], candidates: Sequence[Candidate]
    ) -> None:
        self._dispatcher = dispatcher
        self._outcomes = outcomes
        self._candidates = candidates
        self._slots: list[int] = []
        self.adopted: list[int] = []
        self.started: list[Attempt] = []
        self.dropped: list[tuple[Candidate, Any, Course]] = []
        self.pages_done = 0

    def has_cursors(self) -> bool:
        """Say whether a page ended without an outcome to ride with."""
        pages = self._dispatcher.pages
        return pages is not None and bool(pages.due(())[0])

    def decide(self, turn: Turn) -> list[Event | EventArray]:
        """Give the events of the turn. May be called again, after the log was loaded anew."""
        self.undo()
        self.started, self.dropped, self.adopted, self.pages_done = [], [], [], 0
        dispatcher = self._dispatcher
        state = dispatcher.writer.state
        still_open = state.open
        dispatcher.limbo.settle(state, dispatcher.writer.session.number)
        # One that is not open any more was written by a commit of which we did not hear.
        events: list[Event | EventArray] = [event for event in self._outcomes if event[0] in still_open]
        events += self._cursors()
        if self._candidates:
            check_key_rule(dispatcher.writer, state, dispatcher.feed.rule_name)
            turn.reserve(len(dispatcher.in_flight) + len(self._candidates))
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
            self._dispatcher.scratch.disarm(self._slots)
            self._slots = []

    def leave_in_limbo(self) -> None:
        """Leave the slots of starts whose commit failed as they are; the next turn asks the log."""
        kept = self._dispatcher.limbo.keep(self.started)
        self._slots = [slot for slot in self._slots if slot not in kept]
        self.undo()

    def _cursors(self) -> list[CursorAdvanced]:
        pages = self._dispatcher.pages
        if pages is None:
            return []
        in_flight = self._dispatcher.in_flight
        attempts = [in_flight[event[0]] for event in self._outcomes if event[0] in in_flight]
        cursors, self.pages_done = pages.due(attempt.page for attempt in attempts)
        return cursors

    def _start_all(self, turn: Turn, events: list[Event | EventArray]) -> bool:
        """Start all candidates at once where each is new to the log; else do nothing, and say so.

        What `_start` does one by one; most windows of most runs are like this.
        """
        writer = self._dispatcher.writer
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
        scratch, log_id = self._dispatcher.scratch, writer.log.log_id
        slots = self._slots = scratch.take(len(ids))
        scratch.arm_all(slots, first_seq)
        self.started = [
            _make(Attempt, (candidate[0], candidate[1], 1, 0, start_seq, slot, log_id, candidate[4]))
            for start_seq, (candidate, slot) in enumerate(zip(self._candidates, slots, strict=True), first_seq)
        ]
        return True

    def _start(self, turn: Turn, events: list[Event | EventArray]) -> None:
        writer = self._dispatcher.writer
        state, generation = writer.state, writer.generation
        touched, frozen = state.items, state.frozen
        starting: set[str] = set()
        scratch, log_id = self._dispatcher.scratch, writer.log.log_id
        arm, attempts = scratch.arm, self.started
        slots = self._slots = scratch.take(min(len(self._candidates), scratch.free_slots()))
        used = 0
        seq = turn.end + len(events)
        for candidate in self._candidates:
            item, item_id, known, looked_up_at, page = candidate
            if item_id in starting:
                self.dropped.append((candidate, known, Course.DUPLICATE))
                continue
            row = touched.get(item_id) or frozen.get(item_id)
            if row is not None:
                known = item_of(long_row(row))
            elif looked_up_at != generation:
                value = turn.look_up([item_id])[0]
                known = None if value is None else item_of(decode_row(row_key(item_id), value)[1])
            if known is None:
                events.append(first_start(item_id))
                seq += 1
                start_seq, number, item_generation = seq, 1, 0
            elif self._is_ours_unheard(known):
                start_seq, number, item_generation = known.start_seq, known.attempts, known.generation
                self.adopted.append(start_seq)
            else:
                decided = self._dispatcher.feed.decide(known)
                if decided not in {Course.START, Course.REDO}:
                    self.dropped.append((candidate, known, decided))
                    continue
                before = known.status
                if decided is Course.REDO:
                    events.append(_redo(known.start_seq))
                    seq += 1
                    before = Status.PENDING
                seq += 1
                start_seq, number, item_generation = seq, known.attempts + 1, known.generation
                events.append(ItemStarted(item_id, number, item_generation, before))
            starting.add(item_id)
            slot = self._dispatcher.limbo.slot_of(start_seq)
            if slot is None:
                slot = slots[used]
                used += 1
                # Before it is durable: a crash right behind the commit must find it released.
                arm(slot, start_seq)
            attempts.append(_make(Attempt, (item, item_id, number, item_generation, start_seq, slot, log_id, page)))
        scratch.disarm(slots[used:])
        del slots[used:]

    def _is_ours_unheard(self, known: ItemState) -> bool:
        """Say whether a commit of which we did not hear has started the item for us already."""
        dispatcher = self._dispatcher
        attempt = dispatcher.writer.state.attempt(known.start_seq) if known.status is Status.STARTED else None
        return (
            attempt is not None
            and attempt.session == dispatcher.writer.session.number
            and known.start_seq not in dispatcher.in_flight
        )


def _redo(start_seq: int) -> ItemReconciled:
    note = "a redo is harmless, so the doubt is settled by running it again"
    return ItemReconciled(start_seq, Decision.DID_NOT_HAPPEN, IDEMPOTENT_POLICY, note)
