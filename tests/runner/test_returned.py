"""Fn has returned, and its work has not ended: never a success, and never repeated unasked."""

import concurrent.futures
import csv
import functools
import io
import itertools
import multiprocessing.pool
import sqlite3

import pytest

from tests.runner.driving import DRIVERS, Script, claim, named, numbers, serial, statuses
from wal_runner import Status
from wal_runner.errors import UnfinishedReturned
from wal_runner.runner.returned import is_lazy_function, unfinished


def generator(item):
    yield item


async def async_generator(item):
    yield item


def passed_on(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)

    return wrapper


class Calls:
    """An object whose call runs nothing."""

    def __call__(self, item):
        """Run nothing."""
        yield item

    method = __call__


class WrappedCalls:
    """The same, behind a decorator."""

    __call__ = passed_on(generator)


LAZY_FUNCTIONS = {
    "generator function": generator,
    "async generator function": async_generator,
    "decorated": passed_on(passed_on(generator)),
    "partial": functools.partial(functools.partial(generator)),
    "partial of decorated": functools.partial(passed_on(generator)),
    "cached": functools.lru_cache(generator),
    "object": Calls(),
    "method": Calls().method,
    "object with decorated call": WrappedCalls(),
}


@pytest.mark.parametrize("name", LAZY_FUNCTIONS)
def test_lazy_function_is_refused_before_any_start(runner, name):
    """Calling it runs nothing, so every item would count as done."""
    with pytest.raises(TypeError, match="generator function"):
        runner.run(["a"], LAZY_FUNCTIONS[name])

    assert {} == statuses(runner)


def test_function_around_a_generator_function_runs(runner):
    """What runs the generator to its end is a function like any other."""
    report = serial(runner, ["a"], lambda item: list(generator(item)))

    assert report.ok


def test_strange_callables_are_not_taken_for_lazy():
    """Classes, builtins, proxies that answer to every name, wrappers in a circle."""

    class Proxy:
        def __getattr__(self, name):
            return self

        def __call__(self, item):
            return item

    def circle(item):
        return item

    circle.__wrapped__ = circle

    assert [] == [fn for fn in (Proxy(), circle, str, print, Calls, functools.partial(str)) if is_lazy_function(fn)]


class Awaitable:
    """An awaitable that is not a coroutine."""

    def __await__(self):
        """Wait once."""
        yield


class SomeFuture:
    """A future as many libraries have one."""

    result = done = cancel = print


def pool_result():
    return multiprocessing.pool.ApplyResult.__new__(multiprocessing.pool.ApplyResult)


LAZY = {
    "generator": lambda: generator(1),
    "async generator": lambda: async_generator(1),
    "map": lambda: map(str, [1]),
    "filter": lambda: filter(str, [1]),
    "zip": lambda: zip([1], [2], strict=True),
    "enumerate": lambda: enumerate([1]),
    "chain": lambda: itertools.chain([1]),
    "starmap": lambda: itertools.starmap(str, [[1]]),
    "future": concurrent.futures.Future,
    "result of a pool": pool_result,
    "future of another library": SomeFuture,
    "list of futures": lambda: ["sent", concurrent.futures.Future()],
    "dict of generators": lambda: {"rows": generator(1)},
}


@pytest.mark.parametrize("make", LAZY.values(), ids=LAZY)
@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_unfinished_work_leaves_doubt_and_stops_the_run(runner, drive, make):
    """The body of fn ran and may have had its effect: a failure would repeat it, a success would lose it."""
    ids = [str(number) for number in range(50)]
    with pytest.raises(UnfinishedReturned, match="Wait for the work inside of fn"):
        drive(runner, ids, lambda _: make())
    counts = runner.counts()

    assert 1 <= counts[Status.IN_DOUBT] <= 8
    assert 0 == counts[Status.SUCCEEDED] + counts[Status.FAILED] + counts[Status.STARTED]
    assert runner.in_doubt()[0].reason.startswith(("fn returned a ", "fn returned an "))


@pytest.mark.parametrize("drive", [serial, DRIVERS[1], claim], ids=named)
def test_awaitable_that_is_no_coroutine_leaves_doubt(runner, drive):
    """A task runs by itself; only a coroutine that nobody started has certainly done nothing."""
    with pytest.raises(UnfinishedReturned, match="nobody awaits"):
        drive(runner, ["a"], lambda _: Awaitable())

    assert {"a": Status.IN_DOUBT} == statuses(runner)


def test_task_as_the_result_of_a_claim_leaves_doubt(path):
    """``async for`` and a task that was made inside the block: it goes on behind it."""
    code = """
    async def main():
        with Runner(path) as runner:
            try:
                async for attempt in runner.claim(["a", "b"]):
                    async with attempt:
                        attempt.result = asyncio.create_task(asyncio.sleep(0))
            except errors.UnfinishedReturned:
                say([doubt.item_id for doubt in runner.in_doubt()])
    asyncio.run(main())
    """
    with Script(code, path) as script:
        assert ["a"] == script.hear()


@pytest.mark.parametrize(
    "make",
    [
        lambda: csv.reader(io.StringIO("a,b")),
        lambda: sqlite3.connect(":memory:").execute("select 1"),
        lambda: io.StringIO("text"),
        lambda: iter([1]),
        lambda: range(3),
        object,
        lambda: [object()],
    ],
    ids=["csv reader", "cursor", "file", "iterator", "range", "object", "list"],
)
def test_cursors_files_and_readers_are_results(runner, make):
    """What was asked for was done; the value cannot be stored, and is omitted."""
    made = []
    report = serial(runner, ["a"], lambda _: made.append(make()) or made[0])

    assert {"seen": 1, "succeeded": 1} == numbers(report)
    assert 1 == report.results_omitted
    assert unfinished(made[0]) is None


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_nothing_more_begins_after_unfinished_work(runner, drive):
    """What runs at that moment may end; what waits is released, however many items wait."""
    begun = []

    def fn(item):
        begun.append(item)
        return map(str, ()) if item == "0500" else None

    with pytest.raises(UnfinishedReturned):
        drive(runner, [f"{number:04}" for number in range(4_000)], fn)

    assert len(begun) - 1 - begun.index("0500") < 64
