"""The serial driver: one item after the other, in the caller's own thread.

Imported by the runner. Invariant: what a window started is run before the next commit, or released.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wal_runner.runner.connection import SerialConnection
from wal_runner.runner.renewal import ConnectionLost


if TYPE_CHECKING:
    from collections.abc import Iterator

    from wal_runner.runner.attempt import Attempt
    from wal_runner.runner.dispatcher import Dispatcher
    from wal_runner.runner.execution import Execution
    from wal_runner.runner.renewal import Connections
    from wal_runner.runner.stopping import Stopping


def run_serially(
    dispatcher: Dispatcher, execution: Execution, stopping: Stopping, connections: Connections
) -> Iterator[None]:
    """Run everything that the feed gives; yield after each commit, when outcomes are durable."""
    connections.begin_round()
    with SerialConnection(connections, stopping) as connection:
        if connection.is_usable:
            yield from _run_windows(dispatcher, execution, stopping, connection)


def _run_windows(
    dispatcher: Dispatcher, execution: Execution, stopping: Stopping, connection: SerialConnection
) -> Iterator[None]:
    waiting: list[Attempt] = []
    """The rest of a window in which the connection was lost: started, and not begun before there is another one."""
    # A closed fence lets nothing begin any more: what was started would hold its place for good.
    while not (stopping.is_asked or execution.is_over or dispatcher.fence.closed):
        if waiting:
            dispatcher.flush()
        attempts = waiting or dispatcher.advance(dispatcher.window.size)
        waiting = []
        try:
            yield
            # Only if an item needs it: a server that is gone must not hold up a run that has nothing left to do.
            if attempts and connection.lost is not None:
                connection.renew()
        except BaseException:  # the consumer wants no more, or per_worker raised
            dispatcher.release(attempts)
            raise
        if not connection.is_usable:  # the run ended first
            waiting = attempts
        elif attempts:
            waiting = _run_window(attempts, dispatcher, execution, stopping, connection)
        elif dispatcher.feed.is_done:
            break
    dispatcher.release(waiting)
    dispatcher.flush()
    yield


def _run_window(
    attempts: list[Attempt],
    dispatcher: Dispatcher,
    execution: Execution,
    stopping: Stopping,
    connection: SerialConnection,
) -> list[Attempt]:
    """Run *attempts* until the connection is lost, and return the rest of them then; otherwise release the rest."""
    began, commit_s = time.perf_counter(), dispatcher.commit_s
    worker_value = connection.arguments
    done = 0
    waiting: list[Attempt] = []
    try:
        for attempt in attempts:
            if stopping.is_asked or execution.is_over:
                break
            done += 1
            stopping.in_fn = True
            execution.run(attempt, *worker_value)
            stopping.in_fn = False
    except ConnectionLost as lost:
        connection.lost = lost.error
        waiting = attempts[done:]
    finally:
        stopping.in_fn = False
        if done < len(attempts) and not waiting:
            dispatcher.release(attempts[done:])
    dispatcher.window.observe(items=done, work_s=time.perf_counter() - began, commit_s=commit_s)
    return waiting
