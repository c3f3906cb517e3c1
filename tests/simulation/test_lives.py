"""Some hundred histories of a batch, all short ones, and bugs that they must catch.

`tools/simulator.py` does the same for as long as one likes.
"""

import pytest

from tools.simulation.controls import BUGS, catch
from tools.simulation.exhaustive import OPERATIONS, cases, play, sequences
from tools.simulation.lives import History


SEED = "suite"
HISTORIES = 160
"""About 1,500 lives."""


@pytest.mark.parametrize("first", range(0, HISTORIES, 40))
def test_every_promise_holds_in_every_life(first):
    """Whatever dies, fails or is asked for: no effect without a start, none twice, nothing lost, one state."""
    ended = [History(f"{SEED}/{number}").run() for number in range(first, first + 40)]

    assert sum(each.lives for each in ended) > 200
    assert sum(each.deaths for each in ended) > 50
    assert sum(each.effects for each in ended) > 50


@pytest.mark.parametrize("last", OPERATIONS)
def test_every_accident_of_a_short_history_is_survived(last):
    """Each operation, alone and after each other one, dies at every point, and has each of its commits fail."""
    played = [play(case) for operations in sequences(2) if operations[-1] == last for case in cases(operations)]

    assert len(played) > 100
    assert sum(world.deaths for world in played) > 100


def test_history_is_repeated_by_its_seed():
    """To the last byte of the log: what went wrong once goes wrong again."""
    assert History("again/1").run() == History("again/1").run()
    assert History("again/1").run() != History("again/2").run()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_caught(bug):
    """A simulator that never complains is none."""
    assert catch(bug, SEED) is not None, f"nothing noticed that {bug}"
