"""``walrun`` itself: which errors end it, with which code, and what is written where."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cli.terminal import environment, files_of, flip_bits, python, walrun
from tests.support.logs import copy_log
from wal_runner import Runner


READING = ["status", "inspect", "replay", "verify"]
# What opens a log that must exist, with what it needs besides.
OPENING = [
    ("status",),
    ("inspect",),
    ("resolve", "--abandon", "user-15"),
    ("retry", "--all-failed"),
    ("replay",),
    ("verify",),
    ("compact",),
    ("compact", "--dry-run"),
]


def on(log, command):
    """Give the arguments of *command* on *log*."""
    name, *more = command
    return [name, log, *more]


# --- Being asked ----------------------------------------------------------------------


def test_help_names_the_commands_and_the_exit_codes():
    """The first thing that somebody sees fits a screen and shows all there is."""
    ended = walrun("--help")

    assert (0, "") == (ended.code, ended.err)
    for word in ("status", "inspect", "resolve", "retry", "replay", "verify", "compact", " 12  ", "130  "):
        assert word in ended.out


def test_version_is_told():
    """The version of the command is that of the package."""
    ended = walrun("--version")

    assert (0, "walrun, version ") == (ended.code, ended.out[:16])


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("status",), ("status", "--frobnicate", "x.wal"), ("replay", "x", "--until", "noon")]
)
def test_what_is_not_understood_is_a_usage_error(arguments, tmp_path):
    """Code 2, words on stderr, and nothing done."""
    ended = walrun(*arguments, cwd=tmp_path)

    assert (2, "") == (ended.code, ended.out)
    assert "Error: " in ended.err
    assert [] == list(tmp_path.iterdir())


# --- No log ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", OPENING, ids=" ".join)
def test_wrong_path_is_no_log(command, tmp_path):
    """Code 10, and nothing is created; a mistyped path must not become a log."""
    ended = walrun(*on("typo.wal", command), cwd=tmp_path)

    assert (10, "") == (ended.code, ended.out)
    assert f"Error: There is no log at {tmp_path}/typo.wal." in ended.err
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("command", OPENING, ids=" ".join)
def test_what_is_not_a_log_is_no_log(command, tmp_path):
    """Code 10 for a folder of something else, and nothing in it is touched."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")

    ended = walrun(*on("photos", command), cwd=tmp_path)

    assert (10, "") == (ended.code, ended.out)
    assert "is a folder that is not a log" in ended.err
    assert {"cat.jpg": b"cat"} == {name: content for name, (_, content) in files_of(tmp_path / "photos").items()}


def test_errors_are_words_on_stderr_with_json_too(tmp_path):
    """Stdout is data: with --json it stays empty when there is none."""
    ended = walrun("status", "--json", tmp_path / "typo.wal")

    assert (10, "") == (ended.code, ended.out)
    assert ended.err.startswith("Error: There is no log at ")


# --- A damaged log ----------------------------------------------------------------------


@pytest.mark.parametrize("command", OPENING, ids=" ".join)
def test_damaged_log_is_corrupt(command, damageable):
    """One flipped bit in an event: code 12, whatever was asked."""
    flip_bits(damageable, b"user-7")

    ended = walrun(*on(damageable, command))

    assert 12 == ended.code
    assert "not as it was written" in ended.err + ended.out


def empty_data(log):
    """Leave an empty file where the data was."""
    (log / "data.mdb").write_bytes(b"")


def remove_identity(log):
    """Take away what says that this is a log."""
    (log / "IDENTITY").unlink()


def claim_a_newer_format(log):
    """Make the log one of a later version."""
    identity = log / "IDENTITY"
    identity.write_bytes(identity.read_bytes().replace(b"format 1", b"format 9"))


def put_an_older_copy_back(log):
    """Restore the data of an earlier day beneath the witness of today."""
    old = (log / "data.mdb").read_bytes()
    assert 0 == walrun("resolve", log, "user-15", "--abandon").code
    (log / "data.mdb").write_bytes(old)


@pytest.mark.parametrize("harm", [empty_data, remove_identity, claim_a_newer_format, put_an_older_copy_back])
def test_lost_older_and_newer_logs_are_corrupt_too(harm, damageable):
    """Code 12, and the message ends with advice."""
    harm(damageable)

    ended = walrun("status", damageable)

    assert (12, "") == (ended.code, ended.out)
    assert any(advice in ended.err.lower() for advice in ("restore-a-backup.md", "use the version"))


# --- A busy log -------------------------------------------------------------------------

IMPATIENT = """
import sys
from wal_runner.log import gate
acquire = gate.Gate.acquire
gate.Gate.acquire = lambda self, wait_s: acquire(self, 0.02)
from wal_runner.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", OPENING, ids=" ".join)
def test_held_log_is_busy(command, crashed):
    """Code 11, and the message names who holds it."""
    with (crashed / "GATE").open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        ended = python("-c", IMPATIENT, *on(crashed, command))

    assert (11, "") == (ended.code, ended.out)
    assert f"Process {os.getpid()} has held " in ended.err


def test_stopped_holder_is_named(crashed):
    """A process that was stopped inside the gate is told apart: waiting will not help."""
    hold = "import fcntl, sys; gate = open(sys.argv[1], 'rb'); fcntl.flock(gate, 2); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, crashed / "GATE"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            ended = python("-c", IMPATIENT, "status", crashed)
        finally:
            holder.send_signal(signal.SIGCONT)

    assert 11 == ended.code
    assert f"`kill -CONT {holder.pid}`" in ended.err


# --- Reading ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*((name,) for name in READING), ("compact", "--dry-run")], ids=" ".join)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_reading_writes_nothing(command, as_json, crashed):
    """Not a byte and not a time of change, though a dead session waits to be recorded."""
    before = files_of(crashed)

    ended = walrun(*on(crashed, command), *["--json"] * as_json)

    assert (0, "") == (ended.code, ended.err)
    assert before == files_of(crashed)


@pytest.fixture
def foreign(crashed_template):
    """Give a log that another user may read and not write, where that user can reach it."""
    if os.getuid() != 0:
        pytest.skip("only root becomes another user")
    # Not under tmp_path, whose parents are closed to others.
    folder = Path(tempfile.mkdtemp())
    log = folder / "emails.wal"
    copy_log(crashed_template, log)
    for path in [*log.rglob("*"), log]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o755)
    yield log
    shutil.rmtree(folder)


AS_NOBODY = """
import os, sys
from wal_runner.cli.main import main
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
main(sys.argv[1:])
"""


def as_nobody(*arguments):
    """Run ``walrun`` as a user who owns nothing, who may not even reach this Python: it is loaded before."""
    return python("-c", AS_NOBODY, *arguments, cwd=Path("/"))


@pytest.mark.parametrize("command", READING)
def test_log_of_another_user_can_be_read(command, foreign):
    """A read-only folder is enough to look, from an account that may do nothing else."""
    ended = as_nobody(command, foreign)

    assert (0, "") == (ended.code, ended.err)
    assert ended.out


def test_log_of_another_user_is_not_settled(foreign):
    """What writes says that it may not, and that reading works."""
    ended = as_nobody("resolve", foreign, "user-15", "--abandon")

    assert (1, "") == (ended.code, ended.out)
    assert "cannot be written" in ended.err


def test_folder_that_cannot_be_entered_is_an_error(foreign):
    """A missing right is one line, not a traceback."""
    foreign.parent.chmod(0o700)

    ended = as_nobody("status", foreign)

    assert (1, "") == (ended.code, ended.out)
    assert ["Error: "] == [line[:7] for line in ended.err.splitlines()]
    assert "ermission denied" in ended.err


# --- Pipes and signals --------------------------------------------------------------------


def test_reader_that_has_enough_ends_it_quietly(crashed):
    """``walrun replay | head -1`` leaves no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [sys.executable, "-m", "wal_runner", "replay", crashed],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as replay:
        os.close(writing)
        talk = replay.stderr.read()

    assert (1, b"") == (replay.returncode, talk)


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "Interrupted('Run the same again.', report=None)"])
def test_interruption_has_its_code(raised, crashed):
    """Ctrl-C ends with 130 and a line, not a traceback."""
    program = f"""
import sys
from wal_runner.errors import Interrupted
from wal_runner.recovery import verifying
def stop(path):
    raise {raised}
verifying.verify = stop
from wal_runner.cli.main import main
main(sys.argv[1:])
"""
    ended = python("-c", program, "verify", crashed)

    assert (130, "") == (ended.code, ended.out)
    assert ["Interrupted." if raised == "KeyboardInterrupt" else "Run the same again."] == ended.err.split("\n")[-2:-1]


def test_ids_that_the_terminal_cannot_show_are_escaped(tmp_path):
    """A terminal of another encoding gets an escape, and never a traceback; JSON is UTF-8 everywhere."""
    log = tmp_path / "log.wal"
    with Runner(log) as runner:
        runner.run(["Łódź \x1b[31m"], str)
    latin = {"PYTHONIOENCODING": "iso8859-1"}

    shown, spoken = walrun("replay", log, env=latin), walrun("replay", "--json", log, env=latin)

    assert r"\u0141ód\u017a \x1b[31m" in shown.out.encode("utf-8", "surrogateescape").decode("iso8859-1")
    assert r"Łódź \x1b[31m" in walrun("replay", log).out
    assert "Łódź \x1b[31m" in [line.get("item_id") for line in spoken.json_lines]
