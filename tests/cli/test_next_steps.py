"""What to do next: commands that can be pasted, and only true ones."""

import shlex
from pathlib import Path

import click
import pytest

from wal_runner.cli.main import walrun
from wal_runner.cli.next_steps import next_steps, rerun, resolve_commands
from wal_runner.core.events import Status
from wal_runner.core.items import OpenAttempt, SessionInfo
from wal_runner.recovery.reader import SessionReport


def session(*argv, number=1, cwd=None, ending=""):
    """Make a session, in the current folder unless another is given."""
    cwd = str(Path.cwd()) if cwd is None else cwd
    return SessionInfo(number, "host", 7, "boot", argv, cwd, "ada", "1", "", 1, 2, 0, ending)


def counts(**given):
    """Make counts by status word."""
    return {status: given.get(status.word, 0) for status in Status}


def report(info, *, alive, opened=(), effect_running=False):
    """Make a report of *info*."""
    return SessionReport(info, alive, effect_running, bool(info.ending), list(opened), {})


WALRUN = ("/usr/bin/walrun", "run", "a.wal", "--items", "b c.csv", "--", "./send", "{}")
RESUMED = "walrun run --resume a.wal --items 'b c.csv' -- ./send '{}'"


@pytest.fixture(autouse=True)
def command_line():
    """Let click know the program, as it does while a command runs."""
    with click.Context(walrun, info_name="walrun"):
        yield


@pytest.mark.parametrize(
    ("sessions", "command"),
    [
        ([session(*WALRUN)], RESUMED),
        ([session("/lib/wal_runner/__main__.py", "run", "a.wal", "--resume")], "walrun run a.wal --resume"),
        ([session(*WALRUN), session("walrun", "resolve", "a.wal", number=2)], RESUMED),
        ([session(*WALRUN), session("walrun", "run", "./a.wal", number=2)], "walrun run --resume ./a.wal"),
        ([session("send.py", "--all")], None),
        ([session(*WALRUN, *["x"] * 30)], None),
        ([session(*WALRUN, "x" * 501)], None),
        ([session()], None),
        ([], None),
    ],
)
def test_command_that_runs_again_is_the_last_one_that_ran(sessions, command):
    """That of a program we do not know, or one that was cut, is described and not made up."""
    step = rerun(sessions, "a.wal")

    assert command == step.command
    assert step.why.startswith("Run ")


def test_command_is_run_in_the_folder_of_the_last_one():
    """Its other words may be paths of that folder."""
    step = rerun([session(*WALRUN, cwd="/srv/x y")], "/srv/x y/a.wal")

    assert f"cd '/srv/x y' && {RESUMED}" == step.command


@pytest.mark.parametrize("words", ["{} --items a.wal", "--items a.wal --key a.wal {}", "-j 2 {} --items a.wal"])
def test_command_names_the_log_that_was_asked_about(words):
    """A copy or a renamed log remembers the name that it had; a command for that one would run on another log."""
    given = ["walrun", "run", *words.format("a.wal").split(), "--accept-copy", "--", "cp", "a.wal"]
    here = rerun([session(*given)], "b.wal").command
    elsewhere = rerun([session(*given, cwd="/srv")], "b.wal", accept_copy=True).command

    assert f"walrun run --resume {words.format('b.wal')} -- cp a.wal" == here
    words = words.format(Path("b.wal").absolute())
    assert f"cd /srv && walrun run --resume --accept-copy {words} -- cp a.wal" == elsewhere


def test_words_that_this_version_does_not_read_make_no_command():
    """Which of them names the log is not known."""
    step = rerun([session("walrun", "run", "a.wal", "--from-a-newer-version")], "b.wal")

    assert step.command is None
    assert "Run the same again, on b.wal: session 1 was `walrun run a.wal" in step.why


def test_items_on_stdin_are_mentioned():
    """The log does not know what was piped; a dash behind -- is another program's."""
    assert "with the same items on its stdin" in rerun([session("walrun", "run", "a.wal", "--items", "-")], "a.wal").why
    words = ("walrun", "run", "a.wal", "--items", "b", "--", "cat", "-")
    assert "stdin" not in rerun([session(*words)], "a.wal").why


def test_nothing_to_do_is_nothing():
    """When all has succeeded, or was abandoned, no step is invented."""
    assert [] == next_steps("a.wal", counts(succeeded=5, abandoned=1), [], [session(*WALRUN, ending="closed")])


def test_doubts_come_first_then_the_dead():
    """What is held until a person looks is the most urgent."""
    dead = report(session("send.py"), alive=False, opened=[(4, OpenAttempt("a", 1, 5)), (5, OpenAttempt("b", 1, 5))])

    steps = next_steps("my log.wal", counts(started=2, failed=1), [dead], [dead.info])

    assert ["2 items in doubt:", "Session 1 died, a"] == [step.why[:17] for step in steps]
    assert ["walrun inspect 'my log.wal'", None] == [step.command for step in steps]
    assert "`send.py` in " in steps[1].why


def test_living_sessions_are_let_be():
    """What runs elsewhere is waited for; what outlives its owner too."""
    opened = [(4, OpenAttempt("a", 1, 5))]
    alive = report(session("x"), alive=True, opened=opened)
    orphan = report(session("x", number=2), alive=True, opened=opened, effect_running=True)

    steps = next_steps("a.wal", counts(started=2), [alive, orphan], [])

    assert ["Session 1 is running 1 item. Let it.", "The process of session 2 is dead"] == [
        steps[0].why,
        steps[1].why[:32],
    ]


def test_failed_and_pending_are_run_again():
    """The next run takes both, so one command is enough."""
    [step] = next_steps("a.wal", counts(failed=2, pending=1), [], [session(*WALRUN, ending="closed")])

    assert step.why.startswith("2 items failed and 1 item pending. The next run runs them.")
    assert step.command.startswith("walrun run --resume a.wal ")


@pytest.mark.parametrize("item_id", ["a", "-5", "it's"])
def test_commands_name_the_log_and_the_item(item_id):
    """Split as a shell does, the words are the log, the id and the verdict."""
    commands = resolve_commands("my log.wal", item_id, 5, 1)

    assert ["happened", "did_not_happen", "abandon"] == list(commands)
    for command in commands.values():
        assert {"walrun", "resolve", "my log.wal", item_id} < set(shlex.split(command))


def test_commands_for_a_copy_accept_it():
    """Pasted as they are, they would be refused; one that is on record already is not said twice."""
    commands = [
        *resolve_commands("a.wal", "a", 5, 1, accept_copy=True).values(),
        *resolve_commands("a.wal", "-a", 5, 2, accept_copy=True).values(),
        *resolve_commands("a.wal", "-", 5, 1, accept_copy=True).values(),
        rerun([session(*WALRUN)], "a.wal", accept_copy=True).command,
        rerun([session("walrun", "run", "--accept-copy", "a.wal")], "a.wal", accept_copy=True).command,
    ]

    assert [1] * len(commands) == [shlex.split(command).count("--accept-copy") for command in commands]
    assert "accept_copy=True" in rerun([session("send.py")], "a.wal", accept_copy=True).why


def test_ids_that_no_command_line_holds_have_no_commands():
    """An id of megabytes is piped, not pasted."""
    assert {} == resolve_commands("a.wal", "x" * 5_000, 5, 1)
