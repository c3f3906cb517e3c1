"""The system starts no more threads, in the middle of a run's start: what had started is ended again."""

import asyncio
import threading
from contextlib import contextmanager

import pytest

from tests.runner.driving import numbers
from wal_runner import Status


IDS = ["a", "b", "c"]


@pytest.fixture
def refused(monkeypatch):
    """Give a set of names of threads that cannot be started."""
    names = set()
    start = threading.Thread.start

    def start_if_allowed(self):
        if self.name in names:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", start_if_allowed)
    return names


async def fn_later(_item, *_connection):
    pass


def threads(runner, **options):
    return runner.run(IDS, lambda *_: None, workers=3, **options)


def coroutines(runner, **options):
    return asyncio.run(runner.run_async(IDS, fn_later, **options))


def async_claim(runner, **_options):
    async def loop():
        async for attempt in runner.claim(IDS):
            async with attempt:
                pass

    asyncio.run(loop())


CASES = [
    (threads, "wal_runner worker 0"),
    (threads, "wal_runner worker 2"),
    (threads, "wal_runner flusher"),
    (coroutines, "wal_runner flusher"),
    (coroutines, "wal_runner committer_0"),
    (async_claim, "wal_runner committer_0"),
    (async_claim, "wal_runner flusher"),
]


@pytest.mark.parametrize(("drive", "name"), CASES)
def test_partial_start_is_undone(runner, refused, drive, name):
    """Threads and their connections end, nothing was begun, and the Runner goes on."""
    opened, closed = [], []

    @contextmanager
    def connect():
        opened.append(1)
        yield
        closed.append(1)

    refused.add(name)
    # Loops over claim that other tests left in a circle of references end with the next collection of garbage.
    before = threading.enumerate()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        drive(runner, per_worker=connect)
    left = [each for each in threading.enumerate() if each.name.startswith("wal_runner") and each not in before]
    for thread in left:
        thread.join(timeout=10)  # one that was told to end may still be at it
    refused.clear()

    assert [] == [thread.name for thread in left if thread.is_alive()]
    assert opened == closed
    assert 0 == runner.counts()[Status.STARTED] + runner.counts()[Status.SUCCEEDED]
    assert {"seen": 3, "succeeded": 3} == numbers(threads(runner))


@pytest.mark.parametrize("drive", [threads, coroutines])
def test_progress_that_cannot_be_shown_stops_no_run(runner, refused, drive):
    """A run never fails for being watched."""
    refused.add("wal_runner progress")

    assert drive(runner, progress=True).ok
