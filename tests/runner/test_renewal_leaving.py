"""Contexts of workers: each is left before the next one is entered, unless its exit hangs."""

import asyncio
import contextvars
import gc
import threading
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import pytest

from tests.runner.line_server import linked, linked_async
from tests.runner.renewing import (
    BAD,
    IDS,
    SYNC,
    WORKERS,
    at,
    coroutines,
    coroutines_with_sync_contexts,
    serial,
    threads,
)
from wal_runner.runner import renewal


# --- Leaving and entering ------------------------------------------------------------------------


@pytest.mark.parametrize("driver", [serial, coroutines_with_sync_contexts, threads])
def test_context_is_left_with_the_error_and_in_order(runner, server, driver):
    """The exit gets the error, as in a `with`: a transaction is rolled back before the next context is entered."""
    events = []

    @contextmanager
    def connect(port):
        with linked(port) as link:  # may be refused while the server starts: then nothing was entered
            events.append("enter")
            try:
                yield link
            except OSError:  # a reset, or a broken pipe
                events.append("rollback")
                raise
            else:
                events.append("commit")

    driver(runner, server, at(BAD, server.restart), connect)

    # A thread that loses its connection with its last item does not make another one; the others have more items.
    assert 1 <= events.count("commit") <= WORKERS[driver]
    assert driver is threads or WORKERS[driver] == events.count("commit")
    assert events.count("enter") == events.count("commit") + events.count("rollback")
    assert events.count("rollback") >= 1


@pytest.mark.parametrize("driver", SYNC)
@pytest.mark.parametrize("error", [ConnectionResetError, ValueError])
def test_error_of_leaving_ends_the_run_unless_it_is_the_connections(runner, server, driver, error):
    """Connection errors of the exit are expected when the server is down; other errors end the run."""
    left = []

    @contextmanager
    def connect(port):
        with linked(port) as link:
            try:
                yield link
            finally:
                left.append(None)
                if len(left) == 1:
                    raise error("on the way out")

    with ExitStack() as stack:
        if error is ValueError:
            stack.enter_context(pytest.raises(ValueError, match="on the way out"))
        report = driver(runner, server, at(BAD, server.restart), connect)

        assert len(IDS) == report.succeeded + report.in_doubt


def test_context_of_a_coroutine_is_left_by_its_task(runner, server):
    """Another task could not leave a task group or a cancel scope."""
    tasks = []

    @asynccontextmanager
    async def connect():
        async with asyncio.TaskGroup(), linked_async(server.port) as link:
            entered = asyncio.current_task()
            try:
                yield link
            except OSError:
                tasks.append(entered is asyncio.current_task())

    async def fn(item, link):
        at(BAD, server.restart)(item)
        await link.send(item)

    report = asyncio.run(runner.run_async(IDS, fn, concurrency=4, per_worker=connect))

    assert [True] * report.in_doubt == tasks


def test_context_of_a_thread_is_left_by_that_thread(runner, server):
    """Its contents may belong to the thread, such as a connection of sqlite3."""
    own = []

    @contextmanager
    def connect():
        entered = threading.get_ident()
        with linked(server.port) as link:
            try:
                yield link
            finally:
                own.append(entered == threading.get_ident())

    def fn(item, link):
        at(BAD, server.restart)(item)
        link.send(item)

    runner.run(IDS, fn, workers=4, per_worker=connect)

    assert len(own) > 4
    assert all(own)


def test_replacing_coroutine_sees_no_variables_of_the_other(runner, server, monkeypatch):
    """Each worker has a copy of the caller's context variables, not of another worker's."""
    monkeypatch.setattr(renewal, "LEAVE_S", 0.1)
    variable = contextvars.ContextVar("variable", default="the caller's")
    seen = []

    async def main():
        go_on = asyncio.Event()

        @asynccontextmanager
        async def connect():
            seen.append(variable.get())
            variable.set("the worker's")
            async with linked_async(server.port) as link:
                try:
                    yield link
                except OSError:
                    with suppress(asyncio.CancelledError):
                        await go_on.wait()
                    await go_on.wait()
                    raise

        async def fn(item, link):
            at(BAD, server.restart)(item)
            await link.send(item)

        await runner.run_async(IDS, fn, concurrency=2, per_worker=connect)
        go_on.set()

    asyncio.run(main())

    assert len(seen) > 2
    assert {"the caller's"} == set(seen)


@pytest.mark.parametrize("workers", [1, 4])
def test_error_of_fn_does_not_outlive_its_context(runner, workers):
    """The frames of fn do not stay in memory while the worker reconnects."""
    alive, seen = [], []

    class Big:
        def __init__(self):
            alive.append(None)

        def __del__(self):
            alive.pop()

    @contextmanager
    def connect():
        gc.collect()
        seen.append(len(alive))
        yield

    def fn(item, _connection):
        _big = Big() if item == BAD else None
        if item == BAD:
            raise BrokenPipeError("no")

    runner.run(IDS, fn, workers=workers, per_worker=connect)

    assert [0] * (workers + 1) == seen


# --- Exits that hang -----------------------------------------------------------------------------


@pytest.mark.parametrize("driver", SYNC)
def test_exit_that_hangs_is_left_behind(runner, server, driver, monkeypatch, caplog):
    """The worker connects again without waiting for the exit, and the run ends."""
    monkeypatch.setattr(renewal, "LEAVE_S", 0.2)
    go_on = threading.Event()

    @contextmanager
    def connect(port):
        with linked(port) as link:
            try:
                yield link
            except OSError:
                go_on.wait(20)
                raise

    try:
        report = driver(runner, server, at(BAD, server.restart), connect)
    finally:
        go_on.set()

    assert len(IDS) == report.succeeded + report.in_doubt
    assert 1 <= report.in_doubt <= WORKERS[driver]
    assert "Leaving the context of a lost connection takes more than 0.2 s" in caplog.text


@pytest.mark.parametrize("swallows", [False, True])
def test_asynchronous_exit_that_hangs_is_cancelled(runner, server, swallows, monkeypatch, caplog):
    """It is left behind if it swallows the cancellation."""
    monkeypatch.setattr(renewal, "LEAVE_S", 0.1)
    cancelled = []

    async def main():
        go_on = asyncio.Event()

        @asynccontextmanager
        async def connect():
            async with linked_async(server.port) as link:
                try:
                    yield link
                except OSError:
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        cancelled.append(None)
                        if swallows:
                            await go_on.wait()
                        raise

        async def fn(item, link):
            at(BAD, server.restart)(item)
            await link.send(item)

        report = await runner.run_async(IDS, fn, concurrency=4, per_worker=connect)
        go_on.set()
        return report

    report = asyncio.run(main())

    assert 1 <= len(cancelled) == report.in_doubt <= 4
    assert len(IDS) == report.succeeded + report.in_doubt
    assert swallows == ("was cancelled after 0.1 s, and goes on" in caplog.text)


def test_exit_that_awaits_a_task_it_cancelled_ends_no_run(runner, server):
    """The CancelledError that it raises belongs to that task, not to the run."""

    @asynccontextmanager
    async def connect(port):
        async with linked_async(port) as link:
            reader = asyncio.create_task(asyncio.Event().wait())
            await asyncio.sleep(0)
            try:
                yield link
            finally:
                reader.cancel()
                await reader

    report = coroutines(runner, server, at(BAD, server.restart), connect)

    assert len(IDS) == report.succeeded + report.in_doubt
    assert 1 <= report.in_doubt <= 4
