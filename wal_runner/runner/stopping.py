"""Stop a run in order: signals, and the flag that they set.

Imported by the drivers. Invariant: a handler never raises inside a transaction. The first signal
sets a flag, and breaks into the source if that has control; the second ends fn itself.
"""

from __future__ import annotations

import ctypes
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
        self.on_interrupt: Callable[[], None] | None = None

    def ask(self, number: int | None = None) -> None:
        """Ask the run to start nothing more; asked again, to end what runs."""
        self.times += 1
        if self.signal_number is None:
            self.signal_number = number
        if self.on_ask is not None:
            self.on_ask()
        if self.times > 1:
            if self.on_interrupt is not None:
                self.on_interrupt()
            if self._interrupt is not None:
                self._interrupt()
            elif self.in_fn:
                raise KeyboardInterrupt
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
        if not wanted or threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {}

        def handle(number: int, _frame: FrameType | None) -> None:
            self.ask(number)

        try:
            for wanted_signal in SIGNALS:
                before[wanted_signal] = signal.signal(wanted_signal, handle)
            yield
        finally:
            for taken_signal, handler in before.items():
                signal.signal(taken_signal, handler if handler is not None else signal.SIG_DFL)


def raise_in_thread(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise *error* in *thread* as soon as it runs Python code again; one blocked in C goes on."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error))
