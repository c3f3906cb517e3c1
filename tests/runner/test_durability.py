"""When an outcome is durable, and what may hold it back: nothing for longer than a moment."""

import asyncio
import threading
import time

import pytest

from tests.runner.driving import DEADLINE_S, Effects, Script, numbers, wait_until
from wal_runner import Runner, Status
from wal_runner.runner.dispatcher import FLUSH_SECONDS


SOON_S = 20 * FLUSH_SECONDS
"""Far more than the promised 50 ms, because the machine is shared; far less than for ever."""


def succeeded(path):
    """Count what a reader sees as succeeded."""
    with Runner.open_read(path) as view:
        return view.counts()[Status.SUCCEEDED]


class Waiting:
    """A source that gives some items, and then blocks until it is told to end."""

    def __init__(self, *items):
        self.items = items
        self.go_on = threading.Event()

    def __iter__(self):
        yield from self.items
        assert self.go_on.wait(DEADLINE_S)


@pytest.mark.parametrize("workers", [1, 3])
def test_blocking_source_holds_back_no_outcome(runner, workers):
    """What ended is on disk soon, though the source is silent for an hour."""
    source = Waiting("a", "b", "c")
    ended = {}

    def fn(item):
        ended[item] = time.monotonic()

    thread = threading.Thread(target=runner.run, args=(source, fn), kwargs={"workers": workers})
    thread.start()
    try:
        wait_until(lambda: succeeded(runner.path) == len(ended) > 0)
        took = time.monotonic() - max(ended.values())
    finally:
        source.go_on.set()
        thread.join()

    assert took < SOON_S
    assert 3 == succeeded(runner.path)


def test_blocking_source_holds_back_no_outcome_for_other_processes(path):
    """Another process sees it, so it is in the file and not only in memory."""
    code = """
    def source():
        yield from ["a", "b", "c"]
        say("blocked")
        hear()
    with Runner(path) as runner:
        runner.run(source(), lambda item: item, max_in_doubt=1)
    """
    with Script(code, path) as script:
        assert "blocked" == script.hear()
        began = time.monotonic()
        wait_until(lambda: succeeded(path) == 3)
        took = time.monotonic() - began
        script.tell()
        code, _ = script.end()

    assert 0 == code
    assert took < SOON_S


def test_blocking_async_source_holds_back_nothing(runner):
    """Items that it gave are run, and their outcomes durable, while it waits."""

    async def run():
        go_on = asyncio.Event()

        async def source():
            yield "a"
            yield "b"
            await go_on.wait()

        async def fn(item):
            return item

        running = asyncio.create_task(runner.run_async(source(), fn))
        deadline = time.monotonic() + SOON_S
        while succeeded(runner.path) < 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)
        go_on.set()
        return await running

    report = asyncio.run(run())

    assert {"seen": 2, "succeeded": 2} == numbers(report)


@pytest.mark.parametrize("workers", [2, 4])
def test_slow_item_holds_back_no_quick_one(runner, workers):
    """The outcomes of the others are durable while one fn hangs."""
    go_on = threading.Event()

    def fn(item):
        if item == "slow":
            assert go_on.wait(DEADLINE_S)

    thread = threading.Thread(
        target=runner.run, args=(["slow", *[f"quick {n}" for n in range(8)]], fn), kwargs={"workers": workers}
    )
    thread.start()
    try:
        wait_until(lambda: 8 == succeeded(runner.path))
        status = runner.status("slow")
    finally:
        go_on.set()
        thread.join()

    assert Status.STARTED is status


def test_hanging_serial_item_holds_back_no_earlier_one(runner):
    """Serial items of one window are committed while a later one of them hangs."""
    go_on = threading.Event()
    ids = [str(number) for number in range(500)]

    def fn(item):
        if item == "300":
            assert go_on.wait(DEADLINE_S)

    thread = threading.Thread(target=runner.run, args=(ids, fn))
    thread.start()
    try:
        wait_until(lambda: 300 == succeeded(runner.path))
        window = len(runner.writer.state.open)
    finally:
        go_on.set()
        thread.join()

    assert 1 <= window
    assert 500 == succeeded(runner.path)


def test_slow_items_are_not_claimed_ahead(runner):
    """Items of 20 ms are started one by one, not by hundreds: a power cut leaves few in doubt."""
    now = threading.Event()

    def fn(_item):
        now.wait(0.02)

    report = runner.run([str(number) for number in range(12)], fn)

    assert 12 == report.succeeded
    assert report.doubt_bound <= 4


def test_quick_items_are_started_together(runner):
    """The window grows while items are quicker than commits."""
    report = runner.run([str(number) for number in range(3000)], lambda _: None)

    assert 16 < report.doubt_bound
    assert 3000 == report.succeeded


@pytest.mark.parametrize("window", [1, 5])
def test_strict_window_starts_no_more(runner, window):
    """At no time are more starts without an outcome on disk."""
    most = []

    def fn(_item):
        with Runner.open_read(runner.path) as view:
            most.append(view.counts()[Status.STARTED])

    report = runner.run([str(number) for number in range(40)], fn, max_in_doubt=window)

    assert max(most) <= window
    assert report.doubt_bound <= window


def test_started_item_is_on_disk_before_fn_is_called(path):
    """P1, as another handle on the same file sees it."""
    unseen = []

    def fn(item):
        with Runner.open_read(path) as view:
            if view.status(item) is not Status.STARTED:
                unseen.append(item)

    with Runner(path) as runner:
        runner.run([str(number) for number in range(100)], fn, workers=4)

    assert [] == unseen


def test_large_source_is_not_read_ahead_without_bound(runner):
    """Memory does not grow with the source: only so much is pulled before it is run."""
    pulled = 0

    def source():
        nonlocal pulled
        for number in range(100_000):
            pulled += 1
            yield str(number)

    outcomes = runner.run_iter(source(), Effects())
    for _ in range(10):
        next(outcomes)
    outcomes.close()

    assert pulled < 5_000
