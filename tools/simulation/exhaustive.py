"""Short histories, all of them: every sequence of a few operations, with an accident at every point of the last.

What comes before the last operation went well; accidents there are those of a shorter sequence. Invariant:
after the accident the next processes find what is true, and finish the batch.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tools.simulation.checks import check_end, check_newcomer, check_replay, check_sound
from tools.simulation.finishing import EndedEarly, finish, work_through
from tools.simulation.model import Violation
from tools.simulation.patching import Sizes, simulated
from tools.simulation.process import Process
from tools.simulation.world import World
from wal_runner.errors import WalRunnerError
from wal_runner.log.memory_store import Fault
from wal_runner.recovery.verdicts import Verdict


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wal_runner.runner.doubts import Doubt

ITEMS: Final = ("a", "b", "c")
SIZES: Final = Sizes(tail_events=6, record_bytes=48, slots=4, sessions_remembered=2, records_a_page=2, pull=2)
IN_DOUBT_MAX: Final = 3


@dataclass
class Stage:
    """The world, and the process that most operations are about."""

    world: World
    main: Process | None = None

    def running(self) -> Process | None:
        """Give the process with a run under way, begun if need be; None where it died on the way."""
        if self.main is not None and self.main not in self.world.processes:
            self.main = None
        if self.main is None:
            self.main = Process(self.world, in_doubt_max=IN_DOUBT_MAX)
            if not self.main.do(self.main.open):
                return None
        process = self.main
        if process.run is None and not process.do(lambda: process.begin_run(ITEMS)):
            return None
        return process if process.run is not None else None


def _advance(stage: Stage) -> None:
    process = stage.running()
    if process is not None:
        process.do(lambda: process.advance(2))


def _work(stage: Stage) -> None:
    _begin(stage, lambda process, start_seq: process.succeed(start_seq, start_seq))


def _fail(stage: Stage) -> None:
    _begin(stage, lambda process, start_seq: process.fail(start_seq))


def _hang(stage: Stage) -> None:
    _begin(stage, lambda process, start_seq: process.world.happen(start_seq, "done"))


def _begin(stage: Stage, then: Callable[[Process, int], None]) -> None:
    process = stage.running()
    if process is None or not process.ready:
        return
    start_seq = process.ready[0].start_seq
    if process.do(lambda: process.begin(0)):
        process.do(lambda: then(process, start_seq))


def _flush(stage: Stage) -> None:
    process = stage.running()
    if process is not None:
        process.do(process.flush)


def _snapshot(stage: Stage) -> None:
    process = stage.running()
    if process is not None:
        process.do(process.snapshot)


def _compact(stage: Stage) -> None:
    process = Process(stage.world)
    process.do(process.compact)


def _other(stage: Stage) -> None:
    """Let another process run the batch, as far as it may, and end."""
    process = Process(stage.world, reconcile=lambda doubts: _truth(stage.world, doubts))
    if not process.do(process.open) or not process.do(lambda: process.begin_run(ITEMS)):
        return
    try:
        work_through(process)
    except EndedEarly:
        return  # it died, as it was to
    if process.run is not None and process.do(process.end_run):
        process.do(process.close)


def _close(stage: Stage) -> None:
    process = stage.running()
    if process is not None:
        process.do(process.close)


OPERATIONS: Final[dict[str, Callable[[Stage], None]]] = {
    "advance": _advance,
    "work": _work,
    "fail": _fail,
    "hang": _hang,
    "flush": _flush,
    "snapshot": _snapshot,
    "compact": _compact,
    "other": _other,
    "close": _close,
}


@dataclass(frozen=True)
class Case:
    """A sequence of operations, and what befalls the last of them.

    *moment* is where its process dies (0: after it), *power* says that the machine dies with it, *faults*
    befall its commits.
    """

    operations: tuple[str, ...]
    moment: int = 0
    power: bool = False
    faults: tuple[Fault | None, ...] = ()


def sequences(length_max: int) -> Iterator[tuple[str, ...]]:
    """Give every sequence of operations up to that length."""
    for length in range(1, length_max + 1):
        yield from itertools.product(OPERATIONS, repeat=length)


def cases(operations: tuple[str, ...]) -> Iterator[Case]:
    """Give every accident that may befall the last of *operations*."""
    moments, commits = _survey(operations)
    for moment in range(moments + 1):
        yield Case(operations, moment)
        yield Case(operations, moment, power=True)
    for commit in range(commits):
        for fault in Fault:
            yield Case(operations, faults=(*(None,) * commit, fault))


def play(case: Case) -> World:
    """Play *case* to its end. Raise `Violation` where a promise was broken."""
    world = World(ITEMS, rows_a_slice=1)
    with simulated(world, SIZES):
        try:
            _play(case, world)
        except Violation as violation:
            violation.add_note(repr(case))
            raise
        except WalRunnerError as error:
            raise Violation(f"{type(error).__name__}: {error} ({case!r})") from error
    return world


def _play(case: Case, world: World) -> None:
    stage = Stage(world)
    for name in case.operations[:-1]:
        OPERATIONS[name](stage)
    world.armed = list(case.faults)
    if case.moment:
        world.dies_at = world.moments + case.moment
    OPERATIONS[case.operations[-1]](stage)
    world.dies_at, world.armed = 0, []
    for process in list(world.processes):
        # Where it died on the way, the process beside it lives on, and ends in order.
        if case.moment and not case.power and process is stage.main:
            process.do(process.close)
        else:
            world.kill(process)
    if case.power:
        world.cut_power()
    check_newcomer(world)
    finish(world, lambda doubts: _truth(world, doubts))
    check_newcomer(world)
    check_replay(world)
    check_sound(world)
    check_end(world)


def _survey(operations: Sequence[str]) -> tuple[int, int]:
    """Count the moments and the commits of the last of *operations*."""
    world = World(ITEMS, rows_a_slice=1)
    commits = 0
    with simulated(world, SIZES):
        stage = Stage(world)
        for name in operations[:-1]:
            OPERATIONS[name](stage)
        before, moment = world.moments, world.moment

        def count(name: str) -> None:
            nonlocal commits
            commits += name == "hook.commit"
            moment(name)

        vars(world)["moment"] = count
        OPERATIONS[operations[-1]](stage)
    return world.moments - before, commits


def _truth(world: World, doubts: Sequence[Doubt]) -> dict[str, Verdict]:
    told = {}
    for doubt in doubts:
        effect = world.effects.get(doubt.start_seq)
        happened = effect is not None and effect.happened
        told[doubt.item_id] = (
            Verdict.happened(effect.result) if effect is not None and happened else Verdict.did_not_happen()
        )
    return told
