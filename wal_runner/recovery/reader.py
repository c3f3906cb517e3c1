"""Looking at a log: items, counts, doubts, crashes, history. Writes nothing.

Imported by the runner and the command line. Invariant: what is shown is the fold of the log, and a
crash that no run has recorded yet is shown apart from it, as what the next run will record.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from wal_runner.core import arrays
from wal_runner.core.events import (
    ItemAttested,
    ItemGivenUp,
    ItemHeld,
    ItemInterrupted,
    ItemReopened,
    ItemStarted,
    LateOutcome,
    Status,
)
from wal_runner.core.identity import item_id as id_text
from wal_runner.core.items import item_of
from wal_runner.core.places import EffectFailed, EffectStarted, EffectSucceeded
from wal_runner.errors import Compacted
from wal_runner.log import opening
from wal_runner.log.named_values import classes_by_name
from wal_runner.log.protocol import Liveness
from wal_runner.log.results import NO_CLASSES, decode_result
from wal_runner.log.rows import row_key, row_of
from wal_runner.recovery.evidence import proven
from wal_runner.recovery.loading import catch_up, load, records_after
from wal_runner.recovery.recover import open_sessions


if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from wal_runner.core.error_info import ErrorInfo
    from wal_runner.core.events import Event, Record
    from wal_runner.core.items import ItemState, OpenAttempt, Row, SessionInfo
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Log
    from wal_runner.log.scratch import Remains
    from wal_runner.recovery.writer import LogWriter

SCAN_ROWS: Final = 4096

LOOKS_MAX: Final = 3
"""Sessions may begin and be recorded dead while they are looked at; each time we look again."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item as the log knows it. *result* is None too if *omitted* says why it was not kept.

    *failures* and *deaths* are 0 if nothing counts them. *not_before_ns* is the wall time (ns since 1970)
    before which a failed item is not tried again, or 0.
    """

    item_id: str
    status: Status
    attempts: int
    generation: int
    start_seq: int
    result: Any = None
    omitted: str | None = None
    error: ErrorInfo | None = None
    failures: int = 0
    deaths: int = 0
    not_before_ns: int = 0


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One event of the log, with its seq, and the session and wall time (ns since 1970) of its record."""

    seq: int
    time_ns: int
    session: int
    event: Event


@dataclass(frozen=True, slots=True)
class SessionReport:
    """A session that did not end in order, or has not ended: who it is, and what it has open.

    *recorded* is true once the log says that it was lost. While *effect_running* is true its process
    is dead and a command that it started is not: the session counts as alive until that ends.
    *proven* holds what the slots of a session whose death is not recorded yet prove of *open*, by
    start_seq: the outcomes and releases that the next run records.
    """

    info: SessionInfo
    alive: bool
    effect_running: bool
    recorded: bool
    open: list[tuple[int, OpenAttempt]]
    proven: Mapping[int, Event]

    @property
    def died(self) -> bool:
        """Say whether it ended without saying so."""
        return not self.alive and self.info.ending != "closed"

    @property
    def doubts(self) -> list[tuple[int, OpenAttempt]]:
        """Give what of *open* is in doubt, or will be once the session's death is recorded."""
        return [
            (start_seq, attempt)
            for start_seq, attempt in self.open
            if attempt.status is Status.IN_DOUBT
            or (self.died and isinstance(self.proven.get(start_seq), ItemInterrupted | None))
        ]


class LogView:
    """A log to look at. Every question catches up with the log first.

    From `Runner.open_read` it is read-only: not a byte of the folder is written, and it may be a
    folder that this user cannot write. Threads may share one.
    """

    def __init__(
        self,
        log: Log,
        state: State,
        *,
        live: LogWriter | None = None,
        classes: Mapping[str, type] = NO_CLASSES,
    ) -> None:
        self._log = log
        self._classes = classes
        self._own_state = state
        # True while folding: a Ctrl-C in the middle leaves half a record in memory.
        self._half_folded = False
        self._live = live
        self._lock = threading.RLock() if live is None else live.lock

    @classmethod
    def open(cls, path: str | os.PathLike[str], result_types: Iterable[type] = ()) -> Self:
        """Open the log at *path* for looking. Raises as `Runner` does; never creates one.

        Results are decoded as by a Runner with the same *result_types*.
        """
        classes = classes_by_name(result_types)
        log = opening.open_for_reading(path)
        try:
            log.check_rows()
            return cls(log, load(log), classes=classes)
        except BaseException:
            opening.close(log)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the log. Closing again does nothing."""
        if self._live is None:
            opening.close(self._log)

    @property
    def path(self) -> str:
        """Give the log's folder."""
        return str(self._log.path)

    @property
    def log_id(self) -> str:
        """Give the log's own name."""
        return self._log.log_id

    @property
    def copied_from(self) -> str:
        """The place where the log was last used, if it is not here; else "".

        Running a copy is refused until somebody accepts it: see `Runner`.
        """
        return self._log.copied_from()

    @property
    def classes(self) -> Mapping[str, type]:
        """Return the classes that results come back as, by the names under which they are stored."""
        return self._classes

    @property
    def log(self) -> Log:
        """Give the engine; for other rooms of the package."""
        return self._log

    def state(self) -> State:
        """Give the state at the end of the log. Its items are those since the snapshot; do not change it."""
        with self._lock:
            if self._live is not None:
                self._live.catch_up()
                return self._live.state
            if self._half_folded:
                self._own_state = load(self._log)
            self._half_folded = True
            try:
                catch_up(self._log, self._own_state)
            except Compacted:
                self._own_state = load(self._log)
            self._half_folded = False
            return self._own_state

    # --- Items ---------------------------------------------------------------------------

    def id_of(self, item_id: object) -> str:
        """Give the text of an id. Raise `ItemIdInvalid` where it is none."""
        return id_text(item_id)

    def status(self, item_id: object) -> Status:
        """Give an item's status; PENDING where the log has never heard of it."""
        item = self.item(item_id)
        return Status.PENDING if item is None else item.status

    def item(self, item_id: object) -> Item | None:
        """Give one item, or None where the log has never heard of it."""
        name = self.id_of(item_id)
        with self._lock:
            state = self.state()
            row = state.row(name) or row_of(name, self._log.look_up([name])[0])
        return None if row is None else public_item(name, item_of(row), state, self._classes)

    def items(self, status: Status | None = None) -> Iterator[Item]:
        """Give every item that the log knows, those of *status* if one is given, in id order."""
        state = self.state()
        for name, row in self._rows():
            if status is None or row[0] == status:
                yield public_item(name, item_of(row), state, self._classes)

    def results(self) -> Iterator[tuple[str, Any]]:
        """Give (item id, result) of every item that succeeded and whose result was not omitted."""
        for item in self.items(Status.SUCCEEDED):
            if item.omitted is None:
                yield item.item_id, item.result

    def counts(self) -> Mapping[Status, int]:
        """Give how many items the log knows in each status."""
        return dict(self.state().counts)

    def _rows(self) -> Iterator[tuple[str, Row]]:
        """Merge the snapshot's rows with what was touched since, in key order."""
        with self._lock:
            touched = {row_key(name): (name, row) for name, row in self.state().touched()}
        overlay = iter(sorted(touched.items()))
        ahead = next(overlay, None)
        for key, pair in self._stored_rows():
            while ahead is not None and ahead[0] <= key:
                yield ahead[1]
                ahead = next(overlay, None)
            if key not in touched:
                yield pair
        while ahead is not None:
            yield ahead[1]
            ahead = next(overlay, None)

    def _stored_rows(self) -> Iterator[tuple[bytes, tuple[str, Row]]]:
        after = b""
        while True:
            rows, after = self._log.scan(after, limit=SCAN_ROWS)
            if not rows:
                return
            for pair in rows:
                yield row_key(pair[0]), pair

    # --- History -------------------------------------------------------------------------

    def records(self, after: int | None = None) -> Iterator[Record]:
        """Give the records of the log behind seq *after*, or all that it still holds."""
        yield from records_after(self._log, self._log.base()[0] if after is None else after)

    def history(self, item_id: object) -> list[HistoryEntry]:
        """Give every event of one item that the log still holds, in order. Reads the whole log."""
        name = self.id_of(item_id)
        starts = {seq for seq, attempt in self.state().attempts() if attempt.item_id == name}
        item = self.item(name)
        if item is not None:
            starts.add(item.start_seq)  # its events may stand behind a base that its start does not
        entries = []
        for record in self.records():
            for seq, event in _events_of_item(record, name, starts):
                entries.append(HistoryEntry(seq, record.time_ns, record.session, event))
        return entries

    # --- Sessions and crashes --------------------------------------------------------------

    def sessions(self) -> list[SessionReport]:
        """Give every session that is alive, died, or left something open, the oldest first."""
        with self._lock:
            state, liveness, remains = self._sessions_now()
            by_session: dict[int, list[tuple[int, OpenAttempt]]] = {}
            for start_seq, attempt in sorted(state.attempts()):
                by_session.setdefault(attempt.session, []).append((start_seq, attempt))
            reports = []
            for number, info in sorted(state.sessions.items()):
                # One that was not asked about has ended, or began this very moment.
                lives = liveness.get(number, Liveness(alive=not info.ending, owner_alive=not info.ending))
                said = remains.get(number, {})
                opened = by_session.get(number, [])
                facts = ((start_seq, proven(start_seq, said.get(start_seq))) for start_seq, _ in opened)
                reports.append(
                    SessionReport(
                        info=info,
                        alive=lives.alive,
                        effect_running=lives.alive and not lives.owner_alive,
                        recorded=bool(info.ending),
                        open=opened,
                        proven={start_seq: event for start_seq, event in facts if event is not None},
                    )
                )
        return [r for r in reports if r.alive or r.open or r.info.ending != "closed"]

    def _sessions_now(self) -> tuple[State, Mapping[int, Liveness], Mapping[int, Mapping[int, Remains]]]:
        """Give the state, who lives, and what the dead left, as of one moment."""
        looks = 0
        while True:
            looks += 1
            state = self.state()
            unended = open_sessions(state)
            liveness = self._log.liveness(unended)
            dead = [number for number, lives in liveness.items() if not lives.alive]
            remains = self._log.remains_of(dead)
            # A run that began meanwhile may have recorded the death and removed what it left.
            if open_sessions(self.state()) == unended or looks == LOOKS_MAX:
                return state, liveness, remains


def public_item(name: str, item: ItemState, state: State, classes: Mapping[str, type]) -> Item:
    """Return an item as the API shows it: its result decoded, and the text that its error names by number."""
    return Item(
        name,
        item.status,
        item.attempts,
        item.generation,
        item.start_seq,
        decode_result(item.result, classes),
        item.omitted,
        state.with_text(item.error),
        item.failures,
        item.deaths,
        item.not_before_ns,
    )


def _events_of_item(  # noqa: C901 - one case a kind of event
    record: Record, name: str, starts: set[int]
) -> Iterator[tuple[int, Event]]:
    for seq, array in enumerate(record.arrays, record.first_seq):
        if array[0] == arrays.STARTED and array[1] != name:
            continue  # most events of a log are starts of other items
        event = arrays.from_array(seq, array)
        match event:
            case ItemStarted() | ItemAttested():
                if event.item_id == name:
                    starts.add(seq)
                    yield seq, event
            case ItemReopened() | ItemHeld() | ItemGivenUp() | LateOutcome():
                if event.item_id == name:
                    yield seq, event
            case EffectStarted():
                if event.start_seq in starts:
                    starts.add(seq)
                    yield seq, event
            case EffectSucceeded() | EffectFailed():
                if event.effect_seq in starts:
                    yield seq, event
            case _:
                if getattr(event, "start_seq", None) in starts:
                    yield seq, event
