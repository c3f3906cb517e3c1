"""The folder of a log: built aside, synced, renamed; and recognised when it is opened.

Imported by the LMDB engine. Invariant: creating and opening are different operations. A folder
either holds a whole log or none; an emptied, truncated or foreign one is never taken for a new log.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import zlib
from typing import TYPE_CHECKING, NamedTuple

from wal_runner.errors import RESTORE, LogCorrupt, LogError, LogLost, LogMissing, LogReadOnly, LogTooNew, NotALog
from wal_runner.failpoints import failpoint
from wal_runner.log.codec import first_chain
from wal_runner.log.env import close_env, create_env, translate_system, translated
from wal_runner.log.files import make_folder, open_file, opened, read_file, sync_names
from wal_runner.log.filesystems import check_file_system
from wal_runner.log.format import (
    ARCHIVE_NAME,
    DATA_NAME,
    FOLDER_MODE,
    FORMAT_FIRST,
    GATE_NAME,
    IDENTITY_NAME,
    ITEMS_TABLE,
    LOG_TABLE,
    MAGIC,
    META_BASE,
    META_FORMAT,
    META_LOG_ID,
    META_ROWS,
    META_TABLE,
    OPEN_TABLE,
    SESSIONS_NAME,
)
from wal_runner.log.rows import pack


if TYPE_CHECKING:
    from pathlib import Path

    import lmdb

_IDENTITY_BYTES_MAX = 4096


class Identity(NamedTuple):
    """What IDENTITY says: the format, the log's own name, and the page size of its data."""

    version: int
    log_id: str
    page_bytes: int


def create_folder(path: Path) -> Identity:
    """Make a new, empty log at *path*, all or nothing, durable when this returns.

    Raise `FileExistsError` where somebody else made one first; then open that one.
    """
    parent = path.parent
    check_file_system(parent)
    identity = Identity(FORMAT_FIRST, secrets.token_hex(16), os.sysconf("SC_PAGE_SIZE"))
    aside = parent / f".{path.name}.{secrets.token_hex(4)}.new"
    failpoint("create.before_build")
    try:
        _build(aside, identity)
        failpoint("create.before_rename")
        # rename() replaces an empty folder; anything else there makes it fail, which is wanted.
        os.rename(aside, path)  # noqa: PTH104 - Path.rename hides which call this is
    except PermissionError as error:
        raise LogReadOnly(f"No log can be made at {path}: {error.strerror}. Choose a folder you may write.") from error
    except OSError as error:
        if path.exists():
            raise FileExistsError(str(path)) from error
        raise translate_system(error, path, "created") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    failpoint("create.after_rename")
    sync_folder(parent)
    return identity


def read_identity(path: Path) -> Identity:
    """Recognise a log, or say what is there instead. Reads only."""
    if not path.exists():
        raise LogMissing(f"There is no log at {path}. Check the path.")
    if not path.is_dir():
        raise NotALog(f"{path} is a file, and a log is a folder. Name another path.")
    try:
        content = read_file(path, IDENTITY_NAME, _IDENTITY_BYTES_MAX)
    except FileNotFoundError:
        raise _without_identity(path) from None
    except PermissionError as error:
        raise LogReadOnly(f"{path} cannot be read: {error.strerror}. Ask its owner.") from error
    except OSError as error:
        raise translate_system(error, path / IDENTITY_NAME, "read") from error
    identity = _parse_identity(path, content)
    try:
        with opened(path, DATA_NAME) as descriptor:
            is_lost = os.fstat(descriptor).st_size == 0
    except FileNotFoundError:
        is_lost = True
    except OSError as error:
        raise translate_system(error, path / DATA_NAME, "opened") from error
    if is_lost:
        raise LogLost(
            f"{path} is the log {identity.log_id}, and its {DATA_NAME} is missing or empty. Do not run anything on "
            f"it: all would be done again. {RESTORE}"
        )
    return identity


def sync_folder(path: Path) -> None:
    """Make the names in *path* durable. LMDB never does. Raise an error of ours where the disk does not."""
    with translated(path, "synced"):
        sync_names(path)


def make_tables(env: lmdb.Environment, log_id: str) -> None:
    """Create the sub-databases of a new data file, and its own copy of the log's name."""
    meta = env.open_db(META_TABLE)
    for table in (LOG_TABLE, ITEMS_TABLE, OPEN_TABLE):
        env.open_db(table)
    with env.begin(write=True, db=meta) as txn:
        txn.put(META_LOG_ID, log_id.encode())
        txn.put(META_FORMAT, pack(META_FORMAT, FORMAT_FIRST))
        txn.put(META_BASE, pack(META_BASE, (0, first_chain(log_id))))
        txn.put(META_ROWS, pack(META_ROWS, (0, 0)))


def _build(folder: Path, identity: Identity) -> None:
    folder.mkdir(mode=FOLDER_MODE)
    folder.chmod(FOLDER_MODE)
    for name in (SESSIONS_NAME, ARCHIVE_NAME):
        make_folder(folder, name, FOLDER_MODE)
        sync_folder(folder / name)
    _write_synced(folder, GATE_NAME, b"")
    _write_synced(folder, ".gitignore", b"# A log belongs to the machine that runs it.\n*\n")
    data = folder / DATA_NAME
    with translated(data, "created"):
        env = create_env(data)
        try:
            make_tables(env, identity.log_id)
            env.sync(True)  # noqa: FBT003 - py-lmdb's own signature
        finally:
            close_env(env)
    failpoint("create.after_build")
    _write_synced(folder, IDENTITY_NAME, _identity_text(identity))
    sync_folder(folder)


def _write_synced(folder: Path, name: str, content: bytes) -> None:
    descriptor = open_file(folder, name, os.O_WRONLY, exclusive=True)
    try:
        # A disk that fills up writes the beginning, and says so by the count alone.
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _identity_text(identity: Identity) -> bytes:
    body = f"{MAGIC}\nformat {identity.version}\nlog_id {identity.log_id}\npage_bytes {identity.page_bytes}\n".encode()
    return body + b"crc %08x\n" % zlib.crc32(body)


def _parse_identity(path: Path, content: bytes) -> Identity:
    lines = content.split(b"\n")
    if lines[0] != MAGIC.encode():
        raise NotALog(f"{path} has an {IDENTITY_NAME} that is not ours. Name another path.")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(b" ")
        fields[name] = value
    with contextlib.suppress(ValueError, KeyError):
        # Before the checksum: a newer format may sum up differently, and must be named as such.
        # No version up to this one writes more than FORMAT_FIRST here: `meta.format` says what the data needs.
        if int(fields[b"format"]) > FORMAT_FIRST:
            raise LogTooNew(
                f"{path} was written in format {int(fields[b'format'])}, and its folder is laid out as this "
                "wal_runner does not know. Use the version that wrote it, or a newer one."
            )
    body, mark, crc = content.rpartition(b"crc ")
    with contextlib.suppress(ValueError, KeyError):
        # Byte for byte: int() takes blanks and capitals, which are flipped bits of a checksum.
        if mark and crc == b"%08x\n" % zlib.crc32(body):
            return Identity(int(fields[b"format"]), fields[b"log_id"].decode("ascii"), int(fields[b"page_bytes"]))
    raise LogCorrupt(f"{path / IDENTITY_NAME} is damaged. {RESTORE}")


def _without_identity(path: Path) -> LogError:
    if any((path / name).exists() for name in (DATA_NAME, GATE_NAME)):
        return LogLost(f"{path} holds parts of a log and no {IDENTITY_NAME}. Do not run anything on it. {RESTORE}")
    return NotALog(f"{path} is a folder that is not a log. Name another path; a log makes its own folder.")
