"""Drive a run in coroutines, which take started items; commits run on a thread of their own.

Imported by the runner. Invariant: the event loop never waits for the disk, and only the dispatcher writes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from wal_runner.core.window import WINDOW_MAX, Pace
from wal_runner.errors import ItemChanged
from wal_runner.runner.cancelling import Cancellation, is_being_cancelled, own_thread
from wal_runner.runner.connection_async import WorkerTasks
from wal_runner.runner.dispatcher import FLUSH_SECONDS
from wal_runner.runner.feed import PULL_SECONDS_MAX
from wal_runner.runner.left_behind import Remainder
from wal_runner.runner.renewal import ConnectionLost
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import ThreadPoolExecutor

    from wal_runner.runner.attempt import Attempt
    from wal_runner.runner.connection_async import AsyncConnection
    from wal_runner.runner.dispatcher import Dispatcher
    from wal_runner.runner.execution import Execution
    from wal_runner.runner.renewal import Connections
    from wal_runner.runner.stopping import Stopping

logger = ShieldedLogger(__name__)


async def run_in_coroutines(
    dispatcher: Dispatcher,
    execution: Execution,
    stopping: Stopping,
    *,
    concurrency: int,
    source: AsyncIterator[Any] | None,
    connections: Connections,
    cancel_wait: float,
) -> None:
    """Run every item that the feed, or the async *source*, yields, in *concurrency* coroutines.

    When this returns or raises, none of the coroutines runs any more, however often it was cancelled meanwhile. Those
    that have not ended *cancel_wait* seconds after they were cancelled are named in the report's `left_behind`.
    """
    with own_thread(dispatcher.feed) as committer:
        pool = _CoroutinePool(
            dispatcher,
            execution,
            stopping,
            committer,
            concurrency=concurrency,
            source=source,
            connections=connections,
            cancel_wait=cancel_wait,
        )
        await pool.perform()


class _CoroutinePool:
    """The worker coroutines of one run, the items that wait for them, and the dispatching coroutine.

    A cancellation is never raised where the pool waits: the pool keeps it, cancels everything at once, and raises it
    when everything has ended. Cleanup that could be cancelled itself would leave fns running.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        execution: Execution,
        stopping: Stopping,
        committer: ThreadPoolExecutor,
        *,
        concurrency: int,
        source: AsyncIterator[Any] | None,
        connections: Connections,
        cancel_wait: float,
    ) -> None:
        self._dispatcher = dispatcher
        self._execution = execution
        self._stopping = stopping
        self._concurrency = concurrency
        self._source = source
        self._connections = connections
        self._committer = committer
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Attempt] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._bell = asyncio.Event()
        self._going_home = False
        self._running: set[int] = set()
        """Not a count: an exception may strike before it is lowered, and the worker's end repeats that."""
        self._ended = 0
        self._low_mark = 0
        self._pace = Pace(concurrency, time.perf_counter())
        self._advancing = False
        self._pulled = dispatcher.feed.pulled_ahead
        self._broken: BaseException | None = None
        self._cancellation = Cancellation(self._cancel_all)
        self._remainder = Remainder()
        self._cancel_wait = cancel_wait
        self._gives_up: float | None = None
        """Time at which the wait for cancelled work ends; None while nothing was cancelled."""
        self._workers = WorkerTasks(concurrency, self._work, connections, self._ring)
        self._puller: asyncio.Task[None] | None = None
        self._attempts: list[Attempt | None] = [None] * concurrency
        """The attempt that each worker is running."""
        self._looks_at = 0.0
        self._is_work_seen = False

    async def perform(self) -> None:
        self._stopping.on_ask = self._wake_from_anywhere
        self._workers.start()
        self._puller = asyncio.create_task(self._pull()) if self._source is not None else None
        try:
            await self._run_all()
        except Exception as error:
            if self._cancellation.error is None:
                raise
            logger.warning("A run was cancelled, and its last outcomes could not be committed: %s", error)
            raise self._cancellation.error from error
        finally:
            self._stopping.on_ask = None
        for due in (self._cancellation.error, self._broken):
            if due is not None:
                raise due

    # --- The dispatcher's side -----------------------------------------------------------

    async def _run_all(self) -> None:
        try:
            try:
                await self._dispatch()
            finally:
                await self._start_nothing_more()
            while self._running and not self._is_cut_short():
                await self._wait_for_outcome()
                await self._in_committer(self._dispatcher.flush)
        finally:
            await self._dismiss()

    async def _dispatch(self) -> None:
        feed, stopping = self._dispatcher.feed, self._stopping
        fence = self._dispatcher.fence
        while not (stopping.is_asked or self._execution.is_over or self._broken is not None or fence.closed):
            self._advancing = True
            started = await self._in_committer(self._advance, self._wanted())
            if stopping.times or self._is_cut_short():  # while the source was read
                self._ready.extend(started)
                break
            self._give(started)
            self._advancing = False
            if not started and feed.exhausted and not feed.waiting and not self._pulled:
                if self._is_idle() and feed.is_done:
                    break
                await self._wait_for_outcome()
            else:
                await self._wait_for_room()
            if self._is_cut_short():
                break

    async def _start_nothing_more(self) -> None:
        if self._puller is not None:
            self._puller.cancel()
        self._workers.stop_reconnecting()
        waiting = list(self._ready)
        self._ready.clear()
        await self._in_committer(self._dispatcher.release, waiting)

    # --- The end ---------------------------------------------------------------------------

    async def _dismiss(self) -> None:
        """End the workers and the source, and wait for them; name those that do not end as left behind."""
        self._going_home = True
        self._wake_idle(len(self._idle))
        try:
            await self._until_ended()
        finally:
            self._name_left_behind()
        await self._in_committer(self._dispatcher.flush)

    def _name_left_behind(self) -> None:
        left = {attempt.start_seq: attempt for attempt in self._attempts if attempt is not None}
        if self._gives_up is not None:
            left |= {attempt.start_seq: attempt for attempt in self._remainder.running()}
        self._dispatcher.settling.left_behind(left.values())

    async def _until_ended(self) -> None:
        if self._puller is not None:
            self._puller.add_done_callback(self._ring)
        # Workers that were not cancelled have items, and are waited for without a bound; a cancelled source has none.
        source_gives_up = self._loop.time() + self._cancel_wait
        while True:
            if self._is_cut_short():
                self._cancel_all()
            is_source_over = self._puller is None or self._puller.done()
            are_workers_done = self._workers.are_done
            if are_workers_done and is_source_over and not self._is_work_left():
                return
            gives_up = source_gives_up if self._gives_up is None and are_workers_done else self._gives_up
            if self._cancellation.is_closed or (gives_up is not None and self._loop.time() >= gives_up):
                break
            await self._wait()
        if not is_source_over:
            logger.warning("The source did not end within %g s of being cancelled.", self._cancel_wait)
        if not self._workers.are_done and not any(self._attempts):
            logger.warning("A per_worker did not end within %g s of being cancelled.", self._cancel_wait)

    def _is_work_left(self) -> bool:
        """Return whether threads of cancelled fns still run; check at most every 50 ms, since a check is slow."""
        now = self._loop.time()
        if self._gives_up is not None and now >= self._looks_at:
            self._looks_at = now + FLUSH_SECONDS
            self._is_work_seen = bool(self._remainder.running())
        return self._gives_up is not None and self._is_work_seen

    # --- Cancelling ------------------------------------------------------------------------

    def _is_cut_short(self) -> bool:
        """Return whether running fns are to be cancelled, not waited for."""
        return self._stopping.is_urgent or self._cancellation.error is not None or self._cancellation.is_closed

    def _cancel_all(self) -> None:
        """Cancel everything, once: a second cancellation would break into the cleanup of fn."""
        if self._gives_up is not None:
            return
        self._gives_up = self._loop.time() + self._cancel_wait
        self._going_home = True
        for worker, attempt in zip(self._workers.all, self._attempts, strict=True):
            if attempt is not None:
                self._remainder.watch(attempt, worker)
        with suppress(RuntimeError):  # the loop is closed: nothing of it runs any more
            for task in (*self._workers.all, self._puller):
                if task is not None:
                    task.cancel()

    async def _in_committer(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        run = self._context.run  # the source and key= are the caller's code: they see the caller's context
        if self._cancellation.is_closed:
            return self._committer.submit(run, function, *arguments).result()
        future = self._loop.run_in_executor(self._committer, run, function, *arguments)
        # Wait for a commit that has begun, or its starts would neither run nor be released.
        while not future.done():
            with self._cancellation:
                await asyncio.shield(future)
        return future.result()

    def _advance(self, wanted: int) -> list[Attempt]:
        feed = self._dispatcher.feed
        if self._source is not None:
            feed.take_pulled(min(wanted, self._dispatcher.room()) - feed.waiting)
        return self._dispatcher.advance(wanted)

    def _wanted(self) -> int:
        ahead = self._pace.ahead(self._dispatcher.commit_s)
        self._low_mark = max(ahead // 2, 1)
        return max(0, self._concurrency + ahead - len(self._ready) - len(self._running))

    def _give(self, attempts: list[Attempt]) -> None:
        self._ready.extend(attempts)
        self._wake_idle(len(attempts))

    async def _wait_for_room(self) -> None:
        if len(self._ready) >= self._low_mark or not self._dispatcher.unsaved:
            await self._wait()
        else:
            with self._cancellation:
                await asyncio.sleep(0)
        self._pace.learn(now_s=time.perf_counter(), ended=self._ended, running=len(self._running))

    async def _wait_for_outcome(self) -> None:
        if not self._dispatcher.unsaved:
            await self._wait()

    async def _wait(self) -> None:
        self._bell.clear()
        handle = self._loop.call_later(FLUSH_SECONDS, self._bell.set)
        try:
            with self._cancellation:
                await self._bell.wait()
        finally:
            handle.cancel()

    def _is_idle(self) -> bool:
        return not self._ready and not self._running

    def _has_run_all(self) -> bool:
        """Return whether every item that was pulled has run, or needs no run."""
        nothing_waits = not (self._pulled or self._advancing or self._dispatcher.feed.waiting)
        return nothing_waits and self._is_idle()

    def _wake_idle(self, count: int) -> None:
        while count > 0 and self._idle:
            future = self._idle[0]
            if not future.done():
                future.set_result(None)
                count -= 1
            del self._idle[0]  # last: an exception that strikes before must not leave a worker asleep

    def _ring(self, _future: object) -> None:
        self._bell.set()

    def _wake_from_anywhere(self) -> None:
        self._loop.call_soon_threadsafe(self._bell.set)

    # --- The source ------------------------------------------------------------------------

    async def _pull(self) -> None:
        feed = self._dispatcher.feed
        assert self._source is not None, "only an async source is pulled"
        try:
            async for item in self._source:
                if self._going_home:  # the source swallowed its cancellation
                    return
                page = feed.pages.take() if feed.pages is not None else None
                feed.watch.check(feed.watch.last)
                self._pulled.append((item, page, feed.name_pulled(item)))
                if len(self._pulled) == 1:
                    self._bell.set()
                while len(self._pulled) >= WINDOW_MAX:  # noqa: ASYNC110 - a bound, hardly ever reached
                    await asyncio.sleep(PULL_SECONDS_MAX / 10)
                while not feed.may_read_ahead(item) and not self._has_run_all():  # noqa: ASYNC110 - rare, and short
                    await asyncio.sleep(PULL_SECONDS_MAX / 50)
        except Exception as error:  # noqa: BLE001 - the source and its key are the user's; raised again at the end
            feed.fail(error)
            if isinstance(error, ItemChanged):
                # Only the committer thread changes the lists of candidates: it drops changed ones when it takes them.
                feed.watch.on_change()
        feed.exhausted = True
        self._bell.set()

    # --- A worker's side -------------------------------------------------------------------

    async def _work(self, number: int, connection: AsyncConnection) -> None:
        try:
            async with connection:
                while connection.is_usable:
                    await self._run_items_until_lost(number, connection)
                    if connection.lost is None:
                        break
                    await connection.renew()
        except BaseException as error:
            # By type: isinstance() reads __class__, which may be a property of a user's exception that raises.
            if issubclass(type(error), asyncio.CancelledError) and (self._going_home or self._connections.is_over()):
                raise
            # Raised again by the dispatching coroutine: a run without workers would never end.
            if not connection.is_replaced:
                self._broken = error if self._broken is None else self._broken
        finally:
            if not connection.is_replaced:  # or these are another task's
                self._attempts[number] = None
                self._running.discard(number)
            self._bell.set()

    async def _run_items_until_lost(self, number: int, connection: AsyncConnection) -> None:
        try:
            await self._run_items(number, connection.arguments)
        except ConnectionLost as lost:
            connection.lost = lost.error

    async def _run_items(self, number: int, worker_value: tuple[Any, ...]) -> None:
        ready, execution, attempts = self._ready, self._execution, self._attempts
        run = execution.run_async
        while not self._going_home:
            if not ready or execution.is_over:
                future = self._loop.create_future()
                self._idle.append(future)
                await future
                continue
            attempts[number] = attempt = ready.popleft()
            self._running.add(number)
            try:
                await run(attempt, *worker_value)
            except asyncio.CancelledError as error:
                if is_being_cancelled():
                    self._remainder.add(attempt)
                    raise
                # fn raised the cancellation of something that it waited for; this worker was not cancelled.
                execution.check_connection(error)
            finally:
                attempts[number] = None
                self._running.discard(number)
                self._ended += 1
                if len(ready) < self._low_mark or execution.is_over:
                    self._bell.set()
