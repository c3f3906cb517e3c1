"""Compaction: fold what can be folded, drop it from the log, give its disk space back.

Imported by the command line. Invariant: nothing is dropped that the snapshot does not stand for, so
items that are done are never forgotten, and what is in doubt keeps its start, its session and its
reason. A crash at any point leaves the log as it was, or compacted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wal_runner.core.events import LogCompacted, Status
from wal_runner.errors import LogBusy
from wal_runner.failpoints import failpoint
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.recover import open_writer


if TYPE_CHECKING:
    import os

    from wal_runner.core.events import Event
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.writer import LogWriter

RECORDS_A_TURN: Final = 256
"""So many records are dropped in one turn: the gate is free in between."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did, or with a dry run would do. Sizes are in bytes.

    *space_kept_because* says why the file keeps its size, "" where it was rewritten.
    """

    path: str
    base_seq: int
    events_dropped: int
    items: int
    in_doubt_kept: int
    bytes_before: int
    bytes_after: int
    rewritten: bool
    space_kept_because: str = ""


def compact(path: str | os.PathLike[str], *, accept_copy: bool = False) -> Compaction:
    """Compact the log at *path*; durable on return.

    Other sessions may run meanwhile: then the events are folded and dropped, and the file keeps its
    size, with the freed pages used again. Events that were dropped can be replayed no more.
    """
    writer, _created = open_writer(path, must_exist=True, accept_copy=accept_copy)
    try:
        return compact_with(writer)
    finally:
        writer.close()


def compact_with(writer: LogWriter) -> Compaction:
    """Compact the log of *writer*, which stays open. See `compact`."""
    before = writer.log.room()
    base_before = writer.log.base()[0]
    state = _fold(writer)
    base_seq = _drop(writer, state)
    kept = ""
    try:
        with writer.lock:
            writer.log.rewrite()
    except LogBusy as busy:
        kept = str(busy)
    after = writer.log.room()
    return Compaction(
        path=str(writer.log.path),
        base_seq=base_seq,
        events_dropped=base_seq - base_before,
        items=after.rows,
        in_doubt_kept=state.counts[Status.IN_DOUBT],
        bytes_before=before.file_bytes,
        bytes_after=after.file_bytes,
        rewritten=not kept,
        space_kept_because=kept,
    )


def plan(path: str | os.PathLike[str]) -> Compaction:
    """Say what `compact` would do, and write nothing. *bytes_after* is an estimate."""
    with LogView.open(path) as view:
        state, room, base_seq = view.state(), view.log.room(), view.log.base()[0]
        reports = view.sessions()
        others = [report.info.number for report in reports if report.alive]
        items = sum(state.counts.values())
        kept = f"Sessions {others} are using the log." if others else ""
        # Measured: about 40 bytes for a row of a short id without a result.
        estimate = min(room.used_bytes, 64 * 1024 + 48 * items)
        return Compaction(
            path=view.path,
            base_seq=state.seq,
            events_dropped=state.seq - base_seq,
            items=items,
            # Compaction begins as every opening does: by recording who died.
            in_doubt_kept=sum(len(report.doubts) for report in reports),
            bytes_before=room.file_bytes,
            bytes_after=room.file_bytes if kept else estimate,
            rewritten=not kept,
            space_kept_because=kept,
        )


def _fold(writer: LogWriter) -> State:
    """Bring the snapshot up to the end of the log, and give what it holds beside its rows."""
    failpoint("compact.before_fold")
    writer.take_snapshot()
    return writer.log.snapshot()


def _drop(writer: LogWriter, state: State) -> int:
    """Drop the records up to the snapshot, a few at a time; give the new base."""
    failpoint("compact.before_drop")

    def begin(turn: Turn) -> list[Event]:
        # First of all what a replay will begin with: a crash between two turns finds it there.
        turn.put_base_state(state)
        return []

    writer.turn(begin, snapshot=False)
    reached = writer.log.base()[0]
    done = False

    def drop(turn: Turn) -> list[Event]:
        nonlocal reached, done
        base_seq, base_hash = turn.drop(state.seq, records_max=RECORDS_A_TURN)
        done = base_seq in {reached, state.seq}
        reached = base_seq
        return [LogCompacted(base_seq, base_hash)] if done else []

    while not done:
        writer.turn(drop, snapshot=False)
    failpoint("compact.after_drop")
    return reached
