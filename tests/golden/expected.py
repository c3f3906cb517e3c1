"""What the golden files of format 1 say. Nothing here may change: logs like these are on disks.

One history that holds every type of event, each with every field set at least once; the rows of a
snapshot of it; and what its items are. `tools/make_golden.py` wrote the files from this once.
"""

from __future__ import annotations

from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import (
    CursorAdvanced,
    Decision,
    Event,
    ItemFailed,
    ItemInterrupted,
    ItemReconciled,
    ItemReleased,
    ItemReopened,
    ItemStarted,
    ItemSucceeded,
    KeyRuleSet,
    LateOutcome,
    LogCompacted,
    SessionClosed,
    SessionLost,
    SessionOpened,
    SnapshotTaken,
    Status,
)


LONG_ID = "order/" + "0123456789" * 30
T0 = 1_700_000_000_000_000_000
ERROR = ErrorInfo("smtplib.SMTPRecipientsRefused", "no such mailbox", "Traceback (most recent call last):\n  é\n")

# (first seq, session, time, events), a record each.
RECORDS: list[tuple[int, int, int, list[Event]]] = [
    (
        1,
        1,
        T0,
        [
            SessionOpened(
                1, "mailer-1", 4321, "b0071d", ("walrun", "run"), "/srv/mail", "mail", "0.1.0", pid_started="987654"
            ),
            KeyRuleSet("field id", "mail", "first run"),
        ],
    ),
    (3, 1, T0 + 1, [ItemStarted("user-1"), ItemStarted("user-2"), ItemStarted("usér-3"), ItemStarted(LONG_ID)]),
    (
        7,
        1,
        T0 + 2,
        [
            ItemSucceeded(3, 1_500_000),
            ItemFailed(4, 2_500_000, ERROR),
            ItemSucceeded(5, 70_000, b"\x82\xa2id\x07\xa2ok\xc3"),
            ItemSucceeded(6, 2**40, None, "the result has 2,000,000 bytes, over the limit of 1,048,576"),
            CursorAdvanced("pages", b"\xa5page2"),
        ],
    ),
    (
        12,
        1,
        T0 + 3,
        [
            ItemStarted("user-2", 2, 0, Status.FAILED),
            ItemInterrupted(12, 3_000_000, "Ctrl-C, twice", ERROR),
            ItemReconciled(12, Decision.DID_NOT_HAPPEN, "ann", "not in the outbox"),
            ItemStarted("user-2", 3, 0, Status.PENDING),
            ItemReleased(15),
        ],
    ),
    (17, 1, T0 + 4, [ItemStarted("user-4"), ItemStarted("user-5"), ItemStarted("user-6"), ItemStarted("user-7")]),
    (21, 1, T0 + 5, [ItemInterrupted(17, 1, "the reply was lost"), ItemInterrupted(18, 0, "")]),
    (
        23,
        1,
        T0 + 6,
        [
            ItemReconciled(17, Decision.HAPPENED, "ann", "it is in the outbox", b"\xa4sent", None),
            ItemReconciled(18, Decision.ABANDON, "ann", ""),
            ItemReopened("user-1", 3, Status.SUCCEEDED, 1, 1, "ann", "they asked for it again"),
            ItemStarted("user-1", 2, 1, Status.PENDING),
        ],
    ),
    (27, 2, T0 + 7, [SessionOpened(2, "mailer-2", 1, "", (), "/", "", "0.1.0"), SessionLost(1, T0 + 6)]),
    (
        29,
        2,
        T0 + 8,
        [
            ItemStarted("user-8"),
            ItemInterrupted(29, 5, "timed out"),
            ItemReconciled(29, Decision.HAPPENED, "bob", "seen by hand", None, "a set cannot be stored"),
            LateOutcome("user-6", 19, 9, b"\xa4late"),
            LateOutcome("user-7", 20, 9, None, None, ERROR),
            LateOutcome("user-7", 20, 9, None, "it came twice", None),
            SnapshotTaken(16, 12_345_678_901_234_567_890),
            LogCompacted(0, bytes(range(16)), "archive/1"),
            CursorAdvanced("pages", None),
        ],
    ),
    (38, 2, T0 + 9, [SessionClosed(2)]),
]

SNAPSHOT_AT = 16

# What the items are at the end: status, last start, attempts, generation, seq of the failure, result, why
# it was omitted, error.
ITEMS = {
    "user-1": (Status.IN_DOUBT, 26, 2, 1, 0, None, None, None),
    "user-2": (Status.PENDING, 15, 3, 0, 0, None, None, None),
    "usér-3": (Status.SUCCEEDED, 5, 1, 0, 0, b"\x82\xa2id\x07\xa2ok\xc3", None, None),
    LONG_ID: (
        Status.SUCCEEDED,
        6,
        1,
        0,
        0,
        None,
        "the result has 2,000,000 bytes, over the limit of 1,048,576",
        None,
    ),
    "user-4": (Status.SUCCEEDED, 17, 1, 0, 0, b"\xa4sent", None, None),
    "user-5": (Status.ABANDONED, 18, 1, 0, 0, None, None, None),
    "user-6": (Status.SUCCEEDED, 19, 1, 0, 0, b"\xa4late", None, None),
    "user-7": (Status.FAILED, 20, 1, 0, 33, None, None, ERROR),
    "user-8": (Status.SUCCEEDED, 29, 1, 0, 0, None, "a set cannot be stored", None),
}

# Rows of each shape, as plain tuples: trailing defaults are left out.
ROWS: dict[str, tuple[object, ...]] = {
    "started": (1, 7),
    "done": (2, 3),
    "done, with a result": (2, 5, 1, 0, 0, b"\x82\xa2id\x07\xa2ok\xc3"),
    "done, its result omitted": (2, 6, 1, 0, 0, None, "too large"),
    "failed": (3, 4, 2, 1, 8, None, None, tuple(ERROR)),
    "in doubt": (4, 2**40, 2, 1),
    "abandoned": (5, 18),
    "reopened": (0, 3, 1, 1),
    LONG_ID: (2, 6),
}
