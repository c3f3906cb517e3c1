"""The memory engine beyond what every engine does: planned failures, deaths, and the same bytes as LMDB."""
# ruff: noqa: PT012 - a turn is a block, and leaving it is what raises

import itertools
import subprocess
import sys

import pytest

from tests.support.engines import LmdbBench
from wal_runner import failpoints
from wal_runner.core.events import ItemStarted, ItemSucceeded, SessionOpened, Status
from wal_runner.core.state import State
from wal_runner.errors import CommitUnknown, DiskFull, LogBusy, LogCorrupt
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import Fault, MemoryStore
from wal_runner.log.protocol import Liveness
from wal_runner.log.scratch import Remains


class Died(Exception):
    """The process died here."""


def opened(session):
    return SessionOpened(session, "h", 1, "b", (), "/", "u", "0")


def faulty(*faults, at="commit"):
    """Give a hook that injects *faults* one after the other at its moment, and then none."""
    left = iter(faults)
    return lambda moment: next(left, None) if moment == at else None


def texts(log):
    return [array[1] for record in log.read(0, limit=100) for array in record.arrays]


# --- Failures -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "written"),
    [
        (Fault.DISK_FULL, DiskFull, False),
        (Fault.NOT_WRITTEN, CommitUnknown, False),
        (Fault.WRITTEN, CommitUnknown, True),
    ],
)
def test_commit_fails_as_planned(fault, error, written):
    """The hook says how the commit fails; what it is then on the disk is all of the turn, or nothing."""
    store = MemoryStore(hook=faulty(None, fault))
    log = MemoryLog(store)
    with log.exclusive(0) as turn:
        turn.append(1, [ItemStarted("before")])
    with pytest.raises(error), log.exclusive(1) as turn:
        turn.append(1, [ItemStarted("failing")])
        turn.put_rows([("a", 5)], seconds_max=1.0)
        turn.set_snapshotter(4)

    assert (["before", "failing"] if written else ["before"]) == texts(MemoryLog(store))
    assert int(written) == log.row_sums()[0]
    with log.exclusive(1) as turn:
        assert (4 if written else 0) == turn.snapshotter()
        turn.append(1, [ItemStarted("after")])
    assert "after" == texts(log)[-1]


def test_hook_that_raises_is_a_death_before_the_commit():
    """A simulator kills a process in a commit by raising there: nothing is written, and the gate is free."""

    def die(_moment):
        raise Died

    store = MemoryStore(hook=die)
    with pytest.raises(Died), MemoryLog(store).exclusive(0) as turn:
        turn.append(1, [ItemStarted("a")])
    store.hook = lambda _moment: None

    assert [] == texts(MemoryLog(store))


@pytest.mark.parametrize(("name", "expected"), [("commit.before_commit", []), ("commit.after_commit", ["a"])])
def test_failpoints_around_the_commit_are_reached(name, expected):
    """The named crash points stand where LMDB's do."""
    store = MemoryStore()

    def die():
        raise Died

    failpoints.arm(name, die)
    with pytest.raises(Died), MemoryLog(store).exclusive(0) as turn:
        turn.append(1, [ItemStarted("a")])

    assert expected == texts(MemoryLog(store))


def test_turn_that_changes_nothing_cannot_fail():
    """What is not written needs no commit."""
    log = MemoryLog(MemoryStore(hook=faulty(Fault.NOT_WRITTEN)))
    with log.exclusive(0):
        pass


def test_reserving_fails_as_planned():
    """A disk without room for outcomes is full before anything is started."""
    store = MemoryStore(hook=faulty(Fault.DISK_FULL, at="reserve"))
    log = MemoryLog(store)
    with pytest.raises(DiskFull), log.exclusive(0) as turn:
        turn.append(1, [ItemStarted("a")])
        turn.reserve(1)
    with log.exclusive(0) as turn:
        turn.reserve(1)

    assert [] == texts(log)


@pytest.mark.parametrize("fault", [Fault.NOT_WRITTEN, Fault.WRITTEN, Fault.DISK_FULL])
def test_session_of_a_failed_commit_is_dead(fault):
    """Whoever was born in it does not live, whether its opening is on the disk or not."""
    log = MemoryLog(MemoryStore(hook=faulty(fault)))
    with pytest.raises((CommitUnknown, DiskFull)), log.exclusive(0) as turn:
        session = turn.new_session(0)
        turn.append(1, [opened(1)])

    assert {1: Liveness(alive=False, owner_alive=False)} == log.liveness([1])
    session.close()


# --- Deaths --------------------------------------------------------------------------------


def test_killed_session_leaves_its_slots():
    """Its lock is gone, its marks stay; the process itself may go on, as a zombie that others hold dead."""
    store = MemoryStore()
    log = MemoryLog(store)
    with log.exclusive(0) as turn:
        session = turn.new_session(0)
        turn.append(1, [opened(1)])
    [slot] = session.scratch.take(1)
    session.scratch.arm(slot, 10)
    store.kill(1)
    other = MemoryLog(store)

    assert {1: Liveness(alive=False, owner_alive=False)} == other.liveness([1])
    assert {1: {10: Remains(begun=False)}} == other.remains_of([1])
    with log.exclusive(1) as turn:
        turn.append(1, [ItemStarted("zombie")])
    assert "zombie" == texts(other)[-1]


def test_power_cut_ends_every_session_and_what_their_slots_said():
    """The log is all that is left: what a slot said on another boot is not believed."""
    store = MemoryStore()
    sessions = []
    for number in (1, 2):
        with MemoryLog(store).exclusive(0) as turn:
            sessions.append(turn.new_session(0))
            turn.append(number, [opened(number)])
        [slot] = sessions[-1].scratch.take(1)
        sessions[-1].scratch.arm(slot, 10 * number)
    store.cut_power()
    log = MemoryLog(store)

    dead = Liveness(alive=False, owner_alive=False)
    assert {1: dead, 2: dead} == log.liveness([1, 2])
    assert {1: {}, 2: {}} == log.remains_of([1, 2])
    assert 2 == len(list(log.read(0, limit=10)))


def test_two_handles_see_one_store():
    """Each turn of one is there for the next of the other, and a turn excludes all others."""
    store = MemoryStore()
    one, other = MemoryLog(store), MemoryLog(store)
    with one.exclusive(0) as turn:
        turn.append(1, [ItemStarted("a")])
        with pytest.raises(LogBusy):
            list(other.read(0, limit=1))
    with other.exclusive(0) as turn:
        assert 1 == len(turn.records)
        turn.append(2, [ItemStarted("b")])
    with one.exclusive(1) as turn:
        assert 2 == turn.records[0].session


def test_damaged_store_is_corrupt():
    """A test may flip what is stored: it is noticed as on a disk."""
    store = MemoryStore()
    log = MemoryLog(store)
    with log.exclusive(0) as turn:
        turn.append(1, [ItemStarted("a")])
        turn.put_rows([("a", 5)], seconds_max=1.0)
    store.values[0] = store.values[0][:-1] + b"b"
    store.items[b"a"] = store.items[b"a"][:-1] + b"\x06"

    with pytest.raises(LogCorrupt):
        list(log.read(0, limit=1))
    with pytest.raises(LogCorrupt):
        log.look_up(["a"])


# --- The same calls, the same bytes ----------------------------------------------------------


def act(log):
    """Do a little of everything."""
    for n in range(3):
        with log.exclusive(400 * n) as turn:
            turn.append(1, [ItemStarted(f"{n}-{m}") for m in range(200)])
            turn.append(2, [ItemSucceeded(400 * n + m + 1, m, b"r" * m) for m in range(200)])
    state = State()
    state.chain = next(record.chain for record in log.read(0, limit=10_000) if record.last_seq == 800)
    state.seq, state.open, state.cursors = 800, {3: ("a", 1, 5), 9: ("b", 2, 6)}, {"pages": b"1"}
    state.counts[Status.STARTED] = 2
    with log.exclusive(1_200) as turn:
        turn.put_rows([(f"0-{m}", m + 1) for m in range(50)], seconds_max=60.0)
        turn.put_snapshot(state)
        turn.put_base_state(state)
        turn.drop(800, records_max=100)


def everything(log):
    return (
        list(log.read(log.base()[0], limit=10_000)),
        log.base(),
        log.base_state(),
        log.snapshot(),
        log.row_sums(),
        log.look_up([f"0-{m}" for m in range(60)]),
        log.scan(b"", limit=1_000),
    )


def test_same_calls_store_the_same_bytes_as_lmdb(tmp_path):
    """Records, hashes, rows, sums, snapshot and base are those that the LMDB engine stores."""
    bench = LmdbBench(tmp_path)
    real = bench.open()
    memory = MemoryLog(MemoryStore(bench.log_id, clock_ns=itertools.count(1).__next__))
    act(real)
    act(memory)

    assert everything(real) == everything(memory)
    bench.close()


def test_same_calls_give_the_same_bytes_in_any_process():
    """Nothing depends on the time, on chance, or on the order of hashes: a seed reproduces a simulation."""
    program = (
        "from tests.unit.log.test_memory_log import *\n"
        "store = MemoryStore()\nact(MemoryLog(store))\n"
        "print(store.values, store.items, store.open, store.meta)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("1", "2")
    }

    assert 1 == len(said)
