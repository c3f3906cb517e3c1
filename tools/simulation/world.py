"""The world of a simulation: one disk, one kernel, time, deaths, and the effects that happened out there.

Invariant: what a dying process still does on its way out (undoing, closing, releasing) leaves no trace: the
disk is put back to the moment of the death. What happened in the ledger stays, whoever dies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tools.simulation.deaths import check_count, check_suspects, is_held
from tools.simulation.model import DOUBTED, FAILED, Model, demand
from wal_runner.core.events import Status
from wal_runner.log.memory_store import Fault, MemoryStore
from wal_runner.log.results import decode_result


if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.model import Answer, Known
    from tools.simulation.process import Process
    from wal_runner.core.events import ItemAttested
    from wal_runner.log.memory_store import Marks, Moment
    from wal_runner.log.protocol import Liveness
    from wal_runner.runner.attempt import Attempt

INTERRUPTED: Final = "interrupted"
"""The fate of a start whose slot says that nobody knows: in doubt, on record before the loss."""


def is_tagged(result: object) -> bool:
    """Return whether a result of a simulation is one that only format 2 holds."""
    return isinstance(result, tuple)


class Died(BaseException):
    """The process dies here, as by SIGKILL; no code of the library may catch it and go on."""


@dataclass
class Effect:
    """One call of fn, as the outside world saw it."""

    item_id: str
    generation: int
    session: int
    happened: bool = False
    result: object = None


@dataclass
class Frozen:
    """The disk and the kernel at the moment of a death."""

    first_seqs: list[int]
    values: list[bytes]
    keys: list[bytes]
    items: dict[bytes, bytes]
    open: dict[bytes, bytes]
    meta: dict[bytes, bytes]
    sessions: dict[int, tuple[Marks, Liveness, dict[int, Any]]]


@dataclass
class World:
    """Everything outside of the processes, and the promises that it watches over."""

    items: tuple[str, ...]
    rows_a_slice: int = 2
    now_s: float = 1_000.0
    processes: list[Process] = field(default_factory=list)
    effects: dict[int, Effect] = field(default_factory=dict)
    """By start_seq: fn was called for that start."""
    fates: dict[int, dict[int, str]] = field(default_factory=dict)
    """Of each dead session that is not recorded as lost: what its starts must become, by start_seq."""
    results: dict[int, object] = field(default_factory=dict)
    lingering: dict[int, list[int]] = field(default_factory=dict)
    """Sessions whose process died and whose commands run on, with their starts."""
    armed: list[Fault | None] = field(default_factory=list)
    """What befalls the next commits, one after the other."""
    full_for: int = 0
    """So many requests for room meet a full disk."""
    dies_at: int = 0
    """The process dies at the so-manieth moment from now on; 0: it lives."""
    moments: int = 0
    frozen: Frozen | None = None
    acting: list[Process] = field(default_factory=list)
    """The processes that are in the middle of a step: one, and perhaps one that took its turn meanwhile."""
    between: Callable[[], None] | None = None
    """What others do while a process is between two of its turns at the log."""
    boot: int = 1
    lives: int = 0
    deaths: int = 0
    checks: int = 0

    def __post_init__(self) -> None:
        """Make the disk."""
        self.store = MemoryStore(clock_ns=self.tell_ns, hook=self._befall, rows_a_slice=self.rows_a_slice)
        told = (self._started, self._lost, self._advanced, self._redone, self._attested, self._omitted, self._answered)
        self.model = Model(self.store, *told)

    @property
    def older_runs(self) -> bool:
        """Return whether a process of an older version has the log open."""
        return any(process.is_older for process in self.processes)

    # --- Time and accidents ---------------------------------------------------------------

    def tell_ns(self) -> int:
        """Tell wall time."""
        return int(self.now_s * 1e9)

    def moment(self, name: str) -> None:
        """Pass a moment of the real code at which its process may die."""
        if self.frozen is not None:
            return  # what the dead do on their way out did not happen
        if name == "commit.after_commit":
            self.model.catch_up()
        self.moments += 1
        if self.dies_at and self.moments == self.dies_at:
            self.dies_at = 0
            self.frozen = self._freeze()
            raise Died

    def pass_the_gate(self) -> None:
        """Let others have their turns, before a process enters the gate."""
        if self.between is None or len(self.acting) != 1 or self.frozen is not None or self.store.is_busy:
            return
        self.model.catch_up()
        process = self.acting[0]
        known = process in self.processes
        self.between()
        if known and process not in self.processes:
            # It died with the machine, in the middle of its step; what it still does did not happen.
            self.frozen = self._freeze()
            raise Died

    def _befall(self, moment: Moment) -> Fault | None:
        self.moment(f"hook.{moment}")
        if self.frozen is not None:
            return None
        if moment == "reserve":
            if self.full_for:
                self.full_for -= 1
                return Fault.DISK_FULL
            return None
        return self.armed.pop(0) if self.armed else None

    def _freeze(self) -> Frozen:
        store = self.store
        sessions = {number: (marks, marks.liveness, dict(marks.slots)) for number, marks in store.sessions.items()}
        return Frozen(
            list(store.first_seqs),
            list(store.values),
            list(store.keys),
            dict(store.items),
            dict(store.open),
            dict(store.meta),
            sessions,
        )

    # --- Deaths ----------------------------------------------------------------------------

    def kill(self, process: Process, *, effect_running: bool = False) -> None:
        """Let *process* die: at once, or at the moment at which `Died` was raised."""
        store = self.store
        frozen, self.frozen = self.frozen, None
        if frozen is not None:
            store.first_seqs, store.values, store.keys = frozen.first_seqs, frozen.values, frozen.keys
            store.items, store.open, store.meta = frozen.items, frozen.open, frozen.meta
            store.sessions.clear()
            for number, (marks, liveness, slots) in frozen.sessions.items():
                marks.liveness = liveness
                marks.slots.clear()
                marks.slots.update(slots)
                store.sessions[number] = marks
        store.is_busy = False
        self.model.catch_up()
        self.deaths += 1
        if process in self.processes:
            self.processes.remove(process)
        self._note_deaths(process, effect_running=effect_running)

    def _orphans(self) -> list[int]:
        """Give the sessions that belong to no process and are not known to be dead.

        A process that died while a session was born did not hear its number.
        """
        owned = {number for process in self.processes for number in process.sessions}
        opened = {number for number, how in self.model.sessions.items() if how == "open"}
        alive = {number for number, marks in self.store.sessions.items() if marks.liveness.alive}
        return sorted((opened | alive) - owned - self.fates.keys())

    def cut_power(self) -> None:
        """Let the machine die: nobody lives on, and no slot is believed after the restart."""
        for process in list(self.processes):
            self.kill(process)
        self.store.cut_power()
        self.boot += 1
        self.lingering.clear()
        for fates in self.fates.values():
            fates.update(dict.fromkeys(fates, DOUBTED))
        self.watch()

    def forget(self, process: Process) -> None:
        """Let *process* end by itself; a session that it could not close is as dead as after a death."""
        if process in self.processes:
            self.processes.remove(process)
        self.model.catch_up()
        self._note_deaths(process)

    def _note_deaths(self, process: Process, *, effect_running: bool = False) -> None:
        """Note what the starts of sessions that are nobody's any more must become."""
        for number in self._orphans():
            if number in self.store.sessions:
                self.store.kill(number, effect_running=effect_running)
            if self.model.sessions.get(number) != "open":
                continue
            self.fates[number] = {seq: process.fate_of(seq) for seq in self.model.started_by(number)}
            if effect_running:
                self.lingering[number] = [seq for seq, fate in self.fates[number].items() if fate == DOUBTED]
        self.watch()

    def end_commands(self, session: int) -> None:
        """Let the commands that a dead process left behind end."""
        del self.lingering[session]
        if session in self.store.sessions:
            self.store.kill(session)

    # --- The ledger -------------------------------------------------------------------------

    def begin(self, attempt: Attempt, session: int) -> None:
        """Note that fn is called (P1: its start is on disk, and is the one that is open)."""
        self.model.catch_up()
        told = self.model.open.get(attempt.start_seq)
        demand(told == (attempt.item_id, session), f"fn is called for {attempt}, and the log says {told}")
        demand(attempt.start_seq not in self.effects, f"fn is called twice for {attempt}")
        self.effects[attempt.start_seq] = Effect(attempt.item_id, attempt.generation, session)

    def happen(self, start_seq: int, result: object = None) -> None:
        """Let the effect happen, out there (P2: once in a generation, for every verdict told the truth)."""
        effect = self.effects[start_seq]
        before = [
            seq
            for seq, other in self.effects.items()
            if other.happened and (other.item_id, other.generation) == (effect.item_id, effect.generation)
        ]
        if (effect.item_id, effect.generation) not in self.model.redone:
            demand(not before, f"{effect.item_id} happens again, at {start_seq}, after {before}")
        effect.happened, effect.result = True, result

    def has_happened(self, start_seq: int) -> bool:
        """Say whether the effect of a start happened: what a reconciler with access to the world sees."""
        effect = self.effects.get(start_seq)
        return effect is not None and effect.happened

    # --- The promises --------------------------------------------------------------------------

    def watch(self) -> None:
        """Check what holds at every moment."""
        self.model.catch_up()
        for number, fates in self.fates.items():
            # What slots prove is recorded together with the loss, or not at all.
            left = sorted(self.model.started_by(number))
            demand(left == sorted(fates), f"session {number} died with {sorted(fates)} started, and now has {left}")
        demand(
            self.model.format == 1 or not self.older_runs,
            "the log was raised to format 2, and a session of an older version runs on it",
        )
        for process in self.processes:
            started = len(self.model.started_by(process.number))
            demand(started <= process.in_doubt_max, f"{started} starts are open in session {process.number}")

    def _started(self, seq: int, session: int, item_id: str, known: Known | None) -> None:
        process = next((process for process in self.processes if session in process.sessions), None)
        if process is None or process.run is None:
            return
        rule = process.run.feed.rule_name
        demand(
            rule == self.model.key_rule, f"a run by {rule} starts {item_id}, and the log goes by {self.model.key_rule}"
        )
        check_suspects(self.model, seq, process, item_id, known)
        if known is not None and known.status == FAILED:
            is_older = known.failed_seq <= process.began_at
            demand(is_older, f"event {seq} tries {item_id} again, which failed at {known.failed_seq} in this run")

    def _answered(self, session: int, answer: Answer) -> str:
        process = next((process for process in self.processes if session in process.sessions), None)
        if process is None:
            return ""
        check_count(self, process, answer)
        return is_held(self, process, answer)

    def _redone(self, seq: int, session: int) -> None:
        process = next((process for process in self.processes if session in process.sessions), None)
        if process is not None:
            demand(process.idempotent, f"event {seq} redoes a doubt, and session {session} was not told that it may")

    def _attested(self, seq: int, event: ItemAttested) -> None:
        """Note what happened elsewhere, before this log knew the item; of doubts each second one did."""
        has_succeeded = event.status is Status.SUCCEEDED
        if has_succeeded or event.status is Status.IN_DOUBT:
            result = decode_result(event.result) if has_succeeded else "elsewhere"
            self.effects[seq] = Effect(event.item_id, event.generation, 0, has_succeeded or bool(seq % 2), result)

    def _omitted(self, seq: int, start_seq: int) -> None:
        demand(self.older_runs, f"event {seq} leaves the result of {start_seq} out, and no older version runs")

    def _lost(self, session: int) -> None:
        fates = self.fates.pop(session, None)
        demand(fates is not None, f"session {session} is recorded as lost, and lives")
        demand(session not in self.lingering, f"session {session} is recorded as lost, and its commands run")
        assert fates is not None
        doubted = {seq for seq, fate in fates.items() if fate == DOUBTED}
        started = set(self.model.started_by(session))
        demand(started == doubted, f"session {session} leaves {sorted(started)} in doubt, not {sorted(doubted)}")
        for seq, fate in fates.items():
            if fate == DOUBTED:
                continue
            known = next(known for known in self.model.items.values() if known.start_seq == seq)
            expected = DOUBTED if fate == INTERRUPTED else fate
            demand(known.status == expected, f"start {seq} was {fate} by its slot, and the log says {known.status}")

    def _advanced(self, session: int, cursor: bytes | None) -> None:
        """Check that every page before the cursor is dealt with: a crash resumes behind them."""
        passed = self.items if cursor is None else self.items[: decode_result(cursor)]
        model = self.model
        waiting = [
            item_id
            for item_id in passed
            if item_id not in model.items or model.items[item_id].start_seq in model.started_by(session)
        ]
        demand(not waiting, f"session {session} saves a cursor behind {waiting}, which it has not run")

    def statuses(self) -> dict[str, str]:
        """Give the status of each item that the log knows."""
        return {item_id: known.status for item_id, known in self.model.items.items()}


class Tripwire(dict[str, tuple["Callable[[], None]", int]]):
    """Stands in for the table of armed failpoints, and sees each one that is passed."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def __bool__(self) -> bool:
        """Be looked into, although nothing is armed."""
        return True

    def __contains__(self, name: object) -> bool:
        self._world.moment(str(name))
        return False
