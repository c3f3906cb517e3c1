"""The one place where the files of a log are opened, created, listed and deleted.

Imported by everything under `wal_runner.log` that touches the folder; a test forbids other opens there.
Invariant: the path of a log may lead through links, the names inside of its folder may not. A link, FIFO,
socket or device in place of a file is refused with `LogUnsafe`: never followed, never waited for, never
written to.

A *name* is relative to the log's folder: ``"GATE"``, ``"sessions/3"``. Each of its parts is opened without
following links, so that a `sessions` that leads elsewhere deletes and overwrites nothing there.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from wal_runner.errors import LogReplaced, LogUnsafe
from wal_runner.log.format import FILE_MODE
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = ShieldedLogger(__name__)

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK has no effect on regular files. Without it, opening a FIFO waits for a writer, for ever.
_FILE: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NOT_A_FILE: Final = {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV, errno.EMLINK}
_TRIES_MAX: Final = 10
_ROOT: Final = 0
_DESCRIPTORS_TRIED: Final = 1024
"""How many numbers are tried for open descriptors on a system that does not list them."""

CLOSED: Final = -1
"""The descriptor of a file that was closed."""

Inode = tuple[int, int]
"""Device and inode number: which file a descriptor is open on."""


def inside(path: Path) -> tuple[Path, str]:
    """Split the path of a file in a folder of the log, as sessions/3, into the log's folder and the name."""
    return path.parent.parent, f"{path.parent.name}/{path.name}"


# --- Opening ------------------------------------------------------------------------------


def open_file(
    folder: Path, name: str, flags: int = os.O_RDONLY, *, create: bool = False, exclusive: bool = False
) -> int:
    """Open the file *name* of the log in *folder*, and return its descriptor.

    With *create* make it where it is missing, with *exclusive* only then; a new file has mode 0600 under any
    umask, and the owner of the folder where root makes it.

    Raises `LogUnsafe` if *name* is not a regular file, leads through a link, or is to be written and has a second
    name elsewhere, and OSError as `os.open` does.
    """
    with _parent(folder, name) as (parent, last, owner):
        try:
            if create or exclusive:
                descriptor = _create(parent, last, flags, owner, exclusive=exclusive)
            else:
                descriptor = os.open(last, flags | _FILE, dir_fd=parent)
        except OSError as error:
            if error.errno in _NOT_A_FILE:
                raise _unsafe(folder / name, _mode_of(last, parent)) from error
            error.filename = str(folder / name)
            raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise _unsafe(folder / name, found.st_mode)
    if found.st_nlink > 1 and flags & os.O_ACCMODE != os.O_RDONLY:
        os.close(descriptor)
        raise _shared(folder, name, found.st_nlink)
    return descriptor


@contextmanager
def opened(folder: Path, name: str) -> Iterator[int]:
    """Open the file *name* for reading, for the length of a block. See `open_file`."""
    descriptor = open_file(folder, name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_folder(folder: Path) -> Iterator[int]:
    """Open the log's folder itself, whose path may lead through links, for the length of a block. Raises OSError."""
    descriptor = os.open(folder, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_file(folder: Path, name: str, bytes_max: int) -> bytes:
    """Return the first *bytes_max* bytes of the file *name*. Raises as `open_file` does."""
    with opened(folder, name) as descriptor:
        return os.pread(descriptor, bytes_max, 0)


def check_file(folder: Path, name: str) -> None:
    """Raise as `open_file` does unless *name* is a regular file; for libraries that open it by themselves."""
    with opened(folder, name):
        pass


def _create(parent: int, last: str, flags: int, owner: tuple[int, int] | None, *, exclusive: bool) -> int:
    for _ in range(_TRIES_MAX):
        # Always O_EXCL: only a file that was made here may be given to another owner. A name that was there could
        # be a hard link to a file of root's.
        try:
            descriptor = os.open(last, flags | _FILE | os.O_CREAT | os.O_EXCL, FILE_MODE, dir_fd=parent)
        except FileExistsError:
            if exclusive:
                raise
        else:
            os.fchmod(descriptor, FILE_MODE)
            if owner is not None:
                with suppress(OSError):  # a file system without owners
                    os.fchown(descriptor, *owner)
            return descriptor
        with suppress(FileNotFoundError):  # deleted between the two
            return os.open(last, flags | _FILE, dir_fd=parent)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), last)


@contextmanager
def _parent(folder: Path, name: str) -> Iterator[tuple[int, str, tuple[int, int] | None]]:
    """Open the folder that holds *name*; yield its descriptor, the last part, and the owner that root's files get."""
    *inner, last = name.split("/")
    descriptor = os.open(folder, _FOLDER)
    try:
        owner = None
        if os.geteuid() == _ROOT:
            found = os.fstat(descriptor)
            owner = (found.st_uid, found.st_gid) if found.st_uid != _ROOT else None
        for part in inner:
            # In this order: an exception that strikes in between must not lead to a number that is closed twice.
            above, descriptor = descriptor, _open_folder_in(descriptor, part, folder / part)
            os.close(above)
        yield descriptor, last, owner
    finally:
        os.close(descriptor)


def _open_folder_in(parent: int, part: str, path: Path) -> int:
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ENOTDIR, *_NOT_A_FILE}:
            raise _unsafe(path, _mode_of(part, parent)) from error
        error.filename = str(path)
        raise


# --- Names --------------------------------------------------------------------------------


def names_in(folder: Path, name: str) -> list[str]:
    """Return the names in the folder *name* of the log in *folder*. Raises as `open_file` does."""
    with _parent(folder, f"{name}/") as (descriptor, _, _):
        return os.listdir(descriptor)  # noqa: PTH208 - of a descriptor, not of a path


def remove_file(folder: Path, name: str) -> None:
    """Delete the file *name* if it is there; a link is deleted, and what it leads to is not. Raises OSError."""
    with _parent(folder, name) as (parent, last, _), suppress(FileNotFoundError):
        os.unlink(last, dir_fd=parent)


def make_folder(folder: Path, name: str, mode: int) -> None:
    """Make the folder *name* in the log that is being built in *folder*, with *mode* under any umask."""
    with _parent(folder, name) as (parent, last, _):
        os.mkdir(last, mode, dir_fd=parent)
        os.chmod(last, mode, dir_fd=parent)


def sync_names(folder: Path, name: str = "") -> None:
    """Make the names in *folder*, or in its folder *name*, durable. Raises OSError."""
    with _parent(folder, f"{name}/" if name else "") as (descriptor, _, _):
        os.fsync(descriptor)


# --- Owners ---------------------------------------------------------------------------------


def check_owner(folder: Path) -> None:
    """Refuse to run on a folder of another user, who could swap its files while we use them.

    Root may: it is warned, and the files that it makes get the folder's owner. Raises `LogUnsafe`.
    """
    owner, user = folder.stat().st_uid, os.geteuid()
    if owner == user or not os.access(folder, os.W_OK):
        return  # a folder that cannot be written is said to be read-only
    if user == _ROOT:
        logger.warning(
            "%s belongs to user %d, and this process runs as root. That user decides what this run does; new files "
            "get that owner. Run as that user if you can.",
            folder,
            owner,
        )
        return
    raise LogUnsafe(
        f"{folder} belongs to user {owner}, and this process runs as user {user}. The owner could replace its files "
        f"during a run. Run as user {owner}, or make it yours: `chown -R {user} {folder}`."
    )


# --- Descriptors that are open for long ------------------------------------------------------


def inode_of(descriptor: int) -> Inode:
    """Return which file *descriptor* is open on. Raises OSError if it is closed."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


class HeldFile:
    """A file that stays open for as long as the log does: its descriptor, and which file that is.

    The program around us may close descriptors that are not its own (a daemonizer, a double close), and open a file
    that gets the same number. A write by number would then go into that file.
    """

    __slots__ = ("descriptor", "inode", "path")

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor = descriptor
        self.path = path
        self.inode = inode_of(descriptor)

    def check(self) -> None:
        """Raise `LogReplaced` unless the descriptor is still open on this file. Takes about 1 us."""
        try:
            found = os.fstat(self.descriptor)
        except OSError:
            found = None
        if found is None or found.st_ino != self.inode[1] or found.st_dev != self.inode[0]:
            raise LogReplaced(
                f"Descriptor {self.descriptor}, which wal_runner had open on {self.path}, was "
                f"{'closed' if found is None else 'closed and used again'} by this program. Nothing was written to it. "
                "Look for os.closerange, a daemonizer or a double close; then end this process and run the same again."
            )

    @property
    def is_ours(self) -> bool:
        """Whether the descriptor is still open on this file."""
        try:
            return inode_of(self.descriptor) == self.inode
        except OSError:
            return False

    @property
    def is_foreign(self) -> bool:
        """Whether the descriptor's number is another file's by now."""
        try:
            return inode_of(self.descriptor) != self.inode
        except OSError:
            return False

    def stat(self) -> os.stat_result:
        """Return what the file looks like, by its path if the program closed the descriptor."""
        try:
            return os.fstat(self.descriptor)
        except OSError:
            return os.lstat(self.path)

    def close(self) -> None:
        """Close the descriptor if it is still open on this file. Raises nothing. Closing again does nothing."""
        if self.is_ours:
            with suppress(OSError):
                os.close(self.descriptor)
        # Whoever closes again, because an exception struck in between, must not close a later opening of this file.
        self.descriptor = CLOSED


class LockedFile(HeldFile):
    """A file that this process has locked. Its lock is released when nothing refers to it any more.

    An exception that strikes between two lines may keep the file from its owner. Its lock would then make a session
    look alive as long as this process lives.
    """

    __slots__ = ()

    def __del__(self) -> None:
        """Close the descriptor."""
        if hasattr(self, "inode"):  # an exception may strike in the constructor too
            self.close()


def descriptors_on(inode: Inode) -> frozenset[int]:
    """Return the descriptors of this process that are open on the file *inode*."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd") if name.isdigit()]  # noqa: PTH208 - names only
    except OSError:
        numbers = list(range(_DESCRIPTORS_TRIED))
    found = []
    for number in numbers:
        with suppress(OSError):
            if inode_of(number) == inode:
                found.append(number)
    return frozenset(found)


# --- Words ------------------------------------------------------------------------------------


def _mode_of(last: str, parent: int) -> int:
    try:
        return os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode
    except OSError:
        return 0


def _shared(folder: Path, name: str, links: int) -> LogUnsafe:
    # With one GATE and one data.mdb in two folders, each session looks dead from the other folder, which repeats
    # what it is doing.
    return LogUnsafe(
        f"{folder / name} has {links} names: a copy made of hard links (cp -al, rsnapshot, rsync --link-dest) shares "
        "it with another folder. Nothing was written. Delete the copy, or give it files of its own: "
        f'`cd {shlex.quote(str(folder))} && for f in *; do if [ -f "$f" ]; then cp -p "$f" .own && mv .own "$f"; fi; '
        "done`, with the path of the copy if that is the other folder."
    )


def _unsafe(path: Path, mode: int) -> LogUnsafe:
    kinds = [
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
    ]
    kind = next((word for is_kind, word in kinds if is_kind(mode)), "a device")
    return LogUnsafe(
        f"{path} is {kind}, which wal_runner never puts there. It was not followed and nothing was written. Find out "
        "who put it there, move it away, then open the log again."
    )
