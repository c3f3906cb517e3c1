"""How many items start with one commit: quick items in windows, slow ones alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wal_runner.core.window import WINDOW_MAX, WORK_AHEAD_S_MAX, Pace, Window, started_ahead


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


def test_pace_is_what_an_item_occupies_a_worker_for():
    """Four workers that end eight items in a second occupy one for half a second each."""
    pace = Pace(4, now_s=10.0)
    assert 0 == pace.ahead(1e-3) == pace.item_s
    pace.learn(now_s=11.0, ended=8, running=4)
    assert 0.5 == pace.item_s

    # As quick items are, half of the news counts; where nothing ended there is none.
    pace.learn(now_s=12.0, ended=8, running=4)
    assert 0.5 == pace.item_s
    pace.learn(now_s=13.0, ended=24, running=0)
    assert 0.5 == pace.item_s


def test_pace_counts_no_more_workers_than_were_busy():
    """One that ran alone occupied one worker, however many stood by."""
    pace = Pace(32, now_s=0.0)
    pace.learn(now_s=0.01, ended=1, running=0)

    assert 0.01 == pace.item_s


def test_pace_starts_ahead_once_it_is_known():
    """As `started_ahead` says, and never so many that the window is over its most."""
    pace = Pace(4, now_s=0.0)
    pace.learn(now_s=1e-3, ended=4, running=4)
    assert started_ahead(workers=4, item_s=1e-3, commit_s=1e-3, ahead_max=WINDOW_MAX) == pace.ahead(1e-3) > 0
    pace.learn(now_s=2e-3, ended=4_000_000, running=4)
    pace.learn(now_s=3e-3, ended=9_000_000, running=4)

    assert pace.ahead(1.0) <= WINDOW_MAX - 4
