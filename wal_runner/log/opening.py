"""Opening and creating logs: which handle a path gives, once a process.

Imported by recovery. Invariant: a process has a log's data open at most once (LMDB demands it),
has at most one writer of it, and none of it after a fork.
"""

from __future__ import annotations

import os
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, cast

from wal_runner.errors import LogAlreadyOpen
from wal_runner.log.files import check_owner
from wal_runner.log.filesystems import check_file_system
from wal_runner.log.folder import create_folder, read_identity
from wal_runner.log.lmdb_log import LmdbLog


if TYPE_CHECKING:
    from wal_runner.log.protocol import Log

FORK_WAIT_S = 10.0
"""A fork waits so long for a commit under way; a child must not inherit half a transaction."""


class Handle:
    """What is open of one log in this process: the engine, who writes, and how many use it."""

    def __init__(self, log: LmdbLog, opened_at: str) -> None:
        self.log = log
        self.opened_at = opened_at
        self.users = 1
        self.writer_at: str | None = None


_handles: dict[tuple[int, int], Handle] = {}
_lock = threading.RLock()


def open_for_writing(path: str | os.PathLike[str], *, must_exist: bool = False) -> tuple[Log, bool]:
    """Open the log at *path*, or create it; say whether it is new.

    Raise `LogAlreadyOpen` where this process has it open, `LogMissing` where there is none and
    *must_exist*.
    """
    folder = Path(path).absolute()
    created = False
    with _lock:
        if not must_exist and not os.path.lexists(folder):
            try:
                create_folder(folder)
                created = True
            except FileExistsError:
                pass  # Another process was quicker; its log is as good as ours.
        identity = read_identity(folder)
        key = _key(folder)
        handle = _handles.get(key)
        if handle is not None:
            raise LogAlreadyOpen(
                f"{folder} is open in this process already, {handle.writer_at or handle.opened_at}. Use that one, or "
                "close it first."
            )
        check_owner(folder)
        check_file_system(folder)
        log = LmdbLog(folder, identity, read_only=False)
        handle = Handle(log, _caller())
        handle.writer_at = handle.opened_at
        _handles[key] = handle
        return cast("Log", log), created


def open_for_reading(path: str | os.PathLike[str]) -> Log:
    """Open the log at *path* without writing a byte; share what this process has open of it."""
    folder = Path(path).absolute()
    with _lock:
        identity = read_identity(folder)
        key = _key(folder)
        handle = _handles.get(key)
        if handle is not None:
            handle.users += 1
            return cast("Log", handle.log)
        log = LmdbLog(folder, identity, read_only=True)
        _handles[key] = Handle(log, _caller())
        return cast("Log", log)


def close(log: Log) -> None:
    """Give one use of *log* back; the last one closes it."""
    with _lock:
        for key, handle in list(_handles.items()):
            if handle.log is log:
                handle.users -= 1
                if handle.users == 0:
                    del _handles[key]
                    log.close()
                return
    log.close()


def _key(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _caller() -> str:
    """Name the line outside the package that asked."""
    package = str(Path(__file__).parent.parent)
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(package) and "contextlib" not in frame.filename:
            return f"opened at {frame.filename}:{frame.lineno}"
    return "opened by wal_runner itself"


# --- Fork -----------------------------------------------------------------------------


def _before_fork() -> None:
    _lock.acquire()
    for handle in _handles.values():
        handle.log.hold_for_fork(FORK_WAIT_S)


def _after_fork_in_parent() -> None:
    for handle in _handles.values():
        handle.log.let_go_after_fork()
    _lock.release()


def _after_fork_in_child() -> None:
    for handle in _handles.values():
        handle.log.let_go_after_fork()
        handle.log.after_fork_in_child()
    _handles.clear()
    _lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
