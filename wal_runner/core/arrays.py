"""Events as arrays and back: the shape in which they are stored, folded and compared.

Pure. Imported by the fold, the engines and the audit. Invariant: ``from_array(seq, to_array(seq,
event)) == event``, and an array that no event of ours makes is `LogCorrupt` or `LogTooNew`, never a
guess and never skipped.

An array is ``(type number, field, ...)``; trailing fields that have their default are left out.
If the first field is ``start_seq`` or ``effect_seq`` it is stored as the distance back from the event's
own seq, which takes one byte instead of five for most outcomes. An array with more fields than its event
has here was written by a newer version: `LogTooNew`. One with fewer, or with wrong ones, is `LogCorrupt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from wal_runner.core import events as ev
from wal_runner.core import places
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import TYPE_NUMBERS, Decision, Event, EventArray, Record, Status
from wal_runner.core.shown import a_or_an, shown
from wal_runner.errors import RESTORE, EventInvalid, LogCorrupt, LogTooNew


if TYPE_CHECKING:
    from collections.abc import Callable

    from wal_runner.core.places import Effects

STARTED: Final = TYPE_NUMBERS[ev.ItemStarted]
SUCCEEDED: Final = TYPE_NUMBERS[ev.ItemSucceeded]
RELEASED: Final = TYPE_NUMBERS[ev.ItemReleased]
SESSION_OPENED: Final = TYPE_NUMBERS[ev.SessionOpened]
SNAPSHOT_TAKEN: Final = TYPE_NUMBERS[ev.SnapshotTaken]

COUNT_MAX: Final = (1 << 64) - 1
"""The largest number that msgpack stores."""

_FIRST_START: Final = tuple(ev.ItemStarted._field_defaults.values())


def to_array(seq: int, event: Event | EventArray) -> EventArray:
    """Return the array of *event*, which will have the number *seq*; one that is an array stays as it is.

    Raise `EventInvalid` if `from_array` would refuse it. The commonest events are not asked: a first start
    and a success hold nothing but an id that was checked, a monotonic duration and packed bytes.
    """
    if type(event) is tuple:
        return event
    # The two commonest by hand; what comes below says the same of them.
    if isinstance(event, ev.ItemStarted):
        if event[1:] == _FIRST_START:
            return (STARTED, event.item_id)
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
    if kind in _NAMES_AN_EARLIER_SEQ:
        fields[0] = seq - fields[0]
    array = (TYPE_NUMBERS[kind], *fields)
    _check_readable(seq, event, array)
    return array


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
        raise too_new(seq, f"is of type {number}")
    event_type, checks, required = kind
    if len(fields) > len(checks):
        raise too_new(seq, f"is {a_or_an(event_type.__name__)} with {len(fields)} fields")
    if len(fields) < required:
        raise corrupt(seq, f"{a_or_an(event_type.__name__)} has {len(fields)} fields")
    if event_type in _NAMES_AN_EARLIER_SEQ and type(fields[0]) is int and fields[0] >= 0:
        fields[0] = seq - fields[0]  # a negative one would name an event that is still to come
    try:
        made = [check(field) for check, field in zip(checks, fields, strict=False)]
    except _NewerField as newer:
        raise too_new(seq, f"holds {newer}") from None
    except _BadField as bad:
        raise corrupt(seq, f"{a_or_an(event_type.__name__)} holds {bad}") from None
    return cast("Event", event_type(*made))


def _check_readable(seq: int, event: Event | EventArray, array: EventArray) -> None:
    # A commit that no reader accepts would make the whole log unreadable, for every version.
    try:
        back = from_array(seq, array)
    except (LogCorrupt, LogTooNew) as error:
        raise EventInvalid(
            f"A {type(event).__name__} that no version could read was to be written, and was not: {error} "
            "Look at the clock of this machine, and report it as a fault of wal_runner."
        ) from error
    assert back == event, f"{back} is not {event}"


def events_of(record: Record) -> list[tuple[int, Event]]:
    """Give the events of *record*, each with its seq."""
    return [(seq, from_array(seq, array)) for seq, array in enumerate(record.arrays, record.first_seq)]


def corrupt(seq: int | None, why: str) -> LogCorrupt:
    """Give the error for an event that no writer of ours can have written."""
    where = "An event" if seq is None else f"Event {seq}"
    return LogCorrupt(
        f"{where} cannot be as it was written: {why}. Run `walrun verify`, and nothing else on it. {RESTORE}",
        seq=seq,
    )


def too_new(seq: int, what: str) -> LogTooNew:
    """Return the error for an event that a newer version wrote, or that has no meaning in this one yet."""
    return LogTooNew(
        f"Event {seq} {what}, which this version of wal_runner does not know. The log is not damaged: use the "
        "version that wrote it, or a newer one."
    )


# --- Fields ---------------------------------------------------------------------------


class _BadField(Exception):
    """A field is not of its type; the message says what it is."""


class _NewerField(Exception):
    """A field is of its type and holds more than this version knows; the message says what it is."""


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
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


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise _BadField(f"{shown(value)} where true or false belongs")
    return value


def _error(value: object) -> ErrorInfo:
    if not isinstance(value, tuple) or len(value) < len(ErrorInfo._fields):
        raise _BadField(f"{shown(value)} where an error belongs")
    if len(value) > len(ErrorInfo._fields):
        raise _NewerField(f"an error with {len(value)} fields")
    kind, message, traceback = value
    return ErrorInfo(_text(kind), _text(message), _count(traceback) if type(traceback) is int else _text(traceback))


def _effects(value: object) -> Effects:
    if type(value) is not tuple:
        raise _BadField(f"{shown(value)} where effects belong")
    return tuple(_effect(part) for part in value)


def _effect(value: object) -> tuple[str, int, bool, bytes | None, str | None]:
    if type(value) is not tuple or len(value) < len(_EFFECT):
        raise _BadField(f"{shown(value)} where an effect belongs")
    if len(value) > len(_EFFECT):
        raise _NewerField(f"an effect with {len(value)} fields")
    name, seq, done, result, omitted = (check(field) for check, field in zip(_EFFECT, value, strict=True))
    return name, seq, done, result, omitted


_maybe_bytes = _maybe(_bytes)
_maybe_text = _maybe(_text)
_maybe_error = _maybe(_error)
_maybe_effects = _maybe(_effects)
_EFFECT: tuple[Callable[[Any], Any], ...] = (_text, _count, _flag, _maybe_bytes, _maybe_text)

_CHECKS: dict[type, tuple[Callable[[Any], object], ...]] = {
    ev.SessionOpened: (_count, _text, _count, _text, _texts, _text, _text, _text, _text, _text),
    ev.SessionClosed: (_count,),
    ev.SessionLost: (_count, _count),
    ev.ItemStarted: (
        *(_text, _count, _count, _maybe(_status)),
        *(_count, _count, _maybe_effects, _bytes, _count, _maybe_bytes),
    ),
    ev.ItemSucceeded: (_count, _count, _maybe_bytes, _maybe_text),
    ev.ItemFailed: (_count, _count, _error, _count, _count, _flag),
    ev.ItemInterrupted: (_count, _count, _text, _maybe_error),
    ev.ItemReleased: (_count,),
    ev.ItemReconciled: (_count, _decision, _text, _text, _maybe_bytes, _maybe_text, _count),
    ev.ItemReopened: (_text, _count, _status, _count, _count, _text, _text, _maybe_effects),
    ev.LateOutcome: (_text, _count, _count, _maybe_bytes, _maybe_text, _maybe_error),
    ev.CursorAdvanced: (_text, _maybe_bytes),
    ev.SnapshotTaken: (_count, _count),
    ev.LogCompacted: (_count, _bytes, _text),
    ev.KeyRuleSet: (_text, _text, _text),
    ev.ItemAttested: (
        *(_text, _status, _text, _text, _count),
        *(_maybe_bytes, _maybe_text, _maybe_error, _count, _count),
    ),
    places.EffectStarted: (_count, _text),
    places.EffectSucceeded: (_count, _count, _maybe_bytes, _maybe_text),
    places.EffectFailed: (_count, _count, _maybe_error),
    places.FunctionSeen: (_count, _text, _text),
    ev.SessionReached: (_count, _text, _text),
    ev.TextSeen: (_count, _text),
    ev.PauseSet: (_flag, _text, _text),
    ev.RunEnded: (_count, _text, _flag, _text, _count, _count),
    ev.ItemHeld: (_text, _count, _status, _count, _count, _text, _text, _count),
    places.ItemForgotten: (_bytes, _text, _text),
    ev.ItemGivenUp: (_text, _count, _status, _count, _count, _text, _text, _maybe_error),
}

_KINDS: dict[int, tuple[Any, tuple[Callable[[Any], object], ...], int]] = {
    TYPE_NUMBERS[kind]: (kind, checks, len(checks) - len(cast("Any", kind)._field_defaults))
    for kind, checks in _CHECKS.items()
}

_NAMES_AN_EARLIER_SEQ: frozenset[type] = frozenset(
    kind for kind in _CHECKS if cast("Any", kind)._fields[0] in {"start_seq", "effect_seq"}
)

_DEFAULTS_BACKWARD: dict[type, tuple[tuple[int, object], ...]] = {
    kind: tuple(
        (index, cast("Any", kind)._field_defaults[name])
        for index, name in reversed(list(enumerate(cast("Any", kind)._fields)))
        if name in cast("Any", kind)._field_defaults
    )
    for kind in _CHECKS
}
