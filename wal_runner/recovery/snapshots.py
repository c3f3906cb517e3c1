"""Snapshots: the fold written down in slices that ride on commits.

Imported by the writer. Invariant: a snapshot stands for exactly one seq. What was touched up to
there is frozen in memory; its rows are written in key order, a slice with each commit, and only the
last slice says so (`SnapshotTaken`, in the same transaction). A crash between two slices leaves rows
that are newer than the snapshot, which is harmless: the tail tells the same news again.

One session writes at a time: two that interleave could put an older row over a newer one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from wal_runner.core.events import SnapshotTaken
from wal_runner.failpoints import failpoint


if TYPE_CHECKING:
    from collections.abc import Callable

    from wal_runner.core.items import ShortRow
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Turn

TAIL_EVENTS_MAX: Final = 80_000
"""A snapshot begins when the tail is so long: start-up replays it, at more than a million a second."""

TAIL_SECONDS_MAX: Final = 60.0
TAIL_EVENTS_MIN: Final = 5_000
"""After a minute a shorter tail is enough, but not one that costs nothing to replay."""

TAIL_EVENTS_AT_CLOSE: Final = 2_000

TURNS_FIRST: Final = 4
"""A session does not begin with a snapshot: its first items would wait for the sorting of the tail."""

SLICE_SECONDS: Final = 0.006
"""A slice is put for so long at most; rows that lie far apart make its commit take several times that."""

SLICE_SECONDS_MIN: Final = 0.000_2

HELD_SECONDS: Final = 0.010
"""Slices are made shorter until a turn with one holds the gate for about so long, its commit included."""

SLICE_ROWS_MAX: Final = 8_192


class Snapshots:
    """Writes the snapshots of one session, slice by slice."""

    def __init__(self, session: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._clock = clock
        self._rows: list[tuple[str, ShortRow]] = []
        self._written = 0
        self._frozen: State | None = None
        self._riding = 0
        self._is_last = False
        self._thaws = False
        self._taken_at = clock()
        self._seen_snapshot = 0
        self._turns = 0
        self._slice_s = SLICE_SECONDS / 2

    @property
    def under_way(self) -> bool:
        """Say whether a snapshot has begun and not ended."""
        return self._frozen is not None

    def is_due(self, state: State) -> bool:
        """Say whether the tail is long, or old, enough for a new snapshot."""
        tail = state.seq - state.snapshot_seq
        return tail >= TAIL_EVENTS_MAX or (
            tail >= TAIL_EVENTS_MIN and self._clock() - self._taken_at >= TAIL_SECONDS_MAX
        )

    def ride(self, turn: Turn, state: State, *, force: bool = False) -> None:
        """Add a slice to *turn* if there is one to write, and with the last one the event.

        *state* is the fold up to the turn's beginning; what the turn itself appended is not part of
        the snapshot. Call `landed` when the turn is durable, `fell` when it failed.
        """
        self._riding, self._is_last = 0, False
        self._turns += 1
        if self._frozen is None:
            if force or (self._turns > TURNS_FIRST and self.is_due(state)):
                # To take back what was set aside for another's snapshot may be much: rather outside the gate.
                self._thaws = bool(state.frozen) and not force
                if not self._thaws:
                    self._begin(turn, state)
            return
        if turn.snapshotter() != self._session:
            # The transaction that made us the snapshotter did not come about, or we were taken for dead.
            self._give_up(state)
            return
        failpoint("snapshot.before_slice")
        if not self._rows:
            self._sort(state)
        rows = self._rows[self._written : self._written + SLICE_ROWS_MAX]
        self._riding = turn.put_rows(rows, seconds_max=self._slice_s)
        if self._written + self._riding < len(self._rows):
            return
        failpoint("snapshot.before_last_slice")
        self._is_last = True
        digest = turn.put_snapshot(self._frozen)
        turn.set_snapshotter(0)
        turn.append(self._session, [SnapshotTaken(self._frozen.seq, digest)])

    def landed(self, state: State, held_s: float) -> None:
        """Go on after a durable turn, which held the gate for *held_s*.

        What takes long, the sorting and the merging, is done here: outside the gate.
        """
        if self._thaws:
            state.thaw()
            self._thaws = False
        if self._riding:
            wanted = self._slice_s * min(max(HELD_SECONDS / max(held_s, 1e-6), 0.5), 1.25)
            self._slice_s = min(max(wanted, SLICE_SECONDS_MIN), SLICE_SECONDS)
        if self._frozen is not None:
            self._written += self._riding
            if self._is_last:
                self._end(state)
            elif not self._rows:
                self._sort(state)
            # A turn that carries no slice, a look for one, lands too: what landed is counted once. A
            # slice that was skipped would be a snapshot without its rows, and finished items redone.
            self.fell()
        elif state.snapshot_seq > self._seen_snapshot:
            self._follow_another(state)
        self._seen_snapshot = state.snapshot_seq

    def fell(self) -> None:
        """Forget the slice of the turn that is over; where it failed, it is written again."""
        self._riding, self._is_last = 0, False

    def reset(self) -> None:
        """Begin anew, after the state was loaded anew."""
        self._frozen, self._rows, self._written = None, [], 0
        self._thaws = False
        self.fell()

    def _sort(self, state: State) -> None:
        # Code points sort as their UTF-8 does, so this is the order of the keys.
        self._rows = sorted(state.frozen.items())

    def _begin(self, turn: Turn, state: State) -> None:
        other = turn.snapshotter()
        if other not in {0, self._session} and turn.liveness([other])[other].alive:
            return
        turn.set_snapshotter(self._session)
        if state.frozen:
            state.thaw()
        state.freeze()
        self._frozen = state.without_items()
        self._rows, self._written = [], 0

    def _end(self, state: State) -> None:
        state.drop_frozen()
        self._frozen, self._rows, self._written = None, [], 0
        self._taken_at = self._clock()

    def _give_up(self, state: State) -> None:
        state.thaw()
        self.reset()

    def _follow_another(self, state: State) -> None:
        """Let go of what another session's snapshot holds, so that our memory is bounded too."""
        self._taken_at = self._clock()
        if state.frozen and state.snapshot_seq < state.frozen_seq:
            return
        state.drop_frozen()
        state.freeze()
