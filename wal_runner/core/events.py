"""The facts that a log holds: one immutable tuple type an event, named in the past tense.

Pure; anything may import it. Invariant: the order of an event's fields is its order on disk,
and a field is only ever added at the end, with a default. Type numbers are never reused.

Events are named tuples rather than dataclasses because millions of them are made, packed and
folded: a named tuple costs a third of a frozen dataclass and packs as the array that it is.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from wal_runner.core import places


if TYPE_CHECKING:
    from wal_runner.core.error_info import ErrorInfo


class Status(IntEnum):
    """Where an item stands. What the log has never heard of is pending too."""

    PENDING = 0
    STARTED = 1
    SUCCEEDED = 2
    FAILED = 3
    IN_DOUBT = 4
    ABANDONED = 5

    @property
    def word(self) -> str:
        """Give the status as the command line and its JSON spell it: ``in_doubt``."""
        return self.name.lower()


class Decision(IntEnum):
    """What a verdict says about one start that was in doubt."""

    HAPPENED = 1
    DID_NOT_HAPPEN = 2
    ABANDON = 3

    @property
    def word(self) -> str:
        """Give the decision as the command line spells it: ``did_not_happen``."""
        return self.name.lower()


class SessionOpened(NamedTuple):
    """A process opened the log for running. *boot* names the boot of *host*.

    *accepted* states what the session was allowed to do on opening ("copy of PLACE, accepted by NAME").
    """

    session: int
    host: str
    pid: int
    boot: str
    argv: tuple[str, ...]
    cwd: str
    user: str
    version: str
    pid_started: str = ""
    accepted: str = ""


class SessionClosed(NamedTuple):
    """The session ended in order; what it had started was released or has an outcome."""

    session: int


class SessionLost(NamedTuple):
    """The session's process died. This is the crash report: its started items are in doubt.

    *last_ns* is the time of its last record while it lived; what its slots prove is recorded in its
    name after its death, just before this.
    """

    session: int
    last_ns: int = 0


class ItemStarted(NamedTuple):
    """An attempt began; its name is the seq of this event. Durable before fn is called.

    Complete in itself, so that folding a tail needs no look-up: *before* is the item's status
    (None if the log did not know it). *failures* and *deaths* are what the item had before this
    start, as far as its writer counts them; the fold copies them and never counts. The fields from
    *effects* on are places: the fold refuses them as too new until they get a meaning.
    """

    item_id: str
    attempt: int = 1
    generation: int = 0
    before: Status | None = None
    failures: int = 0
    deaths: int = 0
    effects: places.Effects | None = None
    digest: bytes = b""
    function: int = 0
    payload: bytes | None = None


class ItemSucceeded(NamedTuple):
    """fn returned. *result* is its packed value (None: it returned None, or *omitted* says why)."""

    start_seq: int
    elapsed_ns: int
    result: bytes | None = None
    omitted: str | None = None


class ItemFailed(NamedTuple):
    """fn raised, and the effect is known not to be complete.

    *failures* includes this one, if its writer counts them. *not_before_ns* is the wall time before
    which the item is not to be tried again, or 0. *final* gives the item up: it is ABANDONED.
    """

    start_seq: int
    elapsed_ns: int
    error: ErrorInfo
    failures: int = 0
    not_before_ns: int = 0
    final: bool = False


class ItemInterrupted(NamedTuple):
    """The attempt ended in a live session without a known outcome: the item is in doubt."""

    start_seq: int
    elapsed_ns: int
    reason: str
    error: ErrorInfo | None = None


class ItemReleased(NamedTuple):
    """The attempt was claimed and its fn never began: the item is pending again."""

    start_seq: int


class ItemReconciled(NamedTuple):
    """Evidence settled a doubt. Applies only while that very start is in doubt.

    *deaths* is what is left of the item's count: a person's verdict resets it, a policy's does not.
    """

    start_seq: int
    decision: Decision
    by: str
    note: str
    result: bytes | None = None
    omitted: str | None = None
    deaths: int = 0


class ItemReopened(NamedTuple):
    """A person or a policy asked for the item to run again: pending, in the next generation.

    Complete in itself like `ItemStarted`; *generation* is the new one.
    """

    item_id: str
    start_seq: int
    before: Status
    attempts: int
    generation: int
    by: str
    note: str
    effects: places.Effects | None = None


class LateOutcome(NamedTuple):
    """What a session that was declared lost knew after all; may settle a doubt, claims nothing."""

    item_id: str
    start_seq: int
    elapsed_ns: int
    result: bytes | None = None
    omitted: str | None = None
    error: ErrorInfo | None = None


class CursorAdvanced(NamedTuple):
    """Every page of *source* before *cursor* is dealt with. None: the source ended."""

    source: str
    cursor: bytes | None


class SnapshotTaken(NamedTuple):
    """The snapshot table holds the fold up to *seq*, and *digest* sums up its rows."""

    seq: int
    digest: int


class LogCompacted(NamedTuple):
    """Events up to *base_seq* are dropped; the snapshot and *base_hash* stand for them."""

    base_seq: int
    base_hash: bytes
    archive: str = ""


class KeyRuleSet(NamedTuple):
    """From here on the items of this log are named by *rule*."""

    rule: str
    by: str
    note: str


# --- Since format 2 ---------------------------------------------------------------------


class ItemAttested(NamedTuple):
    """An import states how an item ended elsewhere: SUCCEEDED, FAILED or IN_DOUBT.

    Only for an item that the log does not know. The event's own seq is the item's start_seq, and
    *attempts* 0 marks an item that this log never started. *happened_ns* is 0 if nobody knows.
    """

    item_id: str
    status: Status
    by: str
    note: str
    happened_ns: int = 0
    result: bytes | None = None
    omitted: str | None = None
    error: ErrorInfo | None = None
    generation: int = 0
    attempts: int = 0


class SessionReached(NamedTuple):
    """The session runs items by *engine* at *where*, on hosts whose death nobody here can see."""

    session: int
    engine: str
    where: str


class TextSeen(NamedTuple):
    """Errors name *text*, such as a traceback that many share, by *number*. A later text replaces it."""

    number: int
    text: str


class PauseSet(NamedTuple):
    """Somebody paused the log, or let it go on: while *paused* is true, runs start nothing."""

    paused: bool
    by: str
    note: str


class RunEnded(NamedTuple):
    """A run over *source* ended before its source did, or took back that one had.

    *because* is "", "halt", "deadline", "connection", "result_required", "stopped", "signal", "paused"
    or "source". *seen* and *not_started* count the run's items. Not written if the source ended and
    nothing else is on record for it.
    """

    session: int
    source: str
    source_ended: bool
    because: str
    seen: int
    not_started: int


class ItemHeld(NamedTuple):
    """A verdict was taken back: the item is in doubt again, with the same start and generation.

    Complete in itself like `ItemReopened`. The open attempt belongs to the session that appends this.
    """

    item_id: str
    start_seq: int
    before: Status
    attempts: int
    generation: int
    by: str
    note: str
    deaths: int = 0


class ItemGivenUp(NamedTuple):
    """A person gave a failed item up: it is ABANDONED. Complete in itself like `ItemReopened`."""

    item_id: str
    start_seq: int
    before: Status
    attempts: int
    generation: int
    by: str
    note: str
    error: ErrorInfo | None = None


TYPE_NUMBERS: dict[type, int] = {
    SessionOpened: 1,
    SessionClosed: 2,
    SessionLost: 3,
    ItemStarted: 4,
    ItemSucceeded: 5,
    ItemFailed: 6,
    ItemInterrupted: 7,
    ItemReleased: 8,
    ItemReconciled: 9,
    ItemReopened: 10,
    LateOutcome: 11,
    CursorAdvanced: 12,
    SnapshotTaken: 13,
    LogCompacted: 14,
    KeyRuleSet: 15,
    ItemAttested: 16,
    places.EffectStarted: 17,
    places.EffectSucceeded: 18,
    places.EffectFailed: 19,
    places.FunctionSeen: 20,
    SessionReached: 21,
    TextSeen: 22,
    PauseSet: 23,
    RunEnded: 24,
    ItemHeld: 25,
    places.ItemForgotten: 26,
    ItemGivenUp: 27,
}

Event = (
    SessionOpened
    | SessionClosed
    | SessionLost
    | ItemStarted
    | ItemSucceeded
    | ItemFailed
    | ItemInterrupted
    | ItemReleased
    | ItemReconciled
    | ItemReopened
    | LateOutcome
    | CursorAdvanced
    | SnapshotTaken
    | LogCompacted
    | KeyRuleSet
    | ItemAttested
    | places.EffectStarted
    | places.EffectSucceeded
    | places.EffectFailed
    | places.FunctionSeen
    | SessionReached
    | TextSeen
    | PauseSet
    | RunEnded
    | ItemHeld
    | places.ItemForgotten
    | ItemGivenUp
)

OutcomeEvent: TypeAlias = ItemSucceeded | ItemFailed | ItemInterrupted
"""What becomes of a start whose fn began."""

EventArray: TypeAlias = tuple[Any, ...]
"""An event as it is stored, ``(type number, field, ...)``: see `wal_runner.core.arrays`."""


class Record(NamedTuple):
    """One value of the log: events of one session, committed together, as their arrays.

    *time_ns* is wall time at commit; only shown, never compared. *chain* covers this record
    and all before it. Event number ``i`` has seq ``first_seq + i``.
    """

    first_seq: int
    session: int
    time_ns: int
    arrays: tuple[EventArray, ...]
    chain: bytes = b""

    @property
    def last_seq(self) -> int:
        """Give the seq of the record's last event."""
        return self.first_seq + len(self.arrays) - 1
