"""``tools/kill_torture.py`` counts its kills, repeats itself, and says when a promise is broken."""

import json
import subprocess
import sys

import pytest

from tests.crash.nursery import ROOT
from wal_runner.log.filesystems import has_lasting_inodes


pytestmark = pytest.mark.crash


def torture(tmp_path, *arguments):
    """Run the tool; give its exit code, its first line and its summary."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "kill_torture.py", "--dir", tmp_path, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    first, _, rest = done.stdout.partition("\n")
    assert rest, done.stderr
    return done.returncode, first, json.loads(rest)


def test_torture_ends_well(tmp_path):
    """It prints its seed and a summary, exits with 0, and leaves nothing behind."""
    code, first, summary = torture(
        tmp_path, "--kills", "6", "--seed", "7", "--window", "256", "--items", "1000", "--workers", "4"
    )

    assert (0, "seed 7") == (code, first)
    assert (7, True, [], 256, "by chance") == tuple(
        summary[name] for name in ("seed", "ok", "problems", "window", "results")
    )
    assert 6 <= summary["kills"]
    assert 1000 * summary["logs"] == summary["effects"]
    assert [] == list(tmp_path.iterdir())


def test_torture_sees_a_planted_bug(tmp_path):
    """With a fault in the library it says what it saw, keeps the log, and exits with 0: that was wanted."""
    code, _, summary = torture(
        tmp_path, "--kills", "60", "--seed", "1", "--driver", "serial", "--bug", "outcome unmarked", "--items", "2000"
    )

    assert (0, False, "outcome unmarked") == (code, summary["ok"], summary["bug"])
    assert any("are in doubt" in problem for problem in summary["problems"])
    assert summary["kept"] in [str(folder) for folder in tmp_path.iterdir()]


def test_torture_sees_a_copy_that_is_not_asked_for(tmp_path):
    """Folders are replaced between the deaths, and a library that does not compare places is caught by it."""
    if not has_lasting_inodes(tmp_path):
        pytest.skip("inode numbers do not last here")
    code, _, summary = torture(
        tmp_path, "--kills", "100", "--seed", "1", "--items", "1000", "--bug", "place not compared"
    )

    assert (0, False) == (code, summary["ok"])
    assert any("and not by LogCopied" in problem for problem in summary["problems"])
    assert summary["places"]
