"""The state of a log by each road that leads to it; all of them must be equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.core.state import fold
from wal_runner.recovery.loading import load, records_after


if TYPE_CHECKING:
    from wal_runner.core.items import Row
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Log
    from wal_runner.recovery.writer import LogWriter


def stored_rows(log: Log) -> dict[str, Row]:
    """Read the whole snapshot table."""
    rows: dict[str, Row] = {}
    after = b""
    while True:
        page, after = log.scan(after, limit=1_000)
        if not page:
            return rows
        rows.update(page)


def loaded(log: Log) -> State:
    """Give the state as a process that opens the log has it: snapshot and tail, the rows filled in."""
    return whole(load(log), log)


def live(writer: LogWriter) -> State:
    """Give the state as a writer has it in memory, caught up, the rows filled in."""
    writer.catch_up()
    return whole(writer.state, writer.log)


def replayed(log: Log) -> State:
    """Give the state as an audit has it: folded from the first event that the log still holds."""
    base = log.base_state()
    if base.seq:
        # Compaction keeps the items in the rows only, so what the tail does not touch is theirs.
        return whole(fold(records_after(log, base.seq), base), log)
    return fold(records_after(log, 0), base)


def whole(state: State, log: Log) -> State:
    """Fill the items in that only the snapshot table holds."""
    filled = state.copy()
    filled.items = {**stored_rows(log), **dict(state.touched())}
    filled.frozen = {}
    return filled
