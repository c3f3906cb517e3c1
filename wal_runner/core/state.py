"""The state of a log: what its events add up to.

Pure. Imported by recovery, the runner and the readers. Invariant: state is the fold of the
events and of nothing else; `State.apply` is the only place where it changes, and what it makes
of a record depends on no clock, host or table on disk.

`State.items` holds the items that were touched since the fold began. Folded from the first
event that is all of them; folded from a snapshot it is an overlay over the snapshot's rows.
`apply` never reads an item that was touched before, so the two cannot differ. While a snapshot is
written, what it stands for is set aside in `State.frozen`, and dropped once the rows hold it.

Both hold rows: see `wal_runner.core.items`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from wal_runner.core.arrays import SESSION_OPENED, STARTED, SUCCEEDED, corrupt, from_array, too_new
from wal_runner.core.events import (
    TYPE_NUMBERS,
    CursorAdvanced,
    Decision,
    ItemAttested,
    ItemFailed,
    ItemGivenUp,
    ItemHeld,
    ItemInterrupted,
    ItemReconciled,
    ItemReleased,
    ItemReopened,
    ItemStarted,
    ItemSucceeded,
    KeyRuleSet,
    LateOutcome,
    LogCompacted,
    PauseSet,
    RunEnded,
    SessionClosed,
    SessionLost,
    SessionOpened,
    SessionReached,
    SnapshotTaken,
    Status,
    TextSeen,
)
from wal_runner.core.items import (
    ItemState,
    OpenAttempt,
    Pause,
    attempt_row,
    item_row,
    reason_of_death,
    started_rows,
    succeeded_row,
)
from wal_runner.core.places import (
    PLACE_FIELDS,
    PLACES,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    FunctionSeen,
    ItemForgotten,
)
from wal_runner.core.state_decisions import StateOfDecisions
from wal_runner.core.transitions import CONFLICT, Attempt, Happening, transition


if TYPE_CHECKING:
    from collections.abc import Iterable

    from wal_runner.core.error_info import ErrorInfo
    from wal_runner.core.events import Event, EventArray, Record

_SUCCEEDED: Final = int(Status.SUCCEEDED)
_FIELDS_OF_A_FIRST_ATTEMPT: Final = 3
_ENDINGS: Final = {TYPE_NUMBERS[SessionClosed], TYPE_NUMBERS[SessionLost]}

_VERDICTS = {
    Decision.HAPPENED: Happening.VERDICT_HAPPENED,
    Decision.DID_NOT_HAPPEN: Happening.VERDICT_DID_NOT_HAPPEN,
    Decision.ABANDON: Happening.VERDICT_ABANDON,
}


class State(StateOfDecisions):
    """The fold of a log up to `seq`. Read its attributes; change it by `apply` only."""

    __slots__ = ()

    def apply(self, record: Record) -> None:  # noqa: C901, PLR0912 - inline on purpose
        """Fold *record* in. Raise `LogCorrupt` if no writer can have written it, `LogTooNew` if a newer one did.

        The two commonest events, a first start and its success, are folded inline: a log of ten million
        items is mostly these, and start-up waits for them. Later starts and their successes take a short
        way beside. What is not plainly one of these goes the long way, which says the same (a property
        test holds all three against each other). The loop stays small on purpose: longer jumps in it cost
        every item.
        """
        first_seq, session, time_ns, arrays, chain = record
        if first_seq != self.seq + 1:
            raise corrupt(first_seq, f"it follows seq {self.seq}, so events are missing")
        if arrays[0][0] != SESSION_OPENED:
            self._refuse_the_dead(first_seq, session)
        items, frozen, attempts = self.items, self.frozen, self.open
        starts = successes = elapsed_ns = 0
        seq = first_seq - 1
        for array in arrays:
            seq += 1
            kind = array[0]
            if kind == SUCCEEDED and 3 <= len(array) <= 4:  # noqa: PLR2004 - (type, back, elapsed, result)
                back, took = array[1], array[2]
                if type(back) is int and type(took) is int:
                    start_seq = seq - back
                    attempt = attempts.pop(start_seq, None)
                    if attempt is not None:
                        if len(attempt) == _FIELDS_OF_A_FIRST_ATTEMPT and attempt[1] == session and took >= 0:
                            if len(array) == 3:  # noqa: PLR2004 - no result
                                items[attempt[0]] = start_seq
                                successes += 1
                                elapsed_ns += took
                                continue
                            if type(array[3]) is bytes:
                                items[attempt[0]] = (_SUCCEEDED, start_seq, 1, 0, 0, array[3])
                                successes += 1
                                elapsed_ns += took
                                continue
                        attempts[start_seq] = attempt
            elif kind == STARTED and len(array) == 2:  # noqa: PLR2004 - (type, item id)
                item_id = array[1]
                if type(item_id) is str and item_id not in items and item_id not in frozen:
                    items[item_id] = -seq
                    attempts[seq] = (item_id, session, time_ns)
                    starts += 1
                    continue
            if not self._apply_short(seq, session, time_ns, array):
                self._apply_event(seq, session, time_ns, array)
            if kind in _ENDINGS and seq < record.last_seq:
                # The short cuts do not ask; behind its own end a session appends nothing.
                self._refuse_the_dead(seq + 1, session)
        counts = self.counts
        counts[Status.STARTED] += starts - successes
        counts[Status.SUCCEEDED] += successes
        self.timed += successes
        self.elapsed_ns += elapsed_ns
        self.seq = seq
        self.chain = chain
        info = self.sessions.get(session)
        if info is not None:
            self.sessions[session] = info._replace(last_ns=time_ns)

    def _apply_short(self, seq: int, session: int, time_ns: int, array: EventArray) -> bool:
        """Fold a later start, or the success of a later attempt, without making an event; say whether that was done."""
        if array[0] == STARTED:
            return self._start_short(seq, session, time_ns, array)
        if array[0] == SUCCEEDED and 3 <= len(array) <= 4:  # noqa: PLR2004 - (type, back, elapsed, result)
            return self._succeed_short(seq, session, array)
        return False

    def _start_short(self, seq: int, session: int, time_ns: int, array: EventArray) -> bool:
        rows = started_rows(seq, session, time_ns, array)
        if rows is None:
            return False
        item_id, before, row, attempt = rows
        known = self.row(item_id)
        if known is not None and known[0] != before:
            return False
        if before is not None:
            self.counts[before] -= 1
        self.counts[Status.STARTED] += 1
        self.items[item_id], self.open[seq] = row, attempt
        return True

    def _succeed_short(self, seq: int, session: int, array: EventArray) -> bool:
        _, back, took, *result = array
        if type(back) is not int or type(took) is not int or took < 0:
            return False
        attempt = self.open.get(seq - back)
        row = None if attempt is None or attempt[1] != session else succeeded_row(seq - back, attempt, result)
        if attempt is None or row is None:
            return False
        del self.open[seq - back]
        self.items[attempt[0]] = row
        self.counts[Status.STARTED] -= 1
        self.counts[Status.SUCCEEDED] += 1
        self.timed += 1
        self.elapsed_ns += took
        return True

    def _apply_event(  # noqa: C901, PLR0912, PLR0915 - one case an event
        self, seq: int, session: int, time_ns: int, array: EventArray
    ) -> None:
        event = from_array(seq, array)
        if not isinstance(event, SessionOpened):
            self._refuse_the_dead(seq, session)
        _refuse_places(seq, event)
        self._check_text(seq, getattr(event, "error", None))
        match event:
            case ItemStarted():
                self._start(seq, session, time_ns, event)
            case ItemSucceeded():
                if self._settle(seq, session, event.start_seq, Happening.SUCCEEDED, event):
                    self.timed += 1
                    self.elapsed_ns += event.elapsed_ns
            case ItemFailed():
                kind = Happening.FAILED_FINALLY if event.final else Happening.FAILED
                self._settle(seq, session, event.start_seq, kind, event)
            case ItemInterrupted():
                self._interrupt(seq, session, time_ns, event)
            case ItemReleased():
                self._settle(seq, session, event.start_seq, Happening.RELEASED, event)
            case ItemReconciled():
                self._settle(seq, None, event.start_seq, _VERDICTS[event.decision], event)
            case LateOutcome():
                kind = Happening.LATE_SUCCESS if event.error is None else Happening.LATE_FAILURE
                self._settle(seq, None, event.start_seq, kind, event)
            case ItemReopened():
                self._change_what_is_over(seq, event, Happening.REOPENED)
            case ItemHeld():
                self._hold(seq, session, time_ns, event)
            case ItemGivenUp():
                self._change_what_is_over(seq, event, Happening.GIVEN_UP)
            case ItemAttested():
                self._attest(seq, session, time_ns, event)
            case SessionOpened():
                self._open_session(seq, session, time_ns, event)
            case SessionClosed():
                self._close_session(seq, event.session, time_ns)
            case SessionLost():
                self._lose_session(seq, event, time_ns)
            case CursorAdvanced():
                if event.cursor is None:
                    self.cursors.pop(event.source, None)
                else:
                    self.cursors[event.source] = event.cursor
            case SnapshotTaken():
                self.snapshot_seq = event.seq
            case LogCompacted():
                self.base_seq = event.base_seq
            case KeyRuleSet():
                self.key_rule = event.rule
            case SessionReached():
                self._reach(seq, event)
            case TextSeen():
                self._see_text(seq, event)
            case PauseSet():
                self.paused = Pause(event.by, event.note, time_ns) if event.paused else None
            case RunEnded():
                self._end_run(seq, time_ns, event)
            case EffectStarted() | EffectSucceeded() | EffectFailed() | FunctionSeen() | ItemForgotten():
                raise AssertionError("places were refused above")
            case _:
                assert_never(event)

    # --- Items ------------------------------------------------------------------

    def _start(self, seq: int, session: int, time_ns: int, event: ItemStarted) -> None:
        known = self.item(event.item_id)
        if known is not None and known.status is not event.before:
            raise corrupt(seq, f"it starts an item that is {known.status.word}")
        before = Status.PENDING if event.before is None else event.before
        if transition(before, Happening.STARTED, Attempt.CURRENT) is not Status.STARTED:
            raise corrupt(seq, f"it starts an item that is {before.word}")
        if event.before is not None:
            self.counts[before] -= 1
        self.counts[Status.STARTED] += 1
        started = ItemState(Status.STARTED, seq, event.attempt, event.generation)
        self.items[event.item_id] = item_row(started._replace(failures=event.failures, deaths=event.deaths))
        attempt = OpenAttempt(event.item_id, session, time_ns, event.attempt, event.generation)
        self.open[seq] = attempt_row(attempt._replace(failures=event.failures, deaths=event.deaths))

    def _settle(
        self,
        seq: int,
        session: int | None,
        start_seq: int,
        happening: Happening,
        event: ItemSucceeded | ItemFailed | ItemReleased | ItemReconciled | LateOutcome,
    ) -> bool:
        """End the attempt *start_seq*, or count a conflict where it has ended already."""
        attempt = self.attempt(start_seq)
        if attempt is None:
            # What the item became since is not looked up: for a stale attempt the table says
            # the same whatever the status is (a test walks it).
            if transition(Status.PENDING, happening, Attempt.STALE) is not CONFLICT:
                raise corrupt(seq, f"{happening.value} names attempt {start_seq}, which is not open")
            self.conflicts += 1
            return False
        if session is not None and session != attempt.session:
            raise corrupt(seq, f"session {session} settles an attempt of session {attempt.session}")
        status = transition(attempt.status, happening, Attempt.CURRENT)
        if not isinstance(status, Status):
            raise corrupt(seq, f"{happening.value} cannot follow {attempt.status.word}")
        if isinstance(event, LateOutcome) and event.item_id != attempt.item_id:
            raise corrupt(seq, f"it names item {event.item_id!r}, and attempt {start_seq} is of {attempt.item_id!r}")
        del self.open[start_seq]
        self.counts[attempt.status] -= 1
        self.counts[status] += 1
        self.items[attempt.item_id] = item_row(_settled(seq, start_seq, attempt, status, event))
        if getattr(event, "omitted", None) is not None:
            self.results_omitted += 1
        return True

    def _interrupt(self, seq: int, session: int, time_ns: int, event: ItemInterrupted) -> None:
        attempt = self.attempt(event.start_seq)
        if attempt is None:
            self.conflicts += 1
            return
        if session != attempt.session:
            raise corrupt(seq, f"session {session} interrupts an attempt of session {attempt.session}")
        self._doubt(event.start_seq, attempt, event.reason, time_ns, event.error)

    def _doubt(
        self, start_seq: int, attempt: OpenAttempt, reason: str, time_ns: int, error: ErrorInfo | None = None
    ) -> None:
        if attempt.status is Status.IN_DOUBT:
            return
        self.counts[Status.STARTED] -= 1
        self.counts[Status.IN_DOUBT] += 1
        self.open[start_seq] = attempt_row(attempt._replace(status=Status.IN_DOUBT, doubted_ns=time_ns, reason=reason))
        self.items[attempt.item_id] = item_row(_of_attempt(Status.IN_DOUBT, start_seq, attempt)._replace(error=error))

    # --- Sessions ---------------------------------------------------------------

    def _close_session(self, seq: int, session: int, time_ns: int) -> None:
        if any(attempt.session == session for _, attempt in self.attempts(Status.STARTED)):
            raise corrupt(seq, f"session {session} closed and left items started")
        self._end_session(seq, session, "closed", time_ns)

    def _lose_session(self, seq: int, event: SessionLost, time_ns: int) -> None:
        session = event.session
        self._end_session(seq, session, "lost", time_ns)
        if event.last_ns and session in self.sessions:
            self.sessions[session] = self.sessions[session]._replace(last_ns=event.last_ns)
        for start_seq, attempt in self.attempts(Status.STARTED):
            if attempt.session == session:
                self._doubt(start_seq, attempt, reason_of_death(session), time_ns)


def fold(records: Iterable[Record], initial: State | None = None) -> State:
    """Give the state after *records*, starting from *initial*, which is left as it is.

    ``fold(all) == fold(tail, fold(prefix))`` wherever the cut is.
    """
    state = State() if initial is None else initial.copy()
    for record in records:
        state.apply(record)
    return state


def _settled(
    seq: int,
    start_seq: int,
    attempt: OpenAttempt,
    status: Status,
    event: ItemSucceeded | ItemFailed | ItemReleased | ItemReconciled | LateOutcome,
) -> ItemState:
    item = _of_attempt(status, start_seq, attempt)
    match event:
        case ItemSucceeded():
            return item._replace(result=event.result, omitted=event.omitted)
        case ItemReconciled():
            return item._replace(result=event.result, omitted=event.omitted, deaths=event.deaths)
        case ItemFailed():
            failed_seq = seq if status is Status.FAILED else 0
            return item._replace(
                failed_seq=failed_seq,
                error=event.error,
                failures=event.failures,
                not_before_ns=event.not_before_ns,
            )
        case ItemReleased():
            return item
        case LateOutcome():
            failed_seq = seq if status is Status.FAILED else 0
            return item._replace(result=event.result, omitted=event.omitted, error=event.error, failed_seq=failed_seq)
        case _:
            assert_never(event)


def _of_attempt(status: Status, start_seq: int, attempt: OpenAttempt) -> ItemState:
    """Return the item of an open *attempt*, with the counts that its start carried."""
    item = ItemState(status, start_seq, attempt.attempt, attempt.generation)
    return item._replace(failures=attempt.failures, deaths=attempt.deaths)


def _refuse_places(seq: int, event: Event) -> None:
    """Raise `LogTooNew` for an event or a field that is only a place in this version: its meaning is not guessed."""
    if type(event) in PLACES:
        raise too_new(seq, f"is of the type {type(event).__name__}")
    for name, default in _PLACES_IN_EVENTS.get(type(event), ()):
        if getattr(event, name) != default:
            raise too_new(seq, f"is of the type {type(event).__name__} with {name}")


_PLACES_IN_EVENTS: Final[dict[type, tuple[tuple[str, object], ...]]] = {
    kind: tuple((name, default) for name, default in kind._field_defaults.items() if name in PLACE_FIELDS)
    for kind in (ItemStarted, ItemReopened)
}
