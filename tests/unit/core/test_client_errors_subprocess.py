"""What errors of real child processes say of what they did."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from wal_runner.core.lost_reply import connection_unusable, lost_reply


if TYPE_CHECKING:
    from pathlib import Path

PYTHON = sys.executable


def test_child_that_exits_with_an_error_failed() -> None:
    """An exit code is the child's own report."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        subprocess.run([PYTHON, "-c", "raise SystemExit(3)"], check=True)

    assert (False, False) == (lost_reply(caught.value), connection_unusable(caught.value))


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGTERM"])
def test_child_that_a_signal_ended_leaves_doubt(tmp_path: Path, name: str) -> None:
    """The child had started, and its progress is unknown."""
    effect = tmp_path / "effect"
    dies = f"import os, signal, pathlib; pathlib.Path({str(effect)!r}).touch(); os.kill(os.getpid(), signal.{name})"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        subprocess.run([PYTHON, "-c", dies], check=True)

    assert (True, True) == (effect.exists(), lost_reply(caught.value))


def test_child_that_timed_out_leaves_doubt(tmp_path: Path) -> None:
    """The child may have had its effect before the timeout."""
    effect = tmp_path / "effect"
    hangs = f"import pathlib, sys; pathlib.Path({str(effect)!r}).touch(); sys.stdin.read()"
    child = subprocess.Popen([PYTHON, "-c", hangs], stdin=subprocess.PIPE)
    while not effect.exists():
        pass
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        child.wait(0.01)
    child.communicate()

    assert lost_reply(caught.value)


@pytest.mark.parametrize("program", ["/no/such/program", "/"])
def test_child_that_was_never_started_failed(program: str) -> None:
    """No process was started."""
    with pytest.raises(OSError, match=r"No such file|Permission denied") as caught:
        subprocess.run([program], check=True)

    assert not lost_reply(caught.value)
