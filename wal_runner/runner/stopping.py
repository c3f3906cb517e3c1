"""Stop a run in order: signals, and the flag that they set.

Imported by the drivers. Invariant: a handler never raises inside a transaction. The first signal
sets a flag, and breaks into the source if that has control; the second ends fn itself. A handler that the
program has set itself is called as well. Once the last run has ended, in whatever order they began, the signals
are what they were before.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from wal_runner.runner.feed import Stopped


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from wal_runner.runner.feed import Feed

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Whether a run was asked to stop, and how urgently.

    *interrupt* ends fn where fn knows a better way than an exception out of nowhere. It is called by
    a signal handler: it must be short, and take no lock.
    """

    def __init__(self, interrupt: Callable[[], None] | None = None) -> None:
        self._interrupt = interrupt
        self.signal_number: int | None = None
        self.times = 0
        self.feed: Feed | None = None
        self.in_fn = False
        """True while the main thread is inside fn: only then a second signal may raise there."""
        self.on_ask: Callable[[], None] | None = None
        """Called each time that it is asked, maybe by a signal handler."""
        self.cancel_body: Callable[[], object] | None = None
        """Cancels the task that is inside the body of an asynchronous claim; called by a signal handler."""
        self.held: BaseException | None = None
        """What a handler of the program raised, such as SystemExit; it is raised when the run has stopped in order."""
        self.in_background = False
        """The run belongs to a task that is not the main one: raising Interrupted there would tear down the loop."""

    def ask(self, number: int | None = None) -> None:
        """Ask the run to start nothing more; asked again, to end what runs."""
        self.times += 1
        if self.signal_number is None:
            self.signal_number = number
        if self.on_ask is not None:
            self.on_ask()
        if self.times > 1:
            if self._interrupt is not None:
                self._interrupt()
            elif self.in_fn:
                raise KeyboardInterrupt
            elif self.cancel_body is not None:
                self.cancel_body()
        if self.feed is not None:
            self.feed.is_stopped = True
            if self.feed.pulled_by == threading.get_ident():
                raise Stopped

    @property
    def is_asked(self) -> bool:
        """Say whether the run should start nothing more."""
        return self.times > 0

    @property
    def is_urgent(self) -> bool:
        """Say whether what runs should be ended by an exception, not waited for."""
        # Where fn is ended in its own way, it soon says by itself what became of it.
        return self.times > 1 and self._interrupt is None

    @contextmanager
    def handling_signals(self, *, wanted: bool) -> Iterator[None]:
        """Take SIGINT and SIGTERM over, and give them back. Only the main thread can."""
        took = self.take_signals(wanted=wanted)
        try:
            yield
        finally:
            if took:
                self.give_signals_back()

    def take_signals(self, *, wanted: bool) -> bool:
        """Take SIGINT and SIGTERM over if *wanted*, and return whether that was done. Only the main thread can."""
        if not wanted or threading.current_thread() is not threading.main_thread():
            return False
        _handlers.add(self)
        return True

    def give_signals_back(self) -> None:
        """Leave the signals alone from now on. Giving them back again does nothing."""
        _handlers.remove(self)


class _Handlers:
    """SIGINT and SIGTERM of this process, taken over as long as any run wants them.

    Runs may be generators that interleave, end in any order, and be closed by another thread.
    """

    def __init__(self) -> None:
        self._runs: list[Stopping] = []
        self._before: dict[int, Any] = {}

    def add(self, run: Stopping) -> None:
        """Ask *run* to stop, too, when a signal comes."""
        self._runs.append(run)
        for number in SIGNALS:
            # None: a handler that is not Python's could neither be called nor given back.
            if signal.getsignal(number) not in {self._handle, None}:
                self._before[number] = signal.signal(number, self._handle)

    def remove(self, run: Stopping) -> None:
        """Leave *run* alone from now on; the last one gives the signals back."""
        if run in self._runs:
            self._runs.remove(run)
        if self._runs or threading.current_thread() is not threading.main_thread():
            return  # a handler that finds no run does what was done before
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)
                if _is_of_an_event_loop(handler):
                    signal.siginterrupt(number, False)  # noqa: FBT003 - as add_signal_handler does; signal() resets it
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._runs:
            self._do_as_before(number, frame)
            return
        broken_in: BaseException | None = None
        runs = list(self._runs)
        for run in runs:
            try:
                run.ask(number)
            except (Stopped, KeyboardInterrupt) as error:
                broken_in = error
        before = self._before.get(number)
        if callable(before) and not _only_interrupts(before):
            try:
                before(number, frame)
            except BaseException as error:  # noqa: BLE001 - raised again by the runs, when they have stopped
                for run in runs:
                    run.held = error
        if broken_in is not None:
            raise broken_in

    def _do_as_before(self, number: int, frame: FrameType | None) -> None:
        before = self._before.get(number, signal.SIG_DFL)
        if callable(before):
            before(number, frame)
        elif before != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _only_interrupts(handler: Callable[..., Any]) -> bool:
    """Return whether *handler* is Python's own: it raises KeyboardInterrupt, or cancels the main task for it."""
    inner = getattr(handler, "func", handler)  # asyncio.run sets a partial of a method
    return inner is signal.default_int_handler or getattr(inner, "__func__", None) is _ON_SIGINT


def _is_of_an_event_loop(handler: object) -> bool:
    module = getattr(handler, "__module__", None) or ""
    return module.partition(".")[0] in {"asyncio", "uvloop"} and callable(handler) and not _only_interrupts(handler)


_ON_SIGINT: Final = getattr(asyncio.Runner, "_on_sigint", None)
_handlers: Final = _Handlers()


def raise_in_thread(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise *error* in *thread* as soon as it runs Python code again; one blocked in C goes on."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error))
