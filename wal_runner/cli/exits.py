"""Exit codes: the one place where an error becomes a number.

Imported by the commands. Invariant: a code never changes its meaning, because scripts test it; a
code that is not in this table means failure.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Self

import click

from wal_runner.errors import (
    LogBusy,
    LogCorrupt,
    LogLost,
    LogMissing,
    LogTooNew,
    LogWentBack,
    NotALog,
    OlderVersionRunning,
)


class Exit(IntEnum):
    """What ``walrun`` ends with. Commands that only read end with DONE when they could read."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a member that knows its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "done"
    ERROR = 1, "an error; the message says which, and what to do"
    USAGE = 2, "the command was not understood; nothing was done"
    SOME_FAILED = 3, "the run ended, and items failed"
    SOME_IN_DOUBT = 4, "items are in doubt (some may have failed too)"
    ELSEWHERE = 5, "done here; items are still running in another session"
    ENDED_EARLY = 6, "the run ended before its source did; the report says why"
    NO_LOG = 10, "there is no log at the path"
    BUSY = 11, "another process holds the log, or an older wal_runner is running on it"
    CORRUPT = 12, "the log is damaged, lost, older than it was, or of a newer version"
    INTERRUPTED = 130, "stopped by Ctrl-C or SIGTERM; what ran is on record"


def exit_of(error: BaseException) -> Exit:
    """Give the code for an error that ends a command."""
    for types, code in _CODES:
        if isinstance(error, types):
            return code
    return Exit.ERROR


_CODES: Final[tuple[tuple[tuple[type[BaseException], ...], Exit], ...]] = (
    ((click.UsageError,), Exit.USAGE),
    ((LogMissing, NotALog), Exit.NO_LOG),
    ((LogBusy, OlderVersionRunning), Exit.BUSY),
    ((LogCorrupt, LogLost, LogWentBack, LogTooNew), Exit.CORRUPT),
    ((KeyboardInterrupt, click.Abort), Exit.INTERRUPTED),
)
