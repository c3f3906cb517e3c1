"""The locks that commands of the user's inherit, so that an item whose command runs on is not taken for dead.

Imported by the `Runner`, which they are a part of. Invariant: a process can write nothing of the log by what it
inherits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.runner.attempt import current_attempt


if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from wal_runner.recovery.writer import LogWriter


class SessionLocks:
    """What a `Runner` gives to commands."""

    _writer: LogWriter

    @property
    def path(self) -> str:
        """Return the log's folder."""
        return str(self._writer.log.path)

    @property
    def log_id(self) -> str:
        """Return the log's own name, which idempotency keys are made of."""
        return self._writer.log.log_id

    @property
    def session_descriptor(self) -> int | None:
        """Return the descriptor of the session's lock. A process that inherits it can write nothing by it.

        While one holds it, the whole session counts as alive, also for items that have finished. For the command of
        one item use `item_lock`.
        """
        return self._writer.session.descriptor

    def item_lock(self) -> AbstractContextManager[int | None]:
        """Hold a lock for the item that fn is running, which its command shall inherit.

        ``with runner.item_lock() as lock: subprocess.run(command, pass_fds=[lock])``. If this process dies, the item
        is neither in doubt nor run again before the command has ended. What the command leaves behind in the
        background does not count any more once the item has finished.

        Raises LookupError outside of fn, and the errors of the log if there can be no lock.
        """
        return self._writer.session.item_locked(current_attempt().slot)
