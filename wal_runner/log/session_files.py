"""Session files: a session lives while somebody holds the lock on its file.

Imported by the LMDB engine, which calls everything here inside the gate. Invariant: no clock and
no heartbeat decides; the kernel does, when the last holder of the descriptor is gone.

Two files a session, and a third (``sessions/N.large``) for outcomes too large for a slot. ``sessions/N`` holds
the slots, and is locked by the owner. ``sessions/N.owner`` is locked by the owner alone, so that a reader can tell
"owner dead, effect still running". ``sessions/N.SLOT`` is empty, and is there while a command runs for the item in
that slot: the command inherits its lock, and the session counts as alive until the command ends, unless the slot
says that the item has finished. So a daemon that a finished item left behind keeps no session alive.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wal_runner.errors import DiskFull, LogReplaced, LogUnsafe
from wal_runner.log.env import translate_system
from wal_runner.log.files import CLOSED, HeldFile, LockedFile, inside, open_file, remove_file
from wal_runner.log.files import names_in as names_in_folder
from wal_runner.log.protocol import Liveness
from wal_runner.log.scratch import is_finished


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# As a number is written, so that "007" or digits of another alphabet are nobody's; and of at most twelve
# digits, because a stray file of more would make the next session's number too large to be stored.
_NAME = re.compile(r"([1-9][0-9]{0,11})(\.owner|\.large|\.[0-9]{1,4})?\Z")
_ITEM_NAME = re.compile(r"([1-9][0-9]{0,11})\.([0-9]{1,4})\Z")


class SessionFile:
    """The locks of one session of this process."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self._path = folder / str(number)
        self._owner_path = folder / f"{number}.owner"
        self._items: dict[int, HeldFile] = {}
        try:
            self._owner = _create_locked(self._owner_path)
            try:
                self._lock, self.slots = _create_slots(self._path)
            except BaseException:
                # Half a session would look alive as long as this process lives.
                self._owner.close()
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

    @property
    def descriptor(self) -> int | None:
        """Return the locked descriptor, or None once the session is closed.

        A process that inherits it keeps the session alive, and can write nothing.
        """
        return None if self._lock.descriptor == CLOSED else self._lock.descriptor

    def check_still_there(self) -> None:
        """Raise `LogReplaced` if a file or a lock of the session is gone: others could not tell that we are alive."""
        assert self.descriptor is not None, "a closed session appends nothing"
        # A lock goes with its descriptor: without it others hold us dead.
        self._lock.check()
        self._owner.check()
        try:
            found = os.lstat(self._path)
        except OSError:
            # Gone, or a file stands where the folder was, or the folder is closed to us.
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._lock.inode:
            raise LogReplaced(
                f"{self._path} was deleted or replaced while its session ran. Other processes may hold the "
                "session dead; stop this process and open the log again."
            )

    @contextmanager
    def item_locked(self, slot: int) -> Iterator[int]:
        """Hold the lock of the item in *slot*, and yield the descriptor that its command inherits.

        Raises a `LogError` if there can be no lock; then no command may be started.
        """
        if (held := self._items.get(slot)) is not None:
            yield held.descriptor  # fn asked twice
            return
        path = self._path.with_name(f"{self.number}.{slot}")
        try:
            # What a former item of this slot left is still locked by its daemon. Under another inode it is free.
            _unlink(path)
            file = LockedFile(open_file(*inside(path), exclusive=True), path)
        except OSError as error:
            raise translate_system(error, path, "created") from error
        try:
            self._items[slot] = file
            fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file.descriptor
        finally:
            self._items.pop(slot, None)
            _unlink(path)
            file.close()

    def close(self) -> None:
        """Remove the files and release the locks."""
        if self.descriptor is not None:
            remove(self._path.parent, self.number)
        self.abandon()

    def abandon(self) -> None:
        """Close our descriptors and leave the files: what a forked child does, and what a crash does."""
        # All of them, also when called again: an exception may have struck between any two.
        for file in (self.slots, self._lock, self._owner, *list(self._items.values())):
            file.close()


def beside(folder: Path, number: int) -> Path:
    """Give where the session's large outcomes wait for their commit."""
    return folder / f"{number}.large"


def numbers_in(folder: Path) -> set[int]:
    """Give the session numbers that have files, a crash between file and commit included."""
    return {int(match[1]) for name in _names(folder) if (match := _NAME.match(name))}


def probe(folder: Path, number: int) -> Liveness:
    """Ask the kernel whether the session's locks are held. A missing file is held by nobody."""
    return Liveness(
        alive=_is_held(folder / str(number)) or _runs_a_started_item(folder, number),
        owner_alive=_is_held(folder / f"{number}.owner"),
    )


def remove(folder: Path, number: int) -> None:
    """Remove the files of a dead session."""
    items: list[str] = []
    with contextlib.suppress(OSError, LogReplaced, LogUnsafe):
        items = [f"{number}.{slot}" for slot in _item_slots(folder, number)]
    for name in (f"{number}", f"{number}.owner", f"{number}.large", *items):
        _unlink(folder / name)


def _runs_a_started_item(folder: Path, number: int) -> bool:
    """Return whether a command holds the lock of an item that has not finished."""
    path = folder / str(number)
    return any(
        _is_held(folder / f"{number}.{slot}") and not is_finished(path, slot) for slot in _item_slots(folder, number)
    )


def _item_slots(folder: Path, number: int) -> list[int]:
    found = (match for name in _names(folder) if (match := _ITEM_NAME.match(name)))
    return sorted(int(match[2]) for match in found if int(match[1]) == number)


def _names(folder: Path) -> list[str]:
    try:
        return names_in_folder(folder.parent, folder.name)
    except (FileNotFoundError, NotADirectoryError):
        raise LogReplaced(f"{folder} is gone. Restore the folder as it was, then open the log again.") from None


def _create_locked(path: Path) -> LockedFile:
    file = LockedFile(open_file(*inside(path), os.O_RDWR, exclusive=True), path)
    try:
        fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file  # noqa: TRY300 - an exception that strikes here closes it too
    except BaseException:
        file.close()
        raise


def _create_slots(path: Path) -> tuple[HeldFile, HeldFile]:
    """Create the slots file; return the descriptor that is locked, and the one that may write.

    Two openings, because a lock belongs to the opening: a map of the slots would hold the lock until it is unmapped,
    and a command that inherits the lock could write, or cut off, the slots.
    """
    slots = LockedFile(open_file(*inside(path), os.O_RDWR, exclusive=True), path)
    lock: LockedFile | None = None
    try:
        lock = LockedFile(open_file(*inside(path)), path)
        fcntl.flock(lock.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock, slots  # noqa: TRY300 - an exception that strikes here closes both too
    except BaseException:
        if lock is not None:
            lock.close()
        slots.close()
        _unlink(path)
        raise


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
