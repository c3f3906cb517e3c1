"""How many items are started with one commit.

Pure. Used by the dispatcher. Invariant: what is started ahead costs nothing while the process
lives, but a power cut leaves it in doubt; so a window grows only while commits cost more than a
small part of the work, and never holds more than 50 ms of it.
"""

from __future__ import annotations

from typing import Final


WINDOW_MAX: Final = 2048
"""Half of the scratch slots, because a window starts while the one before has its outcomes in theirs. On a fast disk
1,024 would do; with 1 ms a barrier twice as many items are a sixth quicker (measured)."""

WORK_AHEAD_S_MAX: Final = 0.05
"""Slow items, such as model calls, are never claimed ahead for nothing."""

WORK_A_COMMIT_MIN: Final = 16.0
"""A window grows until its work takes so many times as long as its commit: about 6 % for the log."""


ITEM_S_MIN: Final = 1e-9
"""Nothing is quicker; a clock that did not move must not divide by zero."""


class Window:
    """The number of items to start with the next commit; `size` follows what was measured."""

    def __init__(self, size_max: int = WINDOW_MAX) -> None:
        if size_max < 1:
            raise ValueError(f"A window of {size_max} starts nothing; give max_in_doubt at least 1.")
        self.size_max = min(size_max, WINDOW_MAX)
        self.size = 1

    def observe(self, *, items: int, work_s: float, commit_s: float) -> None:
        """Adapt to a window of *items* that took *work_s*, begun by a commit that took *commit_s*."""
        if items == 0:
            return
        item_s = max(work_s / items, ITEM_S_MIN)
        wanted = min(WORK_A_COMMIT_MIN * commit_s, WORK_AHEAD_S_MAX) / item_s
        # Doubling at most, because the first items of a run are often slower or quicker than the rest.
        self.size = max(1, min(int(wanted), 2 * self.size, self.size_max))


def started_ahead(*, workers: int, item_s: float, commit_s: float, ahead_max: int) -> int:
    """Give how many items to have started beyond one a worker, so that no worker waits for a commit.

    They take ``workers * commit_s / item_s`` while one commit runs. So many times as many as a window's
    work is longer than its commit, so that commits stay a small part here too. Bounded by 50 ms of work.
    """
    if item_s <= 0:
        return ahead_max
    wanted = workers * min(WORK_A_COMMIT_MIN * commit_s, WORK_AHEAD_S_MAX) / max(item_s, ITEM_S_MIN)
    return min(int(wanted), ahead_max)


class Pace:
    """How long an item occupies one of *workers*, learned from how many ended; 0 until one has."""

    def __init__(self, workers: int, now_s: float) -> None:
        self._workers = workers
        self._since = now_s
        self._ended_before = 0
        self.item_s = 0.0

    def learn(self, *, now_s: float, ended: int, running: int) -> None:
        """Take in that *ended* items have ended by *now_s*, and that *running* run."""
        count = ended - self._ended_before
        if count <= 0:
            return
        busy = min(self._workers, max(1, running + count))
        measured = (now_s - self._since) * busy / count
        self.item_s = (self.item_s + measured) / 2 if self.item_s else measured
        self._since, self._ended_before = now_s, ended

    def ahead(self, commit_s: float) -> int:
        """Give how many items to have started beyond one a worker. See `started_ahead`."""
        ahead_max = max(0, WINDOW_MAX - self._workers) if self.item_s else 0
        return started_ahead(workers=self._workers, item_s=self.item_s, commit_s=commit_s, ahead_max=ahead_max)
