"""The starts of this session that have no outcome in the log, carried from one run to the next.

Imported by the writer and the runner. Invariant: a start is released only if its slot says "armed" after
the fence of its run was closed: then its fn has not begun, and no longer can. "Not in flight in this run"
proves nothing: an earlier run may have begun the start and failed to record its outcome.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wal_runner.core.events import ItemInterrupted
from wal_runner.recovery.evidence import own_started, proven
from wal_runner.recovery.late_events import is_doubt_of, late_outcome


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from wal_runner.core.events import Event, OutcomeEvent
    from wal_runner.core.state import State
    from wal_runner.log.scratch import Remains


def _as_it_is(event: OutcomeEvent) -> OutcomeEvent:
    return event


class HasSlot(Protocol):
    """An attempt, as far as this module needs it."""

    @property
    def slot(self) -> int:
        """Return the attempt's scratch slot."""


class Fence:
    """Whether the starts of one run may still begin.

    A worker marks its slot as begun and then reads `closed`; whoever settles the run's starts sets `closed`
    and then reads the slot. One of the two therefore sees the other: a slot that still says "armed" belongs
    to a worker that will find the fence closed, and not call fn.
    """

    __slots__ = ("closed",)

    def __init__(self) -> None:
        self.closed = False


class RunStarts(NamedTuple):
    """What one run knows of its starts; its dispatcher goes on changing *in_flight* and *outcomes*."""

    fence: Fence
    in_flight: Mapping[int, HasSlot]
    outcomes: deque[OutcomeEvent]
    judge: Callable[[OutcomeEvent], OutcomeEvent] = _as_it_is
    """Returns what to record for an outcome: a doubt if the source changed the item while fn ran."""


class OwnStarts:
    """What this process knows of its session's starts beyond the log."""

    def __init__(self) -> None:
        self.run = RunStarts(Fence(), {}, deque())
        """The run that is going on, or the last one."""
        self.left_behind: dict[int, int] = {}
        """Slots by start_seq of starts in doubt that a worker may still be at; not used again before it ends."""

        self.late: dict[int, tuple[str, OutcomeEvent]] = {}
        """Outcomes of starts left behind whose commit failed, by start_seq, each with its item's id."""

    def known(self) -> dict[int, OutcomeEvent]:
        """Return the outcomes that no run has written yet, by start_seq."""
        # Copies: a worker may add to them.
        late = {start_seq: event for start_seq, (_, event) in self.late.copy().items()}
        return late | {event[0]: self.run.judge(event) for event in self.run.outcomes.copy()}

    def late_events(self, state: State, session: int) -> list[Event]:
        """Return the late outcomes that are not written yet, of starts of *session* that are in doubt."""
        found = [late_outcome(item_id, event) for item_id, event in self.late.copy().values()]
        return [late for late in found if late is not None and is_doubt_of(state, session, late)]

    def late_is_written(self, start_seqs: Iterable[int]) -> None:
        """Forget late outcomes that are durable now; the slots of their starts are free with the next run."""
        for start_seq in start_seqs:
            self.late.pop(start_seq, None)
            self.left_behind.pop(start_seq, None)

    def leave_behind(self) -> list[int]:
        """Mark every start of the run without an outcome as left behind; return them."""
        known = self.known()
        left = [start_seq for start_seq in list(self.run.in_flight) if start_seq not in known]
        self.left_behind.update({start_seq: self.run.in_flight[start_seq].slot for start_seq in left})
        return left


def settlements(
    state: State, session: int, known: Mapping[int, OutcomeEvent], remains: Mapping[int, Remains], reason: str
) -> tuple[dict[int, Event], set[int]]:
    """Return the event that settles each start of *session* without an outcome, and the starts that nothing proves.

    An outcome that is *known* in memory, or that the start's slot holds, is recorded; "armed" is a release;
    everything else leaves the item in doubt for *reason*. Close the fence before *remains* is read.
    """
    settled: dict[int, Event] = {}
    doubted: set[int] = set()
    for start_seq in own_started(state, session):
        event = known.get(start_seq) or proven(start_seq, remains.get(start_seq))
        if event is None:
            event = ItemInterrupted(start_seq, 0, reason)
            doubted.add(start_seq)
        settled[start_seq] = event
    return settled, doubted
