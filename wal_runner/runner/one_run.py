"""One run at a time on a Runner: who runs, and what is said to whoever comes second.

Imported by the runner and by claims. Invariant: a run that is over holds nothing, however it ended. The
runner keeps only a weak reference to the run's token; the token lives in the frame of the run. If an
exception strikes between two lines of the release, the frame goes, and the token with it.
"""

from __future__ import annotations

import os
import threading
import traceback
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wal_runner.errors import LogClosed, RecursiveRun


if TYPE_CHECKING:
    from collections.abc import Iterator

    from wal_runner.recovery.writer import LogWriter


class _Token:
    """A run that is going on."""

    __slots__ = ("__weakref__", "begun_at", "is_over")

    def __init__(self) -> None:
        self.begun_at = _caller()
        self.is_over = False


class OneRun:
    """Lets one run begin after the other."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        writer.is_running = self._is_going_on
        self._lock = threading.RLock()
        self._current: weakref.ref[_Token] | None = None

    def _is_going_on(self) -> bool:
        """Return whether a run is going on."""
        current = None if self._current is None else self._current()
        return current is not None and not current.is_over

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold the place of the one run inside the block. Raise `RecursiveRun` if a run is going on."""
        if self._writer.closed:
            raise LogClosed(f"The Runner on {self._writer.log.path} was closed. Open another one.")
        token = _Token()
        try:
            with self._lock:
                current = None if self._current is None else self._current()
                if current is not None and not current.is_over:
                    raise RecursiveRun(
                        f"This Runner is in a run already, {current.begun_at}. Let that end, or use another log for "
                        "the items inside."
                    )
                self._current = weakref.ref(token)
            # An exception that struck in the middle of the last run's end may have left a turn open.
            self._writer.break_off()
            try:
                yield
            finally:
                # Other processes would wait for what an exception left locked until this thread comes back to the log.
                self._writer.break_off()
        finally:
            token.is_over = True


def _caller() -> str:
    package = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - as traceback spells it
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(package) and "contextlib" not in frame.filename:
            return f"begun at {frame.filename}:{frame.lineno}"
    return "begun by wal_runner itself"
