"""What a log should say, in plain dicts: written from the words of the design, not from the code.

Invariant: it knows neither the fold nor the table of transitions, and complains about an event that
should not be there.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wal_runner.core.arrays import from_array
from wal_runner.core.events import (
    CursorAdvanced,
    Decision,
    ItemFailed,
    ItemInterrupted,
    ItemReconciled,
    ItemReleased,
    ItemReopened,
    ItemStarted,
    ItemSucceeded,
    KeyRuleSet,
    LateOutcome,
    LogCompacted,
    SessionClosed,
    SessionLost,
    SessionOpened,
    SnapshotTaken,
)
from wal_runner.log.codec import decode_record, first_chain


if TYPE_CHECKING:
    from collections.abc import Callable

    from wal_runner.core.events import Event
    from wal_runner.log.memory_store import MemoryStore

    _Settling = ItemSucceeded | ItemFailed | ItemReleased | ItemReconciled

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


@dataclass
class Model:
    """The log as it was read so far. *on_lost* is told who died, before its items are in doubt."""

    store: MemoryStore
    on_start: Callable[[int, int, str, Known | None], None]
    on_lost: Callable[[int], None]
    on_cursor: Callable[[int, bytes | None], None]
    on_policy: Callable[[int, int], None]
    seq: int = 0
    chain: bytes = b""
    items: dict[str, Known] = field(default_factory=dict)
    open: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Starts without an outcome, or in doubt: the item and the session."""
    sessions: dict[int, str] = field(default_factory=dict)
    been: dict[str, set[str]] = field(default_factory=dict)
    """What each item has been so far."""
    cursors: dict[str, bytes] = field(default_factory=dict)
    redone: set[tuple[str, int]] = field(default_factory=set)
    """Items, each in its generation, whose doubt was settled by policy: the user said that a redo is harmless."""
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

    def _apply(self, seq: int, session: int, event: Event) -> None:  # noqa: C901, PLR0912 - one case an event
        self.events += 1
        if not isinstance(event, SessionOpened):
            demand(self.sessions.get(session) == "open", f"event {seq} is of session {session}, which is not open")
        match event:
            case SessionOpened():
                demand(event.session == session, f"event {seq} opens another session than it is of")
                demand(event.session > max(self.sessions, default=0), f"session {session} is not a new number")
                self.sessions[session] = "open"
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
                self._settle(seq, event, session, {STARTED, DOUBTED}, FAILED)
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
                self._settle(seq, event, None, {DOUBTED}, _AFTER_VERDICT[event.decision])
            case ItemReopened():
                self._reopen(seq, event)
            case CursorAdvanced():
                self.on_cursor(session, event.cursor)
                self.cursors.pop(event.source, None)
                if event.cursor is not None:
                    self.cursors[event.source] = event.cursor
            case LateOutcome():
                raise Violation(f"event {seq} is a late outcome, and no session was robbed")
            case KeyRuleSet():
                demand(not self.items, f"event {seq} names items anew, and {len(self.items)} have names")
                self.key_rule = event.rule
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
        self.items[event.item_id] = Known(STARTED, seq, attempts, generation)
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
        known = self.items[item_id]
        demand(known.start_seq == start_seq, f"event {seq} settles {start_seq}, not the last start of {item_id}")
        demand(known.status in before, f"event {seq} makes {item_id} {after}, and it was {known.status}")
        demand(session in {None, owner}, f"event {seq} of session {session} settles a start of session {owner}")
        known.status, known.result = after, getattr(event, "result", None)
        known.failed_seq = seq if after == FAILED else 0
        self._note(item_id)

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

    def _lose(self, session: int) -> None:
        demand(self.sessions.get(session) == "open", f"session {session} is lost, and was not open")
        self.on_lost(session)
        for start_seq in self.started_by(session):
            item_id = self.open[start_seq][0]
            self.items[item_id].status = DOUBTED
            self._note(item_id)
        self.sessions[session] = "lost"

    def _note(self, item_id: str) -> None:
        self.been.setdefault(item_id, set()).add(self.items[item_id].status)

    def _is(self, item_id: str, status: str) -> bool:
        return self.items[item_id].status == status
