"""The files of a log: no link is followed, no FIFO is waited for, nobody else's file is touched."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys

import pytest

from wal_runner import Runner
from wal_runner.errors import LogUnsafe
from wal_runner.log import files
from wal_runner.recovery.compact import compact
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.verifying import verify


PRECIOUS = b"precious\n" * 1000
NAMES = ["GATE", "IDENTITY", "HEAD", "data.mdb", "sessions", "sessions/1", "sessions/1.owner"]
KINDS = ["fifo", "socket", "link to a device", "link to a folder", "link to itself", "link to a file", "folder"]

is_root = os.geteuid() == 0


@pytest.fixture
def log(tmp_path):
    """Give a log whose session 1 died while it ran an item."""
    made = tmp_path / "emails.wal"
    program = "import os, sys; from wal_runner import Runner; Runner(sys.argv[1]).run(['a'], lambda _: os._exit(0))"
    subprocess.run([sys.executable, "-c", program, str(made)], check=True)
    return made


@pytest.fixture
def precious(tmp_path):
    """Give a file outside of the log."""
    made = tmp_path / "precious"
    made.write_bytes(PRECIOUS)
    return made


def put(kind, path, precious):
    """Put something in the place of *path*."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
                made.bind(path.name)  # the whole path may be too long
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "link to a folder":
            path.symlink_to(precious.parent)
        case "link to itself":
            path.symlink_to(path.name)
        case "link to a file":
            path.symlink_to(precious)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_special_file_is_refused(log, precious, name, kind):
    """Running, reading and verifying end with a typed error or a finding, and write nothing to what it leads to."""
    if (name, kind) == ("sessions", "folder"):
        pytest.skip("that is what it should be")
    put(kind, log / name, precious)
    before = sorted(precious.parent.iterdir())

    with pytest.raises(LogUnsafe, match=str(log / name)):
        Runner(log)
    if name != "sessions/1.owner" or kind != "folder":
        with pytest.raises(LogUnsafe), LogView.open(log) as view:
            view.sessions()
    if not name.startswith("sessions"):
        assert [f"{log / name} is a"] == [problem.text[: len(f"{log / name} is a")] for problem in verify(log)]
    assert PRECIOUS == precious.read_bytes()
    assert before == sorted(precious.parent.iterdir())


def test_sessions_elsewhere_lose_no_file(log, tmp_path):
    """A sessions folder that is a link deletes nothing where it leads."""
    spool = tmp_path / "spool"
    spool.mkdir()
    for name in ("1", "2", "1.large", "3.owner"):
        (spool / name).write_bytes(PRECIOUS)
    put("none", log / "sessions", spool)
    (log / "sessions").symlink_to(spool)

    with pytest.raises(LogUnsafe, match="sessions is a symbolic link"):
        Runner(log)
    assert ["1", "1.large", "2", "3.owner"] == sorted(path.name for path in spool.iterdir())


def test_large_outcome_is_not_written_through_a_link(log, precious):
    """The next session's number is no secret, so a link may wait under the name of its overflow file."""
    (log / "sessions" / "2.large").symlink_to(precious)
    with Runner(log) as runner:
        report = runner.run(["b"], lambda _: "x" * 5000)

    assert 1 == report.succeeded
    assert PRECIOUS == precious.read_bytes()


def test_link_made_during_the_run_is_not_followed(log, precious):
    """A link that appears while the session lives leads nowhere either, and the outcome is committed all the same."""
    with Runner(log) as runner:
        (log / "sessions" / f"{runner.writer.session.number}.large").symlink_to(precious)
        report = runner.run(["b"], lambda _: "x" * 5000)

    assert 1 == report.succeeded
    assert PRECIOUS == precious.read_bytes()


def test_rewrite_does_not_follow_a_link(log, precious):
    """A link under the name of compaction's copy is deleted, not written through."""
    (log / "data.mdb.rewrite").symlink_to(precious)
    compact(log)

    assert PRECIOUS == precious.read_bytes()
    assert not (log / "data.mdb.rewrite").is_symlink()


def test_path_of_a_log_may_be_a_link(log, tmp_path):
    """Only names inside of the folder must be what they seem."""
    link = tmp_path / "current.wal"
    link.symlink_to(log)
    with Runner(link) as runner:
        assert 1 == runner.run(["b"], lambda _: None).succeeded


# --- Hard links -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GATE", "data.mdb", "HEAD"])
def test_file_with_a_second_name_is_refused(log, tmp_path, name):
    """It is written here and read there: the message gives the command that makes it single."""
    os.link(log / name, tmp_path / "other")

    with pytest.raises(LogUnsafe, match=f"{name} has 2 names") as raised:
        Runner(log)
    command = str(raised.value).split("`")[1]
    subprocess.run(["sh", "-c", command], check=True)
    assert {1} == {path.stat().st_nlink for path in log.iterdir() if path.is_file()}
    assert 2 != (tmp_path / "other").stat().st_nlink


# --- Owners -----------------------------------------------------------------------------------


def test_folder_of_another_user_is_refused(log, monkeypatch):
    """Its owner could swap the files during a run; it is said whose it is and what to do."""
    owner = log.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(LogUnsafe, match=f"belongs to user {owner}.*chown -R {owner + 1}"):
        Runner(log)


@pytest.mark.skipif(not is_root, reason="only root can give files away")
def test_root_leaves_files_to_the_owner(log, caplog):
    """Root on a user's log is warned once, and every file that it makes belongs to the user, who can go on."""
    user = 65534
    for path in [log, *log.rglob("*")]:
        os.chown(path, user, user)
    (log / "HEAD").unlink()
    runner = Runner(log)
    made = {path: path.stat().st_uid for path in log.rglob("*")}
    runner.close()
    compact(log)
    made |= {path: path.stat().st_uid for path in log.rglob("*")}

    assert {user} == set(made.values())
    assert {"HEAD", "data.mdb", "2", "2.owner"} <= {path.name for path in made}
    assert 2 == sum("runs as root" in record.message for record in caplog.records)


@pytest.mark.skipif(not is_root, reason="only root can give files away")
def test_root_gives_away_no_file_that_was_there(log, tmp_path):
    """A name that leads to a file of root's by a hard link would become the user's."""
    secret = tmp_path / "secret"
    secret.write_bytes(PRECIOUS)
    os.chown(log, 65534, 65534)
    (log / "HEAD").unlink()
    os.link(secret, log / "HEAD")

    with pytest.raises(LogUnsafe, match="HEAD has 2 names"):
        Runner(log)
    assert 0 == secret.stat().st_uid


# --- One function -------------------------------------------------------------------------------


def test_file_deleted_between_two_looks_is_made(tmp_path, monkeypatch):
    """Creating what another process deletes at the same time ends with a file, or an error, never in a loop."""
    real, calls = os.open, []

    def open_and_delete(path, flags, *more, **options):
        calls.append(path)
        if path == "HEAD" and flags & os.O_EXCL and len(calls) < 4:
            raise FileExistsError(path)
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", open_and_delete)
    descriptor = files.open_file(tmp_path, "HEAD", os.O_RDWR, create=True)
    os.close(descriptor)

    assert (tmp_path / "HEAD").exists()
