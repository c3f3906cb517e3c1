"""What an asynchronous run needs besides its coroutines: a thread of its own, and waits that no cancellation ends.

Imported by the coroutine pool and the claims. Invariant: a cancellation is never lost; it is kept, and raised once
nothing runs any more.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final


if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from wal_runner.runner.feed import Feed

THREAD_NAME: Final = "wal_runner committer"


def own_thread(feed: Feed) -> ThreadPoolExecutor:
    """Return an executor of one thread, which has started; raise RuntimeError if it cannot start.

    It commits, reads the source if that is a plain iterable, and calls ``key=``. One thread for the whole run: what
    the source opens at its first item can be used at its last. Submit `Context.run`, so that the caller's context
    is seen there.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix=THREAD_NAME)
    # Now, and not with the first commit: an executor keeps what it could not start a thread for, and would commit
    # it with whatever is submitted next.
    thread.submit(int)
    feed.is_on_another_thread = True
    return thread


def check_asyncio(name: str) -> None:
    """Raise RuntimeError unless a task of asyncio runs here."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        raise RuntimeError(
            f"{name} is asyncio only, and no task of asyncio runs here. Under trio, or anyio on trio, call "
            "`asyncio.run` in a thread (`trio.to_thread.run_sync`), or use `run` with workers there."
        )


def is_main_task() -> bool:
    """Return whether the current task is the one that ``asyncio.run`` or ``loop.run_until_complete`` waits for."""
    task: Any = asyncio.current_task()
    callbacks = getattr(task, "_callbacks", ())
    # asyncio and uvloop stop the loop by a callback on that task, named for run_until_complete.
    return any("run_until_complete" in getattr(found, "__qualname__", "") for found, _context in callbacks or ())


class Cancellation:
    """Keeps the cancellations that arrive inside ``with`` blocks, and calls *on_cancel* at each of them."""

    def __init__(self, on_cancel: Callable[[], None]) -> None:
        self._on_cancel = on_cancel
        self.error: asyncio.CancelledError | None = None
        """The latest cancellation; those before it, one for each message, are its context."""
        self._messages: list[tuple[object, ...]] = []
        self.is_closed = False
        """True once the coroutine is being closed (GeneratorExit): from then on it cannot await anything."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if kind is GeneratorExit:
            self.is_closed = True
        # By type first: isinstance() reads __class__, which may be a property of a user's exception that raises.
        if kind is None or not issubclass(kind, asyncio.CancelledError):
            return False
        assert isinstance(error, asyncio.CancelledError), "kind is the type of error"
        # anyio cancels again at every turn of the event loop, with a message for each scope. A chain of all of
        # them would grow without bound; without those of a scope that scope would not know its own cancellation.
        if error.args not in self._messages:
            self._messages.append(error.args)
            error.__context__ = self.error
            self.error = error
        self._on_cancel()
        return True


async def at_its_end(future: asyncio.Future[Any]) -> None:
    """Wait until *future* is done, however often we are cancelled meanwhile; the caller raises that again."""
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])


def is_being_cancelled() -> bool:
    """Return whether somebody cancelled the current task, and not only something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
