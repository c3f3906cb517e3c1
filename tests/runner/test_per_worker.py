"""`per_worker`: something that each worker enters once, such as a connection."""

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager

import pytest

from tests.runner.driving import Effects, numbers, statuses
from wal_runner import Status


IDS = [str(number) for number in range(100)]


class Connections:
    """Counts what was opened and closed, and who used what."""

    def __init__(self):
        self.opened = []
        self.closed = []
        self.used = {}

    @contextmanager
    def connect(self):
        """Open one, and close it in the end."""
        name = f"connection {len(self.opened)}"
        self.opened.append(name)
        try:
            yield name
        finally:
            self.closed.append(name)

    def send(self, item, connection):
        """Be the function of a run."""
        assert connection not in self.closed
        self.used.setdefault(connection, set()).add(threading.get_ident())
        return item


def test_one_connection_for_a_serial_run(runner):
    """It is the second argument of fn, and closed when the run has ended."""
    connections = Connections()
    report = runner.run(IDS, connections.send, per_worker=connections.connect)

    assert ["connection 0"] == connections.opened == connections.closed
    assert {"seen": 100, "succeeded": 100} == numbers(report)


def test_one_connection_a_thread(runner):
    """Each worker has its own, and nobody else uses it."""
    connections = Connections()
    runner.run(IDS, connections.send, per_worker=connections.connect, workers=4)

    assert 4 == len(connections.opened)
    assert sorted(connections.opened) == sorted(connections.closed)
    assert all(1 == len(users) for users in connections.used.values())


@pytest.mark.parametrize("is_async", [False, True])
def test_one_connection_a_coroutine(runner, is_async):
    """A context manager may be asynchronous there."""
    connections = Connections()

    @asynccontextmanager
    async def connect_later():
        with connections.connect() as connection:
            await asyncio.sleep(0)
            yield connection

    async def send(item, connection):
        await asyncio.sleep(0)
        return connections.send(item, connection)

    report = asyncio.run(
        runner.run_async(IDS, send, concurrency=5, per_worker=connect_later if is_async else connections.connect)
    )

    assert {"seen": 100, "succeeded": 100} == numbers(report)
    assert 5 == len(connections.opened)
    assert sorted(connections.opened) == sorted(connections.closed)


@pytest.mark.parametrize("workers", [1, 4])
def test_connection_that_fails_ends_the_run(runner, workers):
    """Its error is raised, and nothing was begun without a connection."""

    @contextmanager
    def connect():
        raise ConnectionRefusedError("no database")
        yield

    effects = Effects()
    with pytest.raises(ConnectionRefusedError, match="no database"):
        runner.run(IDS, effects, per_worker=connect, workers=workers)

    assert [] == effects
    assert {Status.PENDING} >= set(statuses(runner).values())


def test_connection_that_fails_ends_an_asynchronous_run(runner):
    """As with threads."""

    @asynccontextmanager
    async def connect():
        raise ConnectionRefusedError("no database")
        yield

    async def send(_item, _connection):
        raise AssertionError("there is no connection")

    with pytest.raises(ConnectionRefusedError, match="no database"):
        asyncio.run(runner.run_async(IDS, send, concurrency=3, per_worker=connect))

    assert {Status.PENDING} >= set(statuses(runner).values())


@pytest.mark.parametrize("workers", [1, 4])
def test_connection_that_cannot_be_closed_loses_nothing(runner, workers):
    """The error is raised, and all that ran is durable."""

    @contextmanager
    def connect():
        yield
        raise ConnectionResetError("on the way out")

    with pytest.raises(ConnectionResetError, match="on the way out"):
        runner.run(IDS, Effects(), per_worker=connect, workers=workers)

    assert dict.fromkeys(sorted(IDS), Status.SUCCEEDED) == statuses(runner)


@pytest.mark.parametrize("workers", [1, 4])
def test_connection_is_closed_when_the_run_is_left(runner, workers):
    """Closing an iterator early closes what the workers opened."""
    connections = Connections()
    outcomes = runner.run_iter(IDS, connections.send, per_worker=connections.connect, workers=workers)
    next(outcomes)
    outcomes.close()

    assert sorted(connections.opened) == sorted(connections.closed)
