"""The clock of renewed connections: the pause before the next attempt, and when the run ends."""

from __future__ import annotations

import pytest

from wal_runner.runner import renewal
from wal_runner.runner.renewal import BACKOFF_FIRST_S, BACKOFF_MAX_S, Backoff, Connections, State


class Clock:
    """Stands for the module `time`; moved by hand."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        """Return the time of now."""
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Return the clock that renewal reads, and let jitter be as long as it can."""
    clock = Clock()
    monkeypatch.setattr(renewal, "time", clock)
    monkeypatch.setattr(renewal.random, "uniform", lambda _low, high: high)
    return clock


@pytest.mark.usefixtures("clock")
def test_pauses_double_up_to_a_bound():
    """The first attempt is made at once; each pause is twice the one before, up to the bound."""
    backoff = Backoff()
    pauses = [backoff.next() for _ in range(8)]

    assert [0.0, BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S] == pauses[:3]
    assert BACKOFF_MAX_S == pauses[-1] == max(pauses)


@pytest.mark.parametrize(("held_s", "expected"), [(0.1, 2 * BACKOFF_FIRST_S), (BACKOFF_MAX_S + 0.1, 0.0)])
def test_connection_that_is_lost_at_once_does_not_reset_the_pauses(clock, held_s, expected):
    """A proxy that accepts connections for a dead server would otherwise cost an item every few milliseconds."""
    backoff = Backoff()
    backoff.next(), backoff.next()
    backoff.connected()
    clock.now += held_s
    backoff.lost()

    assert expected == backoff.next()


def test_run_gives_up_as_long_after_the_last_connection_as_was_said(clock):
    """The time counts from the loss of the last connection, whatever the workers do later."""
    given_up = []
    connections = Connections(None, workers=2, timeout_s=60, is_ending=lambda: False, give_up=given_up.append)
    connections.begin_round()
    for _worker in range(2):
        connections.move(State.NONE, State.USABLE)
    connections.move(State.USABLE, State.RECONNECTING)
    clock.now += 10
    connections.move(State.USABLE, State.RECONNECTING)
    clock.now += 30
    connections.move(State.RECONNECTING, State.NONE)
    clock.now += 29
    connections.look()
    before = list(given_up)
    clock.now += 1
    connections.look()

    assert [] == before
    assert 1 == len(given_up)


def test_connection_of_one_worker_is_enough(clock):
    """The run goes on while at least one worker is connected."""
    given_up = []
    connections = Connections(None, workers=2, timeout_s=60, is_ending=lambda: False, give_up=given_up.append)
    connections.begin_round()
    for _worker in range(2):
        connections.move(State.NONE, State.USABLE)
    connections.move(State.USABLE, State.RECONNECTING)
    clock.now += 1000
    connections.look()

    assert [] == given_up
