"""Keep the slots of starts whose commit failed, while it is unknown whether they are on disk.

Imported by the dispatcher. Invariant: such a slot stays armed until the log has been read again. If the process dies
before that, recovery finds a start that was written after all armed, and releases it; an empty slot would leave the
item in doubt, although its fn never began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable

    from wal_runner.core.state import State
    from wal_runner.log.protocol import Scratch
    from wal_runner.runner.attempt import Attempt


class Limbo:
    """Slots armed for starts whose commit outcome is unknown."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._slots: dict[int, int] = {}

    def __len__(self) -> int:
        """Return the number of slots."""
        return len(self._slots)

    def keep(self, attempts: Iterable[Attempt]) -> set[int]:
        """Add the slots of *attempts*, and return them."""
        kept = {attempt.start_seq: attempt.slot for attempt in attempts}
        self._slots |= kept
        return set(kept.values())

    def settle(self, state: State, session: int) -> None:
        """Free the slots of starts that *session* did not make after all, or that have an outcome."""
        gone = [start_seq for start_seq in self._slots if not _is_open(state, start_seq, session)]
        self._scratch.disarm([self._slots.pop(start_seq) for start_seq in gone])

    def slot_of(self, start_seq: int) -> int | None:
        """Return the slot that is armed for a start which this run made and never handed out, or None."""
        slot = self._slots.get(start_seq)
        return slot if slot is not None and self._scratch.is_armed(slot, start_seq) else None

    def forget(self, start_seqs: Iterable[int]) -> None:
        """Remove starts that were adopted. Call it once the transaction that adopted them is durable."""
        for start_seq in start_seqs:
            self._slots.pop(start_seq, None)


def _is_open(state: State, start_seq: int, session: int) -> bool:
    attempt = state.attempt(start_seq)
    # Another session may have committed an event under this seq.
    return attempt is not None and attempt.session == session
