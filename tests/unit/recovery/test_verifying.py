"""Verification: a sound log has no problem, and each planted fault is found and named."""

import os
import shutil

import pytest

from tests.support import damage
from tests.support.logs import ERROR, fill, make_log, start, succeed
from wal_runner.core.events import ItemStarted, ItemSucceeded, SessionOpened, Status
from wal_runner.core.items import ItemState, item_row
from wal_runner.errors import Compacted, LogMissing, NotALog
from wal_runner.log import opening
from wal_runner.log.codec import encode_records
from wal_runner.log.folder import create_folder
from wal_runner.log.format import LOG_TABLE, META_BASE_STATE, META_ROWS, META_SNAPSHOT, OPEN_TABLE
from wal_runner.log.lmdb_turn import LmdbTurn
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import MemoryStore
from wal_runner.log.rows import encode_row, pack, unpack
from wal_runner.recovery import compact as compacting
from wal_runner.recovery import row_audit, verifying
from wal_runner.recovery.compact import compact
from wal_runner.recovery.recover import begin_session, open_writer
from wal_runner.recovery.verifying import _content_problems, verify


@pytest.fixture
def path(tmp_path):
    """Give a log with items of each kind, a snapshot, and events behind it."""
    made = tmp_path / "emails.wal"
    make_log(made)
    return made


class Disturbed(MemoryLog):
    """A handle beside which something happens after each page that it scans."""

    def __init__(self, store, meanwhile):
        super().__init__(store)
        self._meanwhile = meanwhile

    def scan(self, after_key, *, limit):
        """Scan, and let it happen."""
        page = super().scan(after_key, limit=limit)
        self._meanwhile()
        return page


def parts(path):
    """Give where the problems are."""
    return [problem.part for problem in verify(path)]


# --- Sound logs --------------------------------------------------------------------------------


def test_new_log_is_sound(tmp_path):
    """A log that nothing was written to has no problem."""
    create_folder(tmp_path / "emails.wal")

    assert [] == list(verify(tmp_path / "emails.wal"))


def test_log_with_everything_is_sound(path):
    """Snapshot, tail, long ids, failures, doubts; then crashed, recovered, compacted, gone on."""
    assert [] == list(verify(path))
    writer, _ = open_writer(path)
    start(writer, ["died in it"])
    writer.abandon()
    assert [] == list(verify(path))
    open_writer(path)[0].close()
    assert [] == list(verify(path))
    compact(path)
    assert [] == list(verify(path))
    writer, _ = open_writer(path)
    succeed(writer, ["new"])
    writer.take_snapshot()
    writer.close()
    assert [] == list(verify(path))


def test_log_in_the_middle_of_a_snapshot_is_sound(path):
    """Rows that are newer than their snapshot are no fault, nor is a writer that has the log open."""
    writer, _ = open_writer(path)
    succeed(writer, [f"more-{n}" for n in range(50)])
    writer.turn(lambda _turn: (), force_snapshot=True)
    with writer.log.exclusive(writer.state.seq) as turn:
        turn.put_rows([("more-3", dict(writer.state.touched())["more-3"])], seconds_max=1.0)
    assert [] == list(verify(path))
    writer.abandon()

    assert [] == list(verify(path))


def test_verifying_writes_nothing(path):
    """Not a byte of the folder changes."""
    before = {entry.name: entry.read_bytes() for entry in path.iterdir() if entry.is_file()}
    list(verify(path))

    assert before == {entry.name: entry.read_bytes() for entry in path.iterdir() if entry.is_file()}


@pytest.mark.parametrize("what", ["append", "snapshot"])
def test_log_that_is_written_meanwhile_is_sound(what):
    """Events and rows that come while the rows are counted are not taken for a fault."""
    store = MemoryStore()
    writer = begin_session(MemoryLog(store))
    fill(writer)
    writer.take_snapshot()
    succeed(writer, ["after"])
    done = []

    def write_once():
        if not done:
            done.append(what)
            succeed(writer, ["meanwhile"])
            if what == "snapshot":
                writer.take_snapshot()

    assert [] == list(_content_problems(Disturbed(store, write_once)))
    assert [what] == done


def test_log_that_is_compacted_meanwhile_is_sound():
    """What was to be walked next is in the snapshot by then: the walk begins anew behind it."""
    store = MemoryStore()
    writer = begin_session(MemoryLog(store))
    fill(writer)
    done = []

    class Overtaken(MemoryLog):
        """A handle that is overtaken by a compaction, once, before it reads."""

        def read(self, after, *, limit):
            """Read, after another compacted."""
            if not done:
                done.append(after)
                compacting._drop(writer, compacting._fold(writer))
            return super().read(after, limit=limit)

    assert [] == list(_content_problems(Overtaken(store)))
    assert [0] == done


@pytest.mark.parametrize("error", [LogMissing, NotALog])
def test_what_cannot_be_verified_is_said(tmp_path, error):
    """Where there is no log, there is nothing to be found wrong with it."""
    if error is NotALog:
        (tmp_path / "emails.wal").mkdir()

    with pytest.raises(error):
        list(verify(tmp_path / "emails.wal"))


# --- Planted faults: the records ------------------------------------------------------------------


@pytest.mark.parametrize("seq", [1, 5, 30])
@pytest.mark.parametrize("place", [0, 16, 20, -1])
def test_flipped_record_is_found_and_named(path, seq, place):
    """A turned bit in its hash or in its events."""
    damage.flip_byte(path, seq=seq, place=place)
    [problem] = verify(path)

    assert "chain" == problem.part
    assert problem.seq <= seq


def test_missing_record_is_found(path):
    """A gap in the middle."""
    damage.drop_record(path, seq=20)

    assert ["chain"] == parts(path)


def test_missing_end_is_found(path):
    """HEAD has seen more."""
    damage.drop_tail(path, 1)
    [problem] = verify(path)

    assert "folder" == problem.part
    assert "HEAD" in problem.text


def append_as_they_are(path, session, *events):
    """Append events that no fold takes, rightly chained."""
    log = opening.open_for_reading(path)
    records = list(log.read(log.base()[0], limit=10_000))
    opening.close(log)
    last = records[-1]
    made = encode_records(events, first_seq=last.last_seq + 1, session=session, time_ns=1, previous=last.chain)
    with damage.table(path, LOG_TABLE) as (txn, _):
        for record, value in made:
            txn.put(record.first_seq.to_bytes(8, "big"), value)


@pytest.mark.parametrize(
    "event",
    [
        (99, 1),
        (4, 7),
        SessionOpened(1, "h", 1, "b", (), "/", "u", "0"),
        ItemStarted("done-3"),
        ItemStarted("done-3", 2, 0, Status.SUCCEEDED),
        ItemSucceeded(1, 5),
    ],
    ids=["unknown type", "no text", "session again", "done again", "succeeded again", "session long gone"],
)
def test_event_that_cannot_be_is_found(path, event):
    """Well chained, and impossible: a stranger wrote it, or a bug of ours."""
    append_as_they_are(path, 1, event)

    assert ["chain"] == parts(path)


# --- Planted faults: the snapshot -------------------------------------------------------------------


@pytest.mark.parametrize("item_id", ["done-3", "failed", "long " * 200])
@pytest.mark.parametrize("place", [0, 4, -1])
def test_flipped_row_is_found(path, item_id, place):
    """A turned bit in its checksum or in its fields."""
    damage.flip_row(path, item_id, place)

    assert ["rows"] == parts(path)


def test_missing_row_is_found(path):
    """A finished item that would be done again."""
    damage.drop_row(path, "done-3")
    [problem] = verify(path)

    assert "missing" in problem.text


def test_missing_row_with_its_count_is_found(path):
    """Even where the count was made to fit: the sum is of the rows that were."""
    damage.drop_row(path, "done-3")
    count, total = unpack(META_ROWS, damage.get_meta(path, META_ROWS))
    damage.put_meta(path, META_ROWS, pack(META_ROWS, (count - 1, total)))

    assert "rows" in parts(path)
    assert any("add up to" in problem.text for problem in verify(path))


def test_rows_that_changed_places_are_found(path):
    """Each whole, under the wrong key."""
    damage.swap_rows(path, "done-3", "failed")

    assert ["rows"] == parts(path)


@pytest.mark.parametrize("held", [500_000, 4])
def test_rows_swapped_with_their_sums_are_found(path, monkeypatch, held):
    """A done and a failed item changed places, and every sum fits; the events say otherwise."""
    monkeypatch.setattr(row_audit, "ITEMS_COMPARED_MAX", held)
    assert [] == list(verify(path))
    damage.swap_rows_and_sums(path, "done-3", "failed")
    texts = [problem.text for problem in verify(path)]

    assert any("'done-3' says failed" in text and "events say succeeded" in text for text in texts)
    assert any("'failed' says succeeded" in text and "events say failed" in text for text in texts)


def test_row_dropped_with_its_sums_is_found(path):
    """A finished item that would be done again; count, sum and status counts were made to fit."""
    damage.drop_row(path, "done-3")
    damage.fit_sums(path)

    assert any("'done-3' says nothing" in problem.text for problem in verify(path))


def test_rows_swapped_in_a_compacted_log_are_found(path):
    """The events of before are gone; the sum that the snapshot was taken with is on record."""
    compact(path)
    assert [] == list(verify(path))
    damage.swap_rows_and_sums(path, "done-3", "failed")
    [problem] = verify(path)

    assert "was taken with" in problem.text


def test_many_changed_rows_are_counted(path, monkeypatch):
    """The first are named, the rest is a number."""
    monkeypatch.setattr(row_audit, "NAMED_MAX", 1)
    damage.swap_rows_and_sums(path, "done-3", "failed")

    assert any(problem.text.startswith("1 more rows") for problem in verify(path))


def test_row_that_says_something_else_is_found(path):
    """A whole row with its checksum, that nobody put: the sum tells, and so do the counts."""
    row = item_row(ItemState(Status.FAILED, 5, 1, 0, 6, error=ERROR))
    damage.put_row(path, b"done-3", encode_row(b"done-3", "done-3", row))
    texts = [problem.text for problem in verify(path)]

    assert 3 == len(texts)
    assert "add up to" in texts[0]
    assert "counts say" in texts[1]
    assert "events say" in texts[2]


COUNTS_AT = 2  # behind the seq and the chain


def test_wrong_counts_are_found(path):
    """The snapshot, its checksum right, counts otherwise than its rows and the events."""
    numbers = list(unpack(META_SNAPSHOT, damage.get_meta(path, META_SNAPSHOT)))
    counts = list(numbers[COUNTS_AT])
    counts[Status.SUCCEEDED] -= 1
    counts[Status.FAILED] += 1
    numbers[COUNTS_AT] = counts
    damage.put_meta(path, META_SNAPSHOT, pack(META_SNAPSHOT, numbers))
    found = {problem.part: problem.text for problem in verify(path)}

    assert {"rows", "state"} == set(found)
    assert "counts say" in found["rows"]


def test_lost_open_attempts_are_found(path):
    """A doubt that fell out of the snapshot would be forgotten."""
    with damage.table(path, OPEN_TABLE) as (txn, _):
        cursor = txn.cursor()
        cursor.first()
        cursor.delete()

    assert parts(path)


@pytest.mark.parametrize("key", [META_SNAPSHOT, META_ROWS])
def test_flipped_fact_about_the_snapshot_is_found(path, key):
    """Where it stands, how much it holds."""
    value = bytearray(damage.get_meta(path, key))
    value[-1] ^= 1
    damage.put_meta(path, key, bytes(value))

    assert 1 == len(parts(path))


def test_flipped_base_state_is_found(path):
    """What a replay begins with."""
    compact(path)
    value = bytearray(damage.get_meta(path, META_BASE_STATE))
    value[-1] ^= 1
    damage.put_meta(path, META_BASE_STATE, bytes(value))

    assert ["chain"] == parts(path)


def test_rows_skipped_by_a_bug_are_found(path, monkeypatch):
    """The control for our own mistakes: a snapshot that claims rows which were never put."""
    whole = LmdbTurn.put_rows

    def skipping(self, rows, *, seconds_max):
        whole(self, rows[:-1], seconds_max=seconds_max)
        return len(rows)

    monkeypatch.setattr(LmdbTurn, "put_rows", skipping)
    writer, _ = open_writer(path)
    succeed(writer, ["new-1", "new-2"])
    writer.take_snapshot()
    writer.close()
    counted, told = verify(path)

    assert ("rows", True) == (counted.part, "counts say" in counted.text)
    assert "events say" in told.text


# --- Planted faults: the files -----------------------------------------------------------------------------


def test_damaged_page_is_found_without_a_crash(path):
    """Where LMDB would abort or be killed by a signal, verification only reports."""
    os.truncate(path / "data.mdb", 20_000)
    assert {"structure"} == set(parts(path))
    (path / "data.mdb").write_bytes(b"\xff" * 40_960)

    assert {"structure"} == set(parts(path))


def test_damaged_identity_is_found(path):
    """A log that does not say what it is."""
    (path / "IDENTITY").write_bytes((path / "IDENTITY").read_bytes()[:-3])

    assert ["folder"] == parts(path)


def test_lost_data_is_found(path):
    """A log that is not there any more."""
    os.truncate(path / "data.mdb", 0)

    assert ["folder"] == parts(path)


def test_file_of_another_log_is_found(path, tmp_path):
    """The right file in the wrong place."""
    make_log(tmp_path / "other.wal")
    shutil.copy(tmp_path / "other.wal" / "data.mdb", path / "data.mdb")

    assert ["folder"] == parts(path)


def test_log_that_was_put_in_order_is_sound_again(path):
    """After a repair, the log is verified, appended to, and verified again."""
    whole = (path / "data.mdb").read_bytes()
    damage.flip_byte(path, seq=5)
    assert parts(path)
    (path / "data.mdb").write_bytes(whole)
    assert [] == parts(path)
    writer, _ = open_writer(path)
    succeed(writer, ["after the repair"])
    writer.close()

    assert [] == parts(path)


def test_large_log_is_verified_in_bounded_memory(path, monkeypatch):
    """What was folded is let go of; the numbers stay."""
    monkeypatch.setattr(row_audit, "ITEMS_COMPARED_MAX", 3)
    log = opening.open_for_reading(path)
    folded = row_audit.fold_all(log)
    opening.close(log)

    assert len(folded.state.items) <= 3
    assert folded.until is not None
    assert [] == list(verify(path))


@pytest.mark.parametrize("times", [1, 10 * verifying.TRIES_MAX])
def test_log_that_is_written_without_a_pause_is_sound(times):
    """What could be checked alone was; a comparison with a moving log would be a false alarm."""
    store = MemoryStore()
    writer = begin_session(MemoryLog(store))
    fill(writer)
    writer.take_snapshot()
    left = iter(range(times))

    def write():
        number = next(left, None)
        if number is not None:
            succeed(writer, [f"meanwhile-{number}"])
            writer.take_snapshot()

    assert [] == list(_content_problems(Disturbed(store, write)))
    assert (times == 1) == (not [*left])


def test_log_that_is_compacted_without_a_pause_is_said():
    """The walk is begun anew a few times, and then says what is in its way."""
    store = MemoryStore()
    writer = begin_session(MemoryLog(store))
    fill(writer)
    compacting._drop(writer, compacting._fold(writer))
    tries = []

    class Overtaken(MemoryLog):
        """A handle that is overtaken by a compaction before each walk."""

        def base_state(self):
            """Say where the log begins, just before that changes."""
            state = super().base_state()
            tries.append(state.seq)
            succeed(writer, [f"meanwhile-{len(tries)}"])
            compacting._drop(writer, compacting._fold(writer))
            return state

    with pytest.raises(Compacted):
        list(_content_problems(Overtaken(store)))
    assert verifying.TRIES_MAX == len(tries)


def test_row_damaged_while_it_is_counted_is_a_problem():
    """Damage is reported, never raised, wherever it is met."""
    store = MemoryStore()
    writer = begin_session(MemoryLog(store))
    fill(writer)
    writer.take_snapshot()
    writer.close()

    class Damaged(MemoryLog):
        """A handle whose rows are damaged by the time that they are counted."""

        def scan(self, after_key, *, limit):
            """Turn a bit of a row, and scan."""
            store.items[b"done-3"] = store.items[b"done-3"][:-1] + b"\xff"
            return super().scan(after_key, limit=limit)

    assert ["rows"] == [problem.part for problem in _content_problems(Damaged(store))]
