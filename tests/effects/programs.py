"""Run a program to its end, for its exit code."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


PATIENCE_S = 30


def exit_code(program: str, *arguments: object, stdin: str = "", **environment: str) -> int:
    """Return the exit code of a program; skip the test if it is not installed."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    ended = subprocess.run(
        [path, *map(str, arguments)],
        check=False,
        capture_output=True,
        env={**os.environ, **environment},
        input=stdin.encode(),
        timeout=PATIENCE_S,
    )
    return ended.returncode
