"""The ``per_worker`` contexts of coroutines, and the tasks that they belong to.

Imported by the coroutine pool. Invariant: a context is entered and left by the same task, since cancel scopes and
task groups cannot be left by another one. If leaving it hangs, another task takes the worker's place. A context
manager that is not asynchronous is used on the event loop's thread, as its first time, and must not block.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Self

from wal_runner.runner import renewal
from wal_runner.runner.cancelling import is_being_cancelled
from wal_runner.runner.connection import Standing
from wal_runner.runner.renewal import State, check_left, in_words, is_retried, logger


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from wal_runner.runner.renewal import Connections, PerWorker

HANGS_ON_LEAVING = (
    "Leaving the context of a lost connection was cancelled after %g s, and goes on. It is left behind, and the worker "
    "connects again."
)
HANGS_ON_ENTERING = "The run has ended, and a cancelled attempt to connect again has not. It is left behind."


class AsyncConnection(Standing):
    """The context of a worker coroutine. *on_hang* is called if leaving or entering it outlasts its cancellation."""

    def __init__(self, connections: Connections, on_hang: Callable[[], None], state: State = State.NONE) -> None:
        super().__init__(connections, state)
        self._stack: AsyncExitStack | None = None
        self._on_hang = on_hang
        self.is_reentering = False

    async def __aenter__(self) -> Self:
        """Enter the context. The first time of all, what that raises is raised at once."""
        if self.connections.per_worker is not None:
            if self.has_to_wait:
                await self._reenter()
            else:
                await self._enter(self.connections.per_worker)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Leave the context as an ``async with`` does, if it is entered."""
        self.move(State.NONE)
        stack, self._stack = self._stack, None
        return None if stack is None else await stack.__aexit__(kind, error, trace)

    async def renew(self) -> None:
        """Replace the context: it is usable afterwards, or the run has ended, or this connection was replaced itself.

        Raises what entering or leaving it raises, unless that is about the connection.
        """
        lost = self.take_lost()
        stack, self._stack = self._stack, None
        assert stack is not None, "fn was called with its value"
        error = await self._left(stack, lost)
        if not self.is_replaced:
            check_left(error, lost)
            del lost, error, stack  # the frames of fn
            await self._reenter()

    def replace(self) -> None:
        """Let another task serve the worker: this one hangs."""
        if self.is_replaced:
            return
        self.is_replaced = True
        if self.is_reentering:
            logger.warning(HANGS_ON_ENTERING)
        else:
            logger.warning(HANGS_ON_LEAVING, renewal.LEAVE_S)
        self._on_hang()

    # --- Helpers ----------------------------------------------------------------------------

    async def _left(self, stack: AsyncExitStack, lost: BaseException) -> BaseException | None:
        bound = asyncio.timeout(renewal.LEAVE_S)
        hangs = asyncio.get_running_loop().call_later(2 * renewal.LEAVE_S, self.replace)
        try:
            async with bound:
                await stack.__aexit__(type(lost), lost, lost.__traceback__)
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise  # the run's
            # The exit awaited a task that it had cancelled itself. Raised again it would end the whole run.
            logger.debug("Leaving the context of a lost connection raised a cancellation: %s", in_words(error))
        except BaseException as error:  # noqa: BLE001 - judged by the caller
            return None if bound.expired() else error
        finally:
            hangs.cancel()
        return None

    async def _reenter(self) -> None:
        connections = self.connections
        assert connections.per_worker is not None, "there is something to enter"
        self.move(State.RECONNECTING)
        self.is_reentering = True
        try:
            while not (self.is_usable or connections.is_over()):
                await asyncio.sleep(self._backoff.next())
                try:
                    await self._enter(connections.per_worker)
                except Exception as error:
                    if not is_retried(error):
                        raise
                    connections.failed(error)
        finally:
            self.is_reentering = False
        if self.is_replaced:
            self.arguments, self.is_usable = (), False  # and __aexit__ leaves what was entered too late

    async def _enter(self, per_worker: PerWorker) -> None:
        stack = AsyncExitStack()
        manager = per_worker()
        if hasattr(manager, "__aenter__"):
            value = await stack.enter_async_context(manager)
        else:
            value = stack.enter_context(manager)
        self._stack = stack
        self.have(value)


class WorkerTasks:
    """The tasks of a pool's workers: one a number, and another one if it hangs in leaving a dead connection."""

    def __init__(
        self,
        count: int,
        work: Callable[[int, AsyncConnection], Coroutine[Any, Any, None]],
        connections: Connections,
        on_end: Callable[[object], None],
    ) -> None:
        self._work = work
        self._connections = connections
        self._on_end = on_end
        self._count = count
        self._context = copy_context()
        self._standing: dict[int, AsyncConnection] = {}
        self.all: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start them all."""
        self._connections.begin_round()
        self.all = [self._start(number, State.NONE) for number in range(self._count)]

    @property
    def are_done(self) -> bool:
        """Return whether all have ended, but those that are left behind."""
        ended = zip(self.all, self._standing.values(), strict=True)
        return all(task.done() or connection.is_replaced for task, connection in ended)

    def stop_reconnecting(self) -> None:
        """Cancel the attempts to connect again, of which nothing is left to be run."""
        self._connections.stop()
        loop = asyncio.get_running_loop()
        for task, connection in zip(self.all, self._standing.values(), strict=True):
            if connection.is_reentering and not task.done():
                task.cancel()
                loop.call_later(renewal.LEAVE_S, self._replace_if_hanging, task, connection)

    def _replace_if_hanging(self, task: asyncio.Task[None], connection: AsyncConnection) -> None:
        if connection.is_reentering and not task.done():
            connection.replace()

    def _start(self, number: int, state: State) -> asyncio.Task[None]:
        connection = AsyncConnection(self._connections, lambda: self._replace(number), state)
        self._standing[number] = connection
        # A worker that takes another one's place must not see what that one's context set in its context variables.
        work, name = self._work(number, connection), f"wal_runner worker {number}"
        task = self._context.run(lambda: asyncio.create_task(work, name=name))
        task.add_done_callback(self._on_end)
        return task

    def _replace(self, number: int) -> None:
        if not self._connections.is_over():
            self.all[number] = self._start(number, State.RECONNECTING)
        self._on_end(None)
