"""What becomes of an item: what fn returned or raised, as the log keeps it."""

import math

import pytest

from tests.runner.driving import DRIVERS, Effects, named, numbers, serial, statuses
from wal_runner import OutcomeUnknown, Runner, Status, lost_reply
from wal_runner.errors import CoroutineReturned
from wal_runner.log.format import ERROR_MESSAGE_CHARS_MAX, RESULT_BYTES_MAX, TRACEBACK_CHARS_MAX


def raising(error):
    """Give an fn that raises *error*."""

    def fn(_item):
        raise error

    return fn


def only_item(runner):
    """Give the one item of the log."""
    (item,) = runner.items()
    return item


# --- Results ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "kept"),
    [
        (None, None),
        (0, 0),
        (-1.5, -1.5),
        ("ümlaut \N{SNOWMAN}", "ümlaut \N{SNOWMAN}"),
        (b"\x00\xff", b"\x00\xff"),
        ((1, (2, 3)), (1, (2, 3))),
        ({"a": {1: None}}, {"a": {1: None}}),
        ([], []),
        ("x" * 100_000, "x" * 100_000),
        (2**64 - 1, 2**64 - 1),
    ],
    ids=named,
)
def test_result_is_the_same_on_the_first_run_and_ever_after(path, returned, kept):
    """It is decoded from what was encoded, also on the first run, so a rerun sees no difference."""
    with Runner(path) as runner:
        (first,) = runner.run_iter(["a"], lambda _: returned)
    with Runner(path) as runner:
        (later,) = runner.run_iter(["a"], lambda _: 1 / 0)
        looked_up = list(runner.results())

    assert (kept, type(kept)) == (first.result, type(first.result))
    assert (kept, type(kept)) == (later.result, type(later.result))
    assert [("a", kept)] == looked_up
    assert (False, True) == (first.replayed, later.replayed)
    assert [first.omitted, later.omitted] == [None, None]


class Hostile:
    """An object whose attributes cannot even be asked for."""

    def __getattr__(self, name):
        raise RuntimeError(f"no {name}, and no AttributeError either")


RECURSIVE: list = []
RECURSIVE.append(RECURSIVE)


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (object(), "object cannot be stored"),
        (2**10_000, "int cannot be stored"),
        ({object()}, "set cannot be stored"),
        ("\ud800", "str cannot be stored"),
        ([object()], "list cannot be stored"),
        (RECURSIVE, "list cannot be stored"),
        (Hostile(), "Hostile cannot be stored"),
        (b"x" * (RESULT_BYTES_MAX + 1), "over the limit"),
    ],
    ids=named,
)
def test_result_that_cannot_be_stored_is_omitted(path, returned, why):
    """The effect has happened, so the item has succeeded; the log says why it has no result."""
    with Runner(path) as runner:
        (outcome,) = runner.run_iter(["a"], lambda _: returned)
        report = runner.run(["a"], lambda _: 1 / 0)
        item, results = only_item(runner), list(runner.results())

    assert (Status.SUCCEEDED, None) == (outcome.status, outcome.result)
    assert why in outcome.omitted
    assert outcome.omitted == item.omitted
    assert [] == results
    assert {"seen": 1, "skipped": 1} == numbers(report)


def test_omitted_results_are_counted(runner):
    """The report says how many there were in this run."""
    report = serial(runner, ["a", "b", "c"], lambda item: object() if item != "b" else 1)

    assert (3, 2) == (report.succeeded, report.results_omitted)


def test_largest_result_is_kept(runner):
    """The limit itself is not over the limit."""
    largest = b"x" * (RESULT_BYTES_MAX - 5)
    serial(runner, ["a"], lambda _: largest)

    assert [("a", largest)] == list(runner.results())


def test_not_a_number_is_kept(runner):
    """A float that equals nothing is stored as any other."""
    serial(runner, ["a"], lambda _: math.nan)
    ((_, result),) = runner.results()

    assert math.isnan(result)


# --- Errors -------------------------------------------------------------------------------


class Mute(Exception):
    """An exception that cannot say what it is."""

    def __str__(self):
        raise RuntimeError("no words")


def test_error_whose_text_raises_is_kept(runner):
    """Its type is known all the same."""
    report = serial(runner, ["a"], raising(Mute()))
    error = only_item(runner).error

    assert {"seen": 1, "failed": 1} == numbers(report)
    assert error.type.endswith("Mute")
    assert "cannot be had: RuntimeError" in error.message


def test_huge_error_is_cut(runner):
    """Message and traceback have limits, and the cut is marked."""
    serial(runner, ["a"], raising(ValueError("x" * 10_000_000)))
    error = only_item(runner).error

    assert error.message.startswith("xxx")
    assert "9,998,000 characters cut" in error.message
    assert len(error.message) < ERROR_MESSAGE_CHARS_MAX + 50
    assert len(error.traceback) < TRACEBACK_CHARS_MAX + 50


@pytest.mark.parametrize("text", ["\ud800 lone", "nul \0", b"bytes \xff", "\udc80" * 3000])
def test_error_that_is_no_text_is_kept(path, text):
    """What UTF-8 cannot hold is written visibly."""
    with Runner(path) as runner:
        report = serial(runner, ["a"], raising(ValueError(text)))
        message = only_item(runner).error.message
    with Runner(path) as runner:
        again = only_item(runner).error.message

    assert {"seen": 1, "failed": 1} == numbers(report)
    assert message == again
    assert message.encode()


def test_error_keeps_the_traceback_and_the_cause(runner):
    """The last lines of the traceback are what one looks for, so they are what is kept."""

    def fn(_item):
        try:
            {}["inner"]
        except KeyError as error:
            raise ValueError("outer") from error

    serial(runner, ["a"], fn)
    text = only_item(runner).error.traceback

    assert "KeyError: 'inner'" in text
    assert text.rstrip().endswith("ValueError: outer")


def test_recursion_error_is_a_failure(runner):
    """A stack that overflows in fn does not take the runner along."""

    def fn(item):
        return fn(item)

    report = serial(runner, ["a", "b"], lambda item: fn(item) if item == "a" else None)

    assert {"seen": 2, "succeeded": 1, "failed": 1} == numbers(report)


# --- Doubt --------------------------------------------------------------------------------


class Unclear(Exception):
    """What a client library of the user's raises."""


@pytest.mark.parametrize(
    ("error", "setting", "status"),
    [
        (TimeoutError(), lost_reply, Status.IN_DOUBT),
        (ConnectionRefusedError(), lost_reply, Status.FAILED),
        (ValueError(), lost_reply, Status.FAILED),
        (OutcomeUnknown("sent, no answer"), lost_reply, Status.IN_DOUBT),
        (Unclear(), lost_reply, Status.FAILED),
        (Unclear(), Unclear, Status.IN_DOUBT),
        (Unclear(), (KeyError, Unclear), Status.IN_DOUBT),
        (TimeoutError(), (KeyError, Unclear), Status.FAILED),
        (TimeoutError(), (), Status.FAILED),
        (Unclear(), lambda error: isinstance(error, Unclear), Status.IN_DOUBT),
        (TimeoutError(), lambda _error: False, Status.FAILED),
    ],
    ids=named,
)
def test_outcome_unknown_says_which_errors_leave_doubt(runner, error, setting, status):
    """The default knows lost replies; a type, types or a function may be given instead."""
    serial(runner, ["a"], raising(error), outcome_unknown=setting)

    assert {"a": status} == statuses(runner)


def test_raised_outcome_unknown_is_believed_whatever_the_setting(runner):
    """Nobody knows better than fn that nobody knows."""
    serial(runner, ["a"], raising(OutcomeUnknown("sent")), outcome_unknown=())

    assert {"a": Status.IN_DOUBT} == statuses(runner)


def test_doubt_says_why(runner):
    """The error that left it is the reason, for whoever settles it."""
    serial(runner, ["a"], raising(TimeoutError("no answer in 30 s")))
    (doubt,) = runner.in_doubt()

    assert "TimeoutError: no answer in 30 s" == doubt.reason
    assert ("a", 1, 0) == (doubt.item_id, doubt.attempt, doubt.generation)


def test_broken_outcome_unknown_leaves_doubt_and_stops(runner):
    """Where the judge fails nobody knows; its error is raised once what ran is recorded."""
    effects = Effects({"a"})

    def judge(_error):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        serial(runner, ["a", "b"], effects, outcome_unknown=judge)

    assert ["a"] == effects
    assert Status.IN_DOUBT is runner.status("a")
    assert Status.PENDING is runner.status("b")


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_idempotent_run_redoes_doubts_on_record(runner, drive):
    """A redo is harmless there: the doubt is settled by policy, and the log says by which."""
    drive(runner, ["a", "b"], Effects({"a"}, TimeoutError))
    effects = Effects()
    report = drive(runner, ["a", "b"], effects, idempotent=True)
    said = [(entry.event.by, entry.event.note) for entry in runner.history("a") if hasattr(entry.event, "by")]

    assert ["a"] == effects
    assert {"seen": 2, "succeeded": 1, "skipped": 1} == numbers(report)
    assert [("policy: idempotent", "a redo is harmless, so the doubt is settled by running it again")] == said


def test_lost_reply_of_an_idempotent_item_is_a_failure(runner):
    """It may be tried again, so it need not be held."""
    report = serial(runner, ["a"], Effects({"a"}, TimeoutError), idempotent=True)

    assert {"seen": 1, "failed": 1} == numbers(report)


# --- Awaitables ------------------------------------------------------------------------------


async def _nothing():
    pass


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_returned_coroutine_is_a_failure_and_stops_the_run(runner, drive):
    """Nobody awaits it, so nothing was done; and each item would show the same mistake."""
    with pytest.raises(CoroutineReturned, match="Use run_async"):
        drive(runner, [str(n) for n in range(50)], lambda _: _nothing())
    counts = runner.counts()

    assert 1 <= counts[Status.FAILED] <= 8
    assert 0 == counts[Status.SUCCEEDED] + counts[Status.IN_DOUBT] + counts[Status.STARTED]
