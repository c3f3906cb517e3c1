"""What a path may hold, and what a Runner makes of it."""

import os
import shutil
import sys
import zlib
from pathlib import Path

import pytest

from tests.runner.driving import Effects, numbers, serial
from tests.support.logs import copy_log
from wal_runner import Runner, Status, replay
from wal_runner.errors import LogCorrupt, LogError, LogLost, LogMissing, LogReadOnly, LogTooNew, LogWentBack, NotALog


@pytest.fixture
def made(path):
    """Give the path of a log with three items, which a test may damage."""
    with Runner(path) as runner:
        serial(runner, ["a", "b", "c"], Effects())
    copy = path.parent / "damaged.wal"
    copy_log(path, copy)
    return copy


def everything_in(folder):
    """Give every file below *folder* with its content."""
    return {str(file): file.read_bytes() for file in sorted(Path(folder).rglob("*")) if file.is_file()}


def test_new_path_is_a_new_log(path):
    """A Runner creates it, private to its owner, and says so."""
    with Runner(path) as first:
        created = first.created
    with Runner(path) as second:
        again = second.created

    assert (True, False) == (created, again)
    assert 0o700 == path.stat().st_mode & 0o777
    assert {0o600} == {file.stat().st_mode & 0o777 for file in path.rglob("*") if file.is_file()}


def test_mistyped_path_creates_nothing(tmp_path):
    """must_exist=True only recovers; nor do readers create anything."""
    missing = tmp_path / "emials.wal"
    for opens in (lambda: Runner(missing, must_exist=True), lambda: Runner.open_read(missing), lambda: replay(missing)):
        with pytest.raises(LogMissing, match=r"emials\.wal"):
            opens()

    assert [] == list(tmp_path.iterdir())


def test_folder_that_is_not_there_is_not_made(tmp_path):
    """A log makes its own folder, not a whole path."""
    with pytest.raises(LogError):
        Runner(tmp_path / "no such folder" / "a.wal")

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("must_exist", [False, True])
def test_foreign_folder_is_not_a_log(tmp_path, must_exist):
    """Nothing in it is touched."""
    folder = tmp_path / "mails"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear reader")
    before = everything_in(tmp_path)
    with pytest.raises(NotALog):
        Runner(folder, must_exist=must_exist)
    with pytest.raises(NotALog):
        Runner.open_read(folder)

    assert before == everything_in(tmp_path)


def test_file_and_empty_folder_are_no_logs(tmp_path):
    """An empty folder may be what is left of a log, so it is not taken for a new one."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("file", "empty"):
        with pytest.raises(NotALog):
            Runner(tmp_path / name)

    assert [] == list((tmp_path / "empty").iterdir())


def empty(made):
    """Empty data.mdb, as a full disk and a careless copy do."""
    (made / "data.mdb").write_bytes(b"")


def delete(made):
    """Delete data.mdb."""
    (made / "data.mdb").unlink()


def lose_identity(made):
    """Delete IDENTITY."""
    (made / "IDENTITY").unlink()


def swap_data(made):
    """Put another log's data in place."""
    with Runner(made.parent / "other.wal"):
        pass
    shutil.copyfile(made.parent / "other.wal" / "data.mdb", made / "data.mdb")


@pytest.mark.parametrize("damage", [empty, delete, lose_identity, swap_data])
def test_log_whose_data_is_gone_is_lost_and_not_new(made, damage):
    """Running on it would do everything again, so nobody does."""
    damage(made)
    before = everything_in(made)
    for opens in (Runner, Runner.open_read, replay):
        with pytest.raises(LogLost):
            opens(made)

    assert before == everything_in(made)


@pytest.mark.parametrize("keep", [1, 4096, 8192, 12_288])
def test_truncated_data_is_an_error_and_not_a_crash(made, keep):
    """However little is left: a typed error, and the process lives."""
    data = (made / "data.mdb").read_bytes()
    (made / "data.mdb").write_bytes(data[:keep])

    with pytest.raises((LogCorrupt, LogLost, LogWentBack)):
        Runner(made)


def test_newer_format_is_refused_by_name(made):
    """With a right checksum it is no damage: it was written by a newer version."""
    identity = (made / "IDENTITY").read_bytes()
    body = identity.partition(b"crc ")[0].replace(b"format 1", b"format 2")
    (made / "IDENTITY").write_bytes(body + b"crc %08x\n" % zlib.crc32(body))
    for opens in (Runner, Runner.open_read, replay):
        with pytest.raises(LogTooNew, match="format 2"):
            opens(made)


def test_damaged_identity_is_corrupt(made):
    """One that does not sum up says nothing."""
    identity = (made / "IDENTITY").read_bytes()
    (made / "IDENTITY").write_bytes(identity.replace(b"log_id ", b"log_id f"))

    with pytest.raises(LogCorrupt, match="IDENTITY"):
        Runner(made)


def test_older_copy_in_place_is_refused(made, path):
    """HEAD has seen more: a redo of what is missing would repeat effects."""
    with Runner(path) as runner:
        serial(runner, ["d"], Effects())
    shutil.copyfile(path / "HEAD", made / "HEAD")

    with pytest.raises(LogWentBack, match=r"Put the newest copy back.*restore-a-backup\.md"):
        Runner(made)


def test_missing_head_is_no_witness_and_no_harm(made):
    """It is a witness only."""
    (made / "HEAD").unlink()
    with Runner(made) as runner:
        counts = runner.counts()

    assert 3 == counts[Status.SUCCEEDED]


def test_log_may_be_moved(made):
    """A log is its folder, wherever that is."""
    moved = made.parent / "moved.wal"
    made.rename(moved)
    with Runner(moved) as runner:
        report = serial(runner, ["a", "b", "c", "d"], Effects())

    assert {"seen": 4, "succeeded": 1, "skipped": 3} == numbers(report)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; see the test with a read-only mount")
def test_read_only_folder_can_be_read(made):
    """A Runner refuses it, and a reader does not need to write."""
    for folder in (made, made / "sessions"):
        folder.chmod(0o500)
    for file in made.rglob("*"):
        if file.is_file():
            file.chmod(0o400)
    try:
        with pytest.raises(LogReadOnly):
            Runner(made)
        with Runner.open_read(made) as view:
            assert 3 == view.counts()[Status.SUCCEEDED]
    finally:
        for folder in (made, made / "sessions"):
            folder.chmod(0o700)


def test_path_may_be_text_or_relative(tmp_path, monkeypatch):
    """And is then found again whatever the working directory becomes."""
    monkeypatch.chdir(tmp_path)
    with Runner("here.wal") as runner:
        monkeypatch.chdir("/")
        serial(runner, ["a"], Effects())
        assert str(tmp_path / "here.wal") == runner.path

    assert replay(tmp_path / "here.wal").counts[Status.SUCCEEDED] == 1


def test_path_with_odd_characters_works(tmp_path):
    """Spaces, quotes, line ends, and letters."""
    names = ["a b 'c' \"d\"", "line\nend", "ümlaut"]
    if sys.platform == "linux":  # others refuse it themselves
        names.append(os.fsdecode(b"not \xff UTF-8"))
    for name in names:
        with Runner(tmp_path / name) as runner:
            assert 1 == serial(runner, ["a"], Effects()).succeeded
