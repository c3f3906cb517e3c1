"""The processes of the log machine, and the plain dicts that say what its log should hold.

An engine says how a process opens the log and how it dies. What the machine believes is written from the
design's promise, in a few dicts that know no log.
"""
# ruff: noqa: D401 - the docstring of a rule tells what happens

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import (
    ItemFailed,
    ItemSucceeded,
    Status,
)
from wal_runner.recovery import snapshots
from wal_runner.recovery.recover import bury_the_dead


if TYPE_CHECKING:
    from wal_runner.core.items import ItemState
    from wal_runner.core.state import State

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
    failures: int = 0
    deaths: int = 0
    not_before_ns: int = 0
    text: int | None = None
    """The number of the text that its error names."""
    by_verdict: bool = False
    """Its last word was a verdict."""

    @property
    def said(self) -> tuple[Any, ...]:
        """Return what its row should hold."""
        last = (self.status, self.start_seq, self.attempts, self.generation, self.result)
        return (*last, self.failures, self.deaths, self.not_before_ns, self.text)


@dataclass
class Claim:
    """A start without an outcome on disk: its slot, and what that says (an event, once fn has ended)."""

    item_id: str
    session: int
    slot: int | None
    stage: Any = ARMED


def said_of(item: ItemState) -> tuple[Any, ...]:
    """Return what the row of *item* holds, as `Item.said` states it."""
    named = None if item.error is None or isinstance(item.error.traceback, str) else item.error.traceback
    last = (item.status, item.start_seq, item.attempts, item.generation, item.result)
    return (*last, item.failures, item.deaths, item.not_before_ns, named)


class LogProcesses(RuleBasedStateMachine):
    """Processes that open the log, end or die; an engine says how, and how to compact."""

    PROCESSES: ClassVar[int] = 1
    NEWER: ClassVar[bool] = True
    """Half of the logs may hold what needs format 2, else none."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Item] = {}
        self.claims: dict[int, Claim] = {}
        self.over: list[int] = []
        self.dead: set[int] = set()
        self.cursor: bytes | None = None
        self.conflicts = 0
        self.newer = False
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

    def check_more(self, writer: Any, state: State) -> None:
        """Check what the rules of a subclass have added to *state*, that of *writer*."""

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
        if isinstance(claim.stage, ItemFailed):
            item.failures, item.not_before_ns = claim.stage.failures, claim.stage.not_before_ns
        if status is not Status.IN_DOUBT:
            self.over.append(seq)

    def settle_by_slot(self, seq: int) -> None:
        """What a slot proves was recorded: fn never began, or ended so; anything else is doubt."""
        stage = self.claims[seq].stage
        if isinstance(stage, ItemSucceeded):
            self.settle(seq, Status.SUCCEEDED, stage.result)
        elif isinstance(stage, ItemFailed):
            self.settle(seq, Status.ABANDONED if stage.final else Status.FAILED)
        else:
            self.settle(seq, Status.PENDING if stage == ARMED else Status.IN_DOUBT)

    def settle_the_dead(self) -> None:
        """Somebody recorded who died."""
        for seq in [seq for seq, claim in self.claims.items() if claim.session in self.dead]:
            self.settle_by_slot(seq)
        self.dead.clear()

    # --- Processes ------------------------------------------------------------------------

    @initialize(newer=st.booleans())
    def begin(self, newer: bool) -> None:  # noqa: FBT001 - a strategy's value
        """The first process creates the log; half of the logs never hold anything of format 2."""
        self.newer = newer and self.NEWER
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
