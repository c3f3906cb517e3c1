"""What sessions, verdicts, snapshots and compactions may do to a log of format 1, in any order."""
# ruff: noqa: D401, D403 - the docstring of a rule tells what happens

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from tests.support.folded import live, loaded, replayed
from tests.support.log_machine_processes import (
    ARMED,
    BEGUN,
    ERROR,
    IDS,
    Claim,
    Died,
    Item,
    LogProcesses,
    picks,
    said_of,
    whos,
)
from wal_runner import failpoints
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
from wal_runner.recovery.verdicts import Verdict, reopen, resolve


class LogMachine(LogProcesses):
    """The rules of format 1."""

    # --- Items ----------------------------------------------------------------------------

    @precondition(LogProcesses.some_runs)
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
        """A start is on disk, without counts."""
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
        result = {"result": b"\x07", "large": b"\xc4\xff" + b"x" * 255}.get(how)
        self.keep(writer, seq, ItemFailed(seq, 5, ERROR) if how == "failed" else ItemSucceeded(seq, 5, result))

    def keep(self, writer: Any, seq: int, outcome: ItemSucceeded | ItemFailed) -> None:
        """Keep *outcome* in the slot of the start *seq*."""
        claim = self.claims[seq]
        claim.stage = outcome
        writer.session.scratch.finish(claim.slot, seq, outcome)

    @precondition(LogProcesses.some_runs)
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

    @precondition(LogProcesses.some_runs)
    @rule(who=whos, pick=picks)
    def return_after_all(self, who: int, pick: int) -> None:
        """An interrupted fn returns while its session lives: the best evidence there is."""
        writer = self.writer_of(who)
        number = writer.session.number
        mine = [i for i in self.items.values() if i.status is Status.IN_DOUBT and i.session == number]
        if mine:
            item = mine[pick % len(mine)]
            writer.append([ItemSucceeded(item.start_seq, 5, b"\x08")])
            item.status, item.result, item.text = Status.SUCCEEDED, b"\x08", None
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
            item.deaths, item.text, item.by_verdict = 0, None, True
            self.over.append(item.start_seq)

    @precondition(LogProcesses.some_runs)
    @rule(who=whos, pick=picks)
    def retry(self, who: int, pick: int) -> None:
        """Somebody asks for an item again."""
        ended = {Status.SUCCEEDED, Status.FAILED, Status.ABANDONED}
        over = [i for i, item in self.items.items() if item.status in ended]
        if over:
            item_id = over[pick % len(over)]
            reopen(self.writer_of(who), [item_id], by="ann", succeeded=True)
            item = self.items[item_id]
            self.items[item_id] = Item(Status.PENDING, item.start_seq, 0, item.attempts, item.generation + 1)

    # --- The log ------------------------------------------------------------------------------

    @precondition(LogProcesses.some_runs)
    @rule(who=whos, whole=st.booleans())
    def snapshot(self, who: int, whole: bool) -> None:  # noqa: FBT001 - a strategy's value
        """A snapshot, or a slice of one."""
        writer = self.writer_of(who)
        if whole:
            writer.take_snapshot()
        else:
            writer.turn(lambda _turn: (), force_snapshot=True)

    @precondition(LogProcesses.some_runs)
    @rule(who=whos)
    def look(self, who: int) -> None:
        """A turn that only looks."""
        self.writer_of(who).catch_up()

    @precondition(LogProcesses.some_runs)
    @rule(who=whos, cursor=st.sampled_from([None, b"1", b"2"]))
    def page(self, who: int, cursor: bytes | None) -> None:
        """A page is over."""
        self.writer_of(who).append([CursorAdvanced("pages", cursor)])
        self.cursor = cursor

    @precondition(LogProcesses.some_runs)
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
            assert {i: item.said for i, item in self.items.items()} == {i: said_of(k) for i, k in known.items()}
            counts = {s: sum(item.status is s for item in self.items.values()) for s in Status}
            assert counts == state.counts
            assert self.cursor == state.cursors.get("pages")
            assert self.conflicts == state.conflicts
            open_now = {i.start_seq for i in self.items.values() if i.status in {Status.STARTED, Status.IN_DOUBT}}
            assert open_now == set(state.open)
            self.check_more(writer, state)
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
