"""What a log must hold, told by an oracle of its own: the events that were attempted, folded anew.

Deliberately not `wal_runner.core.state`: a fold of some sixty lines that reads the arrays as
``docs/reference/on-disk-format.md`` describes them, so that a fault of the real fold cannot hide itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wal_runner import Status
from wal_runner.log.codec import first_chain


if TYPE_CHECKING:
    from collections.abc import Sequence

# The numbers of docs/reference/on-disk-format.md.
SESSION_OPENED: Final = 1
SESSION_CLOSED: Final = 2
SESSION_LOST: Final = 3
STARTED: Final = 4
SUCCEEDED: Final = 5
FAILED: Final = 6
INTERRUPTED: Final = 7
RELEASED: Final = 8
RECONCILED: Final = 9
REOPENED: Final = 10
LATE: Final = 11
CURSOR: Final = 12

_HAPPENED: Final = 1
_DID_NOT_HAPPEN: Final = 2


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
    """The fold of a log up to one commit."""

    def __init__(self, chain: bytes) -> None:
        self.seq = 0
        self.chain = chain
        self.chains: dict[int, bytes] = {0: chain}
        """The hash at the end of each record: what a log with this end must have had on its way."""
        self.fates: dict[str, Fate] = {}
        self.open: dict[int, Started] = {}
        self.outcomes: dict[int, Fate] = {}
        """What became of each attempt, by start_seq."""
        self.sessions: set[int] = set()
        """Those that have not ended."""
        self.cursors: dict[str, bytes] = {}

    def followed_by(self, records: Sequence[Stored]) -> Told:
        """Give the fold after one more commit."""
        told = Told(self.chain)
        told.seq = self.seq
        told.chains = dict(self.chains)
        told.fates, told.open, told.outcomes = dict(self.fates), dict(self.open), dict(self.outcomes)
        told.sessions, told.cursors = set(self.sessions), dict(self.cursors)
        for record in records:
            for seq, array in enumerate(record.arrays, record.first_seq):
                told.fold(seq, record.session, array)
            told.chain = told.chains[told.seq] = record.chain
        return told

    def fold(self, seq: int, session: int, array: tuple[Any, ...]) -> None:
        """Take in one event."""
        kind, *fields = array
        self.seq = seq
        match kind:
            case 4:
                self.open[seq] = Started(fields[0], session)
                self.fates[fields[0]] = Fate(Status.STARTED)
            case 5:
                self._settle(seq - fields[0], Fate(Status.SUCCEEDED, fields[2] if len(fields) > 2 else None))  # noqa: PLR2004
            case 6:
                self._settle(seq - fields[0], Fate(Status.FAILED))
            case 7:
                self._doubt(seq - fields[0])
            case 8:
                self._settle(seq - fields[0], Fate(Status.PENDING))
            case 9:
                self._settle(seq - fields[0], _verdict(fields[1], fields[4] if len(fields) > 4 else None))  # noqa: PLR2004
            case 10:
                self.fates[fields[0]] = Fate(Status.PENDING)
            case 11:
                failed = len(fields) > 5  # noqa: PLR2004 - it has an error
                result = fields[3] if len(fields) > 3 else None  # noqa: PLR2004
                self._settle(fields[1], Fate(Status.FAILED) if failed else Fate(Status.SUCCEEDED, result))
            case 1:
                self.sessions.add(fields[0])
            case 2:
                self.sessions.discard(fields[0])
            case 3:
                self.sessions.discard(fields[0])
                for start_seq, started in list(self.open.items()):
                    if started.session == fields[0]:
                        self._doubt(start_seq)
            case 12:
                if fields[1] is None:
                    self.cursors.pop(fields[0], None)
                else:
                    self.cursors[fields[0]] = fields[1]
            case _:
                pass  # snapshots, compactions and key rules say nothing about items

    def running(self) -> dict[int, Started]:
        """Give the attempts that have neither an outcome nor a doubt."""
        return {start_seq: started for start_seq, started in self.open.items() if not started.in_doubt}

    def _settle(self, start_seq: int, fate: Fate) -> None:
        started = self.open.pop(start_seq, None)
        if started is not None:
            self.fates[started.item_id] = self.outcomes[start_seq] = fate

    def _doubt(self, start_seq: int) -> None:
        started = self.open.get(start_seq)
        if started is not None:
            self.open[start_seq] = started._replace(in_doubt=True)
            self.fates[started.item_id] = self.outcomes[start_seq] = Fate(Status.IN_DOUBT)


def _verdict(decision: int, result: bytes | None) -> Fate:
    if decision == _HAPPENED:
        return Fate(Status.SUCCEEDED, result)
    return Fate(Status.PENDING if decision == _DID_NOT_HAPPEN else Status.ABANDONED)


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
        told = self._told.get(chain)
        if told is None and seq == 0 and chain == first_chain(log_id):
            return Told(chain)
        return told
