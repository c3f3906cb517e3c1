"""The one table of what may happen to an item, keyed on (status, event, current or stale).

Pure. Imported by the fold, by the decisions and by the test that walks every cell. Invariant:
whatever is not in the table is illegal, and a log that holds it is corrupt.

An attempt is *current* while its start is the item's last one and has no outcome yet (it stands
in the table of open attempts); otherwise it is *stale*. A stale outcome is real news about the
world (attempt 500 was interrupted, redone as 900, and then 500 returned), so it never raises; it
is recorded as a conflict and changes nothing, because a newer fact already stands.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from wal_runner.core.events import Status


class Happening(Enum):
    """What can happen to an item. Verdicts and late outcomes count by what they say."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    FAILED_FINALLY = "failed for good"
    INTERRUPTED = "interrupted"
    RELEASED = "released"
    VERDICT_HAPPENED = "verdict: happened"
    VERDICT_DID_NOT_HAPPEN = "verdict: did not happen"
    VERDICT_ABANDON = "verdict: abandon"
    REOPENED = "reopened"
    HELD = "held"
    GIVEN_UP = "given up"
    ATTESTED_SUCCEEDED = "attested: succeeded"
    ATTESTED_FAILED = "attested: failed"
    ATTESTED_IN_DOUBT = "attested: in doubt"
    LATE_SUCCESS = "late success"
    LATE_FAILURE = "late failure"
    SESSION_LOST = "session lost"


class Attempt(Enum):
    """Whether the event speaks of the item's open attempt, or of one that is over."""

    CURRENT = "current"
    STALE = "stale"


class Conflict(Enum):
    """The answer of the table for news that comes too late to change anything."""

    CONFLICT = "conflict"


CONFLICT: Final = Conflict.CONFLICT

OUTCOMES: Final = (
    Happening.SUCCEEDED,
    Happening.FAILED,
    Happening.FAILED_FINALLY,
    Happening.INTERRUPTED,
    Happening.LATE_SUCCESS,
    Happening.LATE_FAILURE,
)

TRANSITIONS: Final[dict[tuple[Status, Happening, Attempt], Status | Conflict]] = {
    # A start makes a new current attempt. Pending covers what the log has never heard of.
    (Status.PENDING, Happening.STARTED, Attempt.CURRENT): Status.STARTED,
    (Status.FAILED, Happening.STARTED, Attempt.CURRENT): Status.STARTED,
    # What the session that runs the item says of its open attempt.
    (Status.STARTED, Happening.SUCCEEDED, Attempt.CURRENT): Status.SUCCEEDED,
    (Status.STARTED, Happening.FAILED, Attempt.CURRENT): Status.FAILED,
    (Status.STARTED, Happening.FAILED_FINALLY, Attempt.CURRENT): Status.ABANDONED,
    (Status.STARTED, Happening.INTERRUPTED, Attempt.CURRENT): Status.IN_DOUBT,
    (Status.STARTED, Happening.RELEASED, Attempt.CURRENT): Status.PENDING,
    (Status.STARTED, Happening.SESSION_LOST, Attempt.CURRENT): Status.IN_DOUBT,
    # An interrupted thread may still return, in the session that interrupted it: the best
    # evidence there is.
    (Status.IN_DOUBT, Happening.SUCCEEDED, Attempt.CURRENT): Status.SUCCEEDED,
    (Status.IN_DOUBT, Happening.FAILED, Attempt.CURRENT): Status.FAILED,
    (Status.IN_DOUBT, Happening.FAILED_FINALLY, Attempt.CURRENT): Status.ABANDONED,
    (Status.IN_DOUBT, Happening.INTERRUPTED, Attempt.CURRENT): Status.IN_DOUBT,
    (Status.IN_DOUBT, Happening.LATE_SUCCESS, Attempt.CURRENT): Status.SUCCEEDED,
    (Status.IN_DOUBT, Happening.LATE_FAILURE, Attempt.CURRENT): Status.FAILED,
    (Status.IN_DOUBT, Happening.SESSION_LOST, Attempt.CURRENT): Status.IN_DOUBT,
    # Verdicts apply only while that very start is in doubt.
    (Status.IN_DOUBT, Happening.VERDICT_HAPPENED, Attempt.CURRENT): Status.SUCCEEDED,
    (Status.IN_DOUBT, Happening.VERDICT_DID_NOT_HAPPEN, Attempt.CURRENT): Status.PENDING,
    (Status.IN_DOUBT, Happening.VERDICT_ABANDON, Attempt.CURRENT): Status.ABANDONED,
    # A reopening speaks of an attempt that is over, so it is always about a stale one.
    (Status.SUCCEEDED, Happening.REOPENED, Attempt.STALE): Status.PENDING,
    (Status.FAILED, Happening.REOPENED, Attempt.STALE): Status.PENDING,
    (Status.ABANDONED, Happening.REOPENED, Attempt.STALE): Status.PENDING,
    # A verdict that is taken back, and an item that is given up by hand, name an attempt that is over.
    (Status.SUCCEEDED, Happening.HELD, Attempt.STALE): Status.IN_DOUBT,
    (Status.PENDING, Happening.HELD, Attempt.STALE): Status.IN_DOUBT,
    (Status.ABANDONED, Happening.HELD, Attempt.STALE): Status.IN_DOUBT,
    (Status.FAILED, Happening.GIVEN_UP, Attempt.STALE): Status.ABANDONED,
    # An import has no attempt of this log. The fold demands in addition that the log does not know the item.
    (Status.PENDING, Happening.ATTESTED_SUCCEEDED, Attempt.STALE): Status.SUCCEEDED,
    (Status.PENDING, Happening.ATTESTED_FAILED, Attempt.STALE): Status.FAILED,
    (Status.PENDING, Happening.ATTESTED_IN_DOUBT, Attempt.STALE): Status.IN_DOUBT,
    # News of an attempt that is over changes nothing, whatever became of the item since.
    **{(status, happening, Attempt.STALE): CONFLICT for status in Status for happening in OUTCOMES},
}


def transition(status: Status, happening: Happening, attempt: Attempt) -> Status | Conflict | None:
    """Give the item's next status, `CONFLICT`, or None where it is illegal."""
    return TRANSITIONS.get((status, happening, attempt))
