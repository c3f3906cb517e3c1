"""The docs are true: their examples run, their tables equal the code, their links lead somewhere."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import wal_runner
from tests.clients.conftest import skip_or_fail
from tests.crash.child import BUGS as KILL_BUGS
from tests.docs import services
from tools.corrupting.controls import CONTROLS
from tools.harness.line_bugs import BUGS as LINE_BUGS
from tools.harness.planted import PLANTS
from tools.make_cli_reference import PAGE, reference
from tools.prove import HARNESSES
from tools.simulation.controls import BUGS as LIFE_BUGS
from wal_runner import errors
from wal_runner.cli.exits import Exit
from wal_runner.cli.main import walrun
from wal_runner.core.events import TYPE_NUMBERS
from wal_runner.log import format as disk_format
from wal_runner.log import scratch


ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])
WITH_EXAMPLES = [page for page in PAGES if page.parent.name in {"how-to", "tutorial"} or page.name == "README.md"]
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (?P<name>\w+\.py)\n")
LINK = re.compile(r"\]\((?P<target>[^)#:]+)(#[^)]*)?\)")
TEST = re.compile(r"def (test_\w+)\(")
SECONDS_MAX = 60


def name_of(page: Path) -> str:
    """Name a page for the test's id."""
    return str(page.relative_to(ROOT))


def environment(folder: Path) -> dict[str, str]:
    """Give an environment in which `walrun` and `python` are the ones under test."""
    commands = folder / ".commands"
    commands.mkdir()
    for name, line in {"walrun": '-m wal_runner "$@"', "python": '"$@"'}.items():
        script = commands / name
        script.write_text(f"#!/bin/sh\nexec {sys.executable} {line}\n")
        script.chmod(0o755)
    return {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name_of)
def test_examples_of_a_page_run_in_their_order(page: Path, tmp_path: Path) -> None:
    """Every example of the page does what it says, from an empty folder."""
    with contextlib.ExitStack() as stack:
        try:
            served = stack.enter_context(services.serving(page.name))
        except FileNotFoundError as error:
            skip_or_fail(str(error))
            return
        run_examples(page, tmp_path, environment(tmp_path) | served)


def run_examples(page: Path, tmp_path: Path, given: dict[str, str]) -> None:
    """Run the blocks of *page* in their order, each to its end."""
    for block in BLOCK.finditer(page.read_text()):
        language, body = block["language"], block["body"]
        named = FILE_NAME.match(body)
        if language == "python" and named:
            (tmp_path / named["name"]).write_text(body)
            continue
        if language not in {"python", "sh"} or "pip install" in body:
            continue
        command = [sys.executable, "-c", body] if language == "python" else ["bash", "-euo", "pipefail", "-c", body]
        done = subprocess.run(
            command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )

        assert 0 == done.returncode, f"{body}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"


def test_tutorial_tells_what_happens(tmp_path: Path) -> None:
    """The crash of the tutorial leaves one item in doubt, and nothing is sent twice."""
    page = DOCS / "tutorial" / "first-crash.md"
    given = environment(tmp_path)
    blocks = [(block["language"], block["body"]) for block in BLOCK.finditer(page.read_text())]
    (tmp_path / "send.py").write_text(blocks[0][1])
    said = []
    for _language, body in blocks[1:5]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", body],
            cwd=tmp_path,
            env=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said.append(done.stdout)

    assert "exit code 137" in said[0]
    assert "51 outbox.txt" in said[0]
    assert "user-50" in said[1]
    assert "49 sent now, 50 before, 1 in doubt" in said[2]
    assert "exit code 4" in said[2]
    assert "exit code 0" in said[3]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    """No page points at one that is not there."""
    targets = [page.parent / link["target"] for link in LINK.finditer(page.read_text())]

    assert [] == [str(target) for target in targets if not target.exists()]


def test_every_page_can_be_reached() -> None:
    """Each page is linked from the index, or from the index of the decisions."""
    linked: set[Path] = set()
    for index in (DOCS / "README.md", DOCS / "decisions" / "README.md"):
        linked |= {(index.parent / link["target"]).resolve() for link in LINK.finditer(index.read_text())}

    assert [] == [
        name_of(page) for page in DOCS.rglob("*.md") if page.resolve() not in linked and page.name != "README.md"
    ]


def test_command_line_reference_equals_the_help() -> None:
    """docs/reference/cli.md is what tools/make_cli_reference.py writes."""
    assert reference() == PAGE.read_text()


def test_every_command_is_shown_in_a_guide() -> None:
    """No command is documented by its reference alone."""
    guides = "".join(page.read_text() for page in WITH_EXAMPLES)

    assert [] == [name for name in walrun.list_commands(click.Context(walrun)) if f"walrun {name}" not in guides]


def test_exit_code_table_equals_the_enum() -> None:
    """docs/reference/exit-codes.md lists the codes and their meanings, word by word."""
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", (DOCS / "reference" / "exit-codes.md").read_text(), re.MULTILINE)

    assert [(int(code), code.meaning) for code in Exit] == [(int(code), meaning) for code, meaning in rows]


def test_event_table_equals_the_type_numbers() -> None:
    """docs/reference/on-disk-format.md lists every event under its number."""
    page = (DOCS / "reference" / "on-disk-format.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([A-Z]\w+) \|", page, re.MULTILINE)

    assert [(number, kind.__name__) for kind, number in TYPE_NUMBERS.items()] == [(int(n), name) for n, name in rows]


def test_slot_codes_equal_the_table() -> None:
    """docs/reference/on-disk-format.md lists the codes of the scratch slots."""
    page = (DOCS / "reference" / "on-disk-format.md").read_text()
    codes = {name: value for name, value in vars(scratch).items() if name in CODE_NAMES}

    assert CODE_NAMES == set(codes)
    assert [] == [name for name, value in codes.items() if f"`{value:04x}`" not in page]
    assert f"{disk_format.SCRATCH_SLOTS:,} slots of {disk_format.SCRATCH_SLOT_BYTES} bytes" in page


CODE_NAMES = {"_ARMED", "_BEGUN", "_SUCCEEDED", "_SUCCEEDED_INLINE", "_EVENT_INLINE", "_EVENT_BESIDE"}


def test_api_reference_names_every_public_name_and_error() -> None:
    """docs/reference/api.md leaves out nothing that can be imported, and no error that can be raised."""
    page = (DOCS / "reference" / "api.md").read_text()
    leaves = [
        kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__
    ]

    assert [] == [name for name in wal_runner.__all__ if name not in page and not name.startswith("__")]
    assert [] == [name for name in leaves if name not in page and name != "LogError"]


@pytest.mark.parametrize(
    "command", ["status", "inspect", "verify", "replay --state", "compact --dry-run", "run --items items.txt"]
)
def test_json_reference_names_every_key(command: str, tmp_path: Path) -> None:
    """docs/reference/json-output.md leaves out no key that a command prints."""
    (tmp_path / "items.txt").write_text("a\nb\n")
    given = environment(tmp_path)
    name, _, options = command.partition(" ")
    run = "walrun run x.wal --items items.txt --json -- true"
    line = run if name == "run" else f"{run} >first.json; walrun {name} x.wal {options} --json"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=given, capture_output=True, text=True, timeout=SECONDS_MAX, check=True
    )
    keys = set(json.loads(done.stdout.splitlines()[-1])) - {"type"}
    page = (DOCS / "reference" / "json-output.md").read_text()
    shown = command.split(" --items", maxsplit=1)[0].removesuffix(" --dry-run")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{shown}` |"))
    status = next(line for line in page.splitlines() if line.startswith("| `status` |"))
    named = set(re.findall(r"`(\w+)`", row)) | (set(re.findall(r"`(\w+)`", status)) if "state" in options else set())

    assert set() == keys - named


def test_tests_that_a_page_names_exist() -> None:
    """A fault that is said to be reproduced by a test is; and whatever else the page says of tests."""
    there = {name for path in (ROOT / "tests").rglob("test_*.py") for name in TEST.findall(path.read_text())}
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}

    assert len(named) > 30
    assert set() == named - there


def test_planted_bugs_are_counted() -> None:
    """The page tells how many bugs each harness must catch, and the sum."""
    page = (DOCS / "explanation" / "how-it-is-tested.md").read_text()
    counts = {
        "powercut": len(PLANTS),
        "io_faults": 1,  # a library that swallows errors; it is one of the power cuts' too
        "kill_torture": len(KILL_BUGS),
        "corruption": len(CONTROLS),
        "simulator": len(LIFE_BUGS),
        "line_sweep": len(LINE_BUGS),
    }

    for tool, count in counts.items():
        assert re.search(rf"^\| `tools/{tool}\.py` \|.* \| {count} \|$", page, re.MULTILINE), tool
    total = sum(counts.values())
    assert f"| planted bugs caught | {total} of {total} | {total} of {total} | |" in page


def test_amounts_of_a_commit_are_those_that_it_does() -> None:
    """What the page says is done each time is what `tools/prove.py` asks for."""
    page = (DOCS / "explanation" / "how-it-is-tested.md").read_text()
    for harness, row in {
        "power cuts": "states after a power cut",
        "random kills": "random kills",
        "corruption": "damaged folders",
        "simulated lives": "simulated lives",
    }.items():
        amount = int(HARNESSES[harness].for_a_commit[-1])
        assert f"| {row} | {amount:,} |" in page, row
