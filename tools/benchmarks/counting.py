"""Counting the CPU instructions of an item, by cachegrind: the same number on a busy machine as on an idle one.

Imported by ``tools/instructions.py``. Invariant: a count is of the tree that was named, and the tasks are the same for
every tree. What a process spends before the first item and after the last is in both lengths, so it cancels out.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import lmdb

from tools.benchmarks.measuring import ROOT, result_of, start_child
from tools.benchmarks.task import Unavailable


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOG_NAME: Final = "counted.wal"
DATA_NAME: Final = "data.mdb"

REHEARSAL_ITEMS: Final = 5
"""Enough to import everything that the task imports, so that no counted process compiles a module."""

_REFERENCES = re.compile(r"^==\d+== I +refs: +([\d,]+)$", re.MULTILINE)


class WrongTree(Exception):
    """A child imported the package from elsewhere, so its count says nothing of the tree that was named."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kind of work costs in one tree, from a shorter and a longer run in each layout of the memory.

    *instructions* has a pair for each layout; *commits* is how many more commits the log has after the longer run.
    """

    tree: str
    work: str
    items: tuple[int, int]
    instructions: tuple[tuple[int, int], ...]
    commits: int

    @property
    def an_item(self) -> float:
        """Return the instructions an item: the median of the layouts."""
        few, many = self.items
        return statistics.median(longer - shorter for shorter, longer in self.instructions) / (many - few)


def valgrind_command(output: Path) -> list[str]:
    """Return the command in front of a child whose instructions are counted; raise `Unavailable` without valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise Unavailable("valgrind is not on PATH, and instructions are counted by it: install valgrind")
    nowhere = "--cachegrind-out-file=/dev/null"
    command = [valgrind, "--tool=cachegrind", "--cache-sim=no", "--branch-sim=no", nowhere, f"--log-file={output}"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise Unavailable(f"valgrind cannot run a program here: {tried.stderr.strip()[:200]}")
    return command


def references(log: str) -> int:
    """Return the number of instructions that cachegrind's *log* ends with."""
    found = _REFERENCES.findall(log)
    if len(found) != 1:
        raise Unavailable(f"cachegrind printed no count of instructions: {log.strip()[-200:]}")
    return int(found[0].replace(",", ""))


class Tree:
    """A checkout whose package is measured. *folder* is its own; modules are compiled beside it, once for all trees."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.name = str(path)
        self._folder = folder
        # A folder with the package alone: with the whole checkout the child would import that one's tools/ too.
        self._imports = folder / "imports"
        self._imports.mkdir(parents=True)
        (self._imports / "wal_runner").symlink_to(path.resolve() / "wal_runner", target_is_directory=True)
        self._rehearsed: set[str] = set()

    def cost(self, work: str, items: tuple[int, int], layouts: int) -> Cost:
        """Return what *work* costs, from a run with each number of *items*, the smaller one first, in each layout."""
        few, many = items
        output = self._folder / "valgrind.txt"
        command = valgrind_command(output)
        if work not in self._rehearsed:
            self._once(work, REHEARSAL_ITEMS, many, layout=0)
            self._rehearsed.add(work)
        pairs: list[tuple[int, int]] = []
        commits = 0
        for layout in range(layouts):
            before = self._once(work, few, many, layout=layout, prefix=command)
            shorter = references(output.read_text())
            commits = self._once(work, many, many, layout=layout, prefix=command) - before
            pairs.append((shorter, references(output.read_text())))
        return Cost(self.name, work, items, tuple(pairs), commits)

    def _once(self, work: str, items: int, items_most: int, *, layout: int, prefix: Sequence[str] = ()) -> int:
        """Lay out a log, do *work* on it behind the command *prefix*, and return how many commits the log has seen."""
        log = self._folder / LOG_NAME
        arguments = {"log": str(log), "work": work, "items": items, "items_most": items_most}
        self._child("lay_out", arguments)
        self._child("perform", {**arguments, "layout": layout}, prefix)
        with lmdb.open(str(log / DATA_NAME), subdir=False, readonly=True, lock=False, lib_version=0) as env:
            commits: int = env.info()["last_txnid"]
        shutil.rmtree(log)
        return commits

    def _child(self, function: str, arguments: dict[str, Any], prefix: Sequence[str] = ()) -> None:
        environment = {
            "PYTHONPATH": f"{self._imports}:{ROOT}",
            "PYTHONSAFEPATH": "1",  # or the current folder comes first, with its own wal_runner
            "PYTHONHASHSEED": "0",
            "PYTHONPYCACHEPREFIX": str(self._folder.parent / "compiled"),
            "PYTHONDONTWRITEBYTECODE": "",  # or each counted process compiles the library, and the standard library too
        }
        task = f"counted.{function}"
        result = result_of(start_child(task, arguments, environment=environment, prefix=prefix), task)
        expected = str(self._imports / "wal_runner")
        if result["package"] != expected:
            raise WrongTree(f"The child imported {result['package']} instead of {self.name}.")
