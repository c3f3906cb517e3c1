"""Items, attempts and sessions as the state and the snapshot hold them.

Pure. Imported by the fold, the engines and the readers. Invariant: a row and what it stands for are
one thing in two shapes: ``item_of(item_row(item)) == item``.

A *row* is the fields of `ItemState` or `OpenAttempt` without the trailing ones that have their
default, as a plain tuple. The two commonest items, of which millions are made, are *short rows*: the
start_seq of a first attempt that succeeded without a result, and minus the start_seq of one that is
started. They cost no object of their own.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from wal_runner.core.events import ErrorInfo, Status


Row: TypeAlias = tuple[Any, ...]
"""`ItemState` or `OpenAttempt` as a plain tuple, its trailing defaults left out."""


ShortRow: TypeAlias = Row | int
"""A row of an item, or an int that stands for one; `long_row` gives it."""


class ItemState(NamedTuple):
    """One item as the log knows it.

    *start_seq* names its last attempt. *failed_seq* is the seq of the failure while the status is
    FAILED, else 0. *result* is packed; None stands for None unless *omitted* says why there is no
    result. *error* is the last failure.
    """

    status: Status
    start_seq: int
    attempts: int = 1
    generation: int = 0
    failed_seq: int = 0
    result: bytes | None = None
    omitted: str | None = None
    error: ErrorInfo | None = None


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


class SessionInfo(NamedTuple):
    """One session: who opened it, and how it ended ("", "closed" or "lost")."""

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
    return _cut(item, _ITEM_DEFAULTS)


def item_of(row: Row) -> ItemState:
    """Give the item that *row* stands for. Raise ValueError or TypeError where it is none."""
    status, start_seq, *more = row
    if len(more) == len(_ITEM_DEFAULTS) and more[-1] is not None:
        more[-1] = ErrorInfo(*more[-1])
    return ItemState(Status(status), start_seq, *more)


def attempt_row(attempt: OpenAttempt) -> Row:
    """Give *attempt* as a row."""
    return _cut(attempt, _ATTEMPT_DEFAULTS)


def attempt_of(row: Row) -> OpenAttempt:
    """Give the attempt that *row* stands for."""
    attempt = OpenAttempt(*row)
    return attempt._replace(status=Status(attempt.status))


def _cut(fields: tuple[Any, ...], defaults: tuple[Any, ...]) -> Row:
    end = len(fields)
    required = end - len(defaults)
    while end > required and fields[end - 1] == defaults[end - 1 - required]:
        end -= 1
    return (*(int(field) if isinstance(field, Status) else field for field in fields[:end]),)


_ITEM_DEFAULTS: Final = tuple(ItemState._field_defaults.values())
_ATTEMPT_DEFAULTS: Final = tuple(OpenAttempt._field_defaults.values())
