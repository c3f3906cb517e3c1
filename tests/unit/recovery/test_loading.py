"""Loading: the snapshot and the tail, whatever happens to the log meanwhile."""

import pytest

from tests.support.folded import loaded, replayed, whole
from tests.support.logs import fill, start, succeed
from wal_runner.core.state import State
from wal_runner.errors import Compacted
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import MemoryStore
from wal_runner.recovery import compact as compacting
from wal_runner.recovery.loading import LOADS_MAX, load, records_after
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.recover import begin_session


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
