"""Replay: the history of a log, and the state at any point of it. Audit without a server.

Imported by the package and the command line. Invariant: what is replayed is what recovery folds,
record by record, the chain checked on the way.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from wal_runner.core.arrays import events_of
from wal_runner.core.items import item_of
from wal_runner.errors import Compacted
from wal_runner.log import opening
from wal_runner.recovery.loading import records_after
from wal_runner.recovery.reader import HistoryEntry, public_item


if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from wal_runner.core.events import Record
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Log
    from wal_runner.recovery.reader import Item, LogView

Until = int | datetime | None

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ITEMS_HELD_MAX: Final = 100_000


def replay(path: str | os.PathLike[str], until: Until = None) -> State:
    """Fold the log at *path* from its first event, up to *until*, and give the state there.

    *until* is a seq, or a datetime with a time zone (wall time at commit). After a compaction the fold begins
    at the base that it left: counts, sessions and open attempts are whole, and `State.items` holds
    the items that were touched since. Raises `Compacted` where *until* lies before the base,
    `LogCorrupt` where the chain is broken. Writes nothing.
    """
    log = opening.open_for_reading(path)
    try:
        return replay_log(log, until)
    finally:
        opening.close(log)


def replay_log(log: Log, until: Until = None) -> State:
    """As `replay`, for a log that is open."""
    state = base_state(log, until)
    for record in records_until(log, state.seq, until):
        state.apply(record)
    return state


def numbers_at(log: Log, until: Until = None) -> State:
    """As `replay_log`, without the items: the memory is that of the open attempts, however long the log."""
    state = base_state(log, until)
    for record in records_until(log, state.seq, until):
        state.apply(record)
        if len(state.items) > ITEMS_HELD_MAX:
            state.freeze()
            state.drop_frozen()
    return state


def item_at(view: LogView, item_id: str, until: Until = None) -> Item | None:
    """Return one item as it was at *until*, or None if it was not in the log then. Reads the whole log.

    Its result is decoded with the classes of *view*. Raise `Compacted` if that is in the history that a compaction
    dropped.
    """
    base = base_state(view.log, until)
    if until is None:
        return view.item(item_id)
    state = replay_log(view.log, until)
    row = state.row(item_id)
    if row is not None:
        return public_item(item_id, item_of(row), state, view.classes)
    if not base.seq:
        return None
    if replay_log(view.log).row(item_id) is not None:
        raise Compacted(
            f"What {item_id!r} was then is gone: {view.path} was compacted up to event {base.seq}, and the item "
            "changed since. Ask for a later point."
        )
    return view.item(item_id)


def base_state(log: Log, until: Until = None) -> State:
    """Give the state that the log begins with: empty, or what a compaction left.

    Raise `Compacted` where *until* lies before it.
    """
    state = log.base_state()
    if until is None or not state.seq:
        return state
    if isinstance(until, datetime):
        # The base's own time is not kept; its sessions were heard of up to then.
        is_before = _last_ns(until) < max(max(info.last_ns, info.ended_ns) for info in state.sessions.values())
    else:
        is_before = until < state.seq
    if is_before:
        raise Compacted(
            f"{log.path} was compacted up to event {state.seq}, and what was before is gone. Ask for a later point."
        )
    return state


def entries(log: Log, until: Until = None, *, after: int | None = None) -> Iterator[HistoryEntry]:
    """Give the events behind *after*, or all that the log still holds, up to *until*, in order."""
    for record in records_until(log, log.base()[0] if after is None else after, until):
        for seq, event in events_of(record):
            yield HistoryEntry(seq, record.time_ns, record.session, event)


def records_until(log: Log, after: int, until: Until) -> Iterator[Record]:
    """Give the records behind seq *after* up to *until*; the last one may be cut."""
    if isinstance(until, datetime):
        limit_ns = _last_ns(until)
        for record in records_after(log, after):
            # Wall time may go back; the history ends where it first passes the limit.
            if record.time_ns > limit_ns:
                return
            yield record
        return
    for record in records_after(log, after):
        if until is None or record.last_seq <= until:
            yield record
            continue
        if record.first_seq <= until:
            yield record._replace(arrays=record.arrays[: until - record.first_seq + 1])
        return


def _last_ns(until: datetime) -> int:
    """Give the last nanosecond of *until*."""
    if until.tzinfo is None:
        raise ValueError(f"until={until} has no time zone. Add one, as in {until.isoformat()}+00:00.")
    # Times are shown to the microsecond; the event whose time was given is part of the answer.
    return ((until - EPOCH) // timedelta(microseconds=1) + 1) * 1000 - 1
