"""Other folders in the place of a log whose process died: what must be refused is, and no effect comes twice."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash.harness import check, die, finish, settle
from tests.crash.ledger import Ledger
from tests.crash.places import WHERE_A_REPLACED_FOLDER_SHOWS, Places
from wal_runner.log.filesystems import has_lasting_inodes


pytestmark = pytest.mark.crash

WAYS = ["move", "copy", "clone", "restore", "go_back"]


def places_of(plan, seed):
    """Return the folders of a log, whose choices are drawn from *seed*."""
    return Places(plan, random.Random(seed))  # noqa: S311 - no secret


@pytest.fixture
def dead(plan, tmp_path):
    """Return the plan of a log whose process died in the middle of its window, and dies there in each run."""
    if not has_lasting_inodes(tmp_path):
        pytest.skip("inode numbers do not last here")
    doomed = plan(items=200, window=16, failpoint="run.after_effect", hit=50)
    die(doomed)
    return doomed


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_replaced_folder_keeps_every_promise(dead, way, seed):
    """After a backup the process ran and died once more; the judge opens what stands there then."""
    places = places_of(dead, seed)
    places.back_up()
    die(dead)
    changed = getattr(places, way)()

    assert [] == places.problems
    assert [] == check(dead, running_max=2 if changed.doubts is None else changed.doubts)
    settle(dead)
    assert [] == finish(dead)


def test_copy_has_more_doubts_than_the_original(dead):
    """What only the slots know is in doubt in a copy: the window, and not what was running."""
    changed = places_of(dead, 1).copy()

    assert 16 == changed.doubts


def test_only_effects_after_the_backup_come_again(dead):
    """The judge forgets what the ledger saw since the backup, and nothing else."""
    places = places_of(dead, 1)
    places.back_up()
    before = Ledger.read(dead.ledger).ends()
    die(dead)
    since = sum(Ledger.read(dead.ledger).ends().values()) - sum(before.values())
    changed = places.restore()

    assert since == changed.forgotten > 40
    assert before == Ledger.read(dead.ledger).ends()


def test_effect_before_the_backup_must_not_come_again(dead):
    """Only effects since the backup may come again: what the backup holds is judged as before."""
    places = places_of(dead, 1)
    places.back_up()
    die(dead)
    places.restore()
    item = next(iter(Ledger.read(dead.ledger).ends()))
    with Path(dead.ledger).open("a", encoding="utf-8") as ledger:
        ledger.write(f"begin {item} 9999\nend {item} 9999 small\n")

    assert f"{item} was run again after it had happened" in " ".join(check(dead, running_max=200))


@pytest.mark.parametrize("bug", WHERE_A_REPLACED_FOLDER_SHOWS)
def test_planted_bug_is_caught(dead, bug):
    """With the bug each way in which it can show is complained of; without it the same folders are fine."""
    way = "clone" if bug == "links not counted" else "copy"
    for each, complaint in ((dead, ""), (replace(dead, bug=bug), WHERE_A_REPLACED_FOLDER_SHOWS[bug])):
        places = places_of(each, 1)
        getattr(places, way)()

        assert bool(complaint) == bool(places.problems)
        assert complaint in " ".join(places.problems)
