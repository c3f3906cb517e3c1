"""The disk and the kernel of a log in memory: what outlives the handles of the memory engine.

Imported by the memory engine and by tests. Invariant: data only. There is no thread, clock or random
number in here: time is what the clock says that was given, failures are what the hook says, and who
lives is what `MemoryStore.kill` left.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from wal_runner.errors import Compacted, LogClosed, LogCorrupt, LogWentBack
from wal_runner.log.codec import decode_record, first_chain, record_count
from wal_runner.log.format import (
    CHAIN_BYTES,
    FORMAT_FIRST,
    META_BASE,
    META_FORMAT,
    META_ROWS,
    READ_BYTES_MAX,
    SCRATCH_SLOTS,
)
from wal_runner.log.protocol import Liveness
from wal_runner.log.rows import pack, unpack
from wal_runner.log.scratch import Remains


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from wal_runner.core.events import OutcomeEvent, Record

ROWS_A_SLICE: Final = 1_024
"""`MemoryTurn.put_rows` stops after so many: what its caller allows in seconds is another's clock."""

Moment: TypeAlias = Literal["reserve", "commit"]


class Fault(Enum):
    """What the hook can do to a turn. At "reserve" every fault is a full disk."""

    DISK_FULL = "disk full"
    """The turn raises `DiskFull`, and nothing is written."""
    NOT_WRITTEN = "not written"
    """The turn raises `CommitUnknown`, and nothing is written."""
    WRITTEN = "written"
    """The turn raises `CommitUnknown`, and all of it is written."""


class Marks:
    """What stands for a session on the disk: who holds its lock, and its slots."""

    def __init__(self) -> None:
        self.liveness = Liveness(alive=True, owner_alive=True)
        self.slots: dict[int, tuple[int, Remains]] = {}


class MemoryStore:
    """The disk and the kernel of a log in memory. It outlives the handles that are opened on it.

    *hook* is asked at each moment that can fail, and may raise too: then nothing is written, as if the
    process had died there. The rest is data; a test may damage it.
    """

    def __init__(
        self,
        log_id: str = "00" * 16,
        *,
        clock_ns: Callable[[], int] | None = None,
        hook: Callable[[Moment], Fault | None] = lambda _moment: None,
        rows_a_slice: int = ROWS_A_SLICE,
    ) -> None:
        self.log_id = log_id
        self.clock_ns = itertools.count(1).__next__ if clock_ns is None else clock_ns
        self.hook = hook
        self.rows_a_slice = rows_a_slice
        self.first_seqs: list[int] = []
        self.values: list[bytes] = []
        self.keys: list[bytes] = []
        self.items: dict[bytes, bytes] = {}
        self.open: dict[bytes, bytes] = {}
        self.meta: dict[bytes, bytes] = {
            META_FORMAT: pack(META_FORMAT, FORMAT_FIRST),
            META_BASE: pack(META_BASE, (0, first_chain(log_id))),
            META_ROWS: pack(META_ROWS, (0, 0)),
        }
        self.sessions: dict[int, Marks] = {}
        self.is_busy = False

    def kill(self, session: int, *, effect_running: bool = False) -> None:
        """Let the process of *session* die; its slots stay. A command that it started may run on."""
        self.sessions[session].liveness = Liveness(alive=effect_running, owner_alive=False)

    def cut_power(self) -> None:
        """Let every process die; after a restart no slot is believed any more."""
        for number, marks in self.sessions.items():
            self.kill(number)
            marks.slots.clear()

    def liveness_of(self, session: int) -> Liveness:
        """Say who holds the lock of *session*; nobody holds one that is not there."""
        marks = self.sessions.get(session)
        return Liveness(alive=False, owner_alive=False) if marks is None else marks.liveness

    def probe(self, sessions: Iterable[int], own: Collection[int]) -> dict[int, Liveness]:
        """Return who lives; the sessions *own* of the asking handle do, whatever others hold of them."""
        return {
            number: Liveness(alive=True, owner_alive=True) if number in own else self.liveness_of(number)
            for number in sessions
        }

    def remains_of(self, session: int) -> dict[int, Remains]:
        """Give what the slots of *session* say, by start_seq; two that name one start say nothing."""
        found: dict[int, Remains] = {}
        marks = self.sessions.get(session)
        for start_seq, said in () if marks is None else marks.slots.values():
            found[start_seq] = said if start_seq not in found else Remains(begun=True)
        return found

    def base(self) -> tuple[int, bytes]:
        """Give where the log begins."""
        seq, chain = unpack(META_BASE, self.meta[META_BASE])
        return seq, chain

    def end(self) -> tuple[int, bytes]:
        """Give the last seq and the chain hash there."""
        if not self.values:
            return self.base()
        return self.first_seqs[-1] + record_count(self.values[-1]) - 1, self.values[-1][:CHAIN_BYTES]

    def chain_at(self, seq: int) -> bytes:
        """Give the hash of the record that ends at *seq*."""
        at = bisect_right(self.first_seqs, seq)
        return self.values[at - 1][:CHAIN_BYTES] if at else self.base()[1]

    def records_after(self, after: int, limit: int | None) -> list[Record]:
        """Give the records behind *after*, checked as the LMDB engine checks them."""
        last_seq, _ = self.end()
        if after > last_seq:
            raise LogWentBack(
                f"The log ends at event {last_seq} and held event {after} before. Restore the newest copy."
            )
        base_seq, previous = self.base()
        if after < base_seq:
            raise Compacted(f"The events up to {base_seq} were compacted. Begin at {base_seq}.")
        at = bisect_right(self.first_seqs, after)
        if at > 0:
            previous = self.values[at - 1][:CHAIN_BYTES]
        if after < last_seq and self.first_seqs[at : at + 1] != [after + 1]:
            raise LogCorrupt(f"Events after {after} are missing. Run `walrun verify`.", seq=after + 1)
        records: list[Record] = []
        size = 0
        for first_seq, value in zip(self.first_seqs[at:], self.values[at:], strict=True):
            if limit is not None and (len(records) >= limit or size >= READ_BYTES_MAX):
                break
            records.append(decode_record(first_seq, value, previous))
            previous = records[-1].chain
            size += len(value)
        return records


class _Closed(dict[int, tuple[int, Remains]]):
    """What stands in place of the slots once their session has ended."""

    def __setitem__(self, slot: int, said: tuple[int, Remains]) -> None:
        raise LogClosed("The Runner was closed while it ran items. Close it when the run has ended.")


class MemoryScratch:
    """Slots in memory. See `wal_runner.log.protocol.Scratch`."""

    def __init__(self, marks: Marks) -> None:
        self._slots = marks.slots
        self._free = deque(range(SCRATCH_SLOTS))

    def free_slots(self) -> int:
        """Say how many more starts can be armed."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Take *count* slots."""
        return [self._free.popleft() for _ in range(count)]

    def arm(self, slot: int, start_seq: int) -> None:
        """Mark that a start is durable soon, and that its fn has not begun."""
        self._slots[slot] = (start_seq, Remains(begun=False))

    def arm_all(self, slots: Iterable[int], first_seq: int) -> None:
        """Arm one slot after the other, for starts whose seqs follow each other."""
        for start_seq, slot in enumerate(slots, first_seq):
            self.arm(slot, start_seq)

    def begin(self, slot: int, start_seq: int) -> None:
        """Mark that fn is about to be called."""
        self._slots[slot] = (start_seq, Remains(begun=True))

    def finish(self, slot: int, start_seq: int, event: OutcomeEvent) -> None:
        """Keep the outcome."""
        self._slots[slot] = (start_seq, Remains(begun=True, outcome=event))

    def is_armed(self, slot: int, start_seq: int) -> bool:
        """Return whether the slot says that the start's fn has not begun."""
        return self._slots.get(slot) == (start_seq, Remains(begun=False))

    def reclaim(self, kept: Collection[int]) -> None:
        """Take back every slot except *kept*."""
        if len(self._free) + len(kept) < SCRATCH_SLOTS:
            free = set(self._free)
            self.disarm([slot for slot in range(SCRATCH_SLOTS) if slot not in free and slot not in kept])

    def free(self, slots: Iterable[int]) -> None:
        """Take slots back; until they are armed again they say what they said."""
        self._free.extend(slots)

    def disarm(self, slots: Iterable[int]) -> None:
        """Take back slots whose starts did not come about; they name no start any more."""
        for slot in slots:
            self._slots.pop(slot, None)
            self._free.append(slot)

    def close(self) -> None:
        """Refuse every store from now on; what the slots said stays to be read."""
        self._slots = _Closed()
