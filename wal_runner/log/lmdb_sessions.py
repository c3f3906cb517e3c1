"""The sessions of an LMDB log's folder: births, locks, slots, and who is dead.

Imported by the LMDB engine, which calls everything here inside the gate. Invariant: a number is never
used twice, and only the kernel says who lives.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from wal_runner.errors import ON_RESTORING, DiskFull, LogCorrupt, LogWentBack
from wal_runner.log import scratch, session_files
from wal_runner.log.env import translate_system
from wal_runner.log.filesystems import is_mappable
from wal_runner.log.host import boot_id
from wal_runner.log.protocol import Liveness


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path


NUMBER_MAX: Final = 10**12
"""Sessions are numbered from 1. A larger number was made by hand, or by damage."""


class LmdbSession:
    """A session of this process. See `wal_runner.log.protocol.Session`."""

    def __init__(
        self, sessions: Sessions, number: int, file: session_files.SessionFile, slots: scratch.Scratch
    ) -> None:
        self._sessions = sessions
        self.number = number
        self.file = file
        self.scratch = slots

    @property
    def descriptor(self) -> int | None:
        """Return the descriptor that keeps the whole session alive. See `Session.descriptor`."""
        return self.file.descriptor

    def item_locked(self, slot: int) -> AbstractContextManager[int]:
        """Hold the lock of the item in *slot*. See `Session.item_locked`."""
        return self.file.item_locked(slot)

    def close(self) -> None:
        """Release the locks and remove the files."""
        self.scratch.close()
        self.file.close()
        self._sessions.own.pop(self.number, None)

    def abandon(self) -> None:
        """Release the locks and leave the files, as a crash would."""
        self.scratch.close()
        self.file.abandon()
        self._sessions.own.pop(self.number, None)

    def disown(self) -> None:
        """Let go in a forked child; the lock stays the parent's."""
        self.scratch.disown()
        self.file.abandon()


class Sessions:
    """The sessions in *folder*; those of this handle are in `own`."""

    def __init__(self, folder: Path, log_id: str) -> None:
        self.own: dict[int, LmdbSession] = {}
        self._folder = folder
        self._log_id = log_id

    def check_still_there(self) -> None:
        """Raise `LogReplaced` where the file of a session of ours was deleted."""
        for session in self.own.values():
            session.file.check_still_there()

    def new(self, last: int) -> LmdbSession:
        """Create and lock the files of a new session, its number above *last*."""
        # A crash between the files and the commit leaves files of a number that no event names.
        number = max([last, *session_files.numbers_in(self._folder)]) + 1
        if number > NUMBER_MAX:
            raise LogCorrupt(
                f"The last session of {self._folder} has the number {number - 1}, which no log ever gets to. Look for "
                "files there that are not the log's, and run `walrun verify`."
            )
        file = session_files.SessionFile(self._folder, number)
        try:
            slots = scratch.Scratch(
                file.slots.descriptor,
                session_files.beside(self._folder, number),
                log_id=self._log_id,
                session=number,
                boot=boot_id(),
                shared=is_mappable(self._folder),
            )
            session = self.own[number] = LmdbSession(self, number, file, slots)
            return session  # noqa: TRY300 - an exception that strikes here closes it too
        except OSError as error:
            file.close()
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise translate_system(error, self._folder, "given a session's slots") from error
            raise DiskFull(
                f"The disk of {self._folder} has no room for a session's slots ({error.strerror}). Nothing was "
                "started. Free some space, then run the same again."
            ) from error
        except BaseException:
            self.own.pop(number, None)
            file.close()
            raise

    def probe(self, numbers: Iterable[int]) -> dict[int, Liveness]:
        """Ask the kernel about each session; those of this handle live."""
        return {
            number: Liveness(alive=True, owner_alive=True)
            if number in self.own
            else session_files.probe(self._folder, number)
            for number in numbers
        }

    def others_alive(self) -> list[int]:
        """Give the sessions of others that live."""
        numbers = session_files.numbers_in(self._folder) - set(self.own)
        return sorted(n for n, liveness in self.probe(numbers).items() if liveness.alive)

    def strays(self, unended: Collection[int]) -> list[int]:
        """Give the dead whose files nobody will ask for: they are not among *unended*."""
        left = session_files.numbers_in(self._folder) - set(self.own) - set(unended)
        return sorted(n for n, liveness in self.probe(left).items() if not liveness.alive)

    def check_not_ahead(self, end: int) -> None:
        """Raise `LogWentBack` if a dead session began a start behind *end*, the last seq of the log.

        A start is durable before its fn begins, so the log has lost it: an older copy of data.mdb was put in place.
        """
        numbers = session_files.numbers_in(self._folder) - set(self.own)
        for number, liveness in self.probe(numbers).items():
            if liveness.alive:
                continue
            begun = scratch.furthest_begun(
                self._folder / str(number), log_id=self._log_id, session=number, boot=boot_id()
            )
            if begun > end:
                raise LogWentBack(
                    f"{self._folder.parent} ends at event {end}, and session {number} has run the item of event "
                    f"{begun}: an older copy was put back, or commits were lost. Running would repeat what they did. "
                    f"Put the newest copy back. {ON_RESTORING}"
                )

    def remains(self, number: int) -> dict[int, scratch.Remains]:
        """Read what a dead session's slots say."""
        return scratch.read_remains(
            self._folder / str(number),
            session_files.beside(self._folder, number),
            log_id=self._log_id,
            session=number,
            boot=boot_id(),
        )

    def retire(self, number: int) -> None:
        """Remove the files of a dead session."""
        session_files.remove(self._folder, number)

    def abandon(self) -> None:
        """Release the locks of all that are left."""
        for session in list(self.own.values()):
            session.abandon()

    def disown(self) -> None:
        """Let go of all in a forked child."""
        for session in self.own.values():
            session.disown()
        self.own.clear()
