"""The rows of the snapshot, held against the events.

Imported by verification. Invariant: reads only, and holds a bounded number of items, however long the log is: a log of
many is folded once for each range of keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from wal_runner.core.arrays import SNAPSHOT_TAKEN, events_of
from wal_runner.core.events import SnapshotTaken, Status
from wal_runner.core.formats import format_of
from wal_runner.core.items import long_row
from wal_runner.core.state import State
from wal_runner.log.rows import row_key
from wal_runner.recovery.loading import records_after
from wal_runner.recovery.reader import SCAN_ROWS


if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from wal_runner.core.items import Row
    from wal_runner.log.protocol import Log

ITEMS_COMPARED_MAX: Final = 500_000
"""Items that one fold holds: some 150 MB. A log of ten million items is folded twenty to forty times."""

NAMED_MAX: Final = 10
"""Rows that are named one by one; the rest is counted."""


class Needs(NamedTuple):
    """The highest format that an event needs, and the first such event."""

    format: int
    seq: int


@dataclass
class Fold:
    """The events folded up to the end of the log, with the items whose keys lie in one range.

    The range reaches from *after*, without it, to *until*, or to the last key if that is None.
    """

    state: State
    after: bytes
    until: bytes | None = None
    taken: SnapshotTaken | None = None
    """The last snapshot that was taken."""
    needs: Needs = Needs(1, 0)  # noqa: RUF009 - it does not change

    def holds(self, key: bytes) -> bool:
        """Return whether *key* lies in the range."""
        return key > self.after and (self.until is None or key <= self.until)


def fold_all(log: Log, after: bytes = b"") -> Fold:
    """Walk the chain from the base to the end, every field of every event checked.

    Keep the items of the keys after *after*: all, or as many as are compared at once.
    """
    base_seq, base_chain = log.base()
    if base_seq:
        state = log.base_state()
    else:
        # A compaction that died before it dropped anything has left a base state, and all events are still there.
        state = State()
        state.chain = base_chain
    folded = Fold(state, after)
    for record in records_after(log, state.seq):
        events = events_of(record)
        for seq, array in enumerate(record.arrays, record.first_seq):
            if format_of(array) > folded.needs.format:
                folded.needs = Needs(format_of(array), seq)
        state.apply(record)
        if any(array[0] == SNAPSHOT_TAKEN for array in record.arrays):
            folded.taken = [event for _, event in events if isinstance(event, SnapshotTaken)][-1]
        if len(state.items) > ITEMS_COMPARED_MAX:
            _narrow(folded)
    return folded


def differences(log: Log, folded: Fold, touched: Container[str]) -> Iterator[str]:
    """Yield what stored rows say otherwise than the events do, for the range of *folded*.

    Items in *touched* are left out: the events after the snapshot say how they are, not their rows.
    """
    items = folded.state.items
    found = _differing(log, folded, touched, items)
    for item_id, stored, said in islice(found, NAMED_MAX):
        yield f"The row of {item_id!r:.80} says {_words(stored)}, and the events say {_words(said)}."
    if more := sum(1 for _ in found):
        yield f"{more:,} more rows say something else than the events."


def _differing(
    log: Log, folded: Fold, touched: Container[str], items: dict[str, int | Row]
) -> Iterator[tuple[str, Row | None, Row | None]]:
    after = folded.after
    seen = 0
    while True:
        page, after = log.scan(after, limit=SCAN_ROWS)
        for item_id, row in page:
            if not folded.holds(row_key(item_id)):
                page = ()
                break
            said = items.get(item_id)
            seen += said is not None
            if item_id not in touched and (said is None or long_row(said) != row):
                yield item_id, row, None if said is None else long_row(said)
        if not page:
            break
    if seen < len(items):
        yield from _missing(log, items, touched)


def _missing(
    log: Log, items: dict[str, int | Row], touched: Container[str]
) -> Iterator[tuple[str, Row | None, Row | None]]:
    wanted = iter(items)
    while ids := list(islice(wanted, SCAN_ROWS)):
        for item_id, value in zip(ids, log.look_up(ids), strict=True):
            if value is None and item_id not in touched:
                yield item_id, None, long_row(items[item_id])


def _narrow(folded: Fold) -> None:
    """Keep the lower half of the items, by key, and no others from now on."""
    items = folded.state.items
    keys = sorted(key for key in map(row_key, items) if folded.holds(key))
    if len(keys) > ITEMS_COMPARED_MAX // 2:
        folded.until = keys[len(keys) // 2]
    for item_id in [item_id for item_id in items if not folded.holds(row_key(item_id))]:
        del items[item_id]


def _words(row: Row | None) -> str:
    if row is None:
        return "nothing"
    return f"{Status(row[0]).word}, start {row[1]}"
