"""A few hundred damaged folders, and the controls that show that the trials are not blind.

`tools/corruption.py` does the same for as long as one likes.
"""

import os
import tempfile
from pathlib import Path

import pytest

from tools.corrupting import at_rest, judging, nursery
from tools.corrupting.at_rest import LargeLogs
from tools.corrupting.controls import CONTROLS, catch, clinic_for_controls
from tools.corrupting.mutators import MUTATORS
from tools.corrupting.trials import LARGE, WAYS, Clinic
from tools.harness.memory import memory_folder
from wal_runner.log.format import HEAD_NAME


SEED = "a"
TRIALS = 240
TRIALS_AT_REST = 20


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


@pytest.fixture(scope="module")
def large(home):
    """Give a log of 40,000 items that are done, to be damaged at rest."""
    at_rest.build(home / "40000", 40_000)
    return LargeLogs(home, home, (40_000,))


def _is_violation(trial):
    """Say whether *trial* broke a promise; an older page in a large log is left to verify, as the docs say."""
    needless = trial.verdict.word == judging.VERIFY_ONLY and not (trial.way == LARGE and trial.mutator == "stale page")
    return trial.verdict.word in judging.VIOLATIONS or needless


@pytest.mark.parametrize("first", range(0, TRIALS, 60))
def test_damaged_folder_tells_the_truth_or_a_typed_error(clinic, first):
    """Whatever was damaged: no wrong answer, no item redone, no signal, and bounded memory and time."""
    trials = [clinic.trial(SEED, number) for number in range(first, first + 60)]

    assert [] == [trial for trial in trials if _is_violation(trial)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mutator", MUTATORS)
def test_each_kind_of_damage_tells_the_truth_or_a_typed_error(clinic, mutator, way):
    """Each by name and in each way, so that none is left out by chance."""
    trial = clinic.trial(SEED, 0, (mutator,), (way,))

    assert not _is_violation(trial), trial


@pytest.mark.parametrize("way", WAYS)
def test_folder_in_the_place_of_head_is_a_damage(clinic, way):
    """The trial that puts it there must not fall over it."""
    trials = []
    while not trials or trials[-1].did != HEAD_NAME:
        trials.append(clinic.trial(SEED, len(trials), ("a folder for a file",), (way,)))

    assert [] == [trial for trial in trials if _is_violation(trial)]


def test_memory_of_a_child_leaves_out_what_it_inherited():
    """A test runner that holds more than a child may take says nothing about the child."""
    ballast = bytearray(os.urandom(1 << 20) * 300)

    end = nursery.ask(lambda: len(ballast))

    assert end.value == len(ballast)
    assert end.memory_bytes < 100 << 20


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_check_that_is_switched_off_is_missed(control_clinic, control):
    """Without any one of the library's checks the same damage gives wrong answers or kills the process."""
    caught = catch(control, control_clinic, SEED)

    assert caught is not None, f"nothing noticed that {control.name}"


def test_large_log_damaged_at_rest_repeats_nothing(large):
    """All items are asked for, in order or not: none that is done runs again, and no signal ends the process."""
    trials = [large.trial(SEED, number, 40_000) for number in range(TRIALS_AT_REST)]

    assert [] == [trial for trial in trials if trial.word in judging.VIOLATIONS]
    assert {judging.TRUE, judging.TYPED} == {trial.word for trial in trials}


@pytest.mark.parametrize(
    "control", [control for control in CONTROLS if control.way == LARGE], ids=lambda control: control.name
)
def test_check_that_is_switched_off_is_missed_in_a_large_log(large, control):
    """The trials on large logs see what the checks of pages prevent."""
    large.plant = control.plant
    try:
        caught = next(
            (
                trial
                for trial in (large.trial(SEED, number, 40_000, control.mutators) for number in range(100))
                if trial.word in judging.VIOLATIONS
            ),
            None,
        )
    finally:
        large.plant = lambda: None

    assert caught is not None


def test_trial_can_be_repeated(clinic):
    """Seed and number say what is damaged and how."""
    first, second = (clinic.trial(SEED, 7) for _ in range(2))

    assert (first.log, first.way, first.did, first.verdict) == (second.log, second.way, second.did, second.verdict)
