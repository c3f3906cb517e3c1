"""Every failpoint crossed with SIGKILL: whatever the log has come to, it says what the world has seen.

Each test kills a child, reopens the log, checks the promises, settles what is in doubt by the ledger
of real effects, finishes the batch, and sees that every item happened exactly once.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.crash.child import DRIVERS
from tests.crash.harness import check, die, finish
from tests.crash.ledger import Ledger
from tests.crash.nursery import Child
from wal_runner import Runner, Status, replay
from wal_runner.failpoints import NAMES


pytestmark = pytest.mark.crash

WINDOWS = (1, 2, 16, 256, None)
RESULTS = ("small", "none", "large")
WORKERS = {"threads": 4, "coroutines": 8, "pages_async": 8}

IN_A_COMMIT = ("commit.before_begin", "commit.before_commit", "commit.after_commit", "commit.after_head")
AROUND_AN_EFFECT = ("run.before_effect", "run.after_effect")
AT_BIRTH = ("create.before_build", "create.after_build", "create.before_rename", "create.after_rename")
IN_RECOVERY = (
    "session.after_file",
    "session.before_commit",
    "session.after_commit",
    "recover.before_commit",
    "recover.after_commit",
)
IN_A_SNAPSHOT = ("snapshot.before_slice", "snapshot.before_last_slice")
IN_A_VERDICT = ("resolve.before_commit", "resolve.after_commit")
IN_A_COMPACTION = (
    "compact.before_fold",
    "compact.before_drop",
    "compact.after_drop",
    "compact.before_copy",
    "compact.after_copy",
    "compact.before_swap",
    "compact.after_swap",
)
AT_THE_END = ("close.before_commit", "close.after_commit")


def test_every_failpoint_is_killed_at():
    """The tables of this file leave no failpoint out, and name none that is not there."""
    tables = (
        *IN_A_COMMIT,
        *AROUND_AN_EFFECT,
        "run.before_yield",
        *AT_BIRTH,
        *IN_RECOVERY,
        *IN_A_SNAPSHOT,
        *IN_A_VERDICT,
        *IN_A_COMPACTION,
        *AT_THE_END,
    )

    assert sorted(NAMES) == sorted(tables)


# --- Death during a run -------------------------------------------------------------------


def _mixed():
    """Cross failpoints with drivers; windows and results alternate so that each meets each."""
    points = [*IN_A_COMMIT, *AROUND_AN_EFFECT]
    for i, failpoint in enumerate(points):
        for j, driver in enumerate(DRIVERS):
            yield failpoint, driver, WINDOWS[(i + j) % len(WINDOWS)], RESULTS[(i + 2 * j) % len(RESULTS)]
    yield "run.before_yield", "iter", None, "small"


@pytest.mark.parametrize(("failpoint", "driver", "window", "results"), list(_mixed()))
def test_killed_run_is_finished_once(plan, failpoint, driver, window, results):
    """Wherever a run dies, its doubts are fns that ran, and in the end every item has happened once."""
    hit = 20 if failpoint in AROUND_AN_EFFECT else 6
    doomed = plan(
        driver=driver, workers=WORKERS.get(driver, 1), window=window, results=results, failpoint=failpoint, hit=hit
    )
    die(doomed)

    assert [] == check(doomed, running_max=doomed.workers)
    assert [] == finish(doomed)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_killed_window_is_finished_once(plan, driver, window):
    """However many items were started together, only those whose fn ran are in doubt."""
    doomed = plan(
        driver=driver,
        workers=WORKERS.get(driver, 1),
        window=window,
        items=300,
        results="large",
        failpoint="run.after_effect",
        hit=200,
    )
    die(doomed)

    assert [] == check(doomed, running_max=doomed.workers)
    assert [] == finish(doomed)


@pytest.mark.parametrize("failpoint", AROUND_AN_EFFECT)
@pytest.mark.parametrize("driver", ["serial", "claim", "iter", "pages"])
def test_death_around_an_effect_leaves_that_item_in_doubt(plan, driver, failpoint):
    """Just before fn or just after it, nobody can know; and it is that one item, in a window of many."""
    doomed = plan(driver=driver, failing=0, failpoint=failpoint, hit=31)
    die(doomed)
    with Runner(doomed.log) as runner:
        doubts = [doubt.item_id for doubt in runner.in_doubt()]

    assert [doomed.ids[30]] == doubts


@pytest.mark.parametrize("failpoint", IN_A_COMMIT)
def test_death_in_a_commit_of_a_strict_run_leaves_nothing_in_doubt(plan, failpoint):
    """No fn runs while a serial run commits: what had ended keeps its outcome, what had not begun is pending."""
    doomed = plan(window=1, failing=0, failpoint=failpoint, hit=9)
    die(doomed)
    with Runner(doomed.log) as runner:
        counts = runner.counts()

    assert 0 == counts[Status.IN_DOUBT]
    assert Ledger.read(doomed.ledger).begun == counts[Status.SUCCEEDED]


# --- Death while a log is made, recovered, closed -----------------------------------------------


@pytest.mark.parametrize("failpoint", AT_BIRTH)
def test_log_is_whole_or_not_there(plan, failpoint):
    """Death while a log is made leaves none, or one that works; the next run makes its own."""
    doomed = plan(failpoint=failpoint)
    die(doomed)

    assert (failpoint == "create.after_rename") == Path(doomed.log).exists()
    assert 0 == Child(replace(doomed, failpoint="")).death()
    assert [] == finish(doomed)


@pytest.mark.parametrize("failpoint", [*IN_RECOVERY, *IN_A_COMMIT[1:]])
def test_death_in_recovery_loses_no_evidence(plan, failpoint):
    """What the slots of the dead prove is recorded together with their loss, or proved again next time."""
    doomed = plan(driver="threads", workers=4, window=16, results="large", failpoint="run.after_effect", hit=23)
    die(doomed)
    for _ in range(2):
        die(replace(doomed, act="open", failpoint=failpoint, hit=1))

    assert [] == check(doomed, running_max=4)
    assert [] == finish(doomed)


@pytest.mark.parametrize("failpoint", AT_THE_END)
def test_death_while_closing_loses_nothing(plan, failpoint):
    """All that ran is durable before the session ends, whether or not that is on record."""
    doomed = plan(failpoint=failpoint, tail=30)
    die(doomed)

    assert [] == check(doomed, running_max=0)
    assert [] == finish(doomed)


# --- Death in a snapshot, a verdict, a compaction ------------------------------------------------


@pytest.mark.parametrize("hit", [1, 2, 4])
@pytest.mark.parametrize("failpoint", [*IN_A_SNAPSHOT, *IN_A_COMMIT])
def test_death_in_a_snapshot_leaves_the_fold_as_it_was(plan, failpoint, hit):
    """Half a snapshot is none: live state, full replay and the next process agree (P4)."""
    in_commit = failpoint in IN_A_COMMIT
    doomed = plan(items=1500, window=16, tail=40, failpoint=failpoint, hit=hit + 12 if in_commit else hit)
    die(doomed)

    assert [] == check(doomed, running_max=1)
    # The next run snapshots too, over what the dead one left of its rows.
    die(replace(doomed, hit=hit + 1))
    assert [] == check(doomed, running_max=2)
    assert [] == finish(doomed)


@pytest.mark.parametrize(("failpoint", "settled"), [("resolve.before_commit", 0), ("resolve.after_commit", 1)])
def test_verdict_is_on_record_or_not_given(plan, failpoint, settled):
    """Death around a verdict leaves the doubt, or the verdict; the next one asks and finds out."""
    doomed = plan(driver="coroutines", workers=8, failpoint="run.after_effect", hit=20)
    die(doomed)
    with Runner(doomed.log) as runner:
        doubts = len(runner.in_doubt())
    die(replace(doomed, act="resolve", failpoint=failpoint, hit=1))
    with Runner(doomed.log) as runner:
        left = len(runner.in_doubt())

    assert doubts - settled == left
    assert [] == check(doomed, running_max=8)
    assert [] == finish(doomed)


@pytest.mark.parametrize("failpoint", [*IN_A_COMPACTION, *IN_A_COMMIT])
def test_death_in_a_compaction_leaves_the_log_as_it_was_or_compacted(plan, failpoint):
    """No item is forgotten, no doubt is lost, and the batch goes on."""
    doomed = plan(driver="threads", workers=4, items=300, results="large", failpoint="run.after_effect", hit=250)
    die(doomed)
    with Runner(doomed.log) as runner:
        before = list(runner.items())
    die(replace(doomed, act="compact", failpoint=failpoint, hit=3 if failpoint in IN_A_COMMIT else 1))
    with Runner(doomed.log) as runner:
        after = list(runner.items())

    assert before == after
    assert [] == check(doomed, running_max=4)
    assert 0 == Child(replace(doomed, act="compact", failpoint="")).death()
    assert replay(doomed.log).base_seq > 0
    assert [] == check(doomed, running_max=4)
    assert [] == finish(doomed)
