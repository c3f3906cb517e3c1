"""What a run keeps of results: the same on the first run and ever after, and what an omission does."""

from __future__ import annotations

import logging

import pytest

from tests.runner.driving import DRIVERS, claim, numbers, pages, serial, threads
from tests.support.result_types import CLASSES, NAMED, PLAIN, SAME, Colour, Point
from wal_runner import RunIncomplete, Runner, Status, StoredValue, Verdict
from wal_runner.core.events import ItemSucceeded
from wal_runner.log.format import RESULT_BYTES_MAX
from wal_runner.recovery.replay import item_at


RETURNED = {
    **SAME,
    **{name: value for name, (value, _) in PLAIN.items()},
    **{name: value for name, (value, _, _) in NAMED.items()},
}
LARGE = b"x" * (3 * RESULT_BYTES_MAX // 2)


@pytest.fixture
def path(tmp_path):
    """Return where the log is."""
    return tmp_path / "log.wal"


# --- The same, first and later -----------------------------------------------------------


@pytest.mark.parametrize("result_types", [[], CLASSES], ids=["as stored", "as classes"])
def test_first_run_and_replay_yield_the_same(path, result_types):
    """What run_iter yields is decoded from what was stored, so code that works on the first run works on the next."""
    with Runner(path, result_types=result_types) as runner:
        first = {one.item: one.result for one in runner.run_iter(RETURNED, RETURNED.get, signals=False)}
        looked_up = dict(runner.results())
    with Runner(path, result_types=result_types) as runner:
        later = {one.item: one.result for one in runner.run_iter(RETURNED, RETURNED.get, signals=False)}
    with Runner.open_read(path, result_types) as view:
        seen = {item.item_id: item.result for item in view.items()}

    assert first == looked_up == later == seen
    assert {name: type(value) for name, value in first.items()} == {name: type(value) for name, value in later.items()}


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver_keeps_tags(path, driver):
    """Each way to run stores the same, and the handle's classes rebuild it."""
    with Runner(path, result_types=[Point]) as runner:
        driver(runner, ["a"], lambda _: (Point(1), Colour.RED), signals=False)
        [(_, result)] = runner.results()

    assert (Point(1), StoredValue(f"{Colour.__module__}.Colour", {"name": "RED", "value": "r"})) == result


def test_verdict_may_have_any_result(path):
    """A result that a person gives is stored as one that fn returned."""
    with Runner(path, result_types=[Point]) as runner:
        runner.run(["a"], raising, outcome_unknown=(ValueError,), signals=False)
        runner.resolve("a", Verdict.happened({Colour.RED: Point(1)}))
        [(_, result)] = runner.results()

    assert [Point(1)] == list(result.values())


def raising(_item):
    """Lose the reply."""
    raise ValueError


def test_item_in_the_past_has_the_classes_of_its_view(path):
    """Looking at a point of the history decodes as looking at the end does."""
    with Runner(path) as runner:
        runner.run(["a"], lambda _: Point(1, 2))
        runner.retry(["a"], succeeded=True)
    with Runner.open_read(path, [Point]) as view:
        [ended] = [entry.seq for entry in view.history("a") if isinstance(entry.event, ItemSucceeded)]

        assert Point(1, 2) == item_at(view, "a", ended).result


@pytest.mark.parametrize("given", [None, 7, Point])
def test_result_types_that_are_no_sequence_are_refused(path, given):
    """The message says what to write."""
    with pytest.raises(TypeError, match=r"is not a sequence of classes. Write \[YourClass\]"):
        Runner(path, result_types=given)


def test_result_types_are_checked_before_the_log_is_made(path):
    """A mistake in the arguments leaves nothing behind."""
    with pytest.raises(TypeError, match="result_types"):
        Runner(path, result_types=[dict])

    assert not path.exists()


# --- Omissions ---------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_result_of_64_mib_is_an_omission(path, driver):
    """The effect has happened: the item succeeds, in every driver, and nothing is raised."""
    with Runner(path) as runner:
        report = driver(runner, ["a", "b"], lambda item: (b"x" * (64 << 20),) if item == "a" else 1, signals=False)
        results = dict(runner.results())

    assert {"seen": 2, "succeeded": 2} == numbers(report)
    assert {"b": 1} == results
    assert (1, "a") == (report.results_omitted, report.first_omitted[0])
    assert "over the limit" in report.first_omitted[1]
    assert report.ok


@pytest.mark.parametrize("driver", [serial, threads, claim, pages])
def test_larger_results_are_kept_if_asked_for(path, driver):
    """Above 1 MiB by result_bytes_max=; every reader takes them, whatever its own option."""
    with Runner(path) as runner:
        report = driver(runner, ["a"], lambda _: LARGE, result_bytes_max=2 * RESULT_BYTES_MAX, signals=False)
    with Runner(path) as runner:
        results = dict(runner.results())
        assert 1 == runner.run(["a"], lambda _: None, signals=False).skipped

    assert ({"a": LARGE}, 0) == (results, report.results_omitted)


def test_results_of_32_mib_are_kept_several_at_a_time(path):
    """Their outcomes ride in one commit; the slots keep them before it."""
    size = (32 << 20) - 5
    with Runner(path) as runner:
        report = runner.run(range(4), lambda n: bytes([n]) * size, workers=4, result_bytes_max=32 << 20, signals=False)
    with Runner(path) as runner:
        results = {name: (result[0], len(result)) for name, result in runner.results()}

    assert ({"0": (0, size), "1": (1, size), "2": (2, size), "3": (3, size)}, 4) == (results, report.succeeded)


def test_class_with_a_very_long_name_is_an_omission(path):
    """The reason of an omission stands in the event; it once grew beyond what an event may be."""
    named = type("N" * (65 << 20), (), {})
    with Runner(path) as runner:
        report = runner.run(["a"], lambda _: named(), signals=False)

    assert (1, 1) == (report.succeeded, report.results_omitted)


def test_omissions_are_warned_of_once(path, caplog):
    """One line for a run, with how many and the first reason."""
    with Runner(path) as runner, caplog.at_level(logging.WARNING, "wal_runner"):
        report = runner.run(["a", "b", "c"], lambda _: object(), signals=False)
    [warning] = [record.getMessage() for record in caplog.records]

    assert "could not keep the results of 3 items" in warning
    assert "The first, a: an object cannot be stored" in warning
    assert {"item_id": "a", "reason": report.first_omitted[1]} == report.as_dict()["first_omitted"]


def test_run_that_keeps_all_warns_of_nothing(path, caplog):
    """No omission, no warning."""
    with Runner(path) as runner, caplog.at_level(logging.WARNING, "wal_runner"):
        report = runner.run(["a"], lambda _: (1,), signals=False)

    assert ([], None, None) == (caplog.records, report.first_omitted, report.ended_because)


# --- Required ----------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_required_result_that_cannot_be_kept_ends_the_run(path, driver):
    """What runs is finished and committed, nothing more is started, and the report says so."""
    items = [f"{n:03}" for n in range(300)]
    options = {"results": "required", "max_in_doubt": 8, "signals": False}
    with Runner(path) as runner:
        report = driver(runner, items, lambda item: object() if item == "020" else 1, **options)
        counts = runner.counts()
        again = driver(runner, items, lambda _: 1, **options)
        done = runner.counts()[Status.SUCCEEDED]

    assert ("result_required", 6, False) == (report.ended_because, report.exit_code, report.ok)
    assert "020" == report.first_omitted[0]
    assert 21 <= report.succeeded < 100
    assert report.succeeded == counts[Status.SUCCEEDED]
    assert 0 == counts[Status.STARTED] + counts[Status.IN_DOUBT] + counts[Status.FAILED]
    assert (300, 0) == (done, again.results_omitted)
    assert again.ok
    with pytest.raises(RunIncomplete, match="'020' could not be kept"):
        report.check()


def test_run_iter_yields_what_ran_before_it_ends(path):
    """The item without a result is yielded too, and nothing is raised."""
    with Runner(path) as runner:
        options = {"results": "required", "max_in_doubt": 1, "signals": False}
        outcomes = list(runner.run_iter(["a", "b", "c"], lambda item: object() if item == "b" else 1, **options))

    assert ["a", "b"] == [outcome.item for outcome in outcomes]


def test_doubt_comes_before_an_early_end(path):
    """An item in doubt needs a person; that is the more urgent news."""
    with Runner(path) as runner:
        runner.run(["x"], raising, outcome_unknown=(ValueError,), signals=False)
        report = runner.run(["a"], lambda _: object(), results="required", signals=False)

    assert (4, "result_required") == (report.exit_code, report.ended_because)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"results": "maybe"}, ValueError),
        ({"result_bytes_max": 0}, ValueError),
        ({"result_bytes_max": (32 << 20) + 1}, ValueError),
        ({"result_bytes_max": "1 MB"}, TypeError),
    ],
    ids=["results", "none", "too many", "text"],
)
def test_options_are_checked_before_anything_starts(path, options, error):
    """A mistake is told at once."""
    with Runner(path) as runner, pytest.raises(error):
        runner.run(["a"], lambda _: 1, **options)
