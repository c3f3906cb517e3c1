"""Doubts as a reconciler and a person see them, and what the answers do.

Imported by the runner and the command line. Invariant: a doubt ends by evidence only, and the log
says whose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from wal_runner.core.events import Status
from wal_runner.core.identity import idempotency_key


if TYPE_CHECKING:
    from wal_runner.core.state import State
    from wal_runner.recovery.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Doubt:
    """One item in doubt: its attempt began, and nobody knows how it ended.

    *started_ns* and *doubted_ns* are wall time in nanoseconds since 1970. *reason* says why it is
    in doubt; *session*, *host* and *pid* who ran it. *deaths* counts the deaths of its process that were on
    record before this attempt; of an item that is held for them, all. Ask the outside world by *idempotency_key*, if
    fn sent it along, or by *item_id*.
    """

    item_id: str
    start_seq: int
    attempt: int
    generation: int
    idempotency_key: str
    started_ns: int
    doubted_ns: int
    reason: str
    session: int
    host: str
    pid: int
    deaths: int = 0


Reconciler: TypeAlias = Callable[[Sequence[Doubt]], "Mapping[str, Verdict]"]
"""Asks the outside world about doubts; leaves out those on which it has no evidence."""


def doubts_in(state: State, log_id: str) -> list[Doubt]:
    """Give every doubt of the log, the oldest first."""
    found = []
    for start_seq, attempt in sorted(state.attempts(Status.IN_DOUBT)):
        info = state.sessions.get(attempt.session)
        found.append(
            Doubt(
                item_id=attempt.item_id,
                start_seq=start_seq,
                attempt=attempt.attempt,
                generation=attempt.generation,
                idempotency_key=idempotency_key(log_id, attempt.item_id, attempt.generation),
                started_ns=attempt.started_ns,
                doubted_ns=attempt.doubted_ns,
                reason=attempt.reason,
                session=attempt.session,
                host=info.host if info is not None else "",
                pid=info.pid if info is not None else 0,
                deaths=attempt.deaths,
            )
        )
    return found


def attempt_named(item: object, start_seq: int | None, id_of: Callable[[object], str]) -> tuple[str, int | None]:
    """Return the id, and the attempt if it is named, that *item* is about: a `Doubt`, or an id and its *start_seq*.

    Raises:
        ValueError: A `Doubt` and another *start_seq* were given.

    """
    if not isinstance(item, Doubt):
        return id_of(item), start_seq
    if start_seq not in {None, item.start_seq}:
        raise ValueError(f"start_seq={start_seq} is not that of {item!r:.80}. Pass one of the two.")
    return item.item_id, item.start_seq
