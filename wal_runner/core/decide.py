"""What a run does with an item that it meets: the one place where that is decided.

Pure. Used by the dispatcher, inside the transaction that starts the item. Invariant: START is the
answer only for an item of which it is known that it is not done and that nobody runs it (P2).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, assert_never

from wal_runner.core.events import Status


if TYPE_CHECKING:
    from wal_runner.core.items import ItemState


class Course(Enum):
    """What to do with an item."""

    START = "start"
    REDO = "redo"
    """In doubt, and declared idempotent: settle the doubt on record, then start."""
    SKIP = "skip"
    FAILED = "failed"
    """It failed during this run, in another session: not tried again by this run."""
    HOLD = "hold"
    """In doubt: held until there is evidence."""
    ABANDONED = "abandoned"
    ELSEWHERE = "elsewhere"
    DUPLICATE = "duplicate"


def course(item: ItemState | None, *, began_at: int, is_mine: bool, idempotent: bool) -> Course:  # noqa: PLR0911
    """Decide about an item, given what the log says of it.

    *began_at* is the last seq before this run; *is_mine* says whether this very run made the item's
    last start. A failure is tried again only if it is older than the run, so that four processes
    over one list do not each repeat the same failing item.
    """
    if item is None or item.status is Status.PENDING:
        return Course.START
    if is_mine:
        return Course.DUPLICATE
    match item.status:
        case Status.SUCCEEDED:
            return Course.SKIP
        case Status.FAILED:
            return Course.START if item.failed_seq <= began_at else Course.FAILED
        case Status.IN_DOUBT:
            return Course.REDO if idempotent else Course.HOLD
        case Status.ABANDONED:
            return Course.ABANDONED
        case Status.STARTED:
            return Course.ELSEWHERE
        case _:
            assert_never(item.status)
