"""What an exception at one line breaks off, and what must not be broken off."""

import pytest

from tests.support.logs import succeed
from wal_runner.core.events import Status
from wal_runner.core.items import item_of
from wal_runner.errors import LogAlreadyOpen, LogBusy, LogClosed
from wal_runner.log import opening
from wal_runner.log.lmdb_data import DataFile
from wal_runner.recovery.recover import keep_writer, open_writer


@pytest.fixture
def writer(tmp_path):
    """Return a writer with one finished item, and close it."""
    made, _ = open_writer(tmp_path / "batch.wal")
    succeed(made, ["a"])
    yield made
    made.close()


def test_read_that_a_handler_interrupts_is_not_broken_off(writer, monkeypatch):
    """A signal handler that closes or runs comes back to the read, which must still be alone on the log."""
    really_look, entered = DataFile.rows, []

    def rows(data, txn, ids, **options):
        writer.break_off()
        entered.append(writer.log.is_entered)
        return really_look(data, txn, ids, **options)

    monkeypatch.setattr(DataFile, "rows", rows)
    writer.log.look_up(["a"])

    assert [True] == entered
    assert not writer.log.is_entered


def test_turn_that_a_handler_interrupts_is_not_broken_off(writer):
    """A signal handler that begins a run in the middle of a turn undoes nothing of it."""
    entered = []

    def decide(_turn):
        writer.break_off()
        entered.append(writer.log.is_entered)
        return ()

    writer.turn(decide)

    assert [True] == entered


def test_turn_that_was_left_open_is_undone(writer):
    """What an exception between two lines left open holds the log until this thread comes back to it."""
    left = writer.log.exclusive(writer.state.seq)
    left.__enter__()
    entered = writer.log.is_entered

    writer.break_off()
    succeed(writer, ["b"])

    assert entered
    assert not writer.log.is_entered


def test_close_that_was_broken_off_is_closed_again(writer, monkeypatch):
    """The log is released by the next closing, although the writer counts as closed."""
    really_close = opening.close

    def interrupt(_log, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "close", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    monkeypatch.setattr(opening, "close", really_close)
    closed = writer.closed
    writer.close()
    again, _ = open_writer(writer.log.path)
    again.close()

    assert closed


def test_session_closed_on_record_can_be_closed(writer):
    """An exception may strike between that commit and the release of the files. Nothing is appended any more."""
    writer._close_in_order()

    with pytest.raises(LogClosed):
        succeed(writer, ["b"])
    writer.close()

    assert "closed" == writer.state.sessions[writer.session.number].ending
    assert writer.closed


def test_opening_that_was_broken_off_leaves_nothing_open(tmp_path):
    """Neither the log nor the lock of its new session."""

    def interrupt(_writer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:
        keep_writer(tmp_path / "batch.wal", interrupt)
    writer, created = open_writer(tmp_path / "batch.wal")
    endings = [info.ending for info in writer.state.sessions.values()]
    writer.close()

    assert kept.value is not None
    assert not created
    assert ["lost", ""] == endings


def test_opening_in_vain_leaves_the_first_one_open(tmp_path):
    """A handler that opens the log while it is being opened is refused, and takes nothing away."""
    writer, _ = open_writer(tmp_path / "batch.wal")
    for handle in opening._handles.values():
        handle.owner = None  # as long as the first opening goes on

    with pytest.raises(LogAlreadyOpen):
        open_writer(tmp_path / "batch.wal")
    succeed(writer, ["a"])
    writer.close()


def test_handler_that_asks_in_the_middle_of_a_fold_is_refused(writer, monkeypatch):
    """It would load another state under that fold, and the sound log would look as if events were missing."""
    really_apply, refused = type(writer.state).apply, []

    def apply(state, record):
        if not refused:
            with pytest.raises(LogBusy, match="in a turn") as raised:
                writer.catch_up()
            refused.append(raised.value.is_of_this_thread)
        really_apply(state, record)

    monkeypatch.setattr(type(writer.state), "apply", apply)
    succeed(writer, ["b"])

    assert [True] == refused
    assert Status.SUCCEEDED == item_of(writer.state.row("b")).status
