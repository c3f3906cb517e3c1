"""Runs whose end cannot be written: every transaction fails from some moment on, until the run has raised.

Used by the child of the crash tests, which then runs the same again on the same Runner.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wal_runner.errors import CommitUnknown, DiskFull, LogBusy, LogError, StorageFailed
from wal_runner.recovery.writer import LogWriter
from wal_runner.runner import dispatcher


if TYPE_CHECKING:
    from collections.abc import Iterator

ERRORS: dict[str, type[BaseException]] = {
    "disk full": DiskFull,
    "busy": LogBusy,
    "storage failed": StorageFailed,
    "commit unknown": CommitUnknown,
    "written, and unknown": CommitUnknown,
    "interrupted": KeyboardInterrupt,
}
"""By the way in which a transaction fails. Of "commit unknown" every other one is written."""

LOG_ERRORS = tuple(way for way, error in ERRORS.items() if issubclass(error, LogError))
"""The ways in which a run of coroutines may fail: an interrupt on its committer's thread ends the event loop."""


@contextmanager
def breaking(way: str, after: int) -> Iterator[None]:
    """Let each transaction after the first *after* fail, and take the error that ends the run."""
    really, waits = LogWriter.turn, (dispatcher.DISK_FULL_WAIT_S, dispatcher.GATE_BUSY_WAIT_S)
    count = 0

    def turn(self: LogWriter, *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count <= after:
            return really(self, *arguments, **options)
        if way == "written, and unknown" or (way == "commit unknown" and count % 2):
            really(self, *arguments, **options)
        raise ERRORS[way](f"transaction {count} fails: {way}")

    LogWriter.turn = turn  # type: ignore[method-assign]
    dispatcher.DISK_FULL_WAIT_S = dispatcher.GATE_BUSY_WAIT_S = 0.0  # type: ignore[misc]
    try:
        yield
    except (LogError, KeyboardInterrupt):
        pass
    finally:
        LogWriter.turn = really  # type: ignore[method-assign]
        dispatcher.DISK_FULL_WAIT_S, dispatcher.GATE_BUSY_WAIT_S = waits  # type: ignore[misc]
