"""A slow disk: a small library that is loaded before all others and delays each barrier.

Imported by `measuring`. Invariant: compiled from `tools/slow_disk.c` once a process, into a folder of
its own that goes with the process.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.benchmarks.task import Unavailable


SOURCE = Path(__file__).parents[1] / "slow_disk.c"


def environment(delay_ms: float) -> dict[str, str]:
    """Give the environment in which each barrier takes *delay_ms* longer; raise `Unavailable` without a compiler."""
    return {"LD_PRELOAD": str(_library()), "SLOW_DISK_US": str(round(delay_ms * 1000))}


@functools.cache
def _library() -> Path:
    if sys.platform != "linux":
        raise Unavailable("a slow disk is imitated on Linux only")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Unavailable("there is no C compiler on PATH to make the slow disk: install gcc")
    folder = Path(tempfile.mkdtemp(prefix="slow-disk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "slow_disk.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(SOURCE), "-ldl"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Unavailable(f"{SOURCE.name} could not be compiled: {made.stderr.strip()[:500]}")
    return library
