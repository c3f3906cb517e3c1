"""State from a log: the snapshot, then the tail.

Imported by the writer and the readers. Invariant: what is loaded is the fold of the whole log, with
the snapshot's rows standing for the items that the tail does not touch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.core.events import Status
from wal_runner.errors import RESTORE, Compacted, LogCorrupt
from wal_runner.log.format import READ_RECORDS_MAX


if TYPE_CHECKING:
    from collections.abc import Iterator

    from wal_runner.core.events import Record
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Log

LOADS_MAX = 10
"""A compaction may drop what we are about to read; each time we begin again, at the newer snapshot."""


def load(log: Log) -> State:
    """Give the state at the end of *log*; items that only the snapshot holds are in its rows."""
    for _ in range(LOADS_MAX):
        state = log.snapshot()
        _check_open(log, state)
        try:
            catch_up(log, state)
        except Compacted:
            continue
        return state
    raise Compacted(f"{log.path} was compacted {LOADS_MAX} times while it was read. Try again.")


def _check_open(log: Log, state: State) -> None:
    """Raise `LogCorrupt` where an open attempt is missing: a doubt that nobody would hear of."""
    counted = state.counts[Status.STARTED] + state.counts[Status.IN_DOUBT]
    if len(state.open) != counted:
        raise LogCorrupt(
            f"The snapshot of {log.path} holds {len(state.open)} open attempts, and counts {counted}. Run `walrun "
            f"verify`. {RESTORE}"
        )


def catch_up(log: Log, state: State) -> None:
    """Fold what was appended after *state* into it."""
    for record in records_after(log, state.seq):
        state.apply(record)


def records_after(log: Log, after: int) -> Iterator[Record]:
    """Give the records behind seq *after*, to the end of the log as it is then.

    The gate is entered anew for each page, so a long read holds up nobody. Raise `Compacted` when
    what is next was dropped meanwhile.
    """
    before = None
    while after != before:
        before = after
        for record in log.read(after, limit=READ_RECORDS_MAX):
            yield record
            after = record.last_seq
