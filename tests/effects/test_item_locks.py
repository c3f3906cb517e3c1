"""What a command inherits: the lock of its own item, by which it can write nothing, and which ends with the item."""

import os
import select
import signal
import subprocess
import sys

import pytest

from tests.cli.terminal import environment, walrun
from wal_runner import Runner
from wal_runner.core.events import ItemSucceeded
from wal_runner.log.scratch import Scratch
from wal_runner.log.session_files import SessionFile, beside, numbers_in, probe


WAIT_S = 30


@pytest.fixture
def items(tmp_path):
    """Give a list of two items."""
    path = tmp_path / "items.txt"
    path.write_text("a\nb\n")
    return path


@pytest.fixture
def folder(tmp_path):
    """Give the folder of the session files."""
    made = tmp_path / "sessions"
    made.mkdir()
    return made


def run_until_killed(log, items, script):
    """Run *script* for each item in a walrun that it kills; return when walrun is dead."""
    ended = subprocess.run(
        [sys.executable, "-m", "wal_runner", "run", log, "--items", items, "--", "sh", "-c", script, "{}", "{}"],
        env=environment(),
        capture_output=True,
        check=False,
        timeout=WAIT_S,
    )
    assert -signal.SIGKILL == ended.returncode


def test_command_inherits_a_lock_only(tmp_path, items):
    """Not the slots, which it could cut off; what it has is empty and read-only."""
    program = (
        "import fcntl, os\n"
        "for name in os.listdir('/proc/self/fd'):\n"
        "    path = os.readlink('/proc/self/fd/' + name) if os.path.exists('/proc/self/fd/' + name) else ''\n"
        "    if '/sessions/' in path or '.wal/' in path:\n"
        "        flags = fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_ACCMODE\n"
        "        print(os.path.basename(path).split('.')[0], flags == os.O_RDONLY, os.path.getsize(path))\n"
    )
    ended = walrun("run", tmp_path / "log.wal", "--items", items, "--print", "--", sys.executable, "-c", program)

    assert ["1 True 0", "1 True 0"] == ended.out.splitlines()
    assert [] == list((tmp_path / "log.wal" / "sessions").iterdir())


def test_daemon_of_a_finished_item_keeps_no_session_alive(tmp_path, items):
    """The item that left it behind has succeeded, and the one that ran when walrun died is in doubt at once."""
    log, pid = tmp_path / "log.wal", tmp_path / "pid"
    script = f"if [ $1 = a ]; then sleep 600 </dev/null >/dev/null 2>&1 & echo $! >{pid}; else kill -9 $PPID; fi"
    run_until_killed(log, items, script)
    try:
        found = walrun("inspect", "--json", log).json
        rerun = walrun("run", log, "--items", items, "--", "true")
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)

    assert [(False, True)] == [(session["alive"], session["died"]) for session in found["sessions"]]
    assert 4 == rerun.code
    with Runner.open_read(log) as view:
        assert {"a": "succeeded", "b": "in_doubt"} == {item.item_id: item.status.word for item in view.items()}


LEAVES = """
import os, subprocess, sys
from wal_runner import Runner
runner = Runner(sys.argv[1])
def send(item):
    with runner.item_lock() as lock, runner.item_lock() as again:
        assert lock == again
        child = subprocess.Popen(["cat"], stdout=subprocess.DEVNULL, pass_fds=[lock])
        print(child.pid, flush=True)
        os.kill(os.getpid(), 9)
runner.run(["a"], send)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs a way to wait for the end of another's child")
def test_command_of_a_started_item_keeps_the_session_alive(tmp_path):
    """A library's own command holds the lock of its item; when it ends, the item is in doubt."""
    log = tmp_path / "log.wal"
    with subprocess.Popen(
        [sys.executable, "-c", LEAVES, log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as owner:
        orphan = os.pidfd_open(int(owner.stdout.readline()))
        assert -signal.SIGKILL == owner.wait()
        during = walrun("inspect", "--json", log).json
        rerun = walrun("run", log, "--items", "-", "--", "true", stdin="a\n")
        owner.stdin.close()  # which ends `cat`
        assert [orphan] == select.select([orphan], [], [], WAIT_S)[0]
        os.close(orphan)

    assert ([True], []) == ([session["effect_running"] for session in during["sessions"]], during["in_doubt"])
    assert 5 == rerun.code
    assert ["a"] == [item["item_id"] for item in walrun("inspect", "--json", log).json["in_doubt"]]


def test_slot_can_be_locked_again(folder):
    """The next item of a slot has a lock of its own, though a daemon holds the one of the item before."""
    session = SessionFile(folder, 7)
    with session.item_locked(3) as first:
        left_behind = os.dup(first)
    with session.item_locked(3) as second:
        assert os.fstat(second).st_ino == (folder / "7.3").stat().st_ino
    os.close(left_behind)
    session.close()

    assert [] == list(folder.iterdir())


@pytest.mark.parametrize(("ended", "alive"), [(False, True), (True, False)])
def test_lock_counts_until_its_slot_holds_an_outcome(folder, ended, alive):
    """A lock file that could not be deleted, and that a daemon holds, is no command of a started item."""
    session = SessionFile(folder, 7)
    slots = Scratch(session.slots.descriptor, beside(folder, 7), log_id="a", session=7, boot="boot", shared=True)
    [slot] = slots.take(1)
    slots.arm(slot, 5)
    slots.begin(slot, 5)
    if ended:
        slots.finish(slot, 5, ItemSucceeded(5, 1))
    with session.item_locked(slot) as lock:
        left_behind = os.dup(lock)
        session.abandon()
        slots.close()

        assert alive == probe(folder, 7).alive
    os.close(left_behind)


def test_files_of_item_locks_go_with_their_session(folder):
    """They name the session for as long as they are there, and are deleted with what else it left."""
    session = SessionFile(folder, 7)
    with session.item_locked(12) as lock:
        left_behind = os.dup(lock)
        session.abandon()
        (folder / "7").unlink()
        (folder / "7.owner").unlink()
        (folder / "7.12").touch()

        assert {7} == numbers_in(folder)
        assert probe(folder, 7).alive is True
    os.close(left_behind)


def test_item_lock_is_for_a_running_item(tmp_path):
    """Outside of fn there is no item to lock."""
    with Runner(tmp_path / "log.wal") as runner, pytest.raises(LookupError):
        runner.item_lock()
