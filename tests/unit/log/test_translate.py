"""LMDB's exceptions: each becomes an error of ours, which says what to do."""

import errno
import itertools
import re
import sys

import lmdb
import pytest

from tests.unit.log.children import child
from wal_runner.errors import RESTORE, DiskFull, LogAlreadyOpen, LogCorrupt, LogError, LogReadOnly, StorageFailed
from wal_runner.log import env as env_module
from wal_runner.log.env import create_env, open_env, translate, translated


# The last sentence of a message begins with what to do.
ADVICE = re.compile(r"\S\. (Free|Look|Raise|Read|Run|Use) [^.]*(\.md [^.]*)?\.\Z")

DOINGS = ("created", "opened", "read", "written")

# Whatever is not here is a plain LogError.
EXPECTED = {
    lmdb.MapFullError: DiskFull,
    lmdb.DiskError: DiskFull,
    lmdb.ReadonlyError: LogReadOnly,
    lmdb.CorruptedError: LogCorrupt,
    lmdb.InvalidError: LogCorrupt,
    lmdb.PageNotFoundError: LogCorrupt,
    lmdb.VersionMismatchError: LogCorrupt,
    lmdb.IncompatibleError: LogCorrupt,
    lmdb.NotFoundError: LogCorrupt,
    lmdb.PanicError: StorageFailed,
}

BY_CODE = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EFBIG: DiskFull,
    errno.EACCES: LogReadOnly,
    errno.EPERM: LogReadOnly,
    errno.EROFS: LogReadOnly,
    errno.EIO: StorageFailed,
    errno.ENXIO: StorageFailed,
    errno.EINVAL: LogError,
    errno.EAGAIN: LogError,
}


def family(each):
    """Yield *each* and all that is derived from it."""
    yield each
    for child_class in each.__subclasses__():
        yield from family(child_class)


CLASSES = list(dict.fromkeys(family(lmdb.Error)))


def error_of(each, code=None):
    """Return an error as LMDB raises it."""
    error = each("mdb_put: something happened")
    if code is not None:
        error.code = code
    return error


@pytest.fixture
def data(tmp_path):
    """Give the path of a data.mdb that is not there yet."""
    return tmp_path / "data.mdb"


@pytest.fixture
def env(data):
    """Give a new LMDB file, open."""
    opened = create_env(data)
    yield opened
    opened.close()


# --- Every class, every code -------------------------------------------------------------------


def test_the_walk_sees_the_classes():
    """The control of the tests that go over all of them."""
    assert len(CLASSES) > 25
    assert {lmdb.Error, lmdb.DiskError, lmdb.PanicError, lmdb.InvalidError} <= set(CLASSES)
    assert set(EXPECTED) <= set(CLASSES)


@pytest.mark.parametrize("each", CLASSES)
def test_every_exception_becomes_an_error_of_ours(each, data):
    """No class of LMDB's leaves the package, whichever it is and whatever was being done."""
    found = {type(translate(error_of(each), data, doing)) for doing in DOINGS}

    assert {EXPECTED.get(each, LogError)} == found


@pytest.mark.parametrize("each", CLASSES)
@pytest.mark.parametrize("doing", DOINGS)
def test_every_message_ends_with_advice(each, doing, data):
    """First what is the matter with which file, and then what to do about it."""
    message = str(translate(error_of(each), data, doing))

    assert str(data) in message
    assert ADVICE.search(message), message


@pytest.mark.parametrize("message", ["It is full.", "It is full. Free some space", "Full. Try it.", "Free some space."])
def test_message_without_advice_is_caught(message):
    """The control of the test before."""
    assert None is ADVICE.search(message)


@pytest.mark.parametrize(("code", "expected"), BY_CODE.items())
def test_code_of_the_system_decides_where_the_class_says_nothing(code, expected, data):
    """LMDB raises a plain Error with the system's code for most of what a disk can do."""
    translations = [translate(error_of(lmdb.Error, code), data, doing) for doing in DOINGS]

    assert {expected} == {type(error) for error in translations}
    assert all(ADVICE.search(str(error)) for error in translations)


@pytest.mark.parametrize("each", CLASSES)
def test_no_pair_of_class_and_code_is_left_out(each, data):
    """Whatever comes together gives one typed error with advice; a map refused at opening is tried again smaller."""
    for code, doing in itertools.product((None, errno.ENOMEM, *BY_CODE), DOINGS):
        error = translate(error_of(each, code), data, doing)
        if isinstance(error, env_module._MapRefused):
            assert (errno.ENOMEM, "opened") == (code, doing)
        else:
            assert isinstance(error, LogError)
            assert ADVICE.search(str(error)), str(error)


def test_what_lmdb_said_is_kept(data):
    """The cause is at hand for whoever reads the traceback, and its words for whoever reads the message."""
    with pytest.raises(LogCorrupt) as caught, translated(data, "read"):
        raise lmdb.CorruptedError("mdb_get: MDB_CORRUPTED: Located page was wrong type")

    assert isinstance(caught.value.__cause__, lmdb.CorruptedError)
    assert (
        f"{data} could not be read: it is damaged (mdb_get: MDB_CORRUPTED: Located page was wrong type). "
        f"Run `walrun verify`. {RESTORE}"
    ) == str(caught.value)


@pytest.mark.parametrize("error", [KeyError("a"), KeyboardInterrupt(), LogReadOnly("It is. Read it.")])
def test_other_errors_pass(error, data):
    """Only LMDB's are translated; a bug stays a bug, and an error of ours what it was."""
    with pytest.raises(type(error)) as caught, translated(data, "read"):
        raise error

    assert error is caught.value


# --- As LMDB really raises them --------------------------------------------------------------------


def test_file_that_is_no_lmdb_file_is_corrupt(data):
    """A file that somebody else wrote is damage, and is left as it is."""
    data.write_bytes(b"x" * 8192)
    with pytest.raises(LogCorrupt, match="could not be opened: it is damaged"):
        open_env(data, read_only=False)

    assert b"x" * 8192 == data.read_bytes()


def test_file_that_is_open_here_is_told_as_such(data, env):
    """LMDB must not have a file open twice in one process."""
    with pytest.raises(LogAlreadyOpen) as caught:
        open_env(data, read_only=True)

    assert f"{data} is open in this process already. Use the Runner that has it open." == str(caught.value)
    assert env.info()


def test_table_that_is_not_there_is_corrupt(data, env):
    """A log has all its tables from its creation, so a missing one is damage."""
    with pytest.raises(LogCorrupt), translated(data, "opened"):
        env.open_db(b"log", create=False)


def test_write_to_a_file_opened_for_reading_is_refused(data, env):
    """A reader that would write is told to read."""
    env.close()
    reader = open_env(data, read_only=True)
    try:
        with pytest.raises(LogReadOnly), translated(data, "written"):
            reader.begin(write=True)
    finally:
        reader.close()


def test_key_that_lmdb_does_not_take_is_typed_too(data, env):
    """What should never happen has a typed error all the same."""
    with pytest.raises(LogError) as caught, translated(data, "written"), env.begin(write=True) as txn:
        txn.put(b"k" * 512, b"")

    assert LogError is type(caught.value)


def test_map_that_is_full_is_a_full_disk(data, env, monkeypatch):
    """A terabyte of log is a full disk with another remedy."""
    env.close()
    monkeypatch.setattr(env_module, "MAP_BYTES", 1 << 16)
    small = open_env(data, read_only=False)
    try:
        with pytest.raises(DiskFull) as caught, translated(data, "written"), small.begin(write=True) as txn:
            txn.put(b"k", bytes(1 << 17))
    finally:
        small.close()

    assert f"{data} has filled its whole map. Run `walrun compact`, or begin a new log." == str(caught.value)


WRITE = """
import os, resource, subprocess, sys
from pathlib import Path
from wal_runner.errors import *
from wal_runner.log.env import create_env, open_env, translated
data = Path(sys.argv[1])

def write(env):
    try:
        with translated(data, "written"), env.begin(write=True) as txn:
            txn.put(b"k", bytes(2_000_000))
    except LogError as error:
        print(type(error).__name__, error)
    else:
        print("written")
"""


def test_file_size_limit_is_a_full_disk(data):
    """LMDB gives EIO for a write that was cut short; nobody should look for a broken disk then."""
    program = WRITE + (
        "env = create_env(data)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))\n"
        "write(env)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "write(env)\n"
    )
    with child(program, data) as one:
        assert (
            f"DiskFull The disk of {data} is full. Nothing more was started. Free some space, then run the same again."
        ) == one.hear()
        assert "written" == one.hear()


def test_real_full_disk_is_a_full_disk(data, own_mounts):
    """On a small disk it is the same; once there is space again, the same file is written."""
    program = WRITE + (
        """
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", data.parent], check=True)
env = create_env(data)
other = data.with_name("other")
other.write_bytes(bytes(3_500_000))
write(env)
other.unlink()
write(env)
"""
    )
    with child(program, data, before=own_mounts) as one:
        assert (
            f"DiskFull The disk of {data} is full. Nothing more was started. Free some space, then run the same again."
        ) == one.hear()
        assert "written" == one.hear()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce a limit on the address space")
@pytest.mark.parametrize(
    ("more_bytes", "expected"),
    [
        (1 << 34, "written"),
        (
            40 << 20,
            "StorageFailed The system grants no memory map for {data}. Raise `ulimit -v`, then open the log again.",
        ),
    ],
)
def test_small_address_space_gets_a_small_map(data, more_bytes, expected):
    """Under `ulimit -v` the map is halved until it is granted; where none is, the message says why."""
    program = WRITE + (
        f"""
now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (now + {more_bytes}, now + {more_bytes}))
try:
    write(create_env(data))
except LogError as error:
    print(type(error).__name__, error)
"""
    )
    with child(program, data) as one:
        assert expected.format(data=data) == one.hear()


def test_map_that_is_never_granted_is_said(tmp_path, monkeypatch):
    """Smaller and smaller maps are tried, and then the reader hears which limit it is."""
    create_env(tmp_path / "data.mdb").close()
    asked = []

    def refuse(*_arguments, map_size, **_options):
        asked.append(map_size)
        raise error_of(lmdb.MemoryError, errno.ENOMEM)

    monkeypatch.setattr(lmdb, "open", refuse)
    with pytest.raises(StorageFailed, match=r"no memory map .* Raise `ulimit -v`"):
        open_env(tmp_path / "data.mdb", read_only=True)

    assert sorted(asked, reverse=True) == asked
    assert 3 <= len(asked)


def test_disk_that_cannot_be_asked_is_not_called_full(tmp_path):
    """EIO out of LMDB is a full disk only where the disk says so."""
    error = error_of(lmdb.Error, errno.EIO)

    assert StorageFailed is type(translate(error, tmp_path / "gone" / "data.mdb", "written"))
