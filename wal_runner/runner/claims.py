"""Drive a run in the caller's own loop: ``for attempt in runner.claim(items): with attempt as item: ...``.

Imported by the runner. Invariant: an attempt that was handed out and entered has an outcome when its block is left;
the item of one that was never entered stays pending.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from wal_runner.core.events import ItemFailed
from wal_runner.errors import AttemptMisused, AttemptNotEntered
from wal_runner.failpoints import failpoint
from wal_runner.log.results import error_info
from wal_runner.runner.attempt import Attempt, current
from wal_runner.runner.cancelling import at_its_end, check_asyncio, is_main_task, own_thread
from wal_runner.runner.execution import interrupted
from wal_runner.runner.progress import Progress
from wal_runner.runner.watch import changed


if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import AbstractContextManager
    from contextvars import Context, Token
    from types import TracebackType

    from wal_runner.core.events import OutcomeEvent
    from wal_runner.runner.report import RunReport
    from wal_runner.runner.run import Run

Item = TypeVar("Item")


class ClaimFailed(Exception):
    """The error that the log records for an attempt that was failed by hand."""


class ClaimedAttempt(Attempt, Generic[Item]):
    """An attempt to be entered: ``with attempt as item``. Set `result` to keep one.

    Leaving the block is success. An Exception in it is recorded and swallowed (``on_error="raise"``
    raises it again), and so is one that lost a reply, which leaves doubt; a BaseException leaves
    doubt and is raised.
    """

    def __new__(cls, attempt: Attempt, run: Run) -> Self:
        """Return the claimed attempt for one that the dispatcher started."""
        made: Self = tuple.__new__(cls, attempt)
        made._bind(run)
        return made

    def _bind(self, run: Run) -> None:
        self._dispatcher = run.dispatcher
        self._execution = run.execution
        self._stopping = run.stopping
        self._raises = run.on_error_raise
        self._failure: str | None = None
        self._token: Token[Attempt] | None = None
        self._began = 0
        self.entered = False
        self.released = False
        self.left = False
        self.result: Any = None

    def fail(self, why: str) -> None:
        """Record the attempt as failed when its block is left, with *why* as the error."""
        if not self.entered or self.left:
            raise AttemptMisused(f"{self!r} is not entered. Call fail inside its `with` block.")
        self._failure = why

    def __enter__(self) -> Item:
        return self._enter(may_break_in=True)

    def _enter(self, *, may_break_in: bool) -> Item:
        if self.entered:
            raise AttemptMisused(f"{self!r} was entered before. An attempt is entered once.")
        if self.released:
            raise self._given_back()
        if self._dispatcher.feed.watch.is_guarding and not self._dispatcher.may_begin(self):
            raise changed(self.item, self.item_id)
        self.entered = True
        # `released` again, after the mark: another thread may end the loop at this moment.
        if not self._dispatcher.begin(self) or self.released:
            raise self._dispatcher.feed.error or self._given_back()
        failpoint("run.before_effect")
        # After everything that may raise: if __enter__ fails, __exit__ is not called, and would not undo this.
        self._token = current.set(self)
        self._began = time.perf_counter_ns()
        # The body stands for fn: a second Ctrl-C may raise inside of it.
        self._stopping.in_fn = may_break_in
        item: Item = self.item
        return item

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._stopping.in_fn = False
        took = time.perf_counter_ns() - self._began
        self.left = True
        if self._token is not None:
            current.reset(self._token)
        self._dispatcher.finish(self, self._outcome(took, error))
        # By type: isinstance() reads __class__, which may be a property of a user's exception that raises.
        return kind is not None and issubclass(kind, Exception) and not self._raises

    def _given_back(self) -> AttemptMisused:
        return AttemptMisused(f"{self!r} was given back when its loop ended. Enter an attempt inside of the loop.")

    async def __aenter__(self) -> Item:
        # An exception that a signal handler raises could hit any task of the loop, so this task is cancelled instead.
        item = self._enter(may_break_in=False)
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None, "an asynchronous claim is iterated in a task"
        self._stopping.cancel_body = lambda: loop.call_soon_threadsafe(task.cancel)
        return item

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        stopping = self._stopping
        stopping.cancel_body = None
        is_swallowed = self.__exit__(kind, error, trace)
        if kind is asyncio.CancelledError and stopping.times > 1 and not stopping.in_background:
            task = asyncio.current_task()
            if task is not None and task.cancelling() > 0:
                task.uncancel()
                raise KeyboardInterrupt from error
        return is_swallowed

    def _outcome(self, took_ns: int, error: BaseException | None) -> OutcomeEvent:
        if error is None and self._failure is None:
            return self._execution.success(self.start_seq, took_ns, self.result)
        if error is None:
            return ItemFailed(self.start_seq, took_ns, error_info(ClaimFailed(self._failure)))
        if issubclass(type(error), Exception):
            return self._execution.judge(self.start_seq, took_ns, error)
        return interrupted(self.start_seq, took_ns, error)


class Claims(Generic[Item]):
    """Hands out attempts, one at a time; see `Runner.claim`. Iterate over it once.

    To leave the loop early, call `close`, or use it as a context manager; else closing the Runner ends it.
    """

    def __init__(self, run: Run, one_at_a_time: Callable[[], AbstractContextManager[None]], runner: object) -> None:
        # A Runner that nothing refers to is closed: ``for attempt in Runner(path).claim(items)`` needs it.
        self._runner = runner
        self._hand: _Hand[Item] = _Hand(run)
        # Not a method, which would hold `self` in a cycle: a loop that is left ends its run at once, without the GC.
        self._windows = _claim_windows(self._hand, one_at_a_time)
        self._is_async = False
        self._thread: ThreadPoolExecutor | None = None
        self._context: Context

    @property
    def report(self) -> RunReport:
        """Return the numbers so far; they are final once the loop has ended."""
        return self._hand.run.report

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ClaimedAttempt[Item]:
        try:
            attempt = self._next()
            if attempt is not None:
                return attempt
        except BaseException:
            # The loop ends with it, and its run too: a traceback may keep this object, and the run would go on.
            self.close()
            raise
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ClaimedAttempt[Item]:
        if not self._is_async:
            self._begin_async()
        # Once a window it commits; on a thread, so that the caller's event loop does not wait for the disk.
        try:
            attempt = self._next() if self._hand.window else await self._next_on_a_thread()
            if attempt is not None:
                return attempt
        except asyncio.CancelledError:
            self._end_async()
            raise
        except BaseException:
            self.close()
            raise
        self._end_async()
        raise StopAsyncIteration

    def _begin_async(self) -> None:
        check_asyncio("`async for` over claim")
        self._is_async = True
        # The run begins on a thread of its own; only here, in the main thread, can signals be taken over.
        stopping = self._hand.run.stopping
        stopping.in_background = not is_main_task()
        if stopping.take_signals(wanted=self._hand.run.options.signals):
            weakref.finalize(self, stopping.give_signals_back)

    def _end_async(self) -> None:
        if self._is_async:
            self._hand.run.stopping.give_signals_back()
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    async def _next_on_a_thread(self) -> ClaimedAttempt[Item] | None:
        if self._thread is None:
            self._thread, self._context = own_thread(self._hand.run.feed), copy_context()
        loop = asyncio.get_running_loop()
        coming = loop.run_in_executor(self._thread, self._context.run, self._next)
        try:
            return await asyncio.shield(coming)
        except asyncio.CancelledError:
            # Finish the step that has begun: a run in the middle of a step cannot be ended. The attempts that it
            # claims are not entered, and are released with the rest.
            await at_its_end(coming)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the attempts that were not entered, commit the outcomes of the others, and end the run."""
        try:
            self._hand.release_unentered()
        finally:
            # Also if the release failed: a run that has not ended refuses every other one.
            try:
                self._windows.close()
            finally:
                self._end_async()

    def _next(self) -> ClaimedAttempt[Item] | None:
        hand = self._hand
        handed = hand.handed
        if handed is not None and not handed.entered:
            self.close()
            raise AttemptNotEntered(
                f"{handed!r} was handed out and never entered; its item stays pending. Use `with attempt as item:`."
            )
        if not hand.window or hand.run.is_ending:
            next(self._windows, None)
        return hand.give() if hand.window else None


class _Hand(Generic[Item]):
    """The window of a run that was claimed, and the attempt that was handed out last."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.window: deque[Attempt] = deque()
        self.handed: ClaimedAttempt[Item] | None = None
        self.given = 0

    def give(self) -> ClaimedAttempt[Item]:
        """Return the next attempt of the window."""
        self.given += 1
        self.handed = ClaimedAttempt(self.window.popleft(), self.run)
        return self.handed

    def release_unentered(self) -> None:
        """Release the attempts that were not entered."""
        unentered: list[Attempt] = list(self.window)
        self.window.clear()
        if self.handed is not None and not self.handed.entered:
            self.handed.released = True
            unentered.append(self.handed)
            self.handed = None
        self.run.dispatcher.release(unentered)


def _claim_windows(
    hand: _Hand[Any], one_at_a_time: Callable[[], AbstractContextManager[None]]
) -> Generator[None, None, None]:
    """Claim one window after the other; yield while the caller works through it."""
    run = hand.run
    with one_at_a_time(), Progress.of(run, enabled=run.options.progress), run.running():
        dispatcher = run.dispatcher
        # A closed fence lets nothing begin any more.
        while not (run.is_ending or dispatcher.fence.closed):
            hand.window.extend(dispatcher.advance(dispatcher.window.size, waits=False))
            if hand.window:
                commit_s, began, hand.given = dispatcher.commit_s, time.perf_counter(), 0
                try:
                    yield
                finally:
                    hand.release_unentered()
                dispatcher.window.observe(items=hand.given, work_s=time.perf_counter() - began, commit_s=commit_s)
            elif dispatcher.feed.is_done and not run.another_round():
                break
        dispatcher.flush()


def no_function(_item: object) -> None:
    """Raise AssertionError. Replaces fn in a run whose bodies are the caller's own."""
    raise AssertionError("a claim runs no function")
