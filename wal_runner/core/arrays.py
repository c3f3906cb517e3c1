"""Events as arrays and back: the shape in which they are stored, folded and compared.

Pure. Imported by the fold, the engines and the audit. Invariant: ``from_array(seq, to_array(seq,
event)) == event``, and an array that no event of ours makes is `LogCorrupt` or `LogTooNew`, never a
guess and never skipped.

An array is ``(type number, field, ...)``; trailing fields that have their default are left out.
Where the first field is ``start_seq`` it is stored as the distance back from the event's own seq,
which takes one byte instead of five for most outcomes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from wal_runner.core import events as ev
from wal_runner.core.events import TYPE_NUMBERS, Decision, ErrorInfo, Event, EventArray, Record, Status
from wal_runner.core.shown import shown
from wal_runner.errors import LogCorrupt, LogTooNew


if TYPE_CHECKING:
    from collections.abc import Callable

STARTED: Final = TYPE_NUMBERS[ev.ItemStarted]
SUCCEEDED: Final = TYPE_NUMBERS[ev.ItemSucceeded]
RELEASED: Final = TYPE_NUMBERS[ev.ItemReleased]
SESSION_OPENED: Final = TYPE_NUMBERS[ev.SessionOpened]
SNAPSHOT_TAKEN: Final = TYPE_NUMBERS[ev.SnapshotTaken]


def to_array(seq: int, event: Event | EventArray) -> EventArray:
    """Give the array of *event*, which will have the number *seq*; one that is an array stays as it is."""
    if type(event) is tuple:
        return event
    # The two commonest by hand; what comes below says the same of them.
    if isinstance(event, ev.ItemStarted):
        item_id, attempt, generation, before = event
        if attempt == 1 and generation == 0 and before is None:
            return (STARTED, item_id)
    elif isinstance(event, ev.ItemSucceeded):
        start_seq, elapsed_ns, result, omitted = event
        if omitted is None:
            back = seq - start_seq
            return (SUCCEEDED, back, elapsed_ns) if result is None else (SUCCEEDED, back, elapsed_ns, result)
    fields: list[Any] = list(event)
    kind: type = type(event)
    for value, default in _DEFAULTS_BACKWARD[kind]:
        if fields[value] != default:
            break
        fields.pop()
    if kind in _NAMES_A_START:
        fields[0] = seq - fields[0]
    return (TYPE_NUMBERS[kind], *fields)


def first_start(item_id: str) -> EventArray:
    """Give the array of an item's first start. Runs make millions, so no event is made in between."""
    return (STARTED, item_id)


def from_array(seq: int, array: object) -> Event:
    """Make the event number *seq* from its array, every field checked."""
    if not isinstance(array, tuple) or not array or type(array[0]) is not int:
        raise corrupt(seq, "it is not an event")
    number, *fields = array
    kind = _KINDS.get(number)
    if kind is None:
        raise LogTooNew(
            f"Event {seq} is of type {number}, which this version of wal_runner does not know. "
            "Use the version that wrote it, or a newer one."
        )
    event_type, checks, required = kind
    if not required <= len(fields) <= len(checks):
        raise corrupt(seq, f"a {event_type.__name__} has {len(fields)} fields")
    if event_type in _NAMES_A_START and type(fields[0]) is int and fields[0] >= 0:
        fields[0] = seq - fields[0]  # a negative one would name a start that is still to come
    try:
        made = [check(field) for check, field in zip(checks, fields, strict=False)]
    except _BadField as bad:
        raise corrupt(seq, f"a {event_type.__name__} holds {bad}") from None
    return cast("Event", event_type(*made))


def events_of(record: Record) -> list[tuple[int, Event]]:
    """Give the events of *record*, each with its seq."""
    return [(seq, from_array(seq, array)) for seq, array in enumerate(record.arrays, record.first_seq)]


def corrupt(seq: int | None, why: str) -> LogCorrupt:
    """Give the error for an event that no writer of ours can have written."""
    where = "An event" if seq is None else f"Event {seq}"
    return LogCorrupt(
        f"{where} cannot be as it was written: {why}. Run `walrun verify`, and restore the log from a backup "
        "before anything runs on it.",
        seq=seq,
    )


# --- Fields ---------------------------------------------------------------------------


class _BadField(Exception):
    """A field is not of its type; the message says what it is."""


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise _BadField(f"{shown(value)} where a number belongs")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise _BadField(f"{shown(value)} where text belongs")
    return value


def _bytes(value: object) -> bytes:
    if type(value) is not bytes:
        raise _BadField(f"{shown(value)} where bytes belong")
    return value


def _maybe(check: Callable[[object], object]) -> Callable[[object], object]:
    def maybe(value: object) -> object:
        return None if value is None else check(value)

    return maybe


def _texts(value: object) -> tuple[str, ...]:
    if type(value) is not tuple:
        raise _BadField(f"{shown(value)} where a list of texts belongs")
    return tuple(_text(part) for part in value)


def _status(value: object) -> Status:
    try:
        return Status(_whole(value))
    except ValueError:
        raise _BadField(f"{shown(value)} where a status belongs") from None


def _decision(value: object) -> Decision:
    try:
        return Decision(_whole(value))
    except ValueError:
        raise _BadField(f"{shown(value)} where a verdict belongs") from None


def _whole(value: object) -> int:
    # Status and Decision are ints too: an array that was not stored yet holds them as they are.
    if not isinstance(value, int) or isinstance(value, bool):
        raise _BadField(f"{shown(value)} where a number belongs")
    return value


def _error(value: object) -> ErrorInfo:
    if not isinstance(value, tuple) or len(value) != len(ErrorInfo._fields):
        raise _BadField(f"{shown(value)} where an error belongs")
    return ErrorInfo(*(_text(part) for part in value))


_maybe_bytes = _maybe(_bytes)
_maybe_text = _maybe(_text)
_maybe_error = _maybe(_error)

_CHECKS: dict[type, tuple[Callable[[Any], object], ...]] = {
    ev.SessionOpened: (_count, _text, _count, _text, _texts, _text, _text, _text, _text),
    ev.SessionClosed: (_count,),
    ev.SessionLost: (_count, _count),
    ev.ItemStarted: (_text, _count, _count, _maybe(_status)),
    ev.ItemSucceeded: (_count, _count, _maybe_bytes, _maybe_text),
    ev.ItemFailed: (_count, _count, _error),
    ev.ItemInterrupted: (_count, _count, _text, _maybe_error),
    ev.ItemReleased: (_count,),
    ev.ItemReconciled: (_count, _decision, _text, _text, _maybe_bytes, _maybe_text),
    ev.ItemReopened: (_text, _count, _status, _count, _count, _text, _text),
    ev.LateOutcome: (_text, _count, _count, _maybe_bytes, _maybe_text, _maybe_error),
    ev.CursorAdvanced: (_text, _maybe_bytes),
    ev.SnapshotTaken: (_count, _count),
    ev.LogCompacted: (_count, _bytes, _text),
    ev.KeyRuleSet: (_text, _text, _text),
}

_KINDS: dict[int, tuple[Any, tuple[Callable[[Any], object], ...], int]] = {
    TYPE_NUMBERS[kind]: (kind, checks, len(checks) - len(cast("Any", kind)._field_defaults))
    for kind, checks in _CHECKS.items()
}

_NAMES_A_START: frozenset[type] = frozenset(kind for kind in _CHECKS if cast("Any", kind)._fields[0] == "start_seq")

_DEFAULTS_BACKWARD: dict[type, tuple[tuple[int, object], ...]] = {
    kind: tuple(
        (index, cast("Any", kind)._field_defaults[name])
        for index, name in reversed(list(enumerate(cast("Any", kind)._fields)))
        if name in cast("Any", kind)._field_defaults
    )
    for kind in _CHECKS
}
