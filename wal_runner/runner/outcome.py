"""What became of an item, as `run_iter` yields it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar


if TYPE_CHECKING:
    from wal_runner.core.error_info import ErrorInfo
    from wal_runner.core.events import Status

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item]):
    """What the log says of *item*, durable by the time that it is yielded.

    *result* is what fn returned, decoded from what was stored, so that the first run and every later one
    agree; it is None as well if *omitted* says why it could not be stored. *error* is that of the last failure, or the
    reason of a doubt. *replayed* is true where nothing was run: the item was done or held before.
    *elapsed_s* is 0 for what was replayed.
    """

    item: Item
    item_id: str
    status: Status
    result: object = None
    error: ErrorInfo | None = None
    omitted: str | None = None
    attempts: int = 1
    replayed: bool = False
    elapsed_s: float = 0.0
