"""The search: processes that lay out one state after the other and let the judge open it.

Each process walks through all states and takes its share by their keys, so no state is looked at twice and
nothing is sent between them. A process that dies of what it opened (a damaged page is answered by SIGBUS) is
a broken promise; another one goes on behind that state.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import logging
import mmap
import os
import random
import signal
import struct
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from tools.harness.console import be_a_worker, end_worker
from tools.harness.judge import judge
from tools.harness.layout import Layout
from tools.harness.planted import PLANTS
from tools.harness.small import make_small
from tools.harness.states import key_of, points, states


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tools.harness.recording import Recording
    from tools.harness.states import State

TRIES_A_NEW_STATE: Final = 3
"""States drawn at a point for each new one that is wanted there; the rest were seen before."""

PLAIN_STATES: Final = 8
"""The first states of a point are the same everywhere: nothing arrived, all of it, its beginning."""

DEEP_EVERY: Final = 24
"""One state in so many is verified whole, and all its items run once more."""

VIOLATIONS_MAX: Final = 50
"""A search that found so many ends: the first ones say enough."""

_PLACE: Final = struct.Struct("=qqqq")


@dataclass(frozen=True)
class Task:
    """What to search: recordings, how many states a point, until when."""

    recordings: Sequence[Recording]
    seed: str
    a_point: int
    processes: int
    deadline: float
    planted: str = ""
    first_only: bool = False
    points_max: int | None = None
    """Look at so many points of each recording only."""
    only: str = ""
    """Look at this state alone, by its name."""


class Violation(NamedTuple):
    """A broken promise: in which life, at which state, and what is wrong."""

    life: str
    seed: int
    state: str
    label: str
    problems: list[str]


@dataclass
class Findings:
    """What a search came to."""

    states: Counter[str] = field(default_factory=Counter)
    """States looked at, by life."""
    labels: Counter[str] = field(default_factory=Counter)
    """And by what arrived."""
    deep: int = 0
    violations: list[Violation] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """Give how many states were looked at."""
        return self.states.total()

    def figures(self) -> dict[str, object]:
        """Give all of it for a JSON file."""
        return {
            "states": self.count,
            "lives": self.states,
            "arrived": self.labels,
            "verified_whole": self.deep,
            "seconds": round(self.seconds, 1),
            "violations": [violation._asdict() for violation in self.violations],
        }

    def add(self, other: Findings) -> None:
        """Take in what another search, or another process of this one, found."""
        self.states += other.states
        self.labels += other.labels
        self.deep += other.deep
        self.violations += other.violations
        self.seconds += other.seconds


def search(task: Task, folder: Path) -> Findings:
    """Look at the states of *task* in processes of their own; *folder* is theirs."""
    began = time.monotonic()
    workers = [_Worker(task, number, folder) for number in range(task.processes)]
    findings = Findings()
    running: dict[int, _Worker] = {}
    try:
        running |= {worker.start(): worker for worker in workers}
        while running:
            pid, status = os.wait()
            worker = running.pop(pid, None)
            if worker is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            if code > 0:
                raise RuntimeError(f"a process of the search failed:\n{worker.said()}")
            if code < 0:
                worker.note_death(code)
            enough = (worker.violations() and task.first_only) or worker.violations() >= VIOLATIONS_MAX
            if code < 0 and not enough:
                running[worker.start()] = worker
            elif enough:
                _end(running)
                running = {}
        for worker in workers:
            findings.add(worker.findings())
    finally:
        _end(running)
        for worker in workers:
            worker.close()
    findings.seconds = time.monotonic() - began
    return findings


def _end(running: dict[int, _Worker]) -> None:
    for pid in running:
        end_worker(pid)
        os.waitpid(pid, 0)


def _mixed(drawn: Iterator[State], seed: str, a_point: int) -> Iterator[State]:
    """Give the states in another order where only a few are looked at: not always the plainest."""
    if a_point < PLAIN_STATES:
        first = list(islice(drawn, PLAIN_STATES))
        random.Random(seed).shuffle(first)  # noqa: S311 - no secret
        yield from first
    yield from drawn


class _Worker:
    """One process of a search, and the one that follows it when it dies."""

    def __init__(self, task: Task, number: int, folder: Path) -> None:
        self._task = task
        self._number = number
        self._folder = folder / f"states-{number}"
        self._folder.mkdir()
        self._report = folder / f"report-{number}"
        self._report.touch()
        # Where the process is: shared, so that its end cannot take it away.
        self._place = mmap.mmap(-1, _PLACE.size)

    def start(self) -> int:
        """Begin, or go on behind the state at which the process before died; give the pid."""
        _, _, _, done = _PLACE.unpack(self._place)
        pid = os.fork()
        if pid == 0:
            self._be_the_process(done)
        return pid

    def note_death(self, code: int) -> None:
        """Record that the process died of the state at which it was."""
        recording, point, index, _ = _PLACE.unpack(self._place)
        found = self._task.recordings[recording]
        name = signal.Signals(-code).name
        self._say(Violation(found.life, found.seed, f"{point}.{index}", "", [f"the library's process died by {name}"]))

    def violations(self) -> int:
        """Say how many broken promises were found so far."""
        return len(self.findings().violations)

    def findings(self) -> Findings:
        """Give what was found so far."""
        found = Findings()
        for line in self._report.read_text().splitlines():
            kind, content = json.loads(line)
            if kind == "violation":
                found.violations.append(Violation(*content))
            else:
                states_of, labels, deep = content
                found.add(Findings(Counter(states_of), Counter(labels), deep))
        return found

    def said(self) -> str:
        """Give what the process said on its standard error."""
        return self._said_file().read_text(errors="replace")

    def close(self) -> None:
        """Let go of what is shared."""
        self._place.close()

    def _said_file(self) -> Path:
        return self._report.with_suffix(".said")

    def _say(self, violation: Violation) -> None:
        self._append("violation", violation)

    def _append(self, kind: str, content: object) -> None:
        with self._report.open("a") as file:
            file.write(json.dumps([kind, content]) + "\n")

    # --- The process itself -----------------------------------------------------------------

    def _be_the_process(self, done: int) -> NoReturn:
        code = 1
        try:
            said = os.open(self._said_file(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(said, 2)
            be_a_worker()
            # What pytest would print of a death that is expected is of no use to anybody.
            faulthandler.disable()
            logging.disable(logging.WARNING)
            # The recordings stay; a collector that walks them again and again finds nothing.
            gc.freeze()
            make_small()
            if self._task.planted:
                PLANTS[self._task.planted].in_judge()
            self._look_at_all(done)
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must not return into the searcher's code
            traceback.print_exc()
        finally:
            os._exit(code)

    def _look_at_all(self, done: int) -> None:
        task = self._task
        layout = Layout(self._folder)
        counted: Counter[str] = Counter()
        labels: Counter[str] = Counter()
        deep = violations = ordinal = 0
        for number, recording, state in self._share():
            ordinal += 1
            if ordinal <= done:
                continue
            _PLACE.pack_into(self._place, 0, number, state.point, state.index, ordinal)
            is_deep = ordinal % DEEP_EVERY == 0 or bool(task.only)
            layout.lay(state)
            problems = judge(layout.folder, state.known, state.death, skip_walk=state.skip_walk, deep=is_deep)
            counted[recording.life] += 1
            labels[f"{state.death.value}: {state.label}"] += 1
            deep += is_deep
            if problems:
                self._say(Violation(recording.life, recording.seed, state.name, state.label, problems[:5]))
                violations += 1
                if task.first_only or violations >= VIOLATIONS_MAX:
                    break
        self._append("counted", [counted, labels, deep])

    def _share(self) -> Iterator[tuple[int, Recording, State]]:
        """Give the states that are this process's to look at."""
        task = self._task
        for number, recording in enumerate(task.recordings):
            seen: set[int] = set()
            walk = points(recording.entries, recording.root, recording.first_of_interest)
            for point in islice(walk, task.points_max):
                if time.monotonic() > task.deadline:
                    return
                new = 0
                drawn = states(point, f"{task.seed} {recording.life} {recording.seed}")
                for tried, state in enumerate(_mixed(drawn, f"{task.seed} {point.number}", task.a_point)):
                    if new >= task.a_point or tried >= task.a_point * TRIES_A_NEW_STATE:
                        break
                    if task.only:
                        if state.name == task.only:
                            yield number, recording, state
                        continue
                    key = key_of(state)
                    if key in seen:
                        continue
                    seen.add(key)
                    new += 1
                    if key % task.processes == self._number:
                        yield number, recording, state
