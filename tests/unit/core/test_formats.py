"""Which format an event needs: what the first version cannot read needs format 2."""

import msgpack
import pytest

from tests.support.examples import FULL, SEQ, SHORT, TYPES
from wal_runner.core.arrays import to_array
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import (
    TYPE_NUMBERS,
    Decision,
    ItemFailed,
    ItemInterrupted,
    ItemReconciled,
    ItemStarted,
    ItemSucceeded,
    LateOutcome,
)
from wal_runner.core.formats import FIELDS_IN_FORMAT_1, format_of, needs_format_2, result_of, without_result
from wal_runner.log.results import encode_result


MIB = 1024 * 1024
EXT_1 = msgpack.packb(msgpack.ExtType(1, b"2026"))
PLAIN = [
    None,
    True,
    -1,
    2**64 - 1,
    1.5,
    "text",
    "x" * 1_000,
    b"\xc7",
    b"\xd4" * 300,
    [1, [2]],
    {"a": 1},
    list(range(99)),
]

OLD = [kind for kind in TYPES if TYPE_NUMBERS[kind] in FIELDS_IN_FORMAT_1]


def with_result(kind, result):
    """Make an event of *kind* that carries *result*."""
    return {
        ItemSucceeded: ItemSucceeded(998, 5, result),
        ItemReconciled: ItemReconciled(998, Decision.HAPPENED, "ann", "", result),
        LateOutcome: LateOutcome("user-1", 998, 5, result),
    }[kind]


def with_error(kind, error):
    """Make an event of *kind* that carries *error*."""
    return {
        ItemFailed: ItemFailed(998, 5, error),
        ItemInterrupted: ItemInterrupted(998, 5, "Ctrl-C", error),
        LateOutcome: LateOutcome("user-1", 998, 5, error=error),
    }[kind]


CARRY_RESULTS = (ItemSucceeded, ItemReconciled, LateOutcome)
CARRY_ERRORS = (ItemFailed, ItemInterrupted, LateOutcome)


def test_fields_of_format_1_are_these_for_ever():
    """The first version decodes so many fields of each type, and no type above 15."""
    assert {1: 9, 2: 1, 3: 2, 4: 4, 5: 4, 6: 3, 7: 4, 8: 1, 9: 6, 10: 7, 11: 6, 12: 2, 13: 2, 14: 3, 15: 3} == (
        FIELDS_IN_FORMAT_1
    )


@pytest.mark.parametrize("examples", [FULL, SHORT], ids=["full", "short"])
@pytest.mark.parametrize("kind", OLD, ids=lambda kind: kind.__name__)
def test_one_field_more_needs_format_2(kind, examples):
    """The first version calls an event with one more field damaged."""
    length = 1 + FIELDS_IN_FORMAT_1[TYPE_NUMBERS[kind]]
    array, full = (to_array(SEQ, event)[:length] for event in (examples[kind], FULL[kind]))

    assert 1 == format_of(array)
    assert 2 == format_of((*full, 0))


@pytest.mark.parametrize("number", [16, 22, 27, 99])
def test_newer_type_needs_format_2(number):
    """Types from 16 on are newer than format 1."""
    assert 2 == format_of((number, "a"))


@pytest.mark.parametrize("kind", CARRY_RESULTS)
def test_tagged_result_needs_format_2(kind):
    """Every form of a msgpack ext value, wherever an event carries a result; and nothing else does."""
    marks = [*range(0xC7, 0xCA), *range(0xD4, 0xD9)]
    found = [mark for mark in range(256) if format_of(to_array(SEQ, with_result(kind, bytes((mark, 1, 2))))) == 2]

    assert marks == found
    assert set(marks) == {
        msgpack.packb(msgpack.ExtType(1, bytes(size)))[0] for size in (1, 2, 3, 4, 8, 16, 256, 70_000)
    }


@pytest.mark.parametrize("kind", CARRY_RESULTS)
def test_result_above_1_mib_needs_format_2(kind):
    """A reader of format 1 refuses one byte more."""
    assert [1, 2] == [format_of(to_array(SEQ, with_result(kind, bytes(size)))) for size in (MIB, MIB + 1)]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: f"{value!r:.12}")
def test_plain_result_needs_format_1(value):
    """What the first version stores keeps the log as it is."""
    packed, omitted = encode_result(value)

    assert None is omitted
    assert packed is None or not needs_format_2(packed)


@pytest.mark.parametrize("kind", CARRY_ERRORS)
def test_numbered_traceback_needs_format_2(kind):
    """A traceback that is the number of a text is no text to the first version."""
    known, numbered = ErrorInfo("ValueError", "no", "Traceback"), ErrorInfo("ValueError", "no", 7)

    assert [1, 2] == [format_of(to_array(SEQ, with_error(kind, error))) for error in (known, numbered)]


@pytest.mark.parametrize("as_array", [False, True], ids=["event", "array"])
@pytest.mark.parametrize("kind", CARRY_RESULTS)
def test_result_is_left_out_for_a_reason(kind, as_array):
    """The rest of the event stays as it is, also in its array."""
    event = with_result(kind, EXT_1)
    expected = event._replace(result=None, omitted="why")
    given = to_array(SEQ, event) if as_array else event

    assert EXT_1 == result_of(given)
    assert (to_array(SEQ, expected) if as_array else expected) == without_result(given, "why")
    assert None is result_of(without_result(given, "why"))


def test_other_events_carry_no_result():
    """Neither the event nor its array does."""
    assert [None, None] == [result_of(ItemStarted("a")), result_of((4, "a"))]
    assert [None, None] == [result_of(ItemSucceeded(998, 5)), result_of((5, 2, 5))]
