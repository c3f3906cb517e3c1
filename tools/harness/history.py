"""What a log must hold, told by an oracle of its own: the events that were attempted, folded anew.

Deliberately not `wal_runner.core.state`: a small fold that reads the arrays as
``docs/reference/on-disk-format.md`` describes them, so that a fault of the real fold cannot hide itself.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from wal_runner import Status
from wal_runner.log.codec import first_chain


if TYPE_CHECKING:
    from collections.abc import Sequence


class Number(IntEnum):
    """The numbers of the events that say something about items or sessions."""

    SESSION_OPENED = 1
    SESSION_CLOSED = 2
    SESSION_LOST = 3
    STARTED = 4
    SUCCEEDED = 5
    FAILED = 6
    INTERRUPTED = 7
    RELEASED = 8
    RECONCILED = 9
    REOPENED = 10
    LATE = 11
    CURSOR = 12
    ATTESTED = 16
    HELD = 25
    GIVEN_UP = 27


class Decided(IntEnum):
    """The numbers of the verdicts."""

    HAPPENED = 1
    DID_NOT_HAPPEN = 2
    ABANDON = 3


class Stored(NamedTuple):
    """One record as it was attempted: where it begins, its hash, and its events as arrays."""

    first_seq: int
    session: int
    chain: bytes
    arrays: tuple[tuple[Any, ...], ...]


class Fate(NamedTuple):
    """Where an item stands, and the packed result where it has one."""

    status: Status
    result: bytes | None = None


class Started(NamedTuple):
    """An attempt without a final outcome."""

    item_id: str
    session: int
    in_doubt: bool = False


class Told:
    """The fold of a log up to one commit. Not changed once it is made."""

    def __init__(self, chain: bytes) -> None:
        self.seq = 0
        self.chain = chain
        self.chains: dict[int, bytes] = {0: chain}
        """The hash at the end of each record: what a log with this end must have had on its way."""
        self.fates: dict[str, Fate] = {}
        self.open: dict[int, Started] = {}
        self.outcomes: dict[int, tuple[Fate, ...]] = {}
        """What became of each attempt, by start_seq: a doubt, and then perhaps a verdict."""
        self.lost: dict[int, int] = {}
        """The attempts that a death left in doubt, by start_seq, and whose they were."""
        self.sessions: set[int] = set()
        """Those that have not ended."""
        self.cursors: dict[str, bytes] = {}

    def followed_by(self, records: Sequence[Stored]) -> Told:
        """Give the fold after one more commit."""
        told = Told(self.chain)
        told.chains = dict(self.chains)
        told.fates, told.open, told.outcomes = dict(self.fates), dict(self.open), dict(self.outcomes)
        told.lost, told.sessions, told.cursors = dict(self.lost), set(self.sessions), dict(self.cursors)
        for record in records:
            for seq, array in enumerate(record.arrays, record.first_seq):
                told.seq = seq
                told._fold(seq, record.session, array)
            told.chain = told.chains[told.seq] = record.chain
        return told

    def running(self) -> dict[int, Started]:
        """Give the attempts that have neither an outcome nor a doubt."""
        return {start_seq: started for start_seq, started in self.open.items() if not started.in_doubt}

    def _fold(self, seq: int, session: int, array: tuple[Any, ...]) -> None:  # noqa: C901, PLR0912 - one case an event
        kind = array[0]
        # Fields that have their default are left out at the end.
        _, first, second, third, fourth, fifth, sixth = (*array, None, None, None, None, None, None)[:7]
        match kind:
            case Number.STARTED:
                self.open[seq] = Started(first, session)
                self.fates[first] = Fate(Status.STARTED)
            case Number.SUCCEEDED:
                self._settle(seq - first, Fate(Status.SUCCEEDED, third))
            case Number.FAILED:
                # Behind the error stand failures, the time of the next try, and whether it was the last one.
                self._settle(seq - first, Fate(Status.ABANDONED if sixth else Status.FAILED))
            case Number.INTERRUPTED:
                self._doubt(seq - first)
            case Number.RELEASED:
                self._settle(seq - first, Fate(Status.PENDING))
            case Number.RECONCILED:
                self._settle(seq - first, _by_verdict(second, fifth))
            case Number.REOPENED:
                self.fates[first] = Fate(Status.PENDING)
            case Number.HELD:
                self.open[second] = Started(first, session, in_doubt=True)
                self.fates[first] = Fate(Status.IN_DOUBT)
            case Number.GIVEN_UP:
                self.fates[first] = Fate(Status.ABANDONED)
            case Number.ATTESTED:
                self.fates[first] = Fate(Status(second), sixth)
                if second == Status.IN_DOUBT:
                    self.open[seq] = Started(first, session, in_doubt=True)
            case Number.LATE:
                self._settle(second, Fate(Status.FAILED) if sixth else Fate(Status.SUCCEEDED, fourth))
            case Number.SESSION_OPENED:
                self.sessions.add(first)
            case Number.SESSION_CLOSED:
                self.sessions.discard(first)
            case Number.SESSION_LOST:
                self.sessions.discard(first)
                for start_seq, started in self.running().items():
                    if started.session == first:
                        self.lost[start_seq] = first
                        self._doubt(start_seq)
            case Number.CURSOR if second is None:
                self.cursors.pop(first, None)
            case Number.CURSOR:
                self.cursors[first] = second
            case _:
                pass  # snapshots, compactions and key rules say nothing about items

    def _settle(self, start_seq: int, fate: Fate) -> None:
        started = self.open.pop(start_seq, None)
        if started is not None:
            self._becomes(start_seq, started.item_id, fate)

    def _doubt(self, start_seq: int) -> None:
        started = self.open.get(start_seq)
        if started is not None:
            self.open[start_seq] = started._replace(in_doubt=True)
            self._becomes(start_seq, started.item_id, Fate(Status.IN_DOUBT))

    def _becomes(self, start_seq: int, item_id: str, fate: Fate) -> None:
        self.fates[item_id] = fate
        self.outcomes[start_seq] = (*self.outcomes.get(start_seq, ()), fate)


def _by_verdict(decision: int, result: bytes | None) -> Fate:
    match decision:
        case Decided.HAPPENED:
            return Fate(Status.SUCCEEDED, result)
        case Decided.DID_NOT_HAPPEN:
            return Fate(Status.PENDING)
        case Decided.ABANDON:
            return Fate(Status.ABANDONED)
        case _:
            raise AssertionError(f"there is no verdict {decision}")


class History:
    """Every commit that was attempted, by its last hash; a log may end with any of them, and nowhere else."""

    def __init__(self) -> None:
        self._told: dict[bytes, Told] = {}

    def attempted(self, previous: bytes, records: Sequence[Stored]) -> None:
        """Take in a commit that is about to be tried."""
        before = self._told.get(previous)
        if before is None:
            # The first commit of a log chains to a hash of the log's own name.
            before = self._told[previous] = Told(previous)
        self._told[records[-1].chain] = before.followed_by(records)

    def at(self, seq: int, chain: bytes, log_id: str) -> Told | None:
        """Give the fold of a log that ends there, or None where nobody attempted such a log."""
        if seq == 0 and chain == first_chain(log_id):
            return Told(chain)
        return self._told.get(chain)
