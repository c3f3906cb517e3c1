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
from typing import TYPE_CHECKING

from wal_runner.errors import DiskFull, LogReplaced, LogUnsafe
from wal_runner.log.env import translate_system
from wal_runner.log.files import inside, open_file, remove_file
from wal_runner.log.files import names_in as names_in_folder
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
            self._owner_descriptor = _create_locked(self._owner_path)
            try:
                self.descriptor = _create_locked(self._path)
            except BaseException:
                # Half a session would look alive as long as this process lives.
                os.close(self._owner_descriptor)
                _unlink(self._owner_path)
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
            same = os.path.samestat(self._path.lstat(), os.fstat(self.descriptor))
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
        if self.descriptor is None:
            return
        remove(self._path.parent, self.number)
        self.abandon()

    def abandon(self) -> None:
        """Close our descriptors and leave the files: what a forked child does, and what a crash does."""
        if self.descriptor is None:
            return
        os.close(self.descriptor)
        os.close(self._owner_descriptor)
        self.descriptor = None


def beside(folder: Path, number: int) -> Path:
    """Give where the session's large outcomes wait for their commit."""
    return folder / f"{number}.large"


def numbers_in(folder: Path) -> set[int]:
    """Give the session numbers that have files, a crash between file and commit included."""
    try:
        names = names_in_folder(folder.parent, folder.name)
    except (FileNotFoundError, NotADirectoryError):
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


def _create_locked(path: Path) -> int:
    descriptor = open_file(*inside(path), os.O_RDWR, exclusive=True)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _unlink(path: Path) -> None:
    # What stays, for whatever reason, is a file that nobody holds: that of a dead session.
    with contextlib.suppress(OSError, LogUnsafe):
        remove_file(*inside(path))


def _is_held(path: Path) -> bool:
    try:
        descriptor = open_file(*inside(path))
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
