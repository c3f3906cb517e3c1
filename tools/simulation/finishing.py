"""The end of a simulated batch: processes that nothing befalls run it until nothing is left to run.

Imported by the histories by chance and the exhaustive ones. Invariant: a process that ends early is a violation.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tools.simulation.checks import check_rows
from tools.simulation.model import Violation
from tools.simulation.process import Process
from tools.simulation.sources import key_of


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.simulation.world import World
    from wal_runner.recovery.verdicts import Verdict
    from wal_runner.runner.doubts import Doubt

FINISHING_RUNS_MAX: Final = 8


class EndedEarly(Violation):
    """A process ended although nothing was in its way."""


def finish(world: World, reconcile: Callable[[Sequence[Doubt]], dict[str, Verdict]], *, paged: bool = False) -> None:
    """Run the batch in new processes until there is nothing left to run."""
    for _ in range(FINISHING_RUNS_MAX):
        key = key_of(world.model.key_rule)
        process = Process(world, paged=paged, reconcile=reconcile, outcomes_wanted=True, key=key)
        _must(process, process.open)
        _must(process, partial(process.begin_run, world.items))
        before, resumed = len(world.effects), "pages" in world.model.cursors
        work_through(process)
        while process.do(process.another_round) and not process.is_through:
            work_through(process)
        _must(process, process.end_run)
        check_rows(world, process.writer.state, "the last process")
        process.do(process.close)
        if len(world.effects) == before and not world.model.open and not resumed:
            return


def work_through(process: Process) -> None:
    """Run all that the feed gives; every item succeeds."""
    while not process.is_through:
        _must(process, lambda: process.advance(3))
        while process.ready:
            _must(process, lambda: process.begin(0))
        for start_seq in list(process.running):
            _must(process, partial(process.succeed, start_seq, {"last": True}))


def _must(process: Process, step: Callable[[], Any]) -> None:
    if not process.do(step):
        raise EndedEarly("a process ended where nothing was in its way")
