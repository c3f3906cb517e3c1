#!/usr/bin/env python3
"""Cancel asynchronous runs in every way, and look whether anything of them goes on.

    .venv/bin/python tools/cancellations.py --runs 300 --seed 0

The cases and the law are those of tests/support/cancelled_runs.py; the suite runs a sample. The exit code is 1 if the
law was broken.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.cancelled_runs import Case, violations
from tools.harness.console import in_order


def main() -> int:
    """Run the cases of so many seeds; return the exit code."""
    parser = argparse.ArgumentParser(description="Cancel asynchronous runs, and look whether anything goes on.")
    parser.add_argument("--runs", type=int, default=300, help="how many runs to cancel")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # each of them warns that it did not end well
    broken = 0
    for seed in range(options.seed, options.seed + options.runs):
        case = Case.of(seed)
        with tempfile.TemporaryDirectory(prefix="cancelled-") as folder:
            found = violations(case, Path(folder) / "batch.wal")
        if found:
            broken += 1
            print(f"seed {seed}: {case}", *found, sep="\n    ", flush=True)
    print(f"{options.runs} cancelled runs, {broken} of them broke the law")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(in_order(main))
