"""SIGKILL at moments that nobody chose: no effect twice, none lost, doubts are fns that ran."""

import random

import pytest

from tests.crash.harness import check, finish, kill_at_random
from tests.crash.ledger import Ledger
from tests.crash.nursery import Child


pytestmark = pytest.mark.crash

KILLS = 5
SECONDS_MAX = 0.04


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("driver", "workers"), [("serial", 1), ("threads", 4)])
def test_killed_again_and_again(plan, driver, workers, seed):
    """Five kills a log, four logs a driver: after each the log says what the world has seen."""
    chance = random.Random(f"{driver} {seed}")  # noqa: S311 - no secret
    doomed = plan(driver=driver, workers=workers, items=8_000, failing=50, window=(1, 16, 256, None)[seed], tail=2_000)
    kills = 0
    for _ in range(KILLS):
        kills += kill_at_random(Child(doomed), doomed, chance, SECONDS_MAX)

        assert [] == check(doomed, running_max=workers * kills)
    assert KILLS == kills
    assert Ledger.read(doomed.ledger).begun < doomed.items, "it was not killed in the middle"
    assert [] == finish(doomed)


@pytest.mark.parametrize("driver", ["coroutines", "claim", "pages", "pages_async"])
def test_other_drivers_are_killed_too(plan, driver):
    """Coroutines, claims and pages keep the same promises."""
    workers = 8 if driver in {"coroutines", "pages_async"} else 1
    chance = random.Random(driver)  # noqa: S311 - no secret
    doomed = plan(driver=driver, workers=workers, items=8_000, page_size=50, failing=50, results="large", tail=2_000)
    kills = 0
    for _ in range(3):
        kills += kill_at_random(Child(doomed), doomed, chance, SECONDS_MAX)

        assert [] == check(doomed, running_max=workers * kills)
    assert [] == finish(doomed)


@pytest.mark.parametrize("seed", range(2))
def test_processes_share_a_log_and_die_one_by_one(plan, seed):
    """Three processes over one log: those that live go on, and the dead leave only what they ran."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    doomed = plan(items=12_000, failing=50, window=64)
    kills = 0
    for _ in range(2):
        children = [Child(doomed) for _ in range(3)]
        for child in children:
            kills += kill_at_random(child, doomed, chance, SECONDS_MAX)

        assert [] == check(doomed, running_max=kills)
    assert [] == finish(doomed)
