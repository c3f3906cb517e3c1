"""How many items start with one commit: quick items in windows, slow ones alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wal_runner.core.window import WINDOW_MAX, WORK_AHEAD_S_MAX, Window, started_ahead


seconds = st.floats(0, 3600, allow_nan=False)
observations = st.lists(st.tuples(st.integers(0, 2_000), seconds, seconds), max_size=20)


@given(st.integers(1, 5_000), observations)
def test_window_is_at_least_one_and_never_above_its_most(size_max, observed):
    """Whatever is measured, something is started, and not more than was allowed or than is ever of use."""
    window = Window(size_max)
    for items, work_s, commit_s in observed:
        window.observe(items=items, work_s=work_s, commit_s=commit_s)

        assert 1 <= window.size <= min(size_max, WINDOW_MAX)


@given(st.integers(1, 5_000), observations)
def test_window_holds_no_more_than_50_ms_of_work(size_max, observed):
    """Slow items are never claimed ahead: more than one together would take at most 50 ms."""
    window = Window(size_max)
    for items, work_s, commit_s in observed:
        window.observe(items=items, work_s=work_s, commit_s=commit_s)

        # Without an item nothing was measured, and the size is as it was.
        assert items == 0 or window.size == 1 or window.size * (work_s / items) <= WORK_AHEAD_S_MAX * (1 + 1e-9)


@given(observations)
def test_strict_mode_starts_one_at_a_time(observed):
    """With ``max_in_doubt=1`` the window stays at one, however quick the items are."""
    window = Window(1)
    for items, work_s, commit_s in observed:
        window.observe(items=items, work_s=work_s, commit_s=commit_s)

    assert 1 == window.size


@given(st.integers(1, 2_000), seconds, seconds)
def test_window_grows_by_doubling_at_most(items, work_s, commit_s):
    """The first items of a run tell little, so one observation cannot open the window wide."""
    window = Window()
    before = window.size
    for _ in range(12):
        window.observe(items=items, work_s=work_s, commit_s=commit_s)
        assert window.size <= 2 * before
        before = window.size


def test_quick_items_reach_the_full_window():
    """Items of a microsecond with commits of a millisecond: 2,048 at a time, in a dozen commits."""
    window = Window()
    for _ in range(12):
        window.observe(items=window.size, work_s=window.size * 1e-6, commit_s=1e-3)

    assert WINDOW_MAX == window.size


def test_slow_items_bring_the_window_back_to_one():
    """When items become slow, one observation is enough."""
    window = Window()
    window.size = WINDOW_MAX
    window.observe(items=1024, work_s=1024.0, commit_s=1e-3)

    assert 1 == window.size


def test_nothing_observed_changes_nothing():
    """A commit of outcomes alone says nothing about items."""
    window = Window()
    window.size = 8
    window.observe(items=0, work_s=0.0, commit_s=1.0)

    assert 8 == window.size


@pytest.mark.parametrize("size_max", [0, -1])
def test_window_of_nothing_is_refused(size_max):
    """A bound that starts nothing is a mistake of the caller."""
    with pytest.raises(ValueError, match="max_in_doubt"):
        Window(size_max)


@given(st.integers(1, 64), seconds, seconds, st.integers(0, 2_000))
def test_started_ahead_is_bounded(workers, item_s, commit_s, ahead_max):
    """Items ahead of the workers are at most what was allowed, and at most 50 ms of work for them."""
    ahead = started_ahead(workers=workers, item_s=item_s, commit_s=commit_s, ahead_max=ahead_max)

    assert 0 <= ahead <= ahead_max
    # Half an item more, for the number is rounded.
    assert item_s == 0 or (ahead - 0.5) * item_s <= workers * WORK_AHEAD_S_MAX * (1 + 1e-9)


def test_nothing_is_started_ahead_of_slow_items():
    """Model calls: a second each, a commit of a millisecond, 32 workers; none waits for a commit long."""
    assert 0 == started_ahead(workers=32, item_s=1.0, commit_s=1e-3, ahead_max=1_024)
