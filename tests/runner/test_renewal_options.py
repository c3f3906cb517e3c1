"""The options of renewed connections: after which errors `renew` replaces one, and which values are refused."""

import asyncio
import math

import pytest

from tests.runner.driving import numbers, statuses
from tests.runner.renewing import (
    BAD,
    IDS,
    Numbered,
)
from wal_runner import Status


DECIDED = [
    (None, ValueError, 1),
    (None, BrokenPipeError, 4),
    (True, ValueError, 4),
    (False, BrokenPipeError, 1),
    (lambda error: isinstance(error, ValueError), ValueError, 4),
    (lambda error: isinstance(error, ValueError), BrokenPipeError, 1),
]


@pytest.mark.parametrize(("renew", "error", "contexts"), DECIDED)
@pytest.mark.parametrize("is_async", [False, True])
def test_renew_says_after_which_errors(runner, renew, error, contexts, is_async):
    """None asks the table whether the connection is unusable; True: each error; False: none; a function decides."""
    numbered = Numbered()

    def fn(item, _number):
        if item in {"1", "3", "7"}:
            raise error("no")

    async def fn_async(item, number):
        await asyncio.sleep(0)
        fn(item, number)

    options = {"per_worker": numbered, "renew": renew}
    if is_async:
        asyncio.run(runner.run_async(IDS, fn_async, concurrency=1, **options))
    else:
        runner.run(IDS, fn, **options)

    assert contexts == numbered.entered


def test_cancellation_inside_fn_counts_as_an_exception(runner):
    """With renew=True the connection is replaced also if something that fn awaited was cancelled."""
    numbered = Numbered()

    async def fn(item, _number):
        if item == BAD:
            raise asyncio.CancelledError

    report = asyncio.run(runner.run_async(IDS, fn, concurrency=1, per_worker=numbered, renew=True))

    assert {"seen": 300, "succeeded": 299, "in_doubt": 1} == numbers(report)
    assert 2 == numbered.entered


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    ("renew", "raised", "says"),
    [(lambda _error: None, TypeError, "renew=.* answered None"), (lambda _error: 1 / 0, ZeroDivisionError, "division")],
)
def test_renew_that_misbehaves_ends_the_run(runner, workers, renew, raised, says):
    """It is a bug of the program; the item's outcome is recorded before the run ends."""

    def fn(item, _number):
        if item == BAD:
            raise ValueError("no")

    with pytest.raises(raised, match=says):
        runner.run(IDS, fn, workers=workers, per_worker=Numbered(), renew=renew)

    assert Status.FAILED is runner.status(BAD)
    assert 0 == runner.counts()[Status.STARTED]


async def later(_error):
    """Do nothing; as a coroutine function it would return a true value."""


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"renew": 1}, TypeError),
        ({"renew": "always"}, TypeError),
        ({"renew": OSError}, TypeError),
        ({"renew": later}, TypeError),
        ({"connect_timeout": 0}, ValueError),
        ({"connect_timeout": math.nan}, ValueError),
        ({"connect_timeout": "60"}, TypeError),
        ({"connect_timeout": True}, TypeError),
    ],
)
def test_options_that_make_no_sense_are_refused(runner, options, error):
    """The error is raised before any item starts."""
    with pytest.raises(error, match=next(iter(options))):
        runner.run(IDS, lambda _item, _link: None, per_worker=Numbered(), **options)

    assert {} == statuses(runner)
