"""One attempt at one item: what fn can ask about itself while it runs.

Imported by everything in this room. Invariant: `current_attempt` answers inside fn only, in each
thread and coroutine for its own item.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from wal_runner.core.identity import idempotency_key


if TYPE_CHECKING:
    from wal_runner.runner.pages import Page


class Attempt(NamedTuple):
    """One start of one item.

    *item_id* is its text in the log, *number* counts its starts from 1, *start_seq* names this one.
    """

    item: Any
    item_id: str
    number: int
    generation: int
    start_seq: int
    slot: int
    log_id: str
    page: Page | None = None

    @property
    def idempotency_key(self) -> str:
        """Give 64 hex characters to send with the effect: the same on every redo of this item.

        It changes only when somebody reopens the item (`Runner.retry`), on record.
        """
        return idempotency_key(self.log_id, self.item_id, self.generation)

    def __repr__(self) -> str:
        return f"Attempt(item_id={self.item_id!r}, number={self.number}, start_seq={self.start_seq})"


current: ContextVar[Attempt] = ContextVar("wal_runner_attempt")


def current_attempt() -> Attempt:
    """Give the attempt that is running here. Raise LookupError outside of fn."""
    try:
        return current.get()
    except LookupError:
        raise LookupError("No item is being run here; call current_attempt() inside the function that is.") from None
