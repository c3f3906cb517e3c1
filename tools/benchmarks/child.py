"""A measured process: ``python -m tools.benchmarks.child MODULE FUNCTION ARGUMENTS-AS-JSON``.

Started by `measuring`, once for each run, so that CPU time, memory and caches are nobody else's. The
last line of its stdout is the result as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys

from tools.benchmarks.task import Unavailable, tell


def main() -> None:
    """Run the task that the arguments name, and tell its result."""
    module, function, arguments = sys.argv[1:]
    try:
        result = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    except Unavailable as reason:
        result = {"unavailable": str(reason)}
    tell(result)


if __name__ == "__main__":
    main()
