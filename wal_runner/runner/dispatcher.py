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

from wal_runner.core.events import ItemInterrupted, ItemReleased
from wal_runner.core.window import Window
from wal_runner.errors import CommitUnknown, DiskFull, LogBusy
from wal_runner.failpoints import failpoint
from wal_runner.recovery.late import is_doubt_of, late_outcome
from wal_runner.runner.limbo import Limbo
from wal_runner.runner.plan import Desk, Plan


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wal_runner.core.events import Event, EventArray, OutcomeEvent
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.writer import LogWriter
    from wal_runner.runner.attempt import Attempt
    from wal_runner.runner.feed import Candidate, Feed
    from wal_runner.runner.pages import Pages
    from wal_runner.runner.settling import Settling

logger = logging.getLogger(__name__)

DISK_FULL_WAIT_S: Final = 30.0
"""So long a run waits for space before it gives up; what had finished is written meanwhile."""

DISK_FULL_POLL_S: Final = 0.25

GATE_BUSY_WAIT_S: Final = 600.0
"""So long a run waits for one who holds the gate, as `walrun verify` of a large log does, or a stopped process."""

COMMITS_UNKNOWN_MAX: Final = 3

FLUSH_SECONDS: Final = 0.05
"""An outcome waits no longer for its commit, whatever the source, fn or the consumer does."""


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
        self._left_behind: set[int] = set()
        """Starts that are in doubt on record, while a worker that nobody waits for is still at them."""
        self._outcomes: deque[OutcomeEvent] = deque()
        self.has_tagged = False
        """Whether some result of this run needed format 2: from then on outcomes are fitted to the log's format.

        Workers set it before they hand the outcome over. It is never reset: a worker may be between the two.
        """
        self._unconfirmed: Mapping[int, OutcomeEvent] = {}
        """Outcomes that a commit, of which nobody knows whether it came about, has without their result."""
        self.pages = pages
        self.scratch = writer.session.scratch
        self.limbo = Limbo(self.scratch)
        self._desk = Desk(writer, feed, self.limbo, pages, self.in_flight)
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
        # Behind the append: whoever leaves us behind at this moment sees the one or is seen by the other.
        if self._left_behind and attempt.start_seq in self._left_behind:
            self._finish_late(attempt, event)

    @property
    def unsaved(self) -> int:
        """Say how many outcomes wait for the next commit."""
        return len(self._outcomes)

    def known(self) -> dict[str, OutcomeEvent]:
        """Give the outcomes that wait for a commit, by item id."""
        waiting = self._outcomes.copy()  # at once: a worker that was left behind may add to them
        return {self.in_flight[event[0]].item_id: event for event in waiting if event[0] in self.in_flight}

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
            self._turn(lambda _turn: [ItemReleased(a.start_seq) for a in attempts if a.start_seq in writer.state.open])
            for attempt in attempts:
                self.in_flight.pop(attempt.start_seq, None)
            self.scratch.free(attempt.slot for attempt in attempts)
            self.settling.released(len(attempts))

    def settle_the_rest(self, reason: str) -> None:
        """Settle what is in flight by what its slot proves; what began and did not end is in doubt for *reason*."""
        with self.lock:
            self.flush()
            if not (left := list(self.in_flight.values())):
                return
            # From here on a worker that is still at one of them waits for us, in `_finish_late`.
            self._left_behind.update(self.in_flight)
            waiting = {event[0] for event in self._outcomes.copy()}
            self.writer.catch_up()
            # What is not open any more was released by a commit of which we did not hear.
            over = self.in_flight.keys() - self.writer.state.open.keys()
            proofs: dict[int, Any] = {seq: ItemReleased(seq) for seq in over} | self.writer.proofs()
            self.release([a for a in left if isinstance(proofs.get(a.start_seq), ItemReleased)])
            self._left_behind.difference_update(waiting, proofs)
            for start_seq in self.in_flight:
                if start_seq not in waiting:
                    self._outcomes.append(proofs.get(start_seq) or ItemInterrupted(start_seq, 0, reason))
            self.flush()

    def _finish_late(self, attempt: Attempt, event: OutcomeEvent) -> None:
        """Record what became of a start after all, behind the doubt; only then is its slot free."""
        with self.lock:
            if attempt.start_seq not in self._left_behind or self.writer.closed or self.writer.is_the_parents:
                return
            late = late_outcome(attempt.item_id, event)
            number = self.writer.session.number
            self._turn(lambda _turn: [late] if late is not None and is_doubt_of(self.writer, number, late) else [])
            self._left_behind.discard(attempt.start_seq)
            self.scratch.free([attempt.slot])

    def _save_outcomes(self, error: DiskFull) -> None:
        """Write what ran, without starting anything; where even that fails, the disk is waited for."""
        try:
            self._commit(())
        except (DiskFull, CommitUnknown):
            logger.debug("Outcomes wait for space too: %s", error)

    def _commit(self, candidates: Sequence[Candidate]) -> list[Attempt]:
        began = time.perf_counter()
        outcomes = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
        plan = Plan(self._desk, outcomes, candidates, has_tagged=self.has_tagged, unconfirmed=self._unconfirmed)
        if not (outcomes or candidates or self.limbo or plan.has_cursors()):
            return []
        try:
            self._turn(plan.decide, fitted=True)
        except BaseException:
            # Not written, or nobody knows: the next turn asks the log which.
            self._outcomes.extendleft(reversed(outcomes))
            self._unconfirmed = plan.replaced
            plan.leave_in_limbo()
            raise
        self.committed_at = time.perf_counter()
        self.commit_s = self.committed_at - began
        self._unconfirmed = {}
        if plan.replaced:
            # What is counted and yielded is what the log says, not what fn returned.
            outcomes = [plan.replaced.get(event[0], event) for event in outcomes]
        return self._landed(plan, outcomes)

    def _turn(self, decide: Callable[[Turn], Sequence[Event | EventArray]], *, fitted: bool = False) -> None:
        """Take a turn at the log, however long somebody else is inside the gate."""
        gives_up = time.monotonic() + GATE_BUSY_WAIT_S
        warned = False
        while True:
            try:
                self.writer.turn(decide, fitted=fitted)
            except LogBusy as busy:
                if self.is_stopping() or time.monotonic() > gives_up:
                    raise
                if not warned:
                    logger.warning("%s Waiting up to %g s for it.", busy, GATE_BUSY_WAIT_S)
                    warned = True
            else:
                return

    def _landed(self, plan: Plan, outcomes: list[OutcomeEvent]) -> list[Attempt]:
        in_flight = self.in_flight
        settled: list[tuple[Attempt, OutcomeEvent]] = []
        for event in outcomes:
            attempt = in_flight.pop(event[0], None)
            if attempt is not None:  # else it was interrupted, and counted so, before it returned after all
                settled.append((attempt, event))
        self.settling.settled(settled)
        kept = self._left_behind
        self.scratch.free([attempt.slot for attempt, _ in settled if not kept or attempt.start_seq not in kept])
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
