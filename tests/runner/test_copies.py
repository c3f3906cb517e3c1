"""A folder that is not where its log was last used: shown, asked for once, and on record; and what never asks."""

import shutil
import subprocess
import sys

import pytest

from tests.cli.terminal import walrun
from tests.support.logs import copy_log
from tests.unit.log.children import own_namespace
from wal_runner import Runner, Status
from wal_runner.errors import LogCopied, LogUnsafe, LogWentBack
from wal_runner.log import lmdb_turn, place
from wal_runner.log.place import Place
from wal_runner.recovery.compact import compact
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.verifying import verify


ITEMS = ["a", "b", "c", "d"]

DIES = """
import os, sys
from wal_runner import Runner
Runner(sys.argv[1]).run(["a", "b", "c", "d"], lambda item: os._exit(0) if item == "c" else None, max_in_doubt=1)
"""

LIVES = """
import sys
from wal_runner import Runner
def fn(item):
    if item == "c":
        print("running", flush=True)
        sys.stdin.readline()
Runner(sys.argv[1]).run(["a", "b", "c", "d"], fn, max_in_doubt=1)
"""


@pytest.fixture
def log(tmp_path):
    """Give a log that ended in order."""
    made = tmp_path / "emails.wal"
    with Runner(made) as runner:
        runner.run(ITEMS, lambda _: None)
    return made


@pytest.fixture
def crashed(tmp_path):
    """Give a log whose process died while it ran c."""
    made = tmp_path / "crashed.wal"
    subprocess.run([sys.executable, "-c", DIES, made], check=True)
    return made


def contents(log):
    """Return what the files of a log hold, but for the two that each opening writes."""
    return {path: path.read_bytes() for path in log.rglob("*") if path.is_file() and path.name not in {"GATE", "HEAD"}}


def cp(log):
    """Copy as `cp -r` does."""
    copy = log.with_name("copy.wal")
    subprocess.run(["cp", "-r", log, copy], check=True)
    return copy


def cp_preserving(log):
    """Copy as `cp -a` and rsync do: owners, modes and times are kept."""
    copy = log.with_name("copy.wal")
    subprocess.run(["cp", "-a", log, copy], check=True)
    return copy


def tar(log):
    """Restore a backup into the place of the log, which was deleted: the file system may give the same inodes again."""
    archive = log.with_name("backup.tar")
    subprocess.run(["tar", "-C", log.parent, "-cf", archive, log.name], check=True)
    shutil.rmtree(log)
    subprocess.run(["tar", "-C", log.parent, "-xf", archive], check=True)
    return log


def cp_back(log):
    """Restore a copy that was made with cp."""
    copy = cp(log)
    shutil.rmtree(log)
    subprocess.run(["cp", "-r", copy, log], check=True)
    return log


@pytest.mark.parametrize("copied", [cp, cp_preserving, tar, cp_back])
def test_copy_asks_once(log, copied):
    """It is refused until somebody accepts it; then it is at its place, and the answer is on record."""
    copy = copied(log)

    with pytest.raises(LogCopied, match=r"nothing that it knows is lost by the move.*--accept-copy.*restore-a-backup"):
        Runner(copy)
    with Runner(copy, accept_copy=True) as runner:
        assert ITEMS == [item.item_id for item in runner.items(Status.SUCCEEDED)]
    with Runner(copy) as runner:
        sessions = runner.writer.state.sessions
    assert ["", "copy of ", ""] == [sessions[number].accepted[:8] for number in (1, 2, 3)]
    assert [] == list(verify(copy))


def test_copy_says_how_much_would_be_in_doubt(crashed):
    """Its slots prove nothing here: at its place a log may know more."""
    copy = cp(crashed)

    with pytest.raises(LogCopied, match=r"1 start would be in doubt here\. Where it was last used"):
        Runner(copy)


def test_copy_of_a_live_log_asks(tmp_path):
    """The original runs on: nothing is run beside it before somebody said so, and it notices nothing."""
    log = tmp_path / "emails.wal"
    with subprocess.Popen(
        [sys.executable, "-c", LIVES, log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        child.stdout.readline()
        copy = cp(log)
        with pytest.raises(LogCopied, match="1 start would be in doubt"):
            Runner(copy)
        child.communicate("go on\n")

    assert 0 == child.returncode
    with Runner.open_read(log) as view:
        assert {Status.SUCCEEDED: 4} == {status: count for status, count in view.counts().items() if count}


def test_refused_copy_is_not_changed(crashed):
    """Asking writes no event, no session and no file; HEAD and GATE say who looked."""
    copy = cp(crashed)
    before = contents(copy)
    with pytest.raises(LogCopied):
        Runner(copy)

    assert before == contents(copy)


def test_every_command_that_writes_asks(log):
    """Verdicts and compaction begin a session as a run does; reading and verifying only say it."""
    copy = cp(log)
    items = log.with_name("items.txt")
    items.write_text("a\n")
    for words in (
        ("run", copy, "--items", items, "--", "true"),
        ("retry", copy, "a", "--succeeded"),
        ("resolve", copy, "a", "--happened"),
        ("compact", copy),
    ):
        ended = walrun(*words)
        assert 12 == ended.code
        assert "--accept-copy" in ended.err
    assert 0 == walrun("status", copy).code
    assert walrun("status", copy).out.startswith("COPY: ")
    assert walrun("inspect", copy).out.startswith("COPY: ")
    assert walrun("verify", copy).err.startswith("COPY: ")
    assert 0 == walrun("compact", copy, "--accept-copy").code
    assert not walrun("status", copy).out.startswith("COPY: ")


def test_command_to_resume_does_not_accept_again(log):
    """What is printed to be pasted accepts no later copy."""
    copy = cp(log)
    items = log.with_name("items.txt")
    items.write_text("z\n")
    ended = walrun("run", copy, "--items", items, "--accept-copy", "--", "false")

    assert 3 == ended.code
    assert "--accept-copy" not in ended.err


def test_view_says_that_it_is_a_copy(log):
    """A program that looks can ask."""
    with LogView.open(log) as view:
        assert "" == view.copied_from
    with LogView.open(cp(log)) as view:
        assert view.copied_from


# --- Hard links -------------------------------------------------------------------------------


def test_hard_linked_clone_runs_in_neither_folder(crashed):
    """One GATE in two folders: both were refused nothing, and each declared the other's session dead."""
    clone = crashed.with_name("clone.wal")
    subprocess.run(["cp", "-al", crashed, clone], check=True)
    for folder in (clone, crashed):
        with pytest.raises(LogUnsafe, match="has 2 names") as raised:
            Runner(folder)

    command = str(raised.value).split("`")[1].replace(str(crashed), str(clone))
    subprocess.run(["sh", "-c", command], check=True)
    with pytest.raises(LogCopied):
        Runner(clone)
    with Runner(crashed) as runner:
        assert ["c"] == [doubt.item_id for doubt in runner.in_doubt()]


# --- What never asks ----------------------------------------------------------------------------


def test_renamed_log_is_at_its_place(crashed):
    """A rename on one disk leaves the inodes; the slots say what they said."""
    renamed = crashed.rename(crashed.with_name("elsewhere.wal"))
    with Runner(renamed) as runner:
        assert {"a": "succeeded", "b": "succeeded", "c": "in_doubt"} == {
            item.item_id: item.status.word for item in runner.items()
        }


def test_compacted_log_is_at_its_place(log):
    """The place is carried over by the copy that compaction swaps in."""
    compact(log)
    with Runner(log) as runner:
        assert "" == runner.writer.log.copied_from()


def test_log_from_before_does_not_ask(log):
    """A log that does not say where it was gets its place from the first opening."""
    copy = log.with_name("copy.wal")
    copy_log(log, copy)
    Runner(copy).close()
    again = log.with_name("again.wal")
    subprocess.run(["cp", "-r", copy, again], check=True)

    with pytest.raises(LogCopied):
        Runner(again)


def test_bind_mount_is_at_its_place(log):
    """Another path to the same files is no copy."""
    own_mounts = own_namespace("--mount")
    if own_mounts is None:
        pytest.skip("mounting takes root or user namespaces")
    program = """
import os, subprocess, sys
from wal_runner import Runner
os.mkdir(sys.argv[1] + ".bound")
subprocess.run(["mount", "--bind", sys.argv[1], sys.argv[1] + ".bound"], check=True)
Runner(sys.argv[1] + ".bound").close()
"""

    assert 0 == subprocess.run([*own_mounts, sys.executable, "-c", program, log], check=False).returncode


def test_device_number_is_no_part_of_the_place():
    """It may be another one after a boot; and a generation that is not told is not compared."""
    stored = Place(11, 5, 12, 6)

    assert stored.is_at(Place(11, 5, 12, 6))
    assert stored.is_at(Place(11, 0, 12, 0))
    assert not stored.is_at(Place(11, 7, 12, 6))
    assert not stored.is_at(Place(11, 5, 13, 6))


def test_inodes_that_do_not_last_are_one_warning(log, monkeypatch, caplog):
    """On vfat, exfat, FUSE and overlay nobody can know; the log runs, and is warned about once."""
    copy = cp(log)
    monkeypatch.setattr(place, "has_lasting_inodes", lambda _folder: False)
    Runner(copy).close()
    Runner(copy).close()

    assert 1 == sum("inode numbers do not last" in record.message for record in caplog.records)
    with Runner.open_read(copy) as view:
        assert "" == view.copied_from


# --- Slots that are ahead of the log ---------------------------------------------------------------


@pytest.mark.parametrize("ending", ["begun", "outcome"])
def test_slots_ahead_of_the_log_show_that_it_went_back(tmp_path, ending):
    """An older data.mdb, with the HEAD of its time, under the slots of a session that ran on."""
    log = tmp_path / "emails.wal"
    with Runner(log) as runner:
        runner.run(["z"], lambda _: None)
    old = {name: (log / name).read_bytes() for name in ("data.mdb", "HEAD")}
    program = DIES if ending == "begun" else DIES.replace("max_in_doubt=1", "").replace('item == "c"', 'item == "d"')
    subprocess.run([sys.executable, "-c", program, log], check=True)
    for name, content in old.items():
        (log / name).write_bytes(content)

    for opens in (Runner, LogView.open):
        with pytest.raises(LogWentBack, match=r"session 2 has run the item of event \d+.*restore-a-backup"):
            opens(log)


def test_slots_armed_ahead_of_the_log_prove_nothing(tmp_path):
    """A process that dies before the commit of its starts leaves them armed."""
    log = tmp_path / "emails.wal"
    program = """
import os, sys
from wal_runner import Runner, failpoints
runner = Runner(sys.argv[1])
failpoints.arm("commit.before_commit", lambda: os._exit(0))
runner.run(["a", "b"], print)
"""
    subprocess.run([sys.executable, "-c", program, log], check=True)

    with Runner(log) as runner:
        assert runner.run(["a", "b"], lambda _: None).ok


def test_place_is_kept_with_the_session(log, monkeypatch):
    """A crash before the commit of the session leaves the copy unaccepted."""
    copy = cp(log)

    def fail(*_):
        raise OSError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(lmdb_turn.LmdbTurn, "new_session", fail)
        with pytest.raises(OSError, match="no more"):
            Runner(copy, accept_copy=True)
    with pytest.raises(LogCopied):
        Runner(copy)
