#!/usr/bin/env python3
"""Let processes live and die in memory, thousands a minute, and check every promise all the time.

    .venv/bin/python tools/simulator.py --lives 20000 [--minutes M] [--seed S] [--exhaustive K] [--json FILE]

The parts are in ``tools/simulation``. Exits with 1 where a promise was broken, with the command that repeats
the history in which it was.
"""

from __future__ import annotations

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.harness.console import in_order
from tools.simulation.command import main


if __name__ == "__main__":
    sys.exit(in_order(main))
