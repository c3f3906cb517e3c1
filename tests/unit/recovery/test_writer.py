"""The writer: one turn at a time, and memory that never says more or less than the log."""

import pytest

from tests.support.folded import live, loaded, replayed, stored_rows
from tests.support.logs import start, succeed
from wal_runner import failpoints
from wal_runner.core.events import ItemInterrupted, ItemReleased, ItemStarted, ItemSucceeded, Status
from wal_runner.core.state import State
from wal_runner.errors import CommitUnknown, DiskFull, LogClosed
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import Fault, MemoryStore
from wal_runner.recovery import writer as writing
from wal_runner.recovery.naming import set_key_rule
from wal_runner.recovery.recover import begin_session
from wal_runner.recovery.unrecorded import settle_own_starts


class Unwanted(Exception):
    """What breaks a turn off."""


def faulty(store, *faults):
    left = iter(faults)
    store.hook = lambda moment: next(left, None) if moment == "commit" else None


def statuses(writer):
    return {item_id: Status(row[0]) for item_id, row in live(writer).touched()}


def compact(writer):
    """Fold what the log holds into the snapshot, and drop it."""
    seq = writer.take_snapshot()
    state = writer.log.snapshot()

    def drop(turn):
        turn.put_base_state(state)
        turn.drop(seq, records_max=1_000)
        return ()

    writer.turn(drop, snapshot=False)


def test_what_is_durable_is_folded(bench):
    """After each turn the writer's state is what the log adds up to."""
    writer = begin_session(bench.open())
    for n in range(5):
        succeed(writer, [f"{n}-{m}" for m in range(10)])

        assert live(writer) == loaded(writer.log) == replayed(writer.log)
    writer.close()


def test_turn_decides_on_the_caught_up_state():
    """What others appended is folded before the decision, so two sessions never start one item twice."""
    store = MemoryStore()
    first, second = begin_session(MemoryLog(store)), begin_session(MemoryLog(store))

    def start_unless_known(writer):
        return writer.turn(lambda _turn: [] if writer.state.row("a") else [ItemStarted("a")])

    assert 1 == len(start_unless_known(first))
    assert [] == list(start_unless_known(second))
    assert live(first) == live(second)


@pytest.mark.parametrize("error", [Unwanted, KeyboardInterrupt])
def test_decision_that_raises_appends_nothing(bench, error):
    """The log and the state are as before, and the next turn works."""
    writer = begin_session(bench.open())
    succeed(writer, ["a"])
    before = writer.state.copy()

    def refuse(_turn):
        raise error

    with pytest.raises(error):
        writer.turn(refuse)

    assert before == writer.state == loaded(writer.log)
    succeed(writer, ["b"])
    assert live(writer) == replayed(writer.log)
    writer.close()


@pytest.mark.parametrize("fault", Fault)
def test_failed_commit_is_found_out_by_the_next_turn(fault):
    """Written or not: the next turn folds what is there, and nothing twice."""
    store = MemoryStore()
    writer = begin_session(MemoryLog(store))
    faulty(store, fault)
    with pytest.raises((CommitUnknown, DiskFull)):
        writer.append([ItemStarted("a")])
    written = fault is Fault.WRITTEN

    assert written == ("a" in statuses(writer))
    assert live(writer) == loaded(writer.log) == replayed(writer.log)
    if not written:
        start(writer, ["a"])
    assert {"a": Status.STARTED} == statuses(writer)


@pytest.mark.parametrize("name", ["commit.before_begin", "commit.before_commit", "commit.after_commit"])
@pytest.mark.parametrize("error", [Unwanted, KeyboardInterrupt])
def test_turn_that_breaks_off_anywhere_leaves_memory_right(bench, name, error):
    """An exception at any point around the commit: memory and log agree at the next turn."""
    writer = begin_session(bench.open())
    succeed(writer, ["a"])

    def fail():
        raise error

    failpoints.arm(name, fail)
    with pytest.raises(error):
        writer.append([ItemStarted("b")])

    assert (name == "commit.after_commit") == ("b" in statuses(writer))
    assert live(writer) == loaded(writer.log) == replayed(writer.log)
    writer.close()


def test_half_folded_state_is_loaded_anew(bench):
    """A Ctrl-C in the middle of folding leaves half a record in memory: the log is asked again."""
    writer = begin_session(bench.open())

    class Interrupting(State):
        """A state that is interrupted at its third event."""

        __slots__ = ()

        def apply(self, record):
            """Fold two events of three."""
            super().apply(record._replace(arrays=record.arrays[:2]))
            raise KeyboardInterrupt

    writer.state.__class__ = Interrupting
    with pytest.raises(KeyboardInterrupt):
        writer.append([ItemStarted("a"), ItemStarted("b"), ItemStarted("c")])

    assert {"a": Status.STARTED, "b": Status.STARTED, "c": Status.STARTED} == statuses(writer)
    assert live(writer) == replayed(writer.log)
    writer.close()


def test_writer_that_lags_behind_a_compaction_loads_anew():
    """What it missed is in the snapshot: it goes on from there, and knows that its look-ups are old."""
    store = MemoryStore()
    first, second = begin_session(MemoryLog(store)), begin_session(MemoryLog(store))
    first.catch_up()
    succeed(second, ["a", "b"])
    compact(second)
    generation = first.generation
    succeed(first, ["c"])

    assert dict.fromkeys("abc", Status.SUCCEEDED) == statuses(first)
    assert live(first) == live(second) == loaded(first.log) == replayed(first.log)
    assert first.generation > generation


def test_decision_is_made_anew_after_loading_anew():
    """The turn that found itself behind decides again on what it then knows."""
    store = MemoryStore()
    first, second = begin_session(MemoryLog(store)), begin_session(MemoryLog(store))
    first.catch_up()
    succeed(second, ["a"])
    compact(second)
    seen = []

    def decide(turn):
        seen.append(turn.look_up(["a"])[0] is not None)
        return [] if seen[-1] else [ItemStarted("a")]

    assert [] == list(first.turn(decide))
    assert [True] == seen


def test_closed_writer_refuses(bench):
    """After `close` or `abandon` nothing is appended; closing again is nothing."""
    for end in ("close", "abandon"):
        writer = begin_session(bench.open())
        getattr(writer, end)()
        writer.close()
        writer.abandon()

        assert writer.closed
        with pytest.raises(LogClosed):
            writer.append([ItemStarted("a")])
        with pytest.raises(LogClosed):
            writer.catch_up()


def test_abandoned_writer_leaves_what_a_crash_leaves(bench):
    """Nothing is appended, and the next opening finds it dead."""
    writer = begin_session(bench.open())
    start(writer, ["a"])
    writer.abandon()
    second = begin_session(bench.open())

    assert "lost" == second.state.sessions[1].ending
    assert {"a": Status.IN_DOUBT} == statuses(second)
    second.close()


@pytest.mark.parametrize("fault", [Fault.DISK_FULL, Fault.NOT_WRITTEN, Fault.WRITTEN])
def test_closing_that_fails_leaves_the_slots(fault):
    """The slots may hold outcomes that could not be written: the next opening finds them, and loses nothing."""
    store = MemoryStore()
    writer = begin_session(MemoryLog(store))
    [slot] = writer.session.scratch.take(1)
    [seq] = start(writer, ["a"]).values()
    writer.session.scratch.begin(slot, seq)
    writer.session.scratch.finish(slot, seq, ItemSucceeded(seq, 5, b"\xa2ok"))
    faulty(store, fault)
    with pytest.raises((DiskFull, CommitUnknown)):
        writer.close()
    second = begin_session(MemoryLog(store))

    assert {"a": Status.SUCCEEDED} == statuses(second)
    assert b"\xa2ok" == second.state.item("a").result


@pytest.mark.parametrize("name", ["close.before_commit", "close.after_commit"])
def test_nothing_begins_once_closing_has_begun(bench, name):
    """Closing releases what has not begun. If fn could still begin, the next run would call it again."""
    writer = begin_session(bench.open())
    [slot] = writer.session.scratch.take(1)
    [seq] = start(writer, ["a"]).values()
    writer.session.scratch.arm(slot, seq)
    refused = []

    def begin():
        with pytest.raises(LogClosed):
            writer.session.scratch.begin(slot, seq)
        refused.append(seq)

    failpoints.arm(name, begin)
    writer.close()
    second = begin_session(bench.open())

    assert [seq] == refused
    assert {"a": Status.PENDING} == statuses(second)
    second.close()


def test_close_takes_a_snapshot_of_a_long_tail(bench, monkeypatch):
    """The next opening need not fold it; a short tail is not worth the writing."""
    monkeypatch.setattr(writing, "TAIL_EVENTS_AT_CLOSE", 50)
    writer = begin_session(bench.open())
    succeed(writer, [f"item-{n}" for n in range(10)])
    writer.close()
    writer = begin_session(bench.open())
    assert {} == stored_rows(writer.log)
    succeed(writer, [f"more-{n}" for n in range(20)])
    writer.close()
    writer = begin_session(bench.open())

    assert 30 == len(stored_rows(writer.log))
    assert 30 == writer.state.counts[Status.SUCCEEDED]
    writer.close()


def test_own_starts_are_settled_by_their_slots(bench):
    """Outcome, released if armed, in doubt if begun: whatever run made the start."""
    writer = begin_session(bench.open())
    slots = writer.session.scratch.take(3)
    seqs = list(start(writer, ["ended", "armed", "begun"]).values())
    writer.session.scratch.arm_all(slots, seqs[0])
    for slot, seq in zip(slots[:1] + slots[2:], seqs[:1] + seqs[2:], strict=True):
        writer.session.scratch.begin(slot, seq)
    writer.session.scratch.finish(slots[0], seqs[0], ItemSucceeded(seqs[0], 5))

    settled = settle_own_starts(writer, "its run ended")

    assert {
        seqs[0]: ItemSucceeded(seqs[0], 5),
        seqs[1]: ItemReleased(seqs[1]),
        seqs[2]: ItemInterrupted(seqs[2], 0, "its run ended"),
    } == settled
    assert [Status.SUCCEEDED, Status.PENDING, Status.IN_DOUBT] == [
        writer.state.item(name).status for name in ("ended", "armed", "begun")
    ]
    assert {} == settle_own_starts(writer, "its run ended")
    writer.close()


def test_key_rule_that_another_set_meanwhile_is_taken():
    """The turn knows it, though this session had not heard of it: nothing more is appended."""
    store = MemoryStore()
    first, second = begin_session(MemoryLog(store)), begin_session(MemoryLog(store))
    set_key_rule(second, "field id")
    end = second.state.seq
    set_key_rule(first, "field id")

    assert "field id" == first.state.key_rule
    assert end == first.state.seq
