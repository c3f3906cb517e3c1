"""Run fn for one attempt and say what became of it.

Imported by the drivers. Invariant: whatever fn does, one outcome comes of it; and an outcome that
nobody knows is never called a failure.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import suppress
from contextvars import copy_context
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any

from wal_runner.core.events import ItemFailed, ItemInterrupted, ItemSucceeded
from wal_runner.core.formats import needs_format_2
from wal_runner.core.shown import a_or_an
from wal_runner.errors import CoroutineReturned, LogForked, UnfinishedReturned, WalRunnerError
from wal_runner.failpoints import failpoint
from wal_runner.log.format import RESULT_BYTES_MAX
from wal_runner.log.results import class_name, encode_result, error_info, printable
from wal_runner.runner.attempt import current
from wal_runner.runner.renewal import ConnectionLost
from wal_runner.runner.report import CONNECTION, RESULT_REQUIRED
from wal_runner.runner.returned import (
    FINISHED_TYPES,
    is_lazy_function,
    is_unstarted_coroutine,
    unfinished,
    unfinished_inside,
)


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from contextvars import Context

    from wal_runner.core.events import OutcomeEvent
    from wal_runner.runner.attempt import Attempt
    from wal_runner.runner.dispatcher import Dispatcher

    IsUnknown = Callable[[BaseException], bool]

REASON_CHARS_MAX = 500
_now = time.perf_counter_ns
_make: Any = tuple.__new__


class Execution:
    """How the items of one run are executed: fn, and which of its errors leave doubt."""

    def __init__(
        self,
        fn: Callable[..., Any],
        dispatcher: Dispatcher,
        *,
        is_unknown: IsUnknown,
        idempotent: bool,
        result_bytes_max: int = RESULT_BYTES_MAX,
        results_required: bool = False,
        renews: Callable[[BaseException], bool] | None = None,
    ) -> None:
        self.fn = fn
        self._dispatcher = dispatcher
        self._begin = dispatcher.scratch.begin
        self._fence = dispatcher.fence
        self._watch = dispatcher.feed.watch
        self._is_unknown = is_unknown
        self._idempotent = idempotent
        self._result_bytes_max = result_bytes_max
        self._results_required = results_required
        self._renews = renews
        self.fatal: BaseException | None = None
        """An error that stops the run: the code that calls us is wrong, and each item would show it."""
        self.ended_because: str | None = None
        """Why the run ends before its source does, if that is not an error."""
        self.connect_error: str | None = None
        """The last error of an attempt to connect again, in words, if the run ends for it."""
        self.is_over = False
        """True once nothing more is to be started, for one of these reasons."""

    def end_for_an_omission(self) -> None:
        """End the run in order if every result is required: one of them could not be kept."""
        if self._results_required:
            self.ended_because = RESULT_REQUIRED
            self.is_over = True

    def end_without_connection(self, last_error: str) -> None:
        """End the run in order: no worker could connect again, and *last_error* was the last attempt's."""
        if not self.is_over:
            self.connect_error = last_error
            self.ended_because = CONNECTION
            self.is_over = True

    def check_connection(self, error: BaseException) -> None:
        """Raise `ConnectionLost` if *error* of fn calls for a new connection of its worker."""
        if self._renews is None:
            return
        try:
            is_due = self._renews(error)
        except Exception as broken:  # noqa: BLE001 - renew= is the user's
            self._end_with(broken)
            return
        if is_due:
            raise ConnectionLost(error)

    def run(self, attempt: Attempt, *worker_value: Any) -> None:  # noqa: ANN401 - the user's own
        """Call fn for *attempt* and hand its outcome to the dispatcher.

        A BaseException (KeyboardInterrupt, SystemExit) is recorded as doubt and raised again. Raises `ConnectionLost`,
        once the outcome is recorded, if the worker needs a new connection before its next item.
        """
        start_seq, finish = attempt.start_seq, self._dispatcher.finish
        if self._fence.closed or (self._watch.is_guarding and not self._dispatcher.may_begin(attempt)):
            return
        self._begin(attempt.slot, start_seq)
        # Behind the mark, as in `Dispatcher.begin`: a run that has ended may have released this start.
        if self._fence.closed:
            return  # type: ignore[unreachable]  # another thread closes it
        failpoint("run.before_effect")
        began = _now()
        try:
            value = copy_context().run(_call, attempt, self.fn, worker_value)
        except Exception as error:  # noqa: BLE001 - whatever fn raises is its outcome
            finish(attempt, self.judge(start_seq, _now() - began, error))
            self.check_connection(error)
        except BaseException as error:
            with suppress(LogForked):  # a child that leaves by sys.exit() leaves
                finish(attempt, interrupted(start_seq, _now() - began, error))
            raise
        else:
            if value is None:
                # Made as its constructor makes it, in half the time.
                finish(attempt, _make(ItemSucceeded, (start_seq, _now() - began, None, None)))
            else:
                finish(attempt, self.success(start_seq, _now() - began, value))

    async def run_async(self, attempt: Attempt, *worker_value: Any) -> None:  # noqa: ANN401 - the user's own
        """Await fn for *attempt*; cancellation leaves doubt, and is raised again. Raises as `run` does."""
        dispatcher = self._dispatcher
        if (self._watch.is_guarding and not dispatcher.may_begin(attempt)) or not dispatcher.begin(attempt):
            return
        failpoint("run.before_effect")
        began = _now()
        context = copy_context()
        try:
            value = context.run(_call, attempt, self.fn, worker_value)
            if hasattr(type(value), "__await__"):
                value = await _in_context(context, value)
            else:
                # fn has run: its item is done, and the next one is not to be run so.
                self._end_with(
                    TypeError(
                        f"{name_of(self.fn)} is not a coroutine function: it returned "
                        f"{a_or_an(type(value).__name__)}. Use run."
                    )
                )
        except Exception as error:  # noqa: BLE001 - whatever fn raises is its outcome
            dispatcher.finish(attempt, self.judge(attempt.start_seq, _now() - began, error))
            self.check_connection(error)
        except BaseException as error:
            dispatcher.finish(attempt, interrupted(attempt.start_seq, _now() - began, error))
            raise
        else:
            dispatcher.finish(attempt, self.success(attempt.start_seq, _now() - began, value))

    def success(self, start_seq: int, elapsed_ns: int, value: object) -> OutcomeEvent:
        """Return the outcome of an fn that returned *value*: succeeded, if its work has ended."""
        if type(value) not in FINISHED_TYPES and (work := unfinished(value)) is not None:
            return self._refuse_unfinished(start_seq, elapsed_ns, value, work)
        packed, omitted = encode_result(value, self._result_bytes_max)
        if omitted is not None:
            if (work := unfinished_inside(value)) is not None:
                return self._refuse_unfinished(start_seq, elapsed_ns, value, work)
            self.end_for_an_omission()
        elif needs_format_2(packed):
            self._dispatcher.has_tagged = True
        return ItemSucceeded(start_seq, elapsed_ns, packed, omitted)

    def judge(self, start_seq: int, elapsed_ns: int, error: BaseException) -> OutcomeEvent:
        """Give the outcome of an fn that raised *error*: failed, or in doubt if the reply was lost."""
        try:
            unknown = self._is_unknown(error)
        except Exception as broken:  # noqa: BLE001 - outcome_unknown= is the user's
            self._end_with(broken)
            unknown = True
        if unknown and not self._idempotent:
            reason = f"{class_name(error)}: {printable(error, REASON_CHARS_MAX)}"
            return ItemInterrupted(start_seq, elapsed_ns, reason, error_info(error))
        return ItemFailed(start_seq, elapsed_ns, error_info(error))

    def _refuse_unfinished(self, start_seq: int, elapsed_ns: int, value: Any, work: str) -> OutcomeEvent:  # noqa: ANN401
        if is_unstarted_coroutine(value):
            value.close()  # or Python warns that it was never awaited
            error: WalRunnerError = CoroutineReturned(
                f"{name_of(self.fn)} returned a coroutine, which nobody awaits, so nothing was done. "
                "Use run_async for it, or await it in fn."
            )
            self._end_with(error)
            return ItemFailed(start_seq, elapsed_ns, error_info(error))
        # Its body has run, and the work may run yet: calling that a failure would repeat it.
        error = UnfinishedReturned(
            f"{name_of(self.fn)} returned {a_or_an(work)}, so its work has not ended. Its item is in doubt, and "
            "nothing more was started. Wait for the work inside of fn, and return its result."
        )
        self._end_with(error)
        return ItemInterrupted(start_seq, elapsed_ns, f"fn returned {a_or_an(work)}", error_info(error))

    def _end_with(self, error: BaseException) -> None:
        self.fatal = error if self.fatal is None else self.fatal  # not `or`: the truth of a user's error may raise
        self.is_over = True


def interrupted(start_seq: int, elapsed_ns: int, error: BaseException) -> ItemInterrupted:
    """Give the outcome of an fn that did not end by itself."""
    return ItemInterrupted(start_seq, elapsed_ns, f"fn was ended by {class_name(error)}", error_info(error))


def check_function(fn: object, *, is_async: bool, arguments: str = "run(items, fn)") -> None:
    """Refuse what cannot be run, before any start."""
    if not callable(fn):
        raise TypeError(f"{fn!r:.80} is not a function. The order is {arguments}.")
    if is_lazy_function(fn):
        # Each item would count as done, and nothing have been done.
        raise TypeError(
            f"{name_of(fn)} is a generator function, or wraps one: calling it runs nothing of it. Take its yield out; "
            "if a decorator runs it to its end, wrap it in a plain function."
        )
    is_coroutine_function = asyncio.iscoroutinefunction(fn) or asyncio.iscoroutinefunction(
        getattr(fn, "__call__", None)  # noqa: B004 - an object with an async __call__
    )
    if is_coroutine_function and not is_async:
        raise TypeError(f"{name_of(fn)} is a coroutine function. Use run_async, or give a plain function.")
    if is_async and not is_coroutine_function and not _may_be_awaitable(fn):
        raise TypeError(f"{name_of(fn)} is not a coroutine function. Use run, or make it one.")


def _may_be_awaitable(fn: object) -> bool:
    # A partial or a decorated function may return a coroutine without looking like one.
    return not inspect.isfunction(fn)


def name_of(fn: object) -> str:
    """Give fn's name for a message or the log."""
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def _call(attempt: Attempt, fn: Callable[..., Any], worker_value: tuple[Any, ...]) -> Any:  # noqa: ANN401
    current.set(attempt)
    return fn(attempt.item, *worker_value)


@coroutine
def _in_context(context: Context, awaitable: Awaitable[Any]) -> Generator[Any, Any, Any]:
    """Await with *context* as the current one: a coroutine shares its worker's, and would leave its own behind."""
    inner: Any = awaitable if isinstance(awaitable, CoroutineType) else _awaiting(awaitable)
    step, send = context.run, inner.send
    try:
        waits_for = step(send, None)
        while True:
            try:
                reply = yield waits_for
            except GeneratorExit:
                step(inner.close)
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in, cancellation too
                waits_for = step(inner.throw, error)
            else:
                waits_for = step(send, reply)
    except StopIteration as end:
        return end.value


async def _awaiting(awaitable: Awaitable[Any]) -> Any:  # noqa: ANN401 - the user's own
    return await awaitable
