"""A cancelled asynchronous run: everything is cancelled first, then waited for, however often that is cancelled."""

import asyncio
import threading
from types import coroutine

import anyio
import pytest

from tests.runner.driving import DEADLINE_S, numbers, wait_until
from tests.support.cancelled_runs import CANCELS, FNS, SOURCES, WORKERS, Case, violations
from wal_runner import Status
from wal_runner.runner.cancelling import Cancellation
from wal_runner.runner.left_behind import Remainder
from wal_runner.runner.settling import Settling


IDS = ["a", "b", "c"]


# --- Nothing goes on --------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(1, 13))
@pytest.mark.parametrize("source", ["list", "slow pages"])
def test_cancel_at_each_await_leaves_nothing_running(path, source, step):
    """Wherever the run waits when it is cancelled, none of its fns runs when it has raised."""
    assert [] == violations(Case(source, "cleans up", "awaits", "twice", step), path)


@pytest.mark.parametrize("cancel", CANCELS)
def test_every_way_to_cancel_leaves_nothing_running(path, cancel):
    """Once, again and again, by the scopes of anyio, by a timeout, or together with every other task."""
    assert [] == violations(Case("slow to close", "in a thread", "awaits", cancel, 6), path)


@pytest.mark.parametrize("fn", FNS)
def test_every_fn_ends_or_is_named(path, fn):
    """What is not waited for to its end is named as left behind, and in doubt."""
    assert [] == violations(Case("async", fn, "plain", "scope", 6, cancel_wait=0.05), path)


@pytest.mark.parametrize(("source", "worker"), list(zip(SOURCES, WORKERS + WORKERS, strict=False)))
def test_sources_and_workers_that_close_slowly_hold_back_no_cancel(path, source, worker):
    """The fns are cancelled before anything is waited for."""
    assert [] == violations(Case(source, "sleeps", worker, "often", 4), path)


def test_cancellation_that_passes_through_is_caught(path, monkeypatch):
    """A positive control: cleanup that can be cancelled itself leaves fns running, although they would end."""
    monkeypatch.setattr(Cancellation, "__exit__", lambda *_: False)
    monkeypatch.setattr(Settling, "left_behind", lambda *_: None)

    found = violations(Case("async", "cleans up", cancel="often"), path)

    assert any("still running and not named" in line for line in found)


@pytest.mark.parametrize(
    ("planted", "fn"),
    [((Settling, "left_behind"), "swallows"), ((Remainder, "running"), "in a thread")],
    ids=["not named", "threads not seen"],
)
def test_item_that_is_not_named_is_caught(path, monkeypatch, planted, fn):
    """Positive controls: what goes on and is not named breaks the law."""
    monkeypatch.setattr(*planted, lambda *_: [])

    found = violations(Case("async", fn, cancel="once", step=8, cancel_wait=0.0), path)

    assert any("still running and not named" in line for line in found)


# --- What is left behind --------------------------------------------------------------------------


def test_fn_that_swallows_cancellation_is_named(runner, caplog):
    """On the exception, in a note and in the log; it is in doubt until it says what became of it."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def fn(_item):
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await go_on.wait()
        return "sent after all"

    async def main():
        run = asyncio.create_task(runner.run_async(["slow"], fn, cancel_wait=0.1))
        await began.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await run
        status = runner.status("slow")
        go_on.set()
        await asyncio.to_thread(wait_until, lambda: runner.status("slow") is Status.SUCCEEDED)
        return raised.value, status

    error, status = asyncio.run(main())

    assert ["slow"] == error.left_behind
    assert "Still running, although the run has ended: 'slow'" in "".join(error.__notes__)
    assert "Still running, although the run has ended: 'slow'" in caplog.text
    assert Status.IN_DOUBT is status
    assert [("slow", "sent after all")] == list(runner.results())


def test_thread_of_a_cancelled_fn_is_waited_for(runner):
    """The coroutine ends at once; its thread does not, and nothing is left behind if it ends in time."""
    began, ended = threading.Event(), threading.Event()
    go_on = threading.Event()

    def work():
        began.set()
        assert go_on.wait(DEADLINE_S)
        ended.set()

    async def fn(_item):
        await asyncio.to_thread(work)

    async def main():
        run = asyncio.create_task(runner.run_async(["a"], fn))
        assert await asyncio.to_thread(began.wait, DEADLINE_S)
        run.cancel()
        await asyncio.wait([run], timeout=0.2)
        assert not run.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError) as raised:
            await run
        return raised.value, ended.is_set()

    error, had_ended = asyncio.run(main())

    assert had_ended
    assert not hasattr(error, "left_behind")
    assert Status.IN_DOUBT is runner.status("a")


def test_cancel_in_a_scope_that_is_cancelled_already_begins_nothing(runner):
    """The scope is left in order, and knows its own cancellation."""
    begun = []

    async def fn(item):
        begun.append(item)

    async def main():
        with anyio.CancelScope() as outer, anyio.CancelScope() as inner:
            inner.cancel()
            outer.cancel()
            await runner.run_async(IDS, fn)
        return outer.cancelled_caught

    assert anyio.run(main)
    assert [] == begun
    assert 0 == runner.counts()[Status.STARTED] + runner.counts()[Status.IN_DOUBT]


def test_coroutine_that_is_closed_settles_its_items(runner):
    """It can wait for nothing any more: its fns are cancelled, named, and in doubt."""
    begun, ended = [], []

    async def fn(item):
        begun.append(item)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    @coroutine
    def closing(coming):
        while len(begun) < len(IDS):
            yield coming.send(None)
        coming.close()

    async def main():
        await closing(runner.run_async(IDS, fn, signals=False))
        counts = runner.counts()
        await asyncio.sleep(0.01)
        return counts

    counts = asyncio.run(main())

    assert 3 == counts[Status.IN_DOUBT]
    assert IDS == begun == sorted(ended)
    assert {"seen": 3, "in_doubt": 3} == numbers(runner.run(IDS, print))


@pytest.mark.parametrize(("wait", "error"), [(-1, ValueError), ("10", TypeError), (True, TypeError)])
def test_cancel_wait_that_is_no_time_is_refused(runner, wait, error):
    """Before anything starts."""
    with pytest.raises(error, match="cancel_wait="):
        asyncio.run(runner.run_async(IDS, asyncio.sleep, cancel_wait=wait))
