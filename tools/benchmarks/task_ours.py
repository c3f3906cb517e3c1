"""The library at work: one function a way of running. Each is one measured process.

What is measured begins before the log is created and ends when it is closed, so the clean close and
its snapshot are part of each figure.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tools.benchmarks.task import IN_ORDER, Meter, Result, do_nothing, item_ids, small_result
from wal_runner import Runner


LOG_NAME = "bench.wal"


def serial(
    folder: str,
    items: int,
    order: str = IN_ORDER,
    max_in_doubt: int | None = None,
    *,
    results: bool = False,
) -> Result:
    """Run no-op items one after the other."""
    ids = item_ids(items, order)
    fn = small_result if results else do_nothing
    with Meter(items) as meter, Runner(Path(folder) / LOG_NAME) as runner:
        report = runner.run(ids, fn, max_in_doubt=max_in_doubt)
    _check(report.succeeded, items)
    return meter.result(run_s=report.elapsed, doubt_bound=report.doubt_bound)


def threads(folder: str, items: int, workers: int, item_ms: float = 0) -> Result:
    """Run items that sleep, or do nothing, in threads."""
    ids = item_ids(items)
    seconds = item_ms / 1000

    def sleep(_item: str) -> None:
        time.sleep(seconds)

    with Meter(items) as meter, Runner(Path(folder) / LOG_NAME) as runner:
        report = runner.run(ids, sleep if item_ms else do_nothing, workers=workers)
    _check(report.succeeded, items)
    return meter.result(run_s=report.elapsed, doubt_bound=report.doubt_bound)


def coroutines(folder: str, items: int, concurrency: int, *, yields: bool) -> Result:
    """Run coroutines that return at once, or give way to the others once."""
    ids = item_ids(items)

    async def return_at_once(_item: str) -> None:
        pass

    async def give_way(_item: str) -> None:
        await asyncio.sleep(0)

    async def perform() -> int:
        with Runner(Path(folder) / LOG_NAME) as runner:
            fn = give_way if yields else return_at_once
            report = await runner.run_async(ids, fn, concurrency=concurrency)
        return report.succeeded

    with Meter(items) as meter:
        succeeded = asyncio.run(perform())
    _check(succeeded, items)
    return meter.result()


def _check(succeeded: int, items: int) -> None:
    if succeeded != items:
        raise AssertionError(f"{succeeded} of {items} items succeeded; this is a bug, and no figure")
