"""A paged source that dies in the middle of a page resumes in that page."""

import random
from dataclasses import replace

import pytest

from tests.crash.harness import check, die, finish, kill_at_random
from tests.crash.ledger import Ledger
from tests.crash.nursery import Child
from wal_runner import Runner, Status


pytestmark = pytest.mark.crash


@pytest.mark.parametrize("driver", ["pages", "pages_async"])
def test_source_killed_in_a_page_resumes_in_that_page(plan, driver):
    """It fetches from that page on, and runs only what had not finished."""
    doomed = plan(driver=driver, window=1, failing=0, items=60, page_size=10, failpoint="run.before_effect", hit=26)
    die(doomed)
    before = Ledger.read(doomed.ledger)
    assert 0 == Child(replace(doomed, failpoint="")).death()
    after = Ledger.read(doomed.ledger)

    assert [20, 30, 40, 50] == after.fetches[len(before.fetches) :]
    # The 26th is in doubt: fn was called.
    assert doomed.ids[26:] == [seen.item_id for seen in list(after.attempts.values())[25:]]
    assert [] == check(doomed, running_max=1)
    assert [] == finish(doomed)


@pytest.mark.parametrize("driver", ["pages", "pages_async"])
def test_page_with_an_item_in_flight_is_fetched_again(plan, driver):
    """Its cursor is not saved before its last outcome, though all of it was read, and more."""
    doomed = plan(driver=driver, failing=0, items=60, page_size=10, failpoint="run.before_effect", hit=1)
    die(doomed)
    fetched = Ledger.read(doomed.ledger).fetches
    assert 0 == Child(replace(doomed, failpoint="")).death()

    assert [0, 10, 20, 30, 40, 50] == Ledger.read(doomed.ledger).fetches[len(fetched) :]
    assert [] == finish(doomed)


@pytest.mark.parametrize("window", [1, 16, None])
@pytest.mark.parametrize("driver", ["pages", "pages_async"])
def test_nothing_before_the_cursor_is_left(plan, driver, window):
    """Whenever it dies, everything before the page where it resumes has been dealt with."""
    workers = 8 if driver == "pages_async" else 1
    chance = random.Random(f"{driver} {window}")  # noqa: S311 - no secret
    doomed = plan(driver=driver, workers=workers, window=window, items=6_000, page_size=20, failing=0)
    kills = 0
    for _ in range(3):
        fetched = len(Ledger.read(doomed.ledger).fetches)
        with_cursor = _first_pending(doomed)
        kills += kill_at_random(Child(doomed), doomed, chance, 0.03)
        resumed_at = Ledger.read(doomed.ledger).fetches[fetched]

        assert resumed_at <= with_cursor, "an item before the cursor was never run"
    assert [] == check(doomed, running_max=workers * kills)
    assert [] == finish(doomed)


def _first_pending(plan):
    with Runner(plan.log) as runner:
        known = {item.item_id for item in runner.items() if item.status is not Status.PENDING}
    return next((index for index, item_id in enumerate(plan.ids) if item_id not in known), plan.items)
