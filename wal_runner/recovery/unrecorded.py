"""Settle the starts whose outcome no run of this session could record, before anything else is started.

Imported by the runner. Invariant: after `begin_run` no start of this session is without an outcome or a
doubt on record, and every slot is free except those of workers that were left behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from wal_runner.errors import CommitUnknown
from wal_runner.recovery.evidence import own_started
from wal_runner.recovery.formats import fit
from wal_runner.recovery.own_starts import settlements


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wal_runner.core.events import Event, EventArray
    from wal_runner.log.protocol import Turn
    from wal_runner.recovery.own_starts import RunStarts
    from wal_runner.recovery.writer import LogWriter


class TakeTurn(Protocol):
    """Takes a turn at the log, as `LogWriter.turn` does."""

    def __call__(self, decide: Callable[[Turn], Sequence[Event | EventArray]], *, fitted: bool) -> object:
        """Append what *decide* returns; *fitted* says that it fits the log's format already."""


COMMITS_UNKNOWN_MAX: Final = 3
"""How often a commit is tried whose result is unknown each time."""

ENDED_UNRECORDED: Final = "an earlier run ended before fn did, and could not record that"


def settle_own_starts(writer: LogWriter, reason: str, *, turn: TakeTurn | None = None) -> dict[int, Event]:
    """Settle every start of this session that has no outcome, durably; return the events by start_seq.

    From here on nothing of the last run begins. A worker that is still inside fn records its outcome later,
    as a late one; late outcomes whose own commit failed are recorded here. When this raises, the next call does the
    same: nothing was forgotten.
    """
    own = writer.own_starts
    own.run.fence.closed = True
    # Before the slots are read: a worker that ends from now on settles its start itself, after us.
    left = own.leave_behind()
    late = list(own.late)
    settled: dict[int, Event] = {}
    doubted: set[int] = set()

    def decide(inside: Turn) -> Sequence[Event]:
        state, number = writer.state, writer.session.number
        late_events = fit(inside, state, own.late_events(state, number))
        if not own_started(state, number):
            return late_events
        events, in_doubt = settlements(state, number, own.known(), inside.remains(number), reason)
        doubted.difference_update(events)
        doubted.update(in_doubt)
        # Fitted here, since what is counted and yielded must be what the log holds.
        fitted = fit(inside, state, list(events.values()))
        # Added to what was there: a first try whose commit raised CommitUnknown may have been written.
        settled.update(zip(events, fitted, strict=True))
        return [*fitted, *late_events]

    take_turn(turn or writer.turn, decide)
    own.late_is_written(late)
    for start_seq in left:
        # Neither settled here nor in doubt by this call: an earlier call raised, and its commit was written after all.
        # The worker may still be inside fn, and will write to its slot.
        if start_seq in settled and start_seq not in doubted:
            own.left_behind.pop(start_seq, None)
    return settled


def begin_run(writer: LogWriter, starts: RunStarts) -> None:
    """Settle what earlier runs could not record, take their slots back, and make *starts* the current run's."""
    own = writer.own_starts
    settle_own_starts(writer, ENDED_UNRECORDED)
    with writer.lock:
        own.run = starts
        writer.session.scratch.reclaim(set(own.left_behind.values()))


def take_turn(turn: TakeTurn, decide: Callable[[Turn], Sequence[Event]]) -> None:
    """Take a turn with *decide*, whose events are fitted; again if its commit raises `CommitUnknown`, up to 3 times."""
    for tries_left in reversed(range(COMMITS_UNKNOWN_MAX)):
        try:
            turn(decide, fitted=True)
        except CommitUnknown:
            # Written or not: the next turn folds the log again and looks.
            if not tries_left:
                raise
        else:
            return
