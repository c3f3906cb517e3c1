"""Damage that has a name: what a user sees of it, and that the log goes on once it is repaired."""

import os
import shutil

import pytest

from tests.damage import dialect
from tests.damage.dialect import ITEMS, REST, appends_again, beneath, damaged, run
from tests.support import damage
from wal_runner import Runner, Status, replay
from wal_runner.errors import LogCorrupt, LogError, LogLost, LogTooNew, LogUnsafe, LogWentBack
from wal_runner.log import opening, structure
from wal_runner.log.format import META_FORMAT, META_ROWS, OPEN_TABLE
from wal_runner.log.rows import pack, row_key, seal
from wal_runner.recovery.loading import load
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.verifying import verify


@pytest.fixture
def path(tmp_path):
    """Give a log of 160 items that are done and 40 to come. It is repaired by the test."""
    made = tmp_path / "emails.wal"
    dialect.make(made)
    yield made
    assert [] == list(verify(made))


def refuses(path, error=LogCorrupt, match=None):
    """Say whether nothing runs: the log is refused before fn is called."""
    called = []
    with pytest.raises(error, match=match), Runner(path, must_exist=True) as runner:
        runner.run(ITEMS, called.append, signals=False)
    return called == []


# --- Records ---------------------------------------------------------------------------------


def test_flipped_byte_of_the_tail_stops_everything(path):
    """The chain is checked on the way to the state, so nothing runs on a guess."""
    last = replay(path).seq
    with damaged(path):
        damage.flip_byte(path, seq=last - 1)

        assert refuses(path)
        with pytest.raises(LogError):
            Runner.open_read(path)
        with pytest.raises(LogCorrupt):
            replay(path)

    assert appends_again(path)


def test_flipped_byte_before_the_snapshot_stops_an_audit_only(path):
    """The rows say what is done; the history before them is read by replay and verify, which name the record."""
    with damaged(path):
        damage.flip_byte(path, seq=3)

        assert list(REST) == run(path)
        with pytest.raises(LogCorrupt):
            replay(path)
        assert ["chain"] == [problem.part for problem in verify(path)]

    assert appends_again(path)


@pytest.mark.parametrize("records", [1, 2, 5])
def test_dropped_tail_is_noticed_by_its_witness(path, records):
    """A log that lost its last commits would do them again; HEAD has seen them."""
    with damaged(path):
        damage.drop_tail(path, records)

        assert refuses(path, LogWentBack)

    assert appends_again(path)


def test_dropped_record_is_a_gap(path):
    """Events that are missing in the middle are no end of the log."""
    last = replay(path).seq
    with damaged(path):
        damage.drop_record(path, seq=last - 10)

        assert refuses(path)

    assert appends_again(path)


# --- Rows: what would be done again -----------------------------------------------------------


@pytest.mark.parametrize("how", ["flipped", "dropped", "swapped"])
def test_damaged_row_stops_everything(path, how):
    """A finished item whose row is damaged, gone or another's is not taken for a new one."""
    with damaged(path):
        match how:
            case "flipped":
                damage.flip_row(path, "item-007")
            case "dropped":
                damage.drop_row(path, "item-007")
            case _:
                damage.swap_rows(path, "item-007", "item-008")

        assert refuses(path)

    assert appends_again(path)


def test_row_under_another_key_stops_everything(path):
    """One that moved leaves the count as it was, and its item would look new."""
    with damaged(path):
        with damage.table(path, damage.ITEMS_TABLE) as (txn, _):
            value = txn.pop(b"item-007")
            txn.put(b"item-007x", value)

        assert refuses(path)

    assert appends_again(path)


def test_row_of_yesterday_stops_everything(path):
    """A write that the disk lost: the row is whole, and older than the sum that was written with it."""
    with Runner(path) as runner:
        before = runner.writer.log.look_up(["item-150"]) and bytes(runner.writer.log.look_up(["item-007"])[0])
        runner.retry(["item-007"], succeeded=True)
        runner.run(["item-007"], lambda _item: "again", signals=False)
        runner.writer.take_snapshot()
    with damaged(path):
        damage.put_row(path, row_key("item-007"), before)

        assert refuses(path, match="not those that were written last")

    assert appends_again(path)


def test_branch_page_that_misleads_stops_everything(path):
    """A bit of its key turned: nothing is out of order, all rows are there, and a look-up misses one."""
    whole = (path / "data.mdb").read_bytes()
    with damaged(path):
        found = 0
        for at, size in dialect.branch_keys(path):
            (path / "data.mdb").write_bytes(whole)
            dialect.turn(path, at + size - 1, bit=1)
            if "look-up" in str(structure.problems_of(path / "data.mdb")):
                assert refuses(path, match="keys that a look-up seeks on another page")
                assert ["structure"] == [problem.part for problem in verify(path)]
                found += 1

        assert found

    assert appends_again(path)


@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("how", ["flipped", "key flipped", "moved", "misled"])
def test_damage_at_rest_is_noticed(path, monkeypatch, how, is_large):
    """The disk forgot by itself: size and time of data.mdb are as HEAD remembers.

    A small log is walked at each opening, and a large one page by page as it is touched.
    """
    if is_large:
        monkeypatch.setattr(structure, "CHECK_ALWAYS_BYTES_MAX", 0)
    with damaged(path):
        with beneath(path):
            if how == "flipped":
                damage.flip_row(path, "item-007")
            elif how == "key flipped":
                for at in dialect.leaf_keys(path, b"item-007"):
                    dialect.turn(path, at, bit=1)
            elif how == "moved":
                with damage.table(path, damage.ITEMS_TABLE) as (txn, _):
                    txn.put(b"item-007x", txn.pop(b"item-007"))
            else:
                for at, size in dialect.branch_keys(path):
                    dialect.turn(path, at + size - 1, bit=1)

        assert refuses(path)

    assert appends_again(path)


# --- Pages and files ------------------------------------------------------------------------------


def test_zeroed_pages_never_reach_lmdb(path):
    """LMDB would end the process; page by page the log is refused, or what was lost was not in use."""
    whole = (path / "data.mdb").read_bytes()
    with damaged(path):
        words = set()
        for page in range(2, 30):
            (path / "data.mdb").write_bytes(whole)
            dialect.zero_page(path, page)
            try:
                with Runner.open_read(path) as view:
                    assert [*ITEMS[:160]] == [item.item_id for item in view.items(Status.SUCCEEDED)]
                words.add("same")
            except LogError:
                words.add("refused")

        assert {"same", "refused"} == words

    assert appends_again(path)


def test_flag_too_much_of_the_free_list_never_reaches_lmdb(path):
    """A bit of a meta page that no walk of the pages minds: LMDB would abort at the next commit."""
    with damaged(path):
        for page in (0, 1):
            dialect.turn(path, page * 4096 + 44, bit=2)

        assert refuses(path, match="not of the kind that LMDB makes")

    assert appends_again(path)


@pytest.mark.parametrize("bit", [2, 6])
def test_meta_page_that_claims_a_gigabyte_is_refused(path, bit):
    """A small log that seems large would not be checked, and would be given the room that it claims to use."""
    size = (path / "data.mdb").stat().st_size
    with damaged(path):
        with beneath(path):
            for page in (0, 1):
                dialect.turn(path, page * 4096 + 138, bit=bit)

        assert refuses(path, match="neither in use nor free|pages are in use")
        assert size == (path / "data.mdb").stat().st_size

    assert appends_again(path)


@pytest.mark.parametrize("how", ["emptied", "gone", "another log's", "older", "a folder"])
def test_replaced_data_stops_everything(path, tmp_path, how):
    """No data is no new log, and another's data is not this log's."""
    with damaged(path):
        data = path / "data.mdb"
        if how == "older":
            older = data.read_bytes()
            run(path, ITEMS[160:170])
            data.write_bytes(older)
        elif how == "another log's":
            dialect.make(tmp_path / "other.wal")
            shutil.copy(tmp_path / "other.wal" / "data.mdb", data)
        elif how == "emptied":
            os.truncate(data, 0)
        else:
            data.unlink()
            if how == "a folder":
                data.mkdir()

        assert refuses(path, {"older": LogWentBack, "a folder": LogUnsafe}.get(how, LogLost))

    assert appends_again(path)


@pytest.mark.parametrize("bytes_lost", [4096, 40_960, 10**9])
def test_cut_data_stops_everything(path, bytes_lost):
    """What was cut off in use is missed; LMDB would answer with SIGBUS."""
    with damaged(path):
        data = path / "data.mdb"
        os.truncate(data, max(4096, 60_000 - bytes_lost))

        assert refuses(path)

    assert appends_again(path)


@pytest.mark.parametrize("how", ["gone", "torn", "flipped", "older"])
def test_damaged_witness_proves_nothing(path, how):
    """HEAD is never synced, so without it the log is checked and opened."""
    head = path / "HEAD"
    match how:
        case "gone":
            head.unlink()
        case "torn":
            os.truncate(head, 40)
        case "flipped":
            dialect.turn_in(head, 8)
        case _:
            older = head.read_bytes()
            run(path, ITEMS[160:161])
            head.write_bytes(older)

    left = REST[1:] if how == "older" else REST
    assert list(left) == run(path)
    assert [] == run(path)


def test_another_logs_witness_is_noticed(path, tmp_path):
    """It has seen a history that this log does not tell."""
    with damaged(path):
        dialect.make(tmp_path / "other.wal")
        shutil.copy(tmp_path / "other.wal" / "HEAD", path / "HEAD")

        assert refuses(path, LogWentBack)

    assert appends_again(path)


# --- What else is in the folder ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sessions/7", "sessions/007", "sessions/١٢", "sessions/" + "9" * 30, "lock.mdb"])
def test_stray_file_does_no_harm(path, name):
    """Whatever somebody left there is not taken for a session with a number that cannot be stored."""
    (path / name).write_text("left by somebody")

    assert list(REST) == run(path)


def test_newer_format_is_refused_by_name(path):
    """In IDENTITY, and in the data too: an upgrade that died in between is not read as the old format."""
    with damaged(path):
        damage.put_meta(path, META_FORMAT, pack(META_FORMAT, 3))
        assert refuses(path, LogTooNew, "format 3")
        damage.put_meta(path, META_FORMAT, None)
        assert refuses(path)
        identity = path / "IDENTITY"
        identity.write_bytes(identity.read_bytes().replace(b"format 1", b"format 7"))
        assert refuses(path, LogTooNew, "format 7")

    assert appends_again(path)


# --- Made by hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not a row"),
        (b"\x07", "fields"),
        (b"\x92\x02\xa1x", "int belongs"),
        (b"\x92\x09\x03", "not a valid Status"),
        (b"\xdd\xff\xff\xff\xff", "not a row"),
        (b"\x91" * 100_000, "elements"),
        (b"\xdd\x00\x10\x00\x00" + b"\xc0" * (1 << 20), "elements"),
    ],
    ids=["nothing", "a number", "text for a seq", "no status", "4 billion", "nested", "a million of nil"],
)
def test_row_that_nobody_writes_is_corrupt(path, body, why):
    """Its checksum is right, so only its shape can tell; what is large for its many elements is not unpacked."""
    with damaged(path):
        damage.put_row(path, b"item-007", seal(b"item-007", body))

        assert refuses(path)
        log = opening.open_for_reading(path)
        with pytest.raises(LogCorrupt, match=why):
            list(LogView(log, load(log)).items())
        opening.close(log)

    assert appends_again(path)


@pytest.mark.parametrize("how", ["missing", "one too many"])
def test_open_attempt_that_is_missing_is_corrupt(path, how):
    """It would be a doubt of which nobody hears; one that no event started would be a doubt of nothing."""
    with damaged(path):
        if how == "missing":
            hold_one_in_doubt(path)
        with damage.table(path, OPEN_TABLE) as (txn, _):
            if how == "missing":
                [key] = [key for key, _value in txn.cursor()]
                txn.delete(key)
            else:
                txn.put((3).to_bytes(8, "big"), pack((3).to_bytes(8, "big"), ("x", 1, 5)))

        assert refuses(path, match="open attempts")

    assert appends_again(path)


def hold_one_in_doubt(path):
    def fail(_item):
        raise TimeoutError

    with Runner(path) as runner:
        runner.run(ITEMS[160:161], fail, signals=False)
        runner.writer.take_snapshot()


def test_sum_of_the_wrong_kind_is_corrupt(path):
    """A value of meta whose checksum is right, and which is no pair of numbers."""
    with damaged(path):
        damage.put_meta(path, META_ROWS, pack(META_ROWS, 7))

        assert refuses(path, match="kinds")

    assert appends_again(path)
