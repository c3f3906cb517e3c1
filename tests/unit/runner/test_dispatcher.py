"""The dispatcher: what is started and written when the log changed, or failed, since items were looked up."""

import pytest

from tests.support.engines import LmdbBench
from tests.support.logs import succeed
from wal_runner.core.arrays import events_of
from wal_runner.core.events import ItemHeld, ItemInterrupted, ItemSucceeded, LateOutcome, Status
from wal_runner.core.identity import key_rule
from wal_runner.errors import CommitUnknown, DiskFull, LogBusy, StorageFailed
from wal_runner.log.format import DATA_NAME, ROOM_AN_ITEM_BYTES, ROOM_FLOOR_BYTES
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import Fault, MemoryStore
from wal_runner.recovery.naming import set_key_rule
from wal_runner.recovery.recover import begin_session
from wal_runner.recovery.unrecorded import settle_own_starts
from wal_runner.recovery.verdicts import Verdict, resolve
from wal_runner.runner.dispatcher import Dispatcher
from wal_runner.runner.feed import Feed
from wal_runner.runner.settling import Settling


IDS = [f"item-{number:03}" for number in range(20)]


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def writer(store):
    return begin_session(MemoryLog(store))


def dispatcher_of(writer, source, *, in_doubt_max=1_000):
    """Return the dispatcher of a run that is to end as soon as it fails, over *source*."""
    rule = key_rule(None)
    set_key_rule(writer, rule.name)
    settling = Settling(idempotent=False)
    feed = Feed(source, rule, writer, settling)
    feed.begin(writer.state.seq)
    return Dispatcher(
        writer, feed, settling, window_max=in_doubt_max, in_doubt_max=in_doubt_max, is_stopping=lambda: True
    )


def finish(dispatcher, attempts):
    for attempt in attempts:
        assert dispatcher.begin(attempt)
        dispatcher.finish(attempt, ItemSucceeded(attempt.start_seq, 5))


def events_in(log, kind):
    return [event for record in log.read(0, limit=10_000) for _, event in events_of(record) if type(event) is kind]


# --- What others did meanwhile ---------------------------------------------------------------------


def test_item_frozen_since_its_look_up_is_not_started_again(store, writer):
    """Another session did it after the look-up, and a snapshot that is being written holds it: it is not new."""
    other = begin_session(MemoryLog(store))
    dispatcher = dispatcher_of(writer, IDS)
    candidates = dispatcher.feed.take(len(IDS))
    succeed(other, IDS[:5])
    writer.turn(lambda _turn: (), force_snapshot=True)
    assert set(IDS[:5]) == writer.state.frozen.keys() & set(IDS), "the case of this test"
    started = dispatcher.commit(candidates)

    assert IDS[5:] == [attempt.item_id for attempt in started]
    assert 5 == dispatcher.settling.report.skipped


def test_repetition_behind_a_snapshot_of_this_run_is_a_duplicate(writer):
    """The snapshot holds what this very run did, so a stored row does not mean that an earlier run did it."""
    dispatcher = dispatcher_of(writer, IDS * 2)
    finish(dispatcher, dispatcher.advance(len(IDS)))
    dispatcher.flush()
    writer.take_snapshot()
    started = dispatcher.advance(len(IDS))
    report = dispatcher.settling.report

    assert [] == started
    assert (20, 20, 0) == (report.succeeded, report.duplicates, report.skipped)


# --- Commits that fail -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.WRITTEN, Fault.NOT_WRITTEN])
def test_outcome_is_written_once_whatever_its_commit_said(store, writer, fault):
    """After a commit of unknown result the log is asked which outcomes it holds; the others are written again."""
    dispatcher = dispatcher_of(writer, IDS)
    attempts = dispatcher.advance(len(IDS))
    finish(dispatcher, attempts)
    faults = iter([fault])
    store.hook = lambda moment: next(faults, None) if moment == "commit" else None
    dispatcher.flush()

    assert [attempt.start_seq for attempt in attempts] == [
        event.start_seq for event in events_in(writer.log, ItemSucceeded)
    ]
    assert 20 == dispatcher.settling.report.succeeded
    assert {} == dispatcher.in_flight


@pytest.mark.parametrize("ending", ["next run", "close"])
@pytest.mark.parametrize("fault", [Fault.NOT_WRITTEN, Fault.DISK_FULL])
def test_late_outcome_whose_commit_failed_is_recorded_later(store, writer, caplog, fault, ending):
    """The worker cannot raise it to anybody: it is logged, and the next run or the close of the Runner writes it."""
    dispatcher = dispatcher_of(writer, IDS)
    dispatcher.begin_run()
    [attempt] = dispatcher.advance(1)
    assert dispatcher.begin(attempt)
    dispatcher.settle_the_rest("left behind")
    assert 1 == writer.state.counts[Status.IN_DOUBT]
    store.hook = lambda moment: fault if moment == "commit" else None
    dispatcher.finish(attempt, ItemSucceeded(attempt.start_seq, 5))
    store.hook = lambda _moment: None

    assert "could not be committed" in caplog.text
    if ending == "close":
        writer.close()
    else:
        dispatcher_of(writer, IDS).begin_run()
        assert {} == writer.own_starts.late == writer.own_starts.left_behind
    assert [attempt.start_seq] == [event.start_seq for event in events_in(MemoryLog(store), LateOutcome)]


@pytest.mark.parametrize("fault", [Fault.WRITTEN, Fault.NOT_WRITTEN])
def test_late_outcome_is_written_once_whatever_its_commit_said(store, writer, fault):
    """A commit of unknown result is looked at, and tried again. Then the slot is free."""
    dispatcher = dispatcher_of(writer, IDS)
    free = dispatcher.scratch.free_slots()
    dispatcher.begin_run()
    [attempt] = dispatcher.advance(1)
    assert dispatcher.begin(attempt)
    dispatcher.settle_the_rest("left behind")
    faults = iter([fault])
    store.hook = lambda moment: next(faults, None) if moment == "commit" else None
    dispatcher.finish(attempt, ItemSucceeded(attempt.start_seq, 5))

    assert [attempt.start_seq] == [event.start_seq for event in events_in(writer.log, LateOutcome)]
    assert {} == writer.own_starts.late == writer.own_starts.left_behind
    assert free == dispatcher.scratch.free_slots()


def test_slot_of_a_worker_stays_its_own_if_the_end_was_written_and_raised(writer):
    """The next run settles nothing more of that start; its worker writes to the slot when fn returns after all."""
    dispatcher = dispatcher_of(writer, IDS)
    dispatcher.begin_run()
    [attempt] = dispatcher.advance(1)
    assert dispatcher.begin(attempt)

    def written_and_raised(decide, *, fitted):
        writer.turn(decide, fitted=fitted)
        raise StorageFailed("the disk answered late")

    with pytest.raises(StorageFailed):
        settle_own_starts(writer, "the run ended before fn did", turn=written_and_raised)
    second = dispatcher_of(writer, IDS)
    second.begin_run()
    others = second.advance(1)
    kept = dict(writer.own_starts.left_behind)
    dispatcher.finish(attempt, ItemSucceeded(attempt.start_seq, 5))

    assert {attempt.start_seq: attempt.slot} == kept
    assert attempt.slot not in {other.slot for other in others}
    assert [attempt.start_seq] == [event.start_seq for event in events_in(writer.log, LateOutcome)]


def test_outcome_of_a_start_that_another_session_holds_is_left_out(store, writer):
    """Its commit was of unknown result; the doubt was answered and taken back, so the start is the other session's."""
    dispatcher = dispatcher_of(writer, IDS)
    [attempt] = dispatcher.advance(1)
    finish(dispatcher, [attempt])
    store.hook = lambda moment: Fault.NOT_WRITTEN if moment == "commit" else None
    with pytest.raises(CommitUnknown):
        dispatcher.flush()
    store.hook = lambda _moment: None
    other = begin_session(MemoryLog(store))
    other.require_format(2)
    writer.append([ItemInterrupted(attempt.start_seq, 0, "the run ended before fn did")])
    resolve(other, {attempt.item_id: Verdict.did_not_happen()}, by="ada")
    other.append([ItemHeld(attempt.item_id, attempt.start_seq, Status.PENDING, 1, 0, "ada", "look again", 0)])
    dispatcher.flush()

    assert [] == events_in(writer.log, ItemSucceeded)
    assert Status.IN_DOUBT == writer.state.attempt(attempt.start_seq).status


def test_turn_that_a_handler_interrupts_is_not_tried_again(writer, monkeypatch):
    """It may be committed already; and this thread would wait for itself."""
    dispatcher = dispatcher_of(writer, IDS)
    dispatcher.is_stopping = lambda: False
    finish(dispatcher, dispatcher.advance(1))
    really_turn, raised = writer.turn, []

    def turn(*arguments, **options):
        if not raised:
            raised.append(LogBusy.of_this_thread("batch.wal"))
            raise raised[0]
        return really_turn(*arguments, **options)

    monkeypatch.setattr(writer, "turn", turn)
    with pytest.raises(LogBusy, match="This thread is in a turn"):
        dispatcher.flush()


def test_items_that_a_full_disk_refused_can_be_started_later(store, writer):
    """They were pulled from the source, which does not yield them again."""
    dispatcher = dispatcher_of(writer, IDS)
    store.hook = lambda moment: Fault.DISK_FULL if moment == "reserve" else None
    with pytest.raises(DiskFull):
        dispatcher.advance(5)
    assert 0 == writer.state.counts[Status.STARTED]
    store.hook = lambda _moment: None
    started = dispatcher.advance(5) + dispatcher.advance(len(IDS))

    assert IDS == [attempt.item_id for attempt in started]


def test_room_is_kept_for_every_outcome_that_is_missing(tmp_path):
    """The items in flight and those to be started: a disk that fills up now loses the outcome of none."""
    bench = LmdbBench(tmp_path)
    writer = begin_session(bench.open())
    dispatcher = dispatcher_of(writer, [f"item-{number:03}" for number in range(300)])
    for running in (100, 200, 300):
        dispatcher.advance(100)

        assert running == len(dispatcher.in_flight)
        assert ROOM_FLOOR_BYTES + running * ROOM_AN_ITEM_BYTES <= (bench.path / DATA_NAME).stat().st_size
    writer.close()
