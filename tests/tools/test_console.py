"""What the harnesses share on the command line: nonsense is refused, and an end by a signal is one in good order."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("powercut", "io_faults", "kill_torture", "corruption", "simulator", "prove")
HEARD = "seed "


def begin(tool, *arguments, **options):
    """Begin a tool that hears Ctrl-C, though the tests may be run in the background, where nobody does."""
    return subprocess.Popen(
        [sys.executable, ROOT / "tools" / f"{tool}.py", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread runs here
        **options,
    )


def ended(tool, *arguments):
    one = begin(tool, *arguments)
    said, complaint = one.communicate(timeout=60)
    return one.returncode, said, complaint


@pytest.mark.parametrize("tool", TOOLS)
def test_no_time_is_no_time(tool):
    """Nothing that was looked at is not "all is well", and a wrong usage is not a broken promise."""
    for minutes in ("0", "-1", "long"):
        code, _, complaint = ended(tool, "--minutes", minutes)

        assert 2 == code
        assert "--minutes" in complaint


@pytest.mark.parametrize(
    ("tool", "option", "value"),
    [
        ("powercut", "--states", 0),
        ("powercut", "--processes", 0),
        ("powercut", "--state", "x"),
        ("powercut", "--recording", "no such file"),
        ("io_faults", "--every", 0),
        ("io_faults", "--processes", 0),
        ("kill_torture", "--kills", 0),
        ("kill_torture", "--items", 0),
        ("kill_torture", "--window", 99_999),
        ("kill_torture", "--dir", "no such folder"),
        ("corruption", "--folders", -1),
        ("corruption", "--json", "no such folder/figures.json"),
        ("simulator", "--lives", 0),
        ("simulator", "--exhaustive", 0),
    ],
)
def test_what_cannot_be_meant_is_refused(tool, option, value):
    """Before anything is done."""
    code, said, complaint = ended(tool, option, value)

    assert (2, "") == (code, said)
    assert option in complaint


def test_call_that_is_never_made_is_nothing_done():
    """A number behind the last call of the life tries nothing."""
    code, _, complaint = ended("io_faults", "--life", "creation", "--way", "eio-once", "--call", 100_000)

    assert 2 == code
    assert "No call was reached." in complaint


@pytest.mark.parametrize(("tool", "amount"), [("powercut", "--states"), ("io_faults", "--all")])
def test_ended_tool_leaves_nothing(tool, amount, tmp_path):
    """A supervisor that ends it finds neither its processes nor its folders, which else lie in memory."""
    amounts = [amount] if amount == "--all" else [amount, 10**9]
    one = begin(tool, *amounts, "--dir", tmp_path)
    assert one.stdout.readline().startswith(HEARD)
    one.send_signal(signal.SIGTERM)
    one.communicate(timeout=60)

    assert 128 + signal.SIGTERM == one.returncode
    assert [] == [*tmp_path.iterdir()]


def test_interrupted_tool_tells_what_there_was_until_then(tmp_path):
    """A run of hours that is stopped is not in vain."""
    figures = tmp_path / "figures.json"
    one = begin("simulator", "--exhaustive", 6, "--json", figures)
    assert one.stdout.readline().startswith(HEARD)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            one.wait(timeout=6)
        one.send_signal(signal.SIGINT)
        _, complaint = one.communicate(timeout=30)
    finally:
        one.kill()
        one.wait()

    assert 128 + signal.SIGINT == one.returncode
    assert "Interrupted." in complaint
    assert json.loads(figures.read_text())["cases"]
