"""Several ``walrun run`` on one log at once, and one of them killed: who runs what, and who is dead."""

import os
import signal

import pytest

from tests.cli.stage import Stage
from tests.cli.terminal import walrun
from wal_runner import Runner
from wal_runner.recovery.verifying import verify


@pytest.fixture
def stage(tmp_path):
    """Give a stage for six items; its log is verified at the end."""
    with Stage(tmp_path, "abcdef") as given:
        yield given
    assert [] == list(verify(given.log))


def test_two_shells_share_the_work(stage):
    """The same command in two shells at once: each item is run by one of them, and each of them runs some."""
    one = stage.start("-j", "2", "--json")
    first = stage.hear(2)
    other = stage.start("-j", "2", "--json")
    second = stage.hear(2)
    stage.let("abcdef")
    reports = [shell.end() for shell in (one, other)]

    assert {"a", "b"} == set(first)
    assert {"c", "d"} == set(second)
    assert list("abcdef") == sorted(stage.ledger)
    assert 6 == sum(ended.json["succeeded"] for ended in reports)
    assert {ended.code for ended in reports} <= {0, 5}
    assert 0 in {ended.code for ended in reports}


def test_items_of_another_session_are_told(stage):
    """Done here, and the others still run elsewhere: code 5, so that a script can wait for them."""
    one = stage.start("-j", "2")
    stage.hear(2)
    other = stage.start("-j", "2", "--json")
    stage.hear(2)
    stage.let("cdef")
    ended = other.end()
    stage.let("ab")

    assert 5 == ended.code
    assert (4, 2) == (ended.json["succeeded"], ended.json["elsewhere"])
    assert "2 items are running in another session" in ended.err
    assert 0 == one.end().code
    assert list("abcdef") == sorted(stage.ledger)


@pytest.mark.crash
def test_killed_shell_leaves_its_items_in_doubt_for_the_other_to_show(stage):
    """The one that lives finds the death at its end: what the dead one ran is in doubt, and not run again."""
    victim = stage.start("-j", "2")
    running = stage.hear(2)
    other = stage.start("-j", "2", "--json")
    stage.hear(2)
    victim.send(signal.SIGKILL)
    for pid in running.values():
        os.kill(pid, signal.SIGKILL)
    stage.wait_for_death_of_session(1)
    stage.let("cdef")
    ended = other.end()

    assert -signal.SIGKILL == victim.end().code
    assert 4 == ended.code
    assert (4, 2) == (ended.json["succeeded"], ended.json["in_doubt"])
    assert {"a": "in_doubt", "b": "in_doubt"}.items() <= stage.statuses().items()
    assert list("cdef") == sorted(stage.ledger)
    assert "2 items are in doubt" in ended.err


@pytest.mark.crash
def test_killed_run_is_not_dead_while_its_command_runs(stage):
    """Its owner is dead, its effect is still to come: nobody takes its items before the command has ended."""
    victim = stage.start("-j", "2")
    stage.hear(2)
    victim.send(signal.SIGKILL)
    victim.end()
    [while_running] = sessions(stage)
    inspected = walrun("inspect", "a.wal", cwd=stage.folder)
    other = stage.start("-j", "2", "--json")
    stage.hear(2)
    stage.let("cdef")
    meanwhile = other.end()
    stage.let("ab")
    stage.wait_for_death_of_session(1)
    [afterwards] = sessions(stage)
    ended = stage.start("--json").end()

    assert (True, True) == (while_running.alive, while_running.effect_running)
    assert "owner dead, effect still running" in inspected.out
    assert (5, 2) == (meanwhile.code, meanwhile.json["elsewhere"])
    assert (False, False, 2) == (afterwards.alive, afterwards.effect_running, len(afterwards.doubts))
    assert (4, 2) == (ended.code, ended.json["in_doubt"])
    assert list("abcdef") == sorted(stage.ledger)


def sessions(stage):
    """Give what a reader sees of the log's sessions."""
    with Runner.open_read(stage.log) as view:
        return view.sessions()
