"""Rows: items and attempts as plain tuples, and the commonest as ints."""

import pytest

from wal_runner.core.events import Status
from wal_runner.core.items import ItemState, OpenAttempt, attempt_of, attempt_row, item_of, item_row, long_row


@pytest.mark.parametrize(
    "item",
    [
        ItemState(Status.SUCCEEDED, 5),
        ItemState(Status.STARTED, 5),
        ItemState(Status.SUCCEEDED, 5, 1, 0, 0, b"\xc0"),
        ItemState(Status.SUCCEEDED, 5, 2, 1, 0, None, "too large"),
        ItemState(Status.FAILED, 5, 1, 0, 6, None, None, ("a", "b", "c")),
        ItemState(Status.PENDING, 5, 3, 2),
    ],
)
def test_item_row_round_trip(item):
    """An item's row, its trailing defaults cut, is the item again."""
    row = item_row(item)

    assert item == item_of(row)
    assert all(type(field) is not Status for field in row)
    assert row == item[: len(row)]
    assert len(row) == 2 or row[-1] != ItemState(Status.PENDING, 0)[len(row) - 1]


@pytest.mark.parametrize("short", [5, -5])
def test_short_row_stands_for_its_long_one(short):
    """An int is a first attempt: started where it is negative, succeeded without a result otherwise."""
    status = Status.SUCCEEDED if short > 0 else Status.STARTED

    assert ItemState(status, 5) == item_of(long_row(short))


def test_attempt_row_round_trip():
    """An open attempt's row is the attempt again."""
    for attempt in (
        OpenAttempt("a", 1, 2),
        OpenAttempt("a", 1, 2, 3, 4, Status.IN_DOUBT, 5, "Ctrl-C"),
    ):
        assert attempt == attempt_of(attempt_row(attempt))
