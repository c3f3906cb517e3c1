"""Where outcomes that are too large for a slot stand in the session's overflow file.

Used by `wal_runner.log.scratch`, under a lock. Invariant: no two slots share a byte, and the file is
bounded by what the slots hold at one time, not by what passes through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Iterable

STRETCH_BYTES: Final = 4 * 1024 * 1024
"""A gap is looked for once in so many bytes, not once an outcome: there may be 4,096 of those."""


class OverflowSpace:
    """Hands out places in a file of any size, and takes them back by slot."""

    def __init__(self) -> None:
        self.used: dict[int, tuple[int, int]] = {}
        """Place and size, by slot."""
        self._at = 0
        self._end = 0

    def take(self, slot: int, size: int) -> int:
        """Return a place for *size* bytes of *slot*."""
        if self._at + size > self._end:
            # Not behind the last one: with two workers some outcome always waits for its commit, so the file
            # would never begin again, and grow by each large result of the run.
            wanted = max(size, STRETCH_BYTES)
            self._at = _first_gap(self.used.values(), wanted)
            self._end = self._at + wanted
        at = self._at
        self._at += size
        self.used[slot] = (at, size)
        return at

    def free(self, slots: Iterable[int]) -> None:
        """Take back the places of *slots*; those that have none are left out."""
        for slot in slots:
            self.used.pop(slot, None)
        if not self.used:
            self._at = self._end = 0


def _first_gap(used: Iterable[tuple[int, int]], size: int) -> int:
    at = 0
    for start, taken in sorted(used):
        if start - at >= size:
            break
        at = start + taken
    return at
