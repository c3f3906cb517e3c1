"""Scratch slots: what became of each started item since the last commit, kept past our death.

Imported by the LMDB engine. The slots stand in the session's own file, in memory that the kernel
shares with the file: a store survives the process that made it, not the machine. Invariant: a slot
says "armed" or holds an outcome only for the very start that it names, in this file, on this boot;
whatever is missing, foreign or damaged says nothing, and what nobody speaks of is in doubt.

A slot is a tag (start_seq and a code), a word, and room for a small outcome. The codes differ in
many bits, so that a flipped bit makes no code into another. A larger outcome goes into a file beside
it first. The file is preallocated: a store into a hole on a full disk would kill the process.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import threading
import zlib
from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgpack

from wal_runner.core.arrays import from_array, to_array
from wal_runner.core.events import ItemFailed, ItemInterrupted, ItemSucceeded
from wal_runner.errors import DiskFull, LogCorrupt, LogReplaced, LogTooNew, LogUnsafe
from wal_runner.log.codec import FIELDS_MAX, UNPACK_ERRORS
from wal_runner.log.files import HeldFile, descriptors_on, inode_of, inside, open_file, opened
from wal_runner.log.format import EVENT_BYTES_MAX, SCRATCH_SLOT_BYTES, SCRATCH_SLOTS
from wal_runner.log.overflow import OverflowSpace
from wal_runner.log.slot_stores import Closed, Forked, Written, WrittenWords
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from wal_runner.core.events import Event, OutcomeEvent

logger = ShieldedLogger(__name__)

_HEADER: Final = struct.Struct("<8s16s16sQQQ")
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = b"WRSCR\0\0\1"
_SLOT: Final = struct.Struct("<QQ")
_BESIDE: Final = struct.Struct("<QQ")
_ELAPSED: Final = struct.Struct("<Q")

_WORDS_A_SLOT: Final = SCRATCH_SLOT_BYTES // 8
_FIRST_SLOT_AT: Final = SCRATCH_SLOT_BYTES
"""The header takes the place of one slot."""

PAYLOAD_BYTES_MAX: Final = SCRATCH_SLOT_BYTES - _SLOT.size
SCRATCH_BYTES: Final = _FIRST_SLOT_AT + SCRATCH_SLOTS * SCRATCH_SLOT_BYTES

# Codes behind the start_seq in a tag; any two differ in eight bits or more.
_CODE_BITS: Final = 16
_ARMED: Final = 0x0F33
_BEGUN: Final = 0xF0CC
_SUCCEEDED: Final = 0x33F0
_SUCCEEDED_INLINE: Final = 0xCC0F
_EVENT_INLINE: Final = 0x5A96
_EVENT_BESIDE: Final = 0xA569
_CODE_MASK: Final = (1 << _CODE_BITS) - 1

_BEGUN_CODES: Final = {_BEGUN, _SUCCEEDED, _SUCCEEDED_INLINE, _EVENT_INLINE, _EVENT_BESIDE}

_PAYLOAD_BYTES_MIN: Final = {
    _SUCCEEDED_INLINE: _ELAPSED.size,
    _EVENT_INLINE: 1,
    _EVENT_BESIDE: _BESIDE.size + _CRC.size,
}


_never_closed: Final[list[mmap.mmap]] = []
"""Maps whose descriptor the program closed, and whose number is now a file of the program's."""


class Remains(NamedTuple):
    """What a slot says of one start: whether its fn began, and its outcome if it ended."""

    begun: bool
    outcome: OutcomeEvent | None = None


class Scratch:
    """The slots of one living session. `begin` and `finish` may be called by any thread."""

    def __init__(self, descriptor: int, beside: Path, *, log_id: str, session: int, boot: str, shared: bool) -> None:
        allocate(descriptor)
        os.pwrite(descriptor, _header(descriptor, log_id, session, boot), 0)
        self._descriptor = descriptor
        self._beside_path = beside
        self._beside: HeldFile | None = None
        self._beside_space = OverflowSpace()
        self._beside_lock = threading.RLock()
        self._free = deque(range(SCRATCH_SLOTS))
        # On file systems that copy on write, a store into preallocated memory may still need space.
        before = descriptors_on(inode_of(descriptor))
        self._map = mmap.mmap(descriptor, SCRATCH_BYTES) if shared else None
        # Python keeps a descriptor of its own for a map, and closes it by number with the map.
        self._map_files = [HeldFile(number, beside) for number in descriptors_on(inode_of(descriptor)) - before]
        self._views: tuple[memoryview, ...] = ()
        self._bytes: Any = Written(HeldFile(descriptor, beside))
        self._words: Any = WrittenWords(HeldFile(descriptor, beside))
        if self._map is not None:
            self._bytes = memoryview(self._map)
            self._words = self._bytes.cast("Q")
            self._views = (self._words, self._bytes)

    def free_slots(self) -> int:
        """Say how many more starts can be armed."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Take *count* slots; those that are not armed after all go to `disarm`."""
        take = self._free.popleft
        return [take() for _ in range(count)]

    def arm(self, slot: int, start_seq: int) -> None:
        """Mark that a start is durable soon, and that its fn has not begun."""
        self._words[(slot + 1) * _WORDS_A_SLOT] = start_seq << _CODE_BITS | _ARMED

    def arm_all(self, slots: Iterable[int], first_seq: int) -> None:
        """Arm one slot after the other, for starts whose seqs follow each other."""
        words = self._words
        tag = first_seq << _CODE_BITS | _ARMED
        for slot in slots:
            words[(slot + 1) * _WORDS_A_SLOT] = tag
            tag += 1 << _CODE_BITS

    def begin(self, slot: int, start_seq: int) -> None:
        """Mark that fn is about to be called. From here on a crash leaves the item in doubt."""
        self._words[(slot + 1) * _WORDS_A_SLOT] = start_seq << _CODE_BITS | _BEGUN

    def finish(self, slot: int, start_seq: int, event: OutcomeEvent) -> None:
        """Keep the outcome. What cannot be written stays "begun": in doubt after a crash.

        Raise nothing for a disk that is full: the outcome itself is known, and its commit will say so.
        """
        words, at = self._words, (slot + 1) * _WORDS_A_SLOT
        try:
            if type(event) is ItemSucceeded and event[2] is None and event[3] is None:
                words[at + 1] = event[1]
                words[at] = start_seq << _CODE_BITS | _SUCCEEDED
            else:
                self._finish(slot, start_seq, event)
        except (OSError, DiskFull, LogReplaced, LogUnsafe):
            logger.debug("The slot of start %d could not be written.", start_seq, exc_info=True)

    def _finish(self, slot: int, start_seq: int, event: OutcomeEvent) -> None:
        if type(event) is ItemSucceeded and event[3] is None:
            _, elapsed_ns, result, _ = event
            if result is not None and len(result) + _ELAPSED.size <= PAYLOAD_BYTES_MAX:
                self._put(slot, start_seq, _SUCCEEDED_INLINE, _ELAPSED.pack(elapsed_ns) + result)
                return
        packed = cast("bytes", msgpack.packb(to_array(start_seq, event)))
        if len(packed) <= PAYLOAD_BYTES_MAX:
            self._put(slot, start_seq, _EVENT_INLINE, packed)
        else:
            self._put_beside(slot, start_seq, packed)

    def is_armed(self, slot: int, start_seq: int) -> bool:
        """Return whether the slot says that the start's fn has not begun."""
        return bool(self._words[(slot + 1) * _WORDS_A_SLOT] == start_seq << _CODE_BITS | _ARMED)

    def reclaim(self, kept: Collection[int]) -> None:
        """Take back every slot except *kept*, and clear its tag.

        A tag that names a start which never reached the disk must not stay: its seq may become another start's.
        """
        if len(self._free) + len(kept) < SCRATCH_SLOTS:
            free = set(self._free)
            taken = [slot for slot in range(SCRATCH_SLOTS) if slot not in free and slot not in kept]
            self.disarm(taken)
            self._forget_beside(taken)

    def free(self, slots: Iterable[int]) -> None:
        """Take slots back. Call once the commit of their outcomes is durable, not before."""
        slots = list(slots)
        self._free.extend(slots)
        self._forget_beside(slots)

    def _forget_beside(self, slots: Iterable[int]) -> None:
        if self._beside_space.used:
            with self._beside_lock:
                self._beside_space.free(slots)

    def disarm(self, slots: Iterable[int]) -> None:
        """Take back slots whose starts did not come about; they name no start any more."""
        for slot in slots:
            self._words[(slot + 1) * _WORDS_A_SLOT] = 0
            self._free.append(slot)

    def disown(self) -> None:
        """Refuse every store from now on: in a forked child, the slots are the parent's."""
        self.close()
        self._bytes = self._words = Forked()

    def close(self) -> None:
        """Refuse every store from now on, and let go of the memory; the session's file is its owner's."""
        # Each line may be repeated: an exception may strike between any two, and the next close repeats them.
        self._bytes = self._words = Closed()
        for view in self._views:
            view.release()
        if self._map is not None:
            if any(file.is_foreign for file in self._map_files):
                _never_closed.append(self._map)
            else:
                self._map.close()
            self._map = None
        if self._beside is not None:
            self._beside.close()

    def _put(self, slot: int, start_seq: int, code: int, payload: bytes) -> None:
        # The tag last: until it stands, the slot says "begun".
        start = _FIRST_SLOT_AT + slot * SCRATCH_SLOT_BYTES + _SLOT.size
        self._bytes[start : start + len(payload)] = payload
        at = (slot + 1) * _WORDS_A_SLOT
        self._words[at + 1] = len(payload) << 32 | zlib.crc32(payload)
        self._words[at] = start_seq << _CODE_BITS | code

    def _put_beside(self, slot: int, start_seq: int, packed: bytes) -> None:
        # It says so already; but a forked child is refused here, before it touches its parent's file.
        self.begin(slot, start_seq)
        with self._beside_lock:
            if self._beside is None:
                descriptor = open_file(*inside(self._beside_path), os.O_RDWR, create=True)
                self._beside = HeldFile(descriptor, self._beside_path)
            file, at = self._beside, self._beside_space.take(slot, len(packed))
        file.check()
        if os.pwrite(file.descriptor, packed, at) == len(packed):
            self._put(slot, start_seq, _EVENT_BESIDE, _BESIDE.pack(at, len(packed)) + _CRC.pack(zlib.crc32(packed)))


def allocate(descriptor: int) -> None:
    """Give the file all its blocks, or raise OSError."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, SCRATCH_BYTES)
    elif os.pwrite(descriptor, bytes(SCRATCH_BYTES), 0) < SCRATCH_BYTES:  # macOS has no posix_fallocate
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def furthest_begun(path: Path, *, log_id: str, session: int, boot: str) -> int:
    """Return the highest start_seq that the slots of a dead session say has begun, or 0.

    Armed slots do not count: a crash before the commit of their starts leaves them.
    """
    content = _believed(path, log_id, session, boot)
    tags = memoryview(content)[_FIRST_SLOT_AT:].cast("Q")[::_WORDS_A_SLOT].tolist() if content else []
    return max((tag >> _CODE_BITS for tag in tags if tag & _CODE_MASK in _BEGUN_CODES), default=0)


def is_finished(path: Path, slot: int) -> bool:
    """Return whether the slots file *path* holds an outcome in *slot*. A file that cannot be read holds none."""
    try:
        with opened(*inside(path)) as descriptor:
            tag = os.pread(descriptor, _ELAPSED.size, _FIRST_SLOT_AT + slot * SCRATCH_SLOT_BYTES)
    except OSError:
        return False
    return int.from_bytes(tag, "little") & _CODE_MASK in _BEGUN_CODES - {_BEGUN}


def _believed(path: Path, log_id: str, session: int, boot: str) -> bytes:
    """Return the slots file of a dead session; nothing if it is not of this log, session, file and boot."""
    try:
        descriptor = open_file(*inside(path))
    except OSError:
        return b""
    try:
        expected = _header(descriptor, log_id, session, boot)
        content = os.pread(descriptor, SCRATCH_BYTES, 0)
    finally:
        os.close(descriptor)
    return content if boot and len(content) == SCRATCH_BYTES and content.startswith(expected) else b""


def read_remains(path: Path, beside: Path, *, log_id: str, session: int, boot: str) -> dict[int, Remains]:
    """Give what the slots of a dead session say, by start_seq; nothing where the file is not to be believed."""
    content = _believed(path, log_id, session, boot)
    if not content:
        return {}
    remains: dict[int, Remains] = {}
    for at in range(_FIRST_SLOT_AT, SCRATCH_BYTES, SCRATCH_SLOT_BYTES):
        tag, word = _SLOT.unpack_from(content, at)
        if not tag:
            continue
        start_seq, code = tag >> _CODE_BITS, tag & _CODE_MASK
        said = _said(start_seq, code, word, content[at + _SLOT.size : at + SCRATCH_SLOT_BYTES], beside)
        # Two slots that name one start contradict each other; then nobody knows.
        remains[start_seq] = said if start_seq not in remains else Remains(begun=True)
    return remains


def _said(start_seq: int, code: int, word: int, room: bytes, beside: Path) -> Remains:
    """Read one slot. Whatever does not fit together says "begun", which leaves the item in doubt."""
    if code == _ARMED:
        return Remains(begun=False)
    if code == _SUCCEEDED:
        return Remains(begun=True, outcome=ItemSucceeded(start_seq, word))
    payload = room[: word >> 32]
    # The length too, because the checksum of nothing is 0, as a word is that was never written.
    if len(payload) >= _PAYLOAD_BYTES_MIN.get(code, len(room) + 1) and zlib.crc32(payload) == word & 0xFFFF_FFFF:
        if code == _SUCCEEDED_INLINE:
            (elapsed_ns,) = _ELAPSED.unpack_from(payload)
            return Remains(begun=True, outcome=ItemSucceeded(start_seq, elapsed_ns, payload[_ELAPSED.size :]))
        packed = payload if code == _EVENT_INLINE else _read_beside(beside, payload)
        return Remains(begun=True, outcome=_outcome(start_seq, packed))
    return Remains(begun=True)


def _read_beside(beside: Path, payload: bytes) -> bytes:
    at, size = _BESIDE.unpack_from(payload)
    (crc,) = _CRC.unpack_from(payload, _BESIDE.size)
    try:
        with opened(*inside(beside)) as descriptor:
            # A size that is damaged must not be allocated.
            if size > EVENT_BYTES_MAX:
                return b""
            packed = os.pread(descriptor, min(size, os.fstat(descriptor).st_size), at)
    except (OSError, OverflowError):
        return b""
    return packed if zlib.crc32(packed) == crc else b""


def _outcome(start_seq: int, packed: bytes) -> Any:  # noqa: ANN401 - one of three events, or None
    try:
        array = msgpack.unpackb(packed, use_list=False, max_ext_len=0, max_map_len=0, max_array_len=FIELDS_MAX)
        event: Event = from_array(start_seq, array)
    except (*UNPACK_ERRORS, LogCorrupt, LogTooNew):
        return None
    if not isinstance(event, ItemSucceeded | ItemFailed | ItemInterrupted) or event.start_seq != start_seq:
        return None
    return event


def _header(descriptor: int, log_id: str, session: int, boot: str) -> bytes:
    # The inode, because a copied folder carries the marks of another life; the boot, because after
    # a power cut the file holds whatever had happened to be written back.
    stat = os.fstat(descriptor)
    body = _HEADER.pack(
        _MAGIC,
        blake2b(log_id.encode(), digest_size=16).digest(),
        blake2b(boot.encode(), digest_size=16).digest(),
        session,
        stat.st_dev,
        stat.st_ino,
    )
    return body + _CRC.pack(zlib.crc32(body))
