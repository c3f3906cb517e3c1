"""Verify a log: its structure, its chain, its rows, and that they all tell the same.

Imported by the command line. Invariant: writes nothing, and damage is reported, never raised. What
LMDB could stumble over is looked at in pure Python first, so no damage can take the caller down.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from wal_runner.core.arrays import events_of
from wal_runner.core.events import Status
from wal_runner.core.formats import format_of
from wal_runner.errors import RESTORE, Compacted, LogCorrupt, LogError, LogLost, LogTooNew, LogUnsafe, LogWentBack
from wal_runner.log import opening
from wal_runner.log.folder import read_identity
from wal_runner.log.rows import SUM_MODULUS, encode_row, row_key, stored_checksum
from wal_runner.log.structure import structural_problems
from wal_runner.recovery.loading import load, records_after
from wal_runner.recovery.reader import SCAN_ROWS, LogView
from wal_runner.recovery.replay import ITEMS_HELD_MAX


if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from wal_runner.core.state import State
    from wal_runner.log.protocol import Log

TRIES_MAX: Final = 3
"""A log that is written while it is verified is looked at again, so many times."""

DAMAGE: Final = (LogCorrupt, LogWentBack, LogLost, LogTooNew, LogUnsafe)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be. *part* says where: structure, chain, format, rows, state, folder."""

    part: str
    text: str
    seq: int | None = None


def verify(path: str | os.PathLike[str]) -> Iterator[Problem]:
    """Give every problem of the log at *path*, as it is found; none means that it is sound.

    Reads all of it. Raises only what says that there is nothing to verify: `LogMissing`, `NotALog`,
    `LogBusy`, `LogReadOnly`.
    """
    folder = Path(path).absolute()
    try:
        read_identity(folder)
        problems = list(structural_problems(folder))
    except DAMAGE as error:
        yield Problem("folder", str(error))
        return
    if problems:
        yield from (Problem("structure", text) for text in problems)
        return
    try:
        log = opening.open_for_reading(folder)
    except DAMAGE as error:
        yield _problem("folder", error)
        return
    try:
        yield from _content_problems(log)
    finally:
        opening.close(log)


def _content_problems(log: Log) -> Iterator[Problem]:
    # The chain before the view, which folds the tail too and would name its damage less well.
    try:
        folded, needs = _folded(log)
        # After the walk: the format is raised in the very commit that writes what needs it.
        found = log.format()
    except DAMAGE as error:
        yield _problem("chain", error)
        return
    if needs.format > found:
        yield Problem(
            "format",
            f"Event {needs.seq} needs format {needs.format}, and the log says that it is in format {found}: an older "
            f"wal_runner would open it and call it damaged. Use no older version on it. {RESTORE}",
            needs.seq,
        )
    try:
        view = LogView(log, load(log))
    except DAMAGE as error:
        yield _problem("rows", error)
        return
    yield from _row_problems(view, folded)


class _Needs(NamedTuple):
    """The highest format that an event needs, and the first such event."""

    format: int
    seq: int


def _folded(log: Log) -> tuple[State, _Needs]:
    for _ in range(TRIES_MAX - 1):
        try:
            return _fold_all(log)
        except Compacted:
            continue  # what was to be walked next is in the snapshot now
    return _fold_all(log)


def _fold_all(log: Log) -> tuple[State, _Needs]:
    """Walk the chain from the base to the end, every field of every event checked; return what it adds up to."""
    state = log.base_state()
    needs = _Needs(1, 0)
    for record in records_after(log, state.seq):
        events_of(record)
        for seq, array in enumerate(record.arrays, record.first_seq):
            if format_of(array) > needs.format:
                needs = _Needs(format_of(array), seq)
        state.apply(record)
        if len(state.items) > ITEMS_HELD_MAX:
            state.freeze()
            state.drop_frozen()
    return state, needs


def _row_problems(view: LogView, folded: State) -> Iterator[Problem]:
    log = view.log
    for _ in range(TRIES_MAX):
        sums = log.row_sums()
        try:
            state = view.state()
            seq = state.seq  # the view folds what is appended into this very state
            statuses, found = _count_rows(log, state)
        except DAMAGE as error:
            yield _problem("rows", error)
            return
        if log.row_sums() == sums and view.state().seq == seq:
            break
    else:
        return  # it is being written too fast to be compared; what could be checked alone was sound
    if found != sums:
        yield Problem("rows", f"{found[0]} rows add up to {found[1]:016x}; {sums[0]} and {sums[1]:016x} were written.")
    if statuses != {status: count for status, count in state.counts.items() if count}:
        yield Problem("rows", f"The items are {_words(statuses)}, and the counts say {_words(state.counts)}.")
    if folded.seq == state.seq and (folded.counts, folded.open) != (state.counts, state.open):
        yield Problem(
            "state",
            f"The events add up to {_words(folded.counts)}, and the snapshot with its tail to {_words(state.counts)}.",
        )


def _count_rows(log: Log, state: State) -> tuple[dict[Status, int], tuple[int, int]]:
    """Count the items by status, and sum up the stored rows."""
    touched = dict(state.touched())
    statuses: Counter[Status] = Counter(Status(row[0]) for row in touched.values())
    rows = total = 0
    after = b""
    while True:
        page, after = log.scan(after, limit=SCAN_ROWS)
        if not page:
            break
        for item_id, row in page:
            key = row_key(item_id)
            rows += 1
            total += stored_checksum(encode_row(key, item_id, row))
            if item_id not in touched:
                statuses[Status(row[0])] += 1
    return dict(statuses), (rows, total % SUM_MODULUS)


def _problem(part: str, error: LogError) -> Problem:
    return Problem(part, str(error), getattr(error, "seq", None))


def _words(counts: dict[Status, int]) -> str:
    return ", ".join(f"{count:,} {status.word}" for status, count in counts.items() if count) or "none"
