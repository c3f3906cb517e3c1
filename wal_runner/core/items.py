"""Items, attempts and sessions as the state and the snapshot hold them.

Pure. Imported by the fold, the engines and the readers. Invariant: a row and what it stands for are
one thing in two shapes: ``item_of(item_row(item)) == item``.

A *row* is the fields of `ItemState` or `OpenAttempt` without the trailing ones that have their
default, as a plain tuple. The two commonest items, of which millions are made, are *short rows*: the
start_seq of a first attempt that succeeded without a result, and minus the start_seq of one that is
started. They cost no object of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import Status


if TYPE_CHECKING:
    from collections.abc import Sequence

    from wal_runner.core.places import Effects

Row: TypeAlias = tuple[Any, ...]
"""`ItemState` or `OpenAttempt` as a plain tuple, its trailing defaults left out."""


ShortRow: TypeAlias = Row | int
"""A row of an item, or an int that stands for one; `long_row` gives it."""


class ItemState(NamedTuple):
    """One item as the log knows it.

    *start_seq* names its last attempt. *failed_seq* is the seq of the failure while the status is
    FAILED, else 0. *result* is packed; None stands for None unless *omitted* says why there is no
    result. *error* is the last failure. *failures*, *deaths* and *not_before_ns* are what the item's
    last event states; nothing is counted here. The fields from *effects* on are places without a meaning.
    """

    status: Status
    start_seq: int
    attempts: int = 1
    generation: int = 0
    failed_seq: int = 0
    result: bytes | None = None
    omitted: str | None = None
    error: ErrorInfo | None = None
    failures: int = 0
    deaths: int = 0
    not_before_ns: int = 0
    effects: Effects | None = None
    digest: bytes = b""
    function: int = 0
    payload: bytes | None = None


class OpenAttempt(NamedTuple):
    """An attempt without an outcome: STARTED, or IN_DOUBT since *doubted_ns* for *reason*."""

    item_id: str
    session: int
    started_ns: int
    attempt: int = 1
    generation: int = 0
    status: Status = Status.STARTED
    doubted_ns: int = 0
    reason: str = ""
    failures: int = 0
    deaths: int = 0
    effects: Effects | None = None
    digest: bytes = b""
    function: int = 0
    payload: bytes | None = None


class Pause(NamedTuple):
    """Who paused the log, why, and when: while it stands, runs start nothing."""

    by: str
    note: str
    since_ns: int


class SourceEnd(NamedTuple):
    """How the last run over a source ended before the source did: see `events.RunEnded`."""

    session: int
    because: str
    seen: int
    not_started: int
    ended_ns: int


class SessionInfo(NamedTuple):
    """One session: who opened it, and how it ended ("", "closed" or "lost").

    *accepted* is as in `events.SessionOpened`; *reached* holds the (engine, where) that it runs items by.
    """

    number: int
    host: str
    pid: int
    boot: str
    argv: tuple[str, ...]
    cwd: str
    user: str
    version: str
    pid_started: str
    opened_ns: int
    last_ns: int = 0
    ended_ns: int = 0
    ending: str = ""
    accepted: str = ""
    reached: tuple[tuple[str, str], ...] = ()


# Plain numbers for the rows: a Status would be looked up, packed and compared more slowly.
_STARTED: Final = int(Status.STARTED)
_SUCCEEDED: Final = int(Status.SUCCEEDED)


def long_row(row: ShortRow) -> Row:
    """Give the row that *row* is or stands for."""
    if type(row) is int:
        return (_SUCCEEDED, row) if row > 0 else (_STARTED, -row)
    return row  # type: ignore[return-value]  # an int was handled above


def item_row(item: ItemState) -> Row:
    """Give *item* as a row."""
    return trimmed(item, _ITEM_DEFAULTS)


def item_of(row: Row) -> ItemState:
    """Give the item that *row* stands for. Raise ValueError or TypeError where it is none."""
    item = ItemState(*row)
    error = None if item.error is None else ErrorInfo(*item.error)
    return item._replace(status=Status(item.status), error=error)


def attempt_row(attempt: OpenAttempt) -> Row:
    """Give *attempt* as a row."""
    return trimmed(attempt, _ATTEMPT_DEFAULTS)


def attempt_of(row: Row) -> OpenAttempt:
    """Give the attempt that *row* stands for."""
    attempt = OpenAttempt(*row)
    return attempt._replace(status=Status(attempt.status))


def reason_of_death(session: int) -> str:
    """Return the reason of the doubts that the death of *session* leaves."""
    return f"session {session} died"


def is_doubt_of_death(attempt: OpenAttempt) -> bool:
    """Return whether *attempt* was without an outcome when its session died, which left it in doubt."""
    return attempt.status is Status.IN_DOUBT and attempt.reason == reason_of_death(attempt.session)


def session_row(info: SessionInfo) -> Row:
    """Return *info* as a plain tuple, without the fields of format 2 that have their default."""
    return trimmed(info, _SESSION_DEFAULTS)


def started_rows(seq: int, session: int, time_ns: int, array: Row) -> tuple[str, Status | None, Row, Row] | None:
    """Return what the `ItemStarted` in *array* makes: (item id, status before, item's row, attempt's row).

    The short way of the fold for starts with trailing fields. None leaves the array to the long way,
    which judges what is wrong or too new.
    """
    missing = _START_FIELDS - len(array)
    if missing < 0 or len(array) < 2:  # noqa: PLR2004 - (type, item id)
        return None
    _, item_id, attempt, generation, before, failures, deaths = array + _START_DEFAULTS[-missing:] if missing else array
    if (
        type(item_id) is not str
        or type(attempt) is not int
        or type(generation) is not int
        or type(failures) is not int
        or type(deaths) is not int
        or min(attempt, generation, failures, deaths) < 0
        or (before is not None and (type(before) not in _STATUS_TYPES or before not in _STARTABLE))
    ):
        return None
    status = None if before is None else _STARTABLE[before]
    row: Row = (_STARTED, seq, attempt, generation, 0, None, None, None, failures, deaths)
    open_row: Row = (item_id, session, time_ns, attempt, generation, _STARTED, 0, "", failures, deaths)
    if not deaths:
        if failures:
            row, open_row = row[:-1], open_row[:-1]
        elif generation:
            row, open_row = row[:4], open_row[:5]
        elif attempt != 1:
            row, open_row = row[:3], open_row[:4]
        else:
            row, open_row = row[:2], open_row[:3]
    return item_id, status, row, open_row


def succeeded_row(start_seq: int, attempt: Row, result: Sequence[Any]) -> Row | None:
    """Return the item's row after the open *attempt* succeeded; *result* holds its packed result or nothing.

    The short way of the fold. None leaves the event to the long way: the attempt is not STARTED, or the
    result is not bytes.
    """
    size = len(attempt)
    if size > _CARRIED_UNTIL or (size > _STATUS_AT and attempt[_STATUS_AT] != _STARTED):
        return None
    packed = result[0] if result else None
    if result and type(packed) is not bytes:
        return None
    number = attempt[3] if size > 3 else 1  # noqa: PLR2004 - the place of the number
    generation = attempt[4] if size > 4 else 0  # noqa: PLR2004 - the place of the generation
    if size > _FAILURES_AT:
        return (_SUCCEEDED, start_seq, number, generation, 0, packed, None, None, *attempt[_FAILURES_AT:])
    if packed is not None:
        return (_SUCCEEDED, start_seq, number, generation, 0, packed)
    if generation:
        return (_SUCCEEDED, start_seq, number, generation)
    return (_SUCCEEDED, start_seq, number) if number != 1 else (_SUCCEEDED, start_seq)


def trimmed(fields: tuple[Any, ...], defaults: tuple[Any, ...]) -> Row:
    """Return *fields* as a plain tuple without the trailing ones that have their default."""
    end = len(fields)
    required = end - len(defaults)
    while end > required and fields[end - 1] == defaults[end - 1 - required]:
        end -= 1
    return (*(int(field) if isinstance(field, Status) else field for field in fields[:end]),)


_ITEM_DEFAULTS: Final = tuple(ItemState._field_defaults.values())
_ATTEMPT_DEFAULTS: Final = tuple(OpenAttempt._field_defaults.values())
_SESSION_DEFAULTS: Final = (SessionInfo._field_defaults["accepted"], SessionInfo._field_defaults["reached"])
"""Format 1 stores the fields before these whatever they hold."""

_START_DEFAULTS: Final = (1, 0, None, 0, 0)
_START_FIELDS: Final = 2 + len(_START_DEFAULTS)
"""Type, item id, then attempt, generation, status before, failures, deaths: with more fields it goes the long way."""

_STATUS_TYPES: Final = frozenset({int, Status})
_STARTABLE: Final[dict[int, Status]] = {int(Status.PENDING): Status.PENDING, int(Status.FAILED): Status.FAILED}
_STATUS_AT: Final = OpenAttempt._fields.index("status")
_FAILURES_AT: Final = OpenAttempt._fields.index("failures")
_CARRIED_UNTIL: Final = OpenAttempt._fields.index("deaths") + 1
"""What a start carries over to the item's row ends here; the fields behind it are places."""
