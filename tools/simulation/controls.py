"""Positive controls: bugs that such a library could have, each of which the simulator must catch.

Invariant: a bug is planted for the length of a block, and by replacing a name of the real code.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tools.simulation.lives import History
from tools.simulation.model import Violation
from tools.simulation.patching import Patch, patched
from wal_runner.core import state
from wal_runner.core.decide import Course, course
from wal_runner.core.events import ItemInterrupted, ItemReleased, Status
from wal_runner.core.formats import needs_format_2, result_of
from wal_runner.core.items import started_rows, succeeded_row
from wal_runner.core.state import State
from wal_runner.core.state_decisions import StateOfDecisions
from wal_runner.core.transitions import Happening
from wal_runner.log import memory_turn
from wal_runner.log.format import META_BASE_STATE
from wal_runner.log.memory_turn import MemoryTurn
from wal_runner.log.stored_state import encode_base_state, encode_snapshot
from wal_runner.recovery import own_starts, recover, unrecorded, verdicts, writer
from wal_runner.recovery.deaths import DeathLimit
from wal_runner.recovery.evidence import own_started, proven
from wal_runner.recovery.formats import unended_sessions
from wal_runner.recovery.snapshots import Snapshots
from wal_runner.runner import dispatcher, feed, plan
from wal_runner.runner.dispatcher import Dispatcher
from wal_runner.runner.limbo import Limbo
from wal_runner.runner.pages import Pages
from wal_runner.runner.plan import Plan


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HISTORIES_MAX: Final = 3_000
"""So many histories a bug may survive until it is caught."""

_COUNTS_AT: Final = 5
"""Where the fields of format 2 begin in the array of an `ItemStarted`."""

_FAILURES_AT: Final = 8
"""Where they begin in the row of an open attempt."""

_ride, _begin_snapshot, _put_snapshot = Snapshots.ride, Snapshots._begin, MemoryTurn.put_snapshot  # noqa: SLF001
_finish, _drop, _lose = Dispatcher.finish, MemoryTurn.drop, State._lose_session  # noqa: SLF001
_record_evidence = recover.record_evidence


def _evidence(stand_in: Callable[[int, Any], object]) -> list[Patch]:
    return [(recover, "proven", stand_in), (own_starts, "proven", stand_in)]


def _doubts_are_run_again() -> list[Patch]:
    def careless(item: Any, **options: Any) -> Course:  # noqa: ANN401 - those of `course`
        decided = course(item, **options)
        return Course.START if decided is Course.HOLD else decided

    return [(feed, "course", careless)]


def _doubts_are_redone_unasked() -> list[Patch]:
    return [(feed, "course", lambda item, **options: course(item, **options | {"idempotent": True}))]


def _failures_are_tried_again_at_once() -> list[Patch]:
    return [(feed, "course", lambda item, **options: course(item, **options | {"began_at": 1 << 40, "is_mine": False}))]


def _begun_counts_as_armed() -> list[Patch]:
    return _evidence(lambda seq, said: proven(seq, said) or (ItemReleased(seq) if said is not None else None))


def _silence_counts_as_armed() -> list[Patch]:
    return _evidence(lambda seq, said: proven(seq, said) if said is not None else ItemReleased(seq))


def _slots_are_not_read() -> list[Patch]:
    return _evidence(lambda _seq, _said: None)


def _slot_freed_before_the_commit() -> list[Patch]:
    def finish(self: Dispatcher, attempt: Any, event: Any) -> None:  # noqa: ANN401 - as `Dispatcher.finish`
        _finish(self, attempt, event)
        self.scratch.free([attempt.slot])

    return [(Dispatcher, "finish", finish)]


def _snapshot_of_the_end() -> list[Patch]:
    def ride(self: Snapshots, turn: Any, state: State, *, force: bool = False) -> None:  # noqa: ANN401 - a turn
        if self._frozen is not None:
            self._frozen = state.without_items()
        _ride(self, turn, state, force=force)

    return [(Snapshots, "ride", ride)]


def _snapshot_without_open_attempts() -> list[Patch]:
    def put(self: MemoryTurn, state: State) -> int:
        digest = _put_snapshot(self, state)
        self._open = dict(list((self._open or {}).items())[1:])
        return digest

    return [(MemoryTurn, "put_snapshot", put)]


def _two_write_a_snapshot() -> list[Patch]:
    def begin(self: Snapshots, turn: Any, state: State) -> None:  # noqa: ANN401 - a turn
        turn.set_snapshotter(0)
        _begin_snapshot(self, turn, state)

    def ride(self: Snapshots, turn: Any, state: State, *, force: bool = False) -> None:  # noqa: ANN401 - a turn
        if self._frozen is not None:
            turn.set_snapshotter(self._session)
        _ride(self, turn, state, force=force)

    return [(Snapshots, "_begin", begin), (Snapshots, "ride", ride)]


def _unheard_commit_taken_for_lost() -> list[Patch]:
    return [(Plan, "_unconfirmed_slot", lambda *_: None)]


def _slots_of_an_unheard_commit_dropped() -> list[Patch]:
    def keep(self: Limbo, attempts: Any) -> set[int]:  # noqa: ANN401 - some attempts
        del self, attempts
        return set()

    return [(Limbo, "keep", keep)]


def _evidence_without_the_loss() -> list[Patch]:
    return [(recover, "losses", lambda *_: [])]


def _loss_without_the_evidence() -> list[Patch]:
    return [(recover, "record_evidence", lambda *_: None)]


def _a_living_session_is_buried() -> list[Patch]:
    return [(recover, "dead_sessions", lambda _turn, state: recover.open_sessions(state))]


def _bound_of_doubt_ignored() -> list[Patch]:
    return [(Dispatcher, "room", lambda self: self.scratch.free_slots())]


def _counted_before_it_is_durable() -> list[Patch]:
    def finish(self: Dispatcher, attempt: Any, event: Any) -> None:  # noqa: ANN401 - as `Dispatcher.finish`
        _finish(self, attempt, event)
        if not isinstance(event, ItemInterrupted):
            self.settling.settled([(attempt, event)])

    return [(Dispatcher, "finish", finish)]


def _compaction_drops_too_much() -> list[Patch]:
    return [(MemoryTurn, "drop", lambda self, until, *, records_max: _drop(self, until + 2, records_max=records_max))]


def _the_lost_leave_no_doubt() -> list[Patch]:
    def lose(self: State, seq: int, event: Any, time_ns: int) -> None:  # noqa: ANN401 - a SessionLost
        starts = {start_seq: row for start_seq, row in self.open.items() if self.attempt(start_seq) is not None}
        counts = dict(self.counts)
        _lose(self, seq, event, time_ns)
        self.open, self.counts = starts, counts

    return [(State, "_lose_session", lose)]


def _cursor_saved_too_early() -> list[Patch]:
    due = Pages.due

    def early(self: Pages, settling: Any) -> Any:  # noqa: ANN401 - as `Pages.due`
        for page in self._under_way:
            page.unsettled = min(page.unsettled, 0)
        return due(self, settling)

    return [(Pages, "due", early)]


def _failed_items_are_skipped() -> list[Patch]:
    def careless(item: Any, **options: Any) -> Course:  # noqa: ANN401 - those of `course`
        decided = course(item, **options)
        return Course.SKIP if item is not None and item.status is Status.FAILED else decided

    return [(feed, "course", careless)]


def _base_state_goes_back() -> list[Patch]:
    def put(self: MemoryTurn, state: State) -> None:
        self._put_meta(META_BASE_STATE, encode_base_state(META_BASE_STATE, state))

    return [(MemoryTurn, "put_base_state", put)]


def _unrecorded_starts_are_released() -> list[Patch]:
    def careless(state: State, session: int, *_: Any) -> tuple[dict[int, ItemReleased], set[int]]:  # noqa: ANN401
        return {seq: ItemReleased(seq) for seq in own_started(state, session)}, set()

    return [(unrecorded, "settlements", careless)]


def _unrecorded_starts_are_adopted() -> list[Patch]:
    def begin_run(writer: Any, starts: Any) -> None:  # noqa: ANN401 - as `begin_run`
        writer.catch_up()
        writer.own_starts.run = starts

    def slot(self: Plan, known: Any) -> int | None:  # noqa: ANN401 - an ItemState
        desk = self._desk
        attempt = desk.writer.state.attempt(known.start_seq) if known.status is Status.STARTED else None
        if attempt is None or attempt.session != desk.writer.session.number or known.start_seq in desk.in_flight:
            return None
        scratch = desk.writer.session.scratch
        return scratch.take(1)[0] if scratch.free_slots() else None

    return [(dispatcher, "begin_run", begin_run), (Plan, "_unconfirmed_slot", slot)]


def _workers_of_an_ended_run_begin() -> list[Patch]:
    def begin(self: Dispatcher, attempt: Any) -> bool:  # noqa: ANN401 - an Attempt
        self.scratch.begin(attempt.slot, attempt.start_seq)
        return True

    return [(Dispatcher, "begin", begin)]


def _answers_settle_any_attempt() -> list[Patch]:
    check = verdicts._check_verdict  # noqa: SLF001 - what is broken here
    return [(verdicts, "_check_verdict", lambda item_id, item, _start: check(item_id, item, item.start_seq))]


def _key_rule_looked_at_once() -> list[Patch]:
    return [(plan, "check_key_rule", lambda *_: None)]


def _held_items_are_not_open() -> list[Patch]:
    def hold(self: StateOfDecisions, seq: int, session: int, time_ns: int, event: Any) -> None:  # noqa: ANN401 - an ItemHeld
        del session, time_ns
        self._change_what_is_over(seq, event, Happening.HELD)

    return [(StateOfDecisions, "_hold", hold)]


def _given_up_items_are_tried_again() -> list[Patch]:
    def careless(item: Any, **options: Any) -> Course:  # noqa: ANN401 - those of `course`
        decided = course(item, **options)
        return Course.START if decided is Course.ABANDONED and item.failures else decided

    return [(feed, "course", careless)]


def _format_is_not_raised() -> list[Patch]:
    # The engine in memory refuses such events by itself; here the model is to notice them.
    return [(MemoryTurn, "require_format", lambda *_: None), (memory_turn, "format_of", lambda _array: 1)]


def _raised_beside_an_older_version() -> list[Patch]:
    return [(memory_turn, "check_no_older_session", lambda *_, **__: None)]


def _outcomes_are_refused() -> list[Patch]:
    def fit(turn: Any, state: State, events: Any) -> Any:  # noqa: ANN401 - as `formats.fit`
        if any(needs_format_2(result) for event in events if (result := result_of(event)) is not None):
            turn.require_format(2, unended_sessions(state))
        return events

    return [(module, "fit", fit) for module in (plan, recover, writer)]


def _deaths_are_forgotten() -> list[Patch]:
    settle = DeathLimit.settle

    def forgetful(self: DeathLimit, *args: Any) -> Any:  # noqa: ANN401 - as `DeathLimit.settle`
        return [event._replace(deaths=0) for event in settle(self, *args)]

    return [(DeathLimit, "settle", forgetful)]


def _suspects_run_beside_others() -> list[Patch]:
    return [(Plan, "_may_postpone", lambda *_: False)]


def _snapshot_forgets_who_paused() -> list[Patch]:
    def encode(key: bytes, state: State) -> bytes:
        copy = state.without_items()
        copy.paused = None
        return encode_snapshot(key, copy)

    return [(memory_turn, "encode_snapshot", encode)]


def _starts_forget_failures() -> list[Patch]:
    def rows(seq: int, session: int, ns: int, array: Any) -> Any:  # noqa: ANN401 - as `started_rows`
        return started_rows(seq, session, ns, array[:_COUNTS_AT])

    return [(state, "started_rows", rows)]


def _successes_forget_failures() -> list[Patch]:
    def row(seq: int, attempt: Any, result: Any) -> Any:  # noqa: ANN401 - as `succeeded_row`
        return succeeded_row(seq, attempt[:_FAILURES_AT], result)

    return [(state, "succeeded_row", row)]


BUGS: Final[dict[str, Callable[[], list[Patch]]]] = {
    "what is in doubt is run again": _doubts_are_run_again,
    "a doubt is redone by policy, and nobody called that harmless": _doubts_are_redone_unasked,
    "a failure is tried again by the run that saw it": _failures_are_tried_again_at_once,
    "a slot that says begun releases the item": _begun_counts_as_armed,
    "a slot that says nothing releases the item": _silence_counts_as_armed,
    "slots are not read": _slots_are_not_read,
    "a slot is freed before its outcome is durable": _slot_freed_before_the_commit,
    "a snapshot stands for the moment when its writing ended": _snapshot_of_the_end,
    "a snapshot lacks an open attempt": _snapshot_without_open_attempts,
    "two sessions write a snapshot at once": _two_write_a_snapshot,
    "a commit that nobody heard of is taken for lost": _unheard_commit_taken_for_lost,
    "the slots of a commit that nobody heard of are dropped": _slots_of_an_unheard_commit_dropped,
    "evidence is recorded, and the loss is not": _evidence_without_the_loss,
    "the loss is recorded, and the evidence is not": _loss_without_the_evidence,
    "a living session is recorded as lost": _a_living_session_is_buried,
    "max_in_doubt is ignored": _bound_of_doubt_ignored,
    "an outcome is told before it is durable": _counted_before_it_is_durable,
    "compaction drops what no snapshot holds": _compaction_drops_too_much,
    "the dead leave no doubt": _the_lost_leave_no_doubt,
    "a cursor is saved before its page has run": _cursor_saved_too_early,
    "a failed item is skipped for ever": _failed_items_are_skipped,
    "a base state goes back": _base_state_goes_back,
    "the key rule is looked at once": _key_rule_looked_at_once,
    "what an earlier run could not record is released": _unrecorded_starts_are_released,
    "what an earlier run could not record is adopted": _unrecorded_starts_are_adopted,
    "a worker of a run that has ended begins an item": _workers_of_an_ended_run_begin,
    "an answer settles any attempt": _answers_settle_any_attempt,
    "an item whose verdict is taken back has no open attempt": _held_items_are_not_open,
    "an item that a final failure gave up is tried again": _given_up_items_are_tried_again,
    "events of format 2 stand in a log of format 1": _format_is_not_raised,
    "a log is raised to format 2 beside an older version": _raised_beside_an_older_version,
    "an outcome is refused for its format": _outcomes_are_refused,
    "the deaths of an item are forgotten when it is redone": _deaths_are_forgotten,
    "an item that kills its process runs beside others": _suspects_run_beside_others,
    "a snapshot forgets who paused the log": _snapshot_forgets_who_paused,
    "an item forgets the failures that its start carries": _starts_forget_failures,
    "an item that succeeds forgets its failures": _successes_forget_failures,
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Plant a bug for the length of a block."""
    with patched(BUGS[name]()):
        yield


def catch(name: str, seed: object) -> tuple[int, Violation] | None:
    """Let histories happen with a bug until one breaks a promise; give which and how, None where none does."""
    with planted(name):
        for number in range(HISTORIES_MAX):
            try:
                History(f"{seed}/{number}").run()
            except Violation as violation:
                return number, violation
    return None
