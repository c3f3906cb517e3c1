"""Records: bytes that come back as they were, or are refused; and the chain that ties them."""

import time
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import FULL, SHORT, TYPES, events_at
from wal_runner.core.arrays import events_of, to_array
from wal_runner.core.events import ItemStarted, ItemSucceeded, Record
from wal_runner.errors import ItemIdInvalid, LogCorrupt
from wal_runner.log import codec
from wal_runner.log.codec import checked_size, decode_record, encode_records, first_chain, record_count
from wal_runner.log.format import CHAIN_BYTES, EVENT_BYTES_MAX, EVENTS_A_RECORD_MAX, RECORD_BYTES_MAX


FIRST = first_chain("a log")
SEQ = 1_000


def encode(events, first_seq=SEQ, session=7, time_ns=1_700_000_000_000_000_000, previous=FIRST):
    return encode_records(events, first_seq=first_seq, session=session, time_ns=time_ns, previous=previous)


def sealed(payload, first_seq=SEQ, previous=FIRST):
    """Give a stored value around *payload*, whatever that is, with the right hash."""
    return codec.chained(previous, first_seq, payload) + payload


# --- There and back ---------------------------------------------------------------------


@pytest.mark.parametrize("examples", [FULL, SHORT], ids=["full", "short"])
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_record_of_each_event_round_trip(kind, examples):
    """decode(encode(x)) == x for every event type."""
    [(record, value)] = encode([examples[kind]])

    assert record == decode_record(SEQ, value, FIRST)
    assert [(SEQ, examples[kind])] == events_of(decode_record(SEQ, value, FIRST))


@given(st.lists(events_at(SEQ), min_size=1, max_size=30), st.integers(0, 2**40), st.integers(0, 2**63 - 1))
def test_any_records_round_trip(events, session, time_ns):
    """Any events of any session at any time come back, each in its place, over as many records as it takes."""
    read, previous = [], FIRST
    for record, value in encode(events, session=session, time_ns=time_ns):
        decoded = decode_record(record.first_seq, value, previous)
        previous = decoded.chain

        assert record == decoded
        assert (session, time_ns) == (decoded.session, decoded.time_ns)
        read += events_of(decoded)
    assert list(enumerate(events, SEQ)) == read


def test_nothing_is_no_record():
    """No events make no record, rather than an empty one."""
    assert [] == encode([])


# --- The cut ---------------------------------------------------------------------------


@given(st.lists(st.integers(0, 900), min_size=1, max_size=120))
def test_records_fit_two_a_page(sizes):
    """A record has at most 2,016 bytes, unless it is one event that is larger alone."""
    for record, value in encode([ItemStarted("x" * size) for size in sizes]):
        assert len(value) <= RECORD_BYTES_MAX or len(record.arrays) == 1


def test_small_events_fill_their_records():
    """Quick items are a dozen bytes each; the bytes of a window's records are at least 85 % of what fits."""
    for events in (
        [event for n in range(2_000) for event in (ItemStarted(f"item-{n:06}"), ItemSucceeded(SEQ + 2 * n, n))],
        [*(ItemSucceeded(n, 1_500_000) for n in range(1_024)), *(ItemStarted(f"item-{n:06}") for n in range(1_024))],
    ):
        values = [value for _, value in encode(events, first_seq=2 * SEQ)]

        assert sum(map(len, values)) > 0.85 * RECORD_BYTES_MAX * len(values)


def test_large_event_stands_alone():
    """An event is never split; its small neighbours stay with their own."""
    made = encode([ItemStarted("a"), ItemStarted("b"), ItemStarted("x" * 5_000), ItemStarted("c"), ItemStarted("d")])
    large = [record.arrays for record, value in made if len(value) > RECORD_BYTES_MAX]

    assert [((4, "x" * 5_000),)] == large
    assert ["a", "b", "x", "c", "d"] == [array[1][0] for record, _ in made for array in record.arrays]


def test_large_events_among_small_ones_are_cut_in_bounded_time():
    """Large results between small ones do not make the cut pack the same bytes again and again."""
    events = [ItemStarted("x" * (100_000 if n % 2 else 1)) for n in range(1_000)]
    began = time.process_time()
    encode(events)

    assert time.process_time() - began < 1.0, "packing all of it once takes 40 ms, each guess of hundreds 5 ms"


def test_event_over_the_limit_is_refused():
    """What no reader should have to take in one piece is refused when it is written, with advice."""
    with pytest.raises(ItemIdInvalid, match="over the limit"):
        encode([ItemStarted("a"), ItemStarted("x" * EVENT_BYTES_MAX)])


# --- The count --------------------------------------------------------------------------


@given(st.integers(1, 400), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_count_is_read_without_decoding(count, session, time_ns):
    """The end of the log is known from its last record's first bytes."""
    made = encode([ItemStarted("a")] * count, session=session, time_ns=time_ns)

    assert [len(record.arrays) for record, _ in made] == [record_count(value) for _, value in made]


@pytest.mark.parametrize(
    "payload", [b"", b"\x90", b"\x92\x01\x02", b"\xdc\x00", b"\xdc\x00\x02", b"\xa3abc", b"\xdd\0\0\0\5"]
)
def test_count_of_what_is_no_record_is_corrupt(payload):
    """A header that names no events is never counted as one."""
    with pytest.raises(LogCorrupt):
        record_count(FIRST + payload)
    with pytest.raises(LogCorrupt):
        record_count(b"")


# --- The chain --------------------------------------------------------------------------


def test_every_flipped_bit_is_detected():
    """Whichever bit of a record turns, in its hash or in its payload, it is not taken for what was written."""
    [(_, value)] = encode([*FULL.values(), *SHORT.values()])
    for place in range(len(value)):
        for bit in range(8):
            flipped = bytearray(value)
            flipped[place] ^= 1 << bit
            with pytest.raises(LogCorrupt, match=f"event {SEQ}") as caught:
                decode_record(SEQ, bytes(flipped), FIRST)

            assert SEQ == caught.value.seq


def test_record_cut_short_is_detected():
    """At whatever byte it ends."""
    [(_, value)] = encode(list(FULL.values()))
    for length in range(len(value)):
        with pytest.raises(LogCorrupt):
            decode_record(SEQ, value[:length], FIRST)


def test_record_in_another_place_is_detected():
    """A record is tied to its seq, to all before it, and to its log."""
    (_, first), (record, second) = encode([ItemStarted("x" * 1_500), ItemStarted("y" * 1_500)])
    chain = first[:CHAIN_BYTES]

    assert record == decode_record(record.first_seq, second, chain)
    for seq, previous in ((record.first_seq + 1, chain), (record.first_seq, FIRST), (SEQ, first_chain("other"))):
        with pytest.raises(LogCorrupt, match="hash"):
            decode_record(seq, second, previous)


def test_reader_without_a_place_to_start_checks_no_hash():
    """Only who has nothing to start from may ask for that."""
    [(record, value)] = encode([ItemStarted("a")])

    assert record == decode_record(SEQ, value, None)


# --- What is refused though its hash is right ----------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgpack.packb(None),
        msgpack.packb(7),
        msgpack.packb("ab"),
        msgpack.packb({}),
        msgpack.packb([]),
        msgpack.packb([1, 2]),
        msgpack.packb(["1", 2, [4, "a"]]),
        msgpack.packb([1, 2.0, [4, "a"]]),
        msgpack.packb([True, 2, [4, "a"]]),
        msgpack.packb([1, 2, []]),
        msgpack.packb([1, 2, "event"]),
        msgpack.packb([1, 2, [4, "a"], None]),
        msgpack.packb([1, 2, [4, "a"]]) + b"\x01",
        msgpack.packb([1, 2, [4, {"a": 1}]]),
        msgpack.packb([1, 2, [4, msgpack.ExtType(1, b"a")]]),
        msgpack.packb([1, 2, [4, msgpack.Timestamp(1)]]),
        b"\x93\x01\x02\x92\x04\xa2\xff\xfe",
    ],
    ids=lambda payload: payload.hex() or "empty",
)
def test_payload_that_is_no_record_is_corrupt(payload):
    """Other msgpack, text that is not UTF-8, maps, ext types: a typed error, though the hash is right."""
    with pytest.raises(LogCorrupt):
        decode_record(SEQ, sealed(payload), FIRST)


BOMBS = {
    "array of 2**32": b"\xdd\xff\xff\xff\xff",
    "array of 2**16 in a record": b"\x93\x01\x02\xdc\xff\xff" + b"\xc0" * 0xFFFF,
    "bin of 2**32": b"\x93\x01\x02\x92\x04\xc6\xff\xff\xff\xff",
    "str of 2**32": b"\x93\x01\x02\x92\x04\xdb\xff\xff\xff\xff",
    "map of 2**32": b"\x93\x01\x02\xdf\xff\xff\xff\xff",
    "nested arrays": b"\x93\x01\x02" + b"\x91" * 100_000,
    "nested maps": b"\x93\x01\x02" + b"\x81\xa1a" * 100_000,
    "arrays of arrays": b"\x93\x01\x02" + (b"\xdc\x04\x00" * 500) + b"\xc0" * 100_000,
    "20 MB of nil": b"\xdd\x01\x31\x2d\x00" + b"\xc0" * 20_000_000,
    "ext of 2**32": b"\x93\x01\x02\x92\x04\xc9\xff\xff\xff\xff\x01",
}


@pytest.mark.parametrize("payload", BOMBS.values(), ids=BOMBS)
def test_bomb_is_refused_with_bounded_memory(payload):
    """A few bytes that claim billions of things are a typed error, and cost about what they weigh."""
    value = sealed(payload)
    tracemalloc.start()
    try:
        with pytest.raises(LogCorrupt):
            decode_record(SEQ, value, FIRST)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3 * len(value) + 8_000_000


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_corrupt(payload):
    """Whatever stands on the disk, reading it gives a record or the one error that says so."""
    try:
        record = decode_record(SEQ, sealed(payload), FIRST)
    except LogCorrupt:
        return
    assert isinstance(record, Record)


def test_record_never_holds_more_events_than_it_may():
    """Not even when each is as short as can be."""
    made = encode([(3, 1)] * 3_000)

    assert all(len(record.arrays) <= EVENTS_A_RECORD_MAX for record, _ in made)
    assert 3_000 == sum(len(record.arrays) for record, _ in made)


def test_arrays_are_stored_as_they_are():
    """A run that makes the arrays itself stores what the events would have been."""
    events = [ItemStarted("a"), ItemSucceeded(SEQ, 5)]

    assert encode(events) == encode([to_array(seq, event) for seq, event in enumerate(events, SEQ)])


def test_value_over_the_limit_is_not_unpacked():
    """However few elements it has."""
    with pytest.raises(ValueError, match="are the most"):
        checked_size(bytes(EVENT_BYTES_MAX + 1))
