"""Opening LMDB, and the one place where its exceptions are translated.

Imported by the LMDB engine and by compaction's rewrite. Invariant: no `lmdb.Error` leaves this
package, and LMDB is never opened in a mode that can lose a commit or kill the process.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import lmdb

from wal_runner.errors import (
    RESTORE,
    DiskFull,
    LogAlreadyOpen,
    LogCorrupt,
    LogError,
    LogReadOnly,
    LogReplaced,
    StorageFailed,
)
from wal_runner.log.files import HeldFile, descriptors_on, inode_of, open_file, opened
from wal_runner.log.format import FILE_MODE, MAP_BYTES, MAP_BYTES_MIN, ROOM_FLOOR_BYTES, TABLES_MAX


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}
_DISK_FAILED = {errno.EIO, errno.ENXIO}

_DAMAGED = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.NotFoundError,
)


def open_env(file: Path, *, read_only: bool) -> lmdb.Environment:
    """Open the LMDB file, which exists, in the only mode that we use. Close it with `close_env`.

    ``lock=False``: the gate stands in for LMDB's lock. ``writemap=False``: with it a full disk is
    a SIGBUS. The map is one very large sparse one, halved until the system grants it.
    """
    env: lmdb.Environment | None = None
    try:
        with translated(file, "opened"), opened(file.parent, file.name) as ours:
            # LMDB opens the file by its path, and does not tell its descriptors.
            inode = inode_of(ours)
            before = descriptors_on(inode)
            env = _open_env(file, read_only=read_only)
            numbers = descriptors_on(inode) - before
            if before and not numbers:
                raise LogReplaced(  # noqa: TRY301 - it is closed below
                    f"{file} was replaced while it was opened. Find out by whom, then open the log again."
                )
            _held[env] = tuple(HeldFile(number, file) for number in sorted(numbers))
        return env  # noqa: TRY300 - an exception that strikes here closes it too
    except BaseException:
        # A traceback may keep it, and LMDB refuses to open a file that this process has open.
        if env is not None:
            env.close()
        raise


def check_env(env: lmdb.Environment) -> None:
    """Raise `LogReplaced` if the program closed a descriptor of LMDB's, which writes by number. Call before a commit.

    Another thread may close one between this and the write; that cannot be noticed.
    """
    for file in _files_of(env):
        file.check()


def close_env(env: lmdb.Environment) -> None:
    """Close *env*; but keep it open if that would close a file of the program's, by a number that was LMDB's."""
    if any(file.is_foreign for file in _files_of(env)):
        _never_closed.append(env)
    else:
        env.close()


def _files_of(env: lmdb.Environment) -> tuple[HeldFile, ...]:
    # A harness may put something else in the place of an environment.
    return _held.get(env, ()) if isinstance(env, lmdb.Environment) else ()


def _open_env(file: Path, *, read_only: bool) -> lmdb.Environment:
    size = MAP_BYTES
    while True:
        try:
            with translated(file, "opened"):
                return lmdb.open(
                    os.fsencode(file),  # a path need not be UTF-8
                    subdir=False,
                    create=False,
                    readonly=read_only,
                    map_size=size,
                    mode=FILE_MODE,
                    max_dbs=TABLES_MAX,
                    sync=True,
                    metasync=True,
                    writemap=False,
                    map_async=False,
                    lock=False,
                    lib_version=0,
                )
        except _MapRefused:
            size //= 2
            if size < MAP_BYTES_MIN:
                raise StorageFailed(
                    f"The system grants no memory map for {file}. Raise `ulimit -v`, then open the log again."
                ) from None


def create_env(file: Path) -> lmdb.Environment:
    """Make a new LMDB file. LMDB takes an empty file for a new one, so this is never an opening."""
    os.close(open_file(file.parent, file.name, os.O_RDWR, exclusive=True))
    return open_env(file, read_only=False)


_held: WeakKeyDictionary[lmdb.Environment, tuple[HeldFile, ...]] = WeakKeyDictionary()
"""The descriptors that LMDB opened for each environment: one for pages, one for its meta pages."""

_never_closed: list[lmdb.Environment] = []


class _MapRefused(Exception):
    """mmap failed for the size asked."""


@contextmanager
def translated(file: Path, doing: str) -> Iterator[None]:
    """Turn whatever LMDB or the system raises while *file* is being *doing* into an error of ours."""
    try:
        yield
    except lmdb.Error as error:
        raise translate(error, file, doing) from error
    except OSError as error:
        raise translate_system(error, file, doing) from error


def translate_system(error: OSError, file: Path, doing: str) -> LogError:
    """Give our error for one of the system's: what is the matter, and what to do."""
    if error.errno in _NO_ROOM:
        return DiskFull(f"The disk of {file} is full. Free some space, then run the same again.")
    if error.errno in _NO_RIGHT:
        return LogReadOnly(f"{file} cannot be {doing}: {error.strerror}. Change its owner or its mode.")
    if error.errno in _DISK_FAILED:
        return StorageFailed(
            f"The disk of {file} reported an error while it was {doing} ({error.strerror}). Look at the system's "
            "messages, move the folder to a sound disk, run `walrun verify`, then run again."
        )
    return LogError(f"{file} could not be {doing}: {error.strerror}. Mend that, then run the same again.")


def translate(error: lmdb.Error, file: Path, doing: str) -> Exception:  # noqa: PLR0911 - one a cause
    """Give our error for an LMDB error: what is the matter, and what to do."""
    code = getattr(error, "code", 0)
    if isinstance(error, lmdb.MapFullError):
        return DiskFull(f"{file} has filled its whole map. Run `walrun compact`, or begin a new log.")
    if isinstance(error, lmdb.DiskError) or code in _NO_ROOM or (code == errno.EIO and _is_full(file)):
        return DiskFull(
            f"The disk of {file} is full. Nothing more was started. Free some space, then run the same again."
        )
    if isinstance(error, lmdb.ReadonlyError) or code in _NO_RIGHT:
        return LogReadOnly(f"{file} cannot be written. Read the log, or change its owner or its mode.")
    if code == errno.ENOMEM and doing == "opened":
        return _MapRefused()
    if "already open in this process" in str(error):
        return LogAlreadyOpen(f"{file} is open in this process already. Use the Runner that has it open.")
    if isinstance(error, _DAMAGED):
        return LogCorrupt(f"{file} could not be {doing}: it is damaged ({error}). Run `walrun verify`. {RESTORE}")
    if isinstance(error, lmdb.PanicError) or code in _DISK_FAILED:
        return StorageFailed(
            f"The disk of {file} reported an error while it was {doing} ({error}). Look at the system's messages, "
            "move the folder to a sound disk, run `walrun verify`, then run again."
        )
    return LogError(f"{file} could not be {doing}: {error}. Run `walrun verify`, and report this if the log is sound.")


def _is_full(file: Path) -> bool:
    # A short write on a full disk comes out of LMDB as EIO (measured on ext4, tmpfs and under
    # RLIMIT_FSIZE), which would send the reader to look for a broken disk.
    try:
        space = os.statvfs(file.parent)
    except OSError:
        return False
    return space.f_bavail * space.f_frsize < ROOM_FLOOR_BYTES or _reached_file_limit(file)


def _reached_file_limit(file: Path) -> bool:
    import resource  # noqa: PLC0415 - POSIX only, and needed on the way to an error only

    soft, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    return soft != resource.RLIM_INFINITY and file.stat().st_size + ROOM_FLOOR_BYTES >= soft
