"""Rows of the snapshot: bytes that come back under their key, or are refused."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import ERROR, counts, errors, results, texts
from tests.support.histories import histories
from wal_runner.core.events import Status
from wal_runner.core.items import ItemState, OpenAttempt, attempt_row, item_of, item_row
from wal_runner.core.state import State, fold
from wal_runner.errors import LogCorrupt
from wal_runner.log import rows
from wal_runner.log.format import KEY_HASH_MARK, KEY_TEXT_BYTES_MAX, META_BASE_STATE, META_SNAPSHOT
from wal_runner.log.rows import decode_row, encode_row, row_key, status_in, stored_checksum
from wal_runner.log.stored_state import (
    decode_base_state,
    decode_snapshot,
    encode_base_state,
    encode_open,
    encode_snapshot,
)


LONG = "long " * 200

items = st.builds(
    ItemState,
    st.sampled_from(Status),
    counts,
    counts,
    counts,
    counts,
    results,
    st.none() | texts,
    st.none() | errors,
    *(counts, counts, counts),
)
ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


def flips(value):
    """Give *value* with each of its bits turned, one at a time."""
    for place in range(len(value)):
        for bit in range(8):
            flipped = bytearray(value)
            flipped[place] ^= 1 << bit
            yield bytes(flipped)


# --- Keys ---------------------------------------------------------------------------------


def test_short_id_is_its_own_key():
    """An id of up to 255 bytes is found by its text, readable in any tool."""
    assert b"user-1" == row_key("user-1")
    assert KEY_TEXT_BYTES_MAX == len(row_key("x" * KEY_TEXT_BYTES_MAX))
    assert "é".encode() * 127 == row_key("é" * 127)


@pytest.mark.parametrize("item_id", ["x" * 256, "é" * 128, "x" * 1_000_000])
def test_long_id_goes_by_its_hash(item_id):
    """An id of more bytes than a key may have, megabytes too, goes by a hash that no text is taken for."""
    key = row_key(item_id)

    assert 33 == len(key)
    assert KEY_HASH_MARK == key[:1]
    with pytest.raises(UnicodeDecodeError):
        key.decode()
    assert (item_id, (2, 5)) == decode_row(key, encode_row(key, item_id, (2, 5)))


@given(st.lists(ids, max_size=20, unique=True))
def test_keys_are_in_the_order_of_their_ids(several):
    """Rows sorted by id are sorted by key, so a snapshot's slices go through the table once."""
    short = [item_id for item_id in several if len(item_id.encode()) <= KEY_TEXT_BYTES_MAX]

    assert [row_key(i) for i in sorted(short)] == sorted(row_key(i) for i in short)
    assert len(several) == len({row_key(i) for i in several})


# --- There and back ------------------------------------------------------------------------


@given(ids, items)
def test_row_round_trip(item_id, item):
    """decode(encode(row)) == row, whatever the item holds and however long its id is."""
    key = row_key(item_id)
    value = encode_row(key, item_id, item_row(item))
    back_id, row = decode_row(key, value)

    assert item_id == back_id
    assert item == item_of(row)
    assert item.status == status_in(value)


def test_status_is_read_without_decoding():
    """Millions of finished items are looked up for their status only."""
    for status in Status:
        for row in ((int(status), 5), item_row(ItemState(status, 2**40, 9, 9, 9, b"r", "why", ERROR))):
            assert status == status_in(encode_row(b"a", "a", row))


@given(histories())
def test_snapshot_round_trip(history):
    """What a snapshot holds beside its rows comes back, with the open attempts that have rows of their own."""
    state = fold(history.records)
    opens = [(seq.to_bytes(8, "big"), row) for seq, row in state.open.items()]
    stored = [(key, encode_open(key, row)) for key, row in opens]

    assert state.without_items() == decode_snapshot(META_SNAPSHOT, encode_snapshot(META_SNAPSHOT, state), stored)


@given(histories())
def test_base_state_round_trip(history):
    """What a log begins with after a compaction comes back whole."""
    state = fold(history.records)

    assert state.without_items() == decode_base_state(META_BASE_STATE, encode_base_state(META_BASE_STATE, state))


# --- Damage ------------------------------------------------------------------------------------

ROWS = {
    "short": ("user-1", (2, 5)),
    "with a result": ("user-1", item_row(ItemState(Status.SUCCEEDED, 5, result=b"\xa2ok"))),
    "failed": ("user-1", item_row(ItemState(Status.FAILED, 5, 2, 1, 6, error=ERROR))),
    "long id": (LONG, (2, 5)),
}


@pytest.mark.parametrize("name", ROWS)
def test_every_flipped_bit_of_a_row_is_corrupt(name):
    """Whichever bit of a row turns, it is never an answer: not another status, and not a missing item."""
    item_id, row = ROWS[name]
    key = row_key(item_id)
    for flipped in flips(encode_row(key, item_id, row)):
        with pytest.raises(LogCorrupt, match="damaged"):
            decode_row(key, flipped)
        with pytest.raises(LogCorrupt):
            rows.unseal(key, flipped)


def test_row_under_another_key_is_corrupt():
    """The checksum covers the key too: a row that landed in another's place is not believed."""
    value = encode_row(b"user-1", "user-1", (2, 5))

    with pytest.raises(LogCorrupt):
        decode_row(b"user-2", value)


def test_every_flipped_bit_of_a_snapshot_is_corrupt():
    """The counts, the sessions, the cursors, an open attempt, the base: a turned bit in any is refused."""
    state = State()
    state.seq, state.cursors, state.open = 7, {"pages": b"\x01"}, {3: attempt_row(OpenAttempt("a", 1, 2))}
    state.counts[Status.STARTED] = 1
    key = (3).to_bytes(8, "big")
    for flipped in flips(encode_snapshot(META_SNAPSHOT, state)):
        with pytest.raises(LogCorrupt):
            decode_snapshot(META_SNAPSHOT, flipped, ())
    for flipped in flips(encode_open(key, state.open[3])):
        with pytest.raises(LogCorrupt):
            decode_snapshot(META_SNAPSHOT, encode_snapshot(META_SNAPSHOT, state), [(key, flipped)])
    for flipped in flips(encode_base_state(META_BASE_STATE, state)):
        with pytest.raises(LogCorrupt):
            decode_base_state(META_BASE_STATE, flipped)


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0", b"\0\0\0\0"])
def test_row_of_a_few_bytes_is_corrupt(value):
    """A row that lost its end, down to nothing."""
    with pytest.raises(LogCorrupt):
        decode_row(b"a", value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb([]),
        msgpack.packb([2]),
        msgpack.packb([9, 5]),
        msgpack.packb(["2", 5]),
        msgpack.packb([2, 5, 1, 0, 0, None, None, None, None]),
        msgpack.packb([3, 5, 1, 0, 6, None, None, ["a"]]),
        msgpack.packb({2: 5}),
        msgpack.packb([2, msgpack.ExtType(1, b"a")]),
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 2_000,
    ],
    ids=lambda body: body[:12].hex() or "empty",
)
def test_row_that_none_of_ours_makes_is_corrupt(body):
    """Its checksum may fit, if a stranger wrote it: what it holds is checked all the same."""
    with pytest.raises(LogCorrupt):
        decode_row(b"a", rows.seal(b"a", body))


@pytest.mark.parametrize("body", [None, [], [1, 2, 3], [0] * 13, ["x"] * 13, 7])
def test_snapshot_that_none_of_ours_makes_is_corrupt(body):
    """The same for what stands beside the rows."""
    with pytest.raises(LogCorrupt):
        decode_snapshot(META_SNAPSHOT, rows.pack(META_SNAPSHOT, body), ())


def test_checksum_is_part_of_the_value():
    """The sum over all rows needs no row decoded."""
    value = encode_row(b"a", "a", (2, 5))

    assert stored_checksum(value).to_bytes(4, "little") in value
    assert stored_checksum(value) != stored_checksum(encode_row(b"b", "b", (2, 5)))


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (rows.unpack_number, "7"),
        (rows.unpack_number, None),
        (lambda key, value: rows.unpack_fields(key, value, int, bytes), [7]),
        (lambda key, value: rows.unpack_fields(key, value, int, bytes), [7, "text"]),
        (lambda key, value: rows.unpack_fields(key, value, int, bytes), 7),
        (decode_base_state, [b"\xc1", []]),
        (decode_base_state, [b"\x90", [[1, 2, 3]]]),
    ],
)
def test_facts_that_none_of_ours_makes_are_corrupt(read, body):
    """Their checksum may fit, if a stranger wrote them."""
    with pytest.raises(LogCorrupt):
        read(META_BASE_STATE, rows.pack(META_BASE_STATE, body))


def test_fact_that_is_no_msgpack_is_corrupt():
    """Sealed, and yet not packed."""
    with pytest.raises(LogCorrupt, match="not msgpack as we write it"):
        rows.unpack(META_BASE_STATE, rows.seal(META_BASE_STATE, b"\xc1"))


def test_base_state_with_attempts_that_none_of_ours_makes_is_corrupt():
    """An open attempt is a seq and a row."""
    packed = encode_snapshot(META_BASE_STATE, State())
    for opens in ([[1]], [["1", []]], [[1, []]]):
        with pytest.raises(LogCorrupt, match="not as we write it"):
            decode_base_state(META_BASE_STATE, rows.pack(META_BASE_STATE, [packed, opens]))


@pytest.mark.parametrize("key", [b"", b"\0" * 7, b"\0" * 9])
def test_key_that_is_no_seq_is_corrupt(key):
    """A key of a record, or of an open attempt, has eight bytes."""
    with pytest.raises(LogCorrupt, match="not a seq"):
        rows.seq_in(key)


def test_row_that_holds_nothing_has_no_status():
    """A few bytes are no row."""
    with pytest.raises(LogCorrupt, match="holds nothing"):
        status_in(bytes(4))


def test_long_id_that_is_no_text_is_corrupt():
    """Behind the row of a long id stands the id."""
    key = row_key(LONG)
    body = msgpack.packb([2, 5]) + msgpack.packb(7)

    with pytest.raises(LogCorrupt, match="id behind it is not text"):
        decode_row(key, rows.seal(key, body))
