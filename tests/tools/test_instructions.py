"""``tools/instructions.py`` counts what an item costs, and a tree that costs more fails the check."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import instructions
from tools.benchmarks import counting, task_counted
from tools.benchmarks.counting import Cost, Tree, WrongTree
from tools.benchmarks.task import Unavailable
from tools.harness.console import CANNOT_RUN


ROOT = Path(__file__).resolve().parents[2]
TINY = ("--items", "40", "240", "--layouts", "1")

SLOWER_ITEM = """
from wal_runner.runner import execution as _execution

_run = _execution.Execution.run

def _slower(self, *arguments):
    sum(range(2000))
    return _run(self, *arguments)

_execution.Execution.run = _slower
"""

SLOWER_START = """
sum(range(1_000_000))
"""

needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="there is no valgrind on PATH")


# --- Counting ---------------------------------------------------------------------------


@needs_valgrind
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_planted_slowdown_fails_the_check(tmp_path):
    """A tree that does more for each item exceeds --most, though the other one does more in all, before the first."""
    start, item = planted(tmp_path / "start", SLOWER_START), planted(tmp_path / "item", SLOWER_ITEM)
    found = tmp_path / "counts.json"
    done = called("run", "--tree", start, "--tree", item, *TINY, "--most", "10", "--json", found)

    assert 1 == done.returncode, done.stderr
    assert [f"run: {item}"] == [line.partition(" takes")[0] for line in done.stderr.splitlines() if " takes " in line]
    before, after = json.loads(found.read_text())
    assert after["ratio"] > 1.2
    assert before["instructions"][0][1] > after["instructions"][0][1]
    assert done.stdout.startswith("| task")
    assert sorted([start, item, found]) == sorted(tmp_path.iterdir())


@pytest.mark.parametrize("work", task_counted.WORKS)
@pytest.mark.usefixtures("counted_in_a_moment")
def test_commits_do_not_depend_on_time(work, shared_folder):
    """512 items more are two windows more, so trees differ in what they do and not in how often they commit."""
    cost = Tree(ROOT, shared_folder / work).cost(work, (300, 812), 1)

    assert ((5, 5),) == cost.instructions
    assert COMMITS[work] == cost.commits


@pytest.mark.usefixtures("counted_in_a_moment")
def test_child_with_another_package_is_refused(shared_folder):
    """A count of the wrong tree would say that nothing changed."""
    tree = Tree(ROOT, shared_folder / "wrong")
    (shared_folder / "wrong" / "imports" / "wal_runner").unlink()

    with pytest.raises(WrongTree, match=f"instead of {ROOT}"):
        tree.cost("run", (1, 2), 1)


def test_total_is_read_from_the_log():
    """Cachegrind prints the total in groups of three digits; without a total there is no count."""
    assert 1_267_361_325 == counting.references("==7== \n==7== I   refs:      1,267,361,325\n")
    with pytest.raises(Unavailable, match="no count"):
        counting.references("==7== Cachegrind, a cache and branch-prediction profiler\n")


# --- The command line -------------------------------------------------------------------


def test_without_valgrind_nothing_is_compared(monkeypatch, tmp_path, capsys):
    """The exit code is neither that of a pass nor that of a slower tree."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert CANNOT_RUN == instructions.main(["run"])
    said = capsys.readouterr()
    assert "" == said.out
    assert "install valgrind" in said.err


@pytest.mark.parametrize(
    ("percent", "code", "lines"),
    [
        ("1", 1, ["skip: after takes 2.00 % more instructions an item than before; 1 % are allowed."]),
        ("2", 0, []),
    ],
)
def test_most_is_what_a_tree_may_cost_more(monkeypatch, capsys, percent, code, lines):
    """Every task is judged by itself, and only a higher cost counts."""
    costs = {"run": (1000, 900), "skip": (1000, 1020)}
    rows = [tuple(cost(tree, work, n) for tree, n in zip(TREES, pair, strict=True)) for work, pair in costs.items()]
    monkeypatch.setattr(instructions, "_count", lambda *_: rows)
    found = instructions.main(["--tree", str(ROOT), "--tree", str(ROOT), "--most", percent])
    said = capsys.readouterr()

    assert (code, lines) == (found, said.err.splitlines())
    assert "| skip | 1,000.0 | 1,020.0 | 1.0200    | 3       |" in said.out


def test_trees_that_commit_differently_are_named(monkeypatch, capsys):
    """A ratio that is partly a matter of commits is not a matter of code alone."""
    rows = [(cost("before", "run", 10), cost("after", "run", 10, commits=4))]
    monkeypatch.setattr(instructions, "_count", lambda *_: rows)

    assert 0 == instructions.main([])
    said = capsys.readouterr()
    assert "| 3 / 4 " in said.out
    assert "run: the trees differ in commits" in said.err


def test_median_of_the_layouts_is_the_cost():
    """A layout that is off by much decides nothing."""
    assert 10 == Cost("tree", "run", (10, 20), ((100, 200), (100, 900), (100, 190)), 3).an_item


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["no-such"], "there is no task 'no-such'"),
        (["--tree", "no-such"], "no-such is not a checkout"),
        (["--items", "9", "9"], "the second number must be the larger one"),
        (["--most", "1"], "--most compares trees"),
        (["--most", "-1"], "not a percentage"),
    ],
)
def test_nonsense_is_a_usage_error(arguments, complaint, capsys):
    """A wrong argument is refused before anything is counted."""
    with pytest.raises(SystemExit) as stopped:
        instructions.main(arguments)

    assert CANNOT_RUN == stopped.value.code
    assert complaint in capsys.readouterr().err


# --- Helpers ----------------------------------------------------------------------------

TREES = ("before", "after")

# The log of the retries is twice as long: when it is closed, a snapshot takes two commits more.
COMMITS = {"replay": 2, "replay-results": 2, "replay-retries": 6, "run": 2, "run-results": 2, "skip": 0}


def cost(tree, work, instructions_an_item, commits=3):
    return Cost(tree, work, (10, 20), ((100, 100 + 10 * instructions_an_item),), commits)


def planted(folder, code):
    """Copy the package to *folder* with *code* at the end of its first module."""
    shutil.copytree(ROOT / "wal_runner", folder / "wal_runner", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "wal_runner" / "__init__.py").open("a") as module:
        module.write(code)
    return folder


def called(*arguments):
    command = [sys.executable, ROOT / "tools" / "instructions.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    """Return a folder in which the standard library is compiled once for all tests."""
    return tmp_path_factory.mktemp("trees")


@pytest.fixture
def counted_in_a_moment(monkeypatch):
    """Replace cachegrind by a command that prints a total at once."""
    script = 'echo "==1== I refs: 5" > "$0"; exec "$@"'
    monkeypatch.setattr(counting, "valgrind_command", lambda output: ["sh", "-c", script, str(output)])
