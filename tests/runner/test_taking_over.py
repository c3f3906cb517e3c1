"""A Runner whose name was lost, and the opening that takes the log over from it."""

import threading

import pytest

from tests.runner.driving import Effects, serial
from wal_runner import Runner, Status
from wal_runner.errors import LogAlreadyOpen, LogClosed


def test_error_says_how_to_take_over(path):
    """A Runner that no variable refers to is kept by a traceback; the error names the way out."""
    lost = [Runner(path)]

    with pytest.raises(LogAlreadyOpen, match="take_over=True"):
        Runner(path)
    lost[0].close()


def test_lost_runner_is_taken_over(path):
    """The session of the lost Runner ends in order, and what it did is not done again."""
    lost, effects = [Runner(path)], Effects()
    serial(lost[0], ["a"], effects)
    with Runner(path, take_over=True) as runner:
        serial(runner, ["a", "b"], effects)
        with Runner.open_read(path) as view:
            open_sessions = [session.info.number for session in view.sessions()]
        with pytest.raises(LogClosed):
            lost[0].run(["c"], effects)

    assert ["a", "b"] == effects
    assert [2] == open_sessions


def test_cell_that_failed_is_taken_over(path):
    """The Runner of a cell that raised lives on in the traceback, with the item that it interrupted."""

    def interrupt(_item: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:
        Runner(path).run(["a"], interrupt, signals=False)
    with Runner(path, take_over=True) as runner:
        status = runner.status("a")

    assert kept.value.__traceback__ is not None
    assert Status.IN_DOUBT == status


def test_running_runner_is_not_taken_over(path):
    """A run that is going on is not ended by an opening that takes over, of this thread or of another."""
    refused = []

    def take_over() -> None:
        with pytest.raises(LogAlreadyOpen):
            Runner(path, take_over=True)
        refused.append(threading.current_thread().name)

    def fn(_item: str) -> None:
        take_over()
        thread = threading.Thread(target=take_over, name="another")
        thread.start()
        thread.join()

    with Runner(path) as runner:
        report = runner.run(["a"], fn)

    assert report.ok
    assert ["MainThread", "another"] == refused
