"""The command line of the simulator: let histories happen, print, write JSON.

Imported by ``tools/simulator.py``. Invariant: what is printed about a violation is enough to repeat it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import secrets
import shlex
import time
import traceback
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from tools.harness.console import INTERRUPTED, interrupted, minutes, output, positive
from tools.harness.fanout import reports
from tools.simulation.controls import BUGS, catch
from tools.simulation.exhaustive import cases, play, sequences
from tools.simulation.lives import History
from tools.simulation.model import Violation


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection

PROCESSES: Final = 2
HISTORIES_A_REPORT: Final = 50
SHOWN_MAX: Final = 10


@dataclass
class Numbers:
    """How much was simulated."""

    histories: int = 0
    sequences: int = 0
    cases: int = 0
    lives: int = 0
    deaths: int = 0
    events: int = 0
    effects: int = 0
    checks: int = 0


@dataclass
class Report:
    """What a process has to say: numbers since its last report, and what was broken."""

    numbers: Numbers
    broken: list[dict[str, str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the options say; give the exit code."""
    options = _options(arguments)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    if options.history is not None:
        return _repeat(seed, options.history)
    controls = _try_controls(seed) if options.controls else {}
    began = time.monotonic()
    numbers, broken = Numbers(), []
    is_interrupted = False
    try:
        with _reports(seed, options) as told:
            for report in told:
                for name, value in asdict(report.numbers).items():
                    setattr(numbers, name, getattr(numbers, name) + value)
                for found in report.broken:
                    broken.append(found)
                    if len(broken) <= SHOWN_MAX:
                        print(json.dumps(found, indent=2), flush=True)
    except KeyboardInterrupt:
        is_interrupted = True
        interrupted()
    took = time.monotonic() - began
    summary = {
        "seed": seed,
        "ok": not broken and "NOT CAUGHT" not in controls.values(),
        **asdict(numbers),
        "exhaustive": options.exhaustive,
        "seconds": round(took, 1),
        "lives_per_second": round(numbers.lives / took),
        "controls": controls,
        "broken": broken[:SHOWN_MAX],
    }
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))
    if not summary["ok"]:
        return 1
    return INTERRUPTED if is_interrupted else 0


def _try_controls(seed: object) -> dict[str, str]:
    """Plant each bug, and tell what caught it."""
    told = {}
    for name in BUGS:
        caught = catch(name, seed)
        told[name] = "NOT CAUGHT" if caught is None else f"history {caught[0]}: {caught[1]}"
        print(f"control: {name}: {told[name]}", flush=True)
    return told


def _repeat(seed: object, number: int) -> int:
    try:
        print(History(_name(seed, number)).run())
    except Violation:
        traceback.print_exc()
        return 1
    return 0


def _reports(seed: object, options: argparse.Namespace) -> AbstractContextManager[Iterator[Report]]:
    """Let histories happen in some processes, and give what each has to say as it comes."""
    work = _work_exhaustively if options.exhaustive else _work
    return reports(options.processes, partial(work, seed, options))


def _work(seed: object, options: argparse.Namespace, worker: int, writer: Connection) -> None:
    ends_at = time.monotonic() + 60 * options.minutes if options.minutes else None
    report, lives = Report(Numbers(), []), 0
    for number in itertools.count(worker, options.processes):
        if time.monotonic() >= ends_at if ends_at is not None else lives >= options.lives / options.processes:
            break
        numbers = report.numbers
        try:
            ended = History(_name(seed, number)).run()
        except Violation as violation:
            report.broken.append(_told(violation, f"--seed {shlex.quote(str(seed))} --history {number}"))
        else:
            numbers.lives += ended.lives
            numbers.deaths += ended.deaths
            numbers.events += ended.events
            numbers.effects += ended.effects
            numbers.checks += ended.checks
            lives += ended.lives
        numbers.histories += 1
        if numbers.histories >= HISTORIES_A_REPORT:
            writer.send(report)
            report = Report(Numbers(), [])
    writer.send(report)
    writer.close()


def _work_exhaustively(_seed: object, options: argparse.Namespace, worker: int, writer: Connection) -> None:
    ends_at = time.monotonic() + 60 * options.minutes if options.minutes else None
    for operations in itertools.islice(sequences(options.exhaustive), worker, None, options.processes):
        if ends_at is not None and time.monotonic() >= ends_at:
            break
        report = Report(Numbers(sequences=1), [])
        numbers = report.numbers
        for case in cases(operations):
            numbers.cases += 1
            try:
                world = play(case)
            except Violation as violation:
                report.broken.append(_told(violation, f"--exhaustive {len(operations)}"))
                continue
            numbers.lives += world.lives
            numbers.deaths += world.deaths
            numbers.events += world.model.events
            numbers.effects += sum(effect.happened for effect in world.effects.values())
            numbers.checks += world.checks
        writer.send(report)
    writer.close()


def _told(violation: Violation, again: str) -> dict[str, str]:
    lines = traceback.format_exception(violation.__cause__ or violation)
    notes = getattr(violation, "__notes__", ())
    return {
        "what": str(violation),
        "where": "".join(lines)[-2_000:],
        "case": "; ".join(notes),
        "repeat": f"python tools/simulator.py {again}",
    }


def _name(seed: object, number: int) -> str:
    return f"{seed}/{number}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=positive, default=5_000, help="let about so many lives happen (5000)")
    parser.add_argument("--minutes", type=minutes, help="go on for so long instead")
    parser.add_argument("--seed", help="repeat the choices of an earlier run")
    parser.add_argument("--history", type=int, help="repeat this one history of the seed")
    parser.add_argument(
        "--exhaustive",
        type=positive,
        metavar="K",
        help="play each sequence of up to K operations instead, with accidents",
    )
    parser.add_argument("--controls", action="store_true", help="first plant each bug, and see it caught")
    parser.add_argument("--processes", type=positive, default=PROCESSES, help=f"how many at once ({PROCESSES})")
    parser.add_argument("--json", type=output, help="write the figures there")
    return parser.parse_args(arguments)
