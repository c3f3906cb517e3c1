"""Result tags: Python's types come back as they were, and bytes that nobody packed are typed errors."""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import math
import pathlib
import pickle
import subprocess
import sys
import uuid
from dataclasses import dataclass, make_dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.result_types import (
    BERLIN,
    CLASSES,
    NAMED,
    NESTED,
    PLAIN,
    POINT,
    SAME,
    Colour,
    Counted,
    Pair,
    Point,
    Right,
    name_of,
)
from wal_runner import StoredValue
from wal_runner.log.format import RESULT_BYTES_FORMAT_MAX, RESULT_BYTES_MAX, RESULT_ELEMENTS_MAX
from wal_runner.log.named_values import classes_by_name
from wal_runner.log.results import decode_result, encode_result


GIVEN = classes_by_name(CLASSES)


def kept(value, classes=(), limit=RESULT_BYTES_MAX):
    packed, omitted = encode_result(value, limit)

    assert omitted is None
    return decode_result(packed, classes_by_name(classes))


def shape_of(value):
    """Return a value's type with those of its parts, where == takes one for another: (1,) and (True,)."""
    if isinstance(value, dict):
        return dict, [(shape_of(key), shape_of(part)) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [shape_of(part) for part in value]
    if isinstance(value, dt.datetime | dt.time):
        return type(value), value.fold, value.utcoffset(), getattr(value.tzinfo, "key", None)
    return type(value), repr(value) if isinstance(value, decimal.Decimal | float | complex) else None


# --- Values come back --------------------------------------------------------------------


def test_there_are_enough_examples():
    """At least forty types and nestings stand in the lists below."""
    assert len(SAME) + len(PLAIN) + len(NAMED) + len(NESTED) >= 70


@pytest.mark.parametrize("value", SAME.values(), ids=SAME.keys())
def test_value_comes_back_equal_and_of_its_type(value):
    """Plain types of Python, in any nesting, are what fn returned."""
    again = kept(value)

    assert value == again
    assert shape_of(value) == shape_of(again)


@pytest.mark.parametrize("text", ["NaN", "-NaN12", "sNaN7"])
def test_decimal_that_is_not_a_number_comes_back(text):
    """It equals nothing, so its text is compared."""
    assert text == str(kept(decimal.Decimal(text)))


def test_complex_that_is_not_a_number_comes_back():
    """Both parts are kept bit for bit."""
    again = kept(complex(math.nan, -0.0))

    assert math.isnan(again.real)
    assert "-0.0" == str(again.imag)


@pytest.mark.parametrize(("value", "plain"), PLAIN.values(), ids=PLAIN.keys())
def test_subclass_of_a_plain_type_comes_back_plain(value, plain):
    """What makes it a class of its own is not data."""
    again = kept(value)

    assert plain == again
    assert shape_of(plain) == shape_of(again)


@pytest.mark.parametrize(("value", "cls", "fields"), NAMED.values(), ids=NAMED.keys())
def test_named_value_comes_back_as_stored_value(value, cls, fields):
    """Its class is not imported; name and fields are there."""
    assert StoredValue(name_of(cls), fields) == kept(value)


@pytest.mark.parametrize(
    "value", [*(value for value, _, _ in NAMED.values()), *NESTED.values()], ids=[*NAMED.keys(), *NESTED.keys()]
)
def test_named_value_comes_back_as_its_class_if_given(value):
    """The caller names the class, so it is rebuilt, at any depth."""
    again = kept(value, CLASSES)

    assert type(value) is type(again)
    if isinstance(value, np.ndarray):
        assert value.dtype == again.dtype
        assert again.flags.writeable
        np.testing.assert_array_equal(value, again, strict=True)
    else:
        assert value == again


def test_stored_value_that_is_returned_stays_one():
    """A result that was read without its class can be returned again."""
    stored = kept([POINT])

    assert stored == kept(stored)
    assert [POINT] == kept(stored, [Point])


def test_stored_value_is_a_plain_value():
    """It is compared, hashed, copied and pickled by what it holds."""
    value = kept(Pair(1, [2]))

    assert value == copy.deepcopy(value) == pickle.loads(pickle.dumps(value))  # noqa: S301
    assert hash(value) == hash(kept(Pair(1, [2])))
    assert value != kept(Pair(1, [3]))
    with pytest.raises(AttributeError):
        value.type = "x"


def test_text_that_looks_like_a_timestamp_comes_back():
    """Only an ext type -1 is refused, not bytes that look like its beginning."""
    value = (b"\xd6\xff\xd7\xff", {b"\xc7\x0c\xff" * 100: {1.5}}, "\xd6\xff", 2**70)

    assert value == kept(value)


def test_set_is_packed_the_same_in_any_order():
    """The order in a set of texts is another in each process; the bytes are not."""
    one, other = {0, 8}, {8, 0}  # they share a place in the table, so the first comes first

    assert list(one) != list(other)
    assert encode_result(one) == encode_result(other)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.datetimes(timezones=st.none() | st.timezones() | st.just(dt.timezone(dt.timedelta(hours=-3))))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.complex_numbers(allow_nan=False)
    | st.sampled_from([Colour.RED, Right.READ])
)
KEYS = LEAVES | st.tuples(LEAVES, LEAVES) | st.frozensets(LEAVES, max_size=3)


@given(
    st.recursive(
        LEAVES,
        lambda parts: (
            st.lists(parts, max_size=4)
            | st.tuples(parts, parts)
            | st.sets(KEYS, max_size=4)
            | st.frozensets(KEYS, max_size=4)
            | st.dictionaries(KEYS, parts, max_size=4)
            | st.builds(Point, parts, parts)
            | st.builds(Pair, parts, parts)
        ),
        max_leaves=20,
    )
)
def test_any_value_comes_back(value):
    """Whatever is built of these comes back equal, and packs to the same bytes again."""
    packed, omitted = encode_result(value)
    again = decode_result(packed, GIVEN)

    assert omitted is None
    assert value == again
    assert (packed, None) == encode_result(again)


# --- Time zones --------------------------------------------------------------------------


def test_unknown_zone_leaves_its_offset():
    """The zone data of the machine that reads may be older; the moment is kept."""
    packed, _ = encode_result(dt.datetime(2026, 7, 1, tzinfo=SAME["zone, summer"].tzinfo))
    again = decode_result(packed.replace(b"Europe/Berlin", b"Europe/Nowhre"))

    assert dt.datetime(2026, 7, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))) == again
    assert dt.timedelta(hours=2) == again.utcoffset()


def test_unknown_zone_of_a_time_leaves_none():
    """Without a day it has no offset either."""
    packed, _ = encode_result(dt.time(1, 2, tzinfo=SAME["time with zone"].tzinfo))

    assert dt.time(1, 2) == decode_result(packed.replace(b"Europe/Berlin", b"Europe/Nowhre"))


def test_zone_from_the_log_imports_nothing():
    """ZoneInfo() imports a module named after a key that the system has no file for."""
    packed, _ = encode_result(dt.datetime(2026, 7, 1, tzinfo=SAME["zone, summer"].tzinfo))
    before = set(sys.modules)
    decode_result(packed.replace(b"Europe/Berlin", b"walrun/plante"))

    assert not [name for name in set(sys.modules) - before if "walrun" in name]


def test_zone_of_another_kind_leaves_its_offset():
    """A tzinfo of the user's own is read at that moment."""

    class Own(dt.tzinfo):
        def utcoffset(self, _):
            return dt.timedelta(hours=3)

    assert dt.datetime(2026, 1, 1, tzinfo=Own()) == kept(dt.datetime(2026, 1, 1, tzinfo=Own()))


# --- Classes that changed, and hostile names ---------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        make_dataclass("Point", [("x", int)]),
        make_dataclass("Point", [("x", int), ("y", float), ("z", int)]),
        Right,
        np.float64,
        np.ndarray,
        Pair,
        Colour,
    ],
    ids=["field gone", "field more", "now flags", "now numpy", "now an array", "now a tuple", "now an Enum"],
)
def test_class_that_changed_leaves_stored_value(changed):
    """The fields are what was stored; a class that does not take them is no error."""
    packed, _ = encode_result(Point(1, 2.0))
    again = decode_result(packed, {name_of("Point"): changed})

    assert StoredValue(name_of("Point"), {"x": 1, "y": 2.0}) == again


def test_field_with_a_default_may_come_later():
    """A class that gained a field with a default still takes what was stored."""
    packed, _ = encode_result(Point(1, 2.0))
    newer = make_dataclass("Point", [("x", int), ("y", float), ("z", int, 7)])

    assert newer(1, 2.0, 7) == decode_result(packed, {name_of("Point"): newer})


def test_value_that_init_changes_is_not_changed_again():
    """A __post_init__ that adds has added before it was stored."""
    value = Counted(1)

    assert (value, 2) == (kept(value, [Counted]), value.given)


def test_class_that_cannot_be_a_key_any_more_leaves_stored_value():
    """Hashing raises in the middle of a dict; the value is read without the class."""
    mutable = make_dataclass("Pair", [("left", int), ("right", int)])
    packed, _ = encode_result({Pair(1, 2): 3})

    assert {StoredValue(name_of("Pair"), {"left": 1, "right": 2}): 3} == decode_result(
        packed, {name_of("Pair"): mutable}
    )


@pytest.mark.parametrize(
    ("given_classes", "error"),
    [(Point, TypeError), ("Point", TypeError), (["Point"], TypeError), ([dict], TypeError), ([Point, Point], None)],
    ids=["a class", "a text", "a name", "a plain type", "one twice"],
)
def test_result_types_are_classes_that_are_stored_by_name(given_classes, error):
    """A mistake is told when the log is opened, not when a result is read."""
    if error is None:
        assert {name_of("Point"): Point} == classes_by_name(given_classes)
    else:
        with pytest.raises(error):
            classes_by_name(given_classes)


def test_two_classes_of_one_name_are_refused():
    """Nobody could say which of them a stored value is."""
    other = make_dataclass("Point", [])
    other.__module__ = Point.__module__

    with pytest.raises(ValueError, match="two classes of the name"):
        classes_by_name([Point, other])


# --- What is omitted ---------------------------------------------------------------------


@dataclass(eq=False)
class Unlike:
    """Two of these are never equal; their stored values are."""

    x: int


class Tagged(dt.datetime):
    """A datetime that is more than one."""

    def __eq__(self, other):
        return isinstance(other, Tagged) and super().__eq__(other)

    __hash__ = dt.datetime.__hash__


RECURSIVE = ([],)
RECURSIVE[0].append(RECURSIVE)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (2**8192, "over the limit"),
        (decimal.Decimal("1E+10001"), "over the limit"),
        (decimal.Decimal("1" * 1001), "over the limit"),
        (RECURSIVE, "nested too deeply"),
        ({Unlike(1), Unlike(1)}, "the same when read"),
        ({Unlike(1): 1, Unlike(1): 2}, "the same when read"),
        (Tagged(2026, 1, 1), "is more than the datetime"),
        (np.array([object()]), "hold more than bytes"),
        (np.zeros(2, dtype=[("a", "i4")]), "hold more than bytes"),
        (np.ma.array([1]), "subclasses of numpy.ndarray"),
        (Point(object()), "can not serialize 'object'"),
        ((1, "\ud800"), "surrogates not allowed"),
        ([dt.date(2026, 1, 1)] * (RESULT_ELEMENTS_MAX + 1), "1,048,576 values"),
        ([0] * (RESULT_ELEMENTS_MAX + 1), "1,048,576 values"),
        (dt.time(1, tzinfo=type("Own", (dt.tzinfo,), {"utcoffset": lambda *_: None})()), "is not known"),
    ],
    ids=[
        *("int", "exponent", "digits", "recursive", "members", "keys", "datetime", "objects", "structure", "masked"),
        *("inside", "surrogate", "many dates", "many ints", "time zone"),
    ],
)
def test_value_that_would_come_back_otherwise_is_omitted(value, why):
    """It is said why, and nothing else is lost."""
    packed, omitted = encode_result(value, RESULT_BYTES_FORMAT_MAX)

    assert packed is None
    assert why in omitted


def test_small_thread_stack_is_enough():
    """64 tags deep on a stack of 256 KiB; unpackb() takes 41 KB of it a level."""
    script = """
import threading
from wal_runner.log.results import decode_result, encode_result
value = None
for _ in range(63):
    value = (value,)
threading.stack_size(256 * 1024)
same = []
thread = threading.Thread(target=lambda: same.append(decode_result(encode_result(value)[0]) == value))
thread.start(); thread.join()
assert same == [True]
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_uuid_subclass_is_the_plain_one():
    """A subclass that adds nothing to be compared comes back as its base."""

    class Own(uuid.UUID):
        pass

    again = kept(Own(int=5))

    assert (uuid.UUID(int=5), uuid.UUID) == (again, type(again))


# --- The bytes themselves ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        (dt.datetime(2026, 11, 27, 12, 30, 15, 123456), "c70f0f c70c01 07ea0b1b0c1e0f 0001e240 00"),  # noqa: DTZ001
        (
            dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
            "c7240f c72101 07e80a1b021e00 00000000 01 00000000d693a400 4575726f70652f4265726c696e",
        ),
        (dt.date(2026, 11, 27), "c7060f d602 07ea0b1b"),
        (dt.time(12, 30), "c70a0f d703 0c1e00 00000000 00"),
        (dt.timedelta(days=-1, seconds=2, microseconds=3), "c70f0f c70c04 ffffffff 00000002 00000003"),
        (decimal.Decimal("-1.50"), "d70f c70505 2d312e3530"),
        (uuid.UUID(int=1), "c7120f d806 00000000000000000000000000000001"),
        ({2, 1}, "c7060f c70307 920102"),
        (frozenset([1]), "d60f d508 9101"),
        ((1, "a"), "c7060f d609 9201a161"),
        (pathlib.Path("a/b"), "c7060f d60a 00612f62"),
        (2**64, "c70c0f c7090b 010000000000000000"),
        (1 - 2j, "c7120f d80c 3ff0000000000000 c000000000000000"),
        (StoredValue("m.C", {"a": 1}), "c70c0f c7090d 92 a36d2e43 81a16101"),
        ({"at": (dt.date(2026, 1, 2),)}, "c70e0f 81a26174 c70709 91 d60207ea0102"),
    ],
    ids=[
        *("datetime", "zone", "date", "time", "timedelta", "Decimal", "UUID", "set", "frozenset", "tuple", "path"),
        *("int", "complex", "named", "nested"),
    ],
)
def test_bytes_of_each_tag_stay(value, packed):
    """What is on disks is read for ever, so a change of these bytes needs a number of its own."""
    assert (bytes.fromhex(packed), None) == encode_result(value)
