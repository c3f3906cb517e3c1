#!/usr/bin/env python3
"""Raise an exception at every line that an opening, a run of 50 items and a close execute; then go on.

    .venv/bin/python tools/line_sweep.py
    .venv/bin/python tools/line_sweep.py --driver serial --sample 200
    .venv/bin/python tools/line_sweep.py --driver threads --at log/gate.py:63:2

Each line is tried at its first, second, middle and last pass, in a process of its own. Afterwards the same Runner
runs the same items again, is closed, and the log is opened again: no effect may come twice or be lost, doubts being
answered truthfully, and nothing may wait longer than 5 seconds. The exit code is 1 if something is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING


sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.harness.console import in_order, positive
from tools.harness.line_bugs import BUGS
from tools.harness.line_trials import DRIVERS, Found, Place, passes_of, places_in, sample_of, trial


if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep as the command line says; return the exit code."""
    asked = _parser().parse_args(arguments)
    if asked.controls:
        return _controls()
    began = time.monotonic()
    summary: dict[str, dict[str, object]] = {}
    broken = 0
    for driver in asked.driver or DRIVERS:
        if asked.at:
            places = [Place.parsed(asked.at)]
        else:
            places = [
                place for place in places_in(passes_of(driver)) if place.file.startswith(tuple(asked.file or ("",)))
            ]
            places = sample_of(places, asked.sample or len(places))
        found = _sweep(driver, places, quiet=asked.json)
        faults = {str(place): each.faults for place, each in found.items() if each.faults}
        broken += len(faults)
        summary[driver] = {
            "places": len(places),
            "lines": len({place[:2] for place in places}),
            "not_reached": sum(not each.reached for each in found.values()),
            "broken": faults,
        }
        if not asked.json:
            print(
                "{}: {places} places on {lines} lines, {not_reached} not reached,".format(driver, **summary[driver]),
                f"{len(faults)} broken",
                flush=True,
            )
    if asked.json:
        print(json.dumps({"seconds": round(time.monotonic() - began, 1), "drivers": summary}, indent=2))
    return int(broken > 0)


def _controls() -> int:
    """Plant each bug; return 1 if the sweep misses one."""
    missed = 0
    for what, bug in BUGS.items():
        found = bug.found_at()
        missed += found is None
        print(f"{what}: {'MISSED' if found is None else f'caught at {found[0]}: {found[1][0]}'}", flush=True)
    return int(missed > 0)


def _sweep(driver: str, places: Sequence[Place], *, quiet: bool) -> dict[Place, Found]:
    found: dict[Place, Found] = {}
    for place in places:
        found[place] = each = trial(driver, place)
        if each.faults and not quiet:
            print(f"tools/line_sweep.py --driver {driver} --at {place}", *each.faults, sep="\n    ", flush=True)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Raise an exception at every line of a life, then go on.")
    parser.add_argument("--driver", choices=DRIVERS, action="append", help="only this one; may be given again")
    parser.add_argument(
        "--sample", type=positive, help="number of places of each driver, evenly spaced; all if not given"
    )
    parser.add_argument(
        "--file", action="append", help="only lines of files whose path begins so, as log/ or runner/run.py"
    )
    parser.add_argument("--at", metavar="FILE:LINE:PASS", help="only this place; what a broken one is reported with")
    parser.add_argument("--controls", action="store_true", help="plant bugs, and show where each is caught")
    parser.add_argument("--json", action="store_true", help="print the figures and what is broken as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(in_order(main))
