"""The bookkeeping of a run: which starts are its own, what became of its items, who is told.

Imported by the feed and the dispatcher. Invariant: an item is counted once its fate is durable, and
once only.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

from wal_runner.core.decide import Course
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import ItemFailed, ItemInterrupted, ItemSucceeded, Status
from wal_runner.log.locks import let_go
from wal_runner.log.results import NO_CLASSES, decode_result
from wal_runner.runner.left_behind import sentence
from wal_runner.runner.outcome import Outcome
from wal_runner.runner.report import RunReport
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wal_runner.core.events import OutcomeEvent
    from wal_runner.core.items import ItemState
    from wal_runner.runner.attempt import Attempt

logger = ShieldedLogger(__name__)

AT_HAND_MAX: Final = 100_000
"""Items that another session runs, and doubts of our own, are kept for the end up to so many."""


def _as_it_is(error: ErrorInfo | None) -> ErrorInfo | None:
    return error


class Settling:
    """Counts what becomes of items, and hands outcomes to *deliver* where somebody wants them."""

    def __init__(
        self,
        *,
        idempotent: bool,
        deliver: Callable[[Outcome[Any]], None] | None = None,
        on_duplicate: Callable[[str], None] | None = None,
        classes: Mapping[str, type] = NO_CLASSES,
        with_text: Callable[[ErrorInfo | None], ErrorInfo | None] = _as_it_is,
        on_omitted: Callable[[], None] | None = None,
    ) -> None:
        self.report = RunReport()
        self.idempotent = idempotent
        self.at_hand: dict[str, tuple[Any, Course]] = {}
        """Items that are in doubt (HOLD) or run elsewhere: a verdict or a death may set them free for this run."""
        self._deliver = deliver
        self._on_duplicate = on_duplicate
        self._classes = classes
        self._with_text = with_text
        self._on_omitted = on_omitted
        self._starts = array("Q")
        # The run counts what it meets while the flusher, another thread, counts what is durable.
        self._lock = threading.RLock()

    def break_off(self) -> None:
        """Release the lock if an exception left it held in this thread."""
        let_go(self._lock)

    @property
    def wants_outcomes(self) -> bool:
        """Say whether each outcome is asked for, the replayed ones too."""
        return self._deliver is not None

    def started(self, first_seq: int, last_seq: int) -> None:
        """Note that this run made the starts from *first_seq* to *last_seq*."""
        self._starts.extend((first_seq, last_seq))

    def is_mine(self, start_seq: int) -> bool:
        """Say whether this run made that start."""
        starts = self._starts
        if not starts or start_seq < starts[0]:
            return False
        index = bisect_right(starts, start_seq)
        # Inside a pair (first, last), or exactly at its last seq.
        return index % 2 == 1 or starts[index - 1] == start_seq

    def skip(self, count: int) -> None:
        """Count items that were done before."""
        with self._lock:
            self.report.skipped += count

    def met(self, item: object, item_id: str, known: ItemState, course: Course) -> None:
        """Count an item that needs no run, or may not have one."""
        with self._lock:
            counted = self._count(item, item_id, course)
        if not counted:
            if self._on_duplicate is not None:
                self._on_duplicate(item_id)
        elif self._deliver is not None:
            self._deliver(self._replayed(item, item_id, known))

    def _count(self, item: object, item_id: str, course: Course) -> bool:
        report = self.report
        match course:
            case Course.SKIP:
                report.skipped += 1
            case Course.FAILED:
                report.failed += 1
            case Course.HOLD:
                if item_id in self.at_hand:
                    report.duplicates += 1
                    return False
                report.in_doubt += 1
                self._keep(item_id, item, course)
            case Course.ABANDONED:
                report.abandoned += 1
            case Course.ELSEWHERE:
                if item_id in self.at_hand:
                    report.duplicates += 1
                    return False
                report.elsewhere += 1
                self._keep(item_id, item, course)
            case _:
                report.duplicates += 1
                return False
        return True

    def _keep(self, item_id: str, item: object, course: Course) -> None:
        if len(self.at_hand) < AT_HAND_MAX:
            self.at_hand[item_id] = (item, course)

    def settled(self, outcomes: Sequence[tuple[Attempt, OutcomeEvent]]) -> None:
        """Count outcomes of ours, which are durable now."""
        report = self.report
        with self._lock:
            for attempt, event in outcomes:
                if type(event) is ItemSucceeded:
                    report.succeeded += 1
                    if event[3] is not None:
                        report.results_omitted += 1
                        report.first_omitted = report.first_omitted or (attempt.item_id, event[3])
                        # The commit may have left the result out, for a session that cannot read it.
                        if self._on_omitted is not None:
                            self._on_omitted()
                elif type(event) is ItemFailed:
                    report.failed += 1
                else:
                    report.in_doubt += 1
                    self._keep(attempt.item_id, attempt.item, Course.HOLD)
        if self._deliver is not None:
            for attempt, event in outcomes:
                self._deliver(_outcome(attempt, event, self._classes))

    def count(self, status: Status) -> None:
        """Count an item of which only its status is known: the commit that settled it raised CommitUnknown."""
        report = self.report
        with self._lock:
            match status:
                case Status.SUCCEEDED:
                    report.succeeded += 1
                case Status.FAILED:
                    report.failed += 1
                case Status.PENDING:
                    report.released += 1
                case _:
                    report.in_doubt += 1

    def released(self, count: int) -> None:
        """Count attempts that were claimed and never begun."""
        with self._lock:
            self.report.released += count

    def left_behind(self, attempts: Iterable[Attempt], *, in_threads: bool = False) -> None:
        """Name attempts in the report whose fn still runs although nobody waits for it any more."""
        names = [attempt.item_id for attempt in attempts]
        if names:
            self.report.left_behind += names
            self.report.left_in_threads = in_threads
            logger.warning(sentence(names, in_threads=in_threads))

    def recount(self, item_id: str, known: ItemState) -> Any | None:  # noqa: ANN401 - the user's item
        """Count an item at hand anew, of which *known* is the latest news; give it if it may run now."""
        item, counted_as = self.at_hand[item_id]
        now = {Status.IN_DOUBT: Course.HOLD, Status.STARTED: Course.ELSEWHERE}.get(known.status)
        if now is counted_as:
            return None
        del self.at_hand[item_id]
        report = self.report
        with self._lock:
            if counted_as is Course.HOLD:
                report.in_doubt -= 1
            else:
                report.elsewhere -= 1
            if known.status is Status.PENDING:
                return item
            if known.status is Status.SUCCEEDED and self.is_mine(known.start_seq):
                report.succeeded += 1
            elif known.status is Status.FAILED:
                report.failed += 1
            else:
                self._count(item, item_id, now or _SETTLED_AS[known.status])
        if self._deliver is not None:
            self._deliver(self._replayed(item, item_id, known))
        return None

    def _replayed(self, item: object, item_id: str, known: ItemState) -> Outcome[Any]:
        return Outcome(
            item,
            item_id,
            known.status,
            result=decode_result(known.result, self._classes),
            error=self._with_text(known.error),
            omitted=known.omitted,
            attempts=known.attempts,
            replayed=True,
        )


_SETTLED_AS: Final = {Status.SUCCEEDED: Course.SKIP, Status.ABANDONED: Course.ABANDONED}


def _outcome(attempt: Attempt, event: OutcomeEvent, classes: Mapping[str, type]) -> Outcome[Any]:
    common = (attempt.item, attempt.item_id)
    match event:
        case ItemSucceeded():
            return Outcome(
                *common,
                Status.SUCCEEDED,
                result=decode_result(event.result, classes),
                omitted=event.omitted,
                attempts=attempt.number,
                elapsed_s=event.elapsed_ns / 1e9,
            )
        case ItemFailed():
            return Outcome(
                *common, Status.FAILED, error=event.error, attempts=attempt.number, elapsed_s=event.elapsed_ns / 1e9
            )
        case ItemInterrupted():
            error = event.error or ErrorInfo("", event.reason)
            return Outcome(
                *common, Status.IN_DOUBT, error=error, attempts=attempt.number, elapsed_s=event.elapsed_ns / 1e9
            )
