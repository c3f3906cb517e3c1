"""What the library promised during a life, written into the stream between the calls that it made.

Invariant: every mark is made by what a *user* of the library sees, or at its protocol's border
(`Log.exclusive`), never inside of what keeps the promise; so a bug planted there cannot forge it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import msgpack

from tools.harness import interposer
from tools.harness.history import Fate, History, Stored
from tools.harness.replacing import put
from wal_runner import Status
from wal_runner.log.lmdb_log import LmdbLog
from wal_runner.log.protocol import GATE_WAIT_S


if TYPE_CHECKING:
    from collections.abc import Iterator

    from wal_runner.log.lmdb_turn import LmdbTurn


def mark(*words: object) -> None:
    """Put a mark into the stream."""
    interposer.mark(cast("bytes", msgpack.packb(words)))


def pack_result(value: object) -> bytes | None:
    """Pack what fn returns as the log must keep it."""
    return None if value is None else cast("bytes", msgpack.packb(value))


def watch_commits() -> None:
    """Mark what each turn is about to commit, and that it said it had."""
    exclusive = LmdbLog.exclusive

    @contextmanager
    def marked(self: LmdbLog, after: int, *, wait_s: float = GATE_WAIT_S) -> Iterator[LmdbTurn]:
        with exclusive(self, after, wait_s=wait_s) as turn:
            _, previous = turn._end  # noqa: SLF001 - the protocol does not tell the hash
            yield turn
            if turn.appended:
                mark("attempt", previous, [(r.first_seq, r.session, r.chain, r.arrays) for r in turn.appended])
        if turn.appended:
            last = turn.appended[-1]
            mark("committed", last.last_seq, last.chain)

    put(LmdbLog, exclusive=marked)


@dataclass
class Attempted:
    """What the user's function saw of one attempt."""

    item_id: str
    ended: Fate | None = None


@dataclass
class Known:
    """What was promised up to some point of a stream."""

    history: History = field(default_factory=History)
    created: bool = False
    acknowledged: tuple[int, bytes] = (0, b"")
    """The last seq whose commit was acknowledged, and the hash there."""
    begun: dict[int, Attempted] = field(default_factory=dict)
    """Each start whose fn was called, by start_seq."""
    begun_last: int = 0
    told: list[tuple[int, Fate]] = field(default_factory=list)
    """Outcomes that the user was told, by start_seq."""
    bounds: dict[int, tuple[int, int]] = field(default_factory=dict)
    """For each session, how many fns it runs at once, and how many starts may be without an outcome."""
    raised: list[tuple[str, bool, str]] = field(default_factory=list)
    """Errors that reached the user: the class, whether it is one of the library's own, and the message."""
    ended: bool = False
    boot: str = ""
    """The boot that the life pretends to be on, or that of this machine."""
    calls: int = 0
    """How many calls that can fail the life made, once it has ended."""

    def hear(self, words: tuple[Any, ...]) -> None:  # noqa: C901 - one case a mark
        """Take in one mark."""
        match words:
            case ("attempt", previous, records):
                self.history.attempted(previous, [Stored(*record) for record in records])
            case ("committed", seq, chain):
                # Two processes may say so in another order than they committed.
                self.acknowledged = max(self.acknowledged, (seq, chain))
            case ("begins", item_id, start_seq):
                self.begun[start_seq] = Attempted(item_id)
                self.begun_last = max(self.begun_last, start_seq)
            case ("ends", start_seq, status, result):
                self.begun[start_seq].ended = Fate(Status(status), result)
            case ("told", start_seq, status, result):
                self.told.append((start_seq, Fate(Status(status), result)))
            case ("bound", session, workers, in_doubt_max):
                self.bounds[session] = (workers, in_doubt_max)
            case ("raised", name, is_ours, message):
                self.raised.append((name, is_ours, message))
            case ("created",):
                self.created = True
            case ("boot", name):
                self.boot = name
                # What the slots said of those who ran before is not believed any more.
                self.bounds = {session: (most, most) for session, (_, most) in self.bounds.items()}
            case ("ended",):
                self.ended = True
            case ("calls", count):
                self.calls = count
            case _:
                raise AssertionError(f"nobody makes a mark {words!r:.80}")
