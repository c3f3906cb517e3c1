"""Late outcomes: what is learned of a start that is in doubt on record already.

Used by the runner. Invariant: a late outcome settles the doubt of that very start, or says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.errors import LogReplaced
from wal_runner.recovery.late_events import is_doubt_of, late_outcome
from wal_runner.recovery.recover import open_writer


if TYPE_CHECKING:
    from collections.abc import Mapping

    from wal_runner.core.events import Event, LateOutcome, OutcomeEvent
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.writer import LogWriter


def record_late(writer: LogWriter, known: Mapping[str, OutcomeEvent]) -> int:
    """Record the outcomes *known*, by item id, of a session that was declared lost; return how many were recorded.

    Abandons *writer*, the writer of that session: a new session records them, and ends. Raise `LogReplaced` if
    another log is at the path by now.
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
            recorded[:] = [one for one in late if is_doubt_of(successor.state, writer.session.number, one)]
            return list(recorded)

        successor.turn(decide)
        return len(recorded)
    finally:
        successor.close()
