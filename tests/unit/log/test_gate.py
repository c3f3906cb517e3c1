"""The gate: one thread of one process inside, and whoever waits in vain learns why."""

import fcntl
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.log.children import PATIENCE_S, child
from wal_runner.errors import LogBusy, LogReadOnly, LogReplaced, LogUnsafe
from wal_runner.log import gate as gate_module
from wal_runner.log.gate import Gate


needs_proc_locks = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the kernel has no /proc/locks to ask")

IMPORTS = """
import os, resource, subprocess, sys, time
from pathlib import Path
from wal_runner.errors import *
from wal_runner.log.gate import Gate
"""

# Enters, and stays inside until it is told to leave.
HOLD = (
    IMPORTS
    + """
gate = Gate(Path(sys.argv[1]), writable=sys.argv[2] == "writable")
gate.acquire(10)
print("inside")
input()
gate.release()
print("outside")
input()
"""
)

# Adds to a number in a file, again and again. Inside, a second file must not exist yet.
COUNT = (
    IMPORTS
    + """
path, folder, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
gate = Gate(path, writable=True)
print("ready")
input()
for _ in range(times):
    gate.acquire(10)
    try:
        os.close(os.open(folder / "somebody-is-inside", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        print("collision")
        break
    total = int((folder / "total").read_text())
    os.sched_yield()
    (folder / "total").write_text(str(total + 1))
    (folder / "somebody-is-inside").unlink()
    gate.release()
else:
    print("done")
"""
)


@pytest.fixture
def path(tmp_path):
    """Give the path of a GATE, as a new log has it."""
    made = tmp_path / "a.wal" / "GATE"
    made.parent.mkdir()
    made.touch(0o600)
    return made


@pytest.fixture
def gate(path):
    """Give this process's gate, open."""
    opened = Gate(path, writable=True)
    yield opened
    opened.close()


@pytest.fixture
def other(path):
    """Give a second gate on the same file: what another process would have."""
    opened = Gate(path, writable=True)
    yield opened
    opened.close()


def inside(holder):
    """Return *holder* when it is inside."""
    assert "inside" == holder.hear()
    return holder


def busy_message(gate, wait_s=0):
    """Return what a caller is told who waits *wait_s* in vain."""
    with pytest.raises(LogBusy) as caught:
        gate.acquire(wait_s)
    return str(caught.value)


def is_free(gate):
    """Say whether *gate* can be entered at once."""
    gate.acquire(0)
    gate.release()
    return True


# --- Threads ------------------------------------------------------------------------


def test_second_thread_is_kept_out(gate, path):
    """Threads share the descriptor that flock is tied to; the mutex keeps them apart."""
    gate.acquire(0)
    with ThreadPoolExecutor(1) as pool:
        message = pool.submit(busy_message, gate, 0.01).result()

    assert f"Another thread of this process held {path} for 0.01 s. Try again." == message


def test_threads_take_turns(gate):
    """Of four threads that enter a hundred times each, there are never two inside."""
    inside_now, most_inside, entered = 0, 0, 0

    def enter_often():
        nonlocal inside_now, most_inside, entered
        for _ in range(100):
            gate.acquire(PATIENCE_S)
            inside_now += 1
            most_inside = max(most_inside, inside_now)
            os.sched_yield()
            entered += 1
            inside_now -= 1
            gate.release()

    with ThreadPoolExecutor(4) as pool:
        for turns in [pool.submit(enter_often) for _ in range(4)]:
            turns.result()

    assert (1, 400) == (most_inside, entered)


def test_waiting_thread_enters_when_the_other_leaves(gate):
    """The wait ends with the reason for it."""
    gate.acquire(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gate.acquire, PATIENCE_S)
        gate.release()

        assert None is waiting.result()
    gate.release()


def test_thread_cannot_enter_twice(gate):
    """Nothing inside the gate may come back to it: that is an error in short time, no deadlock."""
    gate.acquire(0)

    assert "This thread is in a turn" in busy_message(gate, 0.01)


# --- Processes ------------------------------------------------------------------------


def test_processes_take_turns(path, tmp_path):
    """Three processes add to one number; no addition is lost, and no two are inside at once."""
    (tmp_path / "total").write_text("0")
    with (
        child(COUNT, path, tmp_path, 60) as a,
        child(COUNT, path, tmp_path, 60) as b,
        child(COUNT, path, tmp_path, 60) as c,
    ):
        assert ["ready"] * 3 == [one.hear() for one in (a, b, c)]
        for one in (a, b, c):
            one.tell()
        ends = [one.hear() for one in (a, b, c)]

    assert ["done"] * 3 == ends
    assert "180" == (tmp_path / "total").read_text()


def test_a_process_at_another_gate_collides(tmp_path, path):
    """The control of the test before: with a gate that keeps nobody out, a collision is seen."""
    (tmp_path / "total").write_text("0")
    (tmp_path / "somebody-is-inside").touch()
    with child(COUNT, path, tmp_path, 1) as one:
        one.hear()
        one.tell()

        assert "collision" == one.hear()


def test_second_process_enters_when_the_first_leaves(gate, path):
    """Leaving the gate is seen by other processes."""
    with child(HOLD, path, "writable") as holder:
        inside(holder)
        busy_message(gate)
        holder.tell()
        holder.hear()

        assert is_free(gate)


def test_process_that_waits_enters_when_the_other_leaves(gate, path):
    """The wait ends with the reason for it, also between processes."""
    with child(HOLD, path, "writable") as holder, ThreadPoolExecutor(1) as pool:
        inside(holder)
        waiting = pool.submit(gate.acquire, PATIENCE_S)
        holder.tell()

        assert None is waiting.result()


def test_readers_exclude_each_other(path):
    """The lock is exclusive for reads too: shared ones starve a writer."""
    reader, second = Gate(path, writable=False), Gate(path, writable=False)
    reader.acquire(0)

    assert "has held" in busy_message(second)
    reader.close()
    assert is_free(second)
    second.close()


def test_container_with_its_own_pids_is_kept_out(gate, path, own_pids):
    """PID namespaces, which LMDB's own lock does not survive, make no difference."""
    gate.acquire(0)
    with child(HOLD, path, "writable", before=own_pids) as holder:
        gate.release()
        inside(holder)

        assert "held" in busy_message(gate)


# --- Who holds it -----------------------------------------------------------------------


def test_busy_names_the_holder(gate, path):
    """Whoever waits in vain is told which process to look at."""
    with child(HOLD, path, "writable") as holder:
        inside(holder)

        assert f"Process {holder.pid} has held {path} for 0.02 s. Wait for it, then try again." == busy_message(
            gate, 0.02
        )


def test_busy_says_that_the_holder_is_stopped(gate, path):
    """A stopped holder would be waited for in vain: the message says so, and how to continue it."""
    with child(HOLD, path, "writable") as holder:
        inside(holder).stop()
        message = busy_message(gate)
        holder.resume()
        holder.tell()
        holder.hear()

        assert (
            f"Process {holder.pid} holds {path} and is stopped, so nobody can go on. Continue it "
            f"(`kill -CONT {holder.pid}`) or end it, then try again."
        ) == message
        assert is_free(gate)


def test_stopped_holder_is_never_robbed(gate, path):
    """A stopped process still has its lock: it is inside, however long it is stopped."""
    with child(HOLD, path, "writable") as holder:
        inside(holder).stop()
        messages = {busy_message(gate) for _ in range(3)}
        holder.resume()

        assert 1 == len(messages)


@pytest.mark.skipif(sys.platform != "linux", reason="names a process as Linux does")
def test_stopped_holder_may_have_any_name(gate, path):
    """The kernel cuts a process's name after 15 bytes, in the middle of a character too."""
    program = HOLD.replace("gate.acquire", 'Path("/proc/self/comm").write_bytes(b"e) R mail\\xc3"); gate.acquire')
    with child(program, path, "writable") as holder:
        inside(holder).stop()
        message = busy_message(gate)
        holder.resume()

        assert f"Process {holder.pid} holds {path} and is stopped" in message


@needs_proc_locks
def test_reader_is_named_though_it_writes_nothing(gate, path):
    """A reader leaves no pid in the file; the kernel is asked, and the writer before is not blamed."""
    with child(HOLD, path, "writable") as writer:
        inside(writer).tell()
        writer.hear()
        with child(HOLD, path, "readonly") as reader:
            inside(reader)

            assert str(writer.pid) == path.read_text().strip()
            assert f"Process {reader.pid} has held" in busy_message(gate)


@needs_proc_locks
def test_holder_in_another_container_is_not_given_a_pid_of_ours(gate, path, own_pids):
    """A pid written in another PID namespace means another process here: none is named."""
    gate.acquire(0)
    ask = (
        IMPORTS
        + """
try:
    Gate(Path(sys.argv[1]), writable=True).acquire(0)
except LogBusy as error:
    print(error)
"""
    )
    with child(ask, path, before=own_pids) as asking:
        assert f"Another process has held {path} for 0 s. Wait for it, then try again." == asking.hear()


@pytest.mark.parametrize("written", [b"", b"nobody", b"4711"])
def test_holder_is_what_was_written_where_the_kernel_cannot_be_asked(gate, path, monkeypatch, tmp_path, written):
    """A Mac has no list of locks; what is no number names nobody."""
    monkeypatch.setattr(gate_module, "_LOCKS", tmp_path / "no such list")
    other = Gate(path, writable=True)
    gate.acquire(0)
    path.write_bytes(written)
    named = "Process 4711 has held" if written == b"4711" else "Another process has held"

    assert named in busy_message(other)
    other.close()


LOCKS = """\
1: FLOCK  ADVISORY  WRITE 11 00:1b:77 0 EOF
2: POSIX  ADVISORY  WRITE 12 fe:01:77 0 EOF
3: FLOCK  ADVISORY  WRITE 13 fe:01:77 0 EOF
3: -> FLOCK  ADVISORY  WRITE 14 fe:01:77 0 EOF
4: FLOCK  ADVISORY  WRITE 15 fe:01:78 0 EOF
5: FLOCK  ADVISORY  WRITE -1 fe:01:79 0 EOF
6: FLOCK  ADVISORY  WRITE 16 <none>:0 0 EOF
"""


@pytest.mark.parametrize(
    ("device", "inode", "written", "expected"),
    [
        (os.makedev(0xFE, 1), 77, 99, 13),  # not the file of that number on another device, nor who waits
        (os.makedev(0, 0x1B), 77, None, 11),
        (os.makedev(0xFE, 1), 79, 99, None),  # the kernel knows no process
        (os.makedev(0xFE, 1), 80, 99, None),  # nobody here: another PID namespace, or free meanwhile
        (os.makedev(0, 0x99), 78, 15, 15),  # btrfs and overlay: stat() tells another device
        (os.makedev(0, 0x99), 78, 99, None),
        (os.makedev(0, 0x99), 78, None, None),
    ],
)
def test_holder_is_found_by_device_and_inode(device, inode, written, expected):
    """A file on another file system may have the same inode number; its process is not to be blamed."""
    assert expected == gate_module._holder_in(LOCKS, device, inode, written)


# --- The file is the one that was opened --------------------------------------------------


def delete(path):
    path.unlink()


def replace(path):
    path.unlink()
    path.touch()


def move_folder(path):
    path.parent.rename(path.parent.with_name("moved.wal"))


def put_a_file_for_the_folder(path):
    move_folder(path)
    path.parent.touch()


def put_a_copy_for_the_folder(path):
    move_folder(path)
    path.parent.mkdir()
    path.touch()


DAMAGES = [delete, replace, move_folder, put_a_file_for_the_folder, put_a_copy_for_the_folder]


@pytest.mark.parametrize("damage", DAMAGES)
def test_gate_that_is_not_there_any_more_lets_nobody_in(gate, path, damage):
    """Two processes at two GATE files would both be inside: stop at once, and say what to do."""
    assert is_free(gate)
    damage(path)

    for _ in range(2):
        with pytest.raises(LogReplaced) as caught:
            gate.acquire(0)
        assert (
            f"{path} was moved, deleted or replaced while the log was open. Stop everything that uses this log, "
            "put the folder in order, and open it again."
        ) == str(caught.value)


def test_gate_that_was_moved_is_not_kept_locked(gate, path):
    """Who was refused holds nothing: the folder works where it is now."""
    move_folder(path)
    with pytest.raises(LogReplaced):
        gate.acquire(0)
    there = Gate(path.parent.with_name("moved.wal") / "GATE", writable=True)

    assert is_free(there)
    there.close()


def test_gate_that_is_put_back_works_again(gate, path):
    """Nothing was written in between, so the very same file is as good as before."""
    aside = path.with_name("aside")
    path.rename(aside)
    with pytest.raises(LogReplaced):
        gate.acquire(0)
    aside.rename(path)

    assert is_free(gate)


def test_missing_gate_is_not_made_anew(path):
    """Opening creates nothing: a GATE of one's own would keep nobody out."""
    path.unlink()
    with pytest.raises(LogReplaced) as caught:
        Gate(path, writable=True)

    assert f"{path} is gone. Restore the folder as it was, then open the log again." == str(caught.value)
    assert [] == list(path.parent.iterdir())


# --- Reading only -------------------------------------------------------------------------


def test_reader_writes_no_byte(path):
    """Looking at a log leaves it as it was, to the nanosecond."""
    path.write_bytes(b"1234                ")
    before = path.stat()
    reader = Gate(path, writable=False)
    reader.acquire(0)
    reader.release()
    reader.close()

    assert b"1234                " == path.read_bytes()
    assert (before.st_mtime_ns, before.st_ctime_ns) == (path.stat().st_mtime_ns, path.stat().st_ctime_ns)


# Works inside the folder, because the folders above it may be the superuser's alone.
OPEN_AS_NOBODY = (
    IMPORTS
    + """
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
try:
    gate = Gate(Path("GATE"), writable=sys.argv[2] == "writable")
    gate.acquire(0)
    print("inside")
except LogReadOnly as error:
    print(error)
"""
)


@pytest.mark.parametrize(
    ("mode", "how", "expected"),
    [
        (0o444, "readonly", "inside"),
        (0o444, "writable", "GATE cannot be written. Read the log, or change its owner."),
        (0o000, "readonly", "GATE cannot be read. Ask its owner."),
        (0o000, "writable", "GATE cannot be written. Read the log, or change its owner."),
    ],
)
def test_rights_decide_what_can_be_opened(path, mode, how, expected):
    """Who may only read a log can read it, and is told so when asking for more."""
    path.parent.chmod(0o755)
    path.chmod(mode)
    with child(OPEN_AS_NOBODY, path.parent, how) as one:
        assert expected == one.hear()


@pytest.mark.parametrize(("writable", "expected"), [(True, "cannot be written"), (False, "cannot be read")])
def test_gate_that_may_not_be_opened_is_refused(path, monkeypatch, writable, expected):
    """As above, where the tests have no other user to be."""
    refuse(monkeypatch)

    with pytest.raises(LogReadOnly, match=expected):
        Gate(path, writable=writable)


def refuse(monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "open", refused)


def test_gate_that_is_a_folder_is_refused(path):
    """Anything but a file gets a typed error too."""
    path.unlink()
    path.mkdir()
    with pytest.raises(LogUnsafe, match="GATE is a folder"):
        Gate(path, writable=True)


# --- Death --------------------------------------------------------------------------------


@pytest.mark.crash
def test_killed_holder_is_out_at_once(gate, path):
    """The kernel lets go of a dead process's lock; nobody waits for a timeout."""
    with child(HOLD, path, "writable") as holder:
        inside(holder).kill()

        assert is_free(gate)


@pytest.mark.crash
def test_killed_holder_is_out_though_its_command_lives(gate, path):
    """A command that the holder had started did not inherit the lock."""
    start = HOLD.replace("print", 'subprocess.Popen(["cat"]); print', 1)
    with child(start, path, "writable") as holder:
        inside(holder).kill()

        assert is_free(gate)
        holder.hang_up()
        assert "" == holder.hear()  # the command had the pipe until now


def test_leaving_counts_though_a_fork_has_the_descriptor(gate, path):
    """A forked process has a duplicate of the descriptor: the unlocking is explicit, so that it does not matter."""
    fork = (
        IMPORTS
        + """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
gate = Gate(Path(sys.argv[1]), writable=True)
gate.acquire(0)
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print("inside")
signal.sigwait({signal.SIGUSR1})
gate.release()
print("outside")
signal.sigwait({signal.SIGUSR1})
"""
    )
    with child(fork, path) as holder:
        inside(holder)
        busy_message(gate)
        os.kill(holder.pid, signal.SIGUSR1)
        assert "outside" == holder.hear()

        assert is_free(gate)


# --- Interrupting, closing, and a disk without room ------------------------------------------


def test_wait_for_another_process_can_be_interrupted(gate, other, monkeypatch):
    """Ctrl-C ends the wait at once, and leaves the gate as if nobody had asked."""
    other.acquire(0)
    waits = []

    def interrupted_sleep(seconds):
        waits.append(seconds)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(time, "sleep", interrupted_sleep)
    with pytest.raises(KeyboardInterrupt):
        gate.acquire(PATIENCE_S)
    other.release()

    assert 1 == len(waits)
    assert is_free(gate)


def test_wait_for_another_thread_can_be_interrupted(gate):
    """A signal ends this wait too, and the one inside stays inside until it leaves."""
    entered, waiting, interrupted = threading.Event(), threading.Event(), threading.Event()

    def interrupt_once(_number, _frame):
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    def hold():
        gate.acquire(0)
        entered.set()
        waiting.wait(PATIENCE_S)
        # Again, because a signal between the try and the wait ends no wait.
        while not interrupted.wait(0.01):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt_once)
    try:
        with ThreadPoolExecutor(1) as pool:
            holding = pool.submit(hold)
            entered.wait(PATIENCE_S)
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the signal may come before the wait begins
                waiting.set()
                gate.acquire(PATIENCE_S)
            holding.result()
            was_held = not gate.mutex.acquire(blocking=False)
            pool.submit(gate.release).result()
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert was_held
    assert is_free(gate)


def test_a_wait_sleeps_no_longer_than_two_milliseconds_at_once(gate, other, monkeypatch):
    """The waits grow to a bound: a gate that is free is soon seen, and one that is held costs little."""
    other.acquire(0)
    waits = []

    def free_after_ten(seconds):
        waits.append(seconds)
        if len(waits) == 10:
            other.release()

    monkeypatch.setattr(time, "sleep", free_after_ten)
    gate.acquire(PATIENCE_S)

    assert sorted(waits) == waits
    assert 0.002 == waits[-1]


def test_closing_leaves_the_gate(gate, other):
    """Who closes inside is outside; the release that follows does no harm."""
    gate.acquire(0)
    gate.close()
    gate.release()
    gate.close()

    assert is_free(other)


def test_closing_gives_the_descriptor_back(path):
    """A hundred openings and closings use no more descriptors than none."""
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - names only
    for _ in range(100):
        Gate(path, writable=True).close()

    assert before == len(os.listdir("/dev/fd"))  # noqa: PTH208 - names only


def test_full_disk_keeps_nobody_out(path):
    """The holder's pid is for messages only: where it cannot be written, the gate opens all the same."""
    enter = (
        IMPORTS
        + """
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
gate = Gate(Path(sys.argv[1]), writable=True)
gate.acquire(0)
print("inside")
"""
    )
    with child(enter, path) as one:
        assert "inside" == one.hear()
    assert b"" == path.read_bytes()


def test_lock_is_flock_on_the_file_itself(gate, path):
    """Foreign tools can keep out of the log, or keep it still for a copy: `flock GATE cp -r ...`."""
    gate.acquire(0)
    with path.open("rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        gate.release()
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)

        assert "held" in busy_message(gate)
