"""The asyncio driver: coroutines take started items; commits run on a thread of their own.

Imported by the runner. Invariant: the event loop never waits for the disk, and the dispatcher is
still the only one who writes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

from wal_runner.core.window import WINDOW_MAX, Pace
from wal_runner.errors import ItemChanged
from wal_runner.runner.dispatcher import FLUSH_SECONDS
from wal_runner.runner.feed import PULL_SECONDS_MAX


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wal_runner.runner.attempt import Attempt
    from wal_runner.runner.dispatcher import Dispatcher
    from wal_runner.runner.execution import Execution
    from wal_runner.runner.stopping import Stopping


async def run_in_coroutines(
    dispatcher: Dispatcher,
    execution: Execution,
    stopping: Stopping,
    *,
    concurrency: int,
    source: AsyncIterator[Any] | None,
    per_worker: Callable[[], Any] | None,
) -> None:
    """Run everything that the feed, or the async *source*, gives in *concurrency* coroutines."""
    with ThreadPoolExecutor(1, thread_name_prefix="wal_runner committer") as committer:
        troupe = _Troupe(
            dispatcher,
            execution,
            stopping,
            committer,
            concurrency=concurrency,
            source=source,
            per_worker=per_worker,
        )
        await troupe.perform()


class _Troupe:
    """The coroutines of one run, what waits for them, and the one that dispatches."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        execution: Execution,
        stopping: Stopping,
        committer: ThreadPoolExecutor,
        *,
        concurrency: int,
        source: AsyncIterator[Any] | None,
        per_worker: Callable[[], Any] | None,
    ) -> None:
        self._dispatcher = dispatcher
        self._execution = execution
        self._stopping = stopping
        self._concurrency = concurrency
        self._source = source
        self._per_worker = per_worker
        self._committer = committer
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Attempt] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._bell = asyncio.Event()
        self._going_home = False
        self._running = 0
        self._ended = 0
        self._low_mark = 0
        self._pace = Pace(concurrency, time.perf_counter())
        self._pulled: deque[tuple[Any, Any, str]] = deque()
        self._advancing = False
        dispatcher.feed.pulled_ahead = self._pulled
        self._broken: BaseException | None = None

    async def perform(self) -> None:
        self._stopping.on_ask = self._wake_from_anywhere
        workers = [asyncio.create_task(self._work(), name=f"wal_runner worker {n}") for n in range(self._concurrency)]
        puller = asyncio.create_task(self._pull()) if self._source is not None else None
        try:
            await self._dispatch()
        finally:
            self._stopping.on_ask = None
            self._going_home = True
            self._wake_idle(len(self._idle))
            if puller is not None:
                puller.cancel()
                await asyncio.gather(puller, return_exceptions=True)
            if self._stopping.is_urgent or _is_being_cancelled():
                for worker in workers:
                    worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self._in_committer(self._dispatcher.flush)
        if self._broken is not None:
            raise self._broken

    # --- The dispatcher's side -----------------------------------------------------------

    async def _dispatch(self) -> None:
        dispatcher, feed, stopping = self._dispatcher, self._dispatcher.feed, self._stopping
        try:
            while not (stopping.is_asked or self._execution.is_over or self._broken is not None):
                self._advancing = True
                started = await self._in_committer(self._advance, self._wanted())
                if stopping.times:  # asked while the source was read
                    self._ready.extend(started)
                    break
                self._give(started)
                self._advancing = False
                if not started and feed.exhausted and not feed.waiting and not self._pulled:
                    if self._is_idle():
                        break
                    await self._wait_for_outcome()
                else:
                    await self._wait_for_room()
        finally:
            waiting = list(self._ready)
            self._ready.clear()
            await self._in_committer(dispatcher.release, waiting)
        while self._running and not stopping.is_urgent:
            await self._wait_for_outcome()
            await self._in_committer(dispatcher.flush)

    async def _in_committer(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
        future = self._loop.run_in_executor(self._committer, function, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # What was begun is finished: a half-told commit would leave started items unheard of.
            await at_its_end(future)
            if function == self._advance:
                self._ready.extend(future.result())
            raise

    def _advance(self, wanted: int) -> list[Attempt]:
        feed = self._dispatcher.feed
        if self._source is not None:
            chunk: list[tuple[Any, Any, str]] = []
            missing = min(wanted, self._dispatcher.room()) - feed.waiting
            while self._pulled and len(chunk) < missing:
                pulled = self._pulled.popleft()
                if feed.error is None or feed.watch.is_as_named(pulled[0], pulled[2]):
                    chunk.append(pulled)
            if chunk:
                items, pages, ids = zip(*chunk, strict=True)
                feed.add(feed.classify(items, pages if feed.pages else (), ids))
        return self._dispatcher.advance(wanted)

    def _wanted(self) -> int:
        ahead = self._pace.ahead(self._dispatcher.commit_s)
        self._low_mark = max(ahead // 2, 1)
        return max(0, self._concurrency + ahead - len(self._ready) - self._running)

    def _give(self, attempts: list[Attempt]) -> None:
        self._ready.extend(attempts)
        self._wake_idle(len(attempts))

    async def _wait_for_room(self) -> None:
        if len(self._ready) >= self._low_mark or not self._dispatcher.unsaved:
            await self._wait()
        else:
            await asyncio.sleep(0)
        self._pace.learn(now_s=time.perf_counter(), ended=self._ended, running=self._running)

    async def _wait_for_outcome(self) -> None:
        if not self._dispatcher.unsaved:
            await self._wait()

    async def _wait(self) -> None:
        self._bell.clear()
        handle = self._loop.call_later(FLUSH_SECONDS, self._bell.set)
        try:
            await self._bell.wait()
        finally:
            handle.cancel()

    def _is_idle(self) -> bool:
        return not self._ready and not self._running

    def _has_run_all(self) -> bool:
        """Return whether everything that was pulled has run, or needs no run."""
        nothing_waits = not (self._pulled or self._advancing or self._dispatcher.feed.waiting)
        return nothing_waits and self._is_idle()

    def _wake_idle(self, count: int) -> None:
        while count > 0 and self._idle:
            future = self._idle.popleft()
            if not future.done():
                future.set_result(None)
                count -= 1

    def _wake_from_anywhere(self) -> None:
        self._loop.call_soon_threadsafe(self._bell.set)

    # --- The source ------------------------------------------------------------------------

    async def _pull(self) -> None:
        feed = self._dispatcher.feed
        assert self._source is not None, "only an async source is pulled"
        try:
            async for item in self._source:
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
                feed.drop_changed()
        feed.exhausted = True
        self._bell.set()

    # --- A worker's side -------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                await self._run_items(await self._entered(stack))
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._going_home:
                raise
            # Raised again by the dispatcher, or a run without workers would wait for ever.
            self._broken = self._broken or error
        finally:
            self._bell.set()

    async def _entered(self, stack: AsyncExitStack) -> tuple[Any, ...]:
        if self._per_worker is None:
            return ()
        manager = self._per_worker()
        if hasattr(manager, "__aenter__"):
            return (await stack.enter_async_context(manager),)
        return (stack.enter_context(manager),)

    async def _run_items(self, worker_value: tuple[Any, ...]) -> None:
        ready, run = self._ready, self._execution.run_async
        while not self._going_home:
            if not ready:
                future = self._loop.create_future()
                self._idle.append(future)
                await future
                continue
            attempt = ready.popleft()
            self._running += 1
            try:
                await run(attempt, *worker_value)
            except asyncio.CancelledError:
                # fn let out the cancellation of something that it waited for; nobody cancelled us.
                if _is_being_cancelled():
                    raise
            finally:
                self._running -= 1
                self._ended += 1
                if len(ready) < self._low_mark:
                    self._bell.set()


async def at_its_end(future: asyncio.Future[Any]) -> None:
    """Wait until *future* is done, however often we are cancelled meanwhile; the caller raises that again."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
