"""Counting barriers: the calls that return when the disk has the data, as strace saw them.

Imported by the strict benchmark. A barrier is fsync, fdatasync, msync(MS_SYNC), or a write to a
descriptor that was opened with O_DSYNC or O_SYNC: LMDB's meta page goes to one of those, and a
count of the syncs alone would find half the truth.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Final

from tools.benchmarks.task import Unavailable


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SYNCS: Final = ("fsync", "fdatasync", "msync", "sync_file_range", "syncfs", "sync")
_WRITES: Final = ("write", "writev", "pwrite64", "pwritev", "pwritev2")
_OPENS: Final = ("open", "openat")
_COPIES: Final = ("dup", "dup2", "dup3")

_CALL = re.compile(r"^(?:(?P<pid>\d+) +)?(?P<name>\w+)\((?P<rest>.*)$")
_RESUMED = re.compile(r"^(?:(?P<pid>\d+) +)?<\.\.\. \w+ resumed>(?P<rest>.*)$")
_RETURNED = re.compile(r"\) += (-?\d+)")
_SYNCHRONOUS = re.compile(r"\bO_D?SYNC\b")
_UNFINISHED: Final = " <unfinished ...>"


def strace_command(output: Path) -> list[str]:
    """Give the command before which a child is run; raise `Unavailable` where strace is not, or may not."""
    strace = shutil.which("strace")
    if strace is None:
        raise Unavailable("there is no strace on PATH to count barriers: install strace")
    calls = ",".join((*_SYNCS, *_WRITES, *_OPENS, *_COPIES, "close"))
    command = [strace, "-f", "-qq", "-s", "0", "-e", f"trace=?{calls.replace(',', ',?')}", "-e", "signal=none"]
    tried = subprocess.run([*command, "-o", str(output), "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise Unavailable(f"strace may not trace here: {tried.stderr.strip()[:200]}")
    return [*command, "-o", str(output)]


def count(lines: Iterable[str]) -> Counter[str]:
    """Count the barriers in the *lines* of an strace of one process, threads included, by their kind."""
    found: Counter[str] = Counter()
    synchronous: set[int] = set()
    for name, rest in _calls(lines):
        first = rest.partition(",")[0].rstrip(")")
        if name in _SYNCS:
            if name != "msync" or "MS_SYNC" in rest:
                found[name] += 1
        elif name in _WRITES:
            if int(first) in synchronous:
                found[f"{name} O_DSYNC"] += 1
        elif name == "close":
            synchronous.discard(int(first.partition(")")[0]))
        elif returned := _RETURNED.search(rest):
            made = int(returned[1])
            if _SYNCHRONOUS.search(rest) if name in _OPENS else int(first.partition(")")[0]) in synchronous:
                synchronous.add(made)
            else:
                synchronous.discard(made)
    return found


def _calls(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each call, whole: strace splits one when another thread makes a call in between."""
    begun: dict[str | None, tuple[str, str]] = {}
    for line in lines:
        if called := _CALL.match(line):
            rest = called["rest"]
            if rest.endswith(_UNFINISHED):
                begun[called["pid"]] = (called["name"], rest.removesuffix(_UNFINISHED))
            else:
                yield called["name"], rest
        elif (resumed := _RESUMED.match(line)) and resumed["pid"] in begun:
            name, rest = begun.pop(resumed["pid"])
            yield name, rest + resumed["rest"]
