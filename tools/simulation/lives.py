"""Lives by chance: a batch, processes that run it, and what befalls them, all drawn from one seed.

Invariant: whatever happened, at the end every item of the batch has happened, once, and the log says so.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from tools.simulation import people
from tools.simulation.checks import check_end, check_newcomer, check_replay, check_rows, check_sound
from tools.simulation.finishing import finish
from tools.simulation.model import DOUBTED, FAILED, Violation
from tools.simulation.patching import Sizes, simulated
from tools.simulation.process import Process
from tools.simulation.sources import by_name
from tools.simulation.world import World
from wal_runner.core.events import Status
from wal_runner.errors import WalRunnerError
from wal_runner.log.format import META_SNAPSHOT
from wal_runner.log.memory_store import Fault
from wal_runner.recovery.verdicts import Verdict


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wal_runner.runner.doubts import Doubt

STEPS: Final = 40
NEWER_SHARE: Final = 0.35
DEADLY_SHARE: Final = 0.15

_RESULTS: Final[tuple[object, ...]] = (None, None, 7, {"sent": True}, ["a", 1.5], "a longer text " * 20)

Step = tuple[int, "Callable[[], object]"]


@dataclass(frozen=True)
class Ended:
    """What came of one history: how many lives, deaths, events and effects, and a digest of the log's bytes."""

    seed: str
    lives: int
    deaths: int
    events: int
    effects: int
    checks: int
    digest: str


class History:
    """One batch from its first process to its last."""

    def __init__(self, seed: str, *, steps: int = STEPS) -> None:
        self.seed = seed
        chance = self.chance = random.Random(seed)  # noqa: S311 - it must be repeatable
        self.sizes = Sizes(
            tail_events=chance.choice((4, 8, 16, 40, 1_000)),
            record_bytes=chance.choice((40, 64, 200, 2_016)),
            slots=chance.choice((4, 6, 16)),
            sessions_remembered=chance.choice((2, 4, 64)),
            records_a_page=chance.choice((1, 3, 100)),
            pull=chance.choice((2, 4, 100)),
        )
        items = tuple(f"item-{number}" for number in range(chance.randint(1, 8)))
        self.paged = chance.random() < 0.2  # noqa: PLR2004 - a fifth
        self.processes_max = chance.choice((1, 1, 2, 3))
        self.abandoned: set[str] = set()
        self.looked_at: dict[int, tuple[str, Verdict]] = {}
        """Doubts that somebody looked at, and what they found; the answers come later."""
        self._snapshot: bytes | None = None
        self.world = World(items, rows_a_slice=chance.choice((1, 2, 5)))
        # Another stream of chance, so that the histories without format 2 are what they were.
        self.newer = random.Random(f"{seed}/format 2").random() < NEWER_SHARE  # noqa: S311 - it must be repeatable
        """People and imports say what only format 2 holds, and now and then an older version is about."""
        # A third one, for the same reason.
        self.deadly = random.Random(f"{seed}/deaths")  # noqa: S311 - it must be repeatable
        self.is_deadly = self.deadly.random() < DEADLY_SHARE
        """Processes die while fn runs, again and again, and redo what was in doubt."""
        self.steps = 3 * steps if self.is_deadly else steps
        self.restlessness = chance.choice((0.0, 0.0, 0.02, 0.1))
        """How often others do something between two turns of a step."""
        if chance.random() < 0.2:  # noqa: PLR2004 - a crowd, and snapshots that take long
            self.processes_max, self.world.store.rows_a_slice = 3, 1
            self.sizes = replace(self.sizes, tail_events=4)

    def run(self) -> Ended:
        """Let it happen, and give what came of it. Raise `Violation` where a promise was broken."""
        world = self.world
        with simulated(world, self.sizes):
            try:
                world.between = self._between
                for _ in range(self.steps):
                    self._step()
                world.between = None
                self._finish()
            except Violation as violation:
                violation.add_note(f"seed {self.seed}")
                raise
            except WalRunnerError as error:
                # From a check: nobody damages this log, so it can be read.
                raise Violation(f"{type(error).__name__}: {error} (seed {self.seed})") from error
        store = world.store
        digest = blake2b(repr((store.values, store.items, store.open, store.meta)).encode(), digest_size=8)
        effects = sum(effect.happened for effect in world.effects.values())
        return Ended(
            self.seed, world.lives, world.deaths, world.model.events, effects, world.checks, digest.hexdigest()
        )

    # --- What may happen next ---------------------------------------------------------------

    def _step(self) -> None:
        """Choose one of the things that may happen, and let it happen."""
        world, chance = self.world, self.chance
        world.now_s += chance.choice((0.0, 0.001, 0.001, 1.0, -30.0, 86_400.0))
        steps = [*self._steps_of_the_world()]
        for process in world.processes:
            steps += self._steps_of(process)
        (step,) = chance.choices(steps, [weight for weight, _ in steps])
        if chance.random() < 0.06:  # noqa: PLR2004 - a death for each life or so
            world.dies_at = world.moments + chance.randint(1, 12)
        if chance.random() < 0.05:  # noqa: PLR2004
            world.armed = [chance.choice(list(Fault)) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
            if chance.random() < 0.2:  # noqa: PLR2004 - it lasts, so that the end of the run fails too
                world.armed = [chance.choice((Fault.DISK_FULL, Fault.NOT_WRITTEN))] * chance.choice((8, 10, 14))
            if chance.random() < 0.3:  # noqa: PLR2004 - before it has found out what became of that commit
                world.dies_at = world.moments + chance.randint(3, 8)
        alive = len(world.processes)
        step[1]()
        if len(world.processes) < alive and chance.random() < 0.15:  # noqa: PLR2004
            world.cut_power()
        self._check(step)

    def _between(self) -> None:
        """Let others take a step, in the middle of one."""
        if self.chance.random() >= self.restlessness:
            return
        acting = set(map(id, self.world.acting))
        steps = self._steps_of_the_world()
        for process in self.world.processes:
            if id(process) not in acting:
                steps += self._steps_of(process)
        (step,) = self.chance.choices(steps, [weight for weight, _ in steps])
        step[1]()

    def _check(self, _step: Step) -> None:
        world, chance = self.world, self.chance
        for process in world.processes:
            if process.writer.state.seq == world.model.seq and not process.writer.closed:
                check_rows(world, process.writer.state, f"session {process.number}")
        snapshot = world.store.meta.get(META_SNAPSHOT)
        if snapshot is not self._snapshot or chance.random() < 0.1:  # noqa: PLR2004
            self._snapshot = snapshot
            check_newcomer(world)
        if chance.random() < 0.03:  # noqa: PLR2004
            check_replay(world)
            check_sound(world)

    def _steps_of_the_world(self) -> list[Step]:
        world = self.world
        steps: list[Step] = [(1, world.cut_power), (2, self._fill_the_disk)]
        running = sum(not process.is_older for process in world.processes)
        if running < self.processes_max:
            steps.append((12 if not running else 6, self._open))
        if self.newer and not world.older_runs:
            steps.append((1, self._open_older))
        steps += [(6, partial(self._end_commands, number)) for number in world.lingering]
        steps += [(2, self._compact), (1, self._look)]
        return steps

    def _steps_of(self, process: Process) -> list[Step]:
        do, chance = process.do, self.chance
        if process.is_older:
            return [(1, lambda: do(process.close)), (1, lambda: self._kill(process))]
        steps: list[Step] = [
            (1, lambda: do(process.snapshot)),
            (1, lambda: do(process.begin_snapshot)),
            (2, lambda: do(process.write_a_slice)),
            (1, lambda: do(process.bury)),
            (1, lambda: do(process.close)),
            (40 if self.is_deadly and process.running else 1, lambda: self._kill(process)),
            (2, lambda: self._resolve(process)),
            (1, lambda: do(lambda: process.retry(chance.choice(self.world.items)))),
        ]
        steps += [(8, lambda seq=seq: self._end_left(process, seq)) for seq in process.left]  # type: ignore[misc]
        if process.late:
            steps.append((8, lambda: do(process.begin_late)))
        if self.looked_at:
            steps.append((8, lambda: self._answer(process)))
        if self.newer:
            steps += self._steps_of_people(process)
        if process.run is None:
            return [*steps, (20, lambda: do(lambda: process.begin_run(self._batch())))]
        steps += [(10, lambda: do(lambda: process.advance(chance.randint(1, 4)))), (4, lambda: do(process.flush))]
        if process.ready:
            steps += [(14, lambda: self._begin(process)), (1, lambda: do(process.release))]
        if process.running:
            steps += [(16, lambda: self._end_one(process)), (4, lambda: self._happen(process))]
        if process.is_through:
            steps += [(4, lambda: do(process.another_round)), (4, lambda: self._end_run(process))]
        elif not process.running:
            steps.append((1, lambda: self._end_run(process)))
        return steps

    def _steps_of_people(self, process: Process) -> list[Step]:
        """Return what people may say, all of which needs format 2."""
        world, do, chance = self.world, process.do, self.chance
        steps: list[Step] = [
            (1, lambda: do(lambda: people.pause(process, paused=chance.random() < 0.5))),  # noqa: PLR2004
            (1, lambda: do(lambda: people.see_text(process, chance.randint(1, 3)))),
            (1, lambda: do(lambda: people.reach(process))),
        ]
        if held := people.may_be_held(process):
            steps.append((6, lambda: do(lambda: people.hold(process, chance.choice(held)))))
        if failed := [item_id for item_id, status in world.statuses().items() if status == FAILED]:
            steps.append((2, lambda: do(lambda: people.give_up(process, chance.choice(failed)))))
        if unknown := sorted(set(world.items) - world.model.items.keys()):
            status = chance.choice((Status.SUCCEEDED, Status.FAILED, Status.IN_DOUBT))
            steps.append((1, lambda: do(lambda: people.attest(process, chance.choice(unknown), status))))
        return steps

    # --- Steps ------------------------------------------------------------------------------------

    def _open(self) -> None:
        chance = self.chance
        process = Process(
            self.world,
            in_doubt_max=chance.choice((1, 2, 3, 16)),
            idempotent=chance.random() < (0.8 if self.is_deadly else 0.08),
            max_deaths=self.deadly.choice((None, 1, 2, 2, 3, 3)),
            paged=self.paged,
            reconcile=self._verdicts if chance.random() < 0.4 else None,  # noqa: PLR2004
            outcomes_wanted=chance.random() < 0.5,  # noqa: PLR2004
            key=by_name if chance.random() < 0.08 else None,  # noqa: PLR2004
            counts=self.newer and chance.random() < 0.3,  # noqa: PLR2004
            goes_on=chance.random() < 0.7,  # noqa: PLR2004
        )
        if process.do(process.open) and chance.random() < 0.7:  # noqa: PLR2004
            process.do(lambda: process.begin_run(self._batch()))

    def _open_older(self) -> None:
        """Let a process of an older version open the log; it runs nothing, and reads format 1 only."""
        process = Process(self.world, is_older=True)
        process.do(process.open)

    def _end_run(self, process: Process) -> None:
        if self.newer:
            process.do(lambda: people.end_run(process))
        else:
            process.do(process.end_run)

    def _result(self) -> object:
        return self.chance.choice((*_RESULTS, people.TAGGED) if self.newer else _RESULTS)

    def _batch(self) -> Sequence[str]:
        """Give the whole batch mostly, in some order, an item twice now and then."""
        items, chance = self.world.items, self.chance
        if self.paged:
            return items
        batch = [*items, *chance.choices(items, k=chance.choice((0, 0, 1, 2)))]
        if chance.random() < 0.3:  # noqa: PLR2004
            chance.shuffle(batch)
        return batch

    def _begin(self, process: Process) -> None:
        process.do(lambda: process.begin(self.chance.randrange(len(process.ready))))

    def _end_left(self, process: Process, start_seq: int) -> None:
        process.do(lambda: process.end_left(start_seq, self.chance.choice(_RESULTS)))

    def _answer(self, process: Process) -> None:
        items = self.world.model.items
        older = [
            seq
            for seq, (item_id, _) in self.looked_at.items()
            if items[item_id].status == DOUBTED and items[item_id].start_seq != seq
        ]
        start_seq = self.chance.choice(older or list(self.looked_at))
        item_id, verdict = self.looked_at[start_seq]
        process.do(lambda: process.answer(start_seq, item_id, verdict))

    def _happen(self, process: Process) -> None:
        start_seq = self.chance.choice(list(process.running))
        if not self.world.has_happened(start_seq):
            self.world.happen(start_seq, self._result())

    def _end_one(self, process: Process) -> None:
        chance = self.chance
        start_seq = chance.choice(list(process.running))
        way = chance.random()
        if way < 0.1:  # noqa: PLR2004
            process.do(lambda: process.interrupt(start_seq))
        elif way < 0.25 and not self.world.has_happened(start_seq):  # noqa: PLR2004
            failures = chance.randint(1, 3) if process.is_counting else 0
            final = failures > 2  # noqa: PLR2004 - the last of three
            process.do(lambda: process.fail(start_seq, failures=failures, final=final))
        else:
            process.do(lambda: process.succeed(start_seq, self._result()))

    def _kill(self, process: Process) -> None:
        self.world.kill(process, effect_running=bool(process.running) and self.chance.random() < 0.3)  # noqa: PLR2004

    def _end_commands(self, session: int) -> None:
        """Let the commands of a dead process do what they do, and end."""
        for start_seq in self.world.lingering[session]:
            effect = self.world.effects.get(start_seq)
            if effect is not None and not effect.happened and self.chance.random() < 0.5:  # noqa: PLR2004
                self.world.happen(start_seq, self._result())
        self.world.end_commands(session)

    def _compact(self) -> None:
        process = Process(self.world)
        process.do(process.compact)

    def _look(self) -> None:
        process = Process(self.world)
        process.do(process.look)

    def _fill_the_disk(self) -> None:
        self.world.full_for = self.chance.randint(1, 6)

    def _resolve(self, process: Process) -> None:
        def resolve() -> None:
            process.writer.catch_up()
            self.world.model.catch_up()
            model = self.world.model
            doubted = [seq for seq, (item_id, _) in model.open.items() if model.items[item_id].status == DOUBTED]
            doubted = [seq for seq in doubted if not self._may_still_happen(seq)]
            # Somebody else looks at the same doubts, and answers later.
            self.looked_at.update({seq: (model.open[seq][0], self.truth(seq)) for seq in doubted})
            chosen = self.chance.sample(doubted, min(len(doubted), self.chance.randint(1, 3)))
            told = {seq: self._verdict(seq, model.open[seq][0]) for seq in chosen}
            if told:
                process.resolve(told)

        process.do(resolve)

    # --- Telling the truth --------------------------------------------------------------------------

    def _verdicts(self, doubts: Sequence[Doubt]) -> dict[str, Verdict]:
        """Say what is known of doubts, as one who can look: something of most of them."""
        return {
            doubt.item_id: self._verdict(doubt.start_seq, doubt.item_id)
            for doubt in doubts
            if not self._may_still_happen(doubt.start_seq)
            if self.chance.random() < 0.7  # noqa: PLR2004
        }

    def _may_still_happen(self, start_seq: int) -> bool:
        """Say whether an fn that its run left behind is still at it: nobody can tell the truth yet."""
        return any(start_seq in process.left for process in self.world.processes)

    def _verdict(self, start_seq: int, item_id: str) -> Verdict:
        if self.chance.random() < 0.1:  # noqa: PLR2004
            self.abandoned.add(item_id)
            return Verdict.abandon()
        return self.truth(start_seq)

    def truth(self, start_seq: int) -> Verdict:
        """Say whether the effect of a start happened."""
        effect = self.world.effects.get(start_seq)
        if effect is not None and effect.happened:
            return Verdict.happened(effect.result)
        return Verdict.did_not_happen()

    # --- The end --------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """End what is under way, then run until all is done, with nothing in the way; check everything."""
        world = self.world
        world.dies_at, world.armed, world.full_for = 0, [], 0
        for session in list(world.lingering):
            self._end_commands(session)
        for process in list(world.processes):
            if self.chance.random() < 0.5:  # noqa: PLR2004
                world.kill(process)
            else:
                process.do(process.close)
        finish(world, lambda doubts: {doubt.item_id: self.truth(doubt.start_seq) for doubt in doubts}, paged=self.paged)
        self._look()
        check_newcomer(world)
        check_replay(world)
        check_sound(world)
        check_end(world, sorted(self.abandoned))
