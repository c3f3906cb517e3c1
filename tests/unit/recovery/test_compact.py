"""Compaction: what can be folded is folded and dropped, and nothing that anybody needs is gone."""

import copy

import pytest

from tests.support.folded import live, loaded, replayed, stored_rows, whole
from tests.support.logs import ERROR, fill, make_log, start, succeed
from wal_runner import failpoints
from wal_runner.core.arrays import events_of
from wal_runner.core.events import ItemFailed, ItemStarted, ItemSucceeded, LogCompacted, Status
from wal_runner.core.state import fold
from wal_runner.errors import Compacted, LogMissing
from wal_runner.log import opening
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import MemoryStore
from wal_runner.recovery import compact as compacting
from wal_runner.recovery.compact import compact, plan
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.recover import begin_session, open_writer
from wal_runner.recovery.replay import numbers_at, replay
from wal_runner.recovery.verdicts import Verdict, resolve
from wal_runner.recovery.verifying import verify


class Died(Exception):
    """The process died here."""


def state_of(path):
    """Give the state of the log at *path*, with all its items."""
    log = opening.open_for_reading(path)
    try:
        return loaded(log)
    finally:
        opening.close(log)


def facts(state):
    """Give what compaction may not change: everything but where the log begins and who looked."""
    return dict(state.touched()), state.counts, state.open, state.cursors, state.key_rule, state.conflicts, state.timed


def compact_open(writer):
    """Compact the log that *writer* has open, as `compact` does for one that nobody has."""
    compacting._drop(writer, compacting._fold(writer))


# --- What is kept ----------------------------------------------------------------------------------


def test_compaction_changes_nothing_that_is_known(log):
    """Items, counts, doubts, cursors: all as before; the events up to the base are gone."""
    make_log(log)
    writer, _ = open_writer(log)
    start(writer, ["died in it"])
    writer.abandon()
    open_writer(log)[0].close()
    before = state_of(log)
    done = compact(log)
    after = state_of(log)

    assert facts(before) == facts(after)
    assert {Status.SUCCEEDED: 23, Status.FAILED: 2, Status.IN_DOUBT: 2} == {s: n for s, n in after.counts.items() if n}
    assert done.base_seq == done.events_dropped >= before.seq
    assert (27, 2, True) == (done.items, done.in_doubt_kept, done.rewritten)


def test_doubts_keep_what_inspect_needs(log):
    """Who started it, when, in which session, of which host, and why it is in doubt."""
    writer, _ = open_writer(log)
    start(writer, ["a"])
    writer.abandon()
    open_writer(log)[0].close()
    with LogView.open(log) as view:
        before = view.sessions()
    compact(log)
    with LogView.open(log) as view:
        after = view.sessions()

    assert before == after
    assert "session 1 died" == after[0].open[0][1].reason


def test_doubts_can_be_settled_after_compaction(log):
    """A verdict names the start, which is no event of the log any more."""
    writer, _ = open_writer(log)
    start(writer, ["a", "b"])
    writer.abandon()
    open_writer(log)[0].close()
    compact(log)
    writer, _ = open_writer(log)
    resolve(writer, {"a": Verdict.happened("sent"), "b": Verdict.did_not_happen()}, by="ann")

    assert [Status.SUCCEEDED, Status.PENDING] == [writer.state.item(i).status for i in "ab"]
    writer.close()


def test_done_items_are_never_forgotten(log):
    """They stand in the rows, results and all, however often the log is compacted."""
    writer, _ = open_writer(log)
    succeed(writer, [f"item-{n}" for n in range(50)], b"\xa2ok")
    writer.close()
    for _ in range(3):
        compact(log)
    with LogView.open(log) as view:
        assert {f"item-{n}": "ok" for n in range(50)} == dict(view.results())


def test_compacting_twice_drops_nothing_more(log):
    """Only what the first one appended itself is folded by the second."""
    make_log(log)
    first = compact(log)
    second = compact(log)

    assert second.events_dropped < 10 < first.events_dropped
    assert (first.items, first.in_doubt_kept) == (second.items, second.in_doubt_kept)


def test_log_goes_on_after_compaction(log):
    """A run after it starts failed items again, skips the done, and can be compacted in turn."""
    make_log(log)
    compact(log)
    writer, _ = open_writer(log)
    succeed(writer, ["new"])
    known = writer.log.look_up(["failed", "done-3"])
    assert None not in known
    writer.append([ItemStarted("failed", 2, 0, Status.FAILED)])
    seq = writer.state.seq
    writer.append([ItemSucceeded(seq, 5)])
    writer.close()
    compact(log)

    assert {Status.SUCCEEDED: 25, Status.FAILED: 1, Status.IN_DOUBT: 1} == {
        status: count for status, count in state_of(log).counts.items() if count
    }


def test_disk_space_is_given_back(log):
    """A log that grew by repetition is a fraction of its size afterwards."""
    long_error = ERROR._replace(traceback="x" * 8_000)
    writer, _ = open_writer(log)
    seq = next(iter(start(writer, ["a"]).values()))
    for n in range(2, 100):
        appended = writer.append([ItemFailed(seq, 5, long_error), ItemStarted("a", n, 0, Status.FAILED)])
        seq = appended[-1].last_seq
    writer.append([ItemFailed(seq, 5, long_error)])
    writer.close()
    done = compact(log)

    assert done.bytes_after < done.bytes_before / 10
    assert (log / "data.mdb").stat().st_size < done.bytes_before / 10, "its own end included"
    assert 99 == state_of(log).item("a").attempts


# --- Replaying what is left --------------------------------------------------------------------------


def test_replay_begins_at_the_base(log):
    """Numbers, sessions and doubts of a replay after compaction are those of the live state."""
    make_log(log)
    done = compact(log)
    writer, _ = open_writer(log)
    succeed(writer, ["new"])
    writer.close()
    state = replay(log)

    assert state_of(log).counts == state.counts
    assert state_of(log).open == state.open
    assert state_of(log).sessions == state.sessions
    assert ["new"] == [item_id for item_id, _ in state.touched()]
    with pytest.raises(Compacted, match=str(done.base_seq)):
        replay(log, done.base_seq - 1)
    assert done.base_seq == replay(log, done.base_seq).seq


def test_base_state_and_tail_are_the_whole_fold(bench):
    """The fold of all events is the base's state and the rest, at every point behind the base."""
    writer = begin_session(bench.open())
    fill(writer)
    everything = list(writer.log.read(0, limit=10_000))
    compact_open(writer)
    succeed(writer, ["new"])
    base = writer.log.base_state()
    tail = list(writer.log.read(base.seq, limit=10_000))
    before = fold(record for record in everything if record.last_seq <= base.seq)

    assert before.without_items() == base
    assert fold(tail, before).counts == live(writer).counts == numbers_at(writer.log).counts
    assert live(writer) == loaded(writer.log) == whole(fold(tail, base), writer.log)
    writer.close()


# --- While others run -----------------------------------------------------------------------------------


def test_compaction_beside_a_living_session():
    """Its items stay started, it goes on, and what it appends meanwhile is not dropped."""
    store = MemoryStore(rows_a_slice=3)
    running, other = begin_session(MemoryLog(store)), begin_session(MemoryLog(store))
    running.catch_up()
    succeed(running, [f"item-{n}" for n in range(10)])
    [seq] = start(running, ["running"]).values()
    compact_open(other)
    running.append([ItemSucceeded(seq, 5, b"\xa2ok")])

    assert live(running) == live(other) == loaded(running.log) == replayed(running.log)
    assert Status.SUCCEEDED is live(running).item("running").status
    assert 10 <= other.log.base()[0]


def test_compaction_while_another_writes_its_snapshot():
    """What that one's snapshot does not stand for yet is not dropped."""
    store = MemoryStore(rows_a_slice=3)
    running, other = begin_session(MemoryLog(store)), begin_session(MemoryLog(store))
    running.catch_up()
    succeed(running, [f"item-{n}" for n in range(10)])
    running.turn(lambda _turn: (), force_snapshot=True)
    running.turn(lambda _turn: ())
    compact_open(other)

    assert 0 == other.log.base()[0]
    running.take_snapshot()
    compact_open(other)
    assert live(running) == live(other) == loaded(running.log) == replayed(running.log)
    assert 20 <= other.log.base()[0]


# --- Crashes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("records_a_turn", [1, 2, 512])
def test_crash_at_any_commit_leaves_the_log_as_it_was_or_compacted(monkeypatch, records_a_turn):
    """Died at the n-th commit, for every n: what is known is the same, and the next compaction ends it."""
    monkeypatch.setattr(compacting, "RECORDS_A_TURN", records_a_turn)
    store = MemoryStore(rows_a_slice=5)
    writer = begin_session(MemoryLog(store))
    fill(writer)
    writer.abandon()
    begin_session(MemoryLog(store)).close()
    before = facts(loaded(MemoryLog(store)))
    deaths = 0
    while True:
        left = copy.deepcopy(store)
        countdown = iter(range(deaths, -1, -1))

        def die(moment, left_to_go=countdown):
            if moment == "commit" and next(left_to_go) == 0:
                raise Died

        left.hook = die
        try:
            compact_open(begin_session(MemoryLog(left)))
        except Died:
            left.hook = lambda _moment: None
            left.cut_power()
            assert before == facts(loaded(MemoryLog(left)))
            assert before == facts(replayed(MemoryLog(left)))
            second = begin_session(MemoryLog(left))
            compact_open(second)
            assert before == facts(live(second)) == facts(replayed(second.log))
            deaths += 1
        else:
            break

    assert deaths >= 5


STEPS = [name for name in failpoints.NAMES if name.startswith("compact.")]


@pytest.mark.parametrize("name", STEPS)
def test_compaction_that_breaks_off_anywhere_can_be_repeated(log, name):
    """At each named point, on disk: the log is sound, says the same, and the next compaction ends it."""
    make_log(log)
    before = facts(state_of(log))

    def fail():
        raise Died

    failpoints.arm(name, fail)
    with pytest.raises(Died):
        compact(log)

    assert [] == list(verify(log))
    assert before == facts(state_of(log))
    done = compact(log)
    assert done.rewritten
    assert before == facts(state_of(log))
    assert {"IDENTITY", "data.mdb", "GATE", "HEAD", "sessions", "archive", ".gitignore"} == {
        entry.name for entry in log.iterdir()
    }


def test_compaction_is_in_the_log(log):
    """It is an event like any other: which events are gone, and the hash that stands for them."""
    make_log(log)
    done = compact(log)
    opened = opening.open_for_reading(log)
    records = list(opened.read(done.base_seq, limit=100))
    base = opened.base()
    opening.close(opened)
    [event] = [e for record in records for _, e in events_of(record) if isinstance(e, LogCompacted)]

    assert base == (event.base_seq, event.base_hash)
    assert done.base_seq == state_of(log).base_seq


# --- Asking first -----------------------------------------------------------------------------------------------


def test_plan_says_what_compaction_does_and_writes_nothing(log):
    """A dry run counts the same and leaves every byte."""
    make_log(log)
    before = (log / "data.mdb").read_bytes()
    planned = plan(log)

    assert before == (log / "data.mdb").read_bytes()
    done = compact(log)
    assert (planned.items, planned.in_doubt_kept, planned.rewritten) == (done.items, done.in_doubt_kept, True)
    # The compaction's own session is folded too.
    assert planned.events_dropped <= done.events_dropped <= planned.events_dropped + 3


def test_missing_log_is_not_created(tmp_path):
    """There is nothing to compact in a mistyped path."""
    with pytest.raises(LogMissing):
        compact(tmp_path / "emails.wal")

    assert [] == list(tmp_path.iterdir())


def test_rows_stand_for_what_is_dropped(bench):
    """Nothing is dropped beyond the snapshot, however much was asked for."""
    writer = begin_session(bench.open())
    fill(writer)
    compact_open(writer)

    assert writer.log.base()[0] == writer.log.snapshot().seq
    assert 25 == len(stored_rows(writer.log))
    writer.close()


def test_space_is_kept_while_another_session_lives():
    """They have the old file open; what could be folded is folded, and what could not be done is said."""
    store = MemoryStore()
    writer, other = begin_session(MemoryLog(store)), begin_session(MemoryLog(store))
    fill(writer)
    done = compacting.compact_with(writer)

    assert "Sessions 2" in done.space_kept_because
    assert done.base_seq == writer.state.base_seq > 0
    other.close()
    assert "" == compacting.compact_with(writer).space_kept_because
