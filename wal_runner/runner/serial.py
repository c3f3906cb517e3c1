"""The serial driver: one item after the other, in the caller's own thread.

Imported by the runner. Invariant: what a window started is run before the next commit, or released.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from wal_runner.runner.attempt import Attempt
    from wal_runner.runner.dispatcher import Dispatcher
    from wal_runner.runner.execution import Execution
    from wal_runner.runner.stopping import Stopping


def run_serially(
    dispatcher: Dispatcher,
    execution: Execution,
    stopping: Stopping,
    per_worker: Callable[[], AbstractContextManager[Any]] | None,
) -> Iterator[None]:
    """Run everything that the feed gives; yield after each commit, when outcomes are durable."""
    if per_worker is None:
        yield from _run_windows(dispatcher, execution, stopping, ())
    else:
        with per_worker() as value:
            yield from _run_windows(dispatcher, execution, stopping, (value,))


def _run_windows(
    dispatcher: Dispatcher, execution: Execution, stopping: Stopping, worker_value: tuple[Any, ...]
) -> Iterator[None]:
    # A closed fence lets nothing begin any more: what was started would hold its place for good.
    while not (stopping.is_asked or execution.is_over or dispatcher.fence.closed):
        attempts = dispatcher.advance(dispatcher.window.size)
        try:
            yield
        except BaseException:  # the consumer wants no more
            dispatcher.release(attempts)
            raise
        if attempts:
            _run_window(attempts, dispatcher, execution, stopping, worker_value)
        elif dispatcher.feed.is_done:
            break
    dispatcher.flush()
    yield


def _run_window(
    attempts: list[Attempt],
    dispatcher: Dispatcher,
    execution: Execution,
    stopping: Stopping,
    worker_value: tuple[Any, ...],
) -> None:
    began, commit_s = time.perf_counter(), dispatcher.commit_s
    done = 0
    try:
        for attempt in attempts:
            if stopping.is_asked or execution.is_over:
                break
            done += 1
            stopping.in_fn = True
            execution.run(attempt, *worker_value)
            stopping.in_fn = False
    finally:
        stopping.in_fn = False
        if done < len(attempts):
            dispatcher.release(attempts[done:])
    dispatcher.window.observe(items=done, work_s=time.perf_counter() - began, commit_s=commit_s)
