"""The slots of starts whose commit failed: nobody knows whether they are on disk.

Imported by the dispatcher. Invariant: such a slot stays armed until the log itself was asked. Should the
process die before that, a start that was written after all is found armed, and released; a slot that says
nothing would leave it in doubt, although its fn never began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable

    from wal_runner.core.state import State
    from wal_runner.log.protocol import Scratch
    from wal_runner.runner.attempt import Attempt


class Limbo:
    """Slots that are armed for starts of which the last commit has not told."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._slots: dict[int, int] = {}

    def __len__(self) -> int:
        """Say how many slots are in it."""
        return len(self._slots)

    def keep(self, attempts: Iterable[Attempt]) -> set[int]:
        """Keep the slots of *attempts*, and give them."""
        kept = {attempt.start_seq: attempt.slot for attempt in attempts}
        self._slots |= kept
        return set(kept.values())

    def settle(self, state: State, session: int) -> None:
        """Take back the slots of starts that *session* has not made after all, or that are over."""
        gone = [start_seq for start_seq in self._slots if not _is_open(state, start_seq, session)]
        self._scratch.disarm([self._slots.pop(start_seq) for start_seq in gone])

    def slot_of(self, start_seq: int) -> int | None:
        """Return the slot that is armed for a start which this run made and never handed out, or None."""
        slot = self._slots.get(start_seq)
        return slot if slot is not None and self._scratch.is_armed(slot, start_seq) else None

    def forget(self, start_seqs: Iterable[int]) -> None:
        """Forget starts that were adopted, once the transaction that adopted them is durable."""
        for start_seq in start_seqs:
            self._slots.pop(start_seq, None)


def _is_open(state: State, start_seq: int, session: int) -> bool:
    attempt = state.attempt(start_seq)
    # The seq may have become another session's.
    return attempt is not None and attempt.session == session
