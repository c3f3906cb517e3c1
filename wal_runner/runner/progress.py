"""Progress of a run: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator

    from wal_runner.runner.run import Run


class Progress:
    """Placeholder."""

    @classmethod
    @contextmanager
    def of(cls, run: Run, *, enabled: bool) -> Iterator[None]:
        yield
