"""The interposer from Python: compiled, loaded before all others, spoken to.

Invariant: compiled from ``interposer.c`` once a process, into a folder of its own that goes with the
process. `watch` and the rest work only in a process that was started with `environment`.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from enum import IntEnum
from pathlib import Path
from typing import NoReturn


SOURCE = Path(__file__).with_name("interposer.c")


class Unavailable(Exception):
    """Raised where this machine cannot watch what a process does to its files; the message says why."""


class Fault(IntEnum):
    """How a call goes wrong."""

    NONE = 0
    FAIL_ONCE = 1
    FAIL_FOR_EVER = 2
    SHORT_WRITE = 3
    KILL_BEFORE = 4
    KILL_AFTER = 5
    FAIL_LATE = 6
    """It is done all the same: an error that comes with the write behind the cache."""


def environment() -> dict[str, str]:
    """Give the environment of a process that can be watched; raise `Unavailable` where there can be none."""
    return {"LD_PRELOAD": str(_library())}


@functools.cache
def _library() -> Path:
    if sys.platform != "linux":
        raise Unavailable("system calls are watched on Linux only")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Unavailable("there is no C compiler on PATH: install gcc")
    folder = Path(tempfile.mkdtemp(prefix="interposer-"))
    owner = os.getpid()
    # A fork that ends in order must not take the library away from the others.
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    library = folder / "interposer.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(SOURCE), "-lpthread"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Unavailable(f"{SOURCE.name} could not be compiled: {made.stderr.strip()[:500]}")
    return library


# --- Inside the process that is watched --------------------------------------------------------


@functools.cache
def _loaded() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.interposer_watch.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    library.interposer_fail.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    library.interposer_calls.restype = ctypes.c_long
    library.interposer_mark.argtypes = [ctypes.c_char_p, ctypes.c_uint32]
    return library


def watch(folder: Path, stream: Path) -> None:
    """Write down from now on what this process and its forks do to the files under *folder*."""
    if _loaded().interposer_watch(os.fsencode(folder), os.fsencode(stream)) != 0:
        raise Unavailable(f"{folder} cannot be watched")


def fail(call: int, fault: Fault, error: int = 0, *, barriers_only: bool = False) -> None:
    """Make call number *call* that can fail go wrong; they are counted from 0, over all processes.

    With *barriers_only* only those count that return when the disk has the data.
    """
    _loaded().interposer_fail(call, fault, error, barriers_only)


def calls() -> int:
    """Say how many calls that can fail were made."""
    return int(_loaded().interposer_calls())


def mark(data: bytes) -> None:
    """Put a mark into the stream."""
    _loaded().interposer_mark(data, len(data))


def settle() -> None:
    """Write down every store into shared memory that was made so far; call before the process ends at once."""
    _loaded().interposer_settle()


def die() -> NoReturn:
    """Die as by `kill -9`, with everything written down that was done."""
    _loaded().interposer_die()
    raise AssertionError("SIGKILL cannot be survived")
