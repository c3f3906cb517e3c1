"""Commits of the LMDB engine that fail: what is on the disk then, what is said, and how it goes on."""
# ruff: noqa: PT012 - a turn is a block, and leaving it is what raises

import errno
import os

import lmdb
import pytest

from tests.support.engines import LmdbBench
from wal_runner import failpoints
from wal_runner.core.events import ItemStarted, SessionOpened
from wal_runner.errors import CommitUnknown, DiskFull, LogBusy, StorageFailed
from wal_runner.log import env
from wal_runner.log.protocol import Liveness


COMMIT = ("commit.before_commit", "commit.after_commit", "commit.after_head")


class Died(Exception):
    """The process died here."""


@pytest.fixture
def bench(tmp_path):
    """Give a new log in a folder."""
    made = LmdbBench(tmp_path)
    yield made
    made.close()


class FailingTransaction:
    """A transaction whose commit raises, with what it was to write on the disk or not."""

    def __init__(self, txn, error, *, written):
        self._txn, self._error, self._written = txn, error, written

    def __getattr__(self, name):
        return getattr(self._txn, name)

    def commit(self):
        """Fail."""
        if self._written:
            self._txn.commit()
        else:
            self._txn.abort()
        raise self._error


def lmdb_error(code):
    error = lmdb.Error(f"mdb_txn_commit: {errno.errorcode.get(code, '?')}")
    error.code = code
    return error


def fail(turn, error, *, written=False):
    turn._txn = FailingTransaction(turn._txn, error, written=written)


def append(log, *ids, after):
    with log.exclusive(after) as turn:
        turn.append(1, [ItemStarted(item_id) for item_id in ids])


def ids_in(log):
    return [array[1] for record in log.read(0, limit=10_000) for array in record.arrays]


@pytest.mark.parametrize("written", [False, True])
def test_commit_of_unknown_fate_is_said_and_can_be_looked_up(bench, written):
    """Whatever LMDB raised, the events may be there; the next turn shows whether they are."""
    log = bench.open()
    append(log, "a", after=0)
    with pytest.raises(CommitUnknown), log.exclusive(1) as turn:
        turn.append(1, [ItemStarted("b")])
        fail(turn, lmdb_error(errno.EINVAL), written=written)
    with log.exclusive(1) as turn:
        assert int(written) == len(turn.records)
        turn.append(1, [ItemStarted("c")])

    assert (["a", "b", "c"] if written else ["a", "c"]) == ids_in(bench.open())


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSPC, errno.EIO])
def test_failed_commit_is_synced_inside_the_log_lock(bench, monkeypatch, code):
    """LMDB puts the old meta page back unsynced: another process must not build on it before it is on disk."""
    log = bench.open()
    append(log, "a", after=0)
    inode = (bench.path / "data.mdb").stat().st_ino
    fsync, synced = os.fsync, []

    def sync(descriptor):
        fsync(descriptor)
        if os.fstat(descriptor).st_ino == inode:
            with pytest.raises(LogBusy), log.exclusive(1, wait_s=0):
                pass
            synced.append(inode)

    with pytest.raises((CommitUnknown, DiskFull, StorageFailed)), log.exclusive(1) as turn:
        turn.append(1, [ItemStarted("b")])
        fail(turn, lmdb_error(code))
        monkeypatch.setattr(os, "fsync", sync)

    assert [inode] == synced


def test_full_disk_writes_nothing_and_the_log_goes_on(bench):
    """The pages that could not be written do not count; when there is space again, the next turn writes."""
    log = bench.open()
    with pytest.raises(DiskFull, match="Free some space"), log.exclusive(0) as turn:
        turn.append(1, [ItemStarted("a")])
        fail(turn, lmdb_error(errno.ENOSPC))
    append(log, "b", after=0)

    assert ["b"] == ids_in(bench.open())


def test_disk_that_failed_is_trusted_no_more(bench):
    """After a failed sync LMDB carries on as if it had worked: this handle refuses everything from then on."""
    log = bench.open()
    append(log, "a", after=0)
    with pytest.raises(StorageFailed), log.exclusive(1) as turn:
        turn.append(1, [ItemStarted("b")])
        fail(turn, lmdb_error(errno.EIO))
    for _ in range(2):
        with pytest.raises(StorageFailed):
            list(log.read(0, limit=1))
        with pytest.raises(StorageFailed), log.exclusive(1):
            pass

    assert ["a"] == ids_in(bench.open()), "the next process looks for itself"


def test_full_map_writes_nothing_and_the_log_goes_on(bench, monkeypatch):
    """A real MapFullError: the whole turn is undone, and what fits is still written."""
    monkeypatch.setattr(env, "MAP_BYTES", 1 << 19)
    log = bench.open()
    append(log, "a", after=0)
    with pytest.raises(DiskFull, match="map"), log.exclusive(1) as turn:
        turn.append(1, [ItemStarted("x" * 1_000_000)])
    append(log, "b", after=1)

    assert ["a", "b"] == ids_in(log)


@pytest.mark.parametrize("error", [Died, KeyboardInterrupt])
@pytest.mark.parametrize("name", COMMIT)
def test_turn_that_ends_in_its_commit_blocks_nobody(bench, name, error):
    """A Ctrl-C in the middle of a commit leaves no transaction open, though its traceback is kept."""
    log = bench.open()

    def die():
        raise error

    failpoints.arm(name, die)
    with pytest.raises(error) as kept, log.exclusive(0) as turn:
        turn.append(1, [ItemStarted("a")])
    written = name != "commit.before_commit"
    with log.exclusive(0) as turn:
        assert int(written) == len(turn.records)
        turn.append(1, [ItemStarted("b")])

    assert kept.value.__traceback__
    assert (["a", "b"] if written else ["b"]) == ids_in(bench.open())


@pytest.mark.parametrize("name", [*COMMIT, "session.after_file"])
def test_session_of_a_turn_that_did_not_end_is_dead(bench, name):
    """Whoever was born in it holds no lock, and its number is not lost to a living one."""
    log = bench.open()

    def die():
        raise Died

    failpoints.arm(name, die)
    sessions = []
    with pytest.raises(Died), log.exclusive(0) as turn:
        sessions.append(turn.new_session(0))
        turn.append(1, [SessionOpened(1, "h", 1, "b", (), "/", "u", "0")])
    if name in {"commit.after_commit", "commit.after_head"}:
        sessions[0].close()  # what is durable is the caller's to end

    assert {1: Liveness(alive=False, owner_alive=False)} == bench.open().liveness([1])


def test_gate_is_free_after_any_failure(bench):
    """Whatever broke off, the next one gets in."""
    log = bench.open()
    for error in (lmdb_error(errno.EINVAL), lmdb_error(errno.ENOSPC)):
        with pytest.raises((CommitUnknown, DiskFull)), log.exclusive(0) as turn:
            turn.append(1, [ItemStarted("a")])
            fail(turn, error)
        with log.exclusive(0, wait_s=0), pytest.raises(LogBusy), log.exclusive(0, wait_s=0):
            pass


def test_records_are_never_put_out_of_order(bench):
    """put() reports that by False, not by raising; a silent False would lose an event."""
    log = bench.open()
    append(log, "a", "b", after=0)
    with pytest.raises(AssertionError), log.exclusive(2) as turn:
        turn._end = (0, b"x" * 16)
        turn.append(1, [ItemStarted("c")])

    assert ["a", "b"] == ids_in(log)
