"""A few hundred damaged folders, and the controls that show that the trials are not blind.

`tools/corruption.py` does the same for as long as one likes.
"""

import tempfile
from pathlib import Path

import pytest

from tools.corrupting import judging
from tools.corrupting.controls import CONTROLS, catch, clinic_for_controls
from tools.corrupting.mutators import MUTATORS
from tools.corrupting.trials import Clinic
from tools.harness.memory import memory_folder


SEED = "a"
TRIALS = 240


@pytest.fixture(scope="module")
def home():
    """Give a folder in memory: these logs are opened hundreds of times, and wait for no disk."""
    with tempfile.TemporaryDirectory(prefix="damage-", dir=memory_folder()) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def clinic(home):
    """Give the logs to be damaged; that what they hold is true was checked when they were made."""
    return Clinic(home)


@pytest.fixture(scope="module")
def control_clinic(home):
    return clinic_for_controls(home)


@pytest.mark.parametrize("first", range(0, TRIALS, 60))
def test_damaged_folder_tells_the_truth_or_a_typed_error(clinic, first):
    """Whatever was damaged: no wrong answer, no item redone, no signal, and bounded memory and time."""
    trials = [clinic.trial(SEED, number) for number in range(first, first + 60)]

    assert [] == [trial for trial in trials if trial.verdict.word in {*judging.VIOLATIONS, judging.VERIFY_ONLY}]


@pytest.mark.parametrize("mutator", MUTATORS)
def test_each_kind_of_damage_tells_the_truth_or_a_typed_error(clinic, mutator):
    """Each once by name, so that none is left out by chance."""
    trial = clinic.trial(SEED, 0, (mutator,))

    assert trial.verdict.word in {judging.TRUE, judging.TYPED}, trial


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_check_that_is_switched_off_is_missed(control_clinic, control):
    """Without any one of the library's checks the same damage gives wrong answers or kills the process."""
    caught = catch(control, control_clinic, SEED)

    assert caught is not None, f"nothing noticed that {control.name}"


def test_trial_can_be_repeated(clinic):
    """Seed and number say what is damaged and how."""
    first, second = (clinic.trial(SEED, 7) for _ in range(2))

    assert (first.log, first.way, first.did, first.verdict) == (second.log, second.way, second.did, second.verdict)
