"""`run_iter`: each outcome once it is durable, the replayed ones too."""

import threading

import pytest

from tests.runner.driving import Effects, numbers, statuses, wait_until
from wal_runner import Runner, Status, Verdict


IDS = [f"item-{number}" for number in range(10)]


def test_outcome_is_durable_when_it_is_yielded(runner):
    """Another handle on the log sees what was yielded."""
    for outcome in runner.run_iter(IDS, Effects()):
        with Runner.open_read(runner.path) as view:
            seen = view.item(outcome.item_id)

        assert (Status.SUCCEEDED, outcome.result) == (seen.status, seen.result)


def test_each_item_is_yielded_once_with_what_the_log_says(runner):
    """New, failed, in doubt, done before, held before: each has its outcome."""
    runner.run(["done"], Effects())
    runner.run(["held"], Effects({"held"}, TimeoutError))

    def fn(item):
        if item == "broken":
            raise ValueError("broken")
        if item == "lost":
            raise TimeoutError("lost")
        return item

    outcomes = list(runner.run_iter(["done", "new", "broken", "held", "lost", "new"], fn))

    assert {
        "done": (Status.SUCCEEDED, {"did": "done"}, True),
        "new": (Status.SUCCEEDED, "new", False),
        "broken": (Status.FAILED, None, False),
        "held": (Status.IN_DOUBT, None, True),
        "lost": (Status.IN_DOUBT, None, False),
    } == {outcome.item_id: (outcome.status, outcome.result, outcome.replayed) for outcome in outcomes}
    assert 5 == len(outcomes)
    assert {"broken": "broken", "lost": "lost"} == {
        outcome.item_id: outcome.error.message for outcome in outcomes if outcome.error and not outcome.replayed
    }


def test_outcome_carries_the_item_itself(runner):
    """Not only its id: the object that the source gave."""
    users = [{"id": number, "name": "x"} for number in range(3)]
    outcomes = list(runner.run_iter(users, lambda user: user["id"], key="id"))

    assert [(user, str(user["id"]), user["id"]) for user in users] == [
        (outcome.item, outcome.item_id, outcome.result) for outcome in outcomes
    ]


@pytest.mark.parametrize("workers", [1, 4])
def test_ordered_outcomes_come_in_the_order_of_the_source(runner, workers):
    """Replayed, failed and duplicate ones stand where the source has them."""
    runner.run(IDS[3:6], Effects())
    source = [*IDS, "item-2", *[f"late-{number}" for number in range(200)]]
    outcomes = list(runner.run_iter(source, Effects({"item-7"}), ordered=True, workers=workers))

    assert list(dict.fromkeys(source)) == [outcome.item_id for outcome in outcomes]


def test_slow_first_item_holds_back_the_ordered_ones_only(runner):
    """Unordered outcomes come as they end; ordered ones wait for their turn."""
    go_on = threading.Event()

    def fn(item):
        if item == IDS[0]:
            assert go_on.wait(30)

    outcomes = runner.run_iter(IDS, fn, workers=4)
    early = [next(outcomes).item_id for _ in range(9)]
    go_on.set()
    last = [outcome.item_id for outcome in outcomes]

    assert sorted(IDS[1:]) == sorted(early)
    assert IDS[:1] == last


@pytest.mark.parametrize("workers", [1, 4])
def test_closing_early_releases_what_had_not_begun(runner, workers):
    """Nothing is started, nothing in doubt, and the next run goes on."""
    effects = Effects()
    outcomes = runner.run_iter([str(number) for number in range(1000)], effects, workers=workers)
    for _ in range(100):
        next(outcomes)
    outcomes.close()
    begun = len(effects)
    counts = runner.counts()

    assert 1000 > begun
    assert begun == counts[Status.SUCCEEDED]
    assert 0 == counts[Status.STARTED] + counts[Status.IN_DOUBT]
    assert {"seen": 1000, "succeeded": 1000 - begun, "skipped": begun} == numbers(
        runner.run([str(number) for number in range(1000)], effects)
    )


def test_break_ends_the_run(runner):
    """A loop that is left frees the Runner for the next one."""
    for _ in runner.run_iter(IDS, Effects()):
        break
    report = runner.run(IDS, Effects())

    assert 10 == report.seen == report.succeeded + report.skipped


def test_outcomes_become_durable_though_nobody_asks_for_more(runner):
    """A consumer that stops asking holds back no outcome."""
    outcomes = runner.run_iter(IDS, Effects(), workers=4, max_in_doubt=8)
    next(outcomes)
    wait_until(lambda: 4 <= runner.counts()[Status.SUCCEEDED])
    outcomes.close()

    assert 0 == runner.counts()[Status.IN_DOUBT]


def test_nothing_runs_before_it_is_asked_for(runner):
    """An iterator that is never used does nothing, and blocks nobody."""
    effects = Effects()
    unused = runner.run_iter(IDS, effects)
    report = runner.run(["a"], effects)

    assert ["a"] == effects
    assert {"seen": 1, "succeeded": 1} == numbers(report)
    unused.close()


def test_doubt_that_is_settled_at_the_end_is_yielded_anew(runner):
    """The reconciler's answer is an outcome too."""

    def look(doubts):
        return {doubt.item_id: Verdict.happened("seen there") for doubt in doubts}

    outcomes = list(runner.run_iter(["a"], Effects({"a"}, TimeoutError), reconcile=look))

    assert [(Status.IN_DOUBT, None), (Status.SUCCEEDED, "seen there")] == [
        (outcome.status, outcome.result) for outcome in outcomes
    ]
    assert {"a": Status.SUCCEEDED} == statuses(runner)
