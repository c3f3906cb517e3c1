"""Verify a log: its structure, its chain, its rows, and that they all tell the same.

Imported by the command line. Invariant: writes nothing, and damage is reported, never raised. What
LMDB could stumble over is looked at in pure Python first, so no damage can take the caller down.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wal_runner.core.events import Status
from wal_runner.errors import RESTORE, Compacted, LogCorrupt, LogError, LogLost, LogTooNew, LogUnsafe, LogWentBack
from wal_runner.log import opening
from wal_runner.log.folder import read_identity
from wal_runner.log.rows import SUM_MODULUS, encode_row, row_key, stored_checksum
from wal_runner.log.structure import structural_problems
from wal_runner.recovery.loading import load
from wal_runner.recovery.reader import SCAN_ROWS, LogView
from wal_runner.recovery.row_audit import Fold, differences, fold_all


if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator

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
        folded = _folded(log)
        # After the walk: the format is raised in the very commit that writes what needs it.
        found = log.format()
    except DAMAGE as error:
        yield _problem("chain", error)
        return
    if folded.needs.format > found:
        yield Problem(
            "format",
            f"Event {folded.needs.seq} needs format {folded.needs.format}, and the log says that it is in format "
            f"{found}: an older wal_runner would open it and call it damaged. Use no older version on it. {RESTORE}",
            folded.needs.seq,
        )
    try:
        view = LogView(log, load(log))
    except DAMAGE as error:
        yield _problem("rows", error)
        return
    if not (yield from _row_problems(view, folded.state)):
        return
    try:
        yield from _told_otherwise(view, folded)
    except DAMAGE as error:
        yield _problem("rows", error)


def _folded(log: Log, after: bytes = b"") -> Fold:
    for _ in range(TRIES_MAX - 1):
        try:
            return fold_all(log, after)
        except Compacted:
            continue  # what was to be walked next is in the snapshot now
    return fold_all(log, after)


def _told_otherwise(view: LogView, folded: Fold) -> Iterator[Problem]:
    """Yield what the rows say otherwise than the events: each row where the history is still there, else their sum."""
    log = view.log
    yield from _digest_problems(view, folded)
    while not log.base()[0]:
        for _ in range(TRIES_MAX):
            before = (view.state().seq, log.row_sums())
            touched = {item_id for item_id, _ in view.state().touched()}
            found = list(differences(log, folded, touched)) if folded.state.seq == before[0] else []
            if folded.state.seq == before[0] == view.state().seq and log.row_sums() == before[1]:
                yield from (Problem("rows", text) for text in found)
                break
            folded = _folded(log, folded.after)  # it was written meanwhile
        if folded.until is None:
            return
        folded = _folded(log, folded.until)


def _digest_problems(view: LogView, folded: Fold) -> Iterator[Problem]:
    log = view.log
    sums, snapshotter, state = log.row_sums(), log.snapshotter(), view.state()
    # Rows of a snapshot that is not whole, or was broken off, are newer than the last one that was taken. They are of
    # items that were touched since.
    is_touched = next(state.touched(), None) is not None
    is_still = state.seq == folded.state.seq and log.row_sums() == sums
    is_comparable = not snapshotter and not is_touched and is_still
    if is_comparable and folded.taken is not None and folded.taken.digest != sums[1]:
        yield Problem(
            "rows",
            f"The rows add up to {sums[1]:016x}, and the snapshot of event {folded.taken.seq} was taken with "
            f"{folded.taken.digest:016x}: rows and their sum were changed.",
        )


def _row_problems(view: LogView, folded: State) -> Generator[Problem, None, bool]:
    """Yield what is wrong with the rows as a whole; return whether each of them could be read."""
    log = view.log
    for _ in range(TRIES_MAX):
        sums = log.row_sums()
        try:
            state = view.state()
            seq = state.seq  # the view folds what is appended into this very state
            statuses, found = _count_rows(log, state)
        except DAMAGE as error:
            yield _problem("rows", error)
            return False
        if log.row_sums() == sums and view.state().seq == seq:
            break
    else:
        return True  # it is being written too fast to be compared; what could be checked alone was sound
    if found != sums:
        yield Problem("rows", f"{found[0]} rows add up to {found[1]:016x}; {sums[0]} and {sums[1]:016x} were written.")
    if statuses != {status: count for status, count in state.counts.items() if count}:
        yield Problem("rows", f"The items are {_words(statuses)}, and the counts say {_words(state.counts)}.")
    if folded.seq == state.seq and (folded.counts, folded.open) != (state.counts, state.open):
        yield Problem(
            "state",
            f"The events add up to {_words(folded.counts)}, and the snapshot with its tail to {_words(state.counts)}.",
        )
    return True


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
