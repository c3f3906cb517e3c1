"""Opening an LMDB log that something happened to: a typed error, and never a wrong answer or a redo."""

import os
import shutil

import lmdb
import pytest

from tests.support import damage
from tests.support.logs import copy_log, make_log, succeed
from wal_runner.core.events import ItemStarted, Status
from wal_runner.errors import LogCorrupt, LogError, LogLost, LogReplaced, LogTooNew, LogWentBack
from wal_runner.log.folder import read_identity
from wal_runner.log.format import (
    FORMAT_VERSION,
    HEAD_NAME,
    LOG_TABLE,
    META_BASE,
    META_BASE_STATE,
    META_FORMAT,
    META_LOG_ID,
    META_ROWS,
    META_SNAPSHOT,
    META_SNAPSHOTTER,
)
from wal_runner.log.lmdb_log import LmdbLog
from wal_runner.log.lmdb_sessions import NUMBER_MAX
from wal_runner.log.rows import encode_row, pack
from wal_runner.recovery.compact import compact
from wal_runner.recovery.recover import open_writer
from wal_runner.recovery.verifying import verify


@pytest.fixture
def path(tmp_path):
    """Give a log with 20 items done, some otherwise, a snapshot, and events behind it."""
    made = tmp_path / "emails.wal"
    make_log(made)
    return made


def opened(path, *, read_only=False):
    return LmdbLog(path, read_identity(path), read_only=read_only)


def events(path):
    log = opened(path, read_only=True)
    try:
        return [array for record in log.read(0, limit=10_000) for array in record.arrays]
    finally:
        log.close()


# --- The file as a whole ------------------------------------------------------------------------


@pytest.mark.parametrize("read_only", [False, True])
def test_log_in_order_opens(path, read_only):
    """The control of this file: what nobody damaged opens."""
    opened(path, read_only=read_only).close()


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("size", [1, 100, 4_096, 8_192, 20_000])
def test_file_that_lost_its_end_is_corrupt(path, size, read_only):
    """LMDB would answer with SIGBUS; the structure is walked before LMDB is let at the file."""
    os.truncate(path / "data.mdb", size)

    with pytest.raises(LogCorrupt):
        opened(path, read_only=read_only)


@pytest.mark.parametrize("content", [b"\0", b"\xff", b"not a database "], ids=["zeros", "ones", "text"])
def test_file_of_something_else_is_corrupt(path, content):
    """Other bytes of the same size."""
    size = (path / "data.mdb").stat().st_size
    (path / "data.mdb").write_bytes((content * size)[:size])

    with pytest.raises(LogCorrupt):
        opened(path)


def test_another_logs_file_is_lost(path, tmp_path):
    """A data file that was put in the wrong folder belongs to another log, however sound it is."""
    make_log(tmp_path / "other.wal")
    shutil.copy(tmp_path / "other.wal" / "data.mdb", path / "data.mdb")

    with pytest.raises(LogLost, match="another log"):
        opened(path)


def test_lmdb_file_of_another_program_is_refused(path):
    """Nothing is created in it."""
    (path / "data.mdb").unlink()
    env = lmdb.open(str(path / "data.mdb"), subdir=False, lock=False, lib_version=0)
    with env.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    env.close()
    before = (path / "data.mdb").read_bytes()

    with pytest.raises(LogError):
        opened(path)
    assert before == (path / "data.mdb").read_bytes()


def test_damage_found_on_opening_changes_nothing(path):
    """An opening that is refused writes no byte to data.mdb."""
    damage.drop_row(path, "done-3")
    before = (path / "data.mdb").read_bytes()
    with pytest.raises(LogCorrupt):
        opened(path)

    assert before == (path / "data.mdb").read_bytes()


# --- An older copy -------------------------------------------------------------------------------


def test_older_copy_of_the_data_went_back(path):
    """HEAD has seen what the copy does not hold: running would repeat it."""
    older = (path / "data.mdb").read_bytes()
    writer, _ = open_writer(path)
    succeed(writer, ["more"])
    writer.close()
    (path / "data.mdb").write_bytes(older)

    with pytest.raises(LogWentBack, match="HEAD"):
        opened(path)


def test_commit_that_was_rolled_back_went_back(path):
    """One lost record is enough."""
    damage.drop_tail(path, 1)

    with pytest.raises(LogWentBack):
        opened(path)


def test_copy_that_went_its_own_way_went_back(path, tmp_path):
    """A copy that is as long, and tells another story, is not the log that HEAD saw."""
    copy_log(path, tmp_path / "copy.wal")
    for folder, item_id in ((path, "here"), (tmp_path / "copy.wal", "there")):
        writer, _ = open_writer(folder)
        succeed(writer, [item_id])
        writer.close()
    shutil.copy(tmp_path / "copy.wal" / "data.mdb", path / "data.mdb")

    with pytest.raises(LogWentBack, match="another history"):
        opened(path)


@pytest.mark.parametrize("head", [None, b"", b"WRH1", b"x" * 93], ids=["missing", "empty", "torn", "other"])
def test_log_without_a_witness_opens(path, head):
    """A HEAD that is missing or torn is no witness and proves nothing: it is never fsynced."""
    before = events(path)
    damage.forget_head(path)
    if head is not None:
        (path / "HEAD").write_bytes(head)
    opened(path).close()

    assert before == events(path)
    damage.drop_tail(path, 1)
    with pytest.raises(LogWentBack):
        opened(path)


def test_older_copy_put_in_place_under_a_handle_went_back(path):
    """A handle that has the log open notices the swap, and what is missing, at its next turn."""
    older = (path / "data.mdb").read_bytes()
    log = opened(path)
    end = list(log.read(0, limit=10_000))[-1].last_seq
    with log.exclusive(end) as turn:
        turn.append(1, [ItemStarted("more")])
    (path / "data.mdb.old").write_bytes(older)
    (path / "data.mdb.old").rename(path / "data.mdb")

    with pytest.raises(LogWentBack), log.exclusive(end):
        pass
    log.close()


def test_deleted_data_under_a_handle_is_lost(path):
    """Writing into a file that has no name any more would be in vain."""
    log = opened(path)
    (path / "data.mdb").unlink()
    for _ in range(2):
        with pytest.raises(LogLost):
            list(log.read(0, limit=1))
        with pytest.raises(LogLost), log.exclusive(0):
            pass
    log.close()


def test_deleted_gate_under_a_handle_is_replaced(path):
    """Two processes with locks on two GATE files would both be inside."""
    log = opened(path)
    (path / "GATE").unlink()
    (path / "GATE").touch()

    with pytest.raises(LogReplaced):
        list(log.read(0, limit=1))
    log.close()


# --- Single records and rows -----------------------------------------------------------------------


@pytest.mark.parametrize("seq", [1, 5, 20])
def test_flipped_record_is_corrupt_where_it_is(path, seq):
    """The chain names the record; what comes before it is as it was."""
    damage.flip_byte(path, seq=seq)
    log = opened(path)

    with pytest.raises(LogCorrupt) as caught:
        list(log.read(0, limit=10_000))
    assert caught.value.seq <= seq
    log.close()


def test_flipped_last_record_is_noticed_by_the_next_append(path):
    """What would chain to a damaged record is not written."""
    seq = len(events(path))
    damage.flip_byte(path, seq=seq, place=0)

    with pytest.raises((LogCorrupt, LogWentBack)):
        opened(path)


def test_missing_record_is_corrupt(path):
    """A gap in the seqs is no end of the log."""
    damage.drop_record(path, seq=5)
    log = opened(path)

    with pytest.raises(LogCorrupt):
        list(log.read(0, limit=10_000))
    log.close()


def test_missing_row_is_noticed_before_anything_runs(path):
    """A finished item whose row is gone would be done again: the count of rows is checked at each opening."""
    damage.drop_row(path, "done-3")
    for read_only in (False, True):
        with pytest.raises(LogCorrupt, match="missing"):
            opened(path, read_only=read_only)


def test_row_that_nobody_put_is_noticed(path):
    """Nor may there be one too many."""
    damage.put_row(path, b"unknown", b"\0\0\0\0\x92\x02\x05")

    with pytest.raises(LogCorrupt):
        opened(path)


@pytest.mark.parametrize("item_id", ["done-3", "with result", "long " * 200])
def test_flipped_row_is_corrupt_when_it_is_looked_up(path, item_id):
    """Each look-up checks the row that it answers with; the others answer."""
    damage.flip_row(path, item_id)
    log = opened(path)

    with pytest.raises(LogCorrupt):
        log.look_up([item_id])
    with pytest.raises(LogCorrupt):
        log.scan(b"", limit=1_000)
    with log.exclusive(list(log.read(0, limit=10_000))[-1].last_seq) as turn, pytest.raises(LogCorrupt):
        turn.look_up([item_id])
    assert None is not log.look_up(["done-4"])[0]
    log.close()


def test_rows_that_changed_places_are_corrupt(path):
    """Each is whole, and under the wrong key."""
    damage.swap_rows(path, "done-3", "failed")
    log = opened(path)
    for item_id in ("done-3", "failed"):
        with pytest.raises(LogCorrupt):
            log.look_up([item_id])
    log.close()


@pytest.mark.parametrize("key", [META_BASE, META_ROWS, META_LOG_ID], ids=bytes.decode)
@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_damaged_facts_about_the_log_are_noticed_on_opening(path, key, how):
    """Where the log begins, how many rows it has, whose it is."""
    value = bytearray(damage.get_meta(path, key))
    value[-1] ^= 1
    damage.put_meta(path, key, bytes(value) if how == "flipped" else None)

    with pytest.raises((LogCorrupt, LogLost)):
        opened(path)


def test_damaged_snapshot_is_corrupt(path):
    """It is not folded on."""
    value = bytearray(damage.get_meta(path, META_SNAPSHOT))
    value[-1] ^= 1
    damage.put_meta(path, META_SNAPSHOT, bytes(value))
    log = opened(path)

    with pytest.raises(LogCorrupt):
        log.snapshot()
    log.close()


def test_damaged_snapshotter_is_corrupt(path):
    """A turn does not guess who writes the snapshot."""
    damage.put_meta(path, META_SNAPSHOTTER, b"\0\0\0\0\x05")
    log = opened(path)
    with log.exclusive(list(log.read(0, limit=10_000))[-1].last_seq) as turn, pytest.raises(LogCorrupt):
        turn.snapshotter()
    log.close()


def test_damaged_base_state_is_corrupt(path):
    """A replay does not begin with a guess."""
    damage.put_meta(path, META_BASE_STATE, b"\0\0\0\0\x05")
    log = opened(path)

    with pytest.raises(LogCorrupt):
        log.base_state()
    log.close()


# --- Any bit of any page ----------------------------------------------------------------------------


@pytest.mark.slow
def test_any_flipped_bit_is_an_error_or_makes_no_difference(tmp_path):
    """Over the whole file: what is read is what was written, or a typed error; the process lives.

    A sample of one bit in each 97 bytes; `tools/corruption.py` tries far more.
    """
    path = tmp_path / "emails.wal"
    make_log(path)
    whole = (path / "data.mdb").read_bytes()
    expected = everything(path)
    found = {"same": 0, "error": 0}
    for place in range(0, len(whole), 97):
        damage.flip_file(path, place, place % 8)
        try:
            assert expected == everything(path), place
            found["same"] += 1
        except LogError:
            found["error"] += 1
        (path / "data.mdb").write_bytes(whole)

    assert found["error"] > 20
    assert found["same"] > 20


def everything(path):
    log = opened(path, read_only=True)
    try:
        return list(log.read(0, limit=10_000)), log.scan(b"", limit=1_000), log.snapshot(), log.base(), log.row_sums()
    finally:
        log.close()


# --- What a handle remembers --------------------------------------------------------------------------


@pytest.mark.parametrize("by", [0, 1])
def test_log_that_is_not_what_its_handle_saw_went_back(path, by):
    """In the file that is open, so that nothing was swapped: fewer events, or as many of another history."""
    log = opened(path)
    seq, chain = log._data.known
    log._data.known = (seq + by, bytes(len(chain)))

    with pytest.raises(LogWentBack):
        list(log.read(seq, limit=1))
    with pytest.raises(LogWentBack), log.exclusive(seq):
        pass
    log.close()


def test_witness_from_before_a_compaction_is_no_fault(path):
    """HEAD could not be written for a while, and what it saw last has been dropped since."""
    old = (path / HEAD_NAME).read_bytes()
    compact(path)
    (path / HEAD_NAME).write_bytes(old)

    assert [] == list(verify(path))
    open_writer(path)[0].close()


def test_first_events_that_are_missing_are_corrupt(path):
    """A hash is asked for that nothing in front of it can give."""
    with damage.table(path, LOG_TABLE) as (txn, _):
        for key, _value in list(txn.cursor())[:3]:
            txn.delete(key)
    log = opened(path)
    for after in (1, 2):
        with pytest.raises(LogCorrupt, match="missing"):
            list(log.read(after, limit=1))
    log.close()


@pytest.mark.parametrize(("version", "error"), [(FORMAT_VERSION + 1, LogTooNew), (0, LogCorrupt), (None, LogCorrupt)])
def test_data_in_another_format_is_refused(path, version, error):
    """Its own word counts as IDENTITY's does: an older folder around newer data is not guessed at."""
    damage.put_meta(path, META_FORMAT, None if version is None else pack(META_FORMAT, version))

    with pytest.raises(error, match="format"):
        opened(path)


def test_row_put_back_is_noticed_by_an_opening_that_looks_at_all(path):
    """As many rows as there should be, each with its checksum, and one of them an older one."""
    damage.put_row(path, b"done-3", encode_row(b"done-3", "done-3", (int(Status.FAILED), 3, 1, 0, 5)))
    log = opened(path)
    with pytest.raises(LogCorrupt, match="not those that were written last"):
        log.check_rows()
    log.close()


def test_session_number_that_no_log_gets_to_is_refused(path):
    """A snapshot made by hand may say that so many sessions were; the next number could not be stored."""
    log = opened(path)
    seq = log.snapshot().seq
    with log.exclusive(seq) as turn, pytest.raises(LogCorrupt, match="no log ever gets to"):
        turn.new_session(NUMBER_MAX)
    log.close()


def test_error_of_lmdb_at_the_beginning_of_a_turn_is_ours(path, monkeypatch):
    """And nobody is kept out of the gate by it."""

    def fail(*_):
        raise lmdb.CorruptedError("mdb_get")

    log = opened(path)
    monkeypatch.setattr(log._data, "after", fail)
    with pytest.raises(LogCorrupt, match="damaged"), log.exclusive(0):
        pass
    monkeypatch.undo()

    assert 1 <= len(list(log.read(0, limit=1)))
    log.close()


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_rows_are_found_however_far_apart(path, step):
    """Neighbours are walked, others are looked up; either way each id gets its own row."""
    ids = sorted(f"done-{n}" for n in range(20))
    asked = sorted([*ids[::step], *(f"done-{n}x" for n in range(9))])
    log = opened(path)
    found = log.look_up(asked)

    assert [item_id in ids for item_id in asked] == [value is not None for value in found]
    assert [log.look_up([item_id])[0] for item_id in asked] == list(found)
    log.close()


@pytest.mark.parametrize("seq", [-1, 2**64 - 1, 2**63, 1.5, None])
def test_stored_state_of_no_seq_is_corrupt(path, seq):
    """Its checksum is right, and no log has such an event: a typed error, whichever arithmetic it meets."""
    snapshot = pack(META_SNAPSHOT, (seq, b"chain"))
    base_state = pack(META_BASE_STATE, (pack(META_BASE_STATE, (seq, b"chain")), []))
    damage.put_meta(path, META_SNAPSHOT, snapshot)
    damage.put_meta(path, META_BASE_STATE, base_state)
    log = opened(path)
    for read in (log.snapshot, log.base_state):
        with pytest.raises(LogCorrupt):
            read()
    log.close()
