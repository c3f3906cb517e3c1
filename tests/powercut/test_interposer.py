"""The interposer: it misses no call, keeps their order, and makes the right one fail."""

import errno
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tools.harness import stream
from tools.harness.disk import Disk, differences
from tools.harness.interposer import Fault
from tools.harness.recording import contents
from tools.harness.stream import AT_ONCE_DURABLE, Kind


ROOT = Path(__file__).parents[2]


@pytest.fixture
def watched(tmp_path, watched_environment):
    """Give a function that runs a script under the interposer, and gives what was written down."""
    folder = tmp_path / "watched"
    folder.mkdir()
    written = tmp_path / "stream"

    def run(script, *, fault=Fault.NONE, call=-1, error=0, code=0):
        begin = (
            "import os, sys, mmap, shutil, threading\n"
            "from pathlib import Path\n"
            "from tools.harness import interposer\n"
            f"interposer.fail({call}, interposer.Fault({int(fault)}), {error})\n"
            f"folder = Path({str(folder)!r})\n"
            f"interposer.watch(folder, Path({str(written)!r}))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", begin + script],
            env={**os.environ, **watched_environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert code == done.returncode, done.stderr
        return list(stream.read(written)), done.stdout

    run.folder = folder
    return run


def difference(folder, entries):
    """Give what the model of the disk, told by *entries*, and the real folder do not agree on."""
    disk = Disk(folder.stat().st_ino)
    for one in entries:
        disk.apply(one)
    return differences(disk, contents(folder))


EVERY_CALL = """
(folder / "d").mkdir()
with open(folder / "d/f", "wb") as file:
    file.write(b"by write")
fd = os.open(folder / "d/f", os.O_RDWR)
os.pwrite(fd, b"pwrite", 20)
os.writev(fd, [b"wri", b"", b"tev"])
os.pwritev(fd, [b"pwri", b"tev"], 40)
os.fsync(fd)
os.fdatasync(fd)
os.posix_fallocate(fd, 0, 9000)
os.ftruncate(fd, 8192)
memory = mmap.mmap(fd, 8192)
memory[5000:5005] = b"store"
interposer.mark(b"a mark")
memory[100:105] = b"again"
memory.close()
os.close(fd)
fd = os.open(folder / "d/f", os.O_RDWR | os.O_DSYNC)
os.pwrite(fd, b"at once", 0)
os.close(fd)
os.rename(folder / "d/f", folder / "d/g")
(folder / "d/g").replace(folder / "h")
os.link(folder / "h", folder / "i")
open(folder / "h", "wb").close()
(folder / "h").write_bytes(b"short")
(folder / "h").unlink()
os.chdir(folder)
os.mkdir("relative")
Path("relative/x").write_text("x")
os.mkdir("tree"); Path("tree/a").touch(); os.mkdir("tree/b"); Path("tree/b/c").touch()
shutil.rmtree("tree")
"""


def test_every_call_is_written_down(watched):
    """The model that is built from the stream holds the very bytes and names that are on the disk."""
    entries, _ = watched(EVERY_CALL)

    assert [] == difference(watched.folder, entries)
    assert set(Kind) - {Kind.FAULT} == {one.kind for one in entries}
    assert [b"at once"] == [one.data for one in entries if one.flags & AT_ONCE_DURABLE and one.kind is Kind.WRITE]


def test_stores_are_seen_page_by_page_at_the_next_entry(watched):
    """A store stands in the stream before the mark that follows it, with its page alone."""
    entries, _ = watched(EVERY_CALL)
    stores = [one for one in entries if one.kind is Kind.STORE]
    [mark] = [one for one in entries if one.kind is Kind.MARK]

    assert [4096, 0] == [one.place for one in stores]
    assert entries.index(stores[0]) < entries.index(mark) < entries.index(stores[1])


def test_threads_and_forks_write_one_stream(watched):
    """What two processes and four threads append to one file is told in the order in which it happened."""
    entries, _ = watched(
        """
pid = os.fork()
fd = os.open(folder / "f", os.O_RDWR | os.O_CREAT | os.O_APPEND)
def work(name):
    for number in range(50):
        os.write(fd, b"%s %d;" % (name, number))
threads = [threading.Thread(target=work, args=(b"%d" % n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
"""
    )

    assert [] == difference(watched.folder, entries)
    assert 400 == Counter(one.kind for one in entries)[Kind.WRITE]
    assert 2 == len({one.pid for one in entries})


def test_call_that_is_not_watched_is_noticed(watched):
    """A file that came about in another way makes the recording worthless, and so it is said."""
    entries, _ = watched('(folder / "f").write_bytes(b"x" * 100)\nos.truncate(folder / "f", 7)')

    assert ["f holds other bytes than were written"] == difference(watched.folder, entries)


def test_death_leaves_nothing_out(watched):
    """A process that dies in the middle has told everything that it did, its last stores too."""
    entries, _ = watched(
        """
fd = os.open(folder / "f", os.O_RDWR | os.O_CREAT)
os.posix_fallocate(fd, 0, 4096)
memory = mmap.mmap(fd, 4096)
memory[0:4] = b"last"
interposer.die()
""",
        code=-9,
    )

    assert [] == difference(watched.folder, entries)
    assert b"last" == (watched.folder / "f").read_bytes()[:4]


THREE_WRITES = """
fd = os.open(folder / "f", os.O_RDWR | os.O_CREAT)
for number in range(3):
    try:
        print(os.pwrite(fd, b"0123456789", 10 * number), end=" ", flush=True)
    except OSError as error:
        print(error.errno, end=" ", flush=True)
"""


@pytest.mark.parametrize(
    ("fault", "said", "written", "code"),
    [
        (Fault.NONE, "10 10 10 ", 30, 0),
        (Fault.FAIL_ONCE, f"10 {errno.EIO} 10 ", 30, 0),
        (Fault.FAIL_FOR_EVER, f"10 {errno.EIO} {errno.EIO} ", 10, 0),
        (Fault.SHORT_WRITE, "10 5 10 ", 30, 0),
        (Fault.FAIL_LATE, f"10 {errno.EIO} 10 ", 30, 0),
        (Fault.KILL_BEFORE, "10 ", 10, -9),
        (Fault.KILL_AFTER, "10 ", 20, -9),
    ],
)
def test_fault_hits_the_call_that_was_meant(watched, fault, said, written, code):
    """The creation is call 0, so call 2 is the second write."""
    entries, out = watched(THREE_WRITES, fault=fault, call=2, error=errno.EIO, code=code)

    assert said == out
    assert written == (watched.folder / "f").stat().st_size
    assert [] == difference(watched.folder, entries)
    assert (fault is not Fault.NONE) == any(one.kind is Kind.FAULT for one in entries)


def test_failed_sync_is_told_as_one(watched):
    """The model must know that the data was given up."""
    entries, _ = watched(
        """
fd = os.open(folder / "f", os.O_RDWR | os.O_CREAT)
os.write(fd, b"x")
try:
    os.fdatasync(fd)
except OSError:
    pass
""",
        fault=Fault.FAIL_ONCE,
        call=2,
        error=errno.EIO,
    )

    assert [0, Kind.SYNC] == [one.flags for one in entries if one.kind is Kind.FAULT]
