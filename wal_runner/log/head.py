"""HEAD: a witness beside the log, written after each commit inside the gate.

Imported by the LMDB engine. Invariant: on an honest disk HEAD never leads the log, so a HEAD that
is ahead proves that the log went back: a commit rolled back, or an old copy put in place. It is
not fsynced: a missing or torn HEAD is no witness and proves nothing.

Before a commit HEAD is marked *writing*: whoever finds the mark on the same boot knows that a process
died in a commit, and that data.mdb differs from what HEAD remembers for that reason.
"""

from __future__ import annotations

import os
import struct
import zlib
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from wal_runner.errors import LogReadOnly
from wal_runner.log.env import translate_system
from wal_runner.log.files import open_file, read_file
from wal_runner.log.format import CHAIN_BYTES
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from pathlib import Path

logger = ShieldedLogger(__name__)

_BOOT_BYTES = 16
_LAYOUT = struct.Struct(f"<4sQ{CHAIN_BYTES}sQQQ?{_BOOT_BYTES}s")
_CRC = struct.Struct("<I")
_MAGIC = b"WRH1"
HEAD_BYTES = _LAYOUT.size + _CRC.size


class Witness(NamedTuple):
    """The end of the log after a commit, and what data.mdb looked like then.

    *writing* is the boot (hashed) on which a commit was under way since, or empty.
    """

    seq: int
    chain: bytes
    inode: int
    size: int
    mtime_ns: int
    writing: bytes = b""


def open_head(path: Path) -> int:
    """Open HEAD for writing, and give its descriptor."""
    try:
        descriptor = open_file(path.parent, path.name, os.O_RDWR, create=True)
        if os.fstat(descriptor).st_size > HEAD_BYTES:
            # Something else's bytes behind ours would make it unreadable for good.
            os.ftruncate(descriptor, HEAD_BYTES)
    except PermissionError:
        raise LogReadOnly(f"{path} cannot be written. Read the log, or change its owner.") from None
    except OSError as error:
        raise translate_system(error, path, "opened") from error
    return descriptor


def boot_mark(boot: str) -> bytes:
    """Give the mark of a boot; that of an unknown one is empty and equals none."""
    return blake2b(boot.encode(), digest_size=_BOOT_BYTES).digest() if boot else b""


def write_head(descriptor: int, witness: Witness) -> None:
    """Remember the end of the log. Not durable by itself; the kernel keeps it past our death.

    Raise nothing where the disk is full: before a commit HEAD would only spare the next opening a
    check, and after it what is durable must not be reported as failed.
    """
    seq, chain, inode, size, mtime_ns, writing = witness
    body = _LAYOUT.pack(_MAGIC, seq, chain.ljust(CHAIN_BYTES, b"\0"), inode, size, mtime_ns, bool(writing), writing)
    try:
        os.pwrite(descriptor, body + _CRC.pack(zlib.crc32(body)), 0)
    except OSError as error:
        logger.warning("HEAD could not be written (%s): the log is sound, and has no new witness.", error.strerror)


def read_head(path: Path) -> Witness | None:
    """Give what HEAD says, or None where it is missing, torn or not ours."""
    try:
        # One byte more tells a longer file, however long it is.
        content = read_file(path.parent, path.name, HEAD_BYTES + 1)
    except OSError:
        return None
    if len(content) != HEAD_BYTES:
        return None
    body = content[: _LAYOUT.size]
    (crc,) = _CRC.unpack(content[_LAYOUT.size :])
    if crc != zlib.crc32(body):
        return None
    magic, seq, chain, inode, size, mtime_ns, is_writing, boot = _LAYOUT.unpack(body)
    return Witness(seq, chain, inode, size, mtime_ns, boot if is_writing else b"") if magic == _MAGIC else None
