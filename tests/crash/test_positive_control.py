"""The checker is not blind: each planted bug breaks a promise, and is seen to."""

from dataclasses import replace

import pytest

from tests.crash.child import BUGS
from tests.crash.harness import check, die
from tests.crash.places import WHERE_A_REPLACED_FOLDER_SHOWS


pytestmark = pytest.mark.crash

# After how many deaths, each at which failpoint, and what is said of it.
WHERE_IT_SHOWS = {
    "doubts redone": (2, "run.before_effect", "redone by policy"),
    "begin unmarked": (1, "run.after_effect", "has happened"),
    "outcome unmarked": (1, "run.before_effect", "are in doubt"),
    "success too early": (1, "run.before_effect", "has not begun"),
    "result lost": (1, "run.before_effect", "with a result"),
    "effect before start": (1, "commit.before_commit", "no start of it"),
    "release unrecorded": (1, "close.before_commit", "was run again after it had happened"),
}

BREAKS = {"release unrecorded": (("disk full", 6),)}
"""Runs before the last one whose end cannot be written, where a bug shows in these."""


def test_every_bug_has_a_place_where_it_shows():
    """The two tables name every planted bug."""
    assert sorted(BUGS) == sorted([*WHERE_IT_SHOWS, *WHERE_A_REPLACED_FOLDER_SHOWS])


@pytest.mark.parametrize("bug", WHERE_IT_SHOWS)
def test_planted_bug_is_caught(plan, bug):
    """With the bug the checker complains of it; without it the same death is none of its concern."""
    deaths, failpoint, complaint = WHERE_IT_SHOWS[bug]
    hit = {"run": 50, "commit": 5, "close": 1}[failpoint.partition(".")[0]]
    doomed = plan(items=200, window=16, failpoint=failpoint, hit=hit, breaks=BREAKS.get(bug, ()))
    sick = replace(doomed, log=f"{doomed.log}.sick", ledger=f"{doomed.ledger}.sick", bug=bug)
    for _ in range(deaths):
        die(doomed)
        die(sick)

    assert [] == check(doomed, running_max=deaths)
    assert complaint in " ".join(check(sick, running_max=deaths))
