"""`Runner`: the way in. One object, one log, one session; its methods are the public API.

Imported by the package itself and the command line. Invariant: opening a Runner has recovered the
log; closing it, or losing it, leaves a log that the next one opens.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from wal_runner.core.lost_reply import lost_reply
from wal_runner.log import host
from wal_runner.log.format import RESULT_BYTES_MAX
from wal_runner.log.named_values import classes_by_name
from wal_runner.recovery import verdicts
from wal_runner.recovery.deaths import MAX_DEATHS
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.recover import keep_writer
from wal_runner.runner.cancelling import check_asyncio
from wal_runner.runner.claims import Claims, no_function
from wal_runner.runner.doubts import attempt_named, doubts_in
from wal_runner.runner.execution import check_function
from wal_runner.runner.iterating import outcomes_of
from wal_runner.runner.locks import SessionLocks
from wal_runner.runner.one_run import OneRun
from wal_runner.runner.options import CANCEL_WAIT_S, RunOptions
from wal_runner.runner.pages import Pages, read_pages, read_pages_async
from wal_runner.runner.progress import Progress
from wal_runner.runner.renewal import CONNECT_TIMEOUT_S
from wal_runner.runner.run import Run


if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import TracebackType

    from wal_runner.core.events import Status
    from wal_runner.core.lost_reply import Setting
    from wal_runner.recovery.reader import HistoryEntry, Item
    from wal_runner.recovery.verdicts import Verdict
    from wal_runner.recovery.writer import LogWriter
    from wal_runner.runner.doubts import Doubt, Reconciler
    from wal_runner.runner.outcome import Outcome
    from wal_runner.runner.renewal import Renew
    from wal_runner.runner.report import RunReport

T = TypeVar("T")


class Runner(SessionLocks):
    """Runs batches over one log; creates the log at *path*, or recovers it.

    With ``must_exist=True`` a path without a log raises `LogMissing` instead of creating one. With ``take_over=True``
    a Runner that this process has on the log is closed first, if no run of it is going on. When the constructor
    returns, sessions that died are on record, and what they had begun is in doubt. Use it as a context manager, or
    call `close`. Its methods may be called from any thread, one run at a time.

    A log that was copied, restored or moved to another disk is refused (`LogCopied`) until *accept_copy* says, on
    record, that it may go on here. Left in a program, it accepts old copies too, which repeat what was done since.
    Results of the classes in *result_types* (Enums, dataclasses, NamedTuples, pydantic models, numpy's
    scalar types and ndarray) come back as instances of these; others come back as `StoredValue`.

    Raises `NotALog`, `LogCopied`, `LogLost`, `LogWentBack`, `LogCorrupt`, `LogTooNew`, `LogBusy`, `LogReadOnly`,
    `DiskFull`, `UnsafeFileSystem`, `LogUnsafe`, and `LogAlreadyOpen` where this process has a Runner on it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        must_exist: bool = False,
        accept_copy: bool = False,
        take_over: bool = False,
        result_types: Iterable[type] = (),
    ) -> None:
        self._classes = classes_by_name(result_types)
        self.created = keep_writer(
            path, self._keep, must_exist=must_exist, accept_copy=accept_copy, take_over=take_over
        )

    # --- Opening and closing ---------------------------------------------------------------

    @staticmethod
    def open_read(path: str | os.PathLike[str], result_types: Iterable[type] = ()) -> LogView:
        """Open the log at *path* for looking only; never writes a byte. Close it, or use ``with``."""
        return LogView.open(path, result_types)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session in order. Closing again does nothing."""
        self._writer.close()
        self._finalizer.detach()

    # --- Running ---------------------------------------------------------------------------

    def run(
        self,
        items: Iterable[T],
        fn: Callable[..., Any],
        *,
        key: object = None,
        workers: int = 1,
        outcome_unknown: Setting = lost_reply,
        reconcile: Reconciler | None = None,
        idempotent: bool = False,
        max_deaths: int | None = MAX_DEATHS,
        per_worker: Callable[[], AbstractContextManager[Any]] | None = None,
        renew: Renew = None,
        connect_timeout: float = CONNECT_TIMEOUT_S,
        max_in_doubt: int | None = None,
        on_duplicate: str = "skip",
        signals: bool = True,
        progress: bool = False,
        results: str = "optional",
        result_bytes_max: int = RESULT_BYTES_MAX,
    ) -> RunReport:
        """Run ``fn(item)`` for each item that is not done, and give the report when all is durable.

        *key* names an item: a field, a tuple of fields, a function of the item, or `by_content`;
        None takes items that are text or ints. *workers* threads run at once. An exception of fn is
        a failure, tried again by the next run, unless *outcome_unknown* says that the reply was lost:
        then the item is in doubt and held. *reconcile* is asked about doubts before the first start
        and at the end. With *idempotent* doubts are redone. An item that was in flight in two deaths of its
        process runs after the source has ended, alone; after *max_deaths*, the last one alone, it is held in
        doubt until a person settles it, whatever *idempotent* and *reconcile* say (None: no bound).
        *per_worker* makes a context manager, entered once a worker, whose value fn gets as second
        argument. After an exception of fn that says that the connection is unusable, the worker leaves it and enters
        another one before its next item, and tries again as long as connecting fails. *renew* is a function of the
        exception that decides instead, True (after any) or False (never). When no worker has had a connection for
        *connect_timeout* seconds, the run ends in order: the report's *ended_because* is "connection".
        *max_in_doubt* bounds what a power cut can leave in doubt; 1 commits each item by itself. *on_duplicate*
        "error" refuses an id that comes twice. *signals* takes SIGINT and SIGTERM over during the run, in the main
        thread; a handler that the program has set is called as well, and what it raises is raised when the run has
        stopped.

        A result that cannot be kept, or takes more than *result_bytes_max* bytes (32 MiB at most), is
        omitted: the item has succeeded all the same, and the report says how many and why. With
        *results* "required" such an item ends the run in order: what runs is finished, nothing more is
        started, and the report's *ended_because* is "result_required".

        Raises `Interrupted` after a signal, whatever the source raised once what ran has finished,
        `KeyRuleChanged`, `ItemIdInvalid`, and the errors of the log.
        """
        options = RunOptions(
            key=key,
            workers=workers,
            outcome_unknown=outcome_unknown,
            reconcile=reconcile,
            idempotent=idempotent,
            max_deaths=max_deaths,
            per_worker=per_worker,
            renew=renew,
            connect_timeout=connect_timeout,
            max_in_doubt=max_in_doubt,
            on_duplicate=on_duplicate,
            signals=signals,
            progress=progress,
            results=results,
            result_bytes_max=result_bytes_max,
        )
        return self.run_with(items, fn, options)

    def run_with(self, items: Iterable[T], fn: Callable[..., Any], options: RunOptions) -> RunReport:
        """As `run`, told by *options*; for the command line and other rooms of the package."""
        check_function(fn, is_async=False)
        with self._one_at_a_time():
            return self._run(self._new_run(items, fn, options))

    def run_iter(
        self,
        items: Iterable[T],
        fn: Callable[..., Any],
        *,
        ordered: bool = False,
        **options: Any,  # noqa: ANN401 - those of `run`
    ) -> Iterator[Outcome[T]]:
        """As `run`, and yield each item's outcome once it is durable, those of former runs too.

        With *ordered* they come in the order of the source. Closing the iterator early releases
        what had not begun.
        """
        settings = RunOptions(**options)
        check_function(fn, is_async=False)
        return self._iterate(items, fn, settings, ordered=ordered)

    async def run_async(
        self,
        items: Iterable[T] | AsyncIterable[T],
        fn: Callable[..., Awaitable[Any]],
        *,
        concurrency: int = 100,
        per_worker: Callable[[], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]] | None = None,
        cancel_wait: float = CANCEL_WAIT_S,
        **options: Any,  # noqa: ANN401 - those of `run`
    ) -> RunReport:
        """Run as `run` does, with *concurrency* coroutines; *items* may be an asynchronous iterator.

        Cancelling it cancels every fn, and leaves what was running in doubt. It raises CancelledError when all of
        them have ended, also if it is cancelled again meanwhile. An fn that goes on for *cancel_wait* seconds
        (it swallows the cancellation, or works in a thread) is left behind: named in the report's `left_behind`,
        and in that of the exception.

        Raises RuntimeError outside of asyncio. After a signal, `Interrupted` is raised in the main task only, the one
        of ``asyncio.run``; another task gets the report, with `interrupted` set, and nothing is raised into the loop.
        """
        check_asyncio("run_async")
        settings = RunOptions(workers=concurrency, per_worker=per_worker, cancel_wait=cancel_wait, **options)
        check_function(fn, is_async=True, arguments="run_async(items, fn)")
        with self._one_at_a_time():
            source = items.__aiter__() if hasattr(items, "__aiter__") else None
            run = self._new_run(None if source is not None else items, fn, settings)  # type: ignore[arg-type]
            with Progress.of(run, enabled=settings.progress):
                await run.perform(concurrency, source)
            return run.report

    def run_pages(
        self,
        fetch_page: Callable[[Any, int], tuple[Iterable[T], Any]],
        fn: Callable[..., Any],
        *,
        page_size: int = 200,
        source: str = "pages",
        **options: Any,  # noqa: ANN401 - those of `run`
    ) -> RunReport:
        """As `run`, for a source that comes in pages: ``fetch_page(cursor, page_size)``.

        It gives ``(items, next_cursor)``; the first cursor is None, and so is the one after the last
        page. The cursor is saved with the page's last outcome, so a run that died resumes in the page
        where it died. It is cleared when the source ends: the next run pages again, and retries what
        failed. *source* names the cursor, where a log has several.
        """
        settings = RunOptions(**options)
        check_function(fn, is_async=False, arguments="run_pages(fetch_page, fn)")
        check_function(fetch_page, is_async=False, arguments="run_pages(fetch_page, fn)")
        with self._one_at_a_time():
            pages = Pages(source)
            cursor = self._writer.state.cursors.get(source)
            return self._run(self._new_run(read_pages(fetch_page, page_size, cursor, pages), fn, settings, pages=pages))

    async def run_pages_async(
        self,
        fetch_page: Callable[[Any, int], Awaitable[tuple[Iterable[T], Any]]],
        fn: Callable[..., Awaitable[Any]],
        *,
        page_size: int = 200,
        source: str = "pages",
        concurrency: int = 100,
        cancel_wait: float = CANCEL_WAIT_S,
        **options: Any,  # noqa: ANN401 - those of `run`
    ) -> RunReport:
        """Run as `run_pages` does, with coroutine functions; see `run_async` for what cancelling it does."""
        check_asyncio("run_pages_async")
        settings = RunOptions(workers=concurrency, cancel_wait=cancel_wait, **options)
        check_function(fn, is_async=True, arguments="run_pages_async(fetch_page, fn)")
        check_function(fetch_page, is_async=True, arguments="run_pages_async(fetch_page, fn)")
        with self._one_at_a_time():
            pages = Pages(source)
            items = read_pages_async(fetch_page, page_size, self._writer.state.cursors.get(source), pages)
            run = self._new_run(None, fn, settings, pages=pages)
            with Progress.of(run, enabled=settings.progress):
                await run.perform(concurrency, items)
            return run.report

    def claim(
        self,
        items: Iterable[T],
        *,
        on_error: str = "swallow",
        **options: Any,  # noqa: ANN401 - those of `run`, without workers and per_worker
    ) -> Claims[T]:
        """Give the loop form: ``for attempt in runner.claim(items): with attempt as item: ...``.

        Leaving the block is success, with ``attempt.result`` kept; an Exception in it is recorded
        and swallowed (*on_error* "raise" raises it again); ``attempt.fail("why")`` records a failure.
        Works with ``async for`` and ``async with`` too.
        """
        if on_error not in {"swallow", "raise"}:
            raise ValueError(f'on_error={on_error!r} is unknown. Give "swallow" or "raise".')
        settings = RunOptions(**options)
        run = self._new_run(items, no_function, settings, on_error_raise=on_error == "raise")
        return Claims(run, self._one_at_a_time, self)

    # --- Looking -----------------------------------------------------------------------------

    def status(self, item_id: object) -> Status:
        """Give an item's status; PENDING where the log has never heard of it."""
        return self._view.status(item_id)

    def items(self, status: Status | None = None) -> Iterator[Item]:
        """Give every item that the log knows, those of *status* if one is given, in id order."""
        return self._view.items(status)

    def counts(self) -> Mapping[Status, int]:
        """Return how many items the log knows in each status."""
        return self._view.counts()

    def in_doubt(self) -> list[Doubt]:
        """Give what is in doubt, the oldest first."""
        with self._writer.lock:
            self._writer.catch_up()
            return doubts_in(self._writer.state, self._writer.log.log_id)

    def results(self) -> Iterator[tuple[str, Any]]:
        """Give (item id, result) of every item that succeeded and whose result was not omitted."""
        return self._view.results()

    def history(self, item_id: object) -> list[HistoryEntry]:
        """Give every event of one item that the log still holds, in order."""
        return self._view.history(item_id)

    # --- Settling ----------------------------------------------------------------------------

    def resolve(
        self,
        item: object,
        verdict: Verdict,
        *,
        note: str = "",
        by: str | None = None,
        start_seq: int | None = None,
    ) -> None:
        """Settle the doubt of one attempt, durably and on record.

        Args:
            item: The `Doubt` that the answer is about, as `in_doubt` returned it; or an item's id, which is enough
                while the item was started once.
            verdict: What became of the attempt.
            note: What the evidence is; it stays on record.
            by: Who says so; the user's name if not given.
            start_seq: With an id: the attempt that the answer is about, as `Doubt.start_seq` names it.

        Raises:
            VerdictRefused: The attempt is not in doubt (any more), or the item was started more than once and the
                attempt is not named. Nothing was written.
            ItemUnknown: The log does not know the item.

        """
        name, start_seq = attempt_named(item, start_seq, self._view.id_of)
        starts = {} if start_seq is None else {name: start_seq}
        verdicts.resolve(self._writer, {name: verdict}, by=by or host.user_name(), note=note, starts=starts)

    def retry(self, ids: Iterable[object], *, note: str = "", by: str | None = None, succeeded: bool = False) -> int:
        """Reopen failed or abandoned items for the next run, on record; give how many.

        They get a new idempotency key. Items that succeeded are refused unless *succeeded* is true.
        """
        if isinstance(ids, str):
            raise TypeError(f"retry takes several ids, and {ids[:40]!r} is one text. Write it in a list.")
        names = map(self._view.id_of, ids)
        return verdicts.reopen(self._writer, names, by=by or host.user_name(), note=note, succeeded=succeeded)

    # --- Helpers -------------------------------------------------------------------------------

    @property
    def writer(self) -> LogWriter:
        """Give what appends to the log; for the command line and other rooms of the package."""
        return self._writer

    def _new_run(self, items: Iterable[Any] | None, fn: Callable[..., Any], options: RunOptions, **more: Any) -> Run:  # noqa: ANN401
        return Run(self._writer, items, fn, options, classes=self._classes, **more)

    def _run(self, run: Run) -> RunReport:
        with Progress.of(run, enabled=run.options.progress):
            for _ in run.steps():
                pass
        return run.report

    def _iterate(
        self, items: Iterable[T], fn: Callable[..., Any], options: RunOptions, *, ordered: bool
    ) -> Iterator[Outcome[T]]:
        with self._one_at_a_time():
            yield from outcomes_of(partial(self._new_run, items, fn, options), ordered=ordered)

    def _keep(self, writer: LogWriter) -> None:
        self._writer = writer
        self._view = LogView(writer.log, writer.state, live=writer, classes=self._classes)
        self._one_at_a_time = OneRun(writer).running
        self._finalizer = weakref.finalize(self, writer.close)
