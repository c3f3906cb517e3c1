"""What a run does with an item that it meets: every case there is."""

import pytest

from wal_runner.core.decide import Course, course
from wal_runner.core.events import Status
from wal_runner.core.items import ItemState


BEGAN_AT = 100

# status -> (not mine, mine), not idempotent and idempotent. FAILED is older than the run here.
EXPECTED = {
    None: {"theirs": Course.START, "mine": Course.START},
    Status.PENDING: {"theirs": Course.START, "mine": Course.START},
    Status.STARTED: {"theirs": Course.ELSEWHERE, "mine": Course.DUPLICATE},
    Status.SUCCEEDED: {"theirs": Course.SKIP, "mine": Course.DUPLICATE},
    Status.FAILED: {"theirs": Course.START, "mine": Course.DUPLICATE},
    Status.IN_DOUBT: {"theirs": Course.HOLD, "mine": Course.DUPLICATE},
    Status.ABANDONED: {"theirs": Course.ABANDONED, "mine": Course.DUPLICATE},
}
IDEMPOTENT = {**EXPECTED, Status.IN_DOUBT: {"theirs": Course.REDO, "mine": Course.DUPLICATE}}


def item_in(status, failed_seq=0):
    return None if status is None else ItemState(status, 50, failed_seq=failed_seq)


@pytest.mark.parametrize("status", EXPECTED, ids=str)
@pytest.mark.parametrize("whose", ["theirs", "mine"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_course_of_every_case(status, whose, idempotent):
    """Each status, whoever started it last, idempotent or not, has one course."""
    table = IDEMPOTENT if idempotent else EXPECTED
    item = item_in(status, BEGAN_AT if status is Status.FAILED else 0)

    assert table[status][whose] is course(item, began_at=BEGAN_AT, is_mine=whose == "mine", idempotent=idempotent)


def test_cases_are_all_there():
    """No status was forgotten."""
    assert {None, *Status} == set(EXPECTED)


@pytest.mark.parametrize(
    ("failed_seq", "expected"),
    [(1, Course.START), (BEGAN_AT, Course.START), (BEGAN_AT + 1, Course.FAILED), (10**9, Course.FAILED)],
)
@pytest.mark.parametrize("idempotent", [False, True])
def test_failure_of_this_run_is_not_tried_again(failed_seq, expected, idempotent):
    """Four processes over one list do not each repeat the same failing item: only older failures are retried."""
    item = item_in(Status.FAILED, failed_seq)

    assert expected is course(item, began_at=BEGAN_AT, is_mine=False, idempotent=idempotent)


def test_start_only_where_nothing_was_done_and_nobody_runs_it():
    """P2: no combination starts an item that is done, abandoned, in doubt or running."""
    started = {
        status
        for status in EXPECTED
        for is_mine in (False, True)
        for idempotent in (False, True)
        for failed_seq in (1, 10**9)
        if course(item_in(status, failed_seq), began_at=BEGAN_AT, is_mine=is_mine, idempotent=idempotent)
        is Course.START
    }

    assert {None, Status.PENDING, Status.FAILED} == started


def test_every_course_is_taken_somewhere():
    """There is no course that nothing leads to."""
    taken = {c for table in (EXPECTED, IDEMPOTENT) for row in table.values() for c in row.values()}

    assert set(Course) == taken | {Course.FAILED}
