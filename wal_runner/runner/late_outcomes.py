"""The outcome of a start whose run has ended: put on record at once, or kept until the log can take it.

Imported by the dispatcher. Invariant: a slot is free only when its outcome is on record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wal_runner.core.events import Status
from wal_runner.errors import LogError
from wal_runner.recovery.formats import fit
from wal_runner.recovery.unrecorded import take_turn
from wal_runner.shielded_logger import ShieldedLogger


if TYPE_CHECKING:
    from collections.abc import Sequence

    from wal_runner.core.events import Event, OutcomeEvent
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.unrecorded import TakeTurn
    from wal_runner.recovery.writer import LogWriter
    from wal_runner.runner.attempt import Attempt

logger: Final = ShieldedLogger(__name__)


def record_late_outcome(writer: LogWriter, attempt: Attempt, event: OutcomeEvent, turn: TakeTurn) -> None:
    """Record the outcome of *attempt*, which is left behind by its run; only then may its slot be used again."""
    start_seq, own = attempt.start_seq, writer.own_starts
    with writer.lock:
        if start_seq not in own.left_behind or writer.closed or writer.is_the_parents:
            return

        def decide(turn: Turn) -> Sequence[Event]:
            known = writer.state.attempt(start_seq)
            if known is not None and known.status is Status.STARTED:
                # The end of its run could not be written: the start has no doubt on record yet.
                return fit(turn, writer.state, [event])
            return fit(turn, writer.state, own.late_events(writer.state, writer.session.number))

        own.late[start_seq] = (attempt.item_id, event)
        try:
            take_turn(turn, decide)
        except LogError as error:
            logger.warning(
                "The outcome of %r, whose run has ended, could not be committed. The next run of this Runner records "
                "it, and so does closing it; until then the item is in doubt. %s",
                attempt.item_id[:80],
                error,
            )
            return
        del own.late[start_seq]
        del own.left_behind[start_seq]
        writer.session.scratch.free([attempt.slot])
