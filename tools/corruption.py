#!/usr/bin/env python3
"""Damage whole log folders for as long as you like, and see what the library makes of each.

    .venv/bin/python tools/corruption.py --folders 3000 [--minutes M] [--seed S] [--trial N] [--json FILE]

The parts are in ``tools/corrupting``. Exits with 1 where a damaged folder gave a wrong answer, killed the
process that looked at it, or redid an item; each is printed with the command that repeats it.
"""

from __future__ import annotations

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.corrupting.command import main
from tools.harness.console import in_order


if __name__ == "__main__":
    sys.exit(in_order(main))
