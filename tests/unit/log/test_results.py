"""What fn returned: what is stored can be read again, and what cannot is said to be omitted."""

import datetime as dt
import traceback
from collections import OrderedDict

import msgpack
import pytest

from wal_runner import Runner
from wal_runner.core.formats import needs_format_2
from wal_runner.errors import LogCorrupt
from wal_runner.log.format import RESULT_BYTES_FORMAT_MAX, RESULT_BYTES_MAX
from wal_runner.log.results import (
    decode_plain,
    decode_result,
    encode_plain,
    encode_result,
    error_info,
)


@pytest.mark.parametrize(
    "value",
    [
        msgpack.Timestamp(1),
        {"at": msgpack.ExtType(5, b"x")},
        msgpack.ExtType(15, b"\x01"),
        [msgpack.ExtType(5, b"")],
        (1, msgpack.ExtType(5, b"1")),
        [[]] * 3 + [{"deep": msgpack.Timestamp(1)}],
    ],
    ids=["timestamp", "ext type", "forged result tag", "empty ext type", "forged inner tag", "among others"],
)
def test_what_msgpack_packs_and_does_not_read_is_omitted(value):
    """The effect happened, so it is a success without a result; a stored one would make every reader fail."""
    packed, omitted = encode_result(value)

    assert packed is None
    assert omitted is not None
    assert "cannot be stored" in omitted


@pytest.mark.parametrize(
    "value",
    ["text", b"bytes", 7, -1, 2**63, 1.5, True, None, [1, "a"], {"a": [None]}, {1: 2, b"x": 3, None: 4}, [], {}],
)
def test_plain_result_is_stored_as_format_1_does(value):
    """A result that needs no tag is byte for byte what the first version wrote."""
    packed, omitted = encode_result(value)

    assert omitted is None
    assert value == decode_result(packed)
    assert (None if value is None else msgpack.packb(value)) == packed
    assert not needs_format_2(packed)


@pytest.mark.parametrize(
    ("value", "as_list"),
    [((1, (2,)), [1, [2]]), ({"at": (1,)}, {"at": [1]}), (None, None)],
    ids=["tuple", "inside", "none"],
)
def test_plain_encoding_has_lists_for_tuples(value, as_list):
    """Cursors have no tags, in either format."""
    packed, why = encode_plain(value)

    assert why is None
    assert packed is None or as_list == decode_plain(packed)
    assert not needs_format_2(packed)


def test_plain_encoding_refuses_what_needs_a_tag():
    """A cursor that cannot be read back is refused when it is given, and read as damage."""
    packed, _ = encode_result((1,))

    assert "set cannot be stored" in encode_plain({1})[1]
    with pytest.raises(LogCorrupt):
        decode_plain(packed)


@pytest.mark.parametrize(
    ("value", "needed"),
    [
        ("x" * (RESULT_BYTES_MAX - 5), False),
        ("x" * (RESULT_BYTES_MAX - 4), True),
        ((), True),
        ({1}, True),
        (dt.date(2026, 1, 1), True),
        (OrderedDict(a=1), False),
    ],
    ids=["1 MiB", "a byte more", "tuple", "set", "date", "subclass of dict"],
)
def test_first_byte_or_size_tells_whether_format_2_is_needed(value, needed):
    """Format 1 reads what has no tags, up to 1 MiB."""
    packed, omitted = encode_result(value, 2 * RESULT_BYTES_MAX)

    assert omitted is None
    assert needed is needs_format_2(packed)


@pytest.mark.parametrize(
    "value",
    [b"x" * (64 << 20), ["x" * (1 << 20)] * 64, (b"x" * (64 << 20),), {frozenset([b"x" * (64 << 20)])}],
    ids=["bytes", "list", "tuple", "set in set"],
)
def test_result_of_64_mib_is_omitted(value):
    """It is over every limit, and the item has succeeded all the same."""
    packed, omitted = encode_result(value, RESULT_BYTES_FORMAT_MAX)

    assert packed is None
    assert "over the limit of 33,554,432" in omitted


def test_reason_of_an_omission_is_short():
    """A class may have a name of any length; the reason stands in the event, which has a limit."""
    _, omitted = encode_result(type("N" * 1_000_000, (), {})())

    assert len(omitted) < 1_000
    assert omitted.startswith("a NNN")


def test_nested_results_that_share_parts_end():
    """Forty levels, each twice the one below: a value that small in memory would be 2**40 values when packed."""
    value = ()
    for _ in range(40):
        value = (value, value)
    packed, omitted = encode_result(value)

    assert packed is None
    assert "over the limit" in omitted


def test_run_whose_result_cannot_be_read_succeeds(tmp_path):
    """A generator is returned; the item is done, the reader goes on, and nothing is redone."""
    with Runner(tmp_path / "grid.wal") as runner:
        [outcome] = runner.run_iter(["cell"], lambda _: [iter(())], signals=False)
        [item] = runner.items()

        assert [] == list(runner.results())
        assert 1 == runner.run(["cell"], lambda _: None, signals=False).skipped
    assert item.omitted == outcome.omitted
    assert "cannot be stored" in outcome.omitted


@pytest.mark.parametrize(
    "packed",
    [b"", b"\xdd\xff\xff\xff\xff", b"\x91" * 2_000 + b"\xc0", b"\xc7\x03\x05abc", b"\xa3\xff\xfe\xfd", b"\xc0\xc0"],
    ids=["nothing", "4 billion", "too deep", "ext type", "no UTF-8", "too much"],
)
def test_stored_result_that_nobody_packed_is_corrupt(packed):
    """Made by hand, or by damage that no checksum covers: a typed error, never msgpack's own."""
    with pytest.raises(LogCorrupt, match="cannot be as it was written"):
        decode_result(packed)


def test_stored_result_over_the_limit_is_not_unpacked():
    """Whatever it is made of, it is not even looked at."""
    with pytest.raises(LogCorrupt, match="over the limit"):
        decode_result(b"\xdd\xff\xff\xff\xff" + b"\x90" * RESULT_BYTES_FORMAT_MAX)


def test_error_whose_traceback_cannot_be_shown_is_described(monkeypatch):
    """Formatting an exception calls its own code, which may raise anything."""

    def fail(_):
        raise RecursionError

    monkeypatch.setattr(traceback, "format_exception", fail)
    info = error_info(OSError("no route"))

    assert ("OSError", "no route") == (info.type, info.message)
    assert "(the traceback cannot be shown: RecursionError)" == info.traceback
