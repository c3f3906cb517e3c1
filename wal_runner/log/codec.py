"""Records to bytes and back, and the chain that ties them together.

Imported by the engines under `wal_runner.log`. Invariant: ``decode(encode(x)) == x``, and bytes
that no encoder of ours makes are `LogCorrupt` or `LogTooNew`, with bounded memory, never a guess.

A record's value is its chain hash, then one msgpack array ``[session, time, event, event, ...]``,
where an event is its array (`wal_runner.core.arrays`). One call of msgpack unpacks it whole.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgpack

from wal_runner.core.arrays import to_array
from wal_runner.core.events import Record
from wal_runner.errors import RESTORE, ItemIdInvalid, LogCorrupt
from wal_runner.log.format import (
    CHAIN_BYTES,
    EVENT_BYTES_MAX,
    EVENTS_A_RECORD_MAX,
    RECORD_BYTES_MAX,
)


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wal_runner.core.events import Event, EventArray

# Every way in which msgpack says that bytes are not what was packed.
UNPACK_ERRORS: Final = (
    ValueError,  # ExtraData, FormatError, StackError and UnicodeDecodeError are ValueErrors
    TypeError,
    OverflowError,
    RecursionError,
    MemoryError,
    msgpack.exceptions.UnpackException,
)

# The session and the time stand in a record's array before its events.
_HEADER_FIELDS: Final = 2
_FIRST_GUESS: Final = 100
_GROWTH: Final = 4
_FIXARRAY: Final = 0x90
_FIXARRAY_MAX: Final = 15
_ARRAY_16: Final = 0xDC

SMALL_BYTES: Final = 64 * 1024
"""What is smaller takes little memory, whatever it is made of; its elements are not counted."""

FIELDS_MAX: Final = 64
"""Fields of a row or an outcome, those of later versions included. The memory for an array is taken when its header is
read."""

STATE_ELEMENTS_MAX: Final = 1 << 21
"""Most elements of a stored state, which has some twenty for each session and each open attempt. They may take sixty
times their packed size in memory."""

ELEMENTS_MAX: Final = 128
"""A large event, row or attempt is large for its texts: none that we write has so many elements."""

# How msgpack says how long an element is, by its first byte: so many bytes behind that one, or a length of
# so many bytes and then that. Headers of arrays and maps count as one element, and so does each inside.
_FIXED_BYTES: Final = {
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
    0xD4: 2,
    0xD5: 3,
    0xD6: 5,
    0xD7: 9,
    0xD8: 17,
    0xDC: 2,
    0xDD: 4,
    0xDE: 2,
    0xDF: 4,
}
_LENGTH_BYTES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4}
_EXT: Final = {0xC7, 0xC8, 0xC9}
_FIXSTR: Final = range(0xA0, 0xC0)
_FIXSTR_MASK: Final = 0x1F


TIME_NS_MAX: Final = (1 << 63) - 1
"""The last time that a record holds, in nanoseconds since 1970: in the year 2262."""


def first_chain(log_id: str) -> bytes:
    """Give the hash that the first record of a log chains to; no other log's record fits it."""
    return hashlib.blake2b(log_id.encode(), digest_size=CHAIN_BYTES, person=b"walrun-chain").digest()


def chained(previous: bytes, first_seq: int, payload: bytes) -> bytes:
    """Give the hash of a record, which covers *payload* and, by *previous*, all before it."""
    digest = hashlib.blake2b(previous, digest_size=CHAIN_BYTES)
    digest.update(first_seq.to_bytes(8, "big"))
    digest.update(payload)
    return digest.digest()


def encode_records(
    events: Sequence[Event | EventArray], *, first_seq: int, session: int, time_ns: int, previous: bytes
) -> list[tuple[Record, bytes]]:
    """Cut *events* into records, each with its value as stored. The order is kept.

    A *time_ns* before 1970, or behind the year 2262, is stored as the nearest time that a record holds.
    """
    # A clock before 1970 once put a negative time into SessionLost, and no version could read that log again.
    time_ns = min(max(time_ns, 0), TIME_NS_MAX)
    made = []
    arrays = [to_array(seq, event) for seq, event in enumerate(events, first_seq)]
    for start, end, payload in _cut(arrays, session, time_ns):
        seq = first_seq + start
        chain = chained(previous, seq, payload)
        made.append((Record(seq, session, time_ns, tuple(arrays[start:end]), chain), chain + payload))
        previous = chain
    return made


def decode_record(first_seq: int, value: bytes, previous: bytes | None) -> Record:
    """Read a record back. Raise `LogCorrupt` where it is not what was chained to *previous*.

    With ``previous=None`` the chain is not checked; only a reader that has no place to start
    from may ask for that. The fields of the events are checked by whoever reads them.
    """
    chain, payload = value[:CHAIN_BYTES], value[CHAIN_BYTES:]
    if previous is not None and chain != chained(previous, first_seq, payload):
        raise _corrupt(first_seq, "its hash does not fit the record before it")
    try:
        session, time_ns, *arrays = msgpack.unpackb(
            checked_size(payload),
            use_list=False,
            max_ext_len=0,
            max_map_len=0,
            max_array_len=EVENTS_A_RECORD_MAX + _HEADER_FIELDS,
        )
    except UNPACK_ERRORS as error:
        raise _corrupt(first_seq, f"it is not msgpack as we write it ({error})") from error
    if type(session) is not int or type(time_ns) is not int or not arrays:
        raise _corrupt(first_seq, "its header is not a session and a time")
    if set(map(type, arrays)) != {tuple} or not all(arrays):
        raise _corrupt(first_seq, "it holds something that is no event")
    return Record(first_seq, session, time_ns, tuple(arrays), chain)


def decoded(previous: bytes, raw: list[tuple[int, bytes]]) -> Iterator[Record]:
    """Yield the decoded records of *raw*, which follow the hash *previous*. Do it outside the log lock if you can."""
    for first_seq, value in raw:
        record = decode_record(first_seq, value, previous)
        yield record
        previous = record.chain


def record_count(value: bytes) -> int:
    """Read how many events a stored record holds, without decoding them."""
    head = value[CHAIN_BYTES : CHAIN_BYTES + 3]
    count = 0
    if head and _FIXARRAY <= head[0] <= _FIXARRAY + _FIXARRAY_MAX:
        count = head[0] - _FIXARRAY - _HEADER_FIELDS
    elif len(head) == 3 and head[0] == _ARRAY_16:  # noqa: PLR2004 - the mark and two bytes of length
        count = int.from_bytes(head[1:], "big") - _HEADER_FIELDS
    if count <= 0:
        raise _corrupt(None, "its header does not say how many events it holds")
    return count


def checked_size(packed: bytes) -> bytes:
    """Give *packed* back, or raise ValueError where it is large for its many elements.

    Lists of nothing take up to sixty times their packed size in memory; a record of a few megabytes, made by
    hand, must not take the reader's.
    """
    if len(packed) > EVENT_BYTES_MAX:
        raise ValueError(f"{len(packed):,} bytes, and {EVENT_BYTES_MAX:,} are the most")
    if len(packed) > SMALL_BYTES and _has_many_elements(packed):
        raise ValueError(f"{len(packed):,} bytes with more than {ELEMENTS_MAX} elements")
    return packed


def checked_value(packed: bytes) -> bytes:
    """Return *packed*, a stored state or number, or raise ValueError if its elements would take much memory.

    A file with holes holds gigabytes of zeros in some kilobytes of disk, and each zero is a number.
    """
    if len(packed) > EVENT_BYTES_MAX:
        raise ValueError(f"{len(packed):,} bytes, and {EVENT_BYTES_MAX:,} are the most")
    if len(packed) > STATE_ELEMENTS_MAX and _has_many_elements(packed, STATE_ELEMENTS_MAX):
        raise ValueError(f"{len(packed):,} bytes with more than {STATE_ELEMENTS_MAX:,} elements")
    return packed


def unpack_bounded(packed: bytes, **options: Any) -> Any:  # noqa: ANN401 - msgpack's own
    """Unpack *packed* if its headers claim no more elements than it holds; raise one of `UNPACK_ERRORS` otherwise.

    The memory for an array is taken when its header is read: nested headers of a few bytes that each claim as many
    elements as there are bytes took hundreds of megabytes before the bytes ran out.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(packed), 1), **options)
    unpacker.feed(packed)
    unpacker.skip()
    return msgpack.unpackb(packed, **options)


def _has_many_elements(packed: bytes, most: int = ELEMENTS_MAX) -> bool:
    at = 0
    for _ in range(most):
        if at >= len(packed):
            return False
        mark = packed[at]
        at += 1
        if mark in _LENGTH_BYTES:
            size = _LENGTH_BYTES[mark]
            at += size + int.from_bytes(packed[at : at + size], "big") + (mark in _EXT)
        elif mark in _FIXSTR:
            at += mark & _FIXSTR_MASK
        else:
            at += _FIXED_BYTES.get(mark, 0)
    return at < len(packed)


def _cut(arrays: Sequence[EventArray], session: int, time_ns: int) -> Iterator[tuple[int, int, bytes]]:
    """Group *arrays* so that each group packs into one record; a large event stands alone.

    Packing a whole group in one call takes a quarter of the time that its events take one by one, so
    the size is guessed from the group before, and packed again in the rare case that it was too many.
    """
    room = RECORD_BYTES_MAX - CHAIN_BYTES
    pack: Any = msgpack.Packer().pack
    start, count, guess = 0, len(arrays), _FIRST_GUESS
    while start < count:
        take = min(guess, count - start, EVENTS_A_RECORD_MAX)
        payload = pack((session, time_ns, *arrays[start : start + take]))
        while len(payload) > room and take > 1:
            take = max(1, take * room // len(payload) - 1)
            payload = pack((session, time_ns, *arrays[start : start + take]))
        if len(payload) > EVENT_BYTES_MAX:
            raise ItemIdInvalid(
                f"An event of {len(payload):,} bytes is over the limit of {EVENT_BYTES_MAX:,}. Use shorter ids."
            )
        yield start, start + take, payload
        start += take
        # A short record between large events must not make the next guess pack hundreds of those.
        guess = max(1, min(take * room // len(payload), _GROWTH * take))


def _corrupt(seq: int | None, why: str) -> LogCorrupt:
    where = "A record" if seq is None else f"The record at event {seq}"
    return LogCorrupt(
        f"{where} is not as it was written: {why}. Run `walrun verify`. {RESTORE}",
        seq=seq,
    )
