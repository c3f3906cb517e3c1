"""Runs, crashes, reopenings, verdicts, snapshots and compactions in any order, against a plain dict.

One machine, two engines: over LMDB each process follows the one before; in memory two run at once.
What the machine believes is written from the design's promise, in a few dicts that know no log.
"""
# ruff: noqa: D401, D403 - the docstring of a rule tells what happens

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.folded import live, loaded, replayed
from wal_runner import failpoints
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import (
    CursorAdvanced,
    Decision,
    ItemFailed,
    ItemInterrupted,
    ItemReleased,
    ItemStarted,
    ItemSucceeded,
    Status,
)
from wal_runner.errors import LogError
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import MemoryStore
from wal_runner.recovery import compact as compacting
from wal_runner.recovery import evidence, recover, snapshots
from wal_runner.recovery.recover import begin_session, bury_the_dead, open_writer
from wal_runner.recovery.snapshots import Snapshots
from wal_runner.recovery.verdicts import Verdict, reopen, resolve
from wal_runner.recovery.verifying import _content_problems, verify


if TYPE_CHECKING:
    from wal_runner.core.events import Event
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Turn
    from wal_runner.log.scratch import Remains

IDS = [*"abcdefgh", "long " * 100]
SLICE_ROWS = 3
ERROR = ErrorInfo("builtins.OSError", "no route")

picks = st.integers(0, 100)
whos = st.integers(0, 1)
ARMED, BEGUN = "armed", "begun"


class Died(Exception):
    """The process died here."""


@dataclass
class Item:
    """What the world should know of an item."""

    status: Status
    start_seq: int
    session: int
    attempts: int = 1
    generation: int = 0
    result: bytes | None = None


@dataclass
class Claim:
    """A start without an outcome on disk: its slot, and what that says (an event, once fn has ended)."""

    item_id: str
    session: int
    slot: int | None
    stage: Any = ARMED


class LogMachine(RuleBasedStateMachine):
    """The rules; an engine says how to open, how to die, and how to compact."""

    PROCESSES: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Item] = {}
        self.claims: dict[int, Claim] = {}
        self.over: list[int] = []
        self.dead: set[int] = set()
        self.cursor: bytes | None = None
        self.conflicts = 0
        self.writers: list[Any] = [None] * self.PROCESSES
        self.patch = mock.patch.object(snapshots, "SLICE_ROWS_MAX", SLICE_ROWS)
        self.patch.start()

    # --- For the engine --------------------------------------------------------------------

    def make_writer(self) -> Any:
        """Open the log as a new process."""
        raise NotImplementedError

    def kill(self, writer: Any) -> None:
        """Let the process of *writer* die."""
        raise NotImplementedError

    def may_compact(self) -> bool:
        """Say whether now is a time to compact the log."""
        raise NotImplementedError

    def compact_log(self) -> None:
        """Compact the log."""
        raise NotImplementedError

    def problems(self) -> list[Any]:
        """Verify the log."""
        raise NotImplementedError

    # --- Helpers --------------------------------------------------------------------------

    def writer_of(self, who: int) -> Any:
        """Give a process that runs: the one asked for, or any."""
        alive = [writer for writer in self.writers if writer is not None]
        chosen = self.writers[who % self.PROCESSES]
        return chosen if chosen is not None else alive[0]

    def some_runs(self) -> bool:
        """Say whether a process runs."""
        return any(writer is not None for writer in self.writers)

    def claims_of(self, writer: Any, *stages: str) -> list[tuple[int, Claim]]:
        """Give the claims of a process, those of *stages* if any are given."""
        mine = [(seq, claim) for seq, claim in sorted(self.claims.items()) if claim.session == writer.session.number]
        return [pair for pair in mine if not stages or pair[1].stage in stages]

    def settle(self, seq: int, status: Status, result: bytes | None = None) -> None:
        """An outcome is on disk."""
        claim = self.claims.pop(seq)
        item = self.items[claim.item_id]
        item.status, item.result = status, result
        if status is not Status.IN_DOUBT:
            self.over.append(seq)

    def settle_by_slot(self, seq: int) -> None:
        """What a slot proves was recorded: fn never began, or ended so; anything else is doubt."""
        stage = self.claims[seq].stage
        if isinstance(stage, ItemSucceeded):
            self.settle(seq, Status.SUCCEEDED, stage.result)
        elif isinstance(stage, ItemFailed):
            self.settle(seq, Status.FAILED)
        else:
            self.settle(seq, Status.PENDING if stage == ARMED else Status.IN_DOUBT)

    def settle_the_dead(self) -> None:
        """Somebody recorded who died."""
        for seq in [seq for seq, claim in self.claims.items() if claim.session in self.dead]:
            self.settle_by_slot(seq)
        self.dead.clear()

    # --- Processes ------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """The first process creates the log."""
        self.writers[0] = self.make_writer()

    @precondition(lambda self: None in self.writers)
    @rule()
    def open(self) -> None:
        """A process opens the log, and records who died."""
        self.writers[self.writers.index(None)] = self.make_writer()
        self.settle_the_dead()

    @precondition(some_runs)
    @rule(who=whos, rarely=st.integers(0, 2))
    def crash(self, who: int, rarely: int) -> None:
        """A process dies wherever it is."""
        if rarely:
            return
        writer = self.writer_of(who)
        self.kill(writer)
        self.dead.add(writer.session.number)
        self.writers[self.writers.index(writer)] = None

    @precondition(some_runs)
    @rule(who=whos, rarely=st.integers(0, 3))
    def close(self, who: int, rarely: int) -> None:
        """A process ends in order, though it may leave items started."""
        if rarely:
            return
        writer = self.writer_of(who)
        writer.close()
        for seq, _ in self.claims_of(writer):
            self.settle_by_slot(seq)
        self.writers[self.writers.index(writer)] = None

    @precondition(lambda self: self.some_runs() and self.dead)
    @rule(who=whos)
    def bury(self, who: int) -> None:
        """A process that runs records who died beside it."""
        found = bury_the_dead(self.writer_of(who))

        assert self.dead == set(found)
        self.settle_the_dead()

    # --- Items ----------------------------------------------------------------------------

    @precondition(some_runs)
    @rule(who=whos, pick=picks, count=st.integers(1, 4), called=st.integers(0, 4), ended=st.integers(0, 4))
    def start(self, who: int, pick: int, count: int, called: int, ended: int) -> None:
        """A window of items starts, slots first, then one commit; of some fn is called, of some it ends."""
        writer = self.writer_of(who)
        free = [i for i in IDS if i not in self.items or self.items[i].status in {Status.PENDING, Status.FAILED}]
        chosen = [*dict.fromkeys(free[(pick + n) % len(free)] for n in range(count))] if free else []
        slots = writer.session.scratch.take(len(chosen))
        first = 0

        def decide(turn: Any) -> list[ItemStarted]:
            nonlocal first
            first = turn.end + 1
            writer.session.scratch.arm_all(slots, first)
            return [self.started(item_id) for item_id in chosen]

        writer.turn(decide)
        for seq, (item_id, slot) in enumerate(zip(chosen, slots, strict=True), first):
            self.note_start(item_id, seq, writer.session.number, slot)
        for seq, _ in self.claims_of(writer, ARMED)[:called]:
            self.call_fn(writer, seq)
        for seq in self.running(writer)[: min(called, ended)]:
            self.end_fn(writer, seq, "result")

    def started(self, item_id: str) -> ItemStarted:
        """Give the event of an item's next start."""
        item = self.items.get(item_id)
        return ItemStarted(item_id, item.attempts + 1, item.generation, item.status) if item else ItemStarted(item_id)

    def note_start(self, item_id: str, seq: int, session: int, slot: int | None) -> None:
        """A start is on disk."""
        before = self.items.get(item_id)
        attempts, generation = (before.attempts + 1, before.generation) if before else (1, 0)
        self.items[item_id] = Item(Status.STARTED, seq, session, attempts, generation)
        self.claims[seq] = Claim(item_id, session, slot, ARMED if slot is not None else BEGUN)

    @precondition(lambda self: self.has(ARMED))
    @rule(pick=picks)
    def call(self, pick: int) -> None:
        """A worker calls fn."""
        writer = self.one_with(pick, ARMED)
        waiting = self.claims_of(writer, ARMED)
        self.call_fn(writer, waiting[pick % len(waiting)][0])

    @precondition(lambda self: self.has(BEGUN))
    @rule(pick=picks, how=st.sampled_from(["plain", "result", "large", "failed"]))
    def ends(self, pick: int, how: str) -> None:
        """fn ends: its slot knows, and the disk not yet."""
        writer = self.one_with(pick, BEGUN)
        running = self.running(writer)
        if running:
            self.end_fn(writer, running[pick % len(running)], how)

    def has(self, stage: str) -> bool:
        """Say whether a process that runs has a claim at *stage*."""
        return any(writer is not None and self.claims_of(writer, stage) for writer in self.writers)

    def one_with(self, pick: int, stage: str) -> Any:
        """Give a process that has a claim at *stage*."""
        found = [writer for writer in self.writers if writer is not None and self.claims_of(writer, stage)]
        return found[pick % len(found)]

    def running(self, writer: Any) -> list[int]:
        """Give the starts of a process whose fn runs, and whose slot is to be told."""
        return [seq for seq, claim in self.claims_of(writer, BEGUN) if claim.slot is not None]

    def call_fn(self, writer: Any, seq: int) -> None:
        """Mark that fn is about to be called."""
        claim = self.claims[seq]
        writer.session.scratch.begin(claim.slot, seq)
        claim.stage = BEGUN

    def end_fn(self, writer: Any, seq: int, how: str) -> None:
        """Keep the outcome in the slot."""
        claim = self.claims[seq]
        result = {"result": b"\x07", "large": b"\xc4\xff" + b"x" * 255}.get(how)
        claim.stage = ItemFailed(seq, 5, ERROR) if how == "failed" else ItemSucceeded(seq, 5, result)
        writer.session.scratch.finish(claim.slot, seq, claim.stage)

    @precondition(some_runs)
    @rule(who=whos, snapshot=st.booleans())
    def commit(self, who: int, snapshot: bool) -> None:  # noqa: FBT001 - a strategy's value
        """What has ended becomes durable."""
        writer = self.writer_of(who)
        ended = [(seq, claim) for seq, claim in self.claims_of(writer) if claim.stage not in {ARMED, BEGUN}]
        writer.turn(lambda _turn: [claim.stage for _, claim in ended], snapshot=snapshot)
        writer.session.scratch.free([claim.slot for _, claim in ended])
        for seq, _ in ended:
            self.settle_by_slot(seq)

    @precondition(lambda self: self.has(ARMED))
    @rule(pick=picks)
    def release(self, pick: int) -> None:
        """A run stops before it called fn."""
        writer = self.one_with(pick, ARMED)
        waiting = self.claims_of(writer, ARMED)
        seq, claim = waiting[pick % len(waiting)]
        writer.append([ItemReleased(seq)])
        writer.session.scratch.free([claim.slot])
        self.settle(seq, Status.PENDING)

    @precondition(lambda self: self.has(BEGUN))
    @rule(pick=picks)
    def interrupt(self, pick: int) -> None:
        """fn cannot be waited for."""
        writer = self.one_with(pick, BEGUN)
        begun = self.claims_of(writer, BEGUN)
        seq, _ = begun[pick % len(begun)]
        writer.append([ItemInterrupted(seq, 5, "Ctrl-C")])
        self.settle(seq, Status.IN_DOUBT)

    @precondition(some_runs)
    @rule(who=whos, pick=picks)
    def return_after_all(self, who: int, pick: int) -> None:
        """An interrupted fn returns while its session lives: the best evidence there is."""
        writer = self.writer_of(who)
        number = writer.session.number
        mine = [i for i in self.items.values() if i.status is Status.IN_DOUBT and i.session == number]
        if mine:
            item = mine[pick % len(mine)]
            writer.append([ItemSucceeded(item.start_seq, 5, b"\x08")])
            item.status, item.result = Status.SUCCEEDED, b"\x08"
            self.over.append(item.start_seq)

    @precondition(lambda self: self.some_runs() and self.over)
    @rule(who=whos, pick=picks)
    def stale_news(self, who: int, pick: int) -> None:
        """An attempt that is over is heard of again: a conflict, which changes nothing."""
        self.writer_of(who).append([ItemSucceeded(self.over[pick % len(self.over)], 5)])
        self.conflicts += 1

    # --- People -----------------------------------------------------------------------------

    @precondition(lambda self: self.some_runs() and any(i.status is Status.IN_DOUBT for i in self.items.values()))
    @rule(who=whos, pick=picks, decision=st.sampled_from(Decision))
    def verdict(self, who: int, pick: int, decision: Decision) -> None:
        """Somebody settles a doubt."""
        doubted = [i for i, item in self.items.items() if item.status is Status.IN_DOUBT]
        if doubted:
            item_id = doubted[pick % len(doubted)]
            item = self.items[item_id]
            result = "seen" if decision is Decision.HAPPENED else None

            assert 1 == resolve(self.writer_of(who), {item_id: Verdict(decision, result)}, by="ann")
            item.status = {
                Decision.HAPPENED: Status.SUCCEEDED,
                Decision.DID_NOT_HAPPEN: Status.PENDING,
                Decision.ABANDON: Status.ABANDONED,
            }[decision]
            item.result = b"\xa4seen" if result else None
            self.over.append(item.start_seq)

    @precondition(some_runs)
    @rule(who=whos, pick=picks)
    def retry(self, who: int, pick: int) -> None:
        """Somebody asks for an item again."""
        ended = {Status.SUCCEEDED, Status.FAILED, Status.ABANDONED}
        over = [i for i, item in self.items.items() if item.status in ended]
        if over:
            item_id = over[pick % len(over)]
            reopen(self.writer_of(who), [item_id], by="ann", succeeded=True)
            item = self.items[item_id]
            item.status, item.result, item.generation = Status.PENDING, None, item.generation + 1

    # --- The log ------------------------------------------------------------------------------

    @precondition(some_runs)
    @rule(who=whos, whole=st.booleans())
    def snapshot(self, who: int, whole: bool) -> None:  # noqa: FBT001 - a strategy's value
        """A snapshot, or a slice of one."""
        writer = self.writer_of(who)
        if whole:
            writer.take_snapshot()
        else:
            writer.turn(lambda _turn: (), force_snapshot=True)

    @precondition(some_runs)
    @rule(who=whos)
    def look(self, who: int) -> None:
        """A turn that only looks."""
        self.writer_of(who).catch_up()

    @precondition(some_runs)
    @rule(who=whos, cursor=st.sampled_from([None, b"1", b"2"]))
    def page(self, who: int, cursor: bytes | None) -> None:
        """A page is over."""
        self.writer_of(who).append([CursorAdvanced("pages", cursor)])
        self.cursor = cursor

    @precondition(some_runs)
    @rule(who=whos, pick=picks, written=st.booleans())
    def break_off(self, who: int, pick: int, written: bool) -> None:  # noqa: FBT001 - a strategy's value
        """A commit of a start breaks off, before or behind the point of no return."""
        writer = self.writer_of(who)
        free = [i for i in IDS if i not in self.items or self.items[i].status in {Status.PENDING, Status.FAILED}]
        if not free:
            return
        item_id = free[pick % len(free)]
        seq = 0

        def decide(turn: Any) -> list[ItemStarted]:
            nonlocal seq
            seq = turn.end + 1
            return [self.started(item_id)]

        def die() -> None:
            raise Died

        failpoints.arm("commit.after_commit" if written else "commit.before_commit", die)
        try:
            writer.turn(decide, force_snapshot=bool(pick % 2))
        except Died:
            pass
        else:
            raise AssertionError("a turn that writes reaches its commit")
        if written:
            self.note_start(item_id, seq, writer.session.number, None)

    @precondition(lambda self: self.may_compact())
    @rule()
    def compact(self) -> None:
        """What can be folded is folded and dropped."""
        self.compact_log()

    # --- What must be true at any time ------------------------------------------------------------

    @invariant()
    def log_says_what_happened(self) -> None:
        """Statuses, attempts, generations, results, counts, cursor, conflicts: as the dicts have them."""
        for writer in self.writers:
            if writer is None:
                continue
            state = live(writer)
            known = {i: state.item(i) for i, _ in state.touched()}
            assert {
                i: (item.status, item.start_seq, item.attempts, item.generation, item.result)
                for i, item in self.items.items()
            } == {i: (k.status, k.start_seq, k.attempts, k.generation, k.result) for i, k in known.items()}
            counts = {s: sum(item.status is s for item in self.items.values()) for s in Status}
            assert counts == state.counts
            assert self.cursor == state.cursors.get("pages")
            assert self.conflicts == state.conflicts
            open_now = {i.start_seq for i in self.items.values() if i.status in {Status.STARTED, Status.IN_DOUBT}}
            assert open_now == set(state.open)
            # P4: all roads lead to one state.
            assert state == loaded(writer.log) == replayed(writer.log)

    def teardown(self) -> None:
        """Whatever was done, the log is sound; and once more after everybody died."""
        try:
            if self.some_runs():
                assert [] == self.problems()
            for writer in self.writers:
                if writer is not None:
                    self.kill(writer)
            assert [] == self.problems()
        finally:
            failpoints.disarm()
            self.patch.stop()


class LmdbMachine(LogMachine):
    """One process after another, on a real disk."""

    def __init__(self) -> None:
        super().__init__()
        # Not a test of the disk: in memory a commit takes a tenth of a millisecond, whatever the neighbours do.
        shared_memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
        self.folder = Path(tempfile.mkdtemp(prefix="walrun-", dir=shared_memory if shared_memory.is_dir() else None))
        self.path = self.folder / "emails.wal"

    def make_writer(self) -> Any:
        """Open the log, or create it."""
        writer, _ = open_writer(self.path)
        return writer

    def kill(self, writer: Any) -> None:
        """Release its locks, and write nothing more."""
        writer.abandon()

    def may_compact(self) -> bool:
        """Say whether nobody of this process has the log open."""
        return not self.some_runs()

    def compact_log(self) -> None:
        """Compact the log on disk; the compaction records who died."""
        assert compacting.compact(self.path).rewritten
        self.settle_the_dead()

    def problems(self) -> list[Any]:
        """Verify the folder."""
        return list(verify(self.path))

    def teardown(self) -> None:
        """Remove the log at last."""
        try:
            super().teardown()
        finally:
            shutil.rmtree(self.folder)


class MemoryMachine(LogMachine):
    """Two processes at once, on one store."""

    PROCESSES = 2

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(rows_a_slice=SLICE_ROWS)

    def make_writer(self) -> Any:
        """Open a handle on the store."""
        return begin_session(MemoryLog(self.store))

    def kill(self, writer: Any) -> None:
        """The kernel releases its lock."""
        writer.abandon()

    def may_compact(self) -> bool:
        """Say whether somebody runs, beside whom to compact."""
        return self.some_runs()

    def compact_log(self) -> None:
        """Compact beside whoever runs."""
        writer = self.writer_of(0)
        compacting._drop(writer, compacting._fold(writer))

    def problems(self) -> list[Any]:
        """Verify what is in the store."""
        return list(_content_problems(MemoryLog(self.store)))


def bounded(share: float) -> settings:
    """Give the profile's settings with a *share* of its examples."""
    return settings(
        max_examples=max(1, int(settings.default.max_examples * share)),
        stateful_step_count=30,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


# A commit on a disk takes as long as a hundred in memory.
TestLmdbMachine = LmdbMachine.TestCase
TestLmdbMachine.settings = bounded(0.5)
TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = bounded(2.0)


# --- The machine is seen to catch something -----------------------------------------------------


def landed_counting_twice(self: Snapshots, *told: Any) -> None:
    """Count the last slice again with each turn that carries none: its rows are never written."""
    riding = self._riding
    whole_landed(self, *told)
    if self.under_way:
        self._riding = riding


def follow_too_far(_self: Snapshots, state: State) -> None:
    """Let go of all that was touched, and not only of what another's snapshot holds."""
    state.drop_frozen()
    state.items.clear()


def begin_without_freezing(self: Snapshots, turn: Turn, state: State) -> None:
    """Say that the snapshot stands for the seq at which its first slice, and not its last, is written."""
    whole_begin(self, turn, state)
    if self._frozen is not None:
        self._frozen.seq += 1


def everything_is_released(start_seq: int, said: Remains | None) -> Event | None:
    """Take a slot that says "begun" for one that says "armed": the item would run twice."""
    return whole_proven(start_seq, said) or (None if said is None else ItemReleased(start_seq))


def nothing_is_proven(_start_seq: int, _said: Remains | None) -> Event | None:
    """Lose the outcomes that the slots hold."""
    return None


whole_landed, whole_begin, whole_proven = Snapshots.landed, Snapshots._begin, evidence.proven
PLANTED = {
    "a slice is skipped": (Snapshots, "landed", landed_counting_twice),
    "another's snapshot is followed too far": (Snapshots, "_follow_another", follow_too_far),
    "a snapshot stands for the wrong seq": (Snapshots, "_begin", begin_without_freezing),
    "begun items are released": (recover, "proven", everything_is_released),
    "outcomes in slots are lost": (recover, "proven", nothing_is_proven),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_machine_catches(bug: str) -> None:
    """A planted bug is found, each time, in a few hundred histories."""
    where, name, planted = PLANTED[bug]
    search = settings(
        bounded(1.0),
        max_examples=500,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    with mock.patch.object(where, name, planted), pytest.raises((AssertionError, LogError)):
        run_state_machine_as_test(MemoryMachine, settings=search)
