"""Session files: the kernel says who lives, and it is never guessed."""

import errno
import fcntl
import os
import signal
import stat

import pytest

from tests.unit.log.children import child
from wal_runner.errors import DiskFull, LogReplaced, StorageFailed
from wal_runner.log.protocol import Liveness
from wal_runner.log.session_files import SessionFile, beside, numbers_in, probe, remove


ALIVE = Liveness(alive=True, owner_alive=True)
DEAD = Liveness(alive=False, owner_alive=False)
EFFECT_STILL_RUNNING = Liveness(alive=True, owner_alive=False)

IMPORTS = """
import os, signal, subprocess, sys
from pathlib import Path
from wal_runner.errors import *
from wal_runner.log.session_files import SessionFile, probe
folder = Path(sys.argv[1])
"""

LIVE = (
    IMPORTS
    + """
session = SessionFile(folder, 7)
print("born")
input()
session.close()
print("closed")
input()
"""
)

# The command reads our standard input: it lives until that is closed, whatever becomes of the owner.
START_A_COMMAND = (
    IMPORTS
    + """
session = SessionFile(folder, 7)
subprocess.Popen(["cat"], stdout=subprocess.DEVNULL, pass_fds=PASS_FDS)
print("born")
signal.pause()
"""
)

FORK = (
    IMPORTS
    + """
session = SessionFile(folder, 7)
if os.fork() == 0:
    ABANDON
    print("forked")
    sys.stdin.read()
    os._exit(0)
signal.pause()
"""
)


@pytest.fixture
def folder(tmp_path):
    """Give the folder of the session files."""
    made = tmp_path / "sessions"
    made.mkdir()
    return made


@pytest.fixture
def session(folder):
    """Give session 7, of this process."""
    born = SessionFile(folder, 7)
    yield born
    born.abandon()


def names(folder):
    """Return what lies in *folder*."""
    return sorted(path.name for path in folder.iterdir())


def wait_until_free(path):
    """Return when nobody holds the lock of *path* any more; the kernel ends the wait."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def open_files():
    """Return how many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - names only


# --- Birth ------------------------------------------------------------------------------------


def test_session_is_born_alive(folder, session):
    """From the moment that its files are there, others see that it lives."""
    assert ["7", "7.owner"] == names(folder)
    assert 7 == session.number
    assert ALIVE == probe(folder, 7)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_the_owners_alone(folder, umask):
    """Mode 0600 whatever the umask: less, and the owner's next process could not probe."""
    before = os.umask(umask)
    try:
        SessionFile(folder, 7).abandon()
    finally:
        os.umask(before)

    assert [0o600, 0o600] == [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()]


def test_number_is_taken_once(folder, session):
    """A second session of the same number is refused, and the first is not harmed."""
    with pytest.raises(FileExistsError):
        SessionFile(folder, 7)

    session.check_still_there()
    assert ALIVE == probe(folder, 7)


def test_birth_that_fails_leaves_nothing(folder):
    """Half a session would be one that lives for ever: its lock would be held, and never given back."""
    (folder / "7").touch()
    before = open_files()
    with pytest.raises(FileExistsError):
        SessionFile(folder, 7)

    assert before == open_files()
    assert ["7"] == names(folder)
    assert DEAD == probe(folder, 7)


def test_birth_on_a_full_disk_is_told_as_such(folder, own_mounts):
    """A disk without room for one more file gives DiskFull, and keeps nothing of the session."""
    program = (
        IMPORTS
        + """
subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=2", "none", folder], check=True)
try:
    SessionFile(folder, 7)
except DiskFull as error:
    print(error)
    print(os.listdir(folder), probe(folder, 7).owner_alive)
"""
    )
    with child(program, folder, before=own_mounts) as one:
        message, left = one.hear(), one.hear()

    assert (
        f"No session can begin: the disk of {folder} is full. Nothing was started. Free some space, then run the "
        "same again."
    ) == message
    assert "[] False" == left


def test_commands_inherit_nothing_that_is_not_passed(session):
    """Any program that the process starts would otherwise keep the session alive."""
    assert not os.get_inheritable(session.descriptor)
    assert not os.get_inheritable(session._owner_file.fileno())


# --- Probing ----------------------------------------------------------------------------------


def test_session_without_files_is_dead(folder):
    """A file that is missing is held by nobody."""
    assert DEAD == probe(folder, 7)


def test_files_that_nobody_holds_are_of_a_dead_session(folder, session):
    """What a crash leaves is files without locks."""
    session.abandon()

    assert ["7", "7.owner"] == names(folder)
    assert DEAD == probe(folder, 7)


def test_other_process_sees_the_same(folder, session):
    """A session is seen from other processes as from its own."""
    program = IMPORTS + "print(*probe(folder, 7))\ninput()\nprint(*probe(folder, 7))\n"
    with child(program, folder) as one:
        while_alive = one.hear()
        session.close()
        one.tell()

        assert ["True True", "False False"] == [while_alive, one.hear()]


def test_probing_changes_nothing(folder, session):
    """One may ask as often as one likes, and use no more descriptors."""
    before = open_files()
    answers = {probe(folder, number) for number in (session.number, 8) for _ in range(50)}

    assert {ALIVE, DEAD} == answers
    assert before == open_files()
    assert ["7", "7.owner"] == names(folder)


def test_who_probes_is_not_taken_for_the_owner(folder, session):
    """Two processes that look at a dead session at once both see it dead."""
    session.abandon()
    with (folder / "7").open("rb") as one, (folder / "7.owner").open("rb") as two:
        fcntl.flock(one, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)

        assert DEAD == probe(folder, 7)


def test_stopped_session_lives(folder):
    """No clock decides: a process that is stopped is as alive as one that runs."""
    with child(LIVE, folder) as owner:
        owner.hear()
        owner.stop()
        stopped = probe(folder, 7)
        owner.resume()
        owner.tell()

        assert ALIVE == stopped
        assert "closed" == owner.hear()
        assert DEAD == probe(folder, 7)


# --- Death ------------------------------------------------------------------------------------


@pytest.mark.crash
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_death_is_seen_at_once(folder, number):
    """Whatever ends the process, its locks are gone when it is: no timeout, no heartbeat."""
    with child(LIVE, folder) as owner:
        owner.hear()
        before = probe(folder, 7)
        os.kill(owner.pid, number)
        owner.end()

        assert (ALIVE, DEAD) == (before, probe(folder, 7))
        assert ["7", "7.owner"] == names(folder)


@pytest.mark.crash
def test_command_that_inherits_the_descriptor_keeps_the_session_alive(folder):
    """A dead owner's effect may still be happening: the session is dead when the command is too."""
    with child(START_A_COMMAND.replace("PASS_FDS", "[session.descriptor]"), folder) as owner:
        owner.hear()
        before = probe(folder, 7)
        owner.kill()
        orphaned = probe(folder, 7)
        owner.hang_up()
        wait_until_free(folder / "7")

        assert (ALIVE, EFFECT_STILL_RUNNING, DEAD) == (before, orphaned, probe(folder, 7))


@pytest.mark.crash
def test_command_that_inherits_nothing_keeps_nothing_alive(folder):
    """The control of the test before: it is the descriptor that counts, not the parentage."""
    with child(START_A_COMMAND.replace("PASS_FDS", "[]"), folder) as owner:
        owner.hear()
        owner.kill()

        assert DEAD == probe(folder, 7)


# --- Forks ------------------------------------------------------------------------------------


def test_fork_that_abandons_releases_nothing(folder):
    """The lock is the parent's too: a child lets go by closing, never by unlocking or deleting."""
    with child(FORK.replace("ABANDON", "session.abandon()"), folder) as owner:
        owner.hear()

        assert ALIVE == probe(folder, 7)
        assert ["7", "7.owner"] == names(folder)


@pytest.mark.crash
@pytest.mark.parametrize(("abandon", "expected"), [("session.abandon()", DEAD), ("pass", ALIVE)])
def test_fork_that_abandons_keeps_nothing_alive(folder, abandon, expected):
    """A worker process outlives its parent; one that kept the descriptors would hide the death."""
    with child(FORK.replace("ABANDON", abandon), folder) as owner:
        owner.hear()
        owner.kill()

        assert expected == probe(folder, 7)


# --- Its file is still there ----------------------------------------------------------------------


def delete(folder):
    (folder / "7").unlink()


def replace(folder):
    (folder / "7").unlink()
    (folder / "7").touch()


def move_folder(folder):
    folder.rename(folder.with_name("aside"))


def put_a_file_for_the_folder(folder):
    move_folder(folder)
    folder.touch()


def test_file_that_is_there_is_all_right(session):
    """The look before each commit is silent as long as all is well."""
    for _ in range(2):
        assert None is session.check_still_there()


@pytest.mark.parametrize("damage", [delete, replace, move_folder, put_a_file_for_the_folder])
def test_session_whose_file_is_gone_may_not_go_on(folder, session, damage):
    """Others would hold it dead and run its items again: it must stop before its next commit."""
    damage(folder)
    with pytest.raises(LogReplaced) as caught:
        session.check_still_there()

    assert (
        f"{folder / '7'} was deleted or replaced while its session ran. Other processes may hold the session dead; "
        "stop this process and open the log again."
    ) == str(caught.value)


# --- The end --------------------------------------------------------------------------------------


def test_closing_removes_the_files(folder, session):
    """A session that ended leaves nothing that the next one would have to ask about."""
    beside(folder, 7).touch()
    (folder / "8").touch()
    descriptor = session.descriptor
    session.close()

    assert ["8"] == names(folder)
    assert None is session.descriptor
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_closing_twice_is_closing_once(session):
    """A descriptor's number that is closed twice would close somebody else's file."""
    session.close()
    before = open_files()
    session.close()
    session.abandon()

    assert before == open_files()


def test_abandoned_session_cannot_remove_the_files(folder, session):
    """A forked child that abandoned and then closes must not delete what is its parent's."""
    session.abandon()
    session.close()

    assert ["7", "7.owner"] == names(folder)


@pytest.mark.parametrize("damage", [delete, move_folder, put_a_file_for_the_folder])
def test_closing_releases_the_locks_though_the_files_are_gone(folder, session, damage):
    """Whatever was done to the folder, ending a session ends it."""
    before = open_files()
    damage(folder)
    session.close()

    assert before - 2 == open_files()
    assert None is session.descriptor


# --- Names ----------------------------------------------------------------------------------------


def test_numbers_are_found_by_any_of_their_files(folder):
    """A crash may leave any of a session's files; its number is not used again."""
    for name in ("1", "2.owner", "3.large", "4", "4.owner", "12", "x", "5.tmp", "-6", "7 ", "8.owner.bak", ".9"):
        (folder / name).touch()

    assert {1, 2, 3, 4, 12} == numbers_in(folder)


def test_removing_takes_all_files_of_one_session(folder):
    """A dead session that was settled leaves nothing, and its neighbours are not touched."""
    for name in ("1", "1.owner", "1.large", "11", "11.owner"):
        (folder / name).touch()
    remove(folder, 1)
    remove(folder, 1)

    assert ["11", "11.owner"] == names(folder)


@pytest.mark.parametrize(("code", "expected"), [(errno.ENOSPC, DiskFull), (errno.EIO, StorageFailed)])
def test_birth_that_the_disk_refuses_says_why(folder, monkeypatch, code, expected):
    """At its second file; of the first nothing is kept."""
    really_open, before = os.open, open_files()
    opened = []

    def fail(path, *more, **named):
        opened.append(path)
        if len(opened) > 1:
            raise OSError(code, os.strerror(code))
        return really_open(path, *more, **named)

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(expected):
        SessionFile(folder, 7)
    monkeypatch.undo()

    assert [] == names(folder)
    assert before == open_files()
