"""The threaded driver: workers take started items and hand back outcomes; the caller dispatches.

Imported by the runner. Invariant: workers never commit, and never wait for a commit while items that
are durable already could run: some are started ahead.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from wal_runner.core.window import Pace
from wal_runner.runner.connection import Connection
from wal_runner.runner.dispatcher import FLUSH_SECONDS
from wal_runner.runner.renewal import ConnectionLost, State
from wal_runner.runner.stopping import raise_in_thread


if TYPE_CHECKING:
    from collections.abc import Iterator

    from wal_runner.runner.attempt import Attempt
    from wal_runner.runner.dispatcher import Dispatcher
    from wal_runner.runner.execution import Execution
    from wal_runner.runner.renewal import Connections
    from wal_runner.runner.stopping import Stopping

WORK: Final = True
GO_HOME: Final = False

URGENT_WAIT_S: Final = 2.0
"""After a second Ctrl-C a worker that was told to end is waited for so long, then left behind."""


def run_in_threads(
    dispatcher: Dispatcher,
    execution: Execution,
    stopping: Stopping,
    workers: int,
    connections: Connections,
) -> Iterator[None]:
    """Run everything that the feed gives on *workers* threads; yield after each commit."""
    crew = _Crew(dispatcher, execution, workers, connections)
    # The dispatcher looks up every 50 ms. Nothing wakes it sooner: a signal handler that takes the bell's
    # lock may interrupt the very thread that holds it.
    try:
        crew.start()
        yield from _dispatch(crew, dispatcher, execution, stopping)
    except BaseException:
        crew.release_waiting()
        raise
    finally:
        crew.dismiss(stopping)
        dispatcher.flush()
    crew.raise_broken()
    yield


def _dispatch(crew: _Crew, dispatcher: Dispatcher, execution: Execution, stopping: Stopping) -> Iterator[None]:
    # A closed fence lets nothing begin any more: what was started would hold its place for good.
    while not (stopping.is_asked or execution.is_over or crew.broken is not None or dispatcher.fence.closed):
        started = dispatcher.advance(crew.wanted())
        if stopping.times:  # asked while the source was read
            dispatcher.release(started)
            break
        crew.give(started)
        yield
        if not started and dispatcher.feed.exhausted and not dispatcher.feed.waiting:
            if crew.is_idle() and dispatcher.feed.is_done:
                break
            crew.wait_for_any()
        else:
            crew.wait_for_room()
    crew.release_waiting()
    while not crew.is_idle() and not stopping.is_urgent:
        crew.wait_for_any()
        dispatcher.flush()
        yield


class _Crew:
    """The worker threads, what waits for them, and what they are at."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        execution: Execution,
        workers: int,
        connections: Connections,
    ) -> None:
        self.workers = workers
        self.broken: BaseException | None = None
        self._dispatcher = dispatcher
        self._execution = execution
        self._connections = connections
        self._ready: deque[Attempt] = deque()
        # One token for each attempt in `_ready`, and one for each worker that is to go home.
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        self._running: dict[int, Attempt] = {}
        self._bell = threading.Event()
        self._low_mark = 0
        self._ended = 0
        self._pace = Pace(workers, time.perf_counter())
        self._context = copy_context()
        connections.begin_round()
        self._threads: list[threading.Thread | None] = [self._thread(number, State.NONE) for number in range(workers)]

    def _thread(self, number: int, state: State) -> threading.Thread:
        connection = Connection(self._connections, lambda: self._replace(number), state)
        # fn and per_worker are the caller's code: they see the caller's context on any thread.
        run = self._context.copy().run
        name = f"wal_runner worker {number}"
        return threading.Thread(target=run, args=(self._work, connection), name=name, daemon=True)

    # --- The dispatcher's side -----------------------------------------------------------

    def start(self) -> None:
        """Start the workers. If a thread cannot be started, call `dismiss`: the others wait for items already."""
        for thread in self._threads:
            if thread is not None:
                thread.start()

    def wanted(self) -> int:
        """Say how many items to start now."""
        return max(0, self.workers + self._ahead() - len(self._ready) - len(self._running))

    def give(self, attempts: list[Attempt]) -> None:
        """Hand started items to the workers."""
        self._low_mark = max(self._ahead() // 2, 1)
        self._bell.clear()
        self._ready.extend(attempts)
        for _ in attempts:
            self._tokens.put(WORK)

    def wait_for_room(self) -> None:
        """Wait until fewer items are ready than should be, or outcomes are too old."""
        if len(self._ready) >= self._low_mark or (self._ready and not self._dispatcher.unsaved):
            self._bell.wait(FLUSH_SECONDS)
        elif not self._dispatcher.unsaved and self._running:
            self.wait_for_any()
        self._pace.learn(now_s=time.perf_counter(), ended=self._ended, running=len(self._running))

    def wait_for_any(self) -> None:
        """Wait until an outcome is there, or for a moment."""
        if not self._dispatcher.unsaved and not self.is_idle():
            self._bell.wait(FLUSH_SECONDS)
            self._bell.clear()

    def is_idle(self) -> bool:
        """Say whether nothing runs and nothing waits to run."""
        return not self._ready and not self._running

    def release_waiting(self) -> None:
        """Give back what no worker has taken; those that reconnect need no connection any more."""
        self._connections.stop()
        waiting = []
        while self._ready:
            try:
                waiting.append(self._ready.popleft())
            except IndexError:
                break
        self._dispatcher.release(waiting)

    def dismiss(self, stopping: Stopping) -> None:
        """Send the workers home; those that are told to end and do not are left in doubt."""
        self._connections.stop()
        for _ in self._threads:
            self._tokens.put(GO_HOME)
        patience: float | None = None
        if stopping.is_urgent:
            for worker in self._threads:
                if worker is not None:
                    raise_in_thread(worker, KeyboardInterrupt)
            patience = time.monotonic() + URGENT_WAIT_S
        for number in range(self.workers):
            # Looked up each time: another thread may take the place of one that hangs.
            while (thread := self._threads[number]) is not None and thread.is_alive():
                if patience is not None and time.monotonic() >= patience:
                    break
                thread.join(FLUSH_SECONDS)
                if patience is None and stopping.is_urgent:
                    return self.dismiss(stopping)
        self._dispatcher.settling.left_behind(list(self._running.values()), in_threads=True)
        return None

    def raise_broken(self) -> None:
        """Raise what ended a worker: an error of ``per_worker``, or a BaseException out of fn."""
        if self.broken is not None:
            raise self.broken

    def _ahead(self) -> int:
        return self._pace.ahead(self._dispatcher.commit_s)

    # --- A worker's side ---------------------------------------------------------------

    def _work(self, connection: Connection) -> None:
        try:
            with connection:
                while connection.is_usable:
                    self._run_items_until_lost(connection)
                    if connection.lost is None:
                        break
                    connection.renew()
        except BaseException as error:  # noqa: BLE001 - raised again by the dispatcher, in the caller's thread
            if not connection.is_replaced:
                self.broken = error if self.broken is None else self.broken
        finally:
            self._bell.set()

    def _run_items_until_lost(self, connection: Connection) -> None:
        try:
            self._run_items(connection.arguments)
        except ConnectionLost as lost:
            connection.lost = lost.error

    def _replace(self, number: int) -> None:
        """Leave a worker behind whose ``per_worker`` context hangs, and let another one take its place if needed."""
        if self._connections.is_over():
            self._threads[number] = None
            return
        thread = self._thread(number, State.RECONNECTING)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads can be started
            self._threads[number] = None
            self.broken = error if self.broken is None else self.broken
        else:
            self._threads[number] = thread

    def _run_items(self, worker_value: tuple[Any, ...]) -> None:
        me = threading.get_ident()
        tokens, ready, running, execution = self._tokens, self._ready, self._running, self._execution
        run = execution.run
        while tokens.get():
            if execution.is_over:
                self._bell.set()  # the dispatcher releases what waits
                continue
            try:
                attempt = ready.popleft()
            except IndexError:
                continue  # it was released
            running[me] = attempt
            try:
                run(attempt, *worker_value)
            finally:
                del running[me]
                self._ended += 1
                if len(ready) < self._low_mark:
                    self._bell.set()
