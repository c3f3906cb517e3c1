"""Histories that a log may hold, and in plain dicts what they should add up to.

Written from the words of the design and not from the code: it knows neither the fold nor the table of
transitions, so that both can be held against it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from wal_runner.core.events import (
    CursorAdvanced,
    Decision,
    ErrorInfo,
    ItemFailed,
    ItemInterrupted,
    ItemReconciled,
    ItemReleased,
    ItemReopened,
    ItemStarted,
    ItemSucceeded,
    KeyRuleSet,
    LateOutcome,
    SessionClosed,
    SessionLost,
    SessionOpened,
    Status,
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
                yield from self._settle_or_set(choose)

    def _start(self, session: int, choose: Callable[[Sequence[Any]], Any], seq: int) -> Iterator[Event]:
        free = [i for i in IDS if i not in self.items or self.items[i].status in {Status.PENDING, Status.FAILED}]
        if not free:
            return
        item_id = choose(free)
        known = self.items.get(item_id)
        attempts, generation = (known.attempts + 1, known.generation) if known else (1, 0)
        yield ItemStarted(item_id, attempts, generation, known.status if known else None)
        self.items[item_id] = Known(Status.STARTED, seq, attempts, generation)
        self.open[seq] = (item_id, session)

    def _end(self, session: int, choose: Callable[[Sequence[Any]], Any]) -> Iterator[Event]:
        started = self._open_of(Status.STARTED, session)
        # An interrupted fn may return after all, while its session lives.
        doubted = self._open_of(Status.IN_DOUBT, session)
        if not started + doubted:
            return
        item_id, start_seq = choose(started + doubted)
        endings = ["success", "result", "failure", "interrupt"]
        ending = choose([*endings, "release"] if (item_id, start_seq) in started else endings)
        known = self.items[item_id]
        match ending:
            case "success" | "result":
                known.result = b"\x01" if ending == "result" else None
                yield ItemSucceeded(start_seq, 5, known.result)
                self._over(start_seq, Status.SUCCEEDED)
            case "failure":
                yield ItemFailed(start_seq, 5, ERROR)
                self._over(start_seq, Status.FAILED)
            case "release":
                yield ItemReleased(start_seq)
                self._over(start_seq, Status.PENDING)
            case _:
                yield ItemInterrupted(start_seq, 5, "Ctrl-C")
                known.status = Status.IN_DOUBT

    def _settle_or_set(self, choose: Callable[[Sequence[Any]], Any]) -> Iterator[Event]:
        doubted = self._open_of(Status.IN_DOUBT)
        ended = [i for i, known in self.items.items() if known.status in _MAY_BE_REOPENED]
        what = choose(["verdict"] * bool(doubted) + ["late"] * bool(doubted) + ["reopen"] * bool(ended) + ["set"])
        match what:
            case "verdict":
                item_id, start_seq = choose(doubted)
                decision = choose(list(Decision))
                result = b"\x02" if decision is Decision.HAPPENED else None
                yield ItemReconciled(start_seq, decision, "ann", "looked", result)
                self.items[item_id].result = result
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
            case _:
                yield from self._set(choose)

    def _set(self, choose: Callable[[Sequence[Any]], Any]) -> Iterator[Event]:
        event = choose([KeyRuleSet("field id", "", ""), CursorAdvanced("s", b"1"), CursorAdvanced("s", None)])
        if isinstance(event, KeyRuleSet):
            self.key_rule = event.rule
        elif event.cursor is None:
            self.cursors.pop(event.source, None)
        else:
            self.cursors[event.source] = event.cursor
        yield event

    def _over(self, start_seq: int, status: Status) -> None:
        item_id, _ = self.open.pop(start_seq)
        self.items[item_id].status = status
        self.over.append(start_seq)


_MAY_BE_REOPENED = {Status.SUCCEEDED, Status.FAILED, Status.ABANDONED}
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
