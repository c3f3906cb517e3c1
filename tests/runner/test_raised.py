"""An exception at any point of a run: the log goes on from there, in the same process."""

from functools import partial

import pytest

from tests.runner.driving import DRIVERS, Effects, named, serial, statuses, threads
from wal_runner import Runner, Status, failpoints
from wal_runner.errors import CommitUnknown, LogError, StorageFailed
from wal_runner.failpoints import FailpointReached, arm, disarm


IDS = [f"item-{number}" for number in range(60)]
IN_A_COMMIT = ["commit.before_begin", "commit.before_commit", "commit.after_commit", "commit.after_head"]


def fail(error):
    """Raise *error* at a failpoint."""
    raise error


@pytest.mark.parametrize("failpoint", [*IN_A_COMMIT, "run.before_effect"])
@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_exception_in_a_commit_loses_nothing(runner, drive, failpoint):
    """It ends the run; what had ended is recorded, what had not begun runs next time."""
    effects = Effects()
    arm(failpoint, failpoints._raise, hit=7)
    with pytest.raises(FailpointReached):
        drive(runner, IDS, effects, max_in_doubt=4)
    doubts = {doubt.item_id for doubt in runner.in_doubt()}
    serial(runner, IDS, effects)

    # Where fn was about to begin, nobody knows.
    assert int(failpoint == "run.before_effect") == len(doubts)
    assert {name: Status.IN_DOUBT if name in doubts else Status.SUCCEEDED for name in sorted(IDS)} == statuses(runner)
    assert sorted(set(IDS) - doubts) == sorted(effects)


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_exception_behind_an_effect_leaves_it_in_doubt(runner, drive):
    """It has happened, and nobody heard how it ended."""
    effects = Effects()
    arm("run.after_effect", failpoints._raise, hit=7)
    with pytest.raises(FailpointReached):
        drive(runner, IDS, effects)
    (doubt,) = runner.in_doubt()
    serial(runner, IDS, effects)

    assert sorted(IDS) == sorted(effects)
    assert doubt.item_id in effects


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
@pytest.mark.parametrize("failpoint", IN_A_COMMIT)
def test_commit_of_which_nobody_heard_is_looked_up(runner, drive, failpoint):
    """Written or not, the run finds out and goes on: nothing twice, nothing lost, nothing in doubt."""
    effects = Effects()
    arm(failpoint, partial(fail, CommitUnknown("a test")), hit=5)
    report = drive(runner, IDS, effects, max_in_doubt=4)

    assert sorted(IDS) == sorted(effects)
    assert (60, 60) == (report.seen, report.succeeded)
    assert dict.fromkeys(sorted(IDS), Status.SUCCEEDED) == statuses(runner)


def test_commits_that_nobody_hears_of_end_the_run(runner):
    """After some tries the error is raised, and the log is sound."""

    def again():
        arm("commit.before_commit", again)
        raise CommitUnknown("a test")

    effects = Effects()
    arm("commit.before_commit", again, hit=6)
    with pytest.raises(CommitUnknown):
        serial(runner, IDS, effects, max_in_doubt=4)
    disarm()
    serial(runner, IDS, effects)

    assert sorted(IDS) == sorted(effects)


def test_exception_before_a_yield_releases_what_had_not_begun(runner):
    """The outcome was durable already, and comes again as a replayed one."""
    effects = Effects()
    arm("run.before_yield", failpoints._raise, hit=7)
    with pytest.raises(FailpointReached):
        list(runner.run_iter(IDS, effects))
    outcomes = list(runner.run_iter(IDS, effects))

    assert sorted(IDS) == sorted(effects)
    assert IDS == [outcome.item_id for outcome in outcomes]
    assert 0 == runner.counts()[Status.IN_DOUBT]


@pytest.mark.parametrize("failpoint", ["close.before_commit", "close.after_commit", *IN_A_COMMIT])
def test_exception_while_closing_leaves_a_log_that_opens(path, failpoint):
    """The session counts as lost, or was closed; nothing else is amiss."""
    runner = Runner(path)
    serial(runner, IDS, Effects())
    arm(failpoint, failpoints._raise)
    with pytest.raises(FailpointReached):
        runner.close()
    disarm()
    with Runner(path) as again:
        assert 60 == again.counts()[Status.SUCCEEDED]


def test_outcomes_that_could_not_be_written_are_found_by_the_next_session(path):
    """When even the end of the run cannot be written, the slots keep what fn gave."""

    def again():
        arm("commit.before_commit", again)
        raise StorageFailed("a test")

    effects = Effects()
    runner = Runner(path)

    def fn(item):
        if item == IDS[20]:
            arm("commit.before_commit", again)
        return effects(item)

    with pytest.raises(StorageFailed):
        threads(runner, IDS, fn)
    with pytest.raises(LogError):
        runner.close()
    disarm()
    with Runner(path) as runner:
        found = {item.item_id: (item.status, item.result) for item in runner.items()}
        serial(runner, IDS, effects)

    assert sorted(IDS) == sorted(effects)
    assert {(Status.SUCCEEDED, name) for name in effects[:10]} == {
        (found[name][0], found[name][1]["did"]) for name in effects[:10]
    }
    assert Status.IN_DOUBT not in {status for status, _ in found.values()}
