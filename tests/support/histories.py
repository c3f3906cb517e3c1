"""Histories that a log may hold, and in plain dicts what they should add up to.

Written from the words of the design and not from the code: it knows neither the fold nor the table of
transitions, so that both can be held against it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import (
    CursorAdvanced,
    Decision,
    ItemAttested,
    ItemFailed,
    ItemGivenUp,
    ItemHeld,
    ItemInterrupted,
    ItemReconciled,
    ItemReleased,
    ItemReopened,
    ItemStarted,
    ItemSucceeded,
    KeyRuleSet,
    LateOutcome,
    PauseSet,
    RunEnded,
    SessionClosed,
    SessionLost,
    SessionOpened,
    SessionReached,
    Status,
    TextSeen,
)
from wal_runner.log.codec import encode_records, first_chain


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wal_runner.core.events import Event, Record

LOG_ID = "00" * 16
IDS = ("a", "b", "c", "d", "é" * 200)
"""The last one is longer than a key, so its row goes by its hash."""

SESSIONS_MAX = 3
ERROR = ErrorInfo("builtins.OSError", "no route")


@dataclass
class Known:
    """What the world should know of one item."""

    status: Status
    start_seq: int
    attempts: int
    generation: int
    result: bytes | None = None
    failures: int = 0
    deaths: int = 0
    by_verdict: bool = False


@dataclass
class History:
    """A log as it grows: its records, and what they say, in plain dicts."""

    records: list[Record] = field(default_factory=list)
    items: dict[str, Known] = field(default_factory=dict)
    open: dict[int, tuple[str, int]] = field(default_factory=dict)
    over: list[int] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    cursors: dict[str, bytes] = field(default_factory=dict)
    key_rule: str | None = None
    texts: dict[int, str] = field(default_factory=dict)
    paused: str | None = None
    source_ends: dict[str, int] = field(default_factory=dict)
    conflicts: int = 0
    sessions: int = 0
    seq: int = 0
    chain: bytes = first_chain(LOG_ID)

    @property
    def counts(self) -> dict[Status, int]:
        """Count the items by status."""
        found = Counter(known.status for known in self.items.values())
        return {status: found[status] for status in Status}

    def grow(self, choose: Callable[[Sequence[Any]], Any]) -> None:
        """Append one record that may come next; *choose* picks from what is possible."""
        session, action = choose(self._actions())
        if action == "open":
            session = self.sessions = self.sessions + 1
            opened = SessionOpened(session, "host", 1, "boot", ("x",), "/", "user", "0.1.0")
            self.write(session, [opened])
            self.alive.append(session)
        elif action == "close":
            self.write(session, [SessionClosed(session)])
            self.alive.remove(session)
        elif action == "lose":
            lost = choose([number for number in self.alive if number != session])
            self.write(session, [SessionLost(lost)])
            self.alive.remove(lost)
            self.dead.append(lost)
            for item_id, _ in self._open_of(Status.STARTED, lost):
                self.items[item_id].status = Status.IN_DOUBT
        else:
            events: list[Event] = []
            for _ in range(choose([1, 2, 3])):
                events += self._about_items(session, action, choose, self.seq + len(events) + 1)
                action = choose(["start", "start", "end", "stale", "else"])
            if events:
                self.write(session, events)

    def write(self, session: int, events: Sequence[Event]) -> None:
        """Append *events* as they are."""
        made = encode_records(
            events, first_seq=self.seq + 1, session=session, time_ns=10 * (self.seq + 1), previous=self.chain
        )
        for record, _ in made:
            self.records.append(record)
            self.seq, self.chain = record.last_seq, record.chain

    def _actions(self) -> list[tuple[int, str]]:
        found = [(0, "open")] if len(self.alive) < SESSIONS_MAX else []
        for session in self.alive:
            found += [(session, "start")] * 4 + [(session, "end")] * 4 + [(session, "else"), (session, "stale")]
            if len(self.alive) > 1:
                found.append((session, "lose"))
            if not self._open_of(Status.STARTED, session):
                found.append((session, "close"))
        return found

    def _open_of(self, status: Status, session: int | None = None) -> list[tuple[str, int]]:
        return [
            (item_id, start_seq)
            for start_seq, (item_id, owner) in self.open.items()
            if self.items[item_id].status is status and session in {None, owner}
        ]

    def _about_items(
        self, session: int, action: str, choose: Callable[[Sequence[Any]], Any], seq: int
    ) -> Iterator[Event]:
        match action:
            case "start":
                yield from self._start(session, choose, seq)
            case "end":
                yield from self._end(session, choose)
            case "stale":
                if self.over:
                    self.conflicts += 1
                    start_seq = choose(self.over)
                    yield choose(
                        [
                            ItemSucceeded(start_seq, 1),
                            ItemFailed(start_seq, 1, ERROR),
                            ItemInterrupted(start_seq, 1, "late"),
                            LateOutcome("?", start_seq, 1),
                            LateOutcome("?", start_seq, 1, error=ERROR),
                        ]
                    )
            case _:
                yield from self._settle_or_set(session, choose, seq)

    def _start(self, session: int, choose: Callable[[Sequence[Any]], Any], seq: int) -> Iterator[Event]:
        free = [i for i in IDS if i not in self.items or self.items[i].status in {Status.PENDING, Status.FAILED}]
        if not free:
            return
        item_id = choose(free)
        known = self.items.get(item_id)
        attempts, generation = (known.attempts + 1, known.generation) if known else (1, 0)
        counted = (known.failures, known.deaths + 1) if known else (2, 1)
        failures, deaths = choose([(0, 0), (0, 0), counted, (counted[0], 0)])
        yield ItemStarted(item_id, attempts, generation, known.status if known else None, failures, deaths)
        self.items[item_id] = Known(Status.STARTED, seq, attempts, generation, failures=failures, deaths=deaths)
        self.open[seq] = (item_id, session)

    def _end(self, session: int, choose: Callable[[Sequence[Any]], Any]) -> Iterator[Event]:
        started = self._open_of(Status.STARTED, session)
        # An interrupted fn may return after all, while its session lives.
        doubted = self._open_of(Status.IN_DOUBT, session)
        if not started + doubted:
            return
        item_id, start_seq = choose(started + doubted)
        endings = ["success", "result", "failure", "counted failure", "last failure", "interrupt"]
        ending = choose([*endings, "release"] if (item_id, start_seq) in started else endings)
        known = self.items[item_id]
        match ending:
            case "success" | "result":
                known.result = b"\x01" if ending == "result" else None
                yield ItemSucceeded(start_seq, 5, known.result)
                self._over(start_seq, Status.SUCCEEDED)
            case "failure":
                known.failures = 0
                yield ItemFailed(start_seq, 5, self._error(choose))
                self._over(start_seq, Status.FAILED)
            case "counted failure":
                known.failures += 1
                yield ItemFailed(start_seq, 5, ERROR, known.failures, choose([0, 10**18]))
                self._over(start_seq, Status.FAILED)
            case "last failure":
                known.failures = 3
                yield ItemFailed(start_seq, 5, ERROR, 3, final=True)
                self._over(start_seq, Status.ABANDONED)
            case "release":
                yield ItemReleased(start_seq)
                self._over(start_seq, Status.PENDING)
            case _:
                yield ItemInterrupted(start_seq, 5, "Ctrl-C")
                known.status = Status.IN_DOUBT

    def _settle_or_set(self, session: int, choose: Callable[[Sequence[Any]], Any], seq: int) -> Iterator[Event]:
        doubted = self._open_of(Status.IN_DOUBT)
        ended = [i for i, known in self.items.items() if known.status in _MAY_BE_REOPENED]
        answered = [i for i, known in self.items.items() if known.by_verdict and known.status in _MAY_BE_HELD]
        failed = [i for i, known in self.items.items() if known.status is Status.FAILED]
        unknown = [i for i in IDS if i not in self.items]
        what = choose(
            ["verdict", "late"] * bool(doubted)
            + ["reopen"] * bool(ended)
            + ["hold"] * bool(answered)
            + ["give up"] * bool(failed)
            + ["attest"] * bool(unknown)
            + ["set"]
        )
        match what:
            case "verdict":
                item_id, start_seq = choose(doubted)
                decision = choose(list(Decision))
                known = self.items[item_id]
                known.deaths = choose([0, known.deaths])
                known.result = b"\x02" if decision is Decision.HAPPENED else None
                yield ItemReconciled(start_seq, decision, "ann", "looked", known.result, deaths=known.deaths)
                known.by_verdict = True
                self._over(start_seq, _AFTER_VERDICT[decision])
            case "late":
                item_id, start_seq = choose(doubted)
                error = choose([None, ERROR])
                yield LateOutcome(item_id, start_seq, 5, error=error)
                self._over(start_seq, Status.SUCCEEDED if error is None else Status.FAILED)
            case "reopen":
                item_id = choose(ended)
                known = self.items[item_id]
                yield ItemReopened(
                    item_id, known.start_seq, known.status, known.attempts, known.generation + 1, "ann", "again"
                )
                self.items[item_id] = Known(Status.PENDING, known.start_seq, known.attempts, known.generation + 1)
            case "hold":
                item_id = choose(answered)
                known = self.items[item_id]
                last = (known.start_seq, known.status, known.attempts, known.generation)
                yield ItemHeld(item_id, *last, "ann", "a mistake", deaths=known.deaths)
                self.items[item_id] = Known(
                    Status.IN_DOUBT, known.start_seq, known.attempts, known.generation, deaths=known.deaths
                )
                self.open[known.start_seq] = (item_id, session)
                self.over.remove(known.start_seq)
            case "give up":
                item_id = choose(failed)
                known = self.items[item_id]
                last = (known.start_seq, known.status, known.attempts, known.generation)
                yield ItemGivenUp(item_id, *last, "ann", "no such mailbox", choose([None, ERROR]))
                self.items[item_id] = Known(Status.ABANDONED, *last[:1], *last[2:])
            case "attest":
                item_id, status = choose(unknown), choose(sorted(_MAY_BE_ATTESTED))
                error = None if status is Status.SUCCEEDED else ERROR
                result = choose([None, b"\x03"]) if error is None else None
                yield ItemAttested(item_id, status, "ann", "joblog", choose([0, 7]), result, error=error)
                self.items[item_id] = Known(status, seq, 0, 0, result)
                if status is Status.IN_DOUBT:
                    self.open[seq] = (item_id, session)
            case _:
                yield from self._set(session, choose)

    def _error(self, choose: Callable[[Sequence[Any]], Any]) -> ErrorInfo:
        """Choose an error that holds its traceback, or names one of the texts."""
        return choose([ERROR, *(ERROR._replace(traceback=number) for number in self.texts)])

    def _set(self, session: int, choose: Callable[[Sequence[Any]], Any]) -> Iterator[Event]:
        event = choose(
            [
                KeyRuleSet("field id", "", ""),
                CursorAdvanced("s", b"1"),
                CursorAdvanced("s", None),
                TextSeen(1, "Traceback"),
                TextSeen(choose([2, 3]), "Traceback (most recent call last)"),
                PauseSet(paused=True, by="ann", note="the server is down"),
                PauseSet(paused=False, by="ann", note=""),
                RunEnded(session, "s", source_ended=False, because="halt", seen=5, not_started=2),
                RunEnded(session, "s", source_ended=True, because="", seen=9, not_started=0),
                SessionReached(session, "dask", "tcp://scheduler"),
            ]
        )
        match event:
            case KeyRuleSet():
                self.key_rule = event.rule
            case CursorAdvanced(cursor=None):
                self.cursors.pop(event.source, None)
            case CursorAdvanced():
                self.cursors[event.source] = event.cursor
            case TextSeen():
                self.texts[event.number] = event.text
            case PauseSet():
                self.paused = event.by if event.paused else None
            case RunEnded(source_ended=True):
                self.source_ends.pop(event.source, None)
            case RunEnded():
                self.source_ends[event.source] = event.not_started
        yield event

    def _over(self, start_seq: int, status: Status) -> None:
        item_id, _ = self.open.pop(start_seq)
        self.items[item_id].status = status
        self.over.append(start_seq)


_MAY_BE_REOPENED = {Status.SUCCEEDED, Status.FAILED, Status.ABANDONED}
_MAY_BE_HELD = {Status.SUCCEEDED, Status.PENDING, Status.ABANDONED}
_MAY_BE_ATTESTED = {Status.SUCCEEDED, Status.FAILED, Status.IN_DOUBT}
_AFTER_VERDICT = {
    Decision.HAPPENED: Status.SUCCEEDED,
    Decision.DID_NOT_HAPPEN: Status.PENDING,
    Decision.ABANDON: Status.ABANDONED,
}


@st.composite
def histories(draw: st.DrawFn, records_max: int = 25) -> History:
    """Give a history of some records."""
    history = History()
    for _ in range(draw(st.integers(1, records_max))):
        history.grow(lambda options: draw(st.sampled_from(options)))
    return history
