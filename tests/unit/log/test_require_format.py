"""Raising a log to format 2: with the first thing that needs it, in one turn, and not under an older process."""
# ruff: noqa: PT012 - a turn is a block, and leaving it is what raises

import errno

import pytest

from tests.support.engines import LmdbBench
from tests.unit.log.test_lmdb_commit import fail, lmdb_error
from wal_runner import failpoints
from wal_runner.core.events import ItemStarted, ItemSucceeded, SessionOpened
from wal_runner.core.items import SessionInfo
from wal_runner.errors import CommitUnknown, DiskFull, LogTooNew, OlderVersionRunning
from wal_runner.log.folder import read_identity
from wal_runner.log.format import FORMAT_VERSION, META_FORMAT
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import MemoryStore
from wal_runner.log.rows import pack


TAGGED = ItemSucceeded(1, 5, b"\xd6\x01abcd")


class Unwanted(Exception):
    """What breaks a turn off."""


class Died(Exception):
    """The process died here."""


@pytest.fixture
def on_disk(tmp_path):
    """Give a new log in a folder."""
    made = LmdbBench(tmp_path)
    yield made
    made.close()


def info(number, version, **more):
    """Make what a state holds of a session."""
    return SessionInfo(number, "mailer-1", 42, "boot", (), "/", "u", version, "", 0)._replace(**more)


def born(log):
    """Begin a session, which runs until somebody ends it."""
    with log.exclusive(log_end(log)) as turn:
        session = turn.new_session(0)
        turn.append(session.number, [SessionOpened(session.number, "mailer-1", 42, "b", (), "/", "u", "0.1.0")])
    return session


def log_end(log):
    return max((record.last_seq for record in log.read(0, limit=1_000)), default=0)


def raise_to_2(log, *unended, write=True):
    """Raise the log in a turn that writes what needs it."""
    with log.exclusive(log_end(log)) as turn:
        turn.require_format(2, unended)
        if write:
            turn.append(1, [ItemStarted("a"), TAGGED._replace(start_seq=turn.end + 1)])


class Elsewhere:
    """A session of another process on *bench*, as far as the kernel can tell: held by another handle."""

    def __init__(self, bench):
        self.bench = bench
        self.session = born(bench.open())
        if isinstance(bench, LmdbBench):
            # The handle forgets that it is its own; the locks stay with their open descriptors.
            bench._log._sessions.own.clear()

    def end(self):
        """Let its process die."""
        self.session.abandon()


# --- Both engines -------------------------------------------------------------------------


def test_new_log_is_in_format_1(bench):
    """Nothing is paid in compatibility before something new is used."""
    log = bench.open()

    assert 1 == log.format()
    with log.exclusive(0) as turn:
        assert 1 == turn.format()


def test_format_is_raised_in_the_turn_and_stays(bench):
    """The turn itself sees it, so does the next handle, and asking again changes nothing."""
    log = bench.open()
    with log.exclusive(0) as turn:
        turn.require_format(2, [])
        turn.require_format(1, [])
        assert 2 == turn.format()
        turn.append(1, [ItemStarted("a"), TAGGED])
    raise_to_2(log, write=False)

    assert 2 == log.format() == bench.open().format()


def test_format_alone_is_durable(bench):
    """A turn that raises it and appends nothing has changed the log."""
    raise_to_2(bench.open(), write=False)

    assert 2 == bench.open().format()


def test_turn_that_breaks_off_raises_nothing(bench):
    """The format and what needed it are there both or neither; the next turn asks again."""
    log = bench.open()
    with pytest.raises(Unwanted), log.exclusive(0) as turn:
        turn.require_format(2, [])
        raise Unwanted

    assert 1 == log.format()
    raise_to_2(log)
    assert 2 == bench.open().format()


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0rc1", "", "0+other"])
def test_older_process_that_runs_is_named(bench, version):
    """Session, host and pid, so that somebody can go and look; the turn goes on without the format."""
    elsewhere = Elsewhere(bench)
    log = bench.open() if not isinstance(bench, LmdbBench) else bench._log
    with log.exclusive(1) as turn:
        with pytest.raises(OlderVersionRunning, match=r"Session 1 \(pid 42 on mailer-1.*Wait until") as raised:
            turn.require_format(2, [info(1, version)])
        turn.append(1, [ItemStarted("b")])

    assert (1, "mailer-1", 42) == (raised.value.session, raised.value.host, raised.value.pid)
    assert (1, 2) == (log.format(), log_end(log))
    elsewhere.end()


@pytest.mark.parametrize("version", ["0.2.0", "0.10.1", "1.0"])
def test_process_that_reads_the_format_is_no_obstacle(bench, version):
    """Versions are compared as numbers."""
    elsewhere = Elsewhere(bench)
    log = bench.open() if not isinstance(bench, LmdbBench) else bench._log
    raise_to_2(log, info(1, version))

    assert 2 == log.format()
    elsewhere.end()


def test_dead_session_is_no_obstacle(bench):
    """Whether its end is on record does not matter: the kernel says that nobody is there."""
    session = born(bench.open())
    session.abandon()
    log = bench.open()
    raise_to_2(log, info(1, "0.1.0"), info(7, "0.1.0"))

    assert 2 == log.format()


def test_command_of_a_dead_session_is_no_obstacle(bench):
    """It keeps the session from being lost, and reads no log."""
    end_effect = bench.leave_effect(born(bench.open()))
    log = bench.open()
    raise_to_2(log, info(1, "0.1.0"))

    assert 2 == log.format()
    end_effect()


def test_own_session_is_of_this_version(bench):
    """Whatever its record says: this very process runs this very code."""
    log = bench.open()
    session = born(log)
    raise_to_2(log, info(1, "0.1.0"))

    assert 2 == log.format()
    session.close()


def test_no_session_is_asked_once_the_format_is_high(bench):
    """An older process that runs all the same is not this turn's to find."""
    raise_to_2(bench.open())
    elsewhere = Elsewhere(bench)
    log = bench.open() if not isinstance(bench, LmdbBench) else bench._log
    raise_to_2(log, info(1, "0.1.0"))

    assert 2 == log.format()
    elsewhere.end()


# --- Memory: the invariant is asserted ----------------------------------------------------------


def test_memory_refuses_what_its_format_does_not_hold():
    """Every test on the memory engine, the simulator and the state machine check it."""
    log = MemoryLog(MemoryStore())
    with pytest.raises(AssertionError, match="needs format 2"), log.exclusive(0) as turn:
        turn.append(1, [ItemStarted("a"), TAGGED])
    raise_to_2(log)

    assert 2 == log_end(log)


def test_memory_handles_see_what_others_raised():
    """Another process's raise is this handle's no-op."""
    store = MemoryStore()
    first, second = MemoryLog(store), MemoryLog(store)
    raise_to_2(first)
    with second.exclusive(2) as turn:
        turn.require_format(2, [])
        turn.append(1, [ItemStarted("b"), TAGGED._replace(start_seq=3)])

    assert 2 == second.format()


def test_session_is_not_born_in_a_newer_format_in_memory():
    """The log may have been raised between the opening and the birth."""
    store = MemoryStore()
    store.meta[META_FORMAT] = pack(META_FORMAT, FORMAT_VERSION + 1)
    with pytest.raises(LogTooNew, match="Use the version"), MemoryLog(store).exclusive(0) as turn:
        turn.new_session(0)

    assert {} == store.sessions


# --- On disk ----------------------------------------------------------------------------------


def test_session_is_not_born_in_a_newer_format(on_disk):
    """The log may have been raised between the opening and the birth, by a process that could not see us."""
    log = on_disk.open()
    with log.exclusive(0) as turn:
        # As a commit of a newer process between our opening and this turn would have left it.
        turn._txn.put(META_FORMAT, pack(META_FORMAT, FORMAT_VERSION + 1), db=turn._tables.meta)
        turn._changed = True
    with pytest.raises(LogTooNew, match="Use the version"), log.exclusive(0) as turn:
        turn.new_session(0)

    assert [] == list((on_disk.path / "sessions").iterdir())


def test_identity_says_1_for_ever(on_disk):
    """The folder's layout has not changed; `meta.format` says what the data needs."""
    before = (on_disk.path / "IDENTITY").read_bytes()
    raise_to_2(on_disk.open())
    on_disk.open()

    assert before == (on_disk.path / "IDENTITY").read_bytes()
    assert 1 == read_identity(on_disk.path).version


def test_rewrite_carries_the_format_over(on_disk):
    """A compaction's copy that said 1 would be opened by an older version, and called damaged."""
    log = on_disk.open()
    raise_to_2(log)
    log.rewrite()

    assert 2 == log.format() == on_disk.open().format()


@pytest.mark.parametrize("written", [False, True])
def test_commit_of_unknown_fate_leaves_both_or_neither(on_disk, written):
    """The handle asks the log again: whatever it had noted of that turn does not count."""
    log = on_disk.open()
    with pytest.raises(CommitUnknown), log.exclusive(0) as turn:
        turn.require_format(2, [])
        turn.append(1, [ItemStarted("a"), TAGGED])
        fail(turn, lmdb_error(errno.EINVAL), written=written)

    assert (2, 2) if written else (1, 0) == (log.format(), log_end(log))
    with log.exclusive(0) as turn:
        turn.require_format(2, [])
        if not turn.records:
            turn.append(1, [ItemStarted("a"), TAGGED])
    assert (2, 2) == (log.format(), log_end(log)) == (on_disk.open().format(), log_end(on_disk.open()))


def test_full_disk_leaves_neither(on_disk):
    """The retry raises the format again, with the record."""
    log = on_disk.open()
    with pytest.raises(DiskFull), log.exclusive(0) as turn:
        turn.require_format(2, [])
        turn.append(1, [ItemStarted("a"), TAGGED])
        fail(turn, lmdb_error(errno.ENOSPC))

    assert (1, 0) == (log.format(), log_end(log))
    raise_to_2(log)
    assert (2, 2) == (on_disk.open().format(), log_end(on_disk.open()))


@pytest.mark.parametrize("name", ["commit.before_commit", "commit.after_commit", "commit.after_head"])
def test_turn_that_ends_in_its_commit_leaves_both_or_neither(on_disk, name):
    """A Ctrl-C around the commit: the format is set if and only if the record is there."""
    log = on_disk.open()

    def die():
        raise Died

    failpoints.arm(name, die)
    with pytest.raises(Died):
        raise_to_2(log)
    there = name != "commit.before_commit"

    assert ((2, 2) if there else (1, 0)) == (log.format(), log_end(log))
    raise_to_2(log)
    assert 2 == on_disk.open().format()


def test_high_format_is_not_read_again(on_disk, monkeypatch):
    """A run with tagged results asks in each turn, so the answer is remembered once it is durable."""
    log = on_disk.open()
    raise_to_2(log)
    with log.exclusive(2) as turn:
        monkeypatch.setattr(turn._data, "format", None)
        turn.require_format(2, [])

    assert 2 == log._data.format_seen


def test_older_file_in_the_place_of_the_log_is_asked_anew(on_disk):
    """What was remembered of one file says nothing of the next; a swapped file is opened again."""
    log = on_disk.open()
    raise_to_2(log)
    log._data.format_seen = 7
    copy = on_disk.path / "data.mdb.copy"
    copy.write_bytes((on_disk.path / "data.mdb").read_bytes())
    copy.replace(on_disk.path / "data.mdb")
    with log.exclusive(2):
        pass

    assert 2 == log._data.format_seen
