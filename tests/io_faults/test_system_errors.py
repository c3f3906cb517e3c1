"""Errors of the system around LMDB: each becomes one of ours, and what was begun is taken back."""

import errno
import os
import re
from pathlib import Path

import pytest

from wal_runner import Runner
from wal_runner.errors import DiskFull, LogCorrupt, LogError, LogLost, LogReadOnly, LogReplaced, StorageFailed
from wal_runner.log import folder as folder_module
from wal_runner.log import lmdb_data, rewriting, scratch
from wal_runner.log.env import translate_system, translated
from wal_runner.log.folder import create_folder, read_identity, sync_folder
from wal_runner.log.format import DATA_NAME, ITEMS_TABLE, REWRITE_NAME
from wal_runner.recovery.compact import compact
from wal_runner.recovery.verifying import verify


# The last sentence of a message begins with what to do.
ADVICE = re.compile(r"\. (Change|Free|Look|Mend) [^.]*\.\Z")


def failing(code):
    def fail(*_arguments):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EACCES, LogReadOnly),
        (errno.EROFS, LogReadOnly),
        (errno.EIO, StorageFailed),
        (errno.ENXIO, StorageFailed),
        (errno.EMFILE, LogError),
    ],
)
def test_error_of_the_system_becomes_one_of_ours(tmp_path, code, expected):
    """It names the file and ends with what to do; the cause stays with it."""
    error = OSError(code, os.strerror(code))

    found = translate_system(error, tmp_path / "x", "synced")

    assert expected is type(found)
    assert str(tmp_path / "x") in str(found)
    assert ADVICE.search(str(found))
    with pytest.raises(expected) as raised, translated(tmp_path / "x", "synced"):
        raise error
    assert error is raised.value.__cause__


def test_folder_that_cannot_be_synced_is_an_error_of_ours(tmp_path, monkeypatch):
    """A name that is not durable must not be taken for one."""
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))

    with pytest.raises(StorageFailed, match=r"reported an error while it was synced"):
        sync_folder(tmp_path)


def test_log_whose_name_could_not_be_synced_is_synced_by_the_next_opening(tmp_path, monkeypatch):
    """The creation failed after its rename: the log is there, and nothing is committed before its name is durable."""
    path = tmp_path / "x.wal"
    really_sync = os.fsync
    synced = []
    monkeypatch.setattr(folder_module.os, "rename", lambda aside, path: (Path(aside).replace(path), break_the_disk()))

    def break_the_disk():
        monkeypatch.setattr(os, "fsync", failing(errno.EIO))

    with pytest.raises(StorageFailed):
        Runner(path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor)), really_sync(descriptor)))
    Runner(path).close()

    assert any(os.path.samestat(tmp_path.stat(), one) for one in synced)


def test_used_log_is_opened_without_syncing_names_again(log, monkeypatch):
    """Only an opening that finds an unused log, or a swapped file, pays for it."""
    Runner(log).close()
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))

    Runner(log).close()


def test_file_is_written_whole_by_a_disk_that_writes_in_parts(tmp_path, monkeypatch):
    """A short write says so by its count alone; half an IDENTITY would be a damaged log for ever."""
    really_write = os.write
    monkeypatch.setattr(folder_module.os, "write", lambda descriptor, content: really_write(descriptor, content[:7]))

    identity = create_folder(tmp_path / "x.wal")

    assert identity == read_identity(tmp_path / "x.wal")


def test_compaction_that_fails_leaves_no_copy(log, monkeypatch):
    """On a full disk half a copy would take what little room there is; the log is as it was."""
    with Runner(log) as runner:
        runner.run(["a", "b"], str.upper)
    monkeypatch.setattr(rewriting, "_sync_file", failing(errno.ENOSPC))

    with pytest.raises(DiskFull):
        compact(log)

    assert not (log / REWRITE_NAME).exists()
    with Runner(log) as runner:
        assert [("a", "A"), ("b", "B")] == list(runner.results())
    assert [] == list(verify(log))


@pytest.mark.parametrize(("code", "expected"), [(errno.ENOSPC, DiskFull), (errno.EIO, StorageFailed)])
def test_creation_says_what_is_the_matter_with_the_disk(tmp_path, monkeypatch, code, expected):
    """Who looks for space need not look for a broken disk, from the first file of a log on."""
    monkeypatch.setattr(folder_module.os, "write", failing(code))

    with pytest.raises(expected, match=r"x\.wal"):
        Runner(tmp_path / "x.wal")

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("code", "expected"), [(errno.EMFILE, LogError), (errno.EIO, StorageFailed)])
def test_data_that_cannot_be_opened_is_not_lost(log, monkeypatch, code, expected):
    """A process with too many open files must not be sent to look for a backup."""
    really_open = os.open
    Runner(log).close()

    def fail(path, *more, **named):
        if str(path).endswith(DATA_NAME):
            raise OSError(code, os.strerror(code))
        return really_open(path, *more, **named)

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(LogError) as raised:
        Runner(log)

    assert expected is type(raised.value)


def test_data_that_vanishes_while_it_is_opened_is_lost(log, monkeypatch):
    """Between the look at the folder and the opening, as when somebody moves the file away."""
    Runner(log).close()
    really_read = lmdb_data.read_head
    monkeypatch.setattr(
        lmdb_data, "read_head", lambda path: ((log / DATA_NAME).rename(log / "aside"), really_read(path))[1]
    )
    with pytest.raises(LogLost, match="is gone"):
        Runner(log)
    monkeypatch.undo()

    (log / "aside").rename(log / DATA_NAME)


def test_log_without_its_sessions_folder_is_refused(tmp_path):
    """Nobody could tell any more who lives."""
    Runner(tmp_path / "x.wal").close()
    (tmp_path / "x.wal/sessions").rmdir()

    with pytest.raises(LogReplaced, match=r"sessions is gone\. Restore the folder"):
        Runner(tmp_path / "x.wal")


def open_files():
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - names only


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "full"), DiskFull),
        (OSError(errno.EIO, "broken"), StorageFailed),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_session_without_slots_does_not_begin(log, monkeypatch, error, expected):
    """No fn runs whose beginning could not be marked; the session's own file is given back."""

    def fail(*_arguments, **_options):
        raise error

    Runner(log).close()
    before = open_files()
    monkeypatch.setattr(scratch, "Scratch", fail)
    with pytest.raises(expected):
        Runner(log)
    monkeypatch.undo()

    assert before == open_files()
    assert [] == list((log / "sessions").iterdir())

    with Runner(log) as runner:
        assert 1 == runner.run(["a"], str.upper).succeeded


def test_copy_that_differs_from_the_log_is_never_swapped_in(log, monkeypatch):
    """Whatever made it differ: the log is as it was."""
    really_copy = rewriting._copy_table

    def copy_badly(source, table, target, name):
        really_copy(source, table, target, name)
        if name == ITEMS_TABLE:
            table = target.open_db(name)
            with target.begin(write=True, db=table) as txn:
                txn.put(b"a", b"another row")

    with Runner(log) as runner:
        runner.run(["a", "b"], str.upper)
    monkeypatch.setattr(rewriting, "_copy_table", copy_badly)
    with pytest.raises(LogCorrupt, match="differs from the log"):
        compact(log)

    assert not (log / REWRITE_NAME).exists()
    with Runner(log) as runner:
        assert 2 == runner.run(["a", "b"], str.upper).skipped


def test_large_table_is_copied_in_several_transactions(log, monkeypatch):
    """Each row once, in order, wherever one ends and the next begins."""
    monkeypatch.setattr(rewriting, "ROWS_A_TRANSACTION", 3)
    with Runner(log) as runner:
        runner.run(map(str, range(10)), str.upper)
    compact(log)

    with Runner(log) as runner:
        assert 10 == runner.run(map(str, range(10)), str.upper).skipped
