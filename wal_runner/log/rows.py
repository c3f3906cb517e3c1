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
from wal_runner.core.items import SessionInfo, attempt_of
from wal_runner.core.shown import shown
from wal_runner.core.state import State
from wal_runner.errors import LogCorrupt, LogError
from wal_runner.log.codec import FIELDS_MAX, UNPACK_ERRORS, checked_size, checked_value, unpack_bounded
from wal_runner.log.format import KEY_HASH_MARK, KEY_TEXT_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wal_runner.core.items import Row

CRC_BYTES: Final = 4
SEQ_BYTES: Final = 8
_SEQ_MAX: Final = (1 << 8 * SEQ_BYTES) - 2  # the next one is a key too
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
        _check_kinds(row, _ROW_KINDS, required=2)
        Status(row[0])
        if len(row) == len(_ROW_KINDS) and row[-1] is not None:
            _check_kinds(row[-1], _ERROR_KINDS)
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
    try:
        state = _decode_numbers(unpack(key, value))
        _decode_open(state, [(seq_in(key), unpack(key, packed)) for key, packed in opens])
    except (ValueError, TypeError) as error:
        raise _corrupt_snapshot(error) from error
    return state


def _decode_numbers(fields: Row) -> State:
    """Give the state that *fields* stand for, without its open attempts."""
    state = State()
    _check_kinds(fields, _SNAPSHOT_KINDS)
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
    ) = fields
    _check_kinds(counts, (_INT,) * len(Status))
    for info in sessions:
        _check_kinds(info, _SESSION_KINDS)
        _check_kinds(info[_ARGV_AT], (_STR,) * len(info[_ARGV_AT]))
    for cursor in cursors:
        _check_kinds(cursor, _CURSOR_KINDS)
    state.counts = dict(zip(Status, counts, strict=True))
    state.sessions = {info[0]: SessionInfo(*info) for info in sessions}
    state.cursors = dict(cursors)
    return state


def _decode_open(state: State, opens: Sequence[tuple[int, Row]]) -> None:
    """Add the open attempts to *state*, each under its start_seq."""
    for start_seq, row in opens:
        _check_kinds(row, _ATTEMPT_KINDS, required=3)
        attempt_of(row)
        state.open[start_seq] = row


def encode_base_state(key: bytes, state: State) -> bytes:
    """Pack what `encode_snapshot` packs, with the open attempts inside."""
    opens = [(seq, row) for seq, row in state.open.items()]
    return pack(key, (encode_snapshot(key, state), opens))


def decode_base_state(key: bytes, value: bytes) -> State:
    """Read back what `encode_base_state` packed."""
    snapshot, opens = unpack_fields(key, value, bytes, tuple)
    try:
        state = _decode_numbers(unpack(key, snapshot))
        for pair in opens:
            _check_kinds(pair, _PAIR_KINDS)
        _decode_open(state, opens)
    except (ValueError, TypeError) as error:
        raise _corrupt_snapshot(error) from error
    return state


# --- What fields hold ---------------------------------------------------------------------

_INT: Final = (int,)
_STR: Final = (str,)
_BYTES: Final = (bytes,)
_TUPLE: Final = (tuple,)
_NONE: Final = type(None)

_ROW_KINDS: Final = (_INT, _INT, _INT, _INT, _INT, (bytes, _NONE), (str, _NONE), (tuple, _NONE))
_ERROR_KINDS: Final = (_STR, _STR, _STR)
_ATTEMPT_KINDS: Final = (_STR, _INT, _INT, _INT, _INT, _INT, _INT, _STR)
_SNAPSHOT_KINDS: Final = (_INT, _BYTES, _TUPLE, _TUPLE, _TUPLE, (str, _NONE), *(_INT,) * 7)
_SESSION_KINDS: Final = (_INT, _STR, _INT, _STR, _TUPLE, *(_STR,) * 4, *(_INT,) * 3, _STR)
_ARGV_AT: Final = 4
_CURSOR_KINDS: Final = (_STR, _BYTES)
_PAIR_KINDS: Final = (_INT, _TUPLE)


def _check_kinds(fields: object, kinds: Sequence[tuple[type, ...]], *, required: int | None = None) -> None:
    """Raise ValueError where *fields* are not of these kinds; only the first *required* must be there."""
    least = len(kinds) if required is None else required
    if type(fields) is not tuple or not least <= len(fields) <= len(kinds):
        raise ValueError(f"{shown(fields)} where {least} fields or more belong")
    for field, kind in zip(fields, kinds, strict=False):
        if type(field) not in kind:
            raise ValueError(f"{shown(field)} where {kind[0].__name__} belongs")


def snapshot_seq(key: bytes, value: bytes) -> int:
    """Read for which seq a stored state stands, and no more: it is asked inside the gate, where all takes too long."""
    fields = unpack(key, value)
    seq = fields[0] if type(fields) is tuple and fields else None
    if type(seq) is not int or not 0 <= seq <= _SEQ_MAX:
        raise corrupt_row(key, "it stands for no seq")
    return seq


def base_state_seq(key: bytes, value: bytes) -> int:
    """Read for which seq what `encode_base_state` packed stands."""
    return snapshot_seq(key, unpack_fields(key, value, bytes, tuple)[0])


def read_base_state(key: bytes, value: bytes | None, base: tuple[int, bytes], chain: bytes) -> State:
    """Read what a replay begins with: without a *value* the empty *base*. *chain* is the hash at its seq."""
    state = State() if value is None else decode_base_state(key, value)
    seq, base_chain = base
    if state.seq < seq:
        raise LogCorrupt(f"The log does not hold the state at its base, {seq}. Restore it from a backup.")
    if value is None:
        state.chain = base_chain
    check_history(state, chain)
    return state


def check_history(state: State, chain: bytes) -> None:
    """Raise `LogCorrupt` unless a stored *state* carries *chain*, the hash that the log has at its seq."""
    if state.seq and state.chain != chain:  # before the first event there is nothing to be of
        raise LogCorrupt(
            f"A state is stored for event {state.seq} of another history than the log's. Do not run anything on it: "
            "finished items might be done again. Run `walrun verify`; restore the log from a backup."
        )


def _corrupt_snapshot(error: Exception) -> LogCorrupt:
    return LogCorrupt(
        f"The snapshot is not as we write it ({error}). Run `walrun verify`; restore the log from a backup."
    )


def corrupt_row(key: bytes, why: str) -> LogCorrupt:
    """Give the error for a value of the snapshot that is not as it was written."""
    return LogCorrupt(
        f"The snapshot's row {key[:60]!r} is damaged: {why}. Run `walrun verify`; restore the log from a backup."
    )
