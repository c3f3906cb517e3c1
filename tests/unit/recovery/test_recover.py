"""Opening a log whose sessions died: what is known is recorded, the rest is in doubt, in one turn."""

import os

import pytest

from tests.support.folded import live, loaded, replayed
from tests.support.logs import ERROR, start, succeed
from wal_runner import failpoints
from wal_runner.core.arrays import events_of
from wal_runner.core.events import (
    ItemFailed,
    ItemInterrupted,
    ItemReleased,
    ItemStarted,
    ItemSucceeded,
    SessionClosed,
    SessionLost,
    SessionOpened,
    Status,
)
from wal_runner.errors import CommitUnknown, Compacted, LogReplaced, SessionDeclaredLost
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import Fault, MemoryStore
from wal_runner.recovery.recover import begin_session, bury_the_dead, open_sessions
from wal_runner.recovery.verdicts import Verdict, resolve


class Died(Exception):
    """The process died here."""


def running(writer, item_id, outcome=None, *, begun=True):
    """Start an item as a run does: its slot armed, then begun, then with its outcome."""
    scratch = writer.session.scratch
    [slot] = scratch.take(1)
    start_seq = writer.state.seq + 1
    scratch.arm(slot, start_seq)
    start(writer, [item_id])
    if begun:
        scratch.begin(slot, start_seq)
    if outcome is not None:
        scratch.finish(slot, start_seq, outcome(start_seq))
    return start_seq


def die(writer):
    writer.session.abandon()
    writer.log.close()


def appended(log, after=0):
    return [(record.session, event) for record in log.read(after, limit=1_000) for _, event in events_of(record)]


def statuses(writer):
    return {item_id: Status(row[0]) for item_id, row in writer.state.touched()}


# --- A new log, a log in order ----------------------------------------------------------------


def test_first_session_of_a_log(bench):
    """A session begins with its opening, which says who and where, and nothing else."""
    writer = begin_session(bench.open())
    [(session, event)] = appended(writer.log)

    assert (1, SessionOpened) == (session, type(event))
    assert 1 == writer.session.number == event.session
    assert all([event.pid, event.host, event.version])
    writer.close()


def test_session_that_ended_in_order_is_not_lost(bench):
    """After a close there is nothing to recover."""
    writer = begin_session(bench.open())
    succeed(writer, ["a"])
    writer.close()
    second = begin_session(bench.open())

    assert [SessionOpened, ItemStarted, ItemSucceeded, SessionClosed, SessionOpened] == [
        type(event) for _, event in appended(second.log)
    ]
    second.close()


def test_closing_ends_what_was_left_started(bench):
    """A run left in the middle: its slots tell what ended, what never began, and what nobody knows."""
    writer = begin_session(bench.open())
    ended = running(writer, "ended", lambda seq: ItemSucceeded(seq, 5, b"\xa2ok"))
    waits = running(writer, "waits", begun=False)
    runs = running(writer, "runs")
    writer.close()
    second = begin_session(bench.open())
    last_words = [event for _, event in appended(second.log)][4:7]

    assert [ItemSucceeded(ended, 5, b"\xa2ok"), ItemReleased(waits)] == last_words[:2]
    assert (ItemInterrupted, runs) == (type(last_words[2]), last_words[2].start_seq)
    assert {"ended": Status.SUCCEEDED, "waits": Status.PENDING, "runs": Status.IN_DOUBT} == statuses(second)
    second.close()


# --- The dead -----------------------------------------------------------------------------------


def test_dead_session_is_recorded_with_what_its_slots_prove(bench):
    """Outcomes and releases in the dead one's name, then its loss; what no slot speaks for is in doubt."""
    writer = begin_session(bench.open())
    done = running(writer, "done", lambda seq: ItemSucceeded(seq, 5, b"\xa2ok"))
    failed = running(writer, "failed", lambda seq: ItemFailed(seq, 5, ERROR))
    stopped = running(writer, "stopped", lambda seq: ItemInterrupted(seq, 5, "Ctrl-C"))
    armed = running(writer, "armed", begun=False)
    running(writer, "begun")
    start(writer, ["unspoken of"])
    last_ns = writer.state.sessions[1].last_ns
    end = writer.state.seq
    die(writer)
    second = begin_session(bench.open())

    assert [
        (1, ItemSucceeded(done, 5, b"\xa2ok")),
        (1, ItemFailed(failed, 5, ERROR)),
        (1, ItemInterrupted(stopped, 5, "Ctrl-C")),
        (1, ItemReleased(armed)),
    ] == appended(second.log, end)[:4]
    assert [SessionOpened, SessionLost] == [type(event) for _, event in appended(second.log, end)[4:]]
    assert (2, SessionLost(1, last_ns)) == appended(second.log, end)[-1]
    assert {
        "done": Status.SUCCEEDED,
        "failed": Status.FAILED,
        "stopped": Status.IN_DOUBT,
        "armed": Status.PENDING,
        "begun": Status.IN_DOUBT,
        "unspoken of": Status.IN_DOUBT,
    } == statuses(second)
    assert live(second) == loaded(second.log) == replayed(second.log)
    second.close()


def test_recovery_is_one_turn(bench):
    """What the slots prove, the loss and the new session are on disk together, or not at all."""
    writer = begin_session(bench.open())
    running(writer, "armed", begun=False)
    running(writer, "begun")
    end = writer.state.seq
    die(writer)
    log = bench.open()

    def fail():
        raise Died

    for name in ("session.after_file", "session.before_commit", "recover.before_commit", "commit.before_commit"):
        failpoints.arm(name, fail)
        with pytest.raises(Died):
            begin_session(log)

        assert [] == appended(log, end)
    second = begin_session(log)
    assert {"armed": Status.PENDING, "begun": Status.IN_DOUBT} == statuses(second)
    second.close()


def test_recovery_happens_once(bench):
    """What was recorded is not recorded again, and what stood for the dead is gone."""
    writer = begin_session(bench.open())
    running(writer, "a", begun=False)
    die(writer)
    begin_session(bench.open()).close()
    third = begin_session(bench.open())

    assert 1 == sum(type(event) is SessionLost for _, event in appended(third.log))
    assert {1: {}} == third.log.remains_of([1])
    third.close()


def test_session_that_died_in_recovery_is_recovered_too(bench):
    """Died right behind its first commit: the next one records that, and the first stays recorded."""
    die_at = ("recover.after_commit", "session.after_commit")
    for number, name in enumerate(die_at, 1):
        log = bench.open()

        def fail():
            raise Died

        failpoints.arm(name, fail)
        with pytest.raises(Died):
            begin_session(log)
        log.close()
        if hasattr(bench, "store"):
            bench.store.kill(number)
        else:
            bench.remove_files(number)
    writer = begin_session(bench.open())

    assert ["lost", "lost", ""] == [info.ending for info in writer.state.sessions.values()]
    writer.close()


def test_session_whose_command_runs_on_is_not_declared_lost(bench):
    """Until the command ends its effect may still come, so its item stays started, and then is in doubt."""
    writer = begin_session(bench.open())
    running(writer, "a")
    end_effect = bench.leave_effect(writer.session)
    writer.log.close()
    second = begin_session(bench.open())

    assert {"a": Status.STARTED} == statuses(second)
    end_effect()
    assert [1] == list(bury_the_dead(second))
    assert {"a": Status.IN_DOUBT} == statuses(second)
    second.close()


# --- Several sessions ---------------------------------------------------------------------------


def test_items_of_a_living_session_are_left_alone():
    """What another process has started stays started while that process lives."""
    store = MemoryStore()
    first = begin_session(MemoryLog(store))
    running(first, "a")
    second = begin_session(MemoryLog(store))

    assert {"a": Status.STARTED} == statuses(second)
    assert [] == list(bury_the_dead(second))
    assert 3 == second.state.seq, "and nothing was written"


def test_all_the_dead_are_recorded_and_none_of_the_living():
    """Three sessions with an item each; two die, and only theirs are in doubt."""
    store = MemoryStore()
    writers = [begin_session(MemoryLog(store)) for _ in range(3)]
    for writer, item_id in zip(writers, "abc", strict=True):
        writer.catch_up()
        running(writer, item_id)
    store.kill(1)
    store.kill(3)
    fourth = begin_session(MemoryLog(store))

    assert {"a": Status.IN_DOUBT, "b": Status.STARTED, "c": Status.IN_DOUBT} == statuses(fourth)
    assert [2, 4] == open_sessions(fourth.state)
    assert [1, 3] == [event.session for _, event in appended(fourth.log) if type(event) is SessionLost]


def test_living_session_buries_one_that_died_since():
    """A run that goes on records who died beside it, with the evidence, without a session of its own."""
    store = MemoryStore()
    first, second = begin_session(MemoryLog(store)), begin_session(MemoryLog(store))
    first.catch_up()
    armed = running(first, "armed", begun=False)
    running(first, "begun")
    store.kill(1)
    end = first.state.seq

    assert [1] == list(bury_the_dead(second))
    assert [(1, ItemReleased(armed)), (2, SessionLost(1, second.state.sessions[1].last_ns))] == appended(
        second.log, end
    )
    assert {"armed": Status.PENDING, "begun": Status.IN_DOUBT} == statuses(second)
    assert [] == list(bury_the_dead(second))


def test_session_that_was_declared_lost_appends_nothing():
    """Held dead by another, by whatever mistake: the first turn that it tries is refused, and writes nothing."""
    store = MemoryStore()
    first = begin_session(MemoryLog(store))
    seq = running(first, "a")
    second = begin_session(MemoryLog(store))
    second.append([SessionLost(1)])
    end = second.state.seq
    with pytest.raises(SessionDeclaredLost):
        first.append([ItemSucceeded(seq, 5)])

    assert [] == appended(second.log, end)
    assert {"a": Status.IN_DOUBT} == statuses(second) == statuses(first)


def test_session_that_was_buried_alive_appends_nothing():
    """Where its files are gone too, the engine says so before anything else."""
    store = MemoryStore()
    first = begin_session(MemoryLog(store))
    store.kill(1)
    second = begin_session(MemoryLog(store))
    with pytest.raises(LogReplaced):
        first.append([ItemStarted("a")])

    assert 3 == second.state.seq


def test_lost_power_leaves_everything_in_doubt():
    """After a power cut no slot is believed: what was started is in doubt, however far it was."""
    store = MemoryStore()
    writer = begin_session(MemoryLog(store))
    running(writer, "armed", begun=False)
    running(writer, "done", lambda seq: ItemSucceeded(seq, 5))
    store.cut_power()
    second = begin_session(MemoryLog(store))

    assert {"armed": Status.IN_DOUBT, "done": Status.IN_DOUBT} == statuses(second)


def test_doubt_is_settled_in_the_next_session():
    """A verdict of the session that found it ends a dead session's doubt."""
    store = MemoryStore()
    running(begin_session(MemoryLog(store)), "a")
    store.kill(1)
    second = begin_session(MemoryLog(store))
    resolve(second, {"a": Verdict.happened("sent")}, by="ann")

    assert {"a": Status.SUCCEEDED} == statuses(second)


# --- Bad moments --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.WRITTEN, Fault.NOT_WRITTEN])
def test_opening_whose_commit_is_unknown_can_be_repeated(fault):
    """Whether the first opening is on the disk or not, the second one is right."""
    store = MemoryStore()
    running(begin_session(MemoryLog(store)), "a")
    store.kill(1)
    faults = iter([fault])
    store.hook = lambda moment: next(faults, None) if moment == "commit" else None
    with pytest.raises(CommitUnknown):
        begin_session(MemoryLog(store))
    writer = begin_session(MemoryLog(store))

    assert {"a": Status.IN_DOUBT} == statuses(writer)
    assert "lost" == writer.state.sessions[1].ending
    assert [writer.session.number] == open_sessions(writer.state)
    assert live(writer) == replayed(writer.log)


class Lagging(MemoryLog):
    """A handle behind which, each time that it has loaded, others go on and compact."""

    def __init__(self, store, times, meanwhile):
        super().__init__(store)
        self._times, self._meanwhile = times, meanwhile

    def read(self, after, *, limit):
        """Read, and let the others act when all was read."""
        records = list(super().read(after, limit=limit))
        if not records and self._times:
            self._times -= 1
            self._meanwhile()
        return iter(records)


def compact_all(writer):
    """Fold what *writer*'s log holds and drop it, as a compaction does."""
    seq = writer.take_snapshot()
    state = writer.log.snapshot()

    def drop(turn):
        turn.put_base_state(state)
        turn.drop(seq, records_max=1_000)
        return ()

    writer.turn(drop, snapshot=False)


@pytest.mark.parametrize("times", [1, 3])
def test_compaction_between_loading_and_opening_is_no_error(times):
    """What the opening has loaded was dropped before its turn: it loads the snapshot, and opens."""
    store = MemoryStore()
    other = begin_session(MemoryLog(store))
    counter = iter(range(100))

    def meanwhile():
        succeed(other, [f"item-{next(counter)}"])
        compact_all(other)

    writer = begin_session(Lagging(store, times, meanwhile))

    assert dict.fromkeys((f"item-{n}" for n in range(times)), Status.SUCCEEDED) == {
        i: Status(row[0]) for i, row in live(writer).touched()
    }


def test_endless_compaction_is_said():
    """An opening that is overtaken each time gives up, and says why."""
    store = MemoryStore()
    other = begin_session(MemoryLog(store))
    counter = iter(range(10_000))

    def meanwhile():
        succeed(other, [f"item-{next(counter)}"])
        compact_all(other)

    with pytest.raises(Compacted, match="times"):
        begin_session(Lagging(store, 10_000, meanwhile))


def test_what_came_between_loading_and_opening_is_folded():
    """The turn brings it along; nothing is decided on an older state."""
    store = MemoryStore()
    other = begin_session(MemoryLog(store))
    writer = begin_session(Lagging(store, 1, lambda: succeed(other, ["meanwhile"])))

    assert {"meanwhile": Status.SUCCEEDED} == statuses(writer)


def test_process_whose_folder_was_removed_opens_a_log(monkeypatch):
    """Where it ran is told where it is known; nothing depends on it."""

    def gone():
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", gone)
    writer = begin_session(MemoryLog(MemoryStore()))

    assert "" == writer.state.sessions[1].cwd
