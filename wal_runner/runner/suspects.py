"""Items whose process died with them repeatedly: they run last and alone.

Imported by the feed. Invariant: a suspect leaves by `next` alone, one at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable

    from wal_runner.runner.chunks import Candidate


class Suspects:
    """Candidates in the order in which the source gave them, behind all others."""

    def __init__(self) -> None:
        self._candidates: list[Candidate] = []

    def __bool__(self) -> bool:
        return bool(self._candidates)

    def copy(self) -> list[Candidate]:
        """Return the suspects that wait."""
        return self._candidates.copy()

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Put *candidates* behind all other items of the source."""
        self._candidates += candidates

    def next(self) -> list[Candidate]:
        """Return the next suspect, or none."""
        return [self._candidates.pop(0)] if self._candidates else []
