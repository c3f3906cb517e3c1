"""What an engine that keeps a log must do. One conformance suite runs against every engine.

Imported by recovery and the runner, which know no engine beyond these types. Invariant: whatever
changes a log happens inside `Log.exclusive`, in one transaction that is durable when it returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from wal_runner.core.events import Event, EventArray, OutcomeEvent, Record
    from wal_runner.core.items import Row, SessionInfo, ShortRow
    from wal_runner.core.state import State
    from wal_runner.log.scratch import Remains

GATE_WAIT_S = 5.0
"""After so long in front of the gate the wait ends in `LogBusy`, which names who holds it."""


class Liveness(NamedTuple):
    """What the kernel says of a session: whether its process is alive, or at least its effects.

    *alive* is what counts: a session is dead only when nothing holds its lock any more. When
    *owner_alive* is false and *alive* is true, the process died and a command that it started
    is still running.
    """

    alive: bool
    owner_alive: bool


class Room(NamedTuple):
    """How much the log takes on disk, in bytes and events."""

    file_bytes: int
    used_bytes: int
    records: int
    rows: int


class Scratch(Protocol):
    """The scratch slots of a session: what became of its starts since the last commit.

    `begin` and `finish` may be called by any thread; the rest is the dispatcher's.
    """

    def free_slots(self) -> int:
        """Say how many more starts can be armed."""

    def take(self, count: int) -> list[int]:
        """Take *count* slots; those that are not armed after all go to `disarm`."""

    def arm(self, slot: int, start_seq: int) -> None:
        """Mark that the fn of a start has not begun. Call before the start is durable."""

    def arm_all(self, slots: Iterable[int], first_seq: int) -> None:
        """Arm one slot after the other, for starts whose seqs follow each other."""

    def begin(self, slot: int, start_seq: int) -> None:
        """Mark that fn is about to be called."""

    def finish(self, slot: int, start_seq: int, event: OutcomeEvent) -> None:
        """Keep the outcome until its commit is durable."""

    def is_armed(self, slot: int, start_seq: int) -> bool:
        """Return whether the slot says that the start's fn has not begun."""

    def reclaim(self, kept: Collection[int]) -> None:
        """Take back every slot except *kept*. Call when no other slot names a start without an outcome."""

    def free(self, slots: Iterable[int]) -> None:
        """Take slots back, once the commit of their outcomes is durable."""

    def disarm(self, slots: Iterable[int]) -> None:
        """Take back slots whose starts did not come about."""

    def close(self) -> None:
        """Refuse every store from now on, by `LogClosed`: no fn begins any more."""


class Session(Protocol):
    """A session's lock. It is released by `close`, or by the kernel when its holders died."""

    @property
    def number(self) -> int:
        """Give the session's number, which no other session of this log ever has."""

    @property
    def descriptor(self) -> int | None:
        """Give the descriptor that a child must inherit to keep the session alive, if there is one."""

    def item_locked(self, slot: int) -> AbstractContextManager[int | None]:
        """Hold the lock of the item that is armed in *slot*, for the length of a block.

        It gives the descriptor that a command of that item must inherit, or None if there is none: while the
        command holds it and the item is started, the session is alive. The command can write nothing by it.
        Raises a `LogError` if there can be no lock; then start no command.
        """

    @property
    def scratch(self) -> Scratch:
        """Give the session's scratch slots."""

    def close(self) -> None:
        """Release the lock and remove what stood for the session. Call after SessionClosed."""

    def abandon(self) -> None:
        """Release the lock and leave the rest, as a crash would."""


class Turn(Protocol):
    """One exclusive, all-or-nothing turn at the log: catch up, decide, append."""

    @property
    def records(self) -> Sequence[Record]:
        """Give what was appended since the seq that the turn was asked for."""

    @property
    def end(self) -> int:
        """Give the last seq, appended ones of this turn included."""

    @property
    def appended(self) -> Sequence[Record]:
        """Give what this turn appended so far."""

    def append(self, session: int, events: Sequence[Event | EventArray]) -> None:
        """Add *events* of *session*; they are durable when the turn has ended without an error."""

    def copied_from(self) -> str:
        """Return what `Log.copied_from` returns, as of this turn."""

    def keep_place(self) -> None:
        """Make this the place at which the log was last used, if it is another one. Durable with the turn."""

    def new_session(self, last: int) -> Session:
        """Take a number above *last* that was never used, and its lock.

        Append its SessionOpened in this turn. Raise `LogTooNew` if the log was raised to a format
        that this version does not read since it was opened.
        """

    def format(self) -> int:
        """Return the format that the log is in, as of this turn."""

    def require_format(self, version: int, unended: Iterable[SessionInfo]) -> None:
        """Raise the log to format *version* in this very turn, durable with it and undone with it.

        Call before `append` of anything that a reader of a lower format cannot read. Do nothing if
        the log is in that format already, or in a higher one.

        Args:
            version: the format that is needed, at most `wal_runner.log.format.FORMAT_VERSION`.
            unended: the sessions that have not ended on record, as of this turn.

        Raises:
            OlderVersionRunning: one of *unended* is running with a version that does not read the
                format. The turn can go on; nothing has changed.

        """

    def liveness(self, sessions: Iterable[int]) -> Mapping[int, Liveness]:
        """Ask the kernel who lives. One that is dead can append nothing after this turn."""

    def remains(self, session: int) -> Mapping[int, Remains]:
        """Give what a dead session's slots say of its starts, by start_seq; silence is doubt."""

    def strays(self, unended: Collection[int]) -> Sequence[int]:
        """Give dead sessions that left something behind and are not among *unended*.

        They died between two steps of their birth or of their end; `retire` cleans up after them.
        """

    def retire(self, sessions: Iterable[int]) -> None:
        """Remove what stood for dead *sessions*, once this turn is durable."""

    def reserve(self, running: int) -> None:
        """Make sure of room for the outcomes of *running* items, or raise `DiskFull`."""

    def look_up(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Give what `Log.look_up` gives, as of this turn."""

    def snapshotter(self) -> int:
        """Give the session that writes a snapshot at this time, or 0; it may be dead by now."""

    def set_snapshotter(self, session: int) -> None:
        """Say which session writes a snapshot from now on; 0 for none."""

    def put_rows(self, rows: Sequence[tuple[str, ShortRow]], *, seconds_max: float) -> int:
        """Write *rows* to the snapshot table for about *seconds_max*; say how many were written.

        They are written in the order given; sorted is quickest.
        """

    def put_snapshot(self, state: State) -> int:
        """Make the snapshot stand for *state*, whose items have all been put; give its digest."""

    def put_base_state(self, state: State) -> None:
        """Keep *state*, without its items, as what the log begins with once it is dropped up to there.

        A newer one that is kept already stays: another compaction may have dropped what *state* would need.
        """

    def drop(self, until: int, *, records_max: int) -> tuple[int, bytes]:
        """Remove records up to *until*, *records_max* at most; give the new base, as `Log.base`.

        The snapshot stands for what is dropped, so *until* is at most the snapshot's seq.
        """


class Log(Protocol):
    """A log in some engine, opened for reading or for writing."""

    @property
    def log_id(self) -> str:
        """Give the log's own name, made at random when it was created."""

    @property
    def path(self) -> Path:
        """Give where the log is."""

    @property
    def read_only(self) -> bool:
        """Say whether this handle may write."""

    def exclusive(self, after: int, *, wait_s: float = GATE_WAIT_S) -> AbstractContextManager[Turn]:
        """Begin a turn that has caught up from *after*.

        Leaving the block commits what was appended; an exception in it appends nothing. Raise
        `CommitUnknown` when the commit itself failed: fold again and look. Raise `LogBusy` after
        *wait_s* in front of the gate, `Compacted` when events after *after* were dropped.
        """

    def read(self, after: int, *, limit: int) -> Iterator[Record]:
        """Give at most *limit* records after seq *after*, in order and without a gap.

        None at the end of the log. They are copied at once, and decoded one by one as they are taken: a page
        of decoded events is large, and slows down whoever folds it. Raise `Compacted` when they were dropped.
        """

    def snapshot(self) -> State:
        """Give the state of the snapshot, without its items; a new state where there is none.

        Raises `LogCorrupt` where it is of another history than the log.
        """

    def look_up(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Give the snapshot's rows of *ids*, in their order, checked but not decoded; None where there is none.

        `wal_runner.log.rows` reads them: millions of finished items are looked up for their status only.
        """

    def scan(self, after_key: bytes, *, limit: int) -> tuple[Sequence[tuple[str, Row]], bytes]:
        """Give at most *limit* rows in key order after *after_key*, and where to go on.

        Start from ``b""``; the end is an empty page.
        """

    def row_sums(self) -> tuple[int, int]:
        """Give how many rows the snapshot table should hold, and the order-free sum of their checksums."""

    def snapshotter(self) -> int:
        """Return the session that writes a snapshot, or was writing one when it died; 0 if every one is whole."""

    def check_rows(self) -> None:
        """Make sure that every row is there as it was put, where something may have happened to them.

        That is after the log was opened, where it is not as its last commit left it, or is so small that
        it costs nothing; else do nothing. Raise `LogCorrupt`. A row that is missing would be an item that
        looks new, and be done again.
        """

    def copied_from(self) -> str:
        """Return the place where the log was last used, if this is another one; "" if it is not, or nobody can know.

        At another place it is a copy, a restored backup, or was moved to another disk.
        """

    def format(self) -> int:
        """Return the format that the log is in now: 1 until something was written that needs a higher one."""

    def base(self) -> tuple[int, bytes]:
        """Give the seq up to which events were dropped, and the chain hash there."""

    def base_state(self) -> State:
        """Give the state that a replay begins with, without items: at the base, or a little after it.

        Raises `LogCorrupt` where there should be one and is none, or it is of another history than the log.
        """

    def liveness(self, sessions: Iterable[int]) -> Mapping[int, Liveness]:
        """Ask the kernel who lives, without a turn. It may be otherwise a moment later."""

    def remains_of(self, sessions: Iterable[int]) -> Mapping[int, Mapping[int, Remains]]:
        """Give what `Turn.remains` gives of each of *sessions*, without a turn."""

    def room(self) -> Room:
        """Tell how much the log takes."""

    def rewrite(self) -> None:
        """Give disk space back by a verified copy in key order and an atomic swap.

        Call when no other session lives; it is asked again under the gate, and `LogBusy` raised.
        """

    @property
    def is_entered(self) -> bool:
        """Whether this thread is in a turn, or in one that an exception left open."""

    def break_off(self) -> None:
        """Undo the turn that an exception left open in this thread, and leave the log to others.

        Call it where this thread is in no turn. Without such a turn it does nothing.
        """

    def abandon_sessions(self) -> None:
        """Release the locks of the sessions that began on this handle, as a crash would."""

    def close(self) -> None:
        """Release everything but the sessions. Calling it again does nothing."""
