"""The folder of a log: made whole or not at all, and never taken for what it is not."""

import errno
import os
import re
import subprocess
import sys
import threading
import zlib

import pytest

from wal_runner import failpoints
from wal_runner.errors import (
    LogCorrupt,
    LogError,
    LogLost,
    LogMissing,
    LogReadOnly,
    LogTooNew,
    LogUnsafe,
    NotALog,
    StorageFailed,
)
from wal_runner.log.folder import create_folder, read_identity
from wal_runner.log.format import IDENTITY_NAME


NAMES = {"IDENTITY", "data.mdb", "GATE", "sessions", "archive", ".gitignore"}
CREATION = [name for name in failpoints.NAMES if name.startswith("create.")]


def mode(path):
    return path.stat().st_mode & 0o777


# --- Creating ------------------------------------------------------------------------------


def test_new_log_is_a_folder_of_these(tmp_path):
    """What a log consists of from its first moment; HEAD comes with the first opening."""
    path = tmp_path / "emails.wal"
    identity = create_folder(path)

    assert {entry.name for entry in path.iterdir()} == NAMES
    assert re.fullmatch("[0-9a-f]{32}", identity.log_id)
    assert identity == read_identity(path)
    assert [path] == list(tmp_path.iterdir()), "what it was built in is gone"


def test_every_log_has_its_own_name(tmp_path):
    """Two logs are never taken for each other."""
    assert create_folder(tmp_path / "a").log_id != create_folder(tmp_path / "b").log_id


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_nobody_else_may_read_it_under_any_umask(tmp_path, umask):
    """Results may be secrets: the folder is 0700 and its files 0600, whatever the umask lets through or takes."""
    before = os.umask(umask)
    try:
        create_folder(tmp_path / "emails.wal")
    finally:
        os.umask(before)
    modes = {entry.name: mode(entry) for entry in (tmp_path / "emails.wal").rglob("*")}

    assert 0o700 == mode(tmp_path / "emails.wal")
    assert {name: 0o700 if name in {"sessions", "archive"} else 0o600 for name in NAMES} == modes


def test_log_keeps_itself_out_of_git(tmp_path):
    """A log belongs to the machine that runs it."""
    create_folder(tmp_path / "emails.wal")

    assert "*" in (tmp_path / "emails.wal" / ".gitignore").read_text().split("\n")


def test_what_is_there_is_not_replaced(tmp_path):
    """Where somebody else made a log first, or anything else stands, nothing of it is touched."""
    path = tmp_path / "emails.wal"
    first = create_folder(path)
    (tmp_path / "file").write_text("mine")
    for taken in (path, tmp_path / "file"):
        with pytest.raises(FileExistsError):
            create_folder(taken)

    assert first == read_identity(path)
    assert "mine" == (tmp_path / "file").read_text()
    assert 2 == len(list(tmp_path.iterdir()))


def test_missing_parent_is_said(tmp_path):
    """A mistyped folder is not made up."""
    with pytest.raises(LogError, match=r"No such file or directory\. Mend that"):
        create_folder(tmp_path / "no" / "emails.wal")


def test_one_of_many_creators_wins(tmp_path):
    """Processes that start at once make one log, whole; the others are told that it is there."""
    path = tmp_path / "emails.wal"
    made, refused = [], []
    barrier = threading.Barrier(8)

    def create():
        barrier.wait()
        try:
            made.append(create_folder(path))
        except FileExistsError as error:
            refused.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (1, 7) == (len(made), len(refused))
    assert made[0] == read_identity(path)
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name in CREATION if name != "create.after_rename"])
def test_creation_that_fails_leaves_nothing(tmp_path, name):
    """An error on the way is as if nobody had tried."""

    class Failed(Exception):
        pass

    def fail():
        raise Failed

    failpoints.arm(name, fail)
    with pytest.raises(Failed):
        create_folder(tmp_path / "emails.wal")

    assert [] == list(tmp_path.iterdir())


@pytest.mark.crash
@pytest.mark.parametrize("name", CREATION)
def test_killed_creation_leaves_a_whole_log_or_none(tmp_path, name):
    """After a SIGKILL at any point the path holds a log that opens, or nothing; then one can be made."""
    path = tmp_path / "emails.wal"
    program = "import sys; from pathlib import Path; from wal_runner.log.folder import create_folder\n"
    program += "create_folder(Path(sys.argv[1]))"
    killed = subprocess.run(
        [sys.executable, "-c", program, path],
        env={**os.environ, "WALRUN_FAILPOINT": f"{name}=kill", "PYTHONPATH": "."},
        check=False,
    )
    if name != "create.after_rename":
        assert not path.exists()
        create_folder(path)

    assert -9 == killed.returncode
    assert read_identity(path).log_id


# --- Recognising ----------------------------------------------------------------------------


def test_missing_log_is_missing(tmp_path):
    """A mistyped path is said, not created."""
    with pytest.raises(LogMissing, match="no log"):
        read_identity(tmp_path / "emails.wal")


def test_thing_that_is_no_log_is_left_alone(tmp_path):
    """A file, an empty folder, a folder of something else."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").touch()
    for name in ("file", "empty", "photos"):
        with pytest.raises(NotALog):
            read_identity(tmp_path / name)


def test_checksum_of_identity_is_compared_byte_for_byte(tmp_path):
    """A blank for a leading 0, or a capital, is a flipped bit, though it is the same number."""
    path = tmp_path / "emails.wal"
    for attempt in range(200):
        create_folder(path)
        body, _, checksum = (path / IDENTITY_NAME).read_bytes().rpartition(b"crc ")
        if checksum.startswith(b"0") and checksum.upper() != checksum:
            break
        path.rename(tmp_path / str(attempt))
    for flipped in (b" " + checksum[1:], checksum.upper()):
        assert int(flipped, 16) == int(checksum, 16)
        (path / IDENTITY_NAME).write_bytes(body + b"crc " + flipped)
        with pytest.raises(LogCorrupt):
            read_identity(path)
    (path / IDENTITY_NAME).write_bytes(body + b"crc " + checksum)
    assert read_identity(path).log_id


def test_identity_of_something_else_is_no_log(tmp_path):
    """Somebody else's IDENTITY file does not make a log."""
    (tmp_path / "IDENTITY").write_text("-----BEGIN CERTIFICATE-----\n")

    with pytest.raises(NotALog):
        read_identity(tmp_path)


@pytest.mark.parametrize("left", ["data.mdb", "GATE"])
def test_log_without_its_identity_is_lost(tmp_path, left):
    """Parts of a log are never taken for a new one, nor for nothing."""
    path = tmp_path / "emails.wal"
    create_folder(path)
    for entry in path.iterdir():
        if entry.is_file() and entry.name != left:
            entry.unlink()

    with pytest.raises(LogLost, match="IDENTITY"):
        read_identity(path)


@pytest.mark.parametrize("how", ["emptied", "deleted"])
def test_log_without_its_data_is_lost(tmp_path, how):
    """LMDB takes an empty file for a new log, and all would be done again: so it is looked at before."""
    path = tmp_path / "emails.wal"
    create_folder(path)
    if how == "emptied":
        os.truncate(path / "data.mdb", 0)
    else:
        (path / "data.mdb").unlink()

    with pytest.raises(LogLost, match="missing or empty"):
        read_identity(path)


def test_every_flipped_bit_of_the_identity_is_noticed(tmp_path):
    """Whichever bit turns, the log is not opened as another than it is."""
    path = tmp_path / "emails.wal"
    identity = create_folder(path)
    content = (path / "IDENTITY").read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            (path / "IDENTITY").write_bytes(flipped)
            try:
                # A hexadecimal digit of the checksum in upper case says the same.
                assert identity == read_identity(path)
                assert content.lower().strip() == bytes(flipped).lower().strip()
            except (LogCorrupt, NotALog, LogTooNew):
                pass


def test_identity_cut_short_is_noticed(tmp_path):
    """Wherever it ends."""
    path = tmp_path / "emails.wal"
    create_folder(path)
    content = (path / "IDENTITY").read_bytes()
    for length in range(len(content) - 1):
        (path / "IDENTITY").write_bytes(content[:length])
        with pytest.raises((LogCorrupt, NotALog)):
            read_identity(path)


@pytest.mark.parametrize("checksum", ["right", "of another kind"])
def test_newer_format_is_refused_by_its_number(tmp_path, checksum):
    """A format of the future is named, even when it is summed up in another way."""
    path = tmp_path / "emails.wal"
    create_folder(path)
    body = b"wal_runner log\nformat 2\nlog_id abc\npage_bytes 4096\n"
    crc = b"crc %08x\n" % zlib.crc32(body) if checksum == "right" else b"sha256 123\n"
    (path / "IDENTITY").write_bytes(body + crc)

    with pytest.raises(LogTooNew, match="format 2"):
        read_identity(path)


def test_folder_in_place_of_identity_is_refused(tmp_path):
    """Neither another log nor a new one."""
    path = tmp_path / "emails.wal"
    create_folder(path)
    (path / "IDENTITY").unlink()
    (path / "IDENTITY").mkdir()

    with pytest.raises(LogUnsafe, match="IDENTITY is a folder"):
        read_identity(path)


@pytest.mark.parametrize(("code", "expected"), [(errno.EIO, StorageFailed), (errno.EMFILE, LogError)])
def test_identity_that_the_system_does_not_give_is_no_matter_of_rights(tmp_path, monkeypatch, code, expected):
    """A disk that fails, or too many open files: the owner could not help."""
    path = tmp_path / "emails.wal"
    create_folder(path)

    def fail(*_arguments, **_options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(LogError, match="IDENTITY") as raised:
        read_identity(path)

    assert expected is type(raised.value)


def test_folder_that_may_not_be_written_gets_no_log(tmp_path, monkeypatch):
    """It is said which folder, and what to choose."""

    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(LogReadOnly, match="Choose a folder you may write"):
        create_folder(tmp_path / "emails.wal")

    assert [] == list(tmp_path.iterdir())
