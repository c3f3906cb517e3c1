"""Events to test with: one of each type in full and in short, and strategies for all that may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import (
    TYPE_NUMBERS,
    CursorAdvanced,
    Decision,
    Event,
    ItemAttested,
    ItemFailed,
    ItemGivenUp,
    ItemHeld,
    ItemInterrupted,
    ItemReconciled,
    ItemReleased,
    ItemReopened,
    ItemStarted,
    ItemSucceeded,
    KeyRuleSet,
    LateOutcome,
    LogCompacted,
    PauseSet,
    RunEnded,
    SessionClosed,
    SessionLost,
    SessionOpened,
    SessionReached,
    SnapshotTaken,
    Status,
    TextSeen,
)
from wal_runner.core.places import EffectFailed, EffectStarted, EffectSucceeded, FunctionSeen, ItemForgotten


if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SEQ = 1_000
"""The number that the examples have; their starts are before it."""

ERROR = ErrorInfo("builtins.ValueError", "no such mailbox", "Traceback (most recent call last):\n  ...")

FULL: dict[type, Event] = {
    SessionOpened: SessionOpened(
        *(7, "mailer", 4321, "b0071d", ("walrun", "run"), "/srv", "mail", "0.1.0"),
        pid_started="99",
        accepted="copy of /srv/mail.wal, accepted by ann",
    ),
    SessionClosed: SessionClosed(7),
    SessionLost: SessionLost(6, 1_700_000_000_000_000_000),
    ItemStarted: ItemStarted(
        *("user-1", 3, 2, Status.FAILED, 2, 1),
        effects=(("charge", 990, True, b"\x01", "too large"),),
        digest=b"digest",
        function=1,
        payload=b"\x02",
    ),
    ItemSucceeded: ItemSucceeded(998, 1_500, b"\xa2ok", "the result was too large"),
    ItemFailed: ItemFailed(998, 1_500, ERROR, 2, 1_700_000_000_000_000_000, final=True),
    ItemInterrupted: ItemInterrupted(998, 1_500, "Ctrl-C, twice", ERROR),
    ItemReleased: ItemReleased(998),
    ItemReconciled: ItemReconciled(998, Decision.HAPPENED, "ann", "it is in the outbox", b"\xa2ok", "too large", 2),
    ItemReopened: ItemReopened("user-1", 998, Status.SUCCEEDED, 3, 4, "ann", "they asked for it", ()),
    LateOutcome: LateOutcome("user-1", 998, 1_500, b"\xa2ok", "too large", ERROR),
    CursorAdvanced: CursorAdvanced("pages", b"\x01"),
    SnapshotTaken: SnapshotTaken(990, 2**64 - 1),
    LogCompacted: LogCompacted(990, bytes(range(16)), "archive/1"),
    KeyRuleSet: KeyRuleSet("field id", "ann", "renamed"),
    ItemAttested: ItemAttested(
        *("user-1", Status.FAILED, "ann", "joblog", 1_600_000_000_000_000_000, b"\x01", "too large", ERROR, 1, 2)
    ),
    EffectStarted: EffectStarted(998, "charge"),
    EffectSucceeded: EffectSucceeded(999, 1_500, b"\x01", "too large"),
    EffectFailed: EffectFailed(999, 1_500, ERROR),
    FunctionSeen: FunctionSeen(1, "mail.send", "4f2a"),
    SessionReached: SessionReached(7, "dask", "tcp://scheduler:8786"),
    TextSeen: TextSeen(3, "Traceback (most recent call last):"),
    PauseSet: PauseSet(paused=True, by="ann", note="the server is down"),
    RunEnded: RunEnded(7, "pages", source_ended=False, because="halt", seen=63, not_started=2),
    ItemHeld: ItemHeld("user-1", 998, Status.SUCCEEDED, 3, 4, "ann", "it was another order", 1),
    ItemForgotten: ItemForgotten(bytes(range(16)), "ann", "asked to"),
    ItemGivenUp: ItemGivenUp(
        *("user-1", 998, Status.FAILED, 3, 4, "ann", "no such mailbox"), ERROR._replace(traceback=3)
    ),
}
"""Every type with every field away from its default."""

SHORT: dict[type, Event] = {
    **FULL,
    SessionOpened: SessionOpened(7, "", 0, "", (), "", "", ""),
    SessionLost: SessionLost(6),
    ItemStarted: ItemStarted("user-1"),
    ItemFailed: ItemFailed(998, 0, ERROR),
    ItemReopened: ItemReopened("user-1", 998, Status.SUCCEEDED, 3, 4, "", ""),
    ItemAttested: ItemAttested("user-1", Status.SUCCEEDED, "", ""),
    EffectSucceeded: EffectSucceeded(999, 0),
    EffectFailed: EffectFailed(999, 0),
    ItemHeld: ItemHeld("user-1", 998, Status.SUCCEEDED, 3, 4, "", ""),
    ItemGivenUp: ItemGivenUp("user-1", 998, Status.FAILED, 3, 4, "", ""),
    ItemSucceeded: ItemSucceeded(998, 0),
    ItemInterrupted: ItemInterrupted(998, 0, ""),
    ItemReconciled: ItemReconciled(998, Decision.ABANDON, "", ""),
    LateOutcome: LateOutcome("user-1", 998, 0),
    CursorAdvanced: CursorAdvanced("pages", None),
    LogCompacted: LogCompacted(990, b""),
}
"""Every type with every field at its default that has one."""

TYPES = sorted(TYPE_NUMBERS, key=lambda kind: TYPE_NUMBERS[kind])

# --- Strategies ----------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
counts = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
results = st.none() | st.binary(max_size=40)
errors = st.builds(ErrorInfo, texts, texts, texts | st.integers(0, 300))
effects = st.lists(st.tuples(texts, counts, st.booleans(), results, st.none() | texts), max_size=3).map(tuple)

_FIELDS: dict[str, SearchStrategy[Any]] = {
    "argv": st.lists(texts, max_size=4).map(tuple),
    "base_hash": st.binary(max_size=16),
    "before": st.sampled_from(Status),
    "cursor": st.none() | st.binary(max_size=40),
    "decision": st.sampled_from(Decision),
    "effects": effects,
    "error": errors,
    "omitted": st.none() | texts,
    "payload": results,
    "result": results,
    "status": st.sampled_from(Status),
}
"""What each field may hold, by name; the rest are numbers or texts, by annotation."""


def events_at(seq: int, kinds: list[type] = TYPES) -> SearchStrategy[Event]:
    """Give events that may have the number *seq*: their starts are not behind it."""
    return st.one_of([_events_of(kind, seq) for kind in kinds])


def _events_of(kind: Any, seq: int) -> SearchStrategy[Event]:
    fields = {name: _field(name, kind.__annotations__[name], seq) for name in kind._fields}
    return st.builds(kind, **fields)


def _field(name: str, annotation: object, seq: int) -> SearchStrategy[Any]:
    kind = str(getattr(annotation, "__forward_arg__", annotation))
    if name in {"start_seq", "effect_seq"}:
        return st.integers(0, seq)
    if name in _FIELDS:
        return st.none() | _FIELDS[name] if "None" in kind else _FIELDS[name]
    return {"int": counts, "str": texts, "bool": st.booleans(), "bytes": st.binary(max_size=32)}[kind]
