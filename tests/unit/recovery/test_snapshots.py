"""Snapshots: at every commit, and after a crash at any, snapshot and tail are the fold of the whole log."""

import contextlib
import copy
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.folded import live, loaded, replayed, stored_rows
from tests.support.logs import ERROR, start, succeed
from wal_runner import failpoints
from wal_runner.core.events import (
    CursorAdvanced,
    ItemFailed,
    ItemInterrupted,
    ItemStarted,
    SessionLost,
    SnapshotTaken,
    Status,
)
from wal_runner.errors import CommitUnknown, DiskFull, SessionDeclaredLost
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import Fault, MemoryStore
from wal_runner.recovery import snapshots
from wal_runner.recovery import writer as writing
from wal_runner.recovery.recover import begin_session
from wal_runner.recovery.snapshots import Snapshots


SLICE = 3


class Died(Exception):
    """The process died here."""


@pytest.fixture
def store():
    """Give a store whose snapshots are written in slices of three rows."""
    return MemoryStore(rows_a_slice=SLICE)


def open_writer(store):
    return begin_session(MemoryLog(store))


def begin(writer):
    """Begin a snapshot: the next turns carry its slices."""
    writer.turn(lambda _turn: (), force_snapshot=True)
    assert writer.snapshots.under_way


def crashed(store):
    """Give what another process finds if everybody dies now."""
    left = copy.deepcopy(store)
    left.cut_power()
    return MemoryLog(left)


def check(store, *writers):
    """Make sure that all roads lead to the same state, now and after a crash right now."""
    expected = replayed(MemoryLog(store))

    assert expected == loaded(MemoryLog(store))
    assert expected == loaded(crashed(store))
    for writer in writers:
        assert expected == live(writer)


def mixed(writer, turn):
    """Change items of every kind, some of them again and again."""
    succeed(writer, [f"done-{turn}", f"done-{turn}-b"], b"\xa2ok" if turn % 2 else None)
    seqs = start(writer, [f"failed-{turn}", f"doubted-{turn}", f"open-{turn}"])
    writer.append(
        [
            ItemFailed(seqs[f"failed-{turn}"], 5, ERROR),
            ItemInterrupted(seqs[f"doubted-{turn}"], 5, "Ctrl-C"),
            CursorAdvanced("pages", bytes([turn])),
        ]
    )
    if turn:
        item = f"failed-{turn - 1}"
        writer.append([ItemStarted(item, 2, 0, Status.FAILED)])


# --- A snapshot in slices ------------------------------------------------------------------------


def test_slices_ride_on_commits(store):
    """Each commit carries a slice, the last one the event; at each of them all roads lead to one state."""
    writer = open_writer(store)
    for turn in range(3):
        mixed(writer, turn)
    begin(writer)
    stood_at = writer.state.seq
    commits = 0
    while writer.snapshots.under_way:
        succeed(writer, [f"meanwhile-{commits}"])
        commits += 2
        check(store, writer)
    taken = writer.state.snapshot_seq

    assert stood_at == taken
    assert commits >= 15 // SLICE
    assert 15 == len(stored_rows(writer.log)), "what came meanwhile is the tail's"
    assert commits == 2 * sum(item_id.startswith("meanwhile") for item_id, _ in writer.state.touched())


def test_turns_without_a_slice_skip_no_rows(bench, monkeypatch):
    """A look or a verdict between two slices counts none: a skipped slice would be finished items redone."""
    monkeypatch.setattr(snapshots, "SLICE_ROWS_MAX", SLICE)
    writer = begin_session(bench.open())
    succeed(writer, [f"item-{n:02}" for n in range(20)])
    begin(writer)
    while writer.snapshots.under_way:
        writer.turn(lambda _turn: ())
        writer.catch_up()
        writer.turn(lambda _turn: [CursorAdvanced("pages", b"1")], snapshot=False)

    assert 20 == len(stored_rows(writer.log))
    assert live(writer) == loaded(writer.log) == replayed(writer.log)
    writer.close()


def test_snapshot_says_so_with_its_last_slice(store):
    """`SnapshotTaken` names the seq, and the sum of the rows, in the transaction that completes them."""
    writer = open_writer(store)
    mixed(writer, 0)
    seq = writer.take_snapshot()
    [event] = [a for r in writer.log.read(0, limit=1_000) for a in r.arrays if a[0] == 13]

    assert SnapshotTaken(seq, writer.log.row_sums()[1]) == SnapshotTaken(*event[1:])
    assert seq == writer.log.snapshot().seq


def test_memory_holds_the_tail_only(store):
    """Once the rows hold them, the writer lets go of the items, and knows that its look-ups are old."""
    writer = open_writer(store)
    succeed(writer, [f"item-{n}" for n in range(10)])
    generation = writer.generation
    writer.take_snapshot()

    assert {} == writer.state.items | writer.state.frozen
    assert writer.generation > generation
    assert 10 == live(writer).counts[Status.SUCCEEDED]


def test_rows_are_written_in_key_order(store):
    """Sorted rows make a snapshot of random ids go once through the table."""
    writer = open_writer(store)
    succeed(writer, ["b", "é", "a", "\U0001f600", "a" * 300, "c"])
    begin(writer)
    order = []
    while writer.snapshots.under_way:
        before = set(stored_rows(writer.log))
        writer.turn(lambda _turn: ())
        order += sorted(set(stored_rows(writer.log)) - before)

    assert sorted(order) == order


def test_snapshot_of_nothing_new(bench):
    """A snapshot right behind another holds the same, and says so at its own seq."""
    writer = begin_session(bench.open())
    succeed(writer, ["a"])
    first, second = writer.take_snapshot(), writer.take_snapshot()

    assert first < second == writer.log.snapshot().seq
    assert live(writer) == loaded(writer.log) == replayed(writer.log)
    writer.close()


def test_snapshot_of_an_empty_log(bench):
    """With nothing in the log but its session, a snapshot is no error."""
    writer = begin_session(bench.open())
    assert 1 == writer.take_snapshot()
    assert live(writer) == loaded(writer.log)
    writer.close()


def test_doubts_outlive_the_snapshot(bench):
    """What is open stands in the snapshot with its session, its times and its reason."""
    writer = begin_session(bench.open())
    seqs = start(writer, ["a", "b"])
    writer.append([ItemInterrupted(seqs["a"], 5, "Ctrl-C, twice")])
    before = writer.state.attempts()
    writer.take_snapshot()
    writer.abandon()
    state = begin_session(bench.open()).state

    assert before[0] == state.attempts()[0] == (seqs["a"], state.attempt(seqs["a"]))
    assert "Ctrl-C, twice" == state.attempt(seqs["a"]).reason
    assert {"a": Status.IN_DOUBT, "b": Status.IN_DOUBT} == {a.item_id: a.status for _, a in state.attempts()}


# --- Crashes -------------------------------------------------------------------------------------


def test_crash_between_any_two_slices_loses_nothing(store):
    """Rows that are newer than their snapshot are harmless; the next session takes it up again, and ends it."""
    writer = open_writer(store)
    for turn in range(3):
        mixed(writer, turn)
    writer.take_snapshot()
    for turn in range(3, 6):
        mixed(writer, turn)
    begin(writer)
    slices = 0
    while writer.snapshots.under_way:
        writer.turn(lambda _turn: ())
        slices += 1
        left = copy.deepcopy(store)
        left.cut_power()
        second = begin_session(MemoryLog(left))
        succeed(second, ["more"])
        check(left, second)
        second.take_snapshot()
        check(left, second)

        assert not second.snapshots.under_way
        assert {} == second.state.items | second.state.frozen

    assert slices >= 4


@pytest.mark.parametrize("name", ["snapshot.before_slice", "snapshot.before_last_slice"])
def test_turn_that_dies_in_a_slice_is_as_if_it_had_not_been(bench, name):
    """The slice and the turn's own events are one transaction; both come with the next try."""
    writer = begin_session(bench.open())
    succeed(writer, [f"item-{n}" for n in range(5)])
    writer.turn(lambda _turn: (), force_snapshot=True)

    def fail():
        raise Died

    failpoints.arm(name, fail)
    with pytest.raises(Died):
        succeed(writer, ["in the turn that died"])

    assert "in the turn that died" not in dict(live(writer).touched())
    assert {} == stored_rows(writer.log)
    writer.take_snapshot()
    assert 5 == len(stored_rows(writer.log))
    assert live(writer) == loaded(writer.log) == replayed(writer.log)
    writer.close()


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("place", range(8))
def test_commit_that_fails_at_any_slice_loses_nothing(store, fault, place):
    """Disk full, unknown and written, unknown and not: whichever commit of a snapshot it hits."""
    writer = open_writer(store)
    for turn in range(3):
        mixed(writer, turn)
    left = {place: fault}
    commits = iter(range(100))
    store.hook = lambda moment: left.pop(next(commits), None) if moment == "commit" else None
    for step in range(12):
        with contextlib.suppress(CommitUnknown, DiskFull):
            writer.turn(lambda _turn, n=step: [ItemStarted(f"step-{n}")], force_snapshot=True)
        store.hook, hook = lambda _moment: None, store.hook
        check(store, writer)
        store.hook = hook

    assert not left
    assert writer.state.snapshot_seq > 0, "a later try came through"


# --- Two sessions --------------------------------------------------------------------------------


def test_one_session_writes_at_a_time(store):
    """While one that lives is writing, another leaves it to it."""
    first, second = open_writer(store), open_writer(store)
    first.catch_up()
    succeed(first, [f"item-{n}" for n in range(9)])
    begin(first)

    assert 0 == second.take_snapshot()
    assert not second.snapshots.under_way
    first.take_snapshot()
    check(store, first, second)
    assert second.take_snapshot() > first.state.snapshot_seq


def test_snapshot_of_another_overtakes_a_lagging_fold(store):
    """What the other's rows hold is let go of, a snapshot later; what is read meanwhile stays right."""
    first, second = open_writer(store), open_writer(store)
    first.catch_up()
    for turn in range(5):
        mixed(second, turn)
        first.catch_up()
        second.take_snapshot()
        generation = first.generation
        first.catch_up()
        first.turn(lambda _turn: [CursorAdvanced("mine", b"1")])
        check(store, first, second)

        held = len(first.state.items) + len(first.state.frozen)
        assert held <= 15, "the last snapshot's and what came since"
    assert first.generation > generation


def test_what_was_set_aside_for_another_is_merged_behind_the_gate(store, monkeypatch):
    """A snapshot that is due waits for the turn after: the merging may take long, and others wait meanwhile."""
    monkeypatch.setattr(snapshots, "TURNS_FIRST", 0)
    first, second = open_writer(store), open_writer(store)
    for turn in range(2):
        mixed(second, turn)
        first.catch_up()
        second.take_snapshot()
        first.catch_up()
    assert first.state.frozen
    monkeypatch.setattr(first.snapshots, "is_due", lambda _state: True)
    inside = []
    first.turn(lambda _turn: inside.append(bool(first.state.frozen)) or ())

    assert [True] == inside
    assert not first.state.frozen
    assert not first.snapshots.under_way
    first.turn(lambda _turn: ())
    assert first.snapshots.under_way
    check(store, first, second)


@pytest.mark.parametrize(("stale_after_s", "folded_inside"), [(-1.0, False), (60.0, True)])
def test_what_others_appended_is_folded_before_the_gate(store, monkeypatch, stale_after_s, folded_inside):
    """Where it may be much; the rest is folded inside, or a turn would decide on old news."""
    monkeypatch.setattr(writing, "STALE_SECONDS", stale_after_s)
    first, second = open_writer(store), open_writer(store)
    mixed(second, 0)
    inside = []
    first.turn(lambda turn: inside.extend(turn.records) or ())

    assert folded_inside == bool(inside)
    check(store, first, second)


def test_slices_are_measured_by_processor_time(store, monkeypatch):
    """What the disk takes for a barrier is no shorter for a shorter slice: waiting does not count, work does."""
    writer = open_writer(store)
    held = []
    monkeypatch.setattr(writer.snapshots, "landed", lambda _state, held_s: held.append(held_s))
    writer.turn(lambda _turn: threading.Event().wait(0.3) or ())

    def work(_turn):
        ends_at = time.thread_time() + 0.05
        while time.thread_time() < ends_at:
            pass
        return ()

    writer.turn(work)

    assert held[0] < 0.05 <= held[1]


def test_dead_snapshotter_does_not_stop_the_next(store):
    """A session that died while it wrote is followed by another, over the rows that it left."""
    first, second = open_writer(store), open_writer(store)
    first.catch_up()
    for turn in range(3):
        mixed(first, turn)
    begin(first)
    first.turn(lambda _turn: ())
    store.kill(1)
    second.catch_up()
    assert 0 < len(stored_rows(second.log)) <= SLICE
    succeed(second, ["more"])
    seq = second.take_snapshot()

    assert seq == second.state.snapshot_seq > 0
    check(store, second)


def test_snapshotter_that_was_held_dead_gives_up(store):
    """Taken for dead by another that began anew, it leaves its frozen items where they were."""
    first, second = open_writer(store), open_writer(store)
    first.catch_up()
    succeed(first, [f"item-{n}" for n in range(9)])
    begin(first)
    first.turn(lambda _turn: ())
    store.kill(1)
    begin(second)
    first.turn(lambda _turn: [CursorAdvanced("mine", b"1")])

    assert not first.snapshots.under_way
    check(store, first, second)
    second.take_snapshot()
    first.turn(lambda _turn: [CursorAdvanced("mine", b"2")])
    check(store, first, second)


def test_closing_session_leaves_the_writing_to_others(store):
    """A session that closes in the middle of a snapshot does not stay its writer."""
    first = open_writer(store)
    succeed(first, [f"item-{n}" for n in range(9)])
    begin(first)
    first.close()
    second = open_writer(store)
    with second.log.exclusive(second.state.seq) as turn:
        assert 0 == turn.snapshotter()
    second.take_snapshot()
    check(store, second)


def test_session_that_was_declared_lost_writes_no_slice(store):
    """Its rows could be older than those of who took over."""
    first, second = open_writer(store), open_writer(store)
    first.catch_up()
    succeed(first, [f"item-{n}" for n in range(9)])
    begin(first)
    second.turn(lambda _turn: [SessionLost(1)])
    before = stored_rows(second.log)
    with pytest.raises(SessionDeclaredLost):
        first.turn(lambda _turn: ())

    assert before == stored_rows(second.log)


# --- Any order of things ---------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["mixed", "force", "turn", "fail", "die"])), max_size=25))
def test_any_order_of_two_sessions_leads_to_one_state(steps):
    """Two sessions that write, snapshot, fail in commits and die, in any order: at each step one state."""
    store = MemoryStore(rows_a_slice=SLICE)
    writers = [open_writer(store), open_writer(store)]
    for number, (who, what) in enumerate(steps):
        writer = writers[who]
        writer.catch_up()
        if what == "mixed":
            succeed(writer, [f"done-{number}"])
            start(writer, [f"open-{number}"])
        elif what == "fail":
            faults = iter([list(Fault)[number % 3]])
            store.hook = lambda moment, left=faults: next(left, None) if moment == "commit" else None
            with pytest.raises((CommitUnknown, DiskFull)):
                writer.turn(lambda _turn, n=number: [ItemStarted(f"failing-{n}")], force_snapshot=True)
            store.hook = lambda _moment: None
        elif what == "die":
            store.kill(writer.session.number)
            writers[who] = open_writer(store)
        else:
            writer.turn(lambda _turn, n=number: [ItemStarted(f"x-{n}")], force_snapshot=what == "force")
        check(store, *writers)


# --- When -----------------------------------------------------------------------------------------


def test_snapshot_is_due_when_the_tail_is_long_or_old():
    """Start-up replays the tail: a long one is folded at once, a shorter one after a minute, a short one never."""
    seconds = [0.0]
    riding = Snapshots(1, clock=lambda: seconds[0])
    state = begin_session(MemoryLog(MemoryStore())).state

    def is_due(tail, at):
        state.seq, state.snapshot_seq, seconds[0] = 1_000 + tail, 1_000, at
        return riding.is_due(state)

    assert not is_due(snapshots.TAIL_EVENTS_MAX - 1, 59.0)
    assert is_due(snapshots.TAIL_EVENTS_MAX, 0.0)
    assert is_due(snapshots.TAIL_EVENTS_MIN, 60.0)
    assert not is_due(snapshots.TAIL_EVENTS_MIN - 1, 1e9)


def test_snapshot_comes_by_itself(store, monkeypatch):
    """Nobody asks for it: a run that goes on takes one when it is due, and goes on."""
    monkeypatch.setattr(snapshots, "TAIL_EVENTS_MAX", 30)
    writer = open_writer(store)
    taken = set()
    for n in range(60):
        succeed(writer, [f"item-{n:02}"])
        taken.add(writer.state.snapshot_seq)
    check(store, writer)

    assert len(taken) >= 3
    assert len(writer.state.items) + len(writer.state.frozen) < 40


def test_snapshot_older_than_what_was_set_aside_lets_nothing_go(store):
    """Its rows do not hold it; the next one's will."""
    first, second = open_writer(store), open_writer(store)
    mixed(second, 0)
    begin(second)
    mixed(first, 1)
    first.catch_up()
    first.state.freeze()
    held = dict(first.state.frozen)
    while second.snapshots.under_way:
        second.turn(lambda _turn: ())
    first.turn(lambda _turn: ())

    assert held
    assert held == first.state.frozen
    check(store, first, second)
