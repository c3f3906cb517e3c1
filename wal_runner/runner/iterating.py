"""`run_iter`: the outcomes of a run, one after the other, once they are durable.

Imported by the runner. Invariant: nothing is yielded before it is durable, and closing the iterator ends the run.
"""

from __future__ import annotations

from collections import deque
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from wal_runner.failpoints import failpoint
from wal_runner.runner.ordering import Ordering
from wal_runner.runner.progress import Progress


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wal_runner.runner.outcome import Outcome
    from wal_runner.runner.run import Run

T = TypeVar("T")


def outcomes_of(make_run: Callable[..., Run], *, ordered: bool) -> Iterator[Outcome[T]]:
    """Run what *make_run* makes, told where to deliver outcomes and by which order, and yield each outcome."""
    waiting: deque[Outcome[T]] = deque()
    order: Ordering[T] | None = Ordering() if ordered else None
    run = make_run(deliver=waiting.append, order=order)
    # Closed here, not whenever the generator is collected: an error of its end is ours to raise.
    with Progress.of(run, enabled=run.options.progress), closing(run.steps()) as steps:
        # Once more at the end, for what a reconciler settled then.
        for _ in chain(steps, [None]):
            due = deque(order.due(waiting)) if order is not None else waiting
            while due:
                failpoint("run.before_yield")
                yield due.popleft()
        if order is not None:
            yield from order.rest()
