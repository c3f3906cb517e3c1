"""Running cases: each in a fresh process, taking turns, so that a noisy minute hits all alike.

Imported by the sub-benchmarks. Invariant: a ratio is made of runs of the same round, and a case that
cannot run on this machine is skipped with its reason, never left out in silence.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tools.benchmarks import slow_disk
from tools.benchmarks.task import Result, Unavailable


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]

CHILD_SECONDS_MAX: Final = 3600.0
"""Making a log of ten million items takes minutes; what takes longer than this hangs."""

TASKS: Final = "tools.benchmarks.task_"


class ChildFailed(Exception):
    """A measured process ended with an error: the message has its words."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured, and where. *folder* is where logs are written: the disk that is measured."""

    rounds: int
    items: int
    startup_items: int
    tail_events: int
    slow_disk_ms: tuple[float, ...]
    folder: Path
    cache: Path


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to run: a *task* as "module.function" among the `task_*` modules, and what it is told.

    With *slow_ms* each barrier to the disk takes so much longer. *needs_folder*: it gets an empty one.
    """

    name: str
    task: str
    arguments: Mapping[str, Any]
    slow_ms: float = 0
    needs_folder: bool = True


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the final table: the values of all rounds, and what the issue asks for, if anything.

    *must* is ">=", "<=" or "==". A figure without values was not measured; *note* says why.
    """

    path: str
    unit: str
    values: tuple[float, ...]
    must: str = ""
    target: float = 0
    note: str = ""

    @property
    def median(self) -> float:
        """Give the median of the rounds."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Say whether the median meets the target; None where there is none, or nothing was measured."""
        if not self.must or not self.values:
            return None
        if self.must == "==":
            return all(value == self.target for value in self.values)
        return self.median >= self.target if self.must == ">=" else self.median <= self.target


@dataclass(slots=True)
class Bench:
    """One sub-benchmark under way: what it ran, what it skipped, what came of it."""

    name: str
    settings: Settings
    runs: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    rounds_of: dict[str, list[Result]] = field(default_factory=dict)

    def interleave(self, cases: Sequence[Case], rounds: int | None = None) -> None:
        """Run all *cases*, one after the other, as often as there are rounds."""
        for number in range(self.settings.rounds if rounds is None else rounds):
            for case in cases:
                if case.name not in self.skipped:
                    _show(f"{self.name}: round {number + 1}, {case.name}")
                    self._run(case, number)

    def once(self, case: Case, prefix: Sequence[str] = ()) -> Result | None:
        """Run one case once, behind the command *prefix*; give its result, or None where it was skipped."""
        _show(f"{self.name}: {case.name}")
        self._run(case, 0, prefix)
        return None if case.name in self.skipped else self.rounds_of[case.name][-1]

    def skip(self, case: str, reason: str) -> None:
        """Note that *case* cannot be run here."""
        self.skipped[case] = reason

    # --- What came of it -----------------------------------------------------------------------

    def values(self, case: str, key: str) -> tuple[float, ...]:
        """Give one figure of a case, a round each; nothing where it was skipped."""
        return tuple(result[key] for result in self.rounds_of.get(case, []))

    def rates(self, case: str) -> tuple[float, ...]:
        """Give how many items a second, a round each."""
        return tuple(result["items"] / result["wall_s"] for result in self.rounds_of.get(case, []))

    def ratios(self, ours: str, theirs: str) -> tuple[float, ...]:
        """Give how many times as quick *ours* is, a round each."""
        pairs = zip(self.rates(ours), self.rates(theirs), strict=False)
        return tuple(mine / other for mine, other in pairs)

    def cpu_us(self, case: str, empty: str = "") -> tuple[float, ...]:
        """Give the CPU time an item in microseconds, less that of the case *empty*, which had no items."""
        results = self.rounds_of.get(case, [])
        floors = self.values(empty, "cpu_s") if empty else (0.0,) * len(results)
        pairs = zip(results, floors, strict=True)
        return tuple((result["cpu_s"] - floor) / result["items"] * 1e6 for result, floor in pairs)

    def figure(self, path: str, unit: str, values: Sequence[float], must: str = "", target: float = 0) -> None:
        """Add a line to the final table; where *values* is empty it says what was skipped."""
        note = "" if values else "; ".join(f"{case}: {why}" for case, why in self.skipped.items()) or "not run"
        self.figures.append(Figure(path, unit, tuple(values), must, target, note))

    # --- One run -----------------------------------------------------------------------------------

    def _run(self, case: Case, number: int, prefix: Sequence[str] = ()) -> None:
        try:
            result = self._result_of(case, prefix)
        except Unavailable as reason:
            self.skip(case.name, str(reason))
            return
        self.rounds_of.setdefault(case.name, []).append(result)
        told = {"case": case.name, "round": number, "task": case.task, "arguments": dict(case.arguments)}
        self.runs.append({**told, "slow_disk_ms": case.slow_ms, "result": result})

    def _result_of(self, case: Case, prefix: Sequence[str]) -> Result:
        environment = slow_disk.environment(case.slow_ms) if case.slow_ms else {}
        if not case.needs_folder:
            return run_child(case.task, case.arguments, environment=environment, prefix=prefix)
        folder = tempfile.mkdtemp(prefix="run-", dir=self.settings.folder)
        try:
            arguments = {"folder": folder, **case.arguments}
            return run_child(case.task, arguments, environment=environment, prefix=prefix)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def run_child(
    task: str,
    arguments: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Result:
    """Run *task* in a fresh process and give its result.

    Raise `Unavailable` where it says that it cannot run here, `ChildFailed` where it fails.
    """
    # What the run before left to the kernel's writeback is not to be paid by this one.
    os.sync()
    return result_of(start_child(task, arguments, environment=environment, prefix=prefix), task)


def start_child(
    task: str,
    arguments: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """Start *task* in a fresh process, and do not wait for it."""
    module, _, function = task.partition(".")
    command = [sys.executable, "-m", "tools.benchmarks.child", TASKS + module, function, json.dumps(dict(arguments))]
    return subprocess.Popen(
        [*prefix, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(child: subprocess.Popen[str], task: str) -> Result:
    """Wait for a child and give what it told."""
    with child:
        try:
            said, complained = child.communicate(timeout=CHILD_SECONDS_MAX)
        except BaseException:
            child.kill()
            raise
    lines = said.strip().splitlines()
    if child.returncode != 0 or not lines:
        raise ChildFailed(f"{task} ended with {child.returncode}:\n{said}{complained}")
    result: Result = json.loads(lines[-1])
    if "unavailable" in result:
        raise Unavailable(result["unavailable"])
    return result


def _show(doing: str) -> None:
    """Say on a terminal what takes so long."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{doing}")
        sys.stderr.flush()
