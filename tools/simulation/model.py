"""What a log should say, in plain dicts: written from the words of the design, not from the code.

Invariant: it knows neither the fold nor the table of transitions, and complains about an event that
should not be there.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from wal_runner.core.arrays import from_array
from wal_runner.core.events import (
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
    TextSeen,
)
from wal_runner.log.codec import decode_record, first_chain
from wal_runner.log.format import META_FORMAT
from wal_runner.log.rows import unpack_number


if TYPE_CHECKING:
    from collections.abc import Callable

    from wal_runner.core.error_info import ErrorInfo
    from wal_runner.core.events import Event
    from wal_runner.log.memory_store import MemoryStore

    _Settling = ItemSucceeded | ItemFailed | ItemReleased | ItemReconciled | LateOutcome

PENDING, STARTED, SUCCEEDED, FAILED, DOUBTED, ABANDONED = (
    "pending",
    "started",
    "succeeded",
    "failed",
    "in_doubt",
    "abandoned",
)
"""The statuses, by the words that users see."""

_AFTER_VERDICT = {
    Decision.HAPPENED: SUCCEEDED,
    Decision.DID_NOT_HAPPEN: PENDING,
    Decision.ABANDON: ABANDONED,
}


_NEWER = (ItemAttested, ItemGivenUp, ItemHeld, PauseSet, RunEnded, SessionReached, TextSeen)
"""What no reader of format 1 knows."""


class Violation(Exception):
    """A promise was broken; the message says which and how."""


def demand(holds: object, otherwise: str) -> None:
    """Raise `Violation` with *otherwise* unless *holds* is true."""
    if not holds:
        raise Violation(otherwise)


@dataclass
class Known:
    """What the log says of one item. *start_seq* is its last start."""

    status: str
    start_seq: int
    attempts: int
    generation: int
    result: bytes | None = None
    failed_seq: int = 0
    failures: int = 0
    deaths: int = 0
    not_before_ns: int = 0
    by_verdict: bool = False
    """Its last word was a verdict."""
    hold: str = ""
    """Its process died with it too often: whatever settled its doubt, it "must" be held, or "may" be."""


class Death(NamedTuple):
    """The death of a session, and how many starts were in flight in it."""

    session: int
    in_flight: int


class Answer(NamedTuple):
    """Event *seq* settles the doubt about an item, which *death* left, or something else.

    *beside* counts the other doubts that the same death left and that are not settled.
    """

    seq: int
    event: ItemReconciled
    known: Known
    death: Death | None
    beside: int


@dataclass
class Model:
    """The log as it was read so far. *on_lost* is told who died, before its items are in doubt."""

    store: MemoryStore
    on_start: Callable[[int, int, str, Known | None], None]
    on_lost: Callable[[int], None]
    on_cursor: Callable[[int, bytes | None], None]
    on_policy: Callable[[int, int], None]
    on_attested: Callable[[int, ItemAttested], None]
    on_omitted: Callable[[int, int], None]
    on_answer: Callable[[int, Answer], str]
    """Is asked about each answer of a policy or a reconciler; says whether the item "must" or "may" be held."""
    seq: int = 0
    chain: bytes = b""
    items: dict[str, Known] = field(default_factory=dict)
    open: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Starts without an outcome, or in doubt: the item and the session."""
    died: dict[int, Death] = field(default_factory=dict)
    """Of each doubt that a death left: which death, by start_seq."""
    boots: dict[int, str] = field(default_factory=dict)
    sessions: dict[int, str] = field(default_factory=dict)
    been: dict[str, set[str]] = field(default_factory=dict)
    """What each item has been so far."""
    cursors: dict[str, bytes] = field(default_factory=dict)
    redone: set[tuple[str, int]] = field(default_factory=set)
    """Items, each in its generation, whose doubt was settled by policy: the user said that a redo is harmless."""
    given_up: set[str] = field(default_factory=set)
    """Items that somebody, or a failure that was final, gave up."""
    texts: dict[int, str] = field(default_factory=dict)
    paused: tuple[str, str] | None = None
    source_ends: dict[str, tuple[int, str, int, int]] = field(default_factory=dict)
    said: dict[int, tuple[str, tuple[tuple[str, str], ...]]] = field(default_factory=dict)
    """Of each session: what it accepted, and the places that it reached."""
    key_rule: str | None = None
    conflicts: int = 0
    events: int = 0

    def __post_init__(self) -> None:
        """Begin before the first event."""
        self.chain = first_chain(self.store.log_id)

    @property
    def counts(self) -> dict[str, int]:
        """Count the items by status."""
        found: dict[str, int] = {}
        for known in self.items.values():
            found[known.status] = found.get(known.status, 0) + 1
        return found

    @property
    def format(self) -> int:
        """Return the format that the log says it is in."""
        return unpack_number(META_FORMAT, self.store.meta[META_FORMAT])

    def started_by(self, session: int) -> list[int]:
        """Give the starts of *session* that have no outcome."""
        return [seq for seq, (item_id, owner) in self.open.items() if owner == session and self._is(item_id, STARTED)]

    def catch_up(self) -> None:
        """Read what was appended: in order, without a gap, each record chained to the one before."""
        store = self.store
        for at in range(bisect_left(store.first_seqs, self.seq + 1), len(store.first_seqs)):
            first_seq = store.first_seqs[at]
            demand(first_seq == self.seq + 1, f"event {first_seq} follows event {self.seq}")
            record = decode_record(first_seq, store.values[at], self.chain)
            for seq, array in enumerate(record.arrays, first_seq):
                self._apply(seq, record.session, from_array(seq, array))
            self.seq, self.chain = record.last_seq, record.chain

    def _apply(self, seq: int, session: int, event: Event) -> None:  # noqa: C901, PLR0912, PLR0915 - one case an event
        self.events += 1
        if not isinstance(event, SessionOpened):
            demand(self.sessions.get(session) == "open", f"event {seq} is of session {session}, which is not open")
        if _needs_format_2(event):
            demand(self.format > 1, f"event {seq} is a {type(event).__name__} of format 2, and the log is in format 1")
        match event:
            case SessionOpened():
                demand(event.session == session, f"event {seq} opens another session than it is of")
                demand(event.session > max(self.sessions, default=0), f"session {session} is not a new number")
                self.sessions[session] = "open"
                self.said[session] = (event.accepted, ())
                self.boots[session] = event.boot
            case SessionClosed():
                demand(not self.started_by(event.session), f"session {session} closed and left items started")
                self.sessions[event.session] = "closed"
            case SessionLost():
                self._lose(event.session)
            case ItemStarted():
                self._start(seq, session, event)
            case ItemSucceeded():
                self._settle(seq, event, session, {STARTED, DOUBTED}, SUCCEEDED)
            case ItemFailed():
                self._settle(seq, event, session, {STARTED, DOUBTED}, ABANDONED if event.final else FAILED)
            case ItemInterrupted():
                self._interrupt(seq, session, event)
            case ItemReleased():
                self._settle(seq, event, session, {STARTED}, PENDING)
            case ItemReconciled():
                if event.by.startswith("policy"):
                    self.on_policy(seq, session)
                if event.by.startswith("policy") and event.start_seq in self.open:
                    item_id = self.open[event.start_seq][0]
                    self.redone.add((item_id, self.items[item_id].generation))
                self._reconcile(seq, session, event)
            case ItemReopened():
                self._reopen(seq, event)
            case CursorAdvanced():
                self.on_cursor(session, event.cursor)
                self.cursors.pop(event.source, None)
                if event.cursor is not None:
                    self.cursors[event.source] = event.cursor
            case LateOutcome():
                # An fn that its run had left behind in doubt, and that ended after all.
                demand(event.start_seq in self.open, f"event {seq} is a late outcome, and nothing is in doubt")
                self._settle(seq, event, session, {DOUBTED}, SUCCEEDED if event.error is None else FAILED)
            case KeyRuleSet():
                demand(not self.items, f"event {seq} names items anew, and {len(self.items)} have names")
                self.key_rule = event.rule
            case ItemHeld():
                self._hold(seq, session, event)
            case ItemGivenUp():
                known = self._complete(seq, event, {FAILED})
                self.items[event.item_id] = Known(ABANDONED, known.start_seq, known.attempts, known.generation)
                self.given_up.add(event.item_id)
                self._check_text(seq, event.error)
                self._note(event.item_id)
            case ItemAttested():
                self._attest(seq, session, event)
            case SessionReached() | TextSeen() | PauseSet() | RunEnded():
                self._note_what_was_said(event)
            case SnapshotTaken() | LogCompacted():
                pass
            case _:
                raise Violation(f"event {seq} is a {type(event).__name__}, and nothing asked for one")

    def _start(self, seq: int, session: int, event: ItemStarted) -> None:
        known = self.items.get(event.item_id)
        status = PENDING if known is None else known.status
        demand(status in {PENDING, FAILED}, f"event {seq} starts {event.item_id}, which is {status}")
        attempts, generation = (1, 0) if known is None else (known.attempts + 1, known.generation)
        told = (event.attempt, event.generation)
        demand(told == (attempts, generation), f"event {seq} is attempt {told}, and not {attempts, generation}")
        self.on_start(seq, session, event.item_id, known)
        deaths = 0 if known is None else known.deaths
        demand(event.deaths == deaths, f"event {seq} starts {event.item_id} after {event.deaths} deaths, not {deaths}")
        must_hold = known is not None and known.hold == "must"
        demand(not must_hold, f"event {seq} starts {event.item_id}, with which {deaths} processes have died")
        started = Known(STARTED, seq, attempts, generation, failures=event.failures, deaths=event.deaths)
        self.items[event.item_id] = started
        self._note(event.item_id)
        self.open[seq] = (event.item_id, session)

    def _settle(self, seq: int, event: _Settling, session: int | None, before: set[str], after: str) -> None:
        start_seq = event.start_seq
        if start_seq not in self.open:
            demand(session is not None, f"event {seq} is a verdict on {start_seq}, which is not open")
            demand(after != PENDING, f"event {seq} releases {start_seq}, which is not open")
            self.conflicts += 1
            return
        item_id, owner = self.open.pop(start_seq)
        self.died.pop(start_seq, None)
        known = self.items[item_id]
        demand(known.start_seq == start_seq, f"event {seq} settles {start_seq}, not the last start of {item_id}")
        demand(known.status in before, f"event {seq} makes {item_id} {after}, and it was {known.status}")
        demand(session in {None, owner}, f"event {seq} of session {session} settles a start of session {owner}")
        known.status, known.result = after, getattr(event, "result", None)
        known.failed_seq = seq if after == FAILED else 0
        known.by_verdict = isinstance(event, ItemReconciled)
        if isinstance(event, ItemFailed):
            known.failures, known.not_before_ns = event.failures, event.not_before_ns
            self._check_text(seq, event.error)
        if isinstance(event, ItemReconciled):
            known.deaths = event.deaths
        if isinstance(event, ItemFailed) and event.final:
            self.given_up.add(item_id)
        if getattr(event, "omitted", None):
            self.on_omitted(seq, start_seq)
        self._note(item_id)

    def _reconcile(self, seq: int, session: int, event: ItemReconciled) -> None:
        known = self.items[self.open[event.start_seq][0]] if event.start_seq in self.open else None
        if known is not None and event.by.startswith(("policy", "reconcile")):
            death = self.died.get(event.start_seq)
            beside = 0 if death is None else sum(death.session == other.session for other in self.died.values()) - 1
            known.hold = self.on_answer(session, Answer(seq, event, known, death, beside))
        else:
            demand(not event.deaths, f"event {seq} is a person's answer, and keeps {event.deaths} deaths")
        self._settle(seq, event, None, {DOUBTED}, _AFTER_VERDICT[event.decision])

    def _interrupt(self, seq: int, session: int, event: ItemInterrupted) -> None:
        if event.start_seq not in self.open:
            self.conflicts += 1
            return
        item_id, owner = self.open[event.start_seq]
        demand(session == owner, f"event {seq} of session {session} interrupts a start of session {owner}")
        self.items[item_id].status = DOUBTED
        self._note(item_id)

    def _reopen(self, seq: int, event: ItemReopened) -> None:
        known = self.items[event.item_id]
        demand(known.status in {SUCCEEDED, FAILED, ABANDONED}, f"event {seq} reopens {event.item_id}: {known.status}")
        self.items[event.item_id] = Known(PENDING, known.start_seq, known.attempts, known.generation + 1)

    def _complete(self, seq: int, event: ItemHeld | ItemGivenUp, before: set[str]) -> Known:
        """Return the item that *event* is about, which is one of *before*, and as the event says."""
        known = self.items[event.item_id]
        told = (event.start_seq, event.before.word, event.attempts, event.generation)
        true = (known.start_seq, known.status, known.attempts, known.generation)
        demand(told == true, f"event {seq} says {told} of {event.item_id}, not {true}")
        demand(known.status in before, f"event {seq} is a {type(event).__name__} of an item that is {known.status}")
        return known

    def _hold(self, seq: int, session: int, event: ItemHeld) -> None:
        known = self._complete(seq, event, {SUCCEEDED, PENDING, ABANDONED})
        demand(known.by_verdict, f"event {seq} takes a verdict on {event.item_id} back, and there was none")
        if event.by.startswith("policy"):
            demand(known.hold, f"event {seq} holds {event.item_id} after {known.deaths} deaths, which may run")
            demand(event.deaths == known.deaths, f"event {seq} holds {event.item_id} after {event.deaths} deaths")
        held = Known(DOUBTED, known.start_seq, known.attempts, known.generation, deaths=event.deaths)
        self.items[event.item_id] = held
        self.open[event.start_seq] = (event.item_id, session)
        self._note(event.item_id)

    def _attest(self, seq: int, session: int, event: ItemAttested) -> None:
        demand(event.item_id not in self.items, f"event {seq} attests {event.item_id}, which the log knows")
        status = event.status.word
        demand(status in {SUCCEEDED, FAILED, DOUBTED}, f"event {seq} attests that {event.item_id} is {status}")
        failed_seq = seq if status == FAILED else 0
        self.items[event.item_id] = Known(status, seq, event.attempts, event.generation, event.result, failed_seq)
        if status == DOUBTED:
            self.open[seq] = (event.item_id, session)
        self._check_text(seq, event.error)
        self._note(event.item_id)
        self.on_attested(seq, event)

    def _note_what_was_said(self, event: SessionReached | TextSeen | PauseSet | RunEnded) -> None:
        match event:
            case SessionReached():
                accepted, places = self.said[event.session]
                place = (event.engine, event.where)
                self.said[event.session] = (accepted, places if place in places else (*places, place))
            case TextSeen():
                self.texts[event.number] = event.text
            case PauseSet():
                self.paused = (event.by, event.note) if event.paused else None
            case RunEnded(source_ended=True):
                self.source_ends.pop(event.source, None)
            case RunEnded():
                self.source_ends[event.source] = (event.session, event.because, event.seen, event.not_started)

    def _check_text(self, seq: int, error: ErrorInfo | None) -> None:
        if error is not None and isinstance(error.traceback, int):
            demand(error.traceback in self.texts, f"event {seq} names text {error.traceback}, which nobody has seen")

    def _lose(self, session: int) -> None:
        demand(self.sessions.get(session) == "open", f"session {session} is lost, and was not open")
        self.on_lost(session)
        started = self.started_by(session)
        for start_seq in started:
            self.died[start_seq] = Death(session, len(started))
            item_id = self.open[start_seq][0]
            self.items[item_id].status = DOUBTED
            self._note(item_id)
        self.sessions[session] = "lost"

    def _note(self, item_id: str) -> None:
        self.been.setdefault(item_id, set()).add(self.items[item_id].status)

    def _is(self, item_id: str, status: str) -> bool:
        return self.items[item_id].status == status


def _needs_format_2(event: Event) -> bool:
    """Return whether *event*, or what it carries, is of format 2."""
    if isinstance(event, _NEWER):
        return True
    error = getattr(event, "error", None)
    if error is not None and isinstance(error.traceback, int):
        return True
    result = getattr(event, "result", None)
    if result and (0xC7 <= result[0] <= 0xC9 or 0xD4 <= result[0] <= 0xD8):  # noqa: PLR2004 - msgpack's ext values
        return True
    return any(getattr(event, name, None) for name in ("failures", "deaths", "not_before_ns", "final", "accepted"))
