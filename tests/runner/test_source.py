"""Where items come from, and what names them."""

import asyncio
import os
import signal
import threading
import uuid
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from tests.runner.driving import DRIVERS, Effects, named, numbers, page_fetcher, serial, statuses, threads
from wal_runner import Interrupted, Runner, Status, by_content
from wal_runner.core.window import WINDOW_MAX
from wal_runner.errors import CursorInvalid, DuplicateItem, ItemIdInvalid, KeyRuleChanged
from wal_runner.runner.pages import Pages


# --- Ids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
@pytest.mark.parametrize("bad", [None, 1.5, b"bytes", True, "", "\ud800", ("a",), object], ids=named)
def test_item_without_an_id_is_refused_before_any_start(runner, drive, bad):
    """What a rerun might name differently is no id."""
    effects = Effects()
    with pytest.raises(ItemIdInvalid):
        drive(runner, [bad, "b"], effects)

    assert [] == effects
    assert {} == statuses(runner)


@pytest.mark.parametrize("bad", [None, 1.5, b"bytes", False, "", "\udcff", ["a"], {}], ids=named)
def test_field_without_an_id_is_refused_before_any_start(runner, bad):
    """The same for the field that *key* names."""
    effects = Effects()
    with pytest.raises(ItemIdInvalid):
        serial(runner, [{"id": bad}], effects, key="id")

    assert [] == effects


def test_items_before_the_bad_one_are_run(runner):
    """The mistake is raised once what came before it is done."""
    effects = Effects()
    with pytest.raises(ItemIdInvalid):
        serial(runner, ["a", "b", None, "c"], effects)

    assert ["a", "b"] == effects
    assert {"a": Status.SUCCEEDED, "b": Status.SUCCEEDED} == statuses(runner)


def test_id_of_three_megabytes_works(path):
    """It is stored whole, keyed by its hash; a sibling that differs at its end is another item."""
    long = "x" * 3_000_000
    with Runner(path) as runner:
        serial(runner, [long + "a"], Effects())
        runner.writer.take_snapshot()
    with Runner(path) as runner:
        report = serial(runner, [long + "a", long + "b"], lambda _: None)
        found = [item.item_id[-1] for item in runner.items()]
        status = runner.status(long + "a")

    assert {"seen": 2, "succeeded": 1, "skipped": 1} == numbers(report)
    assert ["a", "b"] == sorted(found)
    assert Status.SUCCEEDED is status


def test_number_text_and_uuid_are_written_one_way(runner):
    """5 and "5" are one id; a UUID is its canonical text."""
    name = uuid.uuid4()
    report = serial(runner, [5, "5", name, str(name), -1], lambda _: None)

    assert {"seen": 5, "succeeded": 3, "duplicates": 2} == numbers(report)
    assert {"5", str(name), "-1"} == set(statuses(runner))


@dataclass
class User:
    """An item with attributes."""

    id: int
    name: str = "x"


class Pair(NamedTuple):
    """An item that is a tuple."""

    a: str
    b: str


@pytest.mark.parametrize(
    ("item", "key", "item_id"),
    [
        ({"id": "x"}, "id", "x"),
        (User(7), "id", "7"),
        (Pair("a", "b"), "b", "b"),
        ({"a": 1, "b": "2"}, ("a", "b"), '["1","2"]'),
        ("Text", str.lower, "text"),
        ({"a": 1}, by_content, by_content({"a": 1})),
    ],
    ids=named,
)
def test_key_names_the_item(runner, item, key, item_id):
    """A field, an attribute, several, a function, or the content."""
    serial(runner, [item], lambda _: None, key=key)

    assert [item_id] == list(statuses(runner))


def test_another_key_rule_is_refused(path):
    """Under another rule every item would look new, and be done again."""
    effects = Effects()
    with Runner(path) as runner:
        serial(runner, [{"id": 1, "mail": "a"}], effects, key="id")
    with Runner(path) as runner:
        for drive in DRIVERS:
            with pytest.raises(KeyRuleChanged, match=r"field:id.*field:mail"):
                drive(runner, [{"id": 1, "mail": "a"}], effects, key="mail")
        found = statuses(runner)

    assert 1 == len(effects)
    assert {"1": Status.SUCCEEDED} == found


def test_error_of_the_key_function_is_the_callers_own(runner):
    """It comes out unchanged, once what came before has run."""
    effects = Effects()
    with pytest.raises(ZeroDivisionError):
        serial(runner, [1, 2, 0, 3], effects, key=lambda item: str(6 // item))

    assert [1, 2] == effects


# --- Duplicates --------------------------------------------------------------------------------


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_duplicate_is_run_once_and_counted(runner, drive):
    """Side by side or thousands of items apart."""
    effects = Effects()
    ids = [str(number) for number in range(1500)]
    report = drive(runner, ["0", "0", *ids, *ids[-5:], "0"], effects)

    assert sorted(ids) == sorted(effects)
    assert {"seen": 1508, "succeeded": 1500, "duplicates": 8} == numbers(report)


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_duplicate_of_a_failed_item_is_not_a_second_try(runner, drive):
    """One try a run, however often the source gives it."""
    effects = Effects({"bad"})
    report = drive(runner, ["bad", "a", "bad"], effects)

    assert 1 == effects.count("bad")
    assert {"seen": 3, "succeeded": 1, "failed": 1, "duplicates": 1} == numbers(report)


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_duplicate_may_be_an_error(runner, drive):
    """With on_duplicate="error" it is refused, and what came before is run."""
    effects = Effects()
    with pytest.raises(DuplicateItem, match="'a' twice"):
        drive(runner, ["a", "b", "a", "c"], effects, on_duplicate="error")

    assert ["a", "b"] == sorted(effects)
    assert {"a": Status.SUCCEEDED, "b": Status.SUCCEEDED} == statuses(runner)


# --- Sources that fail ---------------------------------------------------------------------------


@pytest.mark.parametrize("drive", DRIVERS[:6], ids=named)
def test_error_of_the_source_is_raised_when_what_ran_has_finished(runner, drive):
    """What it gave before is run, recorded, and done; the next run goes on."""

    def source():
        yield from ["a", "b", "c"]
        raise OSError("the file went away")

    effects = Effects()
    with pytest.raises(OSError, match="the file went away"):
        drive(runner, source(), effects)

    assert ["a", "b", "c"] == sorted(effects)
    assert dict.fromkeys("abc", Status.SUCCEEDED) == statuses(runner)
    assert {"seen": 4, "succeeded": 1, "skipped": 3} == numbers(drive(runner, ["a", "b", "c", "d"], effects))


def test_source_that_raises_at_once(runner):
    """Nothing was run, and nothing is wrong with the log."""

    def source():
        raise KeyError("x")
        yield

    with pytest.raises(KeyError):
        serial(runner, source(), Effects())

    assert {} == statuses(runner)


def test_source_that_is_no_iterable(runner):
    """A TypeError before anything happens."""
    with pytest.raises(TypeError):
        serial(runner, 7, Effects())

    assert {"seen": 1, "succeeded": 1} == numbers(serial(runner, ["a"], Effects()))


def test_source_is_closed_by_its_owner_only(runner):
    """A generator that is left early may be used further."""
    source = iter([str(number) for number in range(10)])
    outcomes = runner.run_iter(source, Effects(), max_in_doubt=1)
    next(outcomes)
    outcomes.close()

    assert next(source)


# --- Pages -----------------------------------------------------------------------------------------


def test_pages_are_fetched_in_order_with_the_size_asked(runner):
    """The first cursor is None; the last page has no next one."""
    asked = []

    def fetch(cursor, size):
        asked.append((cursor, size))
        page = 0 if cursor is None else int(cursor)
        return [f"{page}-{n}" for n in range(size)], str(page + 1) if page < 2 else None

    report = runner.run_pages(fetch, Effects(), page_size=5)

    assert [(None, 5), ("1", 5), ("2", 5)] == asked
    assert {"seen": 15, "succeeded": 15} == numbers(report)


def test_next_run_pages_again_and_retries_what_failed(runner):
    """The cursor serves crash resume only: it is cleared when the source ends."""
    effects = Effects({"1"})

    def fetch(cursor, _size):
        return [str(cursor or 0)], (cursor or 0) + 1 if (cursor or 0) < 3 else None

    runner.run_pages(fetch, effects)
    effects.failing = ()
    report = runner.run_pages(fetch, effects)

    assert ["0", "1", "2", "3", "1"] == effects
    assert {"seen": 4, "succeeded": 1, "skipped": 3} == numbers(report)
    assert {} == runner.writer.state.cursors


def test_source_that_fails_resumes_in_its_page(path):
    """A cursor is kept while pages are left; empty pages in between are passed."""
    asked = []

    def fetch(cursor, _size):
        asked.append(cursor)
        if cursor == 4 and len(asked) < 6:
            raise ConnectionResetError("page 4")
        return ([] if cursor == 2 else [f"item {cursor}"]), (cursor or 0) + 1 if (cursor or 0) < 5 else None

    with Runner(path) as runner, pytest.raises(ConnectionResetError):
        runner.run_pages(fetch, lambda _: None)
    with Runner(path) as runner:
        report = runner.run_pages(fetch, lambda _: None)

    assert [None, 1, 2, 3, 4, 4, 5] == asked
    assert {"seen": 2, "succeeded": 2} == numbers(report)


def test_sources_have_cursors_of_their_own(runner):
    """*source* names the cursor, where a log has several."""

    def fetch_until_page_1(cursor, _size):
        if cursor:
            raise OSError("page 1")
        return ["x"], 1

    with pytest.raises(OSError, match="page 1"):
        runner.run_pages(fetch_until_page_1, Effects(), source="first")
    asked = []

    def fetch(cursor, _size):
        asked.append(cursor)
        return ["y"], None

    runner.run_pages(fetch, Effects(), source="second")
    runner.run_pages(fetch, Effects(), source="first")

    assert [None, 1] == asked


@pytest.mark.parametrize("answer", [None, [], ["a"], (["a"],), (["a"], None, 1), "ab"[:1]], ids=named)
def test_page_that_is_no_pair_is_refused(runner, answer):
    """fetch_page gives two things, and is told so."""
    with pytest.raises(CursorInvalid, match="Let it return two things"):
        runner.run_pages(lambda _cursor, _size: answer, Effects())

    assert {} == statuses(runner)


def test_cursor_that_cannot_be_stored_is_refused(runner):
    """Before the next page is asked for; what ran of this page is recorded."""
    effects = Effects()
    with pytest.raises(CursorInvalid, match="cannot be stored"):
        runner.run_pages(lambda _cursor, _size: (["a"], object()), effects)

    assert ["a"] == effects
    assert {"a": Status.SUCCEEDED} == statuses(runner)


def test_threads_run_pages_too(runner):
    """*workers* is an option of `run_pages`."""
    items = [str(number) for number in range(300)]

    def fetch(cursor, size):
        first = cursor or 0
        return items[first : first + size], first + size if first + size < 300 else None

    effects = Effects()
    report = runner.run_pages(fetch, effects, page_size=7, workers=4)

    assert sorted(items) == sorted(effects)
    assert {"seen": 300, "succeeded": 300} == numbers(report)
    assert {} == runner.writer.state.cursors
    assert threads(runner, items, effects).skipped == 300


# --- Sources and what they are read ahead ------------------------------------------------------


def test_async_source_is_not_read_far_ahead(runner):
    """However few items may be in doubt: what is read and not run is held in memory."""
    pulled = begun = ahead = 0

    async def source():
        nonlocal pulled
        for number in range(20_000):
            pulled += 1
            yield number

    async def fn(_item):
        nonlocal begun, ahead
        begun += 1
        ahead = max(ahead, pulled - begun)
        await asyncio.sleep(0.001)
        if begun == 60:
            raise SystemExit

    with pytest.raises(SystemExit):
        asyncio.run(runner.run_async(source(), fn, concurrency=100, max_in_doubt=2))

    assert ahead <= 2 * WINDOW_MAX


def test_signal_between_an_item_and_its_page_stops_in_order(runner, monkeypatch):
    """The page is noted before the item: one that waits for an item that never comes is fetched again."""
    taken = 0
    take = Pages.take

    def interrupted(self):
        nonlocal taken
        taken += 1
        page = take(self)
        if taken == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return page

    monkeypatch.setattr(Pages, "take", interrupted)
    effects = Effects()
    with pytest.raises(Interrupted):
        runner.run_pages(page_fetcher([str(number) for number in range(50)]), effects, page_size=10, workers=8)
    report = runner.run_pages(page_fetcher([str(number) for number in range(50)]), effects, page_size=10)

    assert report.ok
    assert [str(number) for number in range(50)] == sorted(effects, key=int)


def test_cancelled_claim_gives_back_what_it_claimed(runner):
    """Cancelled while the source blocks: the loop ends once the source has answered, and the Runner goes on."""
    blocked, go_on = threading.Event(), threading.Event()

    def source():
        yield "a"
        blocked.set()
        assert go_on.wait(10)
        yield "b"

    async def loop(claims):
        with claims:
            async for attempt in claims:
                async with attempt:
                    pass

    async def main():
        task = asyncio.create_task(loop(runner.claim(source())))
        assert await asyncio.to_thread(blocked.wait, 10)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert {"a": Status.SUCCEEDED, "b": Status.PENDING} == {"b": Status.PENDING} | statuses(runner)
    assert {"seen": 1, "succeeded": 1} == numbers(runner.run(["b"], lambda _: None))
