"""The event that settles a doubt by what is learned afterwards of its start.

Imported by the late outcomes and by the writer's own starts. Invariant: a late outcome is written only while that
very start is in doubt; anything else could not be folded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.core.events import ItemFailed, ItemSucceeded, LateOutcome, Status


if TYPE_CHECKING:
    from wal_runner.core.events import OutcomeEvent
    from wal_runner.core.state import State


def late_outcome(item_id: str, event: OutcomeEvent) -> LateOutcome | None:
    """Return *event* as a late outcome, or None if it knows no more than the doubt does."""
    if isinstance(event, ItemSucceeded):
        return LateOutcome(item_id, event.start_seq, event.elapsed_ns, event.result, event.omitted)
    if isinstance(event, ItemFailed):
        return LateOutcome(item_id, event.start_seq, event.elapsed_ns, error=event.error)
    return None


def is_doubt_of(state: State, session: int, late: LateOutcome) -> bool:
    """Return whether *late* speaks of a start of *session* that is in doubt, according to *state*."""
    # In a log that was restored from a backup, the same seq may be the start of something else. And a session that
    # was abandoned may be alive still, held by a command of its own: a late outcome of what is STARTED cannot be
    # folded, so that one committed here would make the log unreadable.
    attempt = state.attempt(late.start_seq)
    return attempt is not None and (attempt.item_id, attempt.session, attempt.status) == (
        late.item_id,
        session,
        Status.IN_DOUBT,
    )
