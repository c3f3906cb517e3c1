#!/usr/bin/env python3
"""Run every harness, one after the other: what a commit must survive, or for as long as you like.

    .venv/bin/python tools/prove.py
    .venv/bin/python tools/prove.py --only "power cuts" --only corruption
    .venv/bin/python tools/prove.py --minutes 120

Without ``--minutes`` each does a fixed amount, some five minutes in all on two cores; with it they share the time.
Each prints its seed and, after a broken promise, how to see it again. Exits with 1 where one failed, and with 2
where one could not run here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple


ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.harness.console import CANNOT_RUN, in_order, minutes  # noqa: E402 - the path is set above


if TYPE_CHECKING:
    from collections.abc import Sequence


class Harness(NamedTuple):
    """One of the tools: what it does for a commit, and what part of a longer time it takes."""

    script: str
    for_a_commit: tuple[str, ...]
    for_long: tuple[str, ...]
    share: float


HARNESSES: Final = {
    "power cuts": Harness("powercut.py", ("--states", "10000"), (), 0.3),
    "failing calls": Harness("io_faults.py", ("--life", "serial", "--all"), ("--all",), 0.1),
    "random kills": Harness("kill_torture.py", ("--kills", "200"), (), 0.2),
    "corruption": Harness("corruption.py", ("--folders", "1000"), (), 0.2),
    "simulated lives": Harness("simulator.py", ("--lives", "20000"), (), 0.2),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    asked = _parser().parse_args(arguments)
    wanted = {name: HARNESSES[name] for name in asked.only or HARNESSES}
    shares = sum(harness.share for harness in wanted.values())
    failed, unable = [], []
    for name, harness in wanted.items():
        amount = list(harness.for_a_commit)
        if asked.minutes is not None:
            amount = [*harness.for_long, "--minutes", f"{asked.minutes * harness.share / shares:.2f}"]
        print(f"\n-- {name}: tools/{harness.script} {' '.join(amount)}", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, ROOT / "tools" / harness.script, *amount], check=False)
        word = {0: "ok", CANNOT_RUN: "COULD NOT RUN"}.get(done.returncode, "FAILED")
        print(f"-- {name}: {word} in {time.monotonic() - began:.0f} s", flush=True)
        if done.returncode == CANNOT_RUN:
            unable.append(name)
        elif done.returncode:
            failed.append(name)
    print()
    if unable:
        print(f"Could not run: {', '.join(unable)}")
    print(f"Failed: {', '.join(failed)}" if failed else "No promise was broken.")
    return 1 if failed else CANNOT_RUN if unable else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(HARNESSES), action="append", help="only this one; may be given again")
    parser.add_argument("--minutes", type=minutes, help="go on for so long in all, instead of a fixed amount")
    return parser


if __name__ == "__main__":
    sys.exit(in_order(main))
