"""Power cuts at every moment of a log's life: no promise is broken, and planted faults are found."""

import json
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tools.harness import judge, search
from tools.harness.nursery import Nursery
from tools.harness.planted import PLANTS, Plant
from tools.harness.recording import NAMES, record
from tools.harness.replacing import put
from tools.harness.search import Task


TOOL = Path(__file__).parents[2] / "tools/powercut.py"

pytestmark = [pytest.mark.crash, pytest.mark.usefixtures("watched_environment")]


def powercut(*arguments):
    """Run the tool; give its exit code and what it said."""
    done = subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_power_cut_breaks_no_promise(tmp_path):
    """Whatever of a life's writes arrived, the log opens and holds what was acknowledged, and no more.

    Every life; `.ci/run` looks at ten times as many states by the tool itself.
    """
    figures = tmp_path / "figures.json"

    code, said = powercut("--states", "4000", "--json", figures)

    assert code == 0, said
    found = json.loads(figures.read_text())
    assert set(NAMES) == set(found["lives"])
    assert 4000 <= found["states"]
    assert f"seed {found['seed']}" in said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_planted_fault_is_found():
    """No sync, a sync of the wrong thing, a wrong order, a slot misread: each shows in some state."""
    code, said = powercut("--controls")

    assert code == 0, said
    assert 20 <= len(PLANTS)
    assert f"{len(PLANTS)} of {len(PLANTS)} planted faults were found" in said


@pytest.mark.timeout(300)
def test_what_a_failed_commit_left_is_settled_before_it_is_built_upon():
    """Writing the meta page failed, and reached the disk all the same; the next session goes on, and the power fails.

    LMDB had put the old page back in the kernel's memory alone, so the disk named pages that the next
    commit was just writing over. That the harness sees it is shown by the fault "commit-unsettled".
    """
    code, said = powercut("--states", "700", "--life", "late_compaction", "--life", "late_windows")

    assert code == 0, said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("life", ["creation_killed", "compaction_killed"])
def test_what_a_dead_process_left_is_durable_before_it_is_built_upon(life):
    """A process died between a rename and the sync of its folder; the next one goes on, and the power fails.

    The kernel showed the renamed log, so the next process committed to it, and the name was still not on
    the disk: with it went every commit.
    """
    code, said = powercut("--states", "700", "--life", life)

    assert code == 0, said


def test_fault_is_told_with_the_command_that_shows_it_again(tmp_path, monkeypatch, capsys):
    """A broken promise ends with exit code 1, what it was, and how to see it again."""
    from tools import powercut as tool  # noqa: PLC0415 - it sets the path for itself

    plain = record
    monkeypatch.setattr(tool, "record", lambda *order: plain(*order, planted="metasync-off"))

    with fork_allowed():
        code = tool.main(["--states", "600", "--life", "serial", "--seed", "7", "--keep", str(tmp_path)])
    said = capsys.readouterr().out

    assert 1 == code
    assert said.startswith("seed 7\n")
    assert "was acknowledged, and the log ends at" in said
    agains = re.findall(r"Again: python tools/powercut\.py (--recording \S+ --state (\S+))", said)
    assert len(agains) > 3
    for again, state in agains[:4]:
        with fork_allowed():
            assert 1 == tool.main(again.split())
        said = capsys.readouterr().out
        assert f"serial, state {state} (" in said
        assert "1 states of 1 of" in said


def test_process_that_dies_of_what_it_opened_is_a_broken_promise(tmp_path, monkeypatch):
    """A signal ends a process of the search, not the search; another one goes on behind that state."""
    monkeypatch.setitem(PLANTS, "deadly", Plant("a state kills", "creation", lambda: None, die_of_the_third))
    with Nursery() as nursery:
        recording = record(nursery, tmp_path, "creation", 1)

    with fork_allowed():
        found = search.search(Task([recording], "1", 1, 1, float("inf"), planted="deadly"), tmp_path)

    places = [tuple(map(int, violation.state.split("."))) for violation in found.violations]
    assert {"the library's process died by SIGKILL"} == {v.problems[0] for v in found.violations}
    assert sorted(set(places)) == places
    assert 20 <= len(places)


def die_of_the_third():
    """Let every third state kill the process that judges it."""
    judged = []

    def deadly(*_arguments, **_options):
        judged.append(1)
        if len(judged) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return []

    put(search, judge=deadly)
    assert judge.judge is not deadly


def fork_allowed():
    """Let the search fork although pytest may have threads: its processes use none of theirs."""
    caught = warnings.catch_warnings()
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
    return caught
