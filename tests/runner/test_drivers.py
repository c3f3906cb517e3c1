"""Whatever drives a run, the same becomes of its items, and the report says so."""

import itertools

import pytest

from tests.runner.driving import DRIVERS, Effects, named, numbers, serial, statuses, threads
from wal_runner import RunIncomplete, Runner, Status, Verdict


IDS = [f"item-{number}" for number in range(10)]


@pytest.fixture(params=DRIVERS, ids=named)
def drive(request):
    """Give each driver in turn."""
    return request.param


def test_every_item_runs_once(runner, drive):
    """Each item of the source is run once, and has succeeded."""
    effects = Effects()
    report = drive(runner, IDS, effects)

    assert {"seen": 10, "succeeded": 10} == numbers(report)
    assert sorted(IDS) == sorted(effects)
    assert dict.fromkeys(sorted(IDS), Status.SUCCEEDED) == statuses(runner)
    assert report.ok


def test_rerun_does_nothing(path, drive):
    """What has succeeded is skipped, by the same process and by the next."""
    effects = Effects()
    with Runner(path) as runner:
        drive(runner, IDS, effects)
        again = drive(runner, IDS, effects)
    with Runner(path) as runner:
        later = drive(runner, IDS, effects)

    assert 10 == len(effects)
    assert {"seen": 10, "skipped": 10} == numbers(again)
    assert {"seen": 10, "skipped": 10} == numbers(later)


def test_failed_item_is_tried_again_by_the_next_run_only(runner, drive):
    """An exception is a failure: one try a run, with the error kept."""
    effects = Effects(failing={"item-3"})
    first = drive(runner, IDS, effects)
    (failed,) = runner.items(Status.FAILED)
    second = drive(runner, IDS, effects)
    effects.failing = ()
    third = drive(runner, IDS, effects)

    assert {"seen": 10, "succeeded": 9, "failed": 1} == numbers(first)
    assert ("item-3", "ValueError", "no item-3") == (failed.item_id, failed.error.type, failed.error.message)
    assert {"seen": 10, "failed": 1, "skipped": 9} == numbers(second)
    assert {"seen": 10, "succeeded": 1, "skipped": 9} == numbers(third)
    assert 3 == effects.count("item-3")
    assert 12 == len(effects)


def test_lost_reply_is_held_in_doubt(runner, drive):
    """A timeout says nothing about the effect, so the item is not run again."""
    effects = Effects(failing={"item-3"}, error=TimeoutError)
    first = drive(runner, IDS, effects)
    second = drive(runner, IDS, effects)

    assert {"seen": 10, "succeeded": 9, "in_doubt": 1} == numbers(first)
    assert {"seen": 10, "skipped": 9, "in_doubt": 1} == numbers(second)
    assert 1 == effects.count("item-3")
    assert Status.IN_DOUBT is runner.status("item-3")


def test_numbers_add_up_whatever_the_mixture(runner, drive):
    """*seen* is the sum of its parts, and counts each item that the source gave."""
    drive(runner, ["done", "broken", "late"], Effects({"broken", "late"}))
    drive(runner, ["unclear", "given up"], Effects({"unclear", "given up"}, error=TimeoutError))
    runner.resolve("given up", Verdict.abandon())
    items = ["done", "broken", "unclear", "given up", "late", "new", "new", "bad", "bad", "lost", "lost", "done"]
    effects = Effects({"bad", "lost"}, error=TimeoutError)
    report = drive(runner, items, effects)

    assert sorted(["broken", "late", "new", "bad", "lost"]) == sorted(effects)
    assert {
        "seen": len(items),
        "succeeded": 3,  # broken, late, new
        "skipped": 2,  # done, twice
        "in_doubt": 3,  # unclear, bad, lost
        "abandoned": 1,
        "duplicates": 3,  # new, bad, lost
    } == numbers(report)
    assert not report.ok


def test_report_counts_the_whole_log(runner):
    """*totals* are of the log, not of the run; `check` raises while something in it is open."""
    serial(runner, ["a", "b"], Effects({"b"}))
    report = serial(runner, ["c"], Effects())

    assert {"seen": 1, "succeeded": 1} == numbers(report)
    assert {"succeeded": 2, "failed": 1} == {word: count for word, count in report.totals.items() if count}
    assert 3 == report.exit_code
    with pytest.raises(RunIncomplete, match="1 failed"):
        report.check()


def test_report_of_a_run_that_did_all_is_ok(runner):
    """`check` returns, and the exit code is 0."""
    report = serial(runner, IDS, Effects())
    report.check()

    assert 0 == report.exit_code
    assert report.as_dict()["seen"] == 10
    assert report.elapsed > 0


def test_doubt_beats_failure_in_the_exit_code(runner):
    """4 where something is in doubt, else 3 where something failed."""
    failed = serial(runner, ["a"], Effects({"a"}))
    lost = serial(runner, ["b"], Effects({"b"}, TimeoutError))

    assert (3, 4) == (failed.exit_code, lost.exit_code)


def test_time_saved_is_what_the_skipped_had_taken(runner):
    """It is the mean time of what succeeded, for each item that was skipped."""
    serial(runner, IDS, Effects())
    report = serial(runner, IDS, Effects())
    took = runner.writer.state.elapsed_ns / 1e9

    assert took == pytest.approx(report.time_saved)


def test_empty_source_is_a_run_too(runner, drive):
    """Nothing is seen, and nothing is wrong."""
    report = drive(runner, [], Effects())

    assert {} == numbers(report)
    assert report.ok


def test_source_may_be_endless_for_run_iter(runner):
    """Items are pulled as they are needed."""
    outcomes = runner.run_iter(itertools.count(), Effects(), max_in_doubt=4)
    first = [next(outcomes).item for _ in range(20)]
    outcomes.close()

    assert list(range(20)) == first


@pytest.mark.parametrize("window", [1, 2, 7, None])
def test_bound_of_doubt_is_kept_and_told(runner, window):
    """Never more starts are without a durable outcome than *max_in_doubt*; the report says how many were."""
    most = 0

    def fn(_item):
        nonlocal most
        most = max(most, len(runner.writer.state.open))

    report = threads(runner, [str(n) for n in range(300)], fn, max_in_doubt=window)

    assert report.doubt_bound == most if window is None else 1 <= most <= report.doubt_bound <= window
    assert 300 == report.succeeded


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"workers": 100_000},
        {"workers": True},
        {"workers": "4"},
        {"max_in_doubt": 0},
        {"max_in_doubt": 1_000_000},
        {"on_duplicate": "ignore"},
        {"per_worker": 3},
        {"reconcile": {}},
        {"outcome_unknown": "always"},
        {"key": 7},
        {"key": ()},
    ],
    ids=named,
)
def test_option_that_makes_no_sense_is_refused_before_any_start(runner, options):
    """A wrong option is a TypeError or a ValueError, and nothing has run."""
    effects = Effects()
    with pytest.raises((TypeError, ValueError)):
        runner.run(["a"], effects, **options)

    assert [] == effects
    assert {} == statuses(runner)
