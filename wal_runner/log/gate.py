"""The gate: the lock around every access to a log, reads too.

Imported by the LMDB engine. Invariant: at most one thread of one process is inside; nobody runs
user code there. An in-process mutex comes first, because threads share the descriptor that flock
is tied to; then ``flock(LOCK_EX)``. LMDB's own lock is not used: across PID namespaces, and when
lock.mdb is deleted, it loses commits (measured). The lock is always exclusive and never upgraded:
two overlapping readers with shared locks starved a writer for seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wal_runner.errors import LogBusy, LogReadOnly, LogReplaced
from wal_runner.log.files import HeldFile, open_file
from wal_runner.log.locks import is_held_here, let_go


if TYPE_CHECKING:
    from collections.abc import Iterator

_POLL_S = (0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002)
"""Waits between two tries. Polling keeps the wait interruptible and bounded; flock has no timeout."""

_HOLDER_BYTES = 20
_LOCKS = Path("/proc/locks")


class Gate:
    """An exclusive lock on one file, between threads and between processes."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self._path = path
        self._writable = writable
        flags = os.O_RDWR if writable else os.O_RDONLY
        try:
            self._file = HeldFile(open_file(path.parent, path.name, flags), path)
        except FileNotFoundError:
            raise LogReplaced(f"{path} is gone. Restore the folder as it was, then open the log again.") from None
        except PermissionError:
            if writable:
                raise LogReadOnly(f"{path} cannot be written. Read the log, or change its owner.") from None
            raise LogReadOnly(f"{path} cannot be read. Ask its owner.") from None
        except OSError as error:
            raise LogReadOnly(f"{path} cannot be opened: {error.strerror}. Read the log instead.") from error
        self._closed = False
        # Nothing inside the gate may come back to it. It is an RLock because an RLock knows its thread from the moment
        # of the acquire: what an exception left locked can be told from another thread's turn.
        self.mutex = threading.RLock()

    def acquire(self, wait_s: float) -> None:
        """Enter, or raise `LogBusy` after *wait_s*, naming the holder and whether it is stopped."""
        deadline = time.monotonic() + wait_s
        self.check_not_mine()
        if not self.mutex.acquire(timeout=wait_s):
            raise LogBusy(f"Another thread of this process held {self._path} for {wait_s:g} s. Try again.")
        try:
            # Before the lock, which would be another file's, and before the holder's pid is written.
            self._file.check()
            self._lock(deadline, wait_s)
            self._check_still_there()
        except BaseException:
            # Whatever failed: a mutex that stays locked would stop this process for good.
            if self._file.is_ours:
                self._unlock()
            let_go(self.mutex)
            raise

    def release(self) -> None:
        """Leave the gate."""
        # The mutex last, and only then: while this thread holds it, an unlock that was broken off is repeated.
        self._unlock()
        let_go(self.mutex)

    @property
    def is_mine(self) -> bool:
        """Whether this thread is inside, or was when an exception broke its release."""
        return is_held_here(self.mutex)

    def check_not_mine(self) -> None:
        """Raise `LogBusy` if this thread is inside."""
        if is_held_here(self.mutex):
            raise LogBusy.of_this_thread(self._path)

    @property
    def descriptor(self) -> int:
        """Return the descriptor of GATE."""
        return self._file.descriptor

    @contextmanager
    def held(self, wait_s: float) -> Iterator[None]:
        """Be inside for the length of a block."""
        self.acquire(wait_s)
        try:
            yield
        finally:
            self.release()

    def close(self) -> None:
        """Close the descriptor, which also leaves the gate. Closing again does nothing."""
        self._closed = True
        self._file.close()

    def _lock(self, deadline: float, wait_s: float) -> None:
        tries, descriptor = 0, self._file.descriptor
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LogBusy(_busy_message(self._path, descriptor, wait_s)) from None
                time.sleep(_POLL_S[min(tries, len(_POLL_S) - 1)])
                tries += 1
                self._file.check()
            else:
                break
        if self._writable:
            # For the message of whoever waits in vain; /proc/locks does not exist everywhere. A full
            # disk must not keep out the one who comes to write outcomes into the room kept for them.
            with contextlib.suppress(OSError):
                os.pwrite(descriptor, b"%-*d" % (_HOLDER_BYTES, os.getpid()), 0)

    def _unlock(self) -> None:
        if not self._closed:
            # Explicit, because a forked child may have a duplicate of the descriptor open. One that was closed
            # inside has left the gate already.
            with contextlib.suppress(OSError, ValueError):  # the latter if another thread closes it meanwhile
                fcntl.flock(self._file.descriptor, fcntl.LOCK_UN)

    def _check_still_there(self) -> None:
        # Two processes with locks on two different GATE files would both be inside.
        try:
            found = _identity(os.lstat(self._path))
        except OSError:
            # Gone, or a file stands where the folder was, or the folder is closed to us.
            found = None
        if found != self._file.inode:
            raise LogReplaced(
                f"{self._path} was moved, deleted or replaced while the log was open. Stop everything that "
                "uses this log, put the folder in order, and open it again."
            )


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _busy_message(path: Path, descriptor: int, wait_s: float) -> str:
    pid = _holder(descriptor)
    if pid is None:
        return f"Another process has held {path} for {wait_s:g} s. Wait for it, then try again."
    if _is_stopped(pid):
        return (
            f"Process {pid} holds {path} and is stopped, so nobody can go on. Continue it (`kill -CONT {pid}`) "
            "or end it, then try again."
        )
    return f"Process {pid} has held {path} for {wait_s:g} s. Wait for it, then try again."


def _holder(descriptor: int) -> int | None:
    """Find who holds the lock: what the kernel says where it can be asked, else what was written."""
    stat = os.fstat(descriptor)
    try:
        written = int(os.pread(descriptor, _HOLDER_BYTES, 0))
    except ValueError:
        written = None
    try:
        locks = _LOCKS.read_text()
    except OSError:
        return written
    return _holder_in(locks, stat.st_dev, stat.st_ino, written)


def _holder_in(locks: str, device: int, inode: int, written: int | None) -> int | None:
    """Give the pid in *locks*; see proc_locks(5). None where the holder is in another PID namespace.

    The device counts: a file on another file system may have the same inode number, and the
    process that has that one locked must not be stopped or ended for ours.
    """
    holders = {}
    for line in locks.splitlines():
        # "1: FLOCK  ADVISORY  WRITE 4711 fe:01:77 0 EOF"; one who waits has "->" before FLOCK.
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK":  # noqa: PLR2004 - proc_locks(5) counts the fields
            holders[fields[5]] = int(fields[4])
    pid = holders.get(f"{os.major(device):02x}:{os.minor(device):02x}:{inode}")
    if pid is None:
        # On btrfs and overlay stat() tells another device than the kernel's list does.
        same_inode = {pid for place, pid in holders.items() if place.endswith(f":{inode}")}
        pid = written if written in same_inode else None
    return pid if pid is not None and pid > 0 else None


def _is_stopped(pid: int) -> bool:
    try:
        # Bytes: the kernel cuts a process's name after 15, in the middle of a character too.
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] in {b"T", b"t"}
