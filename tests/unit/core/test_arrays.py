"""Events as arrays: what is stored, folded and compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import FULL, SEQ, SHORT, TYPES, events_at
from wal_runner.core.arrays import events_of, first_start, from_array, to_array
from wal_runner.core.events import TYPE_NUMBERS, Event, ItemStarted, ItemSucceeded, Record, SessionClosed
from wal_runner.errors import LogCorrupt, LogTooNew


# How many fields each type must have: those without a default.
REQUIRED = {kind: len(kind._fields) - len(kind._field_defaults) for kind in TYPES}


def name_of(kind):
    return kind.__name__


# --- There and back -----------------------------------------------------------------------


def test_every_event_type_has_a_number_and_an_example():
    """The examples of this file, and the numbers on disk, cover exactly the types of the union."""
    assert set(Event.__args__) == set(TYPE_NUMBERS) == set(FULL) == set(SHORT)


def test_type_numbers_are_these_for_ever():
    """Numbers written to a disk keep their meaning; those from 16 on came with format 2."""
    assert [
        "SessionOpened",
        "SessionClosed",
        "SessionLost",
        "ItemStarted",
        "ItemSucceeded",
        "ItemFailed",
        "ItemInterrupted",
        "ItemReleased",
        "ItemReconciled",
        "ItemReopened",
        "LateOutcome",
        "CursorAdvanced",
        "SnapshotTaken",
        "LogCompacted",
        "KeyRuleSet",
        "ItemAttested",
        "EffectStarted",
        "EffectSucceeded",
        "EffectFailed",
        "FunctionSeen",
        "SessionReached",
        "TextSeen",
        "PauseSet",
        "RunEnded",
        "ItemHeld",
        "ItemForgotten",
        "ItemGivenUp",
    ] == [kind.__name__ for kind in TYPES]
    assert list(range(1, 28)) == [TYPE_NUMBERS[kind] for kind in TYPES]


@pytest.mark.parametrize("examples", [FULL, SHORT], ids=["full", "short"])
@pytest.mark.parametrize("kind", TYPES, ids=name_of)
def test_event_round_trip(kind, examples):
    """An event's array is the event again, in full and in short."""
    event = examples[kind]
    back = from_array(SEQ, to_array(SEQ, event))

    assert event == back
    assert type(event) is type(back)


@given(st.data())
@pytest.mark.parametrize("kind", TYPES, ids=name_of)
def test_any_event_round_trip(kind, data):
    """Whatever an event's fields hold, its array is the event again, its enums and errors too."""
    seq = data.draw(st.integers(0, 2**48))
    event = data.draw(events_at(seq, [kind]))
    back = from_array(seq, to_array(seq, event))

    assert event == back
    assert [type(field) for field in event] == [type(field) for field in back]


@pytest.mark.parametrize("kind", TYPES, ids=name_of)
def test_trailing_defaults_are_left_out(kind):
    """What an event does not say takes no bytes."""
    full, short = to_array(SEQ, FULL[kind]), to_array(SEQ, SHORT[kind])

    assert 1 + len(kind._fields) == len(full)
    assert 1 + REQUIRED[kind] == len(short)


def test_start_is_stored_as_the_distance_back():
    """An outcome names its start by how far back it is: one byte for most."""
    assert (5, 2, 30) == to_array(7, ItemSucceeded(5, 30))


def test_array_is_taken_as_it_is():
    """A run that makes millions of first starts makes their arrays itself."""
    assert first_start("a") == to_array(7, first_start("a")) == to_array(7, ItemStarted("a"))


def test_events_of_a_record_have_their_seqs():
    """Event number i of a record has the record's seq and i."""
    events = [ItemStarted("a"), ItemStarted("b"), ItemSucceeded(10, 5)]
    arrays = tuple(to_array(seq, event) for seq, event in enumerate(events, 10))

    assert list(enumerate(events, 10)) == events_of(Record(10, 1, 0, arrays))


# --- What is refused ---------------------------------------------------------------------

# Nothing of these can stand where the other kinds do.
WRONG = {
    bool: [0, 1, "1", None],
    int: [-1, 1.0, True, "1", b"1", None, (1,)],
    str: [1, b"a", None, ("a",)],
    bytes: [1, "a", ()],
}


def wrong_values(kind, place):
    """Give what may not stand in the field number *place* of a *kind*."""
    name = kind._fields[place - 1]
    example = to_array(SEQ, FULL[kind])[place]
    if name == "argv":
        wrong = [1, "a", b"a", None, ("a", 1), ["a"]]
    elif name == "error":
        wrong = [1, "a", b"a", None, ("a", "b", -3), ("a", 2, "c"), ("a", "b", True), ("a", "b"), ["a", "b", "c"]]
    elif name == "effects":
        wrong = [1, "a", b"a", (1,), (("a", 1, True, None),), (("a", 1, 1, None, None),), (("a", -1, True, None, ""),)]
    else:
        wrong = next(values for wanted, values in WRONG.items() if isinstance(example, wanted))
    optional = "None" in str(kind.__annotations__[name])
    return [value for value in wrong if value is not None or not optional]


@pytest.mark.parametrize("kind", TYPES, ids=name_of)
def test_field_of_a_wrong_type_is_corrupt(kind):
    """Each field of each type is checked: no value of another kind passes for it."""
    array = to_array(SEQ, FULL[kind])
    for place in range(1, len(array)):
        for wrong in wrong_values(kind, place):
            with pytest.raises(LogCorrupt, match=f"Event {SEQ} .*{kind.__name__}") as caught:
                from_array(SEQ, (*array[:place], wrong, *array[place + 1 :]))

            assert SEQ == caught.value.seq


@pytest.mark.parametrize("kind", TYPES, ids=name_of)
def test_array_that_is_too_short_is_corrupt(kind):
    """An array holds the fields that its type must have; the optional ones may be left out from the end."""
    array = to_array(SEQ, FULL[kind])
    for length in range(1, 1 + REQUIRED[kind]):
        with pytest.raises(LogCorrupt, match="fields"):
            from_array(SEQ, array[:length])
    for length in range(1 + REQUIRED[kind], len(array) + 1):
        assert kind is type(from_array(SEQ, array[:length]))


@pytest.mark.parametrize("kind", TYPES, ids=name_of)
@pytest.mark.parametrize("more", [(None,), (0, b"x"), (1, 2, 3)], ids=str)
def test_array_with_more_fields_is_too_new(kind, more):
    """A newer version adds fields at the end; its log is not damaged, and no backup is advised."""
    with pytest.raises(LogTooNew, match=f"Event {SEQ} .*{kind.__name__}") as caught:
        from_array(SEQ, (*to_array(SEQ, FULL[kind]), *more))

    assert "not damaged" in str(caught.value)
    assert "backup" not in str(caught.value)


@pytest.mark.parametrize(
    "array",
    [
        (6, 2, 1, ("builtins.OSError", "no route", "", "more")),
        (4, "user-1", 1, 0, None, 0, 0, (("charge", 990, True, None, None, 1),)),
    ],
    ids=["error", "effect"],
)
def test_field_with_more_fields_is_too_new(array):
    """An error or an effect may grow at its end too."""
    with pytest.raises(LogTooNew, match="fields"):
        from_array(SEQ, array)


@pytest.mark.parametrize(("place", "wrong"), [(4, 6), (4, -1), (3, 17)])
def test_number_that_names_nothing_is_corrupt(place, wrong):
    """A status or a verdict that there is not is no status or verdict."""
    event = {4: ItemStarted("a", 2, 0, None), 3: ItemStarted("a", 2, 3)}[place]
    array = to_array(SEQ, event)
    if place == 4:
        with pytest.raises(LogCorrupt, match="status"):
            from_array(SEQ, (*array[:3], 0, wrong))
    else:
        with pytest.raises(LogCorrupt, match="verdict"):
            from_array(SEQ, (9, 2, wrong, "", ""))


@pytest.mark.parametrize("number", [0, 28, 29, 127, 255, -1])
def test_unknown_type_is_too_new(number):
    """An event of a newer version is refused, never skipped."""
    with pytest.raises(LogTooNew, match=f"type {number}"):
        from_array(SEQ, (number, 1))


@pytest.mark.parametrize("thing", [None, 4, "a", [], [4, "a"], (), ("4", "a"), (4.0, "a"), (True, 1), (None,), {}])
def test_thing_that_is_no_event_is_corrupt(thing):
    """An array begins with its type number, or it is none."""
    with pytest.raises(LogCorrupt, match="not an event"):
        from_array(SEQ, thing)


@pytest.mark.parametrize("back", [-1, SEQ + 1])
def test_start_in_the_future_or_before_the_log_is_corrupt(back):
    """An outcome names a start that was before it."""
    with pytest.raises(LogCorrupt, match="ItemSucceeded"):
        from_array(SEQ, (5, back, 30))


def test_message_says_what_to_do():
    """The reader is an engineer at 3 a.m.: each refusal ends with advice, and does not print megabytes."""
    with pytest.raises(LogCorrupt) as caught:
        from_array(SEQ, (*to_array(SEQ, SessionClosed(1))[:1], "x" * 1_000_000))

    assert "restore-a-backup.md" in str(caught.value)
    assert len(str(caught.value)) < 400
