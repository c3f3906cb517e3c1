"""The one place that appends: a session's view of its log, kept folded.

Imported by recovery, compaction, verdicts and the runner. Invariant: every change is one turn inside
the log's `exclusive`: catch up with what others appended, decide on the caught-up state, append. What
is durable is folded; what failed is not, and after doubt about a commit the log itself is asked.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from wal_runner.core.events import SessionClosed
from wal_runner.errors import Compacted, LogBusy, LogClosed, LogForked, SessionDeclaredLost
from wal_runner.failpoints import failpoint
from wal_runner.log import opening
from wal_runner.log.locks import let_go
from wal_runner.log.protocol import GATE_WAIT_S
from wal_runner.recovery.evidence import own_started
from wal_runner.recovery.formats import fit, unended_sessions
from wal_runner.recovery.loading import load, records_after
from wal_runner.recovery.own_starts import OwnStarts, settlements
from wal_runner.recovery.snapshots import TAIL_EVENTS_AT_CLOSE, Snapshots


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wal_runner.core.events import Event, EventArray, Record
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Log, Session, Turn

STALE_SECONDS: Final = 0.01
"""Events of others that came in so short a time take less than a millisecond or two to fold."""

CLOSED_EARLY: Final = "the Runner was closed while fn ran"


class LogWriter:
    """Appends the events of one session. Threads take turns; each method is one turn, or none.

    *lock* is held during a turn: hold it to read `state` together with something of your own.
    """

    def __init__(self, log: Log, state: State, session: Session) -> None:
        self.log = log
        self.state = state
        self.session = session
        self.lock = threading.RLock()
        self.snapshots = Snapshots(session.number)
        self.own_starts = OwnStarts()
        self.is_running: Callable[[], bool] = lambda: False
        """Whether a run of the Runner that this belongs to is going on."""
        self.generation = 0
        """Counts how often items left the overlay: what was looked up before is then looked up again."""
        self._looked_at = time.monotonic()
        self._half_folded = False
        self._closed = False
        self._pid = os.getpid()

    def turn(
        self,
        decide: Callable[[Turn], Sequence[Event | EventArray]],
        *,
        snapshot: bool = True,
        force_snapshot: bool = False,
        wait_s: float = GATE_WAIT_S,
        fitted: bool = False,
    ) -> Sequence[Record]:
        """Append what *decide* gives, atomically and durably, and give it as records.

        *decide* runs inside the gate, with `state` caught up; it must be short, and may raise, which
        appends nothing. Raise `CommitUnknown` when the commit itself failed: the next turn finds out.
        What it gives is fitted to the log's format (`wal_runner.recovery.formats.fit`), unless *fitted*
        says that it is: a scan of thousands of events in each turn of a run is not free.
        """
        self.check_process()
        with self.lock:
            self._check_usable()
            failpoint("commit.before_begin")
            self._break_off_turn()
            try:
                if time.monotonic() - self._looked_at > STALE_SECONDS:
                    # Others may have appended much: fold that outside the gate, and only the rest inside.
                    self._fold(records_after(self.log, self.state.seq))
                before = self.state.seq
                with self.log.exclusive(before, wait_s=wait_s) as turn:
                    # Not the wall's: what the disk takes for a barrier is no shorter for a shorter slice.
                    entered_at = time.thread_time()
                    self._fold(turn.records)
                    self._check_not_lost()
                    events = decide(turn)
                    if events:
                        turn.append(self.session.number, events if fitted else fit(turn, self.state, events))
                    if snapshot:
                        self.snapshots.ride(turn, self.state, force=force_snapshot)
            except Compacted:
                # We lag behind a compaction: what we missed is in the snapshot now.
                self._load_anew()
                return self.turn(decide, snapshot=snapshot, force_snapshot=force_snapshot, wait_s=wait_s, fitted=fitted)
            except BaseException:
                self.snapshots.fell()
                raise
            self._looked_at = time.monotonic()
            held_s = time.thread_time() - entered_at
            self._fold(turn.appended)
            self._settle_snapshot(held_s)
            return turn.appended

    def append(self, events: Sequence[Event]) -> Sequence[Record]:
        """Append *events* as they are."""
        return self.turn(lambda _turn: events)

    def catch_up(self) -> None:
        """Fold what others appended, writing nothing."""
        self.turn(lambda _turn: (), snapshot=False)

    def require_format(self, version: int) -> None:
        """Raise the log to format *version*, durable on return, for a feature that was asked for.

        Call it before the first start. Raise `OlderVersionRunning` while a process of an older version
        runs on the log; then nothing was written.
        """

        def decide(turn: Turn) -> list[Event]:
            turn.require_format(version, unended_sessions(self.state))
            return []

        self.turn(decide, snapshot=False)

    def take_snapshot(self) -> int:
        """Write a whole snapshot now, in as many turns as it takes; give the seq that it stands for.

        Give the older one's where another session is writing at this time.
        """
        with self.lock:
            self.turn(lambda _turn: (), force_snapshot=True)
            while self.snapshots.under_way:
                self.turn(lambda _turn: ())
            return self.state.snapshot_seq

    def close(self) -> None:
        """End the session in order, snapshot the tail if it is long, and release everything.

        What is still STARTED, because a run was left in the middle, gets the outcome that its slot
        holds; where fn never began it is released, and where it runs, in doubt. When this raises, the
        next opening finds the session lost, with its slots. In a forked child it does nothing.
        """
        if self.is_the_parents:
            return  # what the child has of this log was let go of at the fork
        self._break_off_turn()
        with self.lock:
            if self._closed:
                opening.close(self.log, writer=True)  # an exception may have struck behind the mark
                return
            # From here on nothing begins: what is released must not run after all.
            self.session.scratch.close()
            try:
                if not self._is_closed_on_record:
                    self._close_in_order()
            except BaseException:
                # The slots may hold outcomes that could not be written.
                self.session.abandon()
                raise
            else:
                self.session.close()
            finally:
                self._closed = True
                opening.close(self.log, writer=True)

    def abandon(self) -> None:
        """Release everything and append nothing, as a crash would; the next opening finds us lost."""
        with self.lock:
            if not self._closed:
                self._closed = True
                self.session.abandon()
                opening.close(self.log, writer=True)

    @property
    def closed(self) -> bool:
        """Say whether `close` was called."""
        return self._closed

    @property
    def is_the_parents(self) -> bool:
        """Say whether this process is a forked child of the one that opened the log."""
        return os.getpid() != self._pid

    @property
    def _is_closed_on_record(self) -> bool:
        # An exception may strike between that commit and the release of what is ours.
        info = self.state.sessions.get(self.session.number)
        return info is not None and info.ending == "closed"

    def _close_in_order(self) -> None:
        if self.state.seq - self.state.snapshot_seq >= TAIL_EVENTS_AT_CLOSE:
            self.take_snapshot()
        failpoint("close.before_commit")
        number = self.session.number

        def decide(turn: Turn) -> list[Event]:
            if turn.snapshotter() == number:
                turn.set_snapshotter(0)
            return [*self._last_words(turn), SessionClosed(number)]

        self.turn(decide, snapshot=False)
        failpoint("close.after_commit")

    def _last_words(self, turn: Turn) -> list[Event]:
        # A session that closes and leaves items started is a log that cannot be folded any more.
        number = self.session.number
        remains = turn.remains(number) if own_started(self.state, number) else {}
        settled, _doubted = settlements(self.state, number, self.own_starts.known(), remains, CLOSED_EARLY)
        return [*settled.values(), *self.own_starts.late_events(self.state, number)]

    def check_process(self) -> None:
        """Raise `LogForked` in a forked child.

        Call it before taking a lock: in the child one may be held for ever, by a thread of the parent.
        """
        if self.is_the_parents:
            raise LogForked("This log was opened by the parent process. Open it again in the child.")

    def break_off(self) -> None:
        """Undo the turn, and release the locks, that an exception left open or held in this thread.

        An exception may strike at any line, in the middle of a release too. Call it where this thread is in no turn
        and does not hold `lock`: before a run begins, and when one has ended.
        """
        if not self.is_the_parents and not _is_in_turn(self):
            self.log.break_off()
            let_go(self.lock)

    def _break_off_turn(self) -> None:
        if self.log.is_entered and not _is_in_turn(self):
            self.log.break_off()

    # --- Keeping the state right --------------------------------------------------------

    def _check_usable(self) -> None:
        if self._closed:
            raise LogClosed(f"{self.log.path} was closed here. Open it again.")
        if self._half_folded:
            if _is_in_turn(self):
                # A signal handler asks in the middle of a fold: another state would be changed under that fold.
                raise LogBusy.of_this_thread(self.log.path)
            self._load_anew()

    def _fold(self, records: Iterable[Record]) -> None:
        # An exception in the middle (a Ctrl-C that nobody holds back) leaves half a record folded.
        self._half_folded = True
        for record in records:
            self.state.apply(record)
        self._half_folded = False

    def _load_anew(self) -> None:
        self.state = load(self.log)
        self.snapshots.reset()
        self.generation += 1
        self._half_folded = False

    def _settle_snapshot(self, held_s: float) -> None:
        frozen_seq = self.state.frozen_seq
        self.snapshots.landed(self.state, held_s)
        if frozen_seq and self.state.frozen_seq != frozen_seq:
            self.generation += 1

    def _check_not_lost(self) -> None:
        if self._is_closed_on_record:
            raise LogClosed(f"{self.log.path} was closed here. Open it again.")
        info = self.state.sessions.get(self.session.number)
        if info is None or info.ending:
            raise SessionDeclaredLost(
                f"Session {self.session.number} of {self.log.path} was declared lost by another process, and appends "
                "nothing more. What it knows is recorded as late outcomes. Open the log again to go on."
            )


def _is_in_turn(writer: LogWriter) -> bool:
    """Return whether this thread is executing a turn of *writer*, two calls above the caller or further up.

    A signal handler, or the collection of garbage, may come back to the writer in the middle of a turn. It takes a
    walk of the stack to tell, so ask each turn only if the log is entered.
    """
    frame = sys._getframe(2).f_back  # noqa: SLF001 - inspect.currentframe() is the same
    while frame is not None:
        if frame.f_code is _TURN and frame.f_locals.get("self") is writer:
            return True
        frame = frame.f_back
    return False


_TURN: Final = LogWriter.turn.__code__
