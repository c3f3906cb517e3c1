"""Renewed connections: a worker whose connection is lost connects again before its next item."""

import time

import pytest

from tests.runner.driving import numbers
from tests.runner.renewing import (
    BAD,
    DRIVERS,
    IDS,
    WITH_REPORT,
    WORKERS,
    at,
    counting,
    default_of,
    serial,
)
from wal_runner import Status
from wal_runner.runner import renewal


# --- What a lost connection costs ----------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_restarted_server_costs_one_item_a_worker(runner, server, driver):
    """Each worker loses at most the item in flight; the same run does all others."""
    driver(runner, server, at(BAD, server.restart))
    counts = runner.counts()

    assert 1 <= counts[Status.IN_DOUBT] <= WORKERS[driver]
    assert len(IDS) - counts[Status.IN_DOUBT] == counts[Status.SUCCEEDED]
    assert len(set(server.lines)) == len(server.lines)


@pytest.mark.parametrize("driver", DRIVERS)
def test_server_that_is_down_costs_no_further_item(runner, server, driver):
    """No item starts while connecting fails; the items wait for the server."""
    down = []

    def stop():
        down.append(len(counted))
        server.stop()

    counted = []

    def count(number):
        counted.append(number)
        if down and number == down[0] + 6:
            server.start()

    driver(runner, server, at(BAD, stop), counting(default_of(driver), count))
    counts = runner.counts()

    assert len(counted) >= WORKERS[driver] + 6
    assert 1 <= counts[Status.IN_DOUBT] <= WORKERS[driver]
    assert len(IDS) - counts[Status.IN_DOUBT] == counts[Status.SUCCEEDED]


def test_last_item_needs_no_new_connection(runner, server):
    """A server that is down does not delay the end of a run that has no items left."""
    began = time.monotonic()
    report = serial(runner, server, at(IDS[-1], server.stop))

    assert {"seen": 300, "succeeded": 299, "in_doubt": 1} == numbers(report)
    assert report.ended_because is None
    assert time.monotonic() - began < renewal.CONNECT_TIMEOUT_S / 2


# --- What is raised ------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", WITH_REPORT)
def test_first_attempt_to_connect_raises_at_once(runner, server, driver):
    """A wrong address is a mistake, not an outage."""
    server.stop()
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        driver(runner, server, lambda _: None)

    assert time.monotonic() - began < 10


@pytest.mark.parametrize("driver", WITH_REPORT)
def test_other_error_of_connecting_again_raises_at_once(runner, server, driver):
    """If the password was changed meanwhile, further attempts would fail as well."""

    def refuse(number):
        if number > WORKERS[driver]:
            raise ValueError("wrong password")

    with pytest.raises(ValueError, match="wrong password"):
        driver(runner, server, at(BAD, server.restart), counting(default_of(driver), refuse))

    assert 0 == runner.counts()[Status.STARTED]
