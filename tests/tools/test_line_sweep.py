"""The line sweep: a sample of it holds, and a planted bug is caught."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.harness import line_trials
from wal_runner import Runner
from wal_runner.errors import LogAlreadyOpen
from wal_runner.log.lmdb_log import LmdbLog


if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("driver", line_trials.DRIVERS)
def test_interrupt_at_sampled_lines(driver: str) -> None:
    """Whatever line an exception strikes at, the Runner or the log works on, and no effect comes twice."""
    places = line_trials.sample_of(line_trials.places_in(line_trials.passes_of(driver)), 12)

    broken = {str(place): found.faults for place in places if (found := line_trials.trial(driver, place)).faults}

    assert {} == broken


def test_sweep_catches_a_lock_left_held() -> None:
    """Without `LmdbLog.break_off` an exception between two lines of a release leaves the log lock held."""

    def plant() -> None:
        LmdbLog.break_off = lambda _self: None  # type: ignore[method-assign]

    line = LmdbLog.look_up.__code__.co_firstlineno + 2
    found = line_trials.trial("serial", line_trials.Place("log/lmdb_log.py", line, 1), plant)

    assert found.faults


def test_lost_runner_is_taken_over(tmp_path: Path) -> None:
    """A Runner that no name leads to is closed by an opening with ``take_over=True``, as the error says."""
    lost = [Runner(tmp_path / "batch.wal")]

    with pytest.raises(LogAlreadyOpen, match="take_over=True"):
        Runner(tmp_path / "batch.wal")
    with Runner(tmp_path / "batch.wal", take_over=True) as runner:
        report = runner.run(["a"], lambda _: None)

    assert (1, True) == (report.succeeded, lost[0].writer.closed)


def test_running_runner_is_not_taken_over(tmp_path: Path) -> None:
    """A run that is going on is not ended by an opening that takes over."""
    with Runner(tmp_path / "batch.wal") as runner:

        def take_over(_item: str) -> None:
            with pytest.raises(LogAlreadyOpen):
                Runner(tmp_path / "batch.wal", take_over=True)

        assert runner.run(["a"], take_over).ok
