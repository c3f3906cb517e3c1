"""Calls that fail: the library says so by an error of its own or goes on rightly, and loses nothing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.harness import interposer
from tools.harness.faults import FALSE_ALARMS, WAYS
from wal_runner import errors


TOOL = Path(__file__).parents[2] / "tools/io_faults.py"

pytestmark = pytest.mark.crash


@pytest.fixture(autouse=True, scope="module")
def _watched():
    try:
        interposer.environment()
    except interposer.Unavailable as error:
        pytest.skip(str(error))


def io_faults(*arguments):
    """Run the tool; give its exit code and what it said."""
    done = subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_failing_call_breaks_a_promise(tmp_path):
    """Every 80th call of every life, in every way; `.ci/run` tries every call of one life by the tool itself."""
    figures = tmp_path / "figures.json"

    code, said = io_faults("--every", "80", "--json", figures)

    assert code == 0, said
    found = json.loads(figures.read_text())
    assert set(WAYS) == set(found["ways"])
    assert 300 <= found["reached"]
    assert {"StorageFailed", "DiskFull"} <= set(found["raised"])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["eio-once", "enospc-once"])
def test_every_failing_call_of_a_creation_gives_an_error_of_ours(way):
    """The sync of the parent folder and a session's files once raised a bare OSError."""
    code, said = io_faults("--life", "creation", "--all", "--way", way)

    assert code == 0, said


@pytest.mark.timeout(300)
def test_failing_swap_gives_an_error_of_ours():
    """The rename, the copy's sync and the folder's once raised a bare OSError."""
    code, said = io_faults("--life", "compaction", "--every", "6", "--way", "eio-once", "--way", "eio-late")

    assert code == 0, said


@pytest.mark.timeout(300)
def test_library_that_swallows_errors_is_found():
    """A commit that failed and counts as one loses what was acknowledged."""
    code, said = io_faults("--control", "--life", "serial", "--every", "12", "--way", "enospc-once", "--seed", "2")

    assert code == 0, said
    # Which, depends on the calls that fail, and their number on the time that they take.
    assert re.search(r"was acknowledged, and the log ends at|a false alarm, LogWentBack", said), said
    assert "Again: python tools/io_faults.py --seed 2 --life serial --way enospc-once --call " in said
    assert "The planted fault was found." in said


def test_false_alarms_are_errors_that_exist():
    """A class that was renamed would be looked for in vain."""
    assert [] == [name for name in FALSE_ALARMS if not hasattr(errors, name)]
