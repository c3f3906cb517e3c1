"""All ways to run a batch over connections of workers, under one signature: `driver(runner, server, before, connect)`.

Each driver calls `before(item)` and then sends the item over its worker's connection to the `LineServer`.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

from tests.runner.driving import page_fetcher
from tests.runner.line_server import linked, linked_async


IDS = [str(number) for number in range(300)]
BAD = "100"


def serial(runner, server, before, connect=linked, workers=1, **options):
    def fn(item, link):
        before(item)
        link.send(item)

    return runner.run(IDS, fn, workers=workers, per_worker=lambda: connect(server.port), **options)


def threads(runner, server, before, connect=linked, **options):
    return serial(runner, server, before, connect, workers=4, **options)


def iterated(runner, server, before, connect=linked, **options):
    def fn(item, link):
        before(item)
        link.send(item)

    options |= {"per_worker": lambda: connect(server.port)}
    for _ in runner.run_iter(IDS, fn, **options):
        pass
    return runner.run([], fn, **options)


def pages(runner, server, before, connect=linked, **options):
    def fn(item, link):
        before(item)
        link.send(item)

    return runner.run_pages(page_fetcher(IDS), fn, workers=4, per_worker=lambda: connect(server.port), **options)


def coroutines(runner, server, before, connect=linked_async, **options):
    async def fn(item, link):
        before(item)
        await link.send(item)

    return asyncio.run(runner.run_async(IDS, fn, concurrency=4, per_worker=lambda: connect(server.port), **options))


def pages_of_coroutines(runner, server, before, connect=linked_async, **options):
    async def fn(item, link):
        before(item)
        await link.send(item)

    fetch = page_fetcher(IDS)

    async def fetch_page(cursor, size):
        return fetch(cursor, size)

    options |= {"concurrency": 4, "per_worker": lambda: connect(server.port)}
    return asyncio.run(runner.run_pages_async(fetch_page, fn, **options))


def coroutines_with_sync_contexts(runner, server, before, connect=linked, **options):
    async def fn(item, link):
        before(item)
        await asyncio.sleep(0)
        link.send(item)

    return asyncio.run(runner.run_async(IDS, fn, concurrency=4, per_worker=lambda: connect(server.port), **options))


WORKERS = {
    serial: 1,
    iterated: 1,
    threads: 4,
    pages: 4,
    coroutines: 4,
    coroutines_with_sync_contexts: 4,
    pages_of_coroutines: 4,
}
DRIVERS = list(WORKERS)
WITH_REPORT = [driver for driver in DRIVERS if driver is not iterated]
SYNC = [serial, threads]


def counting(connect, on_attempt):
    """Return *connect* with a call of *on_attempt* before it; the argument is the number of the attempt."""
    attempts = []

    def counted(port):
        attempts.append(None)
        on_attempt(len(attempts))
        return connect(port)

    return counted


def default_of(driver):
    """Return the function that connects the workers of *driver*."""
    return linked_async if driver in {coroutines, pages_of_coroutines} else linked


def at(name, act):
    """Return a function of an item that calls *act* at the item called *name*."""
    return lambda item: act() if item == name else None


class Numbered:
    """A `per_worker` whose contexts are numbers; it counts them."""

    def __init__(self):
        self.entered = 0

    @contextmanager
    def __call__(self):
        """Enter the next context."""
        self.entered += 1
        yield self.entered
