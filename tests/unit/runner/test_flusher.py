"""The thread beside a run ends when it is no longer needed, even if the run is never ended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from wal_runner.errors import LogClosed
from wal_runner.runner.flusher import Flusher


if TYPE_CHECKING:
    from wal_runner.runner.dispatcher import Dispatcher

WAIT_S = 10.0


class ClosedDispatcher:
    """A run that was not ended before its log was closed, such as a loop over claim that was left."""

    def __init__(self):
        self.was_asked = threading.Event()

    def flush_if_old(self):
        """Fail, as the real one does then."""
        self.was_asked.set()
        raise LogClosed("closed")

    def break_off(self):
        """Do nothing: no lock is held."""


def closed_dispatcher() -> Dispatcher:
    return ClosedDispatcher()  # type: ignore[return-value]


def test_error_of_the_log_ends_the_flusher():
    """Otherwise the thread would run until the process ends."""
    flusher = Flusher(closed_dispatcher())
    flusher.__enter__()
    flusher._thread.join(WAIT_S)

    assert not flusher._thread.is_alive()
    with pytest.raises(LogClosed):
        flusher.check()


def test_error_of_the_log_does_not_end_the_look_at_connections():
    """The end of the run waits for workers whose connections hang, until the look replaces them."""
    dispatcher = ClosedDispatcher()
    looks = []
    seen = threading.Event()

    def look():
        looks.append(dispatcher.was_asked.is_set())
        if looks.count(True) > 1:
            seen.set()

    with Flusher(dispatcher, look) as flusher:
        assert seen.wait(WAIT_S)

    assert not flusher._thread.is_alive()
