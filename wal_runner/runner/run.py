"""One run, whatever drives it: what comes before the first start, and what after the last.

Imported by the runner. Invariant: a run ends with nothing in flight. Whatever it started has a
durable outcome, was released, or is in doubt on record, also when an exception ended it.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from wal_runner.core.events import Status
from wal_runner.core.identity import key_rule
from wal_runner.core.items import item_of
from wal_runner.core.lost_reply import unknown_when
from wal_runner.errors import Interrupted, LogError, LogReplaced, SessionDeclaredLost, WalRunnerError, listed
from wal_runner.log.format import RESULT_BYTES_MAX
from wal_runner.log.results import NO_CLASSES
from wal_runner.log.rows import row_of
from wal_runner.recovery.deaths import DeathLimit
from wal_runner.recovery.formats import FORMAT_OF_LARGE_RESULTS
from wal_runner.recovery.late import record_late
from wal_runner.recovery.naming import set_key_rule
from wal_runner.recovery.recover import bury_the_dead
from wal_runner.recovery.verdicts import Verdict, resolve
from wal_runner.runner.cancelling import is_main_task
from wal_runner.runner.chunks import Candidate
from wal_runner.runner.coroutines import run_in_coroutines
from wal_runner.runner.dispatcher import Dispatcher
from wal_runner.runner.doubts import doubts_in
from wal_runner.runner.execution import Execution, name_of
from wal_runner.runner.feed import Feed
from wal_runner.runner.flusher import Flusher
from wal_runner.runner.left_behind import name_left_behind, naming_left_behind
from wal_runner.runner.renewal import Connections, renew_when
from wal_runner.runner.serial import run_serially
from wal_runner.runner.settling import Settling
from wal_runner.runner.stopping import Stopping
from wal_runner.runner.threads import run_in_threads
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping

    from wal_runner.core.items import ItemState
    from wal_runner.recovery.writer import LogWriter
    from wal_runner.runner.options import RunOptions
    from wal_runner.runner.ordering import Ordering
    from wal_runner.runner.outcome import Outcome
    from wal_runner.runner.pages import Pages
    from wal_runner.runner.renewal import Reconnecting
    from wal_runner.runner.report import RunReport

logger = ShieldedLogger(__name__)

ENDED_NOT_OK: Final = "The run of %s ended with %s.%s"
"""The one warning at the end of a run; the command line leaves it out, for it says so itself."""

DOUBTS_ADVICE: Final = (
    " Settle what is in doubt with reconcile=, runner.resolve or `walrun resolve`; or, if running an item again is "
    "harmless, use idempotent=True: lost replies are failures then, and doubts are run again."
)

RESULTS_OMITTED: Final = "The run of %s could not keep the results of %d items; they have succeeded. The first, %s: %s"
"""The one warning of a run about all omitted results; the command line leaves it out, too."""

ROUNDS_MAX: Final = 3
"""Items that a verdict or a death sets free are run in the same run, in so many rounds in all: a
reconciler that sees nothing happen again and again must not keep a run going for ever."""


class Run:
    """The parts of one run, put together."""

    def __init__(
        self,
        writer: LogWriter,
        source: Iterable[Any] | None,
        fn: Callable[..., Any],
        options: RunOptions,
        *,
        pages: Pages | None = None,
        deliver: Callable[[Outcome[Any]], None] | None = None,
        order: Ordering[Any] | None = None,
        on_error_raise: bool = False,
        classes: Mapping[str, type] = NO_CLASSES,
    ) -> None:
        self.options = options
        self.on_error_raise = on_error_raise
        self.source = source
        self.stopping = Stopping(options.interrupt)
        self._writer = writer
        self._rule = key_rule(options.key)
        self._deaths = DeathLimit(writer, options.max_deaths, keeps_order=pages is not None or order is not None)
        self.settling = Settling(
            idempotent=options.idempotent,
            deliver=deliver,
            on_duplicate=None if order is None else order.drop,
            classes=classes,
            with_text=lambda error: writer.state.with_text(error),  # noqa: PLW0108 - the state may be loaded again
            on_omitted=lambda: self.execution.end_for_an_omission(),  # noqa: PLW0108 - it is made below
        )
        self.feed = Feed(
            source,
            self._rule,
            writer,
            self.settling,
            refuse_duplicates=options.on_duplicate == "error",
            pages=pages,
            expect=None if order is None else order.expect,
            would_block=options.would_block,
            reads_ahead=options.in_doubt_max > 1,
        )
        self.dispatcher = Dispatcher(
            writer,
            self.feed,
            self.settling,
            window_max=options.window_max,
            in_doubt_max=options.in_doubt_max,
            is_stopping=lambda: self.stopping.is_asked,
            pages=pages,
            deaths=self._deaths,
        )
        self.execution = Execution(
            fn,
            self.dispatcher,
            is_unknown=unknown_when(options.outcome_unknown),
            idempotent=options.idempotent,
            result_bytes_max=options.result_bytes_max,
            results_required=options.results_required,
            renews=None if options.per_worker is None else renew_when(options.renew),
        )
        self.connections = Connections(
            options.per_worker,
            workers=options.workers,
            timeout_s=options.connect_timeout,
            is_ending=lambda: self.is_ending or self.dispatcher.fence.closed,
            give_up=self.execution.end_without_connection,
        )
        self._rounds = 1

    @property
    def report(self) -> RunReport:
        """Give the numbers so far."""
        return self.settling.report

    def reconnecting(self) -> Reconnecting | None:
        """Return how many workers reconnect; None if none does."""
        return self.connections.reconnecting()

    @property
    def is_ending(self) -> bool:
        """Say whether nothing more is to be started."""
        return self.stopping.is_asked or self.execution.is_over

    # --- The drivers ---------------------------------------------------------------------

    def steps(self) -> Generator[None, None, None]:
        """Run everything; yield whenever outcomes have become durable."""
        options = self.options
        with self.running():
            while True:
                if options.workers == 1:
                    yield from run_serially(self.dispatcher, self.execution, self.stopping, self.connections)
                else:
                    yield from run_in_threads(
                        self.dispatcher, self.execution, self.stopping, options.workers, self.connections
                    )
                if not self.another_round():
                    break

    async def perform(self, concurrency: int, source: AsyncIterator[Any] | None) -> None:
        """Run everything in coroutines."""
        self.stopping.in_background = not is_main_task()
        with self.running():
            while True:
                await run_in_coroutines(
                    self.dispatcher,
                    self.execution,
                    self.stopping,
                    concurrency=concurrency,
                    source=source,
                    connections=self.connections,
                    cancel_wait=self.options.cancel_wait,
                )
                source = None
                if not self.another_round():
                    break

    @contextmanager
    def running(self) -> Iterator[None]:
        """Do what comes before and after; raise what the run must raise."""
        began = time.perf_counter()
        self.stopping.feed = self.feed
        with naming_left_behind(self.report), self.stopping.handling_signals(wanted=self.options.signals):
            try:
                self.begin()
                try:
                    self.prepare()
                    look = None if self.options.per_worker is None else self.connections.look
                    with Flusher(self.dispatcher, look) as flusher:
                        yield
                    flusher.check()
                except KeyboardInterrupt:
                    # The second Ctrl-C ended fn; what it left is on record by now.
                    if not self.stopping.is_urgent:
                        raise
                finally:
                    self._leave_nothing_in_flight()
            finally:
                self._close_report(began)
        self._raise_what_is_due()

    # --- Before and after --------------------------------------------------------------

    def begin(self) -> None:
        """Settle what earlier runs of this Runner left without an outcome, and fix the seq at which this run begins."""
        try:
            self.dispatcher.begin_run()
        except (SessionDeclaredLost, LogReplaced):
            # The outcomes of fns that outlived their run: this session cannot append them any more.
            self._record_late()
            raise
        # It has caught up, too: a failure that another process has just recorded is older than this run.
        self.feed.begin(self._writer.state.seq)

    def prepare(self) -> None:
        """Do what comes before the first start: the format, the key rule, the dead sessions, the reconciler."""
        self._ask_for_what_the_options_need()
        set_key_rule(self._writer, self._rule.name)
        bury_the_dead(self._writer)
        self._reconcile()

    def another_round(self) -> bool:
        """Look again at what was in doubt or running elsewhere; say whether some of it can run now."""
        if self.is_ending or self.feed.error is not None:
            return False
        if not self.settling.at_hand or self._rounds >= ROUNDS_MAX:
            return False
        self._rounds += 1
        bury_the_dead(self._writer)
        self._reconcile()
        return self._free_at_hand() > 0

    def _ask_for_what_the_options_need(self) -> None:
        """Raise `OlderVersionRunning` before the first start if a session could not read what was asked for."""
        if self.options.result_bytes_max > RESULT_BYTES_MAX:
            self._writer.require_format(FORMAT_OF_LARGE_RESULTS)

    def _reconcile(self) -> None:
        if self.options.reconcile is None:
            return
        doubts = doubts_in(self._writer.state, self._writer.log.log_id)
        if not doubts:
            return
        verdicts = self.options.reconcile(doubts)
        name = name_of(self.options.reconcile)
        _check_verdicts(verdicts, name)
        starts = {doubt.item_id: doubt.start_seq for doubt in doubts}
        told = {item_id: verdict for item_id, verdict in verdicts.items() if item_id in starts}
        if len(told) < len(verdicts):
            others = listed([repr(item_id[:80]) for item_id in verdicts if item_id not in starts])
            logger.warning("reconcile=%s gave verdicts on what is not in doubt, which change nothing: %s", name, others)
        if told:
            by = f"reconcile: {name}"
            resolve(self._writer, told, by=by, starts=starts, skip_others=True, deaths=self._deaths)
            self._deaths.warn()

    def _free_at_hand(self) -> int:
        writer = self._writer
        ids = list(self.settling.at_hand)
        candidates: list[Candidate] = []
        with writer.lock:
            values = writer.log.look_up(ids)
            for item_id, value in zip(ids, values, strict=True):
                row = writer.state.row(item_id) or row_of(item_id, value)
                if row is None:
                    continue
                known: ItemState = item_of(row)
                item = self.settling.recount(item_id, known)
                if item is None:
                    continue
                if self.feed.watch.is_as_named(item, item_id):
                    candidates.append(Candidate(item, item_id, known, writer.generation))
                else:
                    self.settling.released(1)  # its source, or fn, has changed it since; the next run gets it anew
        self.feed.add(candidates)
        return len(candidates)

    def _leave_nothing_in_flight(self) -> None:
        """Settle what an exception left: begun is in doubt, the rest is released."""
        writer = self._writer
        if writer.closed or writer.is_the_parents:
            return
        try:
            self.dispatcher.settle_the_rest("the run ended before fn did")
        except (SessionDeclaredLost, LogReplaced) as error:
            self._note_unrecorded(error)
            self._record_late()
        except LogError as error:
            # The next run of this Runner settles these starts by their slots, and so does closing it.
            self._note_unrecorded(error)

    def _note_unrecorded(self, error: LogError) -> None:
        logger.warning("The end of the run could not be written: %s", error)
        # Nothing of them is on record, so as far as this report can say they are in doubt.
        for _ in self.dispatcher.in_flight:
            self.settling.count(Status.IN_DOUBT)

    def _record_late(self) -> None:
        try:
            count = record_late(self._writer, self.dispatcher.known())
        except WalRunnerError as error:
            logger.warning("What this session knows could not be recorded either: %s", error)
            return
        if count:
            logger.warning("Late outcomes were recorded for %d items.", count)

    def _close_report(self, began: float) -> None:
        report, state = self.report, self._writer.state
        report.elapsed = time.perf_counter() - began
        report.totals = {status.word: count for status, count in state.counts.items()}
        if state.timed:
            report.time_saved = report.skipped * state.elapsed_ns / state.timed / 1e9
        report.interrupted = self.stopping.is_asked
        report.ended_because, report.connect_error = self.execution.ended_because, self.execution.connect_error
        if report.first_omitted is not None:
            logger.warning(RESULTS_OMITTED, self._writer.log.path, report.results_omitted, *report.first_omitted)
        if not report.ok:
            advice = DOUBTS_ADVICE if report.in_doubt and not self.options.idempotent else ""
            logger.warning(ENDED_NOT_OK, self._writer.log.path, _in_words(report), advice)

    def _raise_what_is_due(self) -> None:
        if self.stopping.is_asked:
            held = self.stopping.held
            if held is not None and not isinstance(held, KeyboardInterrupt):
                name_left_behind(held, self.report)
                raise held  # SystemExit, mostly, of a handler that the program has set
            if not self.stopping.in_background:
                raise self._interrupted(held)
            # In the background the report says that it was stopped; an error of the source or of fn is still raised.
        for error in (self.execution.fatal, self.feed.error):
            if error is not None:
                name_left_behind(error, self.report)
                raise error

    def _interrupted(self, held: BaseException | None) -> Interrupted:
        """Return what to raise after a signal; its cause is what the signal raised, or what else ended the run."""
        interrupted = Interrupted(
            f"The run was asked to stop, and did: {_in_words(self.report)}. Run the same again to go on.",
            report=self.report,
            signal_number=self.stopping.signal_number,
        )
        name_left_behind(interrupted, self.report)
        causes = (held, self.execution.fatal, self.feed.error)
        interrupted.__cause__ = next((cause for cause in causes if cause is not None), None)
        return interrupted


def _check_verdicts(verdicts: object, name: str) -> None:
    if not isinstance(verdicts, dict) or not all(
        isinstance(item_id, str) and isinstance(verdict, Verdict) for item_id, verdict in verdicts.items()
    ):
        raise TypeError(
            f"reconcile={name} returned {verdicts!r:.80}. Let it return a dict from item id to Verdict, with those "
            "doubts on which there is evidence."
        )


def _in_words(report: RunReport) -> str:
    parts = [
        (report.succeeded, "succeeded"),
        (report.failed, "failed"),
        (report.in_doubt, "in doubt"),
        (report.skipped, "done before"),
        (report.elsewhere, "running elsewhere"),
        (report.released, "released"),
        (report.abandoned, "abandoned"),
    ]
    return ", ".join(f"{count:,} {word}" for count, word in parts if count) or "nothing done"
