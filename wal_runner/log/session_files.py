"""Session files: a session lives while somebody holds the lock on its file.

Imported by the LMDB engine, which calls everything here inside the gate. Invariant: no clock and
no heartbeat decides; the kernel does, when the last holder of the descriptor is gone.

Two files a session, and a third (``sessions/N.large``) for outcomes too large for a slot.
``sessions/N`` is locked by the owner, and its descriptor is inherited by the commands that it runs
for items: the session lives until they end too. ``sessions/N.owner`` is locked by the owner alone,
so that a reader can tell "owner dead, effect still running".
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from io import FileIO
from typing import TYPE_CHECKING

from wal_runner.errors import DiskFull, LogReplaced
from wal_runner.log.env import translate_system
from wal_runner.log.format import FILE_MODE
from wal_runner.log.protocol import Liveness


if TYPE_CHECKING:
    from pathlib import Path

# As a number is written, so that "007" or digits of another alphabet are nobody's; and of at most twelve
# digits, because a stray file of more would make the next session's number too large to be stored.
_NAME = re.compile(r"([1-9][0-9]{0,11})(\.owner|\.large)?\Z")


class SessionFile:
    """The locks of one session of this process."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._path = folder / str(number)
        self._owner_path = folder / f"{number}.owner"
        self.descriptor: int | None = None
        try:
            self._owner_file = _create_locked(self._owner_path)
            try:
                self._file = _create_locked(self._path)
                self.descriptor = self._file.fileno()
            except BaseException:
                # Half a session would look alive as long as this process lives.
                _unlink(self._owner_path)
                self._owner_file.close()
                raise
        except FileExistsError:
            raise  # a number that was free a moment ago, inside the gate, is not: a bug of ours
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise translate_system(error, folder, "given a new session") from error
            raise DiskFull(
                f"No session can begin: the disk of {folder} is full. Nothing was started. Free some space, then run "
                "the same again."
            ) from error

    def check_still_there(self) -> None:
        """Raise `LogReplaced` when the file was deleted: others could not tell that we live."""
        assert self.descriptor is not None, "a closed session appends nothing"
        try:
            same = os.path.samestat(self._path.stat(), os.fstat(self.descriptor))
        except OSError:
            # Gone, or a file stands where the folder was, or the folder is closed to us.
            same = False
        if not same:
            raise LogReplaced(
                f"{self._path} was deleted or replaced while its session ran. Other processes may hold the "
                "session dead; stop this process and open the log again."
            )

    def close(self) -> None:
        """Remove the files and release the locks."""
        if self.descriptor is not None:
            remove(self._path.parent, self.number)
        self.abandon()

    def abandon(self) -> None:
        """Close our descriptors and leave the files: what a forked child does, and what a crash does."""
        # Files, not numbers: closing one again does nothing, and an exception may strike between any two lines. A lock
        # that stayed would make the session look alive as long as this process lives.
        self.descriptor = None
        self._file.close()
        self._owner_file.close()


def beside(folder: Path, number: int) -> Path:
    """Give where the session's large outcomes wait for their commit."""
    return folder / f"{number}.large"


def numbers_in(folder: Path) -> set[int]:
    """Give the session numbers that have files, a crash between file and commit included."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names only
    except FileNotFoundError:
        raise LogReplaced(f"{folder} is gone. Restore the folder as it was, then open the log again.") from None
    return {int(match[1]) for name in names if (match := _NAME.match(name))}


def probe(folder: Path, number: int) -> Liveness:
    """Ask the kernel whether the session's locks are held. A missing file is held by nobody."""
    return Liveness(
        alive=_is_held(folder / str(number)),
        owner_alive=_is_held(folder / f"{number}.owner"),
    )


def remove(folder: Path, number: int) -> None:
    """Remove the files of a dead session."""
    for path in (folder / str(number), folder / f"{number}.owner", beside(folder, number)):
        _unlink(path)


class _LockFile(FileIO):
    """A file whose lock is released, without a warning, when nothing refers to it any more."""

    def __del__(self) -> None:
        self.close()


def _create_locked(path: Path) -> FileIO:
    file = _LockFile(path, "r+", opener=_create)
    try:
        os.fchmod(file.fileno(), FILE_MODE)
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file  # noqa: TRY300 - an exception that strikes here closes it too
    except BaseException:
        file.close()
        raise


def _create(path: str, _flags: int) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)


def _unlink(path: Path) -> None:
    # What stays, for whatever reason, is a file that nobody holds: that of a dead session.
    with contextlib.suppress(OSError):
        path.unlink()


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who probe at once do not take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
