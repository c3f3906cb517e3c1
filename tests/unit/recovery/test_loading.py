"""Loading: the snapshot and the tail, whatever happens to the log meanwhile."""

from datetime import datetime

import pytest

from tests.support.folded import loaded, replayed, whole
from tests.support.logs import fill, start, succeed
from wal_runner.core.events import ItemReopened, ItemStarted, ItemSucceeded, LateOutcome
from wal_runner.core.state import State
from wal_runner.errors import Compacted
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import MemoryStore
from wal_runner.recovery import compact as compacting
from wal_runner.recovery import replay as replaying
from wal_runner.recovery.loading import LOADS_MAX, load, records_after
from wal_runner.recovery.reader import LOOKS_MAX, LogView
from wal_runner.recovery.recover import begin_session
from wal_runner.recovery.replay import numbers_at


@pytest.fixture
def store():
    """Give a store with a log in it that nobody has open."""
    made = MemoryStore()
    writer = begin_session(MemoryLog(made))
    fill(writer)
    writer.abandon()
    return made


class Overtaken(MemoryLog):
    """A handle that is overtaken by a compaction before each of its first *times* reads."""

    def __init__(self, store, times):
        super().__init__(store)
        self.times = times
        self._other = begin_session(MemoryLog(store))

    def read(self, after, *, limit):
        """Read, after another went on and compacted."""
        if self.times:
            self.times -= 1
            succeed(self._other, [f"meanwhile-{self.times}"])
            compacting._drop(self._other, compacting._fold(self._other))
        return super().read(after, limit=limit)


@pytest.mark.parametrize("times", [0, 1, LOADS_MAX - 1])
def test_loading_begins_anew_when_it_is_overtaken(store, times):
    """What was to be read next is in the snapshot by then."""
    log = Overtaken(store, times)

    assert replayed(MemoryLog(store)).counts == load(MemoryLog(store)).counts
    assert whole(load(log), log) == loaded(MemoryLog(store))
    assert 0 == log.times


def test_loading_gives_up_in_the_end(store):
    """It does not go on for ever, and says why."""
    with pytest.raises(Compacted, match=str(LOADS_MAX)):
        load(Overtaken(store, LOADS_MAX))


def test_records_come_in_pages_to_the_end(store, monkeypatch):
    """A long read enters the gate anew for each page, and misses nothing that is appended meanwhile."""
    monkeypatch.setattr("wal_runner.recovery.loading.READ_RECORDS_MAX", 2)
    log = MemoryLog(store)
    writer = begin_session(MemoryLog(store))
    found = []
    for record in records_after(log, 0):
        if not found:
            start(writer, ["meanwhile"])
        found.append(record)

    assert list(log.read(0, limit=1_000)) == found


def test_view_that_was_interrupted_loads_anew(store):
    """A Ctrl-C in the middle of folding does not make the next look a false alarm."""
    view = LogView(MemoryLog(store), load(MemoryLog(store)))
    writer = begin_session(MemoryLog(store))
    start(writer, ["x", "y"])

    class Interrupting(State):
        """A state that is interrupted at its second record."""

        __slots__ = ()

        def apply(self, record):
            """Fold half of it."""
            super().apply(record._replace(arrays=record.arrays[:1]))
            raise KeyboardInterrupt

    view.state().__class__ = Interrupting
    start(writer, ["z", "zz"])
    with pytest.raises(KeyboardInterrupt):
        view.state()

    assert writer.state.counts == view.state().counts
    assert writer.state.seq == view.state().seq


def test_view_that_lags_behind_a_compaction_loads_anew(store):
    """What it would have read next is in the snapshot by then."""
    view = LogView(MemoryLog(store), load(MemoryLog(store)))
    writer = begin_session(MemoryLog(store))
    succeed(writer, ["x"])
    compacting._drop(writer, compacting._fold(writer))

    assert writer.state.seq == view.state().seq
    assert writer.state.counts == view.state().counts


@pytest.mark.parametrize("times", [1, LOOKS_MAX])
def test_sessions_are_looked_at_as_of_one_moment(store, times):
    """Who recorded a death meanwhile has removed what the dead left: the look is begun anew, a few times."""
    begin_session(MemoryLog(store)).session.abandon()
    left = iter(range(times))

    class Overtaken(MemoryLog):
        """A handle beside which another session begins while it asks who lives."""

        def liveness(self, sessions):
            """Ask, and let another begin."""
            found = super().liveness(sessions)
            if next(left, None) is not None:
                begin_session(MemoryLog(store)).session.abandon()
            return found

    log = Overtaken(store)
    reports = LogView(log, load(log)).sessions()

    assert [] == list(left)
    assert any(report.died for report in reports)


def test_replay_holds_no_more_items_than_it_must(store, monkeypatch):
    """Its numbers are those of a fold that holds everything."""
    monkeypatch.setattr(replaying, "ITEMS_HELD_MAX", 3)

    state = numbers_at(MemoryLog(store))

    assert replayed(MemoryLog(store)).counts == state.counts
    assert len(state.items) + len(state.frozen) <= 3


def test_replay_may_end_in_the_middle_of_a_record(store):
    """A record is cut where the question ends, and one that begins behind it is left out."""
    log = MemoryLog(store)
    records = list(log.read(0, limit=1_000))
    long = next(record for record in records if len(record.arrays) > 2)

    for until in (long.first_seq - 1, long.first_seq, long.last_seq - 1, long.last_seq):
        assert until == numbers_at(log, until).seq
        assert until == [entry.seq for entry in replaying.entries(log, until)][-1]


def test_view_of_a_writer_leaves_its_log_open(store):
    """What a Runner shows of itself is not its to close."""
    writer = begin_session(MemoryLog(store))
    LogView(writer.log, writer.state, live=writer).close()
    succeed(writer, ["x"])

    assert "x" in dict(writer.state.touched())


def test_history_of_an_item_leaves_out_what_befell_others(store):
    """Reopenings and late outcomes name their item, and starts do."""
    writer = begin_session(MemoryLog(store))
    done = next(item for item in LogView(writer.log, writer.state, live=writer).items() if item.item_id == "done-1")
    writer.append(
        [
            ItemReopened("done-1", done.start_seq, done.status, done.attempts, 1, "ann", "again"),
            LateOutcome("done-2", done.start_seq, 5),
        ]
    )
    view = LogView(writer.log, writer.state, live=writer)

    assert [ItemStarted, ItemSucceeded, ItemReopened] == [type(entry.event) for entry in view.history("done-1")]
    assert [ItemStarted, ItemSucceeded, LateOutcome] == [type(entry.event) for entry in view.history("done-2")]


def test_time_without_a_zone_is_refused(store):
    """It would mean another moment on another machine."""
    with pytest.raises(ValueError, match="has no time zone"):
        numbers_at(MemoryLog(store), datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is refused
