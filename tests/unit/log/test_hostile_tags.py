"""Stored results that nobody packed: typed errors, in bounded memory, and nothing is imported or called."""

from __future__ import annotations

import sys
import tracemalloc
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.result_types import CLASSES, NAMED, SAME
from wal_runner import StoredValue
from wal_runner.core.formats import needs_format_2
from wal_runner.errors import LogCorrupt, LogTooNew
from wal_runner.log import tags
from wal_runner.log.format import RESULT_BYTES_FORMAT_MAX
from wal_runner.log.named_values import classes_by_name
from wal_runner.log.results import decode_result, encode_result
from wal_runner.log.tags import NAMED as NAMED_TAG
from wal_runner.log.tags import TAG_DEPTH_MAX, TUPLE


GIVEN = classes_by_name(CLASSES)


def tagged(payload: bytes) -> bytes:
    return msgpack.packb(msgpack.ExtType(tags.TAGGED, payload))


def inner(number: int, payload: bytes) -> bytes:
    return tagged(msgpack.packb(msgpack.ExtType(number, payload)))


def nested(number: int, depth: int) -> bytes:
    packed = b"\xc0"
    for _ in range(depth):
        packed = msgpack.packb(msgpack.ExtType(number, b"\x91" + packed))
    return tagged(packed)


HOSTILE = {
    "no value": tagged(b""),
    "empty tag outside": msgpack.packb([msgpack.ExtType(6, b"")]),
    "timestamp in a set": inner(tags.SET, b"\x91\xd7\xff" + bytes(8)),
    "inner tag outside": msgpack.packb(msgpack.ExtType(6, bytes(16))),
    "tag 0": inner(0, b"x"),
    "result in a result": inner(15, b"\xc0"),
    "negative tag": tagged(b"\xd6\xff" + bytes(4)),
    "tag behind plain": b"\x92\xc0\xd5\x06ab",
    "bytes behind": tagged(b"\xc0") + b"\xc0",
    "bytes behind, inside": tagged(b"\xc0\xc0"),
    "bytes behind, nested": inner(TUPLE, b"\x90\x90"),
    "UUID of 15 bytes": inner(tags.UUID_TAG, bytes(15)),
    "date of 5 bytes": inner(tags.DATE, bytes(5)),
    "date of month 13": inner(tags.DATE, b"\x07\xea\x0d\x01"),
    "datetime of 11 bytes": inner(tags.DATETIME, bytes(11)),
    "datetime with half an offset": inner(tags.DATETIME, b"\x07\xea\1\1\0\0\0\0\0\0\0\0" + bytes(4)),
    "offset of two days": inner(tags.TIME, bytes(8) + (2 * 86_400_000_000).to_bytes(8, "big")),
    "zone with a way up": inner(tags.TIME, bytes(16) + b"../../etc/passwd"),
    "zone that is not ASCII": inner(tags.TIME, bytes(16) + b"\xff"),
    "timedelta too long": inner(tags.TIMEDELTA, b"\x7f\xff\xff\xff" + bytes(8)),
    "timedelta of 90,000 s": inner(tags.TIMEDELTA, bytes(4) + (90_000).to_bytes(4, "big") + bytes(4)),
    "Decimal of no text": inner(tags.DECIMAL, b""),
    "Decimal of spaces": inner(tags.DECIMAL, b" 1 "),
    "huge exponent": inner(tags.DECIMAL, b"1E+99999"),
    "huger exponent": inner(tags.DECIMAL, b"1E+999999999999999999"),
    "a million digits": inner(tags.DECIMAL, b"9" * 1_000_000),
    "int of 8 bytes": inner(tags.INTEGER, bytes(8)),
    "int of a million bytes": inner(tags.INTEGER, b"\x7f" * 1_000_000),
    "complex of 8 bytes": inner(tags.COMPLEX, bytes(8)),
    "path of no kind": inner(tags.PATH, b""),
    "path of kind 9": inner(tags.PATH, b"\x09a"),
    "path of 100,000 parts": inner(tags.PATH, b"\0" + b"a/" * 100_000),
    "set of a list": inner(tags.SET, b"\x91\x90"),
    "set with one twice": inner(tags.SET, b"\x92\1\1"),
    "tuple of a map": inner(TUPLE, b"\x80"),
    "named without fields": inner(NAMED_TAG, b"\x91\xa1a"),
    "named of a number": inner(NAMED_TAG, b"\x92\1\x80"),
    "named with a number": inner(NAMED_TAG, b"\x92\xa1a\x81\1\1"),
    "named with a long name": inner(NAMED_TAG, msgpack.packb(["a" * 1001, {}])),
    "key that is a list": tagged(b"\x81\x90\xc0"),
    "1,000 tags deep": nested(TUPLE, 1_000),
    "1,000 sets deep": nested(tags.FROZENSET, 1_000),
    "5,000 lists deep": tagged(b"\x91" * 5_000 + b"\xc0"),
    "4 billion announced": tagged(b"\xdd\xff\xff\xff\xff"),
    "32 MiB of lists": tagged(b"\xdd\x01\x00\x00\x00" + b"\x90" * (1 << 24)),
    "32 MiB of sets": inner(TUPLE, b"\xdd\x00\x80\x00\x00" + b"\xd4\x08\x90" * (1 << 23)),
    "32 MiB announced, 400 deep": tagged(b"\xdd\x01\x00\x00\x00" * 400 + bytes(1 << 24)),
    "8 MiB, 60 deep": nested(TUPLE, 60).replace(b"\xc0", b"\xc6\x00\x80\x00\x00" + bytes(1 << 23)),
}


@pytest.mark.parametrize("packed", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_corrupt_in_bounded_memory(packed):
    """A typed error, whatever stands there, and not much more memory than the bytes themselves."""
    tracemalloc.start()
    try:
        with pytest.raises(LogCorrupt, match="cannot be as it was written"):
            decode_result(packed, GIVEN)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 48 * 2**20 + 2 * len(packed)


def test_copies_of_nested_payloads_are_bounded():
    """Each level around a large value is a copy of it."""
    value = bytes(24 << 20)
    for _ in range(TAG_DEPTH_MAX // 2):
        value = (value,)
    packed, omitted = encode_result(value, RESULT_BYTES_FORMAT_MAX)

    assert packed is None
    assert "nested too deeply for its size" in omitted


def test_unassigned_tag_is_of_a_newer_version():
    """The log is sound; an upgrade reads it."""
    with pytest.raises(LogTooNew, match="newer version"):
        decode_result(inner(14, b"anything"))
    with pytest.raises(LogTooNew):
        decode_result(inner(14, b"anything"), GIVEN)


EXAMPLES = [encode_result(value)[0] for value in [*SAME.values(), *(one for one, _, _ in NAMED.values())]]


def test_every_prefix_is_corrupt():
    """A result that was cut is never taken for a shorter one."""
    for packed in EXAMPLES:
        if needs_format_2(packed):
            for end in range(len(packed)):
                with pytest.raises(LogCorrupt):
                    decode_result(packed[:end])


@given(st.sampled_from([one for one in EXAMPLES if one]), st.integers(0, 2**20), st.integers(1, 255))
def test_changed_byte_is_a_value_or_a_typed_error(packed, at, bits):
    """Never msgpack's own error, nor one of datetime's or Decimal's."""
    at %= len(packed)
    with suppress(LogCorrupt, LogTooNew):
        decode_result(packed[:at] + bytes([packed[at] ^ bits]) + packed[at + 1 :], GIVEN)


@given(st.integers(0, 14), st.binary(max_size=40))
def test_any_payload_is_a_value_or_a_typed_error(number, payload):
    """Each tag checks its payload by itself."""
    with suppress(LogCorrupt, LogTooNew):
        decode_result(inner(number, payload), GIVEN)


def test_name_in_the_log_is_neither_imported_nor_called():
    """It selects from the caller's classes, and is text otherwise."""
    payload = msgpack.packb(["os.system", {"command": "exit 1"}])
    before = set(sys.modules)

    assert StoredValue("os.system", {"command": "exit 1"}) == decode_result(inner(NAMED_TAG, payload), GIVEN)
    assert StoredValue("antigravity.x", {}) == decode_result(inner(NAMED_TAG, msgpack.packb(["antigravity.x", {}])))
    assert before == set(sys.modules)


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": "O", "shape": [1], "data": b"x" * 8},
        {"dtype": "<f8", "shape": [1 << 60], "data": b"x" * 8},
        {"dtype": "<f8", "shape": [1 << 60, 0, 1 << 60], "data": b""},
        {"dtype": "<f8", "shape": "ab", "data": b"x" * 8},
        {"dtype": "V8", "shape": [1], "data": b"x" * 8},
        {},
    ],
    ids=["objects", "too large", "overflow", "no shape", "structure", "nothing"],
)
def test_array_that_nobody_packed_stays_a_stored_value(fields):
    """The type of elements is checked before numpy gets it."""
    packed = inner(NAMED_TAG, msgpack.packb(["numpy.ndarray", fields]))

    assert StoredValue("numpy.ndarray", fields) == decode_result(packed, GIVEN)
