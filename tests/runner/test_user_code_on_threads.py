"""Code of the caller that runs on threads of the runner: the source, key=, fn and per_worker."""

import asyncio
import sqlite3
import threading
from contextlib import contextmanager
from contextvars import ContextVar

import pytest

from tests.runner.driving import named
from wal_runner.runner.item_names import ON_ANOTHER_THREAD


tenant = ContextVar("tenant", default="lost")
IDS = [str(number) for number in range(60)]


async def coroutines(runner, items, **options):
    async def fn(_item):
        pass

    await runner.run_async(items, fn, concurrency=3, max_in_doubt=4, **options)


async def async_claim(runner, items, **options):
    async for attempt in runner.claim(items, max_in_doubt=4, **options):
        async with attempt:
            await asyncio.sleep(0)


@pytest.fixture
def seen():
    """Give what notes the context and the thread in which it is called."""
    found = set()

    def note(item):
        found.add((tenant.get(), threading.get_ident()))
        return item

    note.found = found
    return note


@pytest.mark.parametrize("drive", [coroutines, async_claim], ids=named)
def test_plain_source_and_key_share_one_thread_and_the_context(runner, seen, drive):
    """The thread is the run's own, and the same from the first item to the last."""

    async def main():
        tenant.set("kept")
        await drive(runner, (seen(item) for item in IDS), key=seen)

    asyncio.run(main())

    ((context, thread),) = seen.found
    assert "kept" == context
    assert threading.get_ident() != thread


def test_async_source_is_read_in_the_event_loop(runner, seen):
    """Its key= is called on the run's thread, with the context."""

    async def source():
        for item in IDS:
            assert threading.current_thread() is threading.main_thread()
            assert "kept" == tenant.get()
            yield item

    async def main():
        tenant.set("kept")
        await coroutines(runner, source(), key=seen)

    asyncio.run(main())

    assert {"kept"} == {context for context, _ in seen.found}


@pytest.mark.parametrize("drive", [coroutines, async_claim], ids=named)
def test_source_that_is_bound_to_its_thread_says_what_to_do(runner, drive):
    """A cursor that the caller's thread made raises, with advice; what is made inside of the source works."""
    here = sqlite3.connect(":memory:")

    def inside():
        there = sqlite3.connect(":memory:")
        yield from (str(number) for (number,) in there.execute("select 1 union select 2"))
        there.close()

    with pytest.raises(sqlite3.ProgrammingError, match="thread") as raised:
        asyncio.run(drive(runner, (str(row) for row in here.execute("select 1"))))
    asyncio.run(drive(runner, inside()))
    here.close()

    assert [ON_ANOTHER_THREAD] == raised.value.__notes__
    assert "Give a list, or an async iterator" in ON_ANOTHER_THREAD
    assert ["1", "2"] == [item.item_id for item in runner.items()]


def test_worker_threads_see_the_context(runner, seen):
    """Whatever the number of workers, fn and per_worker find what the caller has set."""

    @contextmanager
    def connect():
        yield seen("connection")

    token = tenant.set("kept")
    try:
        runner.run(IDS, lambda item, _connection: seen(item), workers=3, per_worker=connect)
    finally:
        tenant.reset(token)

    assert {"kept"} == {context for context, _ in seen.found}


def threads(runner, items, **options):
    runner.run(items, lambda _item: None, workers=3, max_in_doubt=4, **options)


@pytest.mark.parametrize("drive", [coroutines, async_claim, threads], ids=named)
def test_key_of_a_mutable_item_is_called_on_the_thread_of_its_source(runner, drive):
    """Also just before fn gets the item, which is looked at there without the key: it may be bound to a thread."""
    found = set()

    def key(item):
        found.add(threading.get_ident())
        return item["id"]

    ended = drive(runner, [{"id": name} for name in IDS], key=key)
    if ended is not None:
        asyncio.run(ended)

    assert 1 == len(found)
    assert len(IDS) == len(list(runner.items()))
