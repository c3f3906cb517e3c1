"""What a snapshot holds beside its rows, and what a replay begins with, to bytes and back.

Imported by the engines. Invariant: what is decoded is sealed, complete and of the kinds of
`wal_runner.log.fields`, and `check_history` has held it against the log's own chain before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wal_runner.core.events import Status
from wal_runner.core.items import Pause, SessionInfo, SourceEnd, attempt_of, session_row, trimmed
from wal_runner.core.state import State
from wal_runner.errors import RESTORE, LogCorrupt
from wal_runner.log.fields import (
    ARGV_AT,
    ATTEMPT_FIELDS_MIN,
    ATTEMPT_KINDS,
    ATTEMPT_PLACES,
    CURSOR_KINDS,
    INT,
    PAIR_KINDS,
    PAUSE_KINDS,
    REACHED_AT,
    SESSION_FIELDS_MIN,
    SESSION_KINDS,
    SNAPSHOT_DEFAULTS,
    SNAPSHOT_FIELDS_MIN,
    SNAPSHOT_KINDS,
    SOURCE_END_KINDS,
    STR,
    TEXT_KINDS,
    check_kinds,
    refuse_places,
    too_new,
)
from wal_runner.log.rows import SEQ_BYTES, corrupt_row, pack, seq_in, unpack, unpack_fields


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wal_runner.core.items import Row

_SEQ_MAX: Final = (1 << 8 * SEQ_BYTES) - 2  # the next one is a key too


def encode_open(key: bytes, row: Row) -> bytes:
    """Pack an open attempt."""
    return pack(key, row)


def encode_snapshot(key: bytes, state: State) -> bytes:
    """Pack what a snapshot holds beside the rows and the open attempts."""
    body = (
        state.seq,
        state.chain,
        [state.counts[status] for status in Status],
        [session_row(info) for info in state.sessions.values()],
        list(state.cursors.items()),
        state.key_rule,
        state.conflicts,
        state.results_omitted,
        state.elapsed_ns,
        state.timed,
        state.last_session,
        state.snapshot_seq,
        state.base_seq,
        (),  # functions
        tuple(state.texts.items()),
        state.paused,
        tuple((source, *end) for source, end in state.source_ends.items()),
        0,  # forgotten
    )
    return pack(key, trimmed(body, SNAPSHOT_DEFAULTS))


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
    check_kinds(fields, SNAPSHOT_KINDS, required=SNAPSHOT_FIELDS_MIN)
    missing = len(SNAPSHOT_KINDS) - len(fields)
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
        functions,
        texts,
        paused,
        source_ends,
        forgotten,
    ) = fields + (SNAPSHOT_DEFAULTS[-missing:] if missing else ())
    if functions or forgotten:
        raise too_new("it names functions, or forgotten items")
    check_kinds(counts, (INT,) * len(Status))
    for info in sessions:
        check_kinds(info, SESSION_KINDS, required=SESSION_FIELDS_MIN)
        check_kinds(info[ARGV_AT], (STR,) * len(info[ARGV_AT]))
        for place in info[REACHED_AT] if len(info) > REACHED_AT else ():
            check_kinds(place, (STR, STR))
    for cursor in cursors:
        check_kinds(cursor, CURSOR_KINDS)
    for text in texts:
        check_kinds(text, TEXT_KINDS)
    for end in source_ends:
        check_kinds(end, SOURCE_END_KINDS)
    if paused is not None:
        check_kinds(paused, PAUSE_KINDS)
        state.paused = Pause(*paused)
    state.texts = dict(texts)
    state.source_ends = {source: SourceEnd(*end) for source, *end in source_ends}
    state.counts = dict(zip(Status, counts, strict=True))
    state.sessions = {info[0]: SessionInfo(*info) for info in sessions}
    state.cursors = dict(cursors)
    return state


def _decode_open(state: State, opens: Sequence[tuple[int, Row]]) -> None:
    """Add the open attempts to *state*, each under its start_seq."""
    for start_seq, row in opens:
        check_kinds(row, ATTEMPT_KINDS, required=ATTEMPT_FIELDS_MIN)
        refuse_places(row, ATTEMPT_PLACES)
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
            check_kinds(pair, PAIR_KINDS)
        _decode_open(state, opens)
    except (ValueError, TypeError) as error:
        raise _corrupt_snapshot(error) from error
    return state


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
        raise LogCorrupt(f"The log does not hold the state at its base, {seq}. {RESTORE}")
    if value is None:
        state.chain = base_chain
    check_history(state, chain)
    return state


def check_history(state: State, chain: bytes) -> None:
    """Raise `LogCorrupt` unless a stored *state* carries *chain*, the hash that the log has at its seq."""
    if state.seq and state.chain != chain:  # before the first event there is nothing to be of
        raise LogCorrupt(
            f"A state is stored for event {state.seq} of another history than the log's. Do not run anything on it: "
            f"finished items might be done again. Run `walrun verify`. {RESTORE}"
        )


def _corrupt_snapshot(error: Exception) -> LogCorrupt:
    return LogCorrupt(f"The snapshot is not as we write it ({error}). Run `walrun verify`. {RESTORE}")
