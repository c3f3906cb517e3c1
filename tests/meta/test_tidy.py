"""The house rules: what lies where, how long it is, and which words are not used.

Each rule is a function from texts to complaints, so that a test can plant what it must catch.
"""

from __future__ import annotations

import ast
import io
import re
import shutil
import subprocess
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).parents[2]

# Besides hidden entries.
TOP_LEVEL = {"pyproject.toml", "README.md", "wal_runner", "tests", "tools", "docs"}

# Over 350 lines a file is likely to hold two things; over this many it does.
LINES_MAX = 400

# A table that people extend row by row: it is looked up, not read, and is to stay in one place.
TABLES = {"wal_runner/core/client_errors.py"}

# One word per idea: we say batch, item and snapshot.
BANNED_WORDS = {"job", "jobs", "workflow", "workflows", "checkpoint", "checkpoints"}

# Written with [] so that this file does not hold what it looks for.
LEFTOVERS = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X])\b")
MACHINE_PATHS = re.compile(r"(?<![\w.-])/(wor[k]|roo[t])/")


# --- The rules ----------------------------------------------------------------------


def unexpected_entries(paths: Iterable[str]) -> Iterator[str]:
    """Yield what lies at the top level and does not belong there."""
    for name in sorted({path.partition("/")[0] for path in paths}):
        if name not in TOP_LEVEL and not name.startswith("."):
            yield f"{name}: does not belong at the top level"


def too_long(path: str, text: str) -> Iterator[str]:
    """Yield a complaint about a file that no one reads in one sitting."""
    if path not in TABLES and (lines := len(text.splitlines())) > LINES_MAX:
        yield f"{path}: has {lines} lines; {LINES_MAX} are the most"


def without_docstring(path: str, text: str) -> Iterator[str]:
    """Yield a complaint about a module that does not say what it is."""
    if not ast.get_docstring(ast.parse(text)):
        yield f"{path}: does not start with a docstring"


def undocumented_tests(path: str, text: str) -> Iterator[str]:
    """Yield each test that does not state its fact."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if node.name.startswith("test") and not ast.get_docstring(node):
            yield f"{path}:{node.lineno}: {node.name} has no docstring"


def banned_words(path: str, text: str) -> Iterator[str]:
    """Yield each identifier that has a banned word in it, in snake_case or CamelCase."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", token.string)
        if token.type == tokenize.NAME and BANNED_WORDS & {word.lower() for word in words}:
            yield f"{path}:{token.start[0]}: {token.string} has a banned word in it"


def leftovers(path: str, text: str) -> Iterator[str]:
    """Yield each note that something is not finished."""
    yield from _lines_with(LEFTOVERS, path, text)


def machine_paths(path: str, text: str) -> Iterator[str]:
    """Yield each path that exists on a developer's machine only."""
    yield from _lines_with(MACHINE_PATHS, path, text)


def _lines_with(pattern: re.Pattern[str], path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := pattern.search(line):
            yield f"{path}:{number}: holds {found[0]}"


# --- What they are applied to ---------------------------------------------------------


def test_nothing_unexpected_lies_at_the_top_level(project_files: dict[str, str | None]) -> None:
    """The first look at the project shows six entries."""
    assert [] == list(unexpected_entries(project_files))


@pytest.mark.parametrize("rule", [too_long, without_docstring, banned_words])
def test_package_keeps_the_rule(rule: Callable[[str, str], Iterator[str]]) -> None:
    """No module of the package breaks it."""
    paths = sorted((ROOT / "wal_runner").rglob("*.py"))

    assert paths
    assert [] == [complaint for path in paths for complaint in rule(_name(path), path.read_text())]


def test_every_test_has_a_docstring() -> None:
    """The sentence that a reviewer would say aloud stands in the test."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))

    assert Path(__file__) in paths
    assert [] == [complaint for path in paths for complaint in undocumented_tests(_name(path), path.read_text())]


@pytest.mark.parametrize("rule", [leftovers, machine_paths])
def test_project_keeps_the_rule(
    rule: Callable[[str, str], Iterator[str]], project_files: dict[str, str | None]
) -> None:
    """No text file of the project breaks it, docs and settings included."""
    texts = {name: text for name, text in project_files.items() if text is not None}

    assert "pyproject.toml" in texts
    assert [] == [complaint for name, text in texts.items() for complaint in rule(name, text)]


# --- Each rule is seen to catch something ------------------------------------------------

LEFTOVER = "TO" + "DO"
MACHINE_PATH = "/wo" + "rk/main"


def test_unexpected_entry_is_caught() -> None:
    """A file or a folder that someone left at the top is named once."""
    paths = ["README.md", ".ci/run", "wal_runner/errors.py", "notes.txt", "src/a.py", "src/b.py"]

    assert ["notes.txt", "src"] == [complaint.partition(":")[0] for complaint in unexpected_entries(paths)]


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (too_long, "x = 1\n" * (LINES_MAX + 1), "x = 1\n" * LINES_MAX),
        (without_docstring, "# A comment is none.\nx = 1\n", '"""What this is."""\n'),
        (without_docstring, "", '"""Nothing more."""'),
        (undocumented_tests, "def test_a(): ...", 'def test_a():\n    """It is so."""\ndef helper(): ...'),
        (undocumented_tests, "class TestA:\n    async def test_a(self): ...", "class TestA: ..."),
        (banned_words, "job_count = 1", "x = 'job'  # job"),
        (banned_words, "class WorkflowRunner: ...", "class FlowRunner: ..."),
        (banned_words, "save(lastCheckpoint)", "jobless = 1"),
        (banned_words, "from x import JOBS", "from x import ITEMS"),
        (leftovers, f"x = 1  # {LEFTOVER}: more", f"{LEFTOVER}S = 1"),
        (machine_paths, f"see {MACHINE_PATH}/x", f"see docs{MACHINE_PATH}/x and ./docs{MACHINE_PATH}"),
    ],
)
def test_planted_fault_is_caught(rule: Callable[[str, str], Iterator[str]], bad: str, good: str) -> None:
    """A rule that never complains is no rule; one that always does is none either."""
    assert 1 == len(list(rule("planted.py", bad)))
    assert [] == list(rule("planted.py", good))


# --- Helpers --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project_files() -> dict[str, str | None]:
    """Give the files that git tracks, or would with the next `git add`: name -> text, None if binary."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git clone, or no git")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {name: _text(ROOT / name) for name in listing.split("\0") if name and (ROOT / name).is_file()}


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return None


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))
