"""Write to the log during a run: commit outcomes together with the next starts.

Imported by the drivers (serial, threads, coroutines, claims). Invariant: one commit carries the outcomes so far and
the next window of starts; no fn is called before its start is durable, and nothing is counted, yielded or forgotten
before its outcome is.

Workers call `may_begin`, `begin` and `finish` only, from any thread. Every other method takes one transaction.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from wal_runner.core.events import ItemFailed, ItemInterrupted, ItemReleased, ItemSucceeded, Status
from wal_runner.core.items import item_of
from wal_runner.core.window import Window
from wal_runner.errors import CommitUnknown, DiskFull, LogBusy
from wal_runner.failpoints import failpoint
from wal_runner.log.locks import let_go
from wal_runner.log.rows import row_of
from wal_runner.recovery.deaths import DeathLimit
from wal_runner.recovery.own_starts import Fence, RunStarts
from wal_runner.recovery.unrecorded import COMMITS_UNKNOWN_MAX, begin_run, settle_own_starts
from wal_runner.runner.late_outcomes import record_late_outcome
from wal_runner.runner.limbo import Limbo
from wal_runner.runner.plan import Desk, Plan
from wal_runner.runner.watch import changed
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wal_runner.core.events import Event, EventArray, OutcomeEvent
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.writer import LogWriter
    from wal_runner.runner.attempt import Attempt
    from wal_runner.runner.chunks import Candidate
    from wal_runner.runner.feed import Feed
    from wal_runner.runner.pages import Pages
    from wal_runner.runner.settling import Settling

logger = ShieldedLogger(__name__)

DISK_FULL_WAIT_S: Final = 30.0
"""Maximum time to wait for disk space. Outcomes are still written meanwhile."""

DISK_FULL_POLL_S: Final = 0.25

GATE_BUSY_WAIT_S: Final = 600.0
"""Maximum time to wait for the log lock, which `walrun verify` of a large log holds, or a stopped process."""

FLUSH_SECONDS: Final = 0.05
"""Maximum time from an outcome to its commit, whatever the source, fn or the consumer does."""

CHANGED: Final = "its source changed the item while fn ran"

_BECOMES: Final[dict[type, Status]] = {
    ItemReleased: Status.PENDING,
    ItemSucceeded: Status.SUCCEEDED,
    ItemFailed: Status.FAILED,
    ItemInterrupted: Status.IN_DOUBT,
}


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
        deaths: DeathLimit | None = None,
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
        self._left_behind = writer.own_starts.left_behind
        self._outcomes: deque[OutcomeEvent] = deque()
        self._in_commit: list[OutcomeEvent] = []
        """Outcomes that the commit under way is to write."""
        self.has_tagged = False
        """Whether some result of this run needed format 2: from then on outcomes are fitted to the log's format.

        Workers set it before they hand the outcome over. It is never reset: a worker may be between the two.
        """
        self._unconfirmed: Mapping[int, OutcomeEvent] | None = None
        """Outcomes that the last commit, whose own outcome is unknown, stored without their result; None if no commit
        has failed since the last one that succeeded."""
        self.fence = Fence()
        """Closed when the run has ended, so that none of its starts begins after that."""
        self.pages = pages
        self.scratch = writer.session.scratch
        self.limbo = Limbo(self.scratch)
        self._deaths = DeathLimit(writer) if deaths is None else deaths
        self._desk = Desk(writer, feed, self.limbo, pages, self.in_flight, self._deaths)
        self._conflicts_before = writer.state.conflicts
        self._changed: set[int] = set()
        """Starts whose item was changed by its source while fn ran: what fn did is not what the id says."""
        feed.watch.in_flight = self._without_outcome
        feed.watch.has_begun = self._has_begun
        feed.watch.on_change = self._hold_changed

    # --- For the workers ------------------------------------------------------------

    def begin(self, attempt: Attempt) -> bool:
        """Mark that the attempt's fn is about to be called; return False if the run has ended, and it must not be."""
        if self.fence.closed:
            return False
        self.scratch.begin(attempt.slot, attempt.start_seq)
        # Again, after the mark: settle_own_starts() may have closed the fence before it, and found the slot armed.
        return not self.fence.closed

    def may_begin(self, attempt: Attempt) -> bool:
        """Return whether the attempt's item is still what its id names; if not, nothing more of the run begins."""
        if self.feed.watch.is_as_named(attempt.item, attempt.item_id):
            return True
        self.fence.closed = True
        self.feed.fail(changed(attempt.item, attempt.item_id))
        self._hold_changed()
        return False

    def finish(self, attempt: Attempt, event: OutcomeEvent) -> None:
        """Store an outcome in its slot, which survives this process; the next commit makes it durable."""
        failpoint("run.after_effect")
        if self._changed:
            event = self._judged(event)
        self.scratch.finish(attempt.slot, attempt.start_seq, event)
        self._outcomes.append(event)
        # After the append: settle_own_starts() fills `left_behind`, then reads `_outcomes`, so one of the two
        # threads always sees the other.
        if self._left_behind and attempt.start_seq in self._left_behind:
            record_late_outcome(self.writer, attempt, event, self._turn)

    @property
    def unsaved(self) -> int:
        """Return the number of outcomes that wait for the next commit."""
        return len(self._outcomes)

    def known(self) -> dict[str, OutcomeEvent]:
        """Return the outcomes that are not durable yet, by item id."""
        waiting = self._outcomes.copy()  # at once: a worker that was left behind may add to them
        in_flight = self.in_flight
        known = {in_flight[event[0]].item_id: self._judged(event) for event in waiting if event[0] in in_flight}
        return dict(self.writer.own_starts.late.copy().values()) | known

    def break_off(self) -> None:
        """Undo the turn, and release the locks, that an exception left behind. See `LogWriter.break_off`."""
        self.writer.break_off()
        let_go(self.lock)
        self.settling.break_off()

    # --- Turns ------------------------------------------------------------------------

    def begin_run(self) -> None:
        """Settle what earlier runs of this Runner could not record, before anything is started."""
        begin_run(self.writer, RunStarts(self.fence, self.in_flight, self._outcomes, self._judged))

    def room(self) -> int:
        """Return how many more items may be started; the commit of the outcomes so far makes room for as many."""
        return min(self.in_doubt_max - len(self.in_flight) + len(self._outcomes), self.scratch.free_slots())

    def advance(self, wanted: int, *, waits: bool = True) -> list[Attempt]:
        """Commit the outcomes so far and start up to *wanted* items of the source; return their attempts.

        Returns none if the source has ended or is slow. Items that are to run last and alone come one by one when
        everything else has an outcome; without *waits* that is not waited for. Raises `DiskFull` if no space becomes
        free in time; the outcomes are written all the same.
        """
        limit = min(wanted, self.room())
        candidates = self.feed.take(limit)
        alone = not candidates and limit > 0 and (not waits or len(self.in_flight) <= len(self._outcomes))
        if alone:
            candidates = self.feed.take_suspect()
        started = self.commit(candidates, alone=alone)
        self.feed.were_started()
        return started

    def flush(self) -> None:
        """Commit the outcomes so far."""
        self.commit(())

    def flush_if_old(self) -> None:
        """Commit the outcomes so far if they have waited too long. For the flusher thread."""
        if self._outcomes and time.perf_counter() - self.committed_at > FLUSH_SECONDS:
            self.flush()

    def commit(self, candidates: Sequence[Candidate], *, alone: bool = False) -> list[Attempt]:
        """Commit the outcomes so far and start those of *candidates* that need a run; *alone*: nothing else runs."""
        self.writer.check_process()
        with self.lock:
            gives_up = time.monotonic() + DISK_FULL_WAIT_S
            unknown = 0
            warned = False
            while True:
                try:
                    return self._commit(candidates, alone=alone)
                except CommitUnknown:
                    # It may have been written: the next transaction folds the log again, and finds out.
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
        """Release attempts whose fn never began; their items are pending again.

        An attempt whose slot does not prove that stays in flight, and is settled when the run ends.
        """
        attempts = list(attempts)
        # Closing has released them already; in a forked child they belong to the parent.
        if not attempts or self.writer.closed or self.writer.is_the_parents:
            return
        attempts = [attempt for attempt in attempts if self.scratch.is_armed(attempt.slot, attempt.start_seq)]
        with self.lock:
            writer = self.writer
            # No longer open: an earlier commit that raised CommitUnknown did release it.
            self._turn(lambda _turn: [ItemReleased(a.start_seq) for a in attempts if a.start_seq in writer.state.open])
            for attempt in attempts:
                self.in_flight.pop(attempt.start_seq, None)
            self.scratch.free(attempt.slot for attempt in attempts)
            self.settling.released(len(attempts))

    def settle_the_rest(self, reason: str) -> None:
        """Settle every start that has no outcome: as its slot proves, or in doubt for *reason*.

        None of this run's starts begins after this call.
        """
        with self.lock:
            self.fence.closed = True
            self.flush()
            settled = settle_own_starts(self.writer, reason, turn=self._turn)
            counted: list[tuple[Attempt, OutcomeEvent]] = []
            for start_seq, attempt in list(self.in_flight.items()):
                event = settled.pop(start_seq, None)
                if isinstance(event, ItemSucceeded | ItemFailed | ItemInterrupted):
                    counted.append((attempt, event))
                else:
                    # Not open any more: an earlier commit that raised CommitUnknown did settle it.
                    self.settling.count(Status.PENDING if event is not None else self._status_of(attempt.item_id))
            for event in settled.values():
                # Starts that no attempt of this run stands for: their commit raised CommitUnknown, or was interrupted.
                self.settling.count(_BECOMES[type(event)])
            self.settling.settled(counted)
            self.in_flight.clear()

    def _status_of(self, item_id: str) -> Status:
        """Return what the log says of an item."""
        row = self.writer.state.row(item_id) or row_of(item_id, *self.writer.log.look_up([item_id]))
        return Status.PENDING if row is None else item_of(row).status

    def _without_outcome(self) -> list[Attempt]:
        """Return the attempts that have no outcome."""
        if not self.in_flight:
            return []
        # In the order in which outcomes move on: one that a commit takes meanwhile is seen twice, never missed.
        ended = {event[0] for event in (*self._outcomes.copy(), *self._in_commit)}
        return [attempt for attempt in list(self.in_flight.values()) if attempt.start_seq not in ended]

    def _has_begun(self, attempt: Attempt) -> bool:
        return not self.scratch.is_armed(attempt.slot, attempt.start_seq)

    def _hold_changed(self) -> None:
        """Begin nothing more if started items were changed by their source; those that have begun will be in doubt."""
        is_as_named = self.feed.watch.is_as_named
        # What is being started first, then what was started: that is the way it goes meanwhile.
        is_starting = any(not is_as_named(each.item, each.item_id) for each in self.feed.taken.copy())
        started = [each for each in self._without_outcome() if not is_as_named(each.item, each.item_id)]
        if is_starting or started:
            self.fence.closed = True
            self._changed.update(each.start_seq for each in started if self._has_begun(each))

    def _judged(self, event: OutcomeEvent) -> OutcomeEvent:
        """Return *event*, or a doubt if the source changed the item while its fn ran."""
        return ItemInterrupted(event[0], event[1], CHANGED) if event[0] in self._changed else event

    def _save_outcomes(self, error: DiskFull) -> None:
        """Write the outcomes without starting anything; if even that fails, they wait for the disk too."""
        try:
            self._commit(())
        except (DiskFull, CommitUnknown):
            logger.debug("Outcomes wait for space too: %s", error)

    def _commit(self, candidates: Sequence[Candidate], *, alone: bool = False) -> list[Attempt]:
        began = time.perf_counter()
        outcomes = self._in_commit = list(self._outcomes.copy())
        for _ in outcomes:
            self._outcomes.popleft()
        if self._changed:
            outcomes = list(map(self._judged, outcomes))
        plan = Plan(
            self._desk,
            outcomes,
            candidates,
            has_tagged=self.has_tagged,
            unconfirmed=self._unconfirmed,
            alone=alone,
        )
        if not (outcomes or candidates or self.limbo or plan.has_cursors()):
            return []
        try:
            self._turn(plan.decide, fitted=True)
        except BaseException:
            # Not written, or unknown: the next transaction asks the log which.
            self._outcomes.extendleft(reversed(outcomes))
            self._unconfirmed = plan.replaced
            plan.leave_in_limbo()
            raise
        self.committed_at = time.perf_counter()
        self.commit_s = self.committed_at - began
        self._unconfirmed = None
        if plan.replaced:
            # What is counted and yielded is what the log says, not what fn returned.
            outcomes = [plan.replaced.get(event[0], event) for event in outcomes]
        started = self._landed(plan, outcomes)
        self._in_commit = []  # or it would keep the results of a whole window in memory
        return started

    def _turn(self, decide: Callable[[Turn], Sequence[Event | EventArray]], *, fitted: bool = False) -> None:
        """Append what *decide* returns, in one transaction. Waits for the log lock."""
        gives_up = time.monotonic() + GATE_BUSY_WAIT_S
        warned = False
        while True:
            try:
                self.writer.turn(decide, fitted=fitted)
            except LogBusy as busy:
                # Of this thread: a signal handler asked in the middle of this turn, and the turn may be committed.
                if busy.is_of_this_thread or self.is_stopping() or time.monotonic() > gives_up:
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
            if attempt is not None:  # else it was counted as interrupted before fn returned after all
                settled.append((attempt, event))
        self.settling.settled(settled)
        kept = self._left_behind
        self.scratch.free([attempt.slot for attempt, _ in settled if not kept or attempt.start_seq not in kept])
        if plan.adopted:
            self.limbo.forget(plan.adopted)
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
        if plan.postponed:
            self.feed.suspects.extend(plan.postponed)
        self._deaths.warn()
        for candidate, known, decided in plan.dropped:
            self.settling.met(candidate.item, candidate.item_id, known, decided)
            self.feed.was_dropped()
        return plan.started
