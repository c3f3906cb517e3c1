"""The kinds of the fields that rows and stored states hold, and the check that every reader makes.

Imported by `wal_runner.log.rows` and `wal_runner.log.stored_state`. Invariant: more fields than are known
here were written by a newer version, `LogTooNew`; fewer or other ones by nobody, a ValueError that the
reader turns into `LogCorrupt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wal_runner.core.items import ItemState, OpenAttempt, SessionInfo
from wal_runner.core.places import PLACE_FIELDS
from wal_runner.core.shown import shown
from wal_runner.errors import LogTooNew


if TYPE_CHECKING:
    from collections.abc import Sequence

    from wal_runner.core.items import Row

    Kinds = Sequence[tuple[type, ...]]
    Places = Sequence[tuple[int, str, object]]

INT: Final = (int,)
STR: Final = (str,)
_BYTES: Final = (bytes,)
_TUPLE: Final = (tuple,)
_NONE: Final = type(None)
_BYTES_OR_NONE: Final = (bytes, _NONE)
_STR_OR_NONE: Final = (str, _NONE)
_TUPLE_OR_NONE: Final = (tuple, _NONE)
_PLACE_KINDS: Final = (_TUPLE_OR_NONE, _BYTES, INT, _BYTES_OR_NONE)
"""Effects, digest, function, payload: the last fields of a row and of an open attempt."""

ROW_KINDS: Final = (*(INT,) * 5, _BYTES_OR_NONE, _STR_OR_NONE, _TUPLE_OR_NONE, *(INT,) * 3, *_PLACE_KINDS)
ROW_PLACES: Final = tuple(
    (at, name, ItemState._field_defaults[name]) for at, name in enumerate(ItemState._fields) if name in PLACE_FIELDS
)
ERROR_AT: Final = ItemState._fields.index("error")
ERROR_KINDS: Final = (STR, STR, (str, int))

ATTEMPT_KINDS: Final = (STR, *(INT,) * 6, STR, INT, INT, *_PLACE_KINDS)
ATTEMPT_FIELDS_MIN: Final = 3
ATTEMPT_PLACES: Final = tuple(
    (at, name, OpenAttempt._field_defaults[name]) for at, name in enumerate(OpenAttempt._fields) if name in PLACE_FIELDS
)

SNAPSHOT_DEFAULTS: Final[Row] = ((), (), None, (), 0)
"""Functions, texts, paused, source ends, forgotten: the fields of format 2, left out if nothing sets them."""

SNAPSHOT_KINDS: Final = (
    *(INT, _BYTES, _TUPLE, _TUPLE, _TUPLE, _STR_OR_NONE, *(INT,) * 7),
    *(_TUPLE, _TUPLE, _TUPLE_OR_NONE, _TUPLE, INT),
)
SNAPSHOT_FIELDS_MIN: Final = len(SNAPSHOT_KINDS) - len(SNAPSHOT_DEFAULTS)

SESSION_KINDS: Final = (INT, STR, INT, STR, _TUPLE, *(STR,) * 4, *(INT,) * 3, STR, STR, _TUPLE)
SESSION_FIELDS_MIN: Final = 13
"""Format 1 stores this many, whatever they hold."""

ARGV_AT: Final = SessionInfo._fields.index("argv")
REACHED_AT: Final = SessionInfo._fields.index("reached")
CURSOR_KINDS: Final = (STR, _BYTES)
TEXT_KINDS: Final = (INT, STR)
PAUSE_KINDS: Final = (STR, STR, INT)
SOURCE_END_KINDS: Final = (STR, INT, STR, INT, INT, INT)
PAIR_KINDS: Final = (INT, _TUPLE)


def check_kinds(fields: object, kinds: Kinds, *, required: int | None = None) -> None:
    """Raise ValueError if *fields* are not of these kinds; only the first *required* must be there.

    Raise `LogTooNew` if there are more of them: a newer version adds fields at the end.
    """
    least = len(kinds) if required is None else required
    if type(fields) is tuple and len(fields) > len(kinds):
        raise too_new(f"{len(fields)} fields stand where this version knows {len(kinds)}")
    if type(fields) is not tuple or len(fields) < least:
        raise ValueError(f"{shown(fields)} where {least} fields or more belong")
    for field, kind in zip(fields, kinds, strict=False):
        if type(field) not in kind:
            raise ValueError(f"{shown(field)} where {kind[0].__name__} belongs")


def refuse_places(row: Row, places: Places) -> None:
    """Raise `LogTooNew` if *row* uses a field that is only a place in this version."""
    for at, name, default in places:
        if len(row) > at and row[at] != default:
            raise too_new(f"a row has {name}")


def too_new(what: str) -> LogTooNew:
    """Return the error for a stored value of a newer version; *what* states how that shows."""
    return LogTooNew(
        f"The snapshot was written by a newer wal_runner: {what}. The log is not damaged: use the version that wrote "
        "it, or a newer one."
    )
