"""Opening and creating logs: which handle a path gives, once a process.

Imported by recovery. Invariant: a process has a log's data open at most once (LMDB demands it),
has at most one writer of it, and none of it after a fork.
"""

from __future__ import annotations

import os
import threading
import traceback
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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
        self.readers = 0
        self.writer_at: str | None = None
        self.thread = threading.get_ident()
        self.owner: weakref.ref[Any] | None = None
        """The writer, once there is one. Its handle outlives it only if an exception struck while it was opened."""


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
                "close it first. If no variable refers to it any more, as after an exception in a notebook, "
                "Runner(path, take_over=True) closes it, unless a run of it is going on."
            )
        check_owner(folder)
        check_file_system(folder)
        log: LmdbLog | None = None
        try:
            log = LmdbLog(folder, identity, read_only=False)
            handle = Handle(log, _caller())
            handle.writer_at = handle.opened_at
            _handles[key] = handle
            return cast("Log", log), created
        except BaseException:
            _handles.pop(key, None)
            if log is not None:
                log.close()
            raise


def open_for_reading(path: str | os.PathLike[str]) -> Log:
    """Open the log at *path* without writing a byte; share what this process has open of it."""
    folder = Path(path).absolute()
    with _lock:
        identity = read_identity(folder)
        key = _key(folder)
        handle = _handles.get(key)
        if handle is not None:
            handle.readers += 1
            return cast("Log", handle.log)
        log: LmdbLog | None = None
        try:
            log = LmdbLog(folder, identity, read_only=True)
            handle = _handles[key] = Handle(log, _caller())
            handle.readers = 1
            return cast("Log", log)
        except BaseException:
            _handles.pop(key, None)
            if log is not None:
                log.close()
            raise


def set_owner(log: Log, owner: object) -> None:
    """Remember who writes *log*, as `owner_of` returns it."""
    for handle in _handles.copy().values():
        if handle.log is log:
            handle.owner = weakref.ref(owner)


def close_unowned(path: str | os.PathLike[str]) -> None:
    """Close what this thread has opened for writing at *path* and an exception kept from its caller."""
    for key, handle in _handles.copy().items():
        is_unowned = handle.writer_at is not None and handle.owner is None and handle.thread == threading.get_ident()
        if is_unowned and handle.log.path == Path(path).absolute():
            handle.log.close()
            _handles.pop(key, None)


def owner_of(path: str | os.PathLike[str]) -> Any | None:  # noqa: ANN401 - a room above this one
    """Return who writes the log at *path* in this process, or None."""
    try:
        handle = _handles.get(_key(Path(path).absolute()))
    except OSError:
        return None
    return None if handle is None or handle.owner is None else handle.owner()


def close(log: Log, *, writer: bool = False) -> None:
    """Release one use of *log*, a reader's or the writer's; the last one closes it. The writer may do so again."""
    with _lock:
        for key, handle in list(_handles.items()):
            if handle.log is log:
                if writer or not handle.readers:
                    handle.writer_at = None
                else:
                    handle.readers -= 1
                if handle.writer_at is None and handle.readers <= 0:
                    # Closed first: if an exception strikes in between, closing again does the rest.
                    log.close()
                    del _handles[key]
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
