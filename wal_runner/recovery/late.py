"""Late outcomes: what is learned of a start that is in doubt on record already.

Used by the runner. Invariant: a late outcome settles the doubt of that very start, or says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.core.events import ItemFailed, ItemSucceeded, LateOutcome, Status
from wal_runner.errors import LogReplaced
from wal_runner.recovery.recover import open_writer


if TYPE_CHECKING:
    from collections.abc import Mapping

    from wal_runner.core.events import Event, OutcomeEvent
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.writer import LogWriter


def late_outcome(item_id: str, event: OutcomeEvent) -> LateOutcome | None:
    """Give *event* as a late outcome; None where it knows no more than the doubt does."""
    if isinstance(event, ItemSucceeded):
        return LateOutcome(item_id, event.start_seq, event.elapsed_ns, event.result, event.omitted)
    if isinstance(event, ItemFailed):
        return LateOutcome(item_id, event.start_seq, event.elapsed_ns, error=event.error)
    return None


def record_late(writer: LogWriter, known: Mapping[str, OutcomeEvent]) -> int:
    """Record what the session of *writer*, which was declared lost, *known* by item id; give how many.

    *writer* is abandoned; a new session does it, which ends with it. Raise `LogReplaced` where another
    log stands at the path by now.
    """
    late = [found for item_id, event in known.items() if (found := late_outcome(item_id, event)) is not None]
    if not late:
        return 0
    writer.abandon()
    successor, _created = open_writer(writer.log.path, must_exist=True)
    try:
        if successor.log.log_id != writer.log.log_id:
            raise LogReplaced(f"{writer.log.path} is another log by now. Restore the folder, then open it again.")
        recorded: list[LateOutcome] = []

        def decide(_turn: Turn) -> list[Event]:
            recorded[:] = [one for one in late if is_doubt_of(successor, writer.session.number, one)]
            return list(recorded)

        successor.turn(decide)
        return len(recorded)
    finally:
        successor.close()


def is_doubt_of(writer: LogWriter, session: int, late: LateOutcome) -> bool:
    """Return whether *late* speaks of a start of *session* that is in doubt, as *writer* knows the log."""
    # In a log that was restored from a backup, the same seq may be the start of something else. And a session that
    # was abandoned may be alive still, held by a command of its own: a late outcome of what is STARTED cannot be
    # folded, so that one committed here would make the log unreadable.
    attempt = writer.state.attempt(late.start_seq)
    return attempt is not None and (attempt.item_id, attempt.session, attempt.status) == (
        late.item_id,
        session,
        Status.IN_DOUBT,
    )
