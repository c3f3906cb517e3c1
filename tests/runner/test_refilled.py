"""Sources that change what they have yielded: fn gets the item that its id names, or the run says what to do."""

import asyncio
import io
import threading
import weakref
import xml.etree.ElementTree as ET

import pytest

from tests.runner.driving import (
    as_coroutine_function,
    claim,
    claim_async,
    coroutines,
    coroutines_of_async_source,
    named,
    numbers,
    serial,
    statuses,
    threads,
)
from wal_runner import Status, by_content, current_attempt
from wal_runner.errors import ItemChanged


COUNT = 60


def pages(runner, items, fn, **options):
    return runner.run_pages(lambda _cursor, _size: (items, None), fn, **options)


def pages_async(runner, items, fn, **options):
    async def fetch(_cursor, _size):
        return items, None

    return asyncio.run(runner.run_pages_async(fetch, as_coroutine_function(fn), concurrency=4, **options))


DRIVERS = [serial, threads, coroutines, coroutines_of_async_source, claim, claim_async, pages, pages_async]


# --- Sources --------------------------------------------------------------------------------------


def refilled(buffers=1):
    """Yield a ring of row buffers, each refilled when it comes round again."""
    rows = [{} for _ in range(buffers)]
    for number in range(COUNT):
        row = rows[number % buffers]
        row.update(id=number, value=f"value of {number}")
        yield row


def cleared():
    """Yield the elements of a document, each cleared when the next one is asked for."""
    text = "".join(f'<row id="{number}" value="value of {number}"/>' for number in range(COUNT))
    for _, element in ET.iterparse(io.StringIO(f"<rows>{text}</rows>")):  # noqa: S314 - our own text
        if element.tag == "row":
            yield element
            element.clear()


def copied():
    for row in refilled():
        yield dict(row)


SOURCES = {
    "one buffer": refilled,
    "two buffers": lambda: refilled(2),
    "seven buffers": lambda: refilled(7),
    "cleared elements": cleared,
}


def key(row):
    return str(row.get("id"))


class Ledger(list):
    """An fn that notes the id of its attempt, and what it found in its item."""

    def __call__(self, row):
        """Do the effect."""
        self.append((current_attempt().item_id, row.get("value")))

    def __getitem__(self, item_id):
        """Return the contents that were done under an id."""
        return [value for name, value in self if name == item_id]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_changed_items_end_the_run_and_none_is_lost(runner, drive, source):
    """Nothing succeeds with another's content, and the next run, over copies, does all the rest."""
    ledger = Ledger()
    with pytest.raises(ItemChanged, match="Yield copies, or use max_in_doubt=1"):
        drive(runner, SOURCES[source](), ledger, key=key)
    succeeded = [name for name, status in statuses(runner).items() if status is Status.SUCCEEDED]
    assert [[f"value of {name}"] for name in succeeded] == [ledger[name] for name in succeeded]

    serial(runner, copied(), ledger, key=key)
    found = statuses(runner)
    done = [name for name, status in found.items() if status is Status.SUCCEEDED]

    assert COUNT == len(found) == len(done) + len(runner.in_doubt())
    assert [[f"value of {name}"] for name in done] == [ledger[name] for name in done]
    assert len(runner.in_doubt()) <= 4


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_one_at_a_time_is_right_for_such_sources(runner, drive, source):
    """With max_in_doubt=1 nothing is pulled before what was pulled has run; over done items neither."""
    ledger = Ledger()
    first = drive(runner, SOURCES[source](), ledger, key=key, max_in_doubt=1)
    runner.retry(["7", "8", "9"], succeeded=True)
    drive(runner, SOURCES[source](), ledger, key=key, max_in_doubt=1)

    assert {"seen": COUNT, "succeeded": COUNT} == numbers(first)
    assert [[f"value of {n}"] * (2 if n in {7, 8, 9} else 1) for n in range(COUNT)] == [
        ledger[str(n)] for n in range(COUNT)
    ]


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_same_object_under_the_same_id_is_a_duplicate(runner, drive):
    """Twice in the list, and not refilled."""
    row = {"id": 1, "value": "x"}
    report = drive(runner, [row, {"id": 2, "value": "y"}, row], lambda _: None, key="id")

    assert {"seen": 3, "succeeded": 2, "duplicates": 1} == numbers(report)


@pytest.mark.parametrize("rule", ["id", by_content])
@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_fn_may_change_its_item(runner, drive, rule):
    """It is fn's once it has begun; also where that changes what the item would be called."""
    report = drive(runner, list(copied()), lambda row: row.update(id="done"), key=rule)

    assert {"seen": COUNT, "succeeded": COUNT} == numbers(report)


def test_key_that_fails_ends_the_run_after_what_came_before(runner):
    """As an error of the source does: named when it is pulled, raised when the rest has run."""
    with pytest.raises(ZeroDivisionError):
        serial(
            runner, [{"id": 1}, {"id": 2}, {"id": 0}, {"id": 3}], lambda _: None, key=lambda row: str(1 // row["id"])
        )

    assert {"1": Status.SUCCEEDED, "0": Status.SUCCEEDED} == statuses(runner)


class Large:
    """An item that is worth forgetting."""

    def __init__(self, number):
        self.id = number


@pytest.mark.parametrize("drive", [serial, threads, coroutines_of_async_source], ids=named)
def test_items_that_ended_are_forgotten(runner, drive):
    """What is kept to notice a ring of buffers is a few objects, not the whole source."""
    alive = weakref.WeakSet()
    most = 0

    def source():
        nonlocal most
        for number in range(200):
            item = Large(number)
            alive.add(item)
            yield item
            most = max(most, len(alive))

    drive(runner, source(), lambda _: None, key="id", max_in_doubt=4)

    assert most <= 60 if drive is not coroutines_of_async_source else most <= 200


def test_run_ends_after_a_refilled_item_with_few_places(runner):
    """What was started and may not begin any more holds its place; the run ends all the same."""
    refilled = threading.Event()
    runner.run([Large("done")], lambda _: None, key="id")

    def source():
        ring = [Large("x") for _ in range(12)]
        for number in range(200):
            item = ring[number % 12]
            item.id = f"n{number}"
            if number == 12:
                refilled.set()
            yield item
            if number == 1:
                yield Large("done")

    def fn(item):
        if item.id == "n0":
            refilled.wait(timeout=10)

    with pytest.raises(ItemChanged):
        runner.run(source(), fn, key="id", workers=2, max_in_doubt=2)
