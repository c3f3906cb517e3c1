"""One run at a time on a Runner: who runs, and what is said to whoever comes second.

Imported by the runner and by claims. Invariant: a run that is over holds nothing, however it ended. No line releases
the place of a run, since an exception may strike before any line: the place is held by a generator, and is free once
that has ended. It has, whatever raised in it, also while a traceback keeps its frame.
"""

from __future__ import annotations

import os
import threading
import traceback
import weakref
from contextlib import contextmanager
from inspect import GEN_CLOSED, getgeneratorstate
from typing import TYPE_CHECKING

from wal_runner.errors import LogClosed, RecursiveRun


if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from contextlib import AbstractContextManager

    from wal_runner.recovery.writer import LogWriter


class _Place:
    """The place of a run: where it was begun, and whether it is over."""

    __slots__ = ("_holder", "begun_at")

    def __init__(self, holder: Generator[None]) -> None:
        self.begun_at = _caller()
        self._holder = weakref.ref(holder)

    @property
    def is_over(self) -> bool:
        """Return whether the generator that holds the place has ended."""
        holder = self._holder()
        return holder is None or getgeneratorstate(holder) == GEN_CLOSED


class OneRun:
    """Lets one run begin after the other."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        writer.is_running = self._is_going_on
        self._lock = threading.RLock()
        self._current: _Place | None = None

    def running(self) -> AbstractContextManager[None]:
        """Hold the place of the one run inside the block. Raise `RecursiveRun` if a run is going on."""
        places: list[_Place] = []
        manager = self._holding(places)
        places.append(_Place(manager.gen))
        return manager

    def _is_going_on(self) -> bool:
        """Return whether a run is going on."""
        return self._current is not None and not self._current.is_over

    @contextmanager
    def _holding(self, places: list[_Place]) -> Iterator[None]:
        if self._writer.closed:
            raise LogClosed(f"The Runner on {self._writer.log.path} was closed. Open another one.")
        with self._lock:
            if self._current is not None and not self._current.is_over:
                raise RecursiveRun(
                    f"This Runner is in a run already, {self._current.begun_at}. Let that end, or use another log for "
                    "the items inside."
                )
            self._current = places[0]
        # An exception that struck in the middle of the last run's end may have left a turn open.
        self._writer.break_off()
        try:
            yield
        finally:
            # Other processes would wait for what an exception left locked until this thread comes back to the log.
            self._writer.break_off()


def _caller() -> str:
    package = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - as traceback spells it
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(package) and "contextlib" not in frame.filename:
            return f"begun at {frame.filename}:{frame.lineno}"
    return "begun by wal_runner itself"
