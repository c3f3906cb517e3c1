"""Runs, deaths, backups, and other folders in the place of the log, in any order that is drawn."""

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.crash.child import Plan
from tests.crash.harness import check, finish, settle
from tests.crash.nursery import Child
from tests.crash.places import Places
from wal_runner.log.filesystems import has_lasting_inodes


pytestmark = pytest.mark.crash

DEATHS = [
    "run.before_effect",
    "run.after_effect",
    "commit.before_commit",
    "commit.after_commit",
    "snapshot.before_slice",
    "session.before_commit",
    "recover.after_commit",
    "close.before_commit",
]

LIVES = st.tuples(st.sampled_from(["", *DEATHS]), st.integers(1, 20), st.sampled_from([20, 40, 60]))
"""Where the process dies, at which hit, and how many items it runs."""

CHANGES = st.sampled_from(["", "move", "copy", "clone", "restore", "go_back"])

STEPS = st.lists(st.tuples(LIVES, st.booleans(), CHANGES), min_size=1, max_size=5)
"""A life, whether the folder is backed up after it, and what is put in its place then."""


def play(steps, seed, bug=""):
    """Let the steps happen to one log, and judge it after each of them and at the end."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(f"{folder}/batch.wal", f"{folder}/ledger", window=8, tail=30, bug=bug)
        places = Places(plan, random.Random(seed))  # noqa: S311 - no secret
        for (failpoint, hit, items), backs_up, change in steps:
            Child(replace(plan, failpoint=failpoint, hit=hit, items=items)).death()
            doubts = None
            is_possible = change not in {"restore", "go_back"} or places.backup is not None
            if change == "go_back" and is_possible:
                is_possible = places.is_ahead_of_backup
            if change and is_possible:
                doubts = getattr(places, change)().doubts
            assert [] == places.problems
            if backs_up:
                places.back_up()
            assert [] == check(plan, running_max=1 if doubts is None else doubts)
            settle(plan)
        assert [] == finish(plan)


def skip_where_copies_are_not_known(folder):
    """Skip on overlay and the like."""
    if not has_lasting_inodes(Path(folder)):
        pytest.skip("inode numbers do not last here")


@settings(max_examples=10)
@given(STEPS, st.integers(0, 9))
def test_no_order_of_folders_breaks_a_promise(steps, seed):
    """A copy asks once, a clone is refused, a rename never asks, and no effect comes twice that a log knew of."""
    skip_where_copies_are_not_known(tempfile.gettempdir())
    play(steps, seed)


@pytest.mark.parametrize("bug", ["place not compared", "place not kept"])
def test_drawn_orders_find_a_planted_bug(bug):
    """The control: some order shows it soon."""
    skip_where_copies_are_not_known(tempfile.gettempdir())

    @settings(max_examples=50, phases=[Phase.generate], database=None, derandomize=True)
    @given(STEPS, st.integers(0, 9))
    def orders(steps, seed):
        play(steps, seed, bug)

    with pytest.raises(AssertionError, match="LogCopied"):
        orders()
