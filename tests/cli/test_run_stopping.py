"""``walrun run`` is asked to stop: once, twice, by whom and however its commands behave."""

import os
import signal
import subprocess

import pytest

from tests.cli.stage import PATIENCE_S, Stage
from tests.cli.terminal import environment
from wal_runner.recovery.verifying import verify
from wal_runner.runner.progress import STOPPING


@pytest.fixture
def stage(tmp_path):
    """Give a stage for five items; its log is verified at the end."""
    with Stage(tmp_path, "abcde") as given:
        yield given
    assert [] == list(verify(given.log))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_once_it_finishes_what_runs(stage, number):
    """Nothing more is started, what runs is finished and on record, and the code is 130."""
    shell = stage.start("-j", "2", "--json")
    stage.hear(2)
    shell.send(number)
    shell.wait_to_say(STOPPING)
    stage.let("ab")
    ended = shell.end()

    assert 130 == ended.code
    assert {"a", "b"} == set(stage.ledger)
    assert {"a": "succeeded", "b": "succeeded"} == stage.statuses()
    assert (2, True, 130) == (ended.json["succeeded"], ended.json["interrupted"], ended.json["exit_code"])
    assert "3 items are left. Resume with this command:" in ended.err


def test_printed_command_resumes(stage):
    """Pasted into a shell, the command that it prints runs what is left, and nothing twice."""
    shell = stage.start("-j", "2")
    stage.hear(2)
    shell.send(signal.SIGINT)
    shell.wait_to_say(STOPPING)
    stage.let("abcde")
    ended = shell.end()
    command = ended.err.splitlines()[-1].strip()
    resumed = subprocess.run(
        ["sh", "-c", command], cwd=stage.folder, env=environment(), check=False, timeout=PATIENCE_S, capture_output=True
    )

    assert (130, 0) == (ended.code, resumed.returncode)
    assert ["a", "b", "c", "d", "e"] == sorted(stage.ledger)
    assert "--resume" in command


@pytest.mark.parametrize("workers", [1, 2])
def test_asked_twice_it_interrupts_its_commands(stage, workers):
    """They are terminated, and what they were at is in doubt: nobody knows how far they came."""
    shell = stage.start("-j", str(workers), "--json")
    began = stage.hear(workers)
    shell.send(signal.SIGINT)
    shell.wait_to_say(STOPPING)
    shell.send(signal.SIGINT)
    ended = shell.end()

    assert 130 == ended.code
    assert dict.fromkeys(began, "in_doubt") == stage.statuses()
    assert workers == ended.json["in_doubt"]
    assert [] == [item for item, pid in began.items() if is_alive(pid)]
    assert [] == stage.ledger
    assert "sh was interrupted" in ended.err


def test_command_that_does_not_want_to_end_is_killed(stage):
    """It gets two seconds; the run ends when it is dead, so that no effect comes after the verdict."""
    shell = stage.start("-j", "2", script=Stage.STUBBORN)
    began = stage.hear(2)
    shell.send(signal.SIGTERM)
    shell.wait_to_say(STOPPING)
    shell.send(signal.SIGTERM)
    ended = shell.end()

    assert 130 == ended.code
    assert [] == [item for item, pid in began.items() if is_alive(pid)]
    assert {"a": "in_doubt", "b": "in_doubt"} == stage.statuses()


def test_source_that_blocks_does_not_hold_it_up(stage):
    """A pipe that brings nothing more is not waited for."""
    shell = stage.walrun("run", "a.wal", "--items", "-", "--", "sh", "-c", Stage.SCRIPT, "sh", "{}")
    shell.process.stdin.write("a\n")
    shell.process.stdin.flush()
    stage.hear(1)
    stage.let("a")
    shell.send(signal.SIGINT)
    ended = shell.end()

    assert 130 == ended.code
    assert ["a"] == stage.ledger
    assert "The rest of the items is left. Resume with this command, with the same items on its stdin:" in ended.err


FUNCTIONS = """
import asyncio, os

def begin(item):
    with open("began", "w") as began:
        print(item, os.getpid(), file=began)

def wait(item):
    begin(item)
    with open(f"go-{item}") as gate:
        gate.readline()

async def wait_async(item):
    begin(item)
    gate = open(f"go-{item}")
    await asyncio.get_running_loop().run_in_executor(None, gate.readline)

async def wait_for_ever(item):
    begin(item)
    await asyncio.get_running_loop().create_future()
"""


@pytest.mark.parametrize(("name", "workers"), [("wait", 1), ("wait", 2), ("wait_async", 2)])
def test_functions_are_finished_too(stage, name, workers):
    """Asked once, the functions that run go on to their end."""
    (stage.folder / "shop.py").write_text(FUNCTIONS)
    shell = stage.walrun("run", "a.wal", "--items", "items.txt", "-j", str(workers), "--call", f"shop:{name}")
    began = stage.hear(workers)
    shell.send(signal.SIGINT)
    shell.wait_to_say(STOPPING)
    stage.let("".join(began))
    ended = shell.end()

    assert 130 == ended.code
    assert dict.fromkeys(began, "succeeded") == stage.statuses()


@pytest.mark.parametrize(("name", "workers"), [("wait", 1), ("wait_for_ever", 2)])
def test_functions_are_interrupted_too(stage, name, workers):
    """Asked twice, they are ended by an exception, and their items are in doubt."""
    (stage.folder / "shop.py").write_text(FUNCTIONS)
    shell = stage.walrun("run", "a.wal", "--items", "items.txt", "-j", str(workers), "--call", f"shop:{name}")
    began = stage.hear(workers)
    shell.send(signal.SIGINT)
    shell.wait_to_say(STOPPING)
    shell.send(signal.SIGINT)
    ended = shell.end()

    assert 130 == ended.code
    assert dict.fromkeys(began, "in_doubt") == stage.statuses()


def is_alive(pid):
    """Say whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
