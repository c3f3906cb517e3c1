"""Room ahead: what is reserved can be written on a full disk, and what cannot be reserved is DiskFull."""

import errno
import os

import pytest

from tests.unit.log.children import child
from wal_runner.errors import StorageFailed
from wal_runner.log.format import ROOM_AN_ITEM_BYTES, ROOM_FLOOR_BYTES
from wal_runner.log.room import GROWTH_BYTES_MAX, GROWTH_BYTES_MIN, reserve


USED = 20_000
CONTENT = bytes(range(250)) * (USED // 250)

PROGRAM = """
import os, resource, subprocess, sys
from pathlib import Path
from wal_runner.errors import DiskFull
from wal_runner.log.format import ROOM_AN_ITEM_BYTES, ROOM_FLOOR_BYTES
from wal_runner.log.room import reserve
data = Path(sys.argv[1])

def try_to_reserve(descriptor, used_bytes, running):
    try:
        reserve(data, descriptor, used_bytes=used_bytes, running=running)
    except DiskFull as error:
        print(error)
    else:
        print(os.fstat(descriptor).st_size)

def fill(path):
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass
"""


@pytest.fixture
def data(tmp_path):
    """Give a data.mdb of which `USED` bytes are in use."""
    path = tmp_path / "data.mdb"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def descriptor(data):
    """Give its descriptor."""
    opened = os.open(data, os.O_RDWR)
    yield opened
    os.close(opened)


def wanted(used_bytes, running):
    """Return how far the file must reach."""
    return used_bytes + ROOM_FLOOR_BYTES + running * ROOM_AN_ITEM_BYTES


def full_message(data, running):
    """Return what is said where there is no room for *running* items."""
    return (
        f"The disk of {data} has no room for the outcomes of {running} more running items. Nothing more was "
        "started. Free some space, then run the same again."
    )


# --- Where there is room ----------------------------------------------------------------------


@pytest.mark.parametrize("running", [0, 1, 1024])
def test_file_reaches_beyond_what_is_used(data, descriptor, running):
    """Every running item has room for its outcome, and some more is taken so that it is not done each time."""
    reserve(data, descriptor, used_bytes=USED, running=running)

    assert wanted(USED, running) + GROWTH_BYTES_MIN == data.stat().st_size


@pytest.mark.parametrize(
    ("used_bytes", "expected"),
    [
        (0, GROWTH_BYTES_MIN),
        (8 * GROWTH_BYTES_MIN, GROWTH_BYTES_MIN),
        (8 * GROWTH_BYTES_MIN + 8, GROWTH_BYTES_MIN + 1),
        (8 * GROWTH_BYTES_MAX - 8, GROWTH_BYTES_MAX - 1),
        (8 * GROWTH_BYTES_MAX + 8, GROWTH_BYTES_MAX),
    ],
)
def test_growth_has_bounds(tmp_path, used_bytes, expected):
    """An eighth more, so that a large log does not grow in small steps, and never a surprise."""
    path = tmp_path / "data.mdb"
    path.touch()
    os.truncate(path, used_bytes)
    with path.open("r+b") as file:
        reserve(path, file.fileno(), used_bytes=used_bytes, running=0)

    assert wanted(used_bytes, 0) + expected == path.stat().st_size


def test_room_is_blocks_and_no_hole(data, descriptor):
    """A hole would promise room that others can take."""
    reserve(data, descriptor, used_bytes=USED, running=100)

    assert wanted(USED, 100) <= data.stat().st_blocks * 512


def test_content_is_kept_and_zeros_follow(data, descriptor):
    """Reserving writes nothing into what is there."""
    reserve(data, descriptor, used_bytes=USED, running=1)
    content = data.read_bytes()

    assert CONTENT == content[:USED]
    assert bytes(len(content) - USED) == content[USED:]


def test_nothing_changes_where_there_is_room(data, descriptor):
    """The second time costs one look at the file's size."""
    reserve(data, descriptor, used_bytes=USED, running=10)
    before = data.stat()
    reserve(data, descriptor, used_bytes=USED, running=10)
    reserve(data, descriptor, used_bytes=USED + GROWTH_BYTES_MIN, running=10)
    reserve(data, descriptor, used_bytes=0, running=0)
    after = data.stat()

    assert (before.st_size, before.st_blocks, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_blocks,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


@pytest.mark.parametrize(("missing", "grows"), [(0, False), (1, True)])
def test_one_byte_too_few_is_too_few(data, descriptor, missing, grows):
    """The bound is exact: room is there, or it is made."""
    size = wanted(USED, 3) - missing
    os.truncate(data, size)
    reserve(data, descriptor, used_bytes=USED, running=3)

    assert grows == (size < data.stat().st_size)


def test_room_is_made_where_the_system_cannot_allocate(data, descriptor, monkeypatch):
    """The Mac has no posix_fallocate: zeros are written instead, behind what is there."""
    monkeypatch.delattr(os, "posix_fallocate")
    reserve(data, descriptor, used_bytes=USED, running=1)
    content = data.read_bytes()

    assert wanted(USED, 1) + GROWTH_BYTES_MIN == len(content)
    assert CONTENT == content[:USED]
    assert bytes(len(content) - USED) == content[USED:]
    assert len(content) <= data.stat().st_blocks * 512


# --- Where there is none ------------------------------------------------------------------------


def test_file_size_limit_is_a_full_disk(data):
    """Under `ulimit -f` nothing is started that could not be finished, and the process lives."""
    program = PROGRAM + (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try_to_reserve(os.open(data, os.O_RDWR), 20_000, 7)\n"
    )
    with child(program, data) as one:
        heard = one.hear()
        code, complaint = one.end()

    assert full_message(data, 7) == heard
    assert (0, "") == (code, complaint)
    assert CONTENT == data.read_bytes()


def test_file_size_limit_is_a_full_disk_without_allocating(data):
    """It is the same where zeros are written."""
    program = PROGRAM + (
        "del os.posix_fallocate\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try_to_reserve(os.open(data, os.O_RDWR), 20_000, 7)\n"
    )
    with child(program, data) as one:
        assert full_message(data, 7) == one.hear()
    assert CONTENT == data.read_bytes()[:USED]


def test_what_is_needed_is_taken_where_no_more_is_left(data):
    """The growth is a convenience: a disk that has just enough is enough."""
    limit = wanted(USED, 2)
    program = PROGRAM + (
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "descriptor = os.open(data, os.O_RDWR)\n"
        "try_to_reserve(descriptor, 20_000, 2)\n"
        "try_to_reserve(descriptor, 20_000, 3)\n"
    )
    with child(program, data) as one:
        assert [str(limit), full_message(data, 3)] == [one.hear(), one.hear()]
    assert limit == data.stat().st_size


def test_real_full_disk_is_told_and_what_was_reserved_is_ours(tmp_path, own_mounts):
    """On a small disk that others fill up, every byte that was reserved can still be written."""
    program = PROGRAM + (
        """
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", data.parent], check=True)
descriptor = os.open(data, os.O_RDWR | os.O_CREAT)
try_to_reserve(descriptor, 0, 10)
reserved = os.fstat(descriptor).st_size
fill(data.with_name("other"))
try_to_reserve(descriptor, 0, 1000)
print(os.pwrite(descriptor, b"x" * reserved, 0) == reserved)
try:
    os.pwrite(descriptor, bytes(8192), reserved)
except OSError:
    print("no byte more")
data.with_name("other").unlink()
try_to_reserve(descriptor, 0, 100)
"""
    )
    data = tmp_path / "data.mdb"
    with child(program, data, before=own_mounts) as one:
        heard = [one.hear() for _ in range(5)]
        code, complaint = one.end()

    assert [
        str(wanted(0, 10) + GROWTH_BYTES_MIN),
        full_message(data, 1000),
        "True",
        "no byte more",
        str(wanted(0, 100) + GROWTH_BYTES_MIN),
    ] == heard
    assert (0, "") == (code, complaint)


def test_other_failures_are_no_full_disk(data):
    """A disk that is not full must not be reported as full: nobody would look at it."""
    descriptor = os.open(data, os.O_RDONLY)
    try:
        with pytest.raises(StorageFailed) as caught:
            reserve(data, descriptor, used_bytes=USED, running=1)
    finally:
        os.close(descriptor)

    assert f"The disk of {data} gave no room: Bad file descriptor. Look at the disk." == str(caught.value)


@pytest.mark.parametrize("codes", [(errno.EIO,), (errno.ENOSPC, errno.EIO)])
def test_disk_that_fails_while_room_is_made_is_no_full_disk(data, descriptor, monkeypatch, codes):
    """At the first try, or at the second one, which asks for less."""
    left = iter(codes)

    def fail(*_):
        code = next(left)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(StorageFailed, match="Look at the disk"):
        reserve(data, descriptor, used_bytes=USED, running=1)


def test_room_is_made_where_the_file_system_cannot_allocate(data, descriptor, monkeypatch):
    """The call is there, and the file system does not know it: zeros are written."""

    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    reserve(data, descriptor, used_bytes=USED, running=1)

    assert wanted(USED, 1) + GROWTH_BYTES_MIN == data.stat().st_size
