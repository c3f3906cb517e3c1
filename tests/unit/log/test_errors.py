"""Errors: every class says when it happens, and the few that carry something carry it everywhere."""

import inspect
import pickle

import pytest

from wal_runner import errors
from wal_runner.errors import (
    CursorInvalid,
    Interrupted,
    ItemIdInvalid,
    ItemUnknown,
    LogClosed,
    LogCorrupt,
    LogError,
    LogForked,
    OutcomeUnknown,
    WalRunnerError,
    listed,
)


CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass)]


def complaint_about(docstring):
    """Say what is wrong with an error's docstring, or None where it tells when the error happens."""
    first, *_ = (docstring or "").strip().split("\n")
    if not first:
        return "has none"
    if not first.endswith("."):
        return "does not begin with a sentence"
    if len(first.split()) < 5:
        return "is too short to tell when"
    if first.split()[0] in {"Error", "Exception", "Raised", "Base", "Indicates", "Represents"}:
        return "tells what it is instead of when it happens"
    return None


# --- Docstrings -------------------------------------------------------------------------------


@pytest.mark.parametrize("each", CLASSES)
def test_docstring_tells_when(each):
    """An engineer at three in the morning looks the class up: its own first sentence says what is the case."""
    assert None is complaint_about(vars(each).get("__doc__"))


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (None, "has none"),
        ("", "has none"),
        ("The disk is full", "does not begin with a sentence"),
        ("Disk full.", "is too short to tell when"),
        ("Raised when the disk has no room left.", "tells what it is instead of when it happens"),
        ("The disk has no room left.", None),
        ("The disk has no room left.\n\nMore.", None),
    ],
)
def test_docstring_that_tells_nothing_is_caught(docstring, expected):
    """The control of the test before."""
    assert expected == complaint_about(docstring)


def test_no_two_docstrings_are_the_same():
    """Two classes with one meaning would be one class."""
    assert len(CLASSES) == len({each.__doc__ for each in CLASSES})


def test_the_walk_sees_the_classes():
    """The control of every test here that goes over all of them."""
    assert len(CLASSES) > 25
    assert {WalRunnerError, Interrupted, LogForked, OutcomeUnknown} <= set(CLASSES)


# --- The tree -----------------------------------------------------------------------------------


@pytest.mark.parametrize("each", sorted(set(CLASSES) - {Interrupted}, key=lambda each: each.__name__))
def test_every_error_is_caught_as_ours(each):
    """`except WalRunnerError` catches what wal_runner raises on purpose, and `except Exception` does too."""
    assert issubclass(each, WalRunnerError)
    assert issubclass(each, Exception)


def test_interrupted_is_not_caught_by_accident():
    """A run that was asked to stop must stop a caller who catches every Exception."""
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert not issubclass(Interrupted, Exception)


@pytest.mark.parametrize("each", [each for each in CLASSES if each.__name__.startswith("Log")])
def test_errors_of_the_log_are_log_errors(each):
    """A name that begins with Log is about the log as a whole."""
    assert issubclass(each, LogError)


@pytest.mark.parametrize(
    ("each", "builtin"),
    [(ItemIdInvalid, ValueError), (CursorInvalid, ValueError), (ItemUnknown, KeyError), (LogForked, LogClosed)],
)
def test_error_is_what_a_python_user_would_catch(each, builtin):
    """A bad value is a ValueError, an item that is not there a KeyError."""
    assert issubclass(each, builtin)


# --- What they carry ------------------------------------------------------------------------------


@pytest.mark.parametrize("each", sorted(set(CLASSES) - {Interrupted}, key=lambda each: each.__name__))
def test_error_survives_the_way_from_a_worker_process(each):
    """A process pool pickles what fn raised; an error that cannot be unpickled breaks the pool."""
    again = pickle.loads(pickle.dumps(each("No disk. Buy one.")))  # noqa: S301 - our own bytes

    assert (each, "No disk. Buy one.") == (type(again), str(again))


def test_corruption_keeps_its_place_on_the_way():
    """The seq says where verification stopped to trust the log."""
    error = LogCorrupt("Event 7 is damaged. Run `walrun verify`.", seq=7)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert (7, None) == (again.seq, LogCorrupt("Something is damaged. Run `walrun verify`.").seq)


def test_unknown_item_is_shown_as_a_sentence():
    """KeyError shows the repr of its message; people read this one."""
    assert "There is no item 'a'. Look with `walrun status`." == str(
        ItemUnknown("There is no item 'a'. Look with `walrun status`.")
    )


def test_interrupted_carries_the_report():
    """Who catches it can say what was done."""
    report = object()
    error = Interrupted("Stopped by SIGTERM. Run the same again.", report=report, signal_number=15)

    assert (report, 15) == (error.report, error.signal_number)
    assert None is Interrupted("Stopped. Run the same again.", report=report).signal_number


# --- listed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b", "c", "d", "e"], "a, b, c, d, e"),
        (["a", "b", "c", "d", "e", "f"], "a, b, c, d, e and 1 more"),
        ([str(number) for number in range(1, 10_001)], "1, 2, 3, 4, 5 and 9995 more"),
        (("a", "b"), "a, b"),
    ],
)
def test_long_lists_are_cut(names, expected):
    """A message names a few and counts the rest."""
    assert expected == listed(names)


def test_limit_can_be_given():
    """Where five are too many or too few, the caller says so."""
    assert "a and 2 more" == listed(["a", "b", "c"], limit=1)
    assert "a, b, c" == listed(["a", "b", "c"], limit=3)
