"""What a snapshot holds beside its rows: formats 1 and 2, and what a newer version adds."""

import msgpack
import pytest
from hypothesis import given

from tests.support.examples import ERROR
from tests.support.histories import histories
from wal_runner.core.events import Status
from wal_runner.core.items import ItemState, OpenAttempt, Pause, SessionInfo, SourceEnd, attempt_row, item_row
from wal_runner.core.state import State, fold
from wal_runner.errors import LogCorrupt, LogTooNew
from wal_runner.log import rows
from wal_runner.log.fields import ATTEMPT_KINDS, ROW_KINDS, SESSION_FIELDS_MIN, SNAPSHOT_FIELDS_MIN, SNAPSHOT_KINDS
from wal_runner.log.format import META_BASE, META_BASE_STATE, META_SNAPSHOT
from wal_runner.log.stored_state import (
    decode_base_state,
    decode_snapshot,
    encode_base_state,
    encode_open,
    encode_snapshot,
)


SESSION = SessionInfo(1, "mailer", 7, "b007", ("walrun",), "/srv", "mail", "0.2.0", "99", 1, 2, 3, "closed")
FORMAT_2 = SESSION._replace(accepted="copy of /srv, accepted by ann", reached=(("dask", "tcp://scheduler"),))
OPEN_KEY = (5).to_bytes(8, "big")


def full_state():
    """Give a state in which every field of a snapshot is set."""
    state = State()
    state.seq, state.chain, state.key_rule, state.last_session = 9, bytes(16), "field id", 1
    state.sessions = {1: FORMAT_2}
    state.cursors = {"pages": b"\x01"}
    state.texts = {3: "Traceback"}
    state.paused = Pause("ann", "the server is down", 8)
    state.source_ends = {"pages": SourceEnd(1, "halt", 63, 2, 8)}
    return state


def read_snapshot(body, opens=()):
    return decode_snapshot(META_SNAPSHOT, rows.pack(META_SNAPSHOT, body), opens)


def body_of(state):
    return rows.unpack(META_SNAPSHOT, encode_snapshot(META_SNAPSHOT, state))


def with_one_more(body, path):
    """Give *body* with one more field at the end of the tuple that *path* leads to."""
    if not path:
        return (*body, None)
    at, *rest = path
    return (*body[:at], with_one_more(body[at], rest), *body[at + 1 :])


@given(histories())
def test_any_state_round_trip(history):
    """What a snapshot holds comes back, and so does what a replay begins with."""
    state = fold(history.records).without_items()
    opens = [(seq.to_bytes(8, "big"), encode_open(seq.to_bytes(8, "big"), row)) for seq, row in state.open.items()]

    assert state == decode_snapshot(META_SNAPSHOT, encode_snapshot(META_SNAPSHOT, state), opens)
    assert state == decode_base_state(META_BASE_STATE, encode_base_state(META_BASE_STATE, state))


def test_full_state_round_trip():
    """Every field of format 2 is kept."""
    assert full_state() == decode_base_state(META_BASE_STATE, encode_base_state(META_BASE_STATE, full_state()))


def test_state_that_uses_nothing_new_is_format_1():
    """Not a field more is stored than format 1 knows."""
    state = full_state()
    state.sessions = {1: SESSION}
    state.texts, state.paused, state.source_ends = {}, None, {}
    body = body_of(state)

    assert SNAPSHOT_FIELDS_MIN == len(body)
    assert [SESSION_FIELDS_MIN] == [len(session) for session in body[3]]


COUNTS, SESSIONS, CURSORS, TEXTS, PAUSED, SOURCE_ENDS = 2, 3, 4, 14, 15, 16


@pytest.mark.parametrize(
    "path",
    [[], [COUNTS], [SESSIONS, 0], [SESSIONS, 0, 14, 0], [CURSORS, 0], [TEXTS, 0], [PAUSED], [SOURCE_ENDS, 0]],
    ids=["snapshot", "counts", "session", "reached", "cursor", "text", "paused", "source end"],
)
def test_snapshot_with_one_more_field_is_too_new(path):
    """A newer version adds fields at the end: its log is not damaged, and no backup is advised."""
    body = (*body_of(full_state()), 0)
    assert len(SNAPSHOT_KINDS) == len(body)
    read_snapshot(body)

    with pytest.raises(LogTooNew, match="not damaged"):
        read_snapshot(with_one_more(body, path))


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (rows.decode_row, (*item_row(ItemState(Status.FAILED, 5)), *[None] * len(ROW_KINDS))[: len(ROW_KINDS) + 1]),
        (rows.decode_row, (3, 5, 1, 0, 6, None, None, (*ERROR, "more"))),
        (lambda key, value: rows.unpack_fields(key, value, int, bytes), (5, b"chain", 1)),
        (decode_base_state, (b"", (), 1)),
    ],
    ids=["row", "error", "base", "base state"],
)
def test_value_with_one_more_field_is_too_new(read, body):
    """So do rows, the errors in them, and what meta holds."""
    with pytest.raises(LogTooNew, match="not damaged"):
        read(META_BASE, rows.pack(META_BASE, body))


def test_open_attempt_with_one_more_field_is_too_new():
    """And an open attempt."""
    attempt = OpenAttempt("a", 1, 7, 2, 1, Status.IN_DOUBT, 9, "why", 2, 1, None, b"", 0, None)
    assert len(ATTEMPT_KINDS) == len(attempt)
    read_snapshot(body_of(full_state()), [(OPEN_KEY, encode_open(OPEN_KEY, tuple(attempt)))])

    with pytest.raises(LogTooNew, match="not damaged"):
        read_snapshot(body_of(full_state()), [(OPEN_KEY, encode_open(OPEN_KEY, (*attempt, None)))])


@pytest.mark.parametrize("name", ["effects", "digest", "function", "payload"])
def test_row_with_a_place_that_is_set_is_too_new(name):
    """No meaning is guessed for a field that has none yet, in a row as in an open attempt."""
    value = {"effects": (), "digest": b"d", "function": 1, "payload": b"p"}[name]
    item = ItemState(Status.FAILED, 5)._replace(**{name: value})
    attempt = OpenAttempt("a", 1, 7)._replace(**{name: value})

    with pytest.raises(LogTooNew, match=name):
        rows.decode_row(b"a", rows.encode_row(b"a", "a", item_row(item)))
    with pytest.raises(LogTooNew, match=name):
        read_snapshot(body_of(full_state()), [(OPEN_KEY, encode_open(OPEN_KEY, attempt_row(attempt)))])


@pytest.mark.parametrize(("at", "value"), [(13, ((1, "mail.send"),)), (17, 1)], ids=["functions", "forgotten"])
def test_snapshot_with_a_place_that_is_set_is_too_new(at, value):
    """Functions and forgotten items have no meaning in this version."""
    body = (*body_of(full_state()), 0)

    with pytest.raises(LogTooNew, match="functions, or forgotten"):
        read_snapshot((*body[:at], value, *body[at + 1 :]))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (TEXTS, ((3,),)),
        (TEXTS, ((3, 4),)),
        (PAUSED, ("ann", "why")),
        (PAUSED, ("ann", "why", "now")),
        (SOURCE_ENDS, (("pages", 1, "halt", 63, 2),)),
        (SOURCE_ENDS, (("pages", 1, "halt", 63, "2", 8),)),
        (SOURCE_ENDS, 7),
    ],
)
def test_snapshot_with_a_wrong_field_is_corrupt(at, value):
    """Fewer fields, or fields of other kinds, are of no version."""
    body = body_of(full_state())

    with pytest.raises(LogCorrupt):
        read_snapshot((*body[:at], value, *body[at + 1 :]))


def test_every_flipped_bit_of_a_full_snapshot_is_corrupt():
    """The fields of format 2 are under the checksum too."""
    value = encode_snapshot(META_SNAPSHOT, full_state())
    for bit in range(8 * len(value)):
        flipped = bytearray(value)
        flipped[bit // 8] ^= 1 << bit % 8

        with pytest.raises(LogCorrupt):
            decode_snapshot(META_SNAPSHOT, bytes(flipped), ())


def test_rows_of_items_that_use_nothing_new_are_format_1():
    """An item that failed once has its eight fields and no more."""
    item = ItemState(Status.FAILED, 5, 1, 0, 6, None, None, ERROR)

    assert 8 == len(msgpack.unpackb(msgpack.packb(item_row(item))))
