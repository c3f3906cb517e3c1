"""Sources that change an item on its way to fn: during a commit, while it waits for a worker, while fn runs."""

import asyncio
import threading
import time
from contextlib import contextmanager

import pytest

from tests.runner.driving import Script, named, serial, statuses, threads
from tests.runner.test_refilled import Ledger, key
from wal_runner import Runner, Status, current_attempt, failpoints
from wal_runner.errors import ItemChanged
from wal_runner.runner.feed import PULL_SECONDS_MAX


WAIT_S = 10


def fill(row, number):
    row.update(id=number, value=f"value of {number}")


def test_refill_during_a_commit_is_noticed(runner):
    """What the commit under way is starting is watched, too: fn never gets another item's content."""
    ledger, row = Ledger(), {}
    committing, was_refilled = threading.Event(), threading.Event()

    def slow_commit():
        committing.set()
        was_refilled.wait(WAIT_S)

    async def source():
        fill(row, 0)
        failpoints.arm("commit.before_commit", slow_commit)
        yield row
        while not committing.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.001)
        fill(row, 1)
        # Called after the run has looked at what comes now, in the same step of the event loop.
        asyncio.get_running_loop().call_soon(was_refilled.set)
        yield row

    async def fn(row):
        ledger(row)

    with pytest.raises(ItemChanged, match="Yield copies"):
        asyncio.run(runner.run_async(source(), fn, key=key))

    assert [] == ledger
    assert {"0": Status.PENDING} == statuses(runner)


def test_refill_by_a_slow_async_source_is_noticed(runner):
    """The source refills the buffer, and awaits the next row, while the last one waits for its fn."""
    ledger, row = Ledger(), {}
    ran = asyncio.Event()

    async def source():
        fill(row, 0)
        yield row
        fill(row, 1)
        await asyncio.wait_for(ran.wait(), WAIT_S)
        yield row

    async def fn(row):
        ledger(row)
        ran.set()

    with pytest.raises(ItemChanged, match="changed an item after it had yielded it"):
        asyncio.run(runner.run_async(source(), fn, key=key))

    assert [] == ledger
    assert {"0": Status.PENDING} == statuses(runner)


def test_refill_while_an_item_waits_for_a_thread_is_noticed(runner):
    """The worker that takes the item compares it with its id, whatever the source is doing."""
    ledger, row = Ledger(), {}
    was_refilled, ran = threading.Event(), threading.Event()

    def source():
        fill(row, 0)
        time.sleep(PULL_SECONDS_MAX * 1.5)  # a slow source: what it yielded is started before it is asked again
        yield row
        fill(row, 1)
        was_refilled.set()
        ran.wait(0.5)
        yield row

    def fn(row):
        ledger(row)
        ran.set()

    @contextmanager
    def worker():
        was_refilled.wait(WAIT_S)
        yield None

    with pytest.raises(ItemChanged, match="changed an item after it had yielded it"):
        runner.run(source(), lambda row, _: fn(row), key=key, workers=2, per_worker=worker)

    assert [] == ledger
    assert {Status.PENDING} == set(statuses(runner).values())


@pytest.mark.parametrize("drive", [serial, threads], ids=named)
def test_fn_that_changes_a_later_item_ends_the_run(runner, drive):
    """The later one is not run under its old id, and the run ends, however few places it has."""
    rows = [{} for _ in range(30)]
    for number, row in enumerate(rows):
        fill(row, number)
    ran = []

    def fn(row):
        ran.append((current_attempt().item_id, key(row)))
        for later in rows[len(ran) :]:
            fill(later, 100 + later["id"])

    with pytest.raises(ItemChanged):
        drive(runner, rows, fn, key=key, max_in_doubt=8)

    assert [key_now for _, key_now in ran] == [item_id for item_id, _ in ran]


def test_claim_refuses_an_item_that_was_changed(runner):
    """A body that changes the next item does not get it under its old id."""
    rows = [{} for _ in range(10)]
    for number, row in enumerate(rows):
        fill(row, number)
    entered = []

    def loop():
        with runner.claim(rows, key=key) as claims:
            for attempt in claims:
                with attempt as row:
                    entered.append((attempt.item_id, key(row)))
                    fill(rows[rows.index(row) + 1], 100 + len(entered))

    with pytest.raises(ItemChanged):
        loop()

    assert [key_now for _, key_now in entered] == [item_id for item_id, _ in entered]


def test_item_that_fn_got_is_forgotten_by_the_watch(runner):
    """An fn that changes its items, beside an async source that is asked slowly, ends nothing."""
    ended = asyncio.Event()

    async def source():
        for number in range(10):
            ended.clear()
            row = {}
            fill(row, number)
            yield row
            await asyncio.wait_for(ended.wait(), WAIT_S)
            await asyncio.sleep(0)

    async def fn(row):
        row.clear()
        ended.set()

    report = asyncio.run(runner.run_async(source(), fn, key=key))

    assert 10 == report.succeeded


DIES_AFTER_FN = """
import wal_runner.failpoints as failpoints

row, was_refilled, began = {}, False, asyncio.Event()

async def source():
    global was_refilled
    row.update(id=0)
    yield row
    await began.wait()
    row.update(id=1)
    was_refilled = True
    yield row

async def fn(row):
    began.set()
    while not was_refilled:
        await asyncio.sleep(0)
    failpoints.arm("commit.before_begin", lambda: os.kill(os.getpid(), signal.SIGKILL))

async def main():
    await Runner(path).run_async(source(), fn, key="id", concurrency=1)

asyncio.run(main())
"""


def test_changed_item_is_in_doubt_after_a_crash(path):
    """The slot holds the doubt, not the success: what fn did is not what the id says."""
    with Script(DIES_AFTER_FN, path) as script:
        code, said = script.end()
    assert -9 == code, said

    with Runner(path) as runner:
        assert {"0": Status.IN_DOUBT} == statuses(runner)
        assert ["its source changed the item while fn ran"] == [doubt.reason for doubt in runner.in_doubt()]
