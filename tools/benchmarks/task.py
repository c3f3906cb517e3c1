"""What a measured process is made of: the meter, the items, and how it tells what it found.

Imported by the `task_*` modules, which run in fresh processes. Invariant: imports only what Python
has loaded by itself or in no time, because start-up is measured here too.
"""

from __future__ import annotations

import gc
import importlib
import json
import random
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Self


if TYPE_CHECKING:
    from collections.abc import Iterator

Result = dict[str, Any]
"""What a task tells: figures by name, as JSON can hold them."""

IN_ORDER: Final = "in order"
RANDOM: Final = "random"
SHUFFLE_SEED: Final = 8000

SMALL_RESULT: Final = "msg-"
"""Before the id: a result as an API gives it, such as the number of a message, in 17 characters."""


class Unavailable(Exception):
    """What the task needs is not on this machine; the message says what, and how to get it."""


class Meter:
    """Measures a block: wall time, and CPU time of all threads of this process."""

    def __init__(self, items: int) -> None:
        self._items = items
        self._wall_s = 0.0
        self._cpu_s = 0.0

    def __enter__(self) -> Self:
        set_harness_aside()
        self._cpu_s = -time.process_time()
        self._wall_s = -time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._wall_s += time.perf_counter()
        self._cpu_s += time.process_time()

    def result(self, **more: object) -> Result:
        """Give what was measured, and *more* beside it."""
        return {"items": self._items, "wall_s": self._wall_s, "cpu_s": self._cpu_s, **more}


def set_harness_aside() -> None:
    """Tell the garbage collector to leave alone what there is so far: the list of ids above all.

    It is the harness's own, and each full collection would walk it in the middle of what is measured.
    """
    gc.collect()
    gc.freeze()


def item_ids(count: int, order: str = IN_ORDER) -> list[str]:
    """Give *count* ids of 13 characters, in the order of their keys or shuffled, the same each time."""
    ids = list(id_stream(count))
    if order == RANDOM:
        random.Random(SHUFFLE_SEED).shuffle(ids)  # noqa: S311 - no secret
    return ids


def id_stream(count: int, *, prefix: str = "item") -> Iterator[str]:
    """Yield the same ids in order, holding none of them."""
    for number in range(count):
        yield f"{prefix}-{number:08d}"


def do_nothing(_item: object) -> None:
    """Be the fn of most benchmarks: what is measured is then what surrounds it."""


def small_result(item: str) -> str:
    """Give a short text, as an fn that sends a message does."""
    return SMALL_RESULT + item


def needed(module: str, package: str = "") -> Any:  # noqa: ANN401 - a rival's module, of which we know no types
    """Import *module*; raise `Unavailable` where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = f"{error.name} is missing" if error.name not in {None, module} else "not installed"
        raise Unavailable(f"{missing}: pip install {package or module}") from error


def anonymous_bytes() -> int:
    """Give this process's anonymous memory: the heap, not the pages of mapped files."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:  # noqa: PTH123 - see above
            for line in lines:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except FileNotFoundError:
        pass
    raise Unavailable("this system has no RssAnon in /proc/self/status")


def tell(result: Result) -> None:
    """Hand *result* to the process that started us."""
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    sys.stdout.flush()
