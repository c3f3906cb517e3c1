"""Files with a lock: closed once, also if no reference to them is left."""

import fcntl
import threading

import pytest

from wal_runner.log.files import HeldFile, LockedFile, open_file
from wal_runner.log.locks import is_held_here, let_go
from wal_runner.log.session_files import SessionFile, probe


@pytest.fixture
def folder(tmp_path):
    """Return the sessions' folder of a log."""
    sessions = tmp_path / "sessions"
    sessions.mkdir()
    return sessions


def test_closing_again_closes_no_later_opening(tmp_path):
    """The number of a closed descriptor may be that of another opening of the same file."""
    (tmp_path / "GATE").touch()
    first = HeldFile(open_file(tmp_path, "GATE"), tmp_path / "GATE")
    number = first.descriptor
    first.close()
    second = HeldFile(open_file(tmp_path, "GATE"), tmp_path / "GATE")

    first.close()

    assert number == second.descriptor
    assert second.is_ours
    second.close()


def test_lock_is_released_with_its_last_reference(tmp_path):
    """A lock whose file an exception kept from its owner would last as long as the process."""
    (tmp_path / "a").touch()
    locked = LockedFile(open_file(tmp_path, "a"), tmp_path / "a")
    fcntl.flock(locked.descriptor, fcntl.LOCK_EX)
    del locked

    with (tmp_path / "a").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("closes", [SessionFile.close, SessionFile.abandon])
def test_closing_that_was_broken_off_can_be_repeated(folder, monkeypatch, closes):
    """An exception between two of a session's files leaves the rest to the next closing."""
    session = SessionFile(folder, 1)
    really_close, closed = HeldFile.close, []

    def interrupt(file: HeldFile) -> None:
        closed.append(file)
        if len(closed) == 2:
            raise KeyboardInterrupt
        really_close(file)

    monkeypatch.setattr(HeldFile, "close", interrupt)
    with pytest.raises(KeyboardInterrupt):
        closes(session)
    alive = probe(folder, 1).owner_alive or closes is SessionFile.close
    monkeypatch.setattr(HeldFile, "close", really_close)

    closes(session)

    assert alive
    assert session.descriptor is None
    assert (False, False) == probe(folder, 1)[:2]


def test_a_lock_is_let_go_as_often_as_it_is_held():
    """An RLock that is held twice and released once is held."""
    lock = threading.RLock()
    lock.acquire()
    lock.acquire()

    let_go(lock)
    let_go(lock)

    assert not is_held_here(lock)
