"""What the golden logs of format 2 say, a log a feature. What stands here never changes: logs like these are on disks.

`tools/make_golden.py` writes each log once, with the version that introduced its feature. A new feature adds a log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.golden.results_v2 import LARGE, PACKED
from wal_runner.core import events as ev
from wal_runner.core import places
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import Decision, Status
from wal_runner.core.items import ItemState, Pause, SourceEnd


if TYPE_CHECKING:
    from wal_runner.core.events import Event

T0 = 1_800_000_000_000_000_000
LATER = T0 + 3_600_000_000_000
COPIED = "copy of /srv/old.wal, accepted by ann"
ERROR = ErrorInfo("builtins.TimeoutError", "timed out", "Traceback (most recent call last):\n  é\n")


@dataclass(frozen=True)
class Golden:
    """A log: its records, and what it says in the end. A snapshot is taken before the last record."""

    records: list[tuple[int, list[Event]]]
    items: dict[str, ItemState] = field(default_factory=dict)
    says: dict[str, Any] = field(default_factory=dict)

    def stored(self) -> list[tuple[int, int, int, list[Event]]]:
        """Return (first seq, session, time, events) of each record."""
        found, seq = [], 1
        for place, (session, events) in enumerate(self.records):
            found.append((seq, session, T0 + place, events))
            seq += len(events)
        return found


def opened(session: int, accepted: str = "") -> Event:
    """Return the opening of *session*."""
    return ev.SessionOpened(
        session, "mailer-1", 4321, "b0071d", ("walrun", "run"), "/srv/mail", "mail", "0.2.0", "987654", accepted
    )


def state(status: Status, start_seq: int, attempts: int = 1, generation: int = 0, **more: Any) -> ItemState:
    """Return an item."""
    return ItemState(status, start_seq, attempts, generation, **more)


CLOSED: tuple[int, list[Event]] = (1, [ev.SessionClosed(1)])

LOGS: dict[str, Golden] = {
    "failures": Golden(
        [
            (1, [opened(1), ev.ItemStarted("user-1"), ev.ItemStarted("user-2")]),
            (1, [ev.ItemFailed(2, 5, ERROR, 1, LATER), ev.ItemFailed(3, 6, ERROR, 1, LATER)]),
            (1, [ev.ItemStarted("user-1", 2, 0, Status.FAILED, 1), ev.ItemFailed(6, 7, ERROR, 2, final=True)]),
            CLOSED,
        ],
        {
            "user-1": state(Status.ABANDONED, 6, 2, error=ERROR, failures=2),
            "user-2": state(Status.FAILED, 3, failed_seq=5, error=ERROR, failures=1, not_before_ns=LATER),
        },
    ),
    "deaths": Golden(
        [
            (1, [opened(1), ev.ItemStarted("user-1")]),
            (2, [opened(2), ev.SessionLost(1, T0)]),
            (2, [ev.ItemReconciled(2, Decision.DID_NOT_HAPPEN, "idempotent=True", "", deaths=1)]),
            (2, [ev.ItemStarted("user-1", 2, 0, Status.PENDING, deaths=1), ev.ItemInterrupted(6, 5, "Ctrl-C")]),
            (2, [ev.SessionClosed(2)]),
        ],
        {"user-1": state(Status.IN_DOUBT, 6, 2, deaths=1)},
    ),
    "accepted": Golden(
        [
            (1, [opened(1, COPIED), ev.ItemStarted("user-1"), ev.ItemReleased(2)]),
            CLOSED,
        ],
        {"user-1": state(Status.PENDING, 2)},
        {"sessions[1].accepted": COPIED},
    ),
    "texts": Golden(
        [
            (
                1,
                [
                    opened(1),
                    ev.TextSeen(1, "Traceback: a\n"),
                    ev.TextSeen(2, "Traceback: b\n"),
                    ev.ItemStarted("user-1"),
                ],
            ),
            (1, [ev.ItemFailed(4, 5, ERROR._replace(traceback=2)), ev.TextSeen(1, "Traceback: c\n")]),
            CLOSED,
        ],
        {"user-1": state(Status.FAILED, 4, failed_seq=5, error=ERROR._replace(traceback=2))},
        {"texts": {1: "Traceback: c\n", 2: "Traceback: b\n"}},
    ),
    "paused": Golden(
        [(1, [opened(1), ev.PauseSet(paused=True, by="ann", note="the server is down")]), CLOSED],
        says={"paused": Pause("ann", "the server is down", T0)},
    ),
    "continued": Golden(
        [
            (1, [opened(1), ev.PauseSet(paused=True, by="ann", note="the server is down")]),
            (1, [ev.PauseSet(paused=False, by="bob", note="it is up")]),
            CLOSED,
        ],
        says={"paused": None},
    ),
    "run-ended": Golden(
        [
            (1, [opened(1), ev.RunEnded(1, "pages", source_ended=False, because="halt", seen=63, not_started=2)]),
            (1, [ev.RunEnded(1, "", source_ended=False, because="deadline", seen=5, not_started=1)]),
            (1, [ev.RunEnded(1, "", source_ended=True, because="", seen=9, not_started=0)]),
            CLOSED,
        ],
        says={"source_ends": {"pages": SourceEnd(1, "halt", 63, 2, T0)}},
    ),
    "held": Golden(
        [
            (1, [opened(1), ev.ItemStarted("user-1"), ev.ItemInterrupted(2, 5, "timed out")]),
            (1, [ev.ItemReconciled(2, Decision.HAPPENED, "ann", "it is in the outbox", b"\xa4sent")]),
            (1, [ev.ItemHeld("user-1", 2, Status.SUCCEEDED, 1, 0, "ann", "it was another order", 1)]),
            CLOSED,
        ],
        {"user-1": state(Status.IN_DOUBT, 2, deaths=1)},
        {"open[2].reason": "held by ann: it was another order"},
    ),
    "given-up": Golden(
        [
            (1, [opened(1), ev.ItemStarted("user-1"), ev.ItemFailed(2, 5, ERROR)]),
            (1, [ev.ItemGivenUp("user-1", 2, Status.FAILED, 1, 0, "ann", "no such mailbox", ERROR)]),
            CLOSED,
        ],
        {"user-1": state(Status.ABANDONED, 2, error=ERROR)},
    ),
    "attested": Golden(
        [
            (1, [opened(1), ev.ItemAttested("user-1", Status.SUCCEEDED, "ann", "joblog", LATER, b"\xa4sent")]),
            (1, [ev.ItemAttested("user-2", Status.FAILED, "ann", "joblog", error=ERROR)]),
            (1, [ev.ItemAttested("user-3", Status.IN_DOUBT, "ann", "joblog", LATER)]),
            (1, [ev.ItemAttested("user-4", Status.SUCCEEDED, "ann", "", omitted="it was not kept")]),
            CLOSED,
        ],
        {
            "user-1": state(Status.SUCCEEDED, 2, 0, result=b"\xa4sent"),
            "user-2": state(Status.FAILED, 3, 0, failed_seq=3, error=ERROR),
            "user-3": state(Status.IN_DOUBT, 4, 0),
            "user-4": state(Status.SUCCEEDED, 5, 0, omitted="it was not kept"),
        },
        {"results_omitted": 1},
    ),
    "reached": Golden(
        [(1, [opened(1), ev.SessionReached(1, "dask", "tcp://scheduler:8786")]), CLOSED],
        says={"sessions[1].reached": (("dask", "tcp://scheduler:8786"),)},
    ),
    "large-result": Golden(
        [(1, [opened(1), ev.ItemStarted("user-1")]), (1, [ev.ItemSucceeded(2, 5, LARGE)]), CLOSED],
        {"user-1": state(Status.SUCCEEDED, 2, result=LARGE)},
    ),
    "tagged-results": Golden(
        [
            (1, [opened(1), *(ev.ItemStarted(name) for name in PACKED)]),
            (1, [ev.ItemSucceeded(seq, 5, packed) for seq, packed in enumerate(PACKED.values(), 2)]),
            CLOSED,
        ],
        {name: state(Status.SUCCEEDED, seq, result=packed) for seq, (name, packed) in enumerate(PACKED.items(), 2)},
    ),
}

# What has a place in format 2 and no meaning yet: decoded, and refused by the fold. A record each.
PLACES: list[list[Event]] = [
    [ev.ItemStarted("user-1", effects=(("charge", 7, True, b"\x01", None), ("mail", 9, False, None, "too large")))],
    [ev.ItemStarted("user-1", digest=b"digest")],
    [ev.ItemStarted("user-1", function=1)],
    [ev.ItemStarted("user-1", payload=b"\x02")],
    [ev.ItemReopened("user-1", 1, Status.FAILED, 1, 1, "ann", "", (("charge", 7, True, None, None),))],
    [places.EffectStarted(1, "charge")],
    [places.EffectSucceeded(6, 5, b"\x01")],
    [places.EffectFailed(6, 5, ERROR)],
    [places.EffectFailed(6, 5)],
    [places.FunctionSeen(1, "mail.send", "4f2a")],
    [places.ItemForgotten(bytes(range(16)), "ann", "asked to")],
]
