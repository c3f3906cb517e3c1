"""Which log format an event needs: what a reader of format 1 cannot read needs format 2.

Pure. Imported by the engines, recovery and the audit. Invariant: `format_of` returns 1 only for
what the first version of wal_runner decodes; the tables below are that version's, and never change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from wal_runner.core.events import (
    TYPE_NUMBERS,
    ItemFailed,
    ItemInterrupted,
    ItemReconciled,
    ItemSucceeded,
    LateOutcome,
)


if TYPE_CHECKING:
    from wal_runner.core.events import Event, EventArray

FIELDS_IN_FORMAT_1: Final[dict[int, int]] = {
    1: 9,
    2: 1,
    3: 2,
    4: 4,
    5: 4,
    6: 3,
    7: 4,
    8: 1,
    9: 6,
    10: 7,
    11: 6,
    12: 2,
    13: 2,
    14: 3,
    15: 3,
}
"""For each event type of format 1, how many fields it had there. All other types need format 2."""

RESULT_BYTES_MAX_IN_FORMAT_1: Final = 1024 * 1024
"""Maximum size of a packed result in format 1: its readers call a longer one corrupt."""

_EXT_MARKS: Final = frozenset(bytes((mark,)) for mark in (0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)))
"""First bytes of a msgpack ext value. Readers of format 1 refuse every ext value."""

_RESULT_AT: Final = {TYPE_NUMBERS[ItemSucceeded]: 3, TYPE_NUMBERS[ItemReconciled]: 5, TYPE_NUMBERS[LateOutcome]: 4}
_ERROR_AT: Final = {TYPE_NUMBERS[ItemFailed]: 3, TYPE_NUMBERS[ItemInterrupted]: 4, TYPE_NUMBERS[LateOutcome]: 6}
"""Indexes into the event's array."""

_ERROR_FIELDS: Final = 3
_TRACEBACK_AT: Final = 2


def needs_format_2(packed: bytes | None) -> bool:
    """Return whether there is a result that no reader of format 1 decodes: tagged, or over 1 MiB."""
    return packed is not None and (packed[:1] in _EXT_MARKS or len(packed) > RESULT_BYTES_MAX_IN_FORMAT_1)


def format_of(array: EventArray) -> int:
    """Return the lowest log format that can hold the event *array*.

    *array* is as `wal_runner.core.arrays.to_array` makes it: trailing defaults are left out.
    """
    number = array[0]
    fields = FIELDS_IN_FORMAT_1.get(number, 0)
    if len(array) > fields + 1:
        return 2
    at = _RESULT_AT.get(number)
    if at is not None and len(array) > at and type(array[at]) is bytes and needs_format_2(array[at]):
        return 2
    at = _ERROR_AT.get(number)
    return 2 if at is not None and len(array) > at and _is_newer_error(array[at]) else 1


def result_of(event: Event | EventArray) -> bytes | None:
    """Return the packed result that *event* carries, None if it carries none."""
    if type(event) is tuple:
        at = _RESULT_AT.get(event[0])
        result = event[at] if at is not None and len(event) > at else None
        return result if type(result) is bytes else None
    return event.result if isinstance(event, ItemSucceeded | ItemReconciled | LateOutcome) else None


def without_result(event: Any, why: str) -> Any:  # noqa: ANN401 - an event, or its array, of the type that was given
    """Return *event*, which carries a result, without it: omitted, with *why* as the reason."""
    if type(event) is tuple:
        at = _RESULT_AT[event[0]]
        return (*event[:at], None, why, *event[at + 2 :])
    return event._replace(result=None, omitted=why)


def _is_newer_error(error: object) -> bool:
    return isinstance(error, tuple) and (len(error) > _ERROR_FIELDS or type(error[_TRACEBACK_AT]) is not str)
