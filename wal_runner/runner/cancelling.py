"""Wait for something to end, however often the waiting task is cancelled.

Imported by the coroutine pool and the claims. Invariant: a cancellation is never lost; it is kept, and raised once
nothing runs any more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


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
        if not isinstance(error, asyncio.CancelledError):
            return False
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
