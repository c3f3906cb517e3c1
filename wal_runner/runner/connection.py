"""The ``per_worker`` context of one worker: entered, left when its connection is lost, entered again.

Imported by the serial and the threaded driver. Invariant: on a worker thread a context is entered and left by that
very thread; if leaving it hangs, another thread takes the worker's place.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Self

from wal_runner.runner import renewal
from wal_runner.runner.renewal import Backoff, State, check_left, is_retried, logger


if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from wal_runner.runner.renewal import Connections
    from wal_runner.runner.stopping import Stopping

HANGS_ON_LEAVING = (
    "Leaving the context of a lost connection takes more than %g s. It is left behind on its thread, and the worker "
    "connects again. Give what its exit waits for a timeout."
)
HANGS_ON_ENTERING = (
    "The run has ended, and an attempt to connect again does not. It is left behind on its thread. Give it a timeout."
)


class Standing:
    """Where a worker's connection stands; what the kinds of connection share."""

    def __init__(self, connections: Connections, state: State = State.NONE) -> None:
        self.connections = connections
        self.lost: BaseException | None = None
        """The error of fn because of which the context is to be replaced before the next item."""
        self.arguments: tuple[Any, ...] = ()
        """What fn gets besides its item."""
        self.is_usable = connections.per_worker is None
        """Whether items can be run: false before it is entered, and if the run ended before it was entered again."""
        self.is_replaced = False
        """Whether another connection serves the worker, because this one hangs."""
        self._state = state
        self._backoff = Backoff()

    @property
    def has_to_wait(self) -> bool:
        """Return whether the first attempt is repeated like a later one."""
        return self._state is State.RECONNECTING or self.connections.retries_first

    def move(self, after: State) -> None:
        """Count the connection under another state; once it is replaced its successor is counted."""
        if after is not self._state and not self.is_replaced:
            before, self._state = self._state, after
            self.connections.move(before, after)

    def take_lost(self) -> BaseException:
        """Note that the connection is gone, and return why."""
        lost, self.lost = self.lost, None
        assert lost is not None, "renewal is asked for by an error"
        self.arguments, self.is_usable = (), False
        self.connections.lost(lost)
        self.move(State.RECONNECTING)
        self._backoff.lost()
        return lost

    def have(self, value: object) -> None:
        """Note that the context was entered, and gave *value*."""
        self.arguments, self.is_usable = (value,), True
        self._backoff.connected()
        self.move(State.USABLE)


class Connection(Standing):
    """The context of a worker thread. *on_hang* is called by another thread if leaving or entering it hangs."""

    def __init__(
        self,
        connections: Connections,
        on_hang: Callable[[], None] | None = None,
        state: State = State.NONE,
    ) -> None:
        super().__init__(connections, state)
        self._stack: ExitStack | None = None
        self._on_hang = on_hang
        self._lock = threading.Lock()
        self._busy: tuple[float, bool] | None = None
        """Since when the user's code is entering (True) or leaving the context again."""

    def __enter__(self) -> Self:
        """Enter the context. The first time of all, what that raises is raised at once."""
        if self.connections.per_worker is not None:
            if self.has_to_wait:
                self._reenter()
            else:
                self._enter(self.connections.per_worker)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Leave the context as a ``with`` does, if it is entered."""
        self.move(State.NONE)
        stack, self._stack = self._stack, None
        return None if stack is None else stack.__exit__(kind, error, trace)

    def renew(self) -> None:
        """Replace the context: it is usable afterwards, or the run has ended, or this connection was replaced itself.

        Raises what entering or leaving it raises, unless that is about the connection.
        """
        lost = self.take_lost()
        stack, self._stack = self._stack, None
        assert stack is not None, "fn was called with its value"
        error = self._left(stack, lost)
        if not self.is_replaced:
            check_left(error, lost)
            del lost, error, stack  # the frames of fn
            self._reenter()

    def replace_if_hanging(self, now: float, stopped_at: float | None) -> None:
        """Let another thread serve the worker if leaving the context hangs, or entering it after the run has ended."""
        with self._lock:
            if self._busy is None or self._on_hang is None or self.is_replaced:
                return
            since, is_entering = self._busy
            if is_entering and stopped_at is None:
                return
            if now - max(since, stopped_at if is_entering and stopped_at is not None else since) < renewal.LEAVE_S:
                return
            self.is_replaced = True
        if is_entering:
            logger.warning(HANGS_ON_ENTERING)
        else:
            logger.warning(HANGS_ON_LEAVING, renewal.LEAVE_S)
        self._on_hang()

    # --- Helpers ----------------------------------------------------------------------------

    def _left(self, stack: ExitStack, lost: BaseException) -> BaseException | None:
        self._set_busy(is_entering=False)
        try:
            return left(stack, lost)
        finally:
            self._set_idle()

    def _reenter(self) -> None:
        connections = self.connections
        assert connections.per_worker is not None, "there is something to enter"
        self.move(State.RECONNECTING)
        while not connections.is_over():
            self._pause(self._backoff.next())
            if connections.is_over():
                break
            self._set_busy(is_entering=True)
            try:
                self._enter(connections.per_worker)
            except Exception as error:
                if not is_retried(error):
                    raise
                connections.failed(error)
            finally:
                self._set_idle()
            if self.is_usable:
                break
        if self.is_replaced:
            self.arguments, self.is_usable = (), False  # and __exit__ leaves what was entered too late

    def _enter(self, per_worker: Callable[[], Any]) -> None:
        stack = ExitStack()
        value = stack.enter_context(per_worker())
        self._stack = stack
        self.have(value)

    def _pause(self, seconds: float) -> None:
        self.connections.pause(seconds, polls=False)

    def _set_busy(self, *, is_entering: bool) -> None:
        with self._lock:
            self._busy = (time.monotonic(), is_entering)
        self.connections.set_busy(self, is_busy=True)

    def _set_idle(self) -> None:
        with self._lock:
            self._busy = None
        self.connections.set_busy(self, is_busy=False)


class SerialConnection(Connection):
    """The context of a serial run, on the caller's own thread, which nothing can replace.

    A lost one is left on a thread of its own, in a copy of the caller's context, so that hanging cannot stop the run.
    """

    def __init__(self, connections: Connections, stopping: Stopping) -> None:
        super().__init__(connections)
        self._stopping = stopping

    def _left(self, stack: ExitStack, lost: BaseException) -> BaseException | None:
        found: list[BaseException | None] = []
        ended = threading.Event()

        def leave() -> None:
            found.append(left(stack, lost))
            ended.set()

        run = copy_context().run
        try:
            threading.Thread(target=run, args=(leave,), name="wal_runner leaving", daemon=True).start()
        except RuntimeError:  # no more threads can be started
            return left(stack, lost)
        until = time.monotonic() + renewal.LEAVE_S
        while not ended.is_set() and (left_s := until - time.monotonic()) > 0:
            ended.wait(min(left_s, renewal.POLL_S))
        if not found:
            logger.warning(HANGS_ON_LEAVING, renewal.LEAVE_S)
        return found[0] if found else None

    def _enter(self, per_worker: Callable[[], Any]) -> None:
        # A second Ctrl-C breaks into a connect() that hangs, as into an fn that does.
        self._stopping.in_fn = True
        try:
            super()._enter(per_worker)
        finally:
            self._stopping.in_fn = False

    def _pause(self, seconds: float) -> None:
        self.connections.pause(seconds, polls=True)


def left(stack: ExitStack, lost: BaseException) -> BaseException | None:
    """Leave what *stack* holds as a ``with`` does that *lost* ends, and return what that raised."""
    try:
        stack.__exit__(type(lost), lost, lost.__traceback__)
    except BaseException as error:  # noqa: BLE001 - judged by the caller
        return error
    return None
