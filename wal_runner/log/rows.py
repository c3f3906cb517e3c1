"""Rows of the snapshot: items, open attempts and what else a snapshot holds, to bytes and back.

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
from wal_runner.core.items import SessionInfo, attempt_of, item_of
from wal_runner.core.state import State
from wal_runner.errors import LogCorrupt
from wal_runner.log.codec import UNPACK_ERRORS
from wal_runner.log.format import KEY_HASH_MARK, KEY_TEXT_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Iterable

    from wal_runner.core.items import Row

CRC_BYTES: Final = 4
_STATUS_AT: Final = CRC_BYTES + 1
"""Behind the checksum and the one byte of the array's header stands the status, one byte too."""


def seal(key: bytes, body: bytes) -> bytes:
    """Put the checksum of *key* and *body* in front of *body*."""
    return zlib.crc32(body, zlib.crc32(key)).to_bytes(CRC_BYTES, "little") + body


def unseal(key: bytes, value: bytes) -> bytes:
    """Give the body of *value*, or raise `LogCorrupt` where its checksum does not fit."""
    body = value[CRC_BYTES:]
    if int.from_bytes(value[:CRC_BYTES], "little") != zlib.crc32(body, zlib.crc32(key)):
        raise corrupt_row(key, "its checksum does not fit")
    return body


def stored_checksum(value: bytes) -> int:
    """Read the checksum that a stored value begins with."""
    return int.from_bytes(value[:CRC_BYTES], "little")


def pack(key: bytes, body: object) -> bytes:
    """Pack and seal *body*."""
    return seal(key, cast("bytes", msgpack.packb(body)))


def unpack(key: bytes, value: bytes) -> Any:  # noqa: ANN401 - whatever was packed there
    """Unseal and unpack *value*."""
    try:
        return msgpack.unpackb(unseal(key, value), use_list=False, max_ext_len=0, max_map_len=0)
    except UNPACK_ERRORS as error:
        raise corrupt_row(key, f"it is not msgpack as we write it ({error})") from error


# --- Items ------------------------------------------------------------------------------


def row_key(item_id: str) -> bytes:
    """Give the key of an item's row: its text, or for a long id a hash behind a mark."""
    text = item_id.encode()
    if len(text) <= KEY_TEXT_BYTES_MAX:
        return text
    return KEY_HASH_MARK + hashlib.blake2b(text, digest_size=32, person=b"walrun-key").digest()


def encode_row(key: bytes, item_id: str, row: Row) -> bytes:
    """Pack an item's row: checksum, then the fields; the id too where the key is its hash."""
    body = cast("bytes", msgpack.packb(row))
    if key[:1] == KEY_HASH_MARK:
        body += cast("bytes", msgpack.packb(item_id))
    return seal(key, body)


def decode_row(key: bytes, value: bytes) -> tuple[str, Row]:
    """Read an item's row back, its checksum checked."""
    body = unseal(key, value)
    unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=max(len(body), 1), max_ext_len=0, max_map_len=0)
    unpacker.feed(body)
    try:
        row: Row = unpacker.unpack()
        item_id = unpacker.unpack() if key[:1] == KEY_HASH_MARK else key.decode()
        item_of(row)
    except UNPACK_ERRORS as error:
        raise corrupt_row(key, f"it is not a row as we write it ({error})") from error
    return item_id, row


def status_in(value: bytes) -> int:
    """Read the status of a stored row, whose checksum was checked, without decoding it."""
    return value[_STATUS_AT]


# --- Open attempts, and the rest of a snapshot ----------------------------------------------


def encode_open(key: bytes, row: Row) -> bytes:
    """Pack an open attempt."""
    return pack(key, row)


def encode_snapshot(key: bytes, state: State) -> bytes:
    """Pack what a snapshot holds beside the rows and the open attempts."""
    body = (
        state.seq,
        state.chain,
        [state.counts[status] for status in Status],
        [tuple(info) for info in state.sessions.values()],
        list(state.cursors.items()),
        state.key_rule,
        state.conflicts,
        state.results_omitted,
        state.elapsed_ns,
        state.timed,
        state.last_session,
        state.snapshot_seq,
        state.base_seq,
    )
    return pack(key, body)


def decode_snapshot(key: bytes, value: bytes, opens: Iterable[tuple[bytes, bytes]]) -> State:
    """Read a snapshot back; *opens* are the keys and values of the open attempts."""
    state = State()
    try:
        (
            state.seq,
            state.chain,
            counts,
            sessions,
            cursors,
            state.key_rule,
            state.conflicts,
            state.results_omitted,
            state.elapsed_ns,
            state.timed,
            state.last_session,
            state.snapshot_seq,
            state.base_seq,
        ) = unpack(key, value)
        state.counts = dict(zip(Status, counts, strict=True))
        state.sessions = {info[0]: SessionInfo(*info) for info in sessions}
        state.cursors = dict(cursors)
        for open_key, packed in opens:
            row = unpack(open_key, packed)
            attempt_of(row)
            state.open[int.from_bytes(open_key, "big")] = row
    except (ValueError, TypeError) as error:
        raise LogCorrupt(
            f"The snapshot is not as we write it ({error}). Run `walrun verify`; restore the log from a backup."
        ) from error
    return state


def encode_base_state(key: bytes, state: State) -> bytes:
    """Pack what `encode_snapshot` packs, with the open attempts inside."""
    opens = [(seq, row) for seq, row in state.open.items()]
    return pack(key, (encode_snapshot(key, state), opens))


def decode_base_state(key: bytes, value: bytes) -> State:
    """Read back what `encode_base_state` packed."""
    snapshot, opens = unpack(key, value)
    state = decode_snapshot(key, snapshot, ())
    state.open = dict(opens)
    return state


def corrupt_row(key: bytes, why: str) -> LogCorrupt:
    """Give the error for a value of the snapshot that is not as it was written."""
    return LogCorrupt(
        f"The snapshot's row {key[:60]!r} is damaged: {why}. Run `walrun verify`; restore the log from a backup."
    )
