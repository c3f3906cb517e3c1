"""Work whose instructions are counted: replay, run and skip, with nothing in it that depends on the time it takes.

Each function is one process; only `perform` runs under the counter. Invariant: what a process does depends on the
number of items alone, so the difference between two numbers is the cost of an item. Windows, snapshots and flushes
follow the clock, and under the counter everything takes fifty times as long. Therefore the clocks here count their
calls, and the thread beside a run sleeps until the run ends.
"""
# ruff: noqa: PLC0415 - the library takes its clocks when it is imported, which is after they are replaced

from __future__ import annotations

import functools
import itertools
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tools.benchmarks.task import Result, do_nothing, item_ids, set_harness_aside


if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW: Final = 256
"""Passed as `max_in_doubt`: the window doubles up to this and stays there, so commits are the same in number."""

RESULT: Final = {"id": "msg-00000001", "status": "sent", "parts": 3}
"""A small result, as an API returns it; one object for all items, so that making it is not counted."""

TICK_S: Final = 1e-6
"""How far a clock moves at each call. A thousand calls must stay below the 6 ms that a snapshot slice may take."""

TICK_NS: Final = 70_000
"""The same for the clock that times fn: as many bytes in the log as the time of a real item takes."""

WALL_NS: Final = 1_767_225_600_000_000_000
"""2026-01-01: the wall clock's first answer."""

MAP_BYTES: Final = 1 << 30

BALLAST_OBJECTS: Final = 1_111
"""How many objects each further layout adds to those in memory. What Python's allocator spends on freeing a block
depends on which blocks are free beside it: one more import changed the cost of an item by up to 0.7 % (measured)."""

_ballast: Final[list[list[int]]] = []


class Work(NamedTuple):
    """What is counted, and what is laid out for it beforehand. Both get the log's path and the ids."""

    name: str
    summary: str
    prepare: Callable[[str, list[str]], None]
    perform: Callable[[str, list[str]], None]
    needs_all: bool = False
    """Whether `prepare` gets the ids of the longest run, so that both lengths meet the same log."""


def lay_out(log: str, work: str, items: int, items_most: int) -> Result:
    """Make the log that *work* needs for *items*."""
    hold_still()
    chosen = WORKS[work]
    chosen.prepare(log, item_ids(items_most if chosen.needs_all else items))
    return {"package": _package()}


def perform(log: str, work: str, items: int, items_most: int, layout: int = 0) -> Result:
    """Do *work* with *items*, the memory laid out in the way that *layout* numbers.

    Ids are made for *items_most* whatever is done, so that they cancel out.
    """
    _ballast.extend([number] for number in range(layout * BALLAST_OBJECTS))
    hold_still()
    package = _package()
    ids = item_ids(items_most)[:items]
    set_harness_aside()
    WORKS[work].perform(log, ids)
    return {"package": package}


def hold_still() -> None:
    """Make this process do the same each time; call it before the library is imported."""
    fix_the_clocks()
    keep_maps_small()


def fix_the_clocks() -> None:
    """Replace each clock by a counter of its calls, and let no thread wake because time has passed."""
    for name in ("time", "monotonic", "perf_counter", "thread_time", "process_time"):
        setattr(time, name, itertools.count(1000.0, TICK_S).__next__)
    for name in ("monotonic_ns", "perf_counter_ns", "thread_time_ns", "process_time_ns"):
        setattr(time, name, itertools.count(10**12, TICK_NS).__next__)
    time.time_ns = itertools.count(WALL_NS, TICK_NS).__next__
    wait = threading.Event.wait
    threading.Event.wait = lambda event, _timeout=None: wait(event)  # type: ignore[method-assign,assignment]


def keep_maps_small() -> None:
    """Open LMDB with maps that valgrind grants. It refuses a terabyte by EINVAL, which the library raises."""
    import lmdb

    open_env = lmdb.open

    def open_small(*arguments: Any, **options: Any) -> lmdb.Environment:  # noqa: ANN401 - lmdb's own
        options["map_size"] = MAP_BYTES
        return open_env(*arguments, **options)

    lmdb.open = open_small  # type: ignore[assignment]


def _package() -> str:
    import wal_runner

    return str(Path(wal_runner.__file__).parent)


# --- What is done -----------------------------------------------------------------------------


def _nothing(_log: str, _ids: list[str]) -> None:
    pass


def _run(log: str, ids: list[str], *, fn: Callable[[str], Any] = do_nothing) -> None:
    from wal_runner import Runner

    with Runner(log) as runner:
        report = runner.run(ids, fn, max_in_doubt=WINDOW)
    _check(report.succeeded, len(ids), "succeeded")


def _run_twice(log: str, ids: list[str]) -> None:
    from wal_runner import Runner

    with Runner(log) as runner:
        report = runner.run(ids, _refuse, max_in_doubt=WINDOW)
    _check(report.failed, len(ids), "failed")
    _run(log, ids)


def _skip(log: str, ids: list[str]) -> None:
    from wal_runner import Runner

    with Runner(log, must_exist=True) as runner:
        report = runner.run(ids, do_nothing, max_in_doubt=WINDOW)
    _check(report.skipped, len(ids), "were skipped")


def _replay(log: str, ids: list[str]) -> None:
    from wal_runner import Status, replay

    _check(replay(log).counts[Status.SUCCEEDED], len(ids), "succeeded")


def _return_result(_item: str) -> dict[str, Any]:
    return RESULT


def _refuse(_item: str) -> None:
    raise ValueError("refused")


def _check(count: int, items: int, what: str) -> None:
    if count != items:
        raise AssertionError(f"{count} of {items} items {what}; this is a bug, and no figure")


_run_with_results = functools.partial(_run, fn=_return_result)

WORKS: Final = {
    work.name: work
    for work in (
        Work("replay", "fold a log of first starts and successes", _run, _replay),
        Work("replay-results", "fold a log whose successes have results", _run_with_results, _replay),
        Work("replay-retries", "fold a log in which each item fails, then succeeds", _run_twice, _replay),
        Work("run", "run new items in order, fn does nothing", _nothing, _run),
        Work("run-results", "run new items in order, fn returns a small dict", _nothing, _run_with_results),
        Work("skip", "run over items that are done, in order", _run, _skip, needs_all=True),
    )
}
