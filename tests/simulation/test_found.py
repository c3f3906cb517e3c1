"""What the simulator has found, each as it can be told: a commit of which nobody heard, and then something else."""

import pytest

from tools.simulation import people
from tools.simulation.patching import Sizes, simulated
from tools.simulation.process import Process
from tools.simulation.world import World
from wal_runner.log.memory_store import Fault
from wal_runner.recovery.verdicts import Verdict


ITEMS = ("a", "b")


@pytest.fixture
def world():
    made = World(ITEMS)
    with simulated(made, Sizes(tail_events=1_000, slots=4)):
        yield made


def running(world):
    """Give a process with a run begun."""
    process = Process(world)
    assert process.do(process.open)
    assert process.do(lambda: process.begin_run(ITEMS))
    return process


@pytest.mark.parametrize("fault", [Fault.WRITTEN, Fault.NOT_WRITTEN])
def test_start_in_a_commit_that_nobody_heard_of_is_released_by_a_death(world, fault):
    """The process dies before it asks the log; the slots were armed, and still are, so nothing is in doubt.

    They were taken back at once before, so a start that was written after all left its item in doubt.
    """
    process = running(world)
    world.armed, world.dies_at = [fault], world.moments + 5
    assert not process.do(lambda: process.advance(2))
    heir = Process(world)

    assert heir.do(heir.open)
    assert world.statuses() == ({"a": "pending", "b": "pending"} if fault is Fault.WRITTEN else {})


@pytest.mark.parametrize("fault", [Fault.WRITTEN, Fault.NOT_WRITTEN])
@pytest.mark.parametrize("failures", [1, 2])
def test_start_in_a_commit_that_nobody_heard_of_is_run_once(world, fault, failures):
    """The retry takes it over with its slot, or starts it; either way each slot is free at the end."""
    process = running(world)
    world.armed = [fault] * failures
    assert process.do(lambda: process.advance(2))
    for start_seq in [process.begin(0).start_seq for _ in ITEMS]:
        process.succeed(start_seq)
    process.do(process.flush)

    assert {"a": "succeeded", "b": "succeeded"} == world.statuses()
    assert 4 == process.writer.session.scratch.free_slots()


def test_slots_of_a_commit_that_failed_for_good_are_free_for_the_next(world):
    """Three commits fail and the run ends; the next run of the same session finds all slots."""
    process = running(world)
    for _ in range(3):
        world.full_for = 20
        process.run.stopping.ask()
        with pytest.raises(Exception, match="no room"):
            process.advance(2)
        world.full_for = 0
        process.run = None
        process.begin_run(ITEMS)
    process.advance(2)
    process.release()

    assert 4 == process.writer.session.scratch.free_slots()


def test_release_that_nobody_heard_of_is_counted_as_a_release(world):
    """The items are pending again; the report said that they were in doubt."""
    process = running(world)
    process.advance(2)
    run = process.run
    world.armed = [Fault.WRITTEN]
    process.do(process.release)

    assert {"a": "pending", "b": "pending"} == world.statuses()
    assert (2, 0) == (run.report.released, run.report.in_doubt)


def test_full_disk_and_then_a_commit_that_nobody_heard_of_are_waited_for(world):
    """The outcome is tried again as after either of them alone."""
    process = running(world)
    process.advance(1)
    process.succeed(process.begin(0).start_seq)
    world.armed = [Fault.DISK_FULL, Fault.WRITTEN]

    assert process.do(process.flush)
    assert 1 == process.run.report.succeeded
    assert "succeeded" == world.statuses()["a"]


@pytest.mark.parametrize("fault", [Fault.WRITTEN, Fault.NOT_WRITTEN])
def test_outcome_of_a_held_attempt_is_not_appended_again(world, fault):
    """A verdict on the item is taken back before the retry: the open attempt is the other session's by then.

    The retry appended the outcome for it, and no process could fold the log any more.
    """
    process, other = running(world), Process(world)
    process.advance(1)
    start_seq = process.begin(0).start_seq
    process.interrupt(start_seq)
    assert other.do(other.open)
    told = []

    def meanwhile():
        if not told and world.statuses()["a"] == "in_doubt":
            told.append(start_seq)
            other.do(lambda: other.resolve({start_seq: Verdict.abandon()}))
            other.do(lambda: people.hold(other, "a"))

    world.between, world.armed = meanwhile, [fault]

    assert process.do(process.flush)
    assert (fault is Fault.WRITTEN) == bool(told)
    assert "in_doubt" == world.statuses()["a"]
