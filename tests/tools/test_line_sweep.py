"""The line sweep: what it reports, and what it does not."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tools.harness import line_trials
from tools.harness.line_bugs import BUGS
from tools.harness.line_trials import Place, places_in, sample_of, trial
from wal_runner.errors import RecursiveRun
from wal_runner.runner.one_run import OneRun
from wal_runner.runner.plan import Plan


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.harness.line_bugs import Bug

DECIDING = Place("runner/plan.py", Plan.decide.__code__.co_firstlineno + 2, 1)
"""A line inside of the first commit of a run."""


def never_release() -> None:
    """Let a run that an exception ends hold the Runner for good."""
    taken = []

    @contextmanager
    def running(_self: OneRun) -> Iterator[None]:
        if taken:
            raise RecursiveRun("This Runner is in a run already.")
        taken.append(True)
        yield
        taken.clear()

    OneRun.running = running  # type: ignore[method-assign]


def test_sweep_reports_a_runner_that_stays_taken() -> None:
    """The library works on after an exception at that line; with the planted bug it does not, and that is told."""
    sound, planted = trial("serial", DECIDING), trial("serial", DECIDING, never_release)

    assert (True, []) == (sound.reached, sound.faults)
    assert planted.reached
    assert any("the next run: RecursiveRun" in fault for fault in planted.faults)


def test_sweep_says_that_a_line_was_not_reached() -> None:
    """A line that nothing passes proves nothing."""
    assert not trial("serial", Place("runner/plan.py", 1, 1)).reached


@pytest.mark.parametrize("driver", line_trials.DRIVERS)
def test_each_driver_passes_the_same_ground(driver: str) -> None:
    """Opening, running and closing are swept, whatever drives the run."""
    places = places_in(line_trials.passes_of(driver))

    assert {"log/opening.py", "recovery/writer.py", "runner/dispatcher.py"} <= {place.file for place in places}
    assert 7 == len(sample_of(places, 7)) == len(set(sample_of(places, 7)))


@pytest.mark.parametrize("driver", line_trials.DRIVERS)
def test_runner_works_after_an_exception_at_a_line(driver: str) -> None:
    """Nothing stays locked, no effect comes twice, nothing waits. tools/line_sweep.py tries all lines."""
    sample = sample_of(places_in(line_trials.passes_of(driver)), 10)

    assert {} == {str(place): found.faults for place in sample if (found := trial(driver, place)).faults}


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_planted_bug_is_found_by_the_sweep(bug: Bug) -> None:
    """A sweep of one function's lines catches a line that was moved, left out or narrowed."""
    assert bug.found_at() is not None
