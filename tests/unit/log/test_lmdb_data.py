"""Opening data.mdb after a crash: whose traces are believed, and what is synced before it is built on."""

import os

import pytest

from tests.support import damage
from tests.support.logs import make_log
from wal_runner.core.events import Status
from wal_runner.errors import LogCorrupt
from wal_runner.log import lmdb_data, structure
from wal_runner.log.folder import read_identity
from wal_runner.log.format import DATA_NAME, HEAD_NAME
from wal_runner.log.head import boot_mark, open_head, read_head, write_head
from wal_runner.log.host import boot_id
from wal_runner.log.lmdb_log import LmdbLog
from wal_runner.log.rows import encode_row


THIS_BOOT = boot_mark(boot_id())
OTHER_BOOT = boot_mark("0a1b2c3d-0000-4000-8000-000000000000")


@pytest.fixture
def path(tmp_path):
    """Return a log whose sessions have ended, as HEAD remembers it."""
    made = tmp_path / "emails.wal"
    make_log(made)
    return made


def opened(path):
    return LmdbLog(path, read_identity(path), read_only=False)


def change_head(path, **fields):
    """Write HEAD again with other *fields*."""
    descriptor = open_head(path / HEAD_NAME)
    write_head(descriptor, read_head(path / HEAD_NAME)._replace(**fields))
    os.close(descriptor)


# --- Traces of a crash -----------------------------------------------------------------------------


@pytest.fixture
def changed(path, monkeypatch):
    """Return a log that counts as large, one of whose rows is an older one: only a check of all rows finds that."""
    monkeypatch.setattr(structure, "CHECK_ALWAYS_BYTES_MAX", 0)
    monkeypatch.setattr(lmdb_data, "STRUCTURE_CHECK_BYTES_MAX", 0)
    damage.put_row(path, b"done-3", encode_row(b"done-3", "done-3", (int(Status.FAILED), 3, 1, 0, 5)))
    return path


def test_large_file_left_by_a_crash_is_trusted(changed):
    """The control: marked on this boot, the same file, and no shorter, so the opening checks no row."""
    change_head(changed, writing=THIS_BOOT)
    log = opened(changed)
    log.check_rows()
    log.close()


@pytest.mark.parametrize("boot", [b"", OTHER_BOOT], ids=["none", "another"])
def test_mark_of_another_boot_is_not_trusted(changed, boot):
    """After a power cut pages may be missing, and no process that died explains the difference."""
    change_head(changed, writing=boot)
    log = opened(changed)
    with pytest.raises(LogCorrupt, match="not those that were written last"):
        log.check_rows()
    log.close()


def test_two_unknown_boots_are_not_the_same_one(changed, monkeypatch):
    """Where the system names no boot, a HEAD without a mark must not look like one that was written on this boot."""
    monkeypatch.setattr(lmdb_data, "boot_id", lambda: "")
    change_head(changed, writing=b"")
    log = opened(changed)
    with pytest.raises(LogCorrupt, match="not those that were written last"):
        log.check_rows()
    log.close()


def test_mark_of_another_file_is_not_trusted(changed):
    """A copy that was put in place of the file differs for another reason than the crash."""
    change_head(changed, writing=THIS_BOOT, inode=(changed / DATA_NAME).stat().st_ino + 1)
    log = opened(changed)
    with pytest.raises(LogCorrupt, match="not those that were written last"):
        log.check_rows()
    log.close()


@pytest.mark.parametrize("missing", [1, 4096])
def test_file_that_became_shorter_is_not_trusted(changed, missing):
    """A commit never shortens data.mdb, so no crash in one does."""
    change_head(changed, writing=THIS_BOOT, size=(changed / DATA_NAME).stat().st_size + missing)
    log = opened(changed)
    with pytest.raises(LogCorrupt, match="not those that were written last"):
        log.check_rows()
    log.close()


def test_file_up_to_the_limit_is_checked_after_a_crash(changed, monkeypatch):
    """Up to STRUCTURE_CHECK_BYTES_MAX a check costs little, so the mark of a crash does not spare it."""
    monkeypatch.setattr(lmdb_data, "STRUCTURE_CHECK_BYTES_MAX", (changed / DATA_NAME).stat().st_size)
    change_head(changed, writing=THIS_BOOT)
    log = opened(changed)
    with pytest.raises(LogCorrupt, match="not those that were written last"):
        log.check_rows()
    log.close()


# --- What is synced --------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", ["mark", "no HEAD", "another time"])
def test_crash_is_synced_before_lmdb_reads_the_file(path, monkeypatch, trace):
    """Unsynced, a meta page that LMDB reads now may be gone after a power cut, with what was built on it."""
    inode = (path / DATA_NAME).stat().st_ino
    order = []
    fsync, open_env = os.fsync, lmdb_data.open_env

    def sync(descriptor):
        fsync(descriptor)
        if os.fstat(descriptor).st_ino == inode:
            order.append("synced")

    def open_noted(*arguments, **options):
        order.append("opened")
        return open_env(*arguments, **options)

    if trace == "mark":
        change_head(path, writing=THIS_BOOT)
    elif trace == "no HEAD":
        damage.forget_head(path)
    else:
        change_head(path, mtime_ns=5)
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(lmdb_data, "open_env", open_noted)
    opened(path).close()

    assert ["synced", "opened"] == order
