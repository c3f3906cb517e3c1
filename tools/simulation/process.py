"""A process of a simulation: what a Runner does, step by step, with the real writer, dispatcher and feed.

Invariant: a step calls the real code and nothing else; what it may raise by right ends the run or the process
as it would end a Runner's, and whatever else comes is a violation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.simulation.checks import check_reader
from tools.simulation.model import ABANDONED, DOUBTED, FAILED, PENDING, SUCCEEDED, Violation, demand
from tools.simulation.people import raise_format
from tools.simulation.sources import PAGE_SIZE, fetching
from tools.simulation.world import INTERRUPTED, Died, World
from wal_runner.core.events import ItemFailed, ItemSucceeded, Status
from wal_runner.errors import (
    CommitUnknown,
    DiskFull,
    ItemUnknown,
    KeyRuleChanged,
    LogError,
    LogTooNew,
    OlderVersionRunning,
    VerdictRefused,
)
from wal_runner.log.memory_log import MemoryLog
from wal_runner.recovery import compact, verdicts
from wal_runner.recovery.recover import begin_session, bury_the_dead
from wal_runner.runner.execution import interrupted
from wal_runner.runner.options import RunOptions
from wal_runner.runner.pages import Pages, read_pages
from wal_runner.runner.run import Run


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from wal_runner.core.events import OutcomeEvent
    from wal_runner.recovery.verdicts import Verdict
    from wal_runner.recovery.writer import LogWriter
    from wal_runner.runner.attempt import Attempt
    from wal_runner.runner.doubts import Doubt
    from wal_runner.runner.outcome import Outcome

    Reconciler = Callable[[Sequence[Doubt]], dict[str, Verdict]]

ELAPSED_NS = 5


class Process:
    """One process: it opens the log, runs, and ends in one way or another.

    *wanted* is told of each doubt and gives verdicts; None: this run has no reconciler. *counts*: its
    runs count failures, which only format 2 holds. *is_older*: it reads format 1 only.
    """

    def __init__(
        self,
        world: World,
        *,
        in_doubt_max: int = 16,
        idempotent: bool = False,
        max_deaths: int | None = None,
        paged: bool = False,
        reconcile: Reconciler | None = None,
        outcomes_wanted: bool = False,
        key: Callable[[str], str] | None = None,
        counts: bool = False,
        is_older: bool = False,
        goes_on: bool = False,
    ) -> None:
        self.goes_on = goes_on
        self.world = world
        self.in_doubt_max = in_doubt_max
        self.idempotent = idempotent
        self.max_deaths = max_deaths
        self.paged = paged
        self.outcomes_wanted = outcomes_wanted
        self.reconcile = reconcile
        self.key = key
        self.counts = counts
        self.is_counting = False
        """The run under way counts failures: the log was raised for it before its first start."""
        self.is_older = is_older
        self.sessions: list[int] = []
        self.run: Run | None = None
        self.began_at = 0
        self.pulled = 0
        self.ready: list[Attempt] = []
        self.running: dict[int, Attempt] = {}
        self.left: dict[int, tuple[Run, Attempt]] = {}
        """What runs on although its run has ended, by start_seq."""
        self.late: list[tuple[Run, Attempt]] = []
        """What a worker of a run that has ended holds in its hands, and has not begun."""
        self._begun: set[int] = set()
        self._fates: dict[int, str] = {}
        self._writer: LogWriter | None = None

    # --- Who it is ----------------------------------------------------------------------------

    @property
    def writer(self) -> LogWriter:
        """Give what appends."""
        assert self._writer is not None, "the process is open"
        return self._writer

    @property
    def number(self) -> int:
        """Give the number of its session."""
        return self.sessions[-1]

    @property
    def suspect_from(self) -> int:
        """Return the deaths from which its runs put an item last."""
        return 2 if self.max_deaths is None else min(2, self.max_deaths)

    def fate_of(self, start_seq: int) -> str:
        """Say what becomes of a start of ours if we die now."""
        if start_seq in self._fates:
            return self._fates[start_seq]
        return DOUBTED if start_seq in self._begun else PENDING

    # --- Steps: the session --------------------------------------------------------------------

    def do(self, step: Callable[[], object]) -> bool:
        """Take a step of a process that lives; say whether it lives on.

        Where the process dies, or ends because the log failed it, the world is told.
        """
        self.world.acting.append(self)
        try:
            return self._do(step)
        finally:
            self.world.acting.remove(self)

    def _do(self, step: Callable[[], object]) -> bool:
        try:
            step()
        except Died:
            self.world.kill(self)
            return False
        except (DiskFull, CommitUnknown):
            self._end_in_need(goes_on=self.goes_on)
        except KeyRuleChanged:
            self._end_in_need(goes_on=False)
        except (VerdictRefused, ItemUnknown):
            pass  # somebody else was quicker
        except LogTooNew as error:
            if not self.is_older:
                raise Violation(f"{type(error).__name__}: {error}") from error
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"{type(error).__name__}: {error}") from error
        self.world.watch()
        return self in self.world.processes

    def open(self) -> LogWriter:
        """Begin a session, with everything that recovery has to say."""
        self._writer = begin_session(MemoryLog(self.world.store))
        self.sessions.append(self._writer.session.number)
        self.world.processes.append(self)
        self.world.lives += 1
        self.world.watch()
        return self._writer

    def close(self) -> None:
        """End the session in order; what is in flight gets what its slot proves."""
        self.world.watch()
        left = {seq: self.fate_of(seq) for seq in self.world.model.started_by(self.number)}
        self.writer.close()
        self.run = None
        self.world.forget(self)
        self._check_fates(left, "when its session closed")

    def snapshot(self) -> None:
        """Write a whole snapshot."""
        self.writer.take_snapshot()

    def begin_snapshot(self) -> None:
        """Begin a snapshot, whose slices ride on later turns."""
        self.writer.turn(lambda _turn: (), force_snapshot=True)

    def write_a_slice(self) -> None:
        """Take a turn that writes nothing but a slice of the snapshot, if one is under way."""
        self.writer.turn(lambda _turn: ())

    def bury(self) -> None:
        """Record who died."""
        bury_the_dead(self.writer)

    def resolve(self, told: dict[int, Verdict]) -> None:
        """Settle the doubts of some starts, as a person does who can look."""
        items = {self.world.model.open[start_seq][0]: start_seq for start_seq in told}
        answers = {item_id: told[seq] for item_id, seq in items.items()}
        verdicts.resolve(self.writer, answers, by="ann", starts=items, skip_others=True)

    def answer(self, start_seq: int, item_id: str, verdict: Verdict) -> None:
        """Settle a doubt that was looked at a while ago, by its attempt."""
        before = self.world.model.seq
        try:
            verdicts.resolve(self.writer, {item_id: verdict}, by="bob", starts={item_id: start_seq})
        except OlderVersionRunning as older:
            # It could not read the verdict's result: nothing of the verdict is written.
            self.world.model.catch_up()
            demand(self.world.older_runs, f"session {older.session} stands in the way, and no older version runs")
            demand(self.world.model.seq == before, "a verdict was refused and written")
            return
        self.world.model.catch_up()
        settled = self.world.model.items[item_id].start_seq
        if settled != start_seq:
            raise Violation(f"an answer about the attempt {start_seq} of {item_id} settled its attempt {settled}")

    def retry(self, item_id: str) -> None:
        """Ask for an item again, on record."""
        self.writer.catch_up()
        if self.world.statuses().get(item_id) in {SUCCEEDED, FAILED, "abandoned"}:
            verdicts.reopen(self.writer, [item_id], by="ann", succeeded=True)

    def compact(self) -> None:
        """Compact the log, in a session of its own that begins and ends with it."""
        compact.compact_with(self.open())
        self.writer.close()
        self.world.forget(self)

    def look(self) -> None:
        """Look at the log without writing, and compare what is shown of the dead."""
        check_reader(self.world)

    # --- Steps: the run ---------------------------------------------------------------------------

    def begin_run(self, items: Sequence[str]) -> None:
        """Do what a run does before its first start."""
        options = RunOptions(
            key=self.key,
            max_in_doubt=self.in_doubt_max,
            idempotent=self.idempotent,
            max_deaths=self.max_deaths,
            reconcile=self.reconcile,
            signals=False,
        )
        pages = Pages("pages") if self.paged else None
        source = self._pages(items, pages) if pages is not None else self._counted(items)
        self.pulled = 0
        deliver = self._delivered if self.outcomes_wanted else None
        self.run = Run(self.writer, source, lambda _: None, options, pages=pages, deliver=deliver)
        self._settle_what_earlier_runs_left(self.run)
        self.began_at = self.run.feed._began_at  # noqa: SLF001 - what the run goes by
        self.is_counting = self.counts and raise_format(self)
        self.run.prepare()

    def advance(self, count: int) -> None:
        """Commit what has ended, and start up to *count* more."""
        assert self.run is not None
        self.ready += self.run.dispatcher.advance(count)

    def begin(self, index: int) -> Attempt:
        """Call fn for an attempt that is ready."""
        assert self.run is not None
        attempt = self.ready.pop(index)
        if not self.run.dispatcher.begin(attempt):
            raise Violation(f"{attempt} may not begin, and its run goes on")
        self._begun.add(attempt.start_seq)
        self.world.moment("run.before_effect")
        self.world.begin(attempt, self.number)
        self.running[attempt.start_seq] = attempt
        return attempt

    def succeed(self, start_seq: int, result: object = None) -> None:
        """Let the effect happen, unless it has, and fn return."""
        assert self.run is not None
        if not self.world.has_happened(start_seq):
            self.world.happen(start_seq, result)
        value = self.world.effects[start_seq].result
        self._finish(start_seq, self.run.execution.success(start_seq, ELAPSED_NS, value))

    def fail(self, start_seq: int, *, failures: int = 0, final: bool = False) -> None:
        """Let fn raise, with nothing done; *failures* and *final* are for runs that count."""
        assert self.run is not None
        assert not self.world.has_happened(start_seq)
        event = self.run.execution.judge(start_seq, ELAPSED_NS, ValueError("no such mailbox"))
        if self.is_counting and isinstance(event, ItemFailed):
            event = event._replace(failures=failures, not_before_ns=0 if final else failures, final=final)
        self._finish(start_seq, event)

    def interrupt(self, start_seq: int) -> None:
        """Let fn end without anybody knowing what it did."""
        self._finish(start_seq, interrupted(start_seq, ELAPSED_NS, KeyboardInterrupt()))

    def begin_late(self) -> None:
        """Let a worker of a run that has ended come to the item that it holds."""
        run, attempt = self.late.pop()
        if run.dispatcher.begin(attempt):
            self._begun.add(attempt.start_seq)
            self.world.begin(attempt, self.number)
            self.left[attempt.start_seq] = run, attempt

    def end_left(self, start_seq: int, result: object = None) -> None:
        """Let an fn end whose run has ended before."""
        run, attempt = self.left[start_seq]
        if not self.world.has_happened(start_seq):
            self.world.happen(start_seq, result)
        event = run.execution.success(start_seq, ELAPSED_NS, self.world.effects[start_seq].result)
        del self.left[start_seq]
        before = self.world.moments
        try:
            run.dispatcher.finish(attempt, event)
        finally:
            # A death at the first moment, before the slot is written, leaves the start begun.
            if self.world.frozen is None or self.world.moments > before + 1:
                self._fates[start_seq] = SUCCEEDED

    def flush(self) -> None:
        """Commit what has ended."""
        assert self.run is not None
        self.run.dispatcher.flush()

    def release(self) -> None:
        """Give back what has not begun."""
        assert self.run is not None
        ready, self.ready = self.ready, []
        self.run.dispatcher.release(ready)

    @property
    def is_through(self) -> bool:
        """Say whether the source has ended and nothing is under way."""
        assert self.run is not None
        feed = self.run.feed
        return feed.is_done and not self.ready and not self.running

    def another_round(self) -> bool:
        """Look again at what was in doubt or running elsewhere."""
        assert self.run is not None
        self.flush()
        return self.run.another_round()

    def end_run(self) -> None:
        """End the run: nothing is left in flight, and the report counts each item that was pulled, once."""
        run = self.run
        assert run is not None
        self.release()
        self.flush()
        waiting = len(run.feed._waiting) + len(run.feed.suspects)  # noqa: SLF001 - pulled, and never started
        self._leave(run)
        seen = run.report.seen
        if not self.running and seen + waiting != self.pulled:
            raise Violation(f"{self.pulled} items were pulled, {waiting} wait, and the report has seen {seen}")
        self.run = None
        self.running.clear()

    def _leave(self, run: Run) -> None:
        run._leave_nothing_in_flight()  # noqa: SLF001 - as `Run.running` does
        run._close_report(0.0)  # noqa: SLF001 - as `Run.running` does

    def _finish(self, start_seq: int, event: OutcomeEvent) -> None:
        assert self.run is not None
        self.run.dispatcher.finish(self.running.pop(start_seq), event)
        kind = type(event)
        self._fates[start_seq] = SUCCEEDED if kind is ItemSucceeded else FAILED if kind is ItemFailed else INTERRUPTED
        if isinstance(event, ItemFailed) and event.final:
            self._fates[start_seq] = ABANDONED

    def _settle_what_earlier_runs_left(self, run: Run) -> None:
        self.world.model.catch_up()
        left = {seq: self.fate_of(seq) for seq in self.world.model.started_by(self.number)}
        run.begin()
        self.world.model.catch_up()
        self._check_fates(left, "when the next run began")

    def _check_fates(self, left: dict[int, str], when: str) -> None:
        for seq, fate in left.items():
            known = next(known for known in self.world.model.items.values() if known.start_seq == seq)
            expected = DOUBTED if fate == INTERRUPTED else fate
            if known.status != expected:
                raise Violation(f"start {seq} was {fate} {when}, and is {known.status}")

    def _end_in_need(self, *, goes_on: bool) -> None:
        """End as a Runner does whose log fails it: leave nothing in flight; then run again, close, or be lost."""
        try:
            if self.run is not None:
                run, self.run = self.run, None
                # Its workers have not ended: what they run goes on, what they were handed they may still begin.
                self.left.update({seq: (run, attempt) for seq, attempt in self.running.items()})
                self.late += [(run, attempt) for attempt in self.ready]
                self.ready.clear()
                self.running.clear()
                self._leave(run)
            if goes_on and self in self.world.processes and not self.writer.closed:
                return
            if self in self.world.processes and not self.writer.closed:
                self.close()
            else:
                self.world.forget(self)
        except Died:
            self.world.kill(self)
        except LogError:
            if self in self.world.processes:
                self.world.kill(self)
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"{type(error).__name__}: {error}") from error

    # --- Sources and outcomes -------------------------------------------------------------------------

    def _counted(self, items: Iterable[str]) -> Iterator[str]:
        for item in items:
            self.pulled += 1
            yield item

    def _pages(self, items: Sequence[str], pages: Pages) -> Iterator[str]:
        cursor = self.writer.state.cursors.get("pages")
        return self._counted(read_pages(fetching(items), PAGE_SIZE, cursor, pages))

    def _delivered(self, outcome: Outcome[Any]) -> None:
        """Check that what the run tells is on disk (P3)."""
        self.world.model.catch_up()
        # It may be old news: another session may have settled or started the item since.
        been = self.world.model.been.get(outcome.item_id, ())
        # A failure that is final is told as the failure that it is.
        is_final = outcome.status is Status.FAILED and outcome.item_id in self.world.model.given_up
        if outcome.status.word not in been and not is_final:
            raise Violation(f"{outcome.item_id} is yielded as {outcome.status.word}, and the log says {been}")
