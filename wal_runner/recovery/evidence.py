"""What the scratch slots of a session prove of its starts.

Imported by recovery, the writer and the readers. Invariant: a slot proves an outcome, or that fn
never began; whatever else it says, or does not say, leaves the item in doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.core.events import ItemReleased, Status


if TYPE_CHECKING:
    from wal_runner.core.events import Event
    from wal_runner.core.state import State
    from wal_runner.log.scratch import Remains


def proven(start_seq: int, said: Remains | None) -> Event | None:
    """Give what a session's slot proves of its start; None leaves it in doubt."""
    if said is None:
        return None
    if said.outcome is not None:
        return said.outcome
    return None if said.begun else ItemReleased(start_seq)


def own_started(state: State, session: int) -> list[int]:
    """Give the starts of *session* that have no outcome."""
    return [start_seq for start_seq, attempt in state.attempts(Status.STARTED) if attempt.session == session]
