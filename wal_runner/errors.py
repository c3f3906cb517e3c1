"""Every error that wal_runner raises: when it happens, and what to do next.

Anything may import this module; it imports nothing of the package. Invariant: a message
ends with advice, because the reader is an engineer at 3 a.m. and the log is all they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Sequence


ON_RESTORING: Final = (
    "Read docs/how-to/restore-a-backup.md first: what a backup does not know is done again unless you settle it."
)
"""Ends each message that leads to a backup."""

RESTORE: Final = f"Restore the log from a backup. {ON_RESTORING}"
"""The advice for a log that is damaged: what to do, and what to read before it."""


class WalRunnerError(Exception):
    """The root of everything that wal_runner raises on purpose."""


# --- The log itself -----------------------------------------------------------


class LogError(WalRunnerError):
    """Something is the matter with the log as a whole; no item is to blame."""


class LogMissing(LogError):
    """There is no log at the path, and the caller said that there must be one."""


class NotALog(LogError):
    """The path exists and is not a log. Nothing in it was touched."""


class LogLost(LogError):
    """The folder says that a log was here, and its data is gone, empty or another log's."""


class LogWentBack(LogError):
    """The log is older than its own witness: a backup was restored, or a commit rolled back."""


class LogCopied(LogError):
    """The folder is not where the log was last used: a copy, a restored backup, or moved to another disk."""


class LogCorrupt(LogError):
    """Bytes of the log are not what was written. *seq* is the first bad event, if known."""

    def __init__(self, message: str, *, seq: int | None = None) -> None:
        super().__init__(message)
        self.seq = seq


class LogTooNew(LogError):
    """The log was written by a newer wal_runner, or holds an event that this one does not know."""


class OlderVersionRunning(LogError):
    """A live process of an older wal_runner could not read what was to be written. Nothing was written.

    *session*, *host* and *pid* name that process. Raised for features that were asked for, before
    their first start; an outcome is stored without its result instead.
    """

    def __init__(self, message: str, *, session: int = 0, host: str = "", pid: int = 0) -> None:
        super().__init__(message)
        self.session = session
        self.host = host
        self.pid = pid


class LogBusy(LogError):
    """Another process held the gate, or needs the log for itself, for longer than the wait.

    Raised at once to a signal handler, or a finalizer, that asks the log in the middle of a turn of its own thread.
    """

    is_of_this_thread = False
    """Whether this very thread is in a turn: to wait for it would be to wait for itself."""

    @classmethod
    def of_this_thread(cls, path: object) -> LogBusy:
        """Return the error for a thread that is in a turn at *path* already."""
        error = cls(f"This thread is in a turn at {path} already. Try again when that has ended.")
        error.is_of_this_thread = True
        return error


class LogAlreadyOpen(LogError):
    """The log is open in this process already; a second Runner on it is refused."""


class LogReadOnly(LogError):
    """The log cannot be written: a read-only folder, or a handle opened for reading."""


class LogReplaced(LogError):
    """GATE, the folder or the session's file was moved or deleted while the log was open."""


class LogUnsafe(LogError):
    """A link, FIFO or other special file stands in place of a file of the log, or its folder is another user's."""


class LogClosed(LogError):
    """The handle was closed, or belongs to the parent of this forked process."""


class LogForked(LogClosed):
    """A forked child used its parent's log. Open the log again in the child."""


class DiskFull(LogError):
    """There is no room for the outcomes of the items that would be started. Nothing was started."""


class StorageFailed(LogError):
    """The disk reported an I/O error. The handle is of no use any more; the log is as it was."""


class CommitUnknown(LogError):
    """A commit began and failed: it may be on disk. Fold the log again and look."""


class EventInvalid(LogError):
    """An event was to be written that no reader would accept. Nothing was written."""


class Compacted(LogError):
    """The events asked for were folded into the snapshot and dropped by a compaction."""


class UnsafeFileSystem(LogError):
    """The folder is on a network file system, where locks and mmap cannot be trusted."""


class SessionDeclaredLost(LogError):
    """Another process declared this session lost; none of its events can be appended any more."""


# --- Items, and what the caller asked of them -----------------------------------


class ItemIdInvalid(WalRunnerError, ValueError):
    """An item has no usable id. Raised before anything of it is written or run."""


class KeyRuleChanged(WalRunnerError):
    """The log names its items by another rule; going on would redo all of them."""


class DuplicateItem(WalRunnerError):
    """The source gave an id twice, and ``on_duplicate="error"`` was asked for."""


class ItemUnknown(WalRunnerError, KeyError):
    """The log knows no item of that id."""

    # KeyError would show repr(message); people read this one.
    __str__ = Exception.__str__


class VerdictRefused(WalRunnerError):
    """The verdict or the reopening does not fit the item's status. Nothing was written."""


class ItemChanged(WalRunnerError):
    """The source changed an item after it had yielded it: a buffer that it refills, an element that it clears."""


class CursorInvalid(WalRunnerError, ValueError):
    """A page cursor cannot be stored, or ``fetch_page`` did not return (items, next cursor)."""


class AttemptNotEntered(WalRunnerError):
    """An attempt was handed out and never entered; its item stays pending."""


class AttemptMisused(WalRunnerError):
    """An attempt was entered twice, or used outside its ``with`` block."""


class RecursiveRun(WalRunnerError):
    """A run was started on a Runner from inside a function that this Runner is running."""


class CoroutineReturned(WalRunnerError):
    """fn returned a coroutine that nobody awaits: its effect did not happen."""


class UnfinishedReturned(WalRunnerError):
    """fn returned work that has not ended (a generator, a Future): its item is in doubt, and the run stopped."""


class RunIncomplete(WalRunnerError):
    """`RunReport.check` found items that are not done."""


class OutcomeUnknown(WalRunnerError):
    """Raise this in fn to say: the effect may have happened. The item is then in doubt.

    ``raise OutcomeUnknown("gateway timed out after the charge was sent")``
    """


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and did: what was running has finished and is durable.

    A `KeyboardInterrupt`, so that a caller who knows nothing of it stops too. *report* is the
    `RunReport` so far; *signal_number* is the signal that asked.
    """

    def __init__(self, message: str, *, report: object = None, signal_number: int | None = None) -> None:
        super().__init__(message)
        self.report = report
        self.signal_number = signal_number


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Write *names* for a message: the first *limit*, then how many more there are."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
