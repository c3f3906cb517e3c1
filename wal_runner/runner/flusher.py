"""The thread beside a run that commits outcomes which would otherwise wait too long.

Imported by the drivers. Invariant: a source that blocks for an hour, a slow fn behind quick ones, or
a consumer that asks for nothing more never holds back an outcome for longer than 50 ms.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from wal_runner.errors import DiskFull, LogBusy
from wal_runner.runner.dispatcher import FLUSH_SECONDS


if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from wal_runner.runner.dispatcher import Dispatcher


class Flusher:
    """Looks every 50 ms whether outcomes wait. Use as a context manager around a run."""

    def __init__(self, dispatcher: Dispatcher, look: Callable[[], None] | None = None) -> None:
        """Watch the outcomes of *dispatcher*; call *look* as often."""
        self._dispatcher = dispatcher
        self._look = look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="wal_runner flusher", daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # An exception in the middle of a release left a lock held in this thread; the flusher would wait for it.
            self._dispatcher.break_off()
        finally:
            self._ended.set()
            self._thread.join()

    def check(self) -> None:
        """Raise what the flusher met. The run meets the same at its next commit, mostly."""
        if self._error is not None:
            raise self._error

    def _watch(self) -> None:
        while not self._ended.wait(FLUSH_SECONDS):
            try:
                if self._look is not None:
                    self._look()
                if self._error is None:
                    self._dispatcher.flush_if_old()
            except (DiskFull, LogBusy):
                continue  # passing; the outcomes stay, and the run meets it where it lasts
            except BaseException as error:  # noqa: BLE001 - handed to the run, which is who can act
                self._error = self._error or error
                if self._look is None:
                    return
                # Go on looking: the end of the run waits for workers whose connections hang until they are replaced.
