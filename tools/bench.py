"""Measure the library against its rivals: ``python tools/bench.py [NAMES...] [--list] [--json FILE]``.

The benchmarks themselves are in ``tools/benchmarks``; `docs/benchmarks.md` tells how to read them.
"""

from __future__ import annotations

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.benchmarks.command import main


if __name__ == "__main__":
    sys.exit(main())
