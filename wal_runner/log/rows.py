"""Rows of the snapshot to bytes and back, and the checksum that seals each value of the snapshot.

Imported by the engines, recovery and the runner. Invariant: a checksum covers every value together
with its key, so a value that reads well under another key, or one bit of which turned, is
`LogCorrupt` and never an answer.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Any, Final, cast

import msgpack

from wal_runner.core.events import Status
from wal_runner.errors import RESTORE, LogCorrupt, LogError
from wal_runner.log.codec import FIELDS_MAX, UNPACK_ERRORS, checked_size, checked_value, unpack_bounded
from wal_runner.log.fields import ERROR_AT, ERROR_KINDS, ROW_KINDS, ROW_PLACES, check_kinds, refuse_places, too_new
from wal_runner.log.format import KEY_HASH_MARK, KEY_TEXT_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Sequence

    from wal_runner.core.items import Row

CRC_BYTES: Final = 4
SEQ_BYTES: Final = 8
SUM_MODULUS: Final = 1 << 64
"""The checksums of the rows are summed up modulo this, in whatever order."""
CRC_RESIDUE: Final = 0x2144DF1C
"""What a CRC-32 comes to over anything with its own CRC-32 behind it: the check is one call, and no copy."""

_STATUS_AT: Final = 1
"""Behind the one byte of the array's header stands the status, one byte too."""


def seal(key: bytes, body: bytes) -> bytes:
    """Put the checksum of *key* and *body* behind *body*."""
    return body + zlib.crc32(body, zlib.crc32(key)).to_bytes(CRC_BYTES, "little")


def unseal(key: bytes, value: bytes) -> bytes:
    """Give the body of *value*, or raise `LogCorrupt` where its checksum does not fit."""
    if zlib.crc32(value, zlib.crc32(key)) != CRC_RESIDUE:
        raise corrupt_row(key, "its checksum does not fit")
    return value[:-CRC_BYTES]


def check_all(keys: Sequence[bytes], values: Sequence[bytes | None]) -> None:
    """Raise `LogCorrupt` where the checksum of one of *values* does not fit; None is no value."""
    crc32 = zlib.crc32
    wrong = [
        key
        for key, value in zip(keys, values, strict=True)
        if value is not None and crc32(value, crc32(key)) != CRC_RESIDUE
    ]
    if wrong:
        raise corrupt_row(wrong[0], "its checksum does not fit")


def row_of(item_id: str, value: bytes | None) -> Row | None:
    """Give the row of *item_id* from what is stored under its key; None where nothing is."""
    return None if value is None else decode_row(row_key(item_id), value)[1]


def stored_checksum(value: bytes) -> int:
    """Read the checksum that a stored value ends with."""
    return int.from_bytes(value[-CRC_BYTES:], "little")


def pack(key: bytes, body: object) -> bytes:
    """Pack and seal *body*. Raise `LogError` if nobody could read it again."""
    packed = cast("bytes", msgpack.packb(body))
    try:
        return seal(key, checked_value(packed))
    except ValueError as error:
        raise LogError(
            f"What the log keeps as {key[:60]!r} is too large to be read again: {error}. Nothing was written. Use "
            "shorter ids and cursors."
        ) from error


def unpack(key: bytes, value: bytes) -> Any:  # noqa: ANN401 - whatever was packed there
    """Unseal and unpack *value*."""
    try:
        return unpack_bounded(checked_value(unseal(key, value)), use_list=False, max_ext_len=0, max_map_len=0)
    except UNPACK_ERRORS as error:
        raise corrupt_row(key, f"it is not msgpack as we write it ({error})") from error


def seq_in(key: bytes) -> int:
    """Read a key that is a seq: of a record, or of an open attempt."""
    if len(key) != SEQ_BYTES:
        raise corrupt_row(key, "its key is not a seq")
    return int.from_bytes(key, "big")


def unpack_fields(key: bytes, value: bytes, *kinds: type) -> Any:  # noqa: ANN401 - a tuple of those kinds
    """Unseal and unpack *value*, which holds one field of each of *kinds*."""
    fields = unpack(key, value)
    if type(fields) is tuple and len(fields) > len(kinds):
        raise too_new(f"{key.decode('ascii', 'replace')} has {len(fields)} fields")
    if (
        type(fields) is not tuple
        or len(fields) != len(kinds)
        or any(type(field) is not kind for field, kind in zip(fields, kinds, strict=True))
    ):
        raise corrupt_row(key, "its fields are not of their kinds")
    return fields


def unpack_number(key: bytes, value: bytes) -> int:
    """Unseal and unpack *value*, which holds a number."""
    number = unpack(key, value)
    if type(number) is not int:
        raise corrupt_row(key, "it is not a number")
    return number


# --- Items ------------------------------------------------------------------------------


def row_key(item_id: str) -> bytes:
    """Give the key of an item's row: its text, or for a long id a hash behind a mark."""
    text = item_id.encode()
    if len(text) <= KEY_TEXT_BYTES_MAX:
        return text
    return KEY_HASH_MARK + hashlib.blake2b(text, digest_size=32, person=b"walrun-key").digest()


def encode_row(key: bytes, item_id: str, row: Row) -> bytes:
    """Pack an item's row: the fields, the id too where the key is its hash, then the checksum."""
    body = cast("bytes", msgpack.packb(row))
    if key[:1] == KEY_HASH_MARK:
        body += cast("bytes", msgpack.packb(item_id))
    return seal(key, body)


def decode_row(key: bytes, value: bytes) -> tuple[str, Row]:
    """Read an item's row back, its checksum checked."""
    body = unseal(key, value)
    unpacker = msgpack.Unpacker(
        use_list=False,
        max_buffer_size=max(len(body), 1),
        max_ext_len=0,
        max_map_len=0,
        max_array_len=FIELDS_MAX,  # a header that claims more takes the memory for it
    )
    unpacker.feed(body)
    try:
        checked_size(body)
        row: Row = unpacker.unpack()
        item_id = unpacker.unpack() if key[:1] == KEY_HASH_MARK else key.decode()
        check_kinds(row, ROW_KINDS, required=2)
        Status(row[0])
        if len(row) > ERROR_AT and row[ERROR_AT] is not None:
            check_kinds(row[ERROR_AT], ERROR_KINDS)
        if len(row) > ROW_PLACES[0][0]:
            refuse_places(row, ROW_PLACES)
    except UNPACK_ERRORS as error:
        raise corrupt_row(key, f"it is not a row as we write it ({error})") from error
    if type(item_id) is not str:
        raise corrupt_row(key, "the id behind it is not text")
    return item_id, row


def status_in(value: bytes) -> int:
    """Read the status of a stored row, whose checksum was checked, without decoding it."""
    if len(value) <= _STATUS_AT + CRC_BYTES:
        raise corrupt_row(b"", "it holds nothing")
    return value[_STATUS_AT]


def statuses_in(values: Sequence[bytes | None]) -> set[int]:
    """Give the statuses that occur in stored rows, whose checksums were checked; 0, pending, for no row."""
    # A row is never shorter than its checksum and a status: what is shorter did not pass the check.
    return {value[_STATUS_AT] if value else 0 for value in values}


def corrupt_row(key: bytes, why: str) -> LogCorrupt:
    """Give the error for a value of the snapshot that is not as it was written."""
    return LogCorrupt(f"The snapshot's row {key[:60]!r} is damaged: {why}. Run `walrun verify`. {RESTORE}")
