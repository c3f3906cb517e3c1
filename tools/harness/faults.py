"""Every call of a life made to fail, one life for each: then the log is opened without faults, and judged.

Invariant: whatever fails, the library says so by an error of its own or goes on rightly; no outcome that was
acknowledged is lost, no fn is called without a durable start, and the log is sound.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import sys
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from tools.harness import interposer, stream
from tools.harness.console import be_a_worker, end_worker
from tools.harness.interposer import Fault
from tools.harness.judge import judge
from tools.harness.nursery import Nursery, Order, said_by
from tools.harness.small import make_small
from tools.harness.states import Death
from tools.harness.stream import Kind
from tools.harness.witness import Known


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Way(NamedTuple):
    """One way in which a call goes wrong."""

    fault: Fault
    error: int = 0


WAYS: Final = {
    "eio-once": Way(Fault.FAIL_ONCE, errno.EIO),
    "eio-for-ever": Way(Fault.FAIL_FOR_EVER, errno.EIO),
    "eio-late": Way(Fault.FAIL_LATE, errno.EIO),
    "enospc-once": Way(Fault.FAIL_ONCE, errno.ENOSPC),
    "enospc-for-ever": Way(Fault.FAIL_FOR_EVER, errno.ENOSPC),
    "short-write": Way(Fault.SHORT_WRITE),
    "killed-before": Way(Fault.KILL_BEFORE),
    "killed-after": Way(Fault.KILL_AFTER),
}
"""Each way by its name."""

KILLS: Final = {Fault.KILL_BEFORE, Fault.KILL_AFTER}

FALSE_ALARMS: Final = {
    # The log is sound, whatever the disk answered: none of these is true.
    "LogCorrupt",
    "LogLost",
    "LogWentBack",
    "LogTooNew",
    "NotALog",
    # What an error left open.
    "LogAlreadyOpen",
    "RecursiveRun",
}


class Case(NamedTuple):
    """One life in which one call goes wrong."""

    life: str
    seed: int
    way: str
    call: int


@dataclass
class Outcomes:
    """What the cases came to."""

    cases: Counter[str] = field(default_factory=Counter)
    """How many, by way."""
    reached: int = 0
    raised: Counter[str] = field(default_factory=Counter)
    """The errors that the user saw, by class."""
    violations: list[tuple[Case, list[str]]] = field(default_factory=list)

    def add(self, other: Outcomes) -> None:
        """Take in what another process found."""
        self.cases += other.cases
        self.reached += other.reached
        self.raised += other.raised
        self.violations += other.violations


def count_calls(nursery: Nursery, folder: Path, life: str, seed: int) -> int:
    """Let *life* be lived without a fault; give how many calls could have failed."""
    order = _order(Case(life, seed, "eio-once", -1), folder, "")
    code = nursery.live(order)
    if code != 0:
        raise RuntimeError(f"{life} ended with {code}:\n{said_by(order)}")
    known = _heard(Path(order.stream))[0]
    _clean(order)
    return known.calls


def try_all(cases: Sequence[Case], folder: Path, *, processes: int, planted: str = "") -> Outcomes:
    """Try *cases* in so many processes, each with a nursery of its own."""
    outcomes = Outcomes()
    interposer.environment()  # made once, before the forks, and removed by this process
    pids: dict[int, Path] = {}
    try:
        _share(cases, folder, processes, planted, pids)
        for pid, report in list(pids.items()):
            _, status = os.waitpid(pid, 0)
            del pids[pid]
            if status != 0:
                raise RuntimeError(f"a process of the harness failed with {os.waitstatus_to_exitcode(status)}")
            cases_of, reached, raised, violations = json.loads(report.read_text())
            found = [(Case(*case), found) for case, found in violations]
            outcomes.add(Outcomes(Counter(cases_of), reached, Counter(raised), found))
    finally:
        for pid in pids:
            end_worker(pid)
            os.waitpid(pid, 0)
    return outcomes


def _share(cases: Sequence[Case], folder: Path, processes: int, planted: str, pids: dict[int, Path]) -> None:
    for number in range(processes):
        report = folder / f"report-{number}"
        pid = os.fork()
        if pid == 0:
            _be_the_process(cases[number::processes], folder / f"lives-{number}", report, planted)
        pids[pid] = report


def _be_the_process(cases: Iterable[Case], folder: Path, report: Path, planted: str) -> NoReturn:
    code = 1
    try:
        be_a_worker()
        folder.mkdir()
        outcomes = Outcomes()
        with Nursery() as nursery:
            for case in cases:
                _try(case, nursery, folder, planted, outcomes)
        violations = [(case, found) for case, found in outcomes.violations]
        report.write_text(json.dumps([outcomes.cases, outcomes.reached, outcomes.raised, violations]))
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must not return into the caller's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _try(case: Case, nursery: Nursery, folder: Path, planted: str, outcomes: Outcomes) -> None:
    order = _order(case, folder, planted)
    code = nursery.live(order)
    known, was_reached = _heard(Path(order.stream))
    outcomes.cases[case.way] += 1
    outcomes.reached += was_reached
    outcomes.raised.update(name for name, _, _ in known.raised)
    problems = [*_end_problems(case, order, code), *_error_problems(known), *_judged_apart(order, known, case)]
    if problems:
        outcomes.violations.append((case, [problem.replace(order.folder, "") for problem in problems[:6]]))
    _clean(order)


def _order(case: Case, folder: Path, planted: str) -> Order:
    place = folder / f"{case.life}-{case.way}-{case.call}"
    place.mkdir()
    way = WAYS[case.way]
    return Order(
        case.life,
        str(place),
        f"{place}.stream",
        case.seed,
        planted,
        call=case.call,
        fault=way.fault if case.call >= 0 else Fault.NONE,
        error=way.error,
        forgiving=True,
    )


def _clean(order: Order) -> None:
    shutil.rmtree(order.folder)
    for path in (order.stream, f"{order.stream}.said"):
        Path(path).unlink(missing_ok=True)


def _heard(path: Path) -> tuple[Known, bool]:
    """Give what was promised in a life, and whether the call that was to fail was reached."""
    known, reached = Known(), False
    for entry in stream.read(path) if path.exists() else ():
        if entry.kind is Kind.MARK:
            known.hear(entry.mark)
        elif entry.kind is Kind.FAULT:
            reached = True
    return known, reached


def _end_problems(case: Case, order: Order, code: int) -> Iterator[str]:
    if code == -signal.SIGALRM:
        yield "the life hung"
    elif code != 0 and not (code == -signal.SIGKILL and WAYS[case.way].fault in KILLS):
        yield f"the life ended with {code}: {said_by(order)[-1500:]}"


def _error_problems(known: Known) -> Iterator[str]:
    for name, is_ours, message in known.raised:
        if not is_ours:
            yield f"the user got a bare {name}: {message}"
        elif name in FALSE_ALARMS:
            yield f"a false alarm, {name}: {message}"


def _judged_apart(order: Order, known: Known, case: Case) -> list[str]:
    """Judge in a process of its own: what is left may kill whoever opens it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            logging.disable(logging.WARNING)
            make_small()
            is_exact = WAYS[case.way].fault in KILLS
            problems = judge(Path(order.folder), known, Death.KILL, is_exact=is_exact, deep=True)
            with os.fdopen(writing, "w") as file:
                json.dump(problems, file)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return [f"the library's process died by {signal.Signals(-code).name}"]
    found: list[str] = json.loads(said)
    return found
