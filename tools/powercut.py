"""Cut the power at every moment of a log's life, in every way that an honest disk allows, and look what is left.

    .venv/bin/python tools/powercut.py --states 50000
    .venv/bin/python tools/powercut.py --minutes 30 --life compaction
    .venv/bin/python tools/powercut.py --control sync-off

Scripted lives of the real library are recorded call by call; then the states that a power cut, or the death of the
processes, may leave at each point are laid out one by one, opened by the real library, and compared with
what it had promised. `--control` plants a fault, which must be found; `--controls` plants all of them.

Prints the seed first. Exits with 1 after a broken promise (or a control that was not caught), and prints
the command that shows it again; with `--keep` the recording is kept too, and `--recording` looks at the very
same states.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final


ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.harness.console import CANNOT_RUN, existing_folder, in_order, minutes, output, positive  # noqa: E402 - the path is set above
from tools.harness.control import control  # noqa: E402
from tools.harness.interposer import Unavailable  # noqa: E402
from tools.harness.memory import memory_folder  # noqa: E402
from tools.harness.nursery import Nursery  # noqa: E402
from tools.harness.planted import PLANTS  # noqa: E402
from tools.harness.recording import NAMES, Recording, keep, kept, record  # noqa: E402
from tools.harness.search import Findings, Task, Violation, search  # noqa: E402


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

A_POINT_BY_TIME: Final = 12
"""States looked at a point where the time is given: then more lives are recorded instead."""

A_POINT_MAX: Final = 40
"""More states than so many at one point say little more; another recording says more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    asked = _parser().parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    if asked.recording:
        seed = kept(asked.recording).seed
    folder = Path(tempfile.mkdtemp(prefix="powercut-", dir=asked.dir))
    try:
        # Not before: whoever reads this may end the tool, and an exception before the try would leave the folder.
        print(f"seed {seed}", flush=True)
        if asked.controls or asked.control:
            wanted = [asked.control] if asked.control else list(PLANTS)
            return _show_controls(asked, seed, wanted, folder)
        return _show_findings(asked, seed, folder)
    except Unavailable as error:
        print(f"This cannot run here: {error}", file=sys.stderr)
        return CANNOT_RUN
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--states",
        type=positive,
        default=50_000,
        help="how many states to look at, about: each point has some (50,000)",
    )
    parser.add_argument("--minutes", type=minutes, help="for how long, instead of how many states")
    parser.add_argument("--seed", type=int, help="what the lives and the states are drawn from")
    parser.add_argument(
        "--life", "--workload", choices=sorted(NAMES), action="append", help="only this life; may be given again"
    )
    parser.add_argument("--processes", type=positive, default=2, help="how many processes look at states (2)")
    parser.add_argument("--control", choices=sorted(PLANTS), help="plant this fault, which must be found")
    parser.add_argument("--controls", action="store_true", help="plant each fault in turn, and look at no other states")
    parser.add_argument("--dir", type=existing_folder, default=memory_folder(), help="where they are laid out (memory)")
    parser.add_argument("--json", type=output, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="where recordings of broken promises go",
    )
    parser.add_argument(
        "--recording", type=_recording, metavar="FILE", help="look at the states of a recording that was kept"
    )
    parser.add_argument("--state", type=_state, metavar="POINT.INDEX", help="look at this state alone")
    return parser


def _recording(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no {text}")
    return path


def _state(text: str) -> str:
    if not re.fullmatch(r"\d+\.\d+", text):
        raise argparse.ArgumentTypeError(f"{text} is not a point and an index, such as 54.2")
    return text


# --- All lives ------------------------------------------------------------------------------


def _show_findings(asked: argparse.Namespace, seed: int, folder: Path) -> int:
    began = time.monotonic()
    deadline = began + 60 * asked.minutes if asked.minutes else float("inf")
    total = Findings()
    recordings: dict[str, Path] = {}
    turn = 0
    while total.count < asked.states or asked.minutes:
        findings, recordings = _round(asked, seed + turn, deadline, asked.states - total.count, folder / str(turn))
        total.add(findings)
        turn += 1
        print(f"  {total.count:,} states, {len(total.violations)} broken promises", flush=True)
        if total.violations or asked.recording or asked.state or time.monotonic() > deadline:
            break
    total.seconds = time.monotonic() - began
    rate, of = total.count / total.seconds, len(asked.life or NAMES)
    print(f"{total.count:,} states of {len(total.states)} of {of} lives in {total.seconds:.0f} s, {rate:,.0f} a second")
    for life, count in total.states.most_common():
        print(f"  {count:8,} {life}")
    _show_violations(total.violations, recordings)
    if asked.json:
        asked.json.write_text(json.dumps({"seed": seed, **total.figures()}, indent=2) + "\n")
    if not total.count:
        print("Nothing was looked at.", file=sys.stderr)
        return CANNOT_RUN
    return 1 if total.violations else 0


def _round(
    asked: argparse.Namespace, seed: int, deadline: float, wanted: int, folder: Path
) -> tuple[Findings, dict[str, Path]]:
    """Record each life once, look at *wanted* of their states, about; give too where broken promises are recorded."""
    folder.mkdir()
    if asked.recording:
        recordings = [kept(asked.recording)]
    else:
        with Nursery() as nursery:
            lives = list(asked.life or NAMES)
            if asked.minutes:  # the time may not do for all
                random.Random(seed).shuffle(lives)  # noqa: S311 - no secret
            recordings = [record(nursery, folder, life, seed) for life in lives]
    a_point = A_POINT_MAX
    if asked.minutes:
        a_point = A_POINT_BY_TIME
    elif not asked.state:
        calls = sum(found.calls for found in recordings)
        a_point = next((number for number in range(1, A_POINT_MAX) if _expected(calls, number) >= wanted), A_POINT_MAX)
    task = Task(recordings, str(seed), a_point, 1 if asked.state else asked.processes, deadline, only=asked.state or "")
    findings = search(task, folder)
    where: dict[str, Path] = {}
    if findings.violations and not asked.recording:
        where = _keep_violating(recordings, findings.violations, asked.keep)
    shutil.rmtree(folder)
    return findings, where


def _expected(calls: int, a_point: int) -> float:
    """Estimate how many states there are to look at: at half of the points no more than four (measured)."""
    return calls * (0.55 * min(a_point, 4) + 0.45 * a_point)


def _keep_violating(
    recordings: Sequence[Recording], violations: Sequence[Violation], folder: Path | None
) -> dict[str, Path]:
    """Keep the recordings of lives with broken promises; give where, by life."""
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="powercut-kept-"))
    folder.mkdir(parents=True, exist_ok=True)
    lives = {violation.life for violation in violations}
    return {recording.life: keep(recording, folder) for recording in recordings if recording.life in lives}


def _show_violations(violations: Sequence[Violation], recordings: Mapping[str, Path]) -> None:
    for violation in violations[:10]:
        print(f"\n{violation.life}, state {violation.state} ({violation.label}):")
        for problem in violation.problems:
            print(f"  {problem}")
        # Not by the seed: threads and times make each life another one.
        if violation.life in recordings:
            where = recordings[violation.life]
            print(f"  Again: python tools/powercut.py --recording {where} --state {violation.state}")


# --- Planted faults -------------------------------------------------------------------------


def _show_controls(asked: argparse.Namespace, seed: int, wanted: Sequence[str], folder: Path) -> int:
    missed = []
    found: dict[str, object] = {}
    with Nursery() as nursery:
        for name in wanted:
            plant = PLANTS[name]
            findings = control(nursery, name, seed, folder / name, processes=asked.processes)
            first = findings.violations[0] if findings.violations else None
            found[name] = None if first is None else first._asdict()
            if first is None:
                missed.append(name)
                print(f"MISSED {name}: {plant.what}; {findings.count:,} states of {plant.life} show nothing")
            else:
                print(f"found {name}: {plant.what}\n    {first.life} {first.state}: {first.problems[0][:150]}")
    print(f"{len(wanted) - len(missed)} of {len(wanted)} planted faults were found")
    if asked.json:
        asked.json.write_text(json.dumps({"seed": seed, "controls": found}, indent=2) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(in_order(main))
