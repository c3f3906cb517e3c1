"""Opening a log in a process: once for writing, shared for reading, and not at all after a fork."""

import gc
import os
import traceback

import pytest

from wal_runner.core.events import ItemStarted
from wal_runner.errors import LogAlreadyOpen, LogClosed, LogForked, LogMissing, LogReadOnly
from wal_runner.log import opening
from wal_runner.recovery.recover import begin_session


@pytest.fixture
def opened(tmp_path):
    """Give how to open a log for writing; whatever a test leaves open of it is closed."""
    path = tmp_path / "emails.wal"

    def open_for_writing(**options):
        return opening.open_for_writing(path, **options)

    open_for_writing.path = path
    yield open_for_writing
    for handle in list(opening._handles.values()):
        if handle.log.path == path:
            opening.close(handle.log)


def append(log, *ids):
    end = len(list(log.read(0, limit=1_000)))
    with log.exclusive(end) as turn:
        turn.append(1, [ItemStarted(item_id) for item_id in ids])


def test_log_is_created_once(opened):
    """Opening says whether the log is new; the second time it is not."""
    handle, created = opened()
    append(handle, "a")
    opening.close(handle)
    again, created_again = opened()

    assert (True, False) == (created, created_again)
    assert handle.log_id == again.log_id
    assert 1 == len(list(again.read(0, limit=10)))


def test_log_that_must_exist_is_not_created(opened):
    """A mistyped path with --resume is said, and nothing is made."""
    with pytest.raises(LogMissing):
        opened(must_exist=True)

    assert not opened.path.exists()


def test_second_writer_is_refused_and_told_where_the_first_is(opened, tmp_path):
    """One writer a process; by another name too."""
    opened()
    (tmp_path / "link").symlink_to(opened.path)
    for path in (opened.path, tmp_path / "link"):
        with pytest.raises(LogAlreadyOpen, match=r"test_opening\.py:\d+"):
            opening.open_for_writing(path)


def test_reader_shares_what_the_writer_has_open(opened):
    """LMDB opens a file once a process, so a reader looks through the writer's handle, while it needs it."""
    writer, _ = opened()
    reader = opening.open_for_reading(opened.path)
    append(writer, "a")

    assert 1 == len(list(reader.read(0, limit=10)))
    opening.close(writer)
    assert 1 == len(list(reader.read(0, limit=10)))
    opening.close(reader)
    with pytest.raises(LogClosed):
        list(reader.read(0, limit=10))


def test_readers_share_one_handle(opened):
    """The last one closes it."""
    opening.close(opened()[0])
    first, second = opening.open_for_reading(opened.path), opening.open_for_reading(opened.path)
    opening.close(first)

    assert [] == list(second.read(0, limit=10))
    with pytest.raises(LogReadOnly), second.exclusive(0):
        pass
    opening.close(second)
    with pytest.raises(LogClosed):
        list(second.read(0, limit=10))


def test_writer_is_refused_while_a_reader_has_the_log_open(opened):
    """The reader's handle cannot write, and there can be no second one."""
    opening.close(opened()[0])
    reader = opening.open_for_reading(opened.path)
    with pytest.raises(LogAlreadyOpen, match="close it first"):
        opened()
    opening.close(reader)
    opened()


def test_handle_that_was_closed_and_dropped_takes_nothing_with_it(opened):
    """An old handle that ends its life late does not make the process forget the one that is open now."""
    old, _ = opened()
    opening.close(old)
    opened()
    key = opening._key(opened.path)
    del old
    gc.collect()

    assert key in opening._handles
    with pytest.raises(LogAlreadyOpen, match=r"test_opening\.py:\d+"):
        opening.open_for_writing(opened.path)


def test_log_that_cannot_be_opened_is_not_remembered(opened):
    """A failed opening leaves nothing behind: once the log is in order again, it opens."""
    handle, _ = opened()
    opening.close(handle)
    data = opened.path / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(b"x" * len(whole))
    for _ in range(2):
        with pytest.raises(Exception, match="damaged"):
            opened()
    data.write_bytes(whole)

    assert [] == list(opened()[0].read(0, limit=10))


# --- Fork -----------------------------------------------------------------------------------


def in_child(act):
    """Run *act* in a forked child; give what it returned as text, or the error's name."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = str(act())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
            said = type(error).__name__ if isinstance(error, LogClosed) else traceback.format_exc()
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    return said


def test_forked_child_cannot_use_its_parents_log(opened):
    """Two processes in one LMDB environment lose commits silently, so the child is refused."""
    log, _ = opened()
    append(log, "a")

    assert LogForked.__name__ == in_child(lambda: list(log.read(0, limit=10)))
    assert LogForked.__name__ == in_child(lambda: append(log, "b"))
    append(log, "c")
    assert 2 == len(list(log.read(0, limit=10)))


def test_forked_child_may_open_the_log_anew(opened):
    """What it opens itself is its own, and the parent's goes on."""
    log, _ = opened()
    append(log, "a")

    def use():
        own, _ = opening.open_for_writing(opened.path)
        append(own, "b")
        opening.close(own)
        return "done"

    assert "done" == in_child(use)
    assert [(4, "a"), (4, "b")] == [array for record in log.read(0, limit=10) for array in record.arrays]


def test_session_lives_on_in_its_parent_only(opened):
    """A child that was forked, and lives, does not keep a dead session's lock; nor does its end release it."""
    log, _ = opened()
    with log.exclusive(0) as turn:
        session = turn.new_session(0)
        turn.append(1, [ItemStarted("a")])

    def look():
        own = opening.open_for_reading(opened.path)
        return own.liveness([1])[1].alive

    assert "True" == in_child(look), "the parent holds it"
    (from_child, to_parent), (from_parent, to_child) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(to_child)
        os.write(to_parent, b"I live")
        os.read(from_parent, 1)
        os._exit(0)
    os.close(from_parent)
    os.read(from_child, 6)
    session.abandon()
    try:
        assert not log.liveness([1])[1].alive, "and the child does not"
    finally:
        os.close(to_child)
        os.waitpid(pid, 0)
        os.close(from_child)
        os.close(to_parent)


def test_log_that_another_makes_at_the_same_moment_is_opened(opened, monkeypatch):
    """Its log is as good as ours."""
    really_create = opening.create_folder

    def create_after_another(folder):
        really_create(folder)
        raise FileExistsError(folder)

    monkeypatch.setattr(opening, "create_folder", create_after_another)
    handle, created = opened()

    assert not created
    assert opened.path == handle.path


def test_caller_inside_the_package_is_said(monkeypatch):
    """Where nobody outside asked, as in a command, no line of ours is pointed at."""
    monkeypatch.setattr(traceback, "extract_stack", list)

    assert "opened by wal_runner itself" == opening._caller()


def test_log_of_the_parent_refuses_in_the_child(opened, monkeypatch):
    """As a handle that nobody let go of at the fork would be met: by the pid that opened it."""
    handle, _ = opened()
    writer = begin_session(handle)
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    for use in (lambda: list(handle.read(0, limit=1)), writer.check_process):
        with pytest.raises(LogForked):
            use()
    monkeypatch.undo()
    writer.close()


def test_gate_that_was_not_held_for_the_fork_is_not_given_back(opened):
    """A thread was inside for too long, and still is: the lock is that thread's."""
    handle, _ = opened()
    with handle.exclusive(0):
        handle.hold_for_fork(0.0)
        handle.let_go_after_fork()

    assert [] == list(handle.read(0, limit=1))
