"""The memory engine: a log whose disk is a `MemoryStore`, for tests and simulations.

Imported by tests. Invariant: the same calls give the same bytes, and what is stored is what the LMDB
engine stores, byte for byte.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wal_runner.core.items import long_row
from wal_runner.core.state import State
from wal_runner.errors import CommitUnknown, DiskFull, LogBusy, LogClosed, LogReadOnly, LogReplaced, listed
from wal_runner.failpoints import failpoint
from wal_runner.log.codec import encode_records, record_count
from wal_runner.log.format import CHAIN_BYTES, META_BASE, META_BASE_STATE, META_ROWS, META_SNAPSHOT, META_SNAPSHOTTER
from wal_runner.log.memory_store import Fault, Marks, MemoryScratch
from wal_runner.log.protocol import GATE_WAIT_S, Liveness, Room
from wal_runner.log.rows import (
    SUM_MODULUS,
    base_state_seq,
    check_history,
    decode_base_state,
    decode_row,
    decode_snapshot,
    encode_base_state,
    encode_open,
    encode_row,
    encode_snapshot,
    pack,
    read_base_state,
    row_key,
    snapshot_seq,
    stored_checksum,
    unpack,
    unpack_number,
    unseal,
)


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from wal_runner.core.events import Event, EventArray, Record
    from wal_runner.core.items import Row, ShortRow
    from wal_runner.log.memory_store import MemoryStore
    from wal_runner.log.scratch import Remains


class MemoryLog:
    """A handle on a `MemoryStore`. See `wal_runner.log.protocol.Log` for what each method promises."""

    def __init__(self, store: MemoryStore, *, read_only: bool = False) -> None:
        self.store = store
        self.log_id = store.log_id
        self.path = Path(f"memory:{store.log_id}")
        self.read_only = read_only
        self.own_sessions: set[int] = set()
        self._closed = False

    @contextmanager
    def exclusive(self, after: int, *, wait_s: float = GATE_WAIT_S) -> Iterator[MemoryTurn]:
        """Begin a turn; leaving the block commits. See `Log.exclusive`."""
        del wait_s  # with one thread, waiting frees no gate
        if self.read_only:
            raise LogReadOnly(f"{self.path} was opened for reading. Open it for writing.")
        with self._inside():
            for number in self.own_sessions:
                if number not in self.store.sessions:
                    raise LogReplaced(f"What stood for session {number} of {self.path} is gone. Open the log again.")
            turn = MemoryTurn(self, self.store.records_after(after, None))
            try:
                yield turn
            except BaseException:
                turn.abort()
                raise
            turn.commit()

    def read(self, after: int, *, limit: int) -> Iterator[Record]:
        """Give records. See `Log.read`."""
        with self._inside():
            return iter(self.store.records_after(after, limit))

    def snapshot(self) -> State:
        """Give the snapshot's state without items. See `Log.snapshot`."""
        with self._inside():
            value = self.store.meta.get(META_SNAPSHOT)
            if value is None:
                return State()
            chain = self.store.chain_at(snapshot_seq(META_SNAPSHOT, value))
            state = decode_snapshot(META_SNAPSHOT, value, sorted(self.store.open.items()))
        check_history(state, chain)
        return state

    def look_up(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Give the rows of *ids*. See `Log.look_up`."""
        with self._inside():
            return _rows_of(ids, self.store.items)

    def scan(self, after_key: bytes, *, limit: int) -> tuple[Sequence[tuple[str, Row]], bytes]:
        """Give a page of rows in key order. See `Log.scan`."""
        with self._inside():
            at = bisect_right(self.store.keys, after_key) if after_key else 0
            keys = self.store.keys[at : at + limit]
            return [decode_row(key, self.store.items[key]) for key in keys], keys[-1] if keys else after_key

    def row_sums(self) -> tuple[int, int]:
        """Give the count and the sum of the rows. See `Log.row_sums`."""
        with self._inside():
            count, total = unpack(META_ROWS, self.store.meta[META_ROWS])
            return count, total

    def snapshotter(self) -> int:
        """Return who writes a snapshot. See `Log.snapshotter`."""
        with self._inside():
            value = self.store.meta.get(META_SNAPSHOTTER)
            return 0 if value is None else unpack_number(META_SNAPSHOTTER, value)

    def check_rows(self) -> None:
        """Find nothing: nobody writes to memory behind the engine's back. See `Log.check_rows`."""

    def base(self) -> tuple[int, bytes]:
        """Give where the log begins. See `Log.base`."""
        with self._inside():
            return self.store.base()

    def base_state(self) -> State:
        """Give what a replay begins with. See `Log.base_state`."""
        with self._inside():
            value = self.store.meta.get(META_BASE_STATE)
            base = self.store.base()
            chain = self.store.chain_at(base[0] if value is None else base_state_seq(META_BASE_STATE, value))
        return read_base_state(META_BASE_STATE, value, base, chain)

    def liveness(self, sessions: Iterable[int]) -> Mapping[int, Liveness]:
        """Say who lives. See `Log.liveness`."""
        with self._inside():
            return self.probe(sessions)

    def remains_of(self, sessions: Iterable[int]) -> Mapping[int, Mapping[int, Remains]]:
        """Read what the slots of dead sessions say. See `Log.remains_of`."""
        with self._inside():
            return {number: self.store.remains_of(number) for number in sessions}

    def room(self) -> Room:
        """Tell how much the log takes. See `Log.room`."""
        with self._inside():
            store = self.store
            values = (*store.values, *store.items.values(), *store.open.values(), *store.meta.values())
            size = sum(map(len, values))
            return Room(file_bytes=size, used_bytes=size, records=len(store.values), rows=len(store.items))

    def rewrite(self) -> None:
        """Refuse where another session lives; memory has no holes to close. See `Log.rewrite`."""
        if self.read_only:
            raise LogReadOnly(f"{self.path} was opened for reading. Open it for writing to compact it.")
        with self._inside():
            numbers = self.store.sessions.keys() - self.own_sessions
            others = sorted(n for n, liveness in self.probe(numbers).items() if liveness.alive)
            if others:
                raise LogBusy(f"Sessions {listed([str(n) for n in others])} are using {self.path}. Wait for them.")

    def close(self) -> None:
        """Refuse everything from now on. Closing again does nothing."""
        self._closed = True

    def probe(self, sessions: Iterable[int]) -> dict[int, Liveness]:
        """Say who lives; the sessions of this handle do, whatever others hold of them."""
        return {
            number: Liveness(alive=True, owner_alive=True)
            if number in self.own_sessions
            else self.store.liveness_of(number)
            for number in sessions
        }

    @contextmanager
    def _inside(self) -> Iterator[None]:
        if self._closed:
            raise LogClosed(f"{self.path} was closed here. Open it again.")
        if self.store.is_busy:
            raise LogBusy(f"A turn at {self.path} is under way, and with one thread it cannot end. Leave it first.")
        self.store.is_busy = True
        try:
            yield
        finally:
            self.store.is_busy = False


class MemoryTurn:
    """See `wal_runner.log.protocol.Turn` for what each method promises."""

    def __init__(self, log: MemoryLog, records: Sequence[Record]) -> None:
        self._log = log
        self._store = log.store
        self._end = log.store.end()
        self._now_ns = log.store.clock_ns()
        self._changed = False
        self._values: list[tuple[int, bytes]] = []
        self._items: dict[bytes, bytes] = {}
        self._open: dict[bytes, bytes] | None = None
        self._meta: dict[bytes, bytes] = {}
        self._dropped = 0
        self._retired: list[int] = []
        self._born: list[MemorySession] = []
        self.records = records
        self.appended: list[Record] = []

    @property
    def end(self) -> int:
        """Give the last seq, appended ones of this turn included."""
        return self._end[0]

    def append(self, session: int, events: Sequence[Event | EventArray]) -> None:
        """Add events of *session*. See `Turn.append`."""
        seq, chain = self._end
        made = encode_records(events, first_seq=seq + 1, session=session, time_ns=self._now_ns, previous=chain)
        for record, value in made:
            self._values.append((record.first_seq, value))
            self._end = (record.last_seq, record.chain)
            self._changed = True
            self.appended.append(record)

    def new_session(self, last: int) -> MemorySession:
        """Take a new number and its lock. See `Turn.new_session`."""
        session = MemorySession(self._log, max([last, *self._store.sessions]) + 1)
        self._born.append(session)
        failpoint("session.after_file")
        return session

    def liveness(self, sessions: Iterable[int]) -> Mapping[int, Liveness]:
        """Say who lives. See `Turn.liveness`."""
        return self._log.probe(sessions)

    def remains(self, session: int) -> Mapping[int, Remains]:
        """Read a dead session's slots. See `Turn.remains`."""
        return self._store.remains_of(session)

    def strays(self, unended: Collection[int]) -> Sequence[int]:
        """Give dead sessions whose slots nobody will ask for. See `Turn.strays`."""
        left = sorted(set(self._store.sessions) - set(unended))
        return [number for number in left if not self._store.liveness_of(number).alive]

    def retire(self, sessions: Iterable[int]) -> None:
        """Remove what stood for dead sessions after the commit. See `Turn.retire`."""
        self._retired.extend(sessions)

    def reserve(self, running: int) -> None:
        """Ask the hook for room. See `Turn.reserve`."""
        if self._store.hook("reserve") is not None:
            raise DiskFull(f"{self._log.path} has no room for the outcomes of {running} running items.")

    def look_up(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Give the rows of *ids*. See `Turn.look_up`."""
        return _rows_of(ids, self._items, self._store.items)

    def snapshotter(self) -> int:
        """Give who writes a snapshot. See `Turn.snapshotter`."""
        value = self._meta_value(META_SNAPSHOTTER)
        return 0 if value is None else int(unpack(META_SNAPSHOTTER, value))

    def set_snapshotter(self, session: int) -> None:
        """Say who writes a snapshot. See `Turn.set_snapshotter`."""
        self._put_meta(META_SNAPSHOTTER, pack(META_SNAPSHOTTER, session))

    def put_rows(self, rows: Sequence[tuple[str, ShortRow]], *, seconds_max: float) -> int:
        """Write rows of the snapshot, a slice at most. See `Turn.put_rows`."""
        del seconds_max  # the slices must be the same each time
        count, total = self._row_sums()
        written = rows[: self._store.rows_a_slice]
        for item_id, row in written:
            key = row_key(item_id)
            value = encode_row(key, item_id, long_row(row))
            before = self._items.get(key) or self._store.items.get(key)
            count += before is None
            total += stored_checksum(value) - (0 if before is None else stored_checksum(before))
            self._items[key] = value
        self._put_meta(META_ROWS, pack(META_ROWS, (count, total % SUM_MODULUS)))
        return len(written)

    def put_snapshot(self, state: State) -> int:
        """Make the snapshot stand for *state*. See `Turn.put_snapshot`."""
        keys = {seq.to_bytes(8, "big"): row for seq, row in state.open.items()}
        self._open = {key: encode_open(key, row) for key, row in keys.items()}
        self._put_meta(META_SNAPSHOT, encode_snapshot(META_SNAPSHOT, state))
        return self._row_sums()[1]

    def put_base_state(self, state: State) -> None:
        """Keep what the log will begin with. See `Turn.put_base_state`."""
        kept = self._meta_value(META_BASE_STATE)
        if kept is not None and decode_base_state(META_BASE_STATE, kept).seq > state.seq:
            return
        self._put_meta(META_BASE_STATE, encode_base_state(META_BASE_STATE, state))

    def drop(self, until: int, *, records_max: int) -> tuple[int, bytes]:
        """Remove records up to *until*. See `Turn.drop`."""
        seq, chain = unpack(META_BASE, self._meta_value(META_BASE) or b"")
        store = self._store
        for first_seq, value in zip(store.first_seqs[self._dropped :], store.values[self._dropped :], strict=True):
            last_seq = first_seq + record_count(value) - 1
            if last_seq > until or records_max == 0:
                break
            seq, chain = last_seq, value[:CHAIN_BYTES]
            self._dropped += 1
            records_max -= 1
        self._put_meta(META_BASE, pack(META_BASE, (seq, chain)))
        return seq, chain

    def commit(self) -> None:
        """Make it all durable, as far as the hook lets it."""
        if not self._changed:
            return
        try:
            failpoint("commit.before_commit")
            fault = self._store.hook("commit")
        except BaseException:
            self.abort()
            raise
        if fault in {None, Fault.WRITTEN}:
            self._write()
        if fault is not None:
            self.abort()
            if fault is Fault.DISK_FULL:
                raise DiskFull(f"The disk of {self._log.path} is full. Nothing more was started. Free some space.")
            raise CommitUnknown("A commit failed, and it may be on disk or not.")
        failpoint("commit.after_commit")
        for number in self._retired:
            self._store.sessions.pop(number, None)

    def abort(self) -> None:
        """Forget everything, and the sessions that were to be born."""
        for session in self._born:
            session.close()

    def _write(self) -> None:
        store = self._store
        del store.first_seqs[: self._dropped], store.values[: self._dropped]
        store.first_seqs += (first_seq for first_seq, _ in self._values)
        store.values += (value for _, value in self._values)
        if self._items.keys() - store.items.keys():
            store.keys = sorted(store.items.keys() | self._items.keys())
        store.items |= self._items
        if self._open is not None:
            store.open = self._open
        store.meta |= self._meta

    def _put_meta(self, key: bytes, value: bytes) -> None:
        self._meta[key] = value
        self._changed = True

    def _meta_value(self, key: bytes) -> bytes | None:
        return self._meta.get(key) or self._store.meta.get(key)

    def _row_sums(self) -> tuple[int, int]:
        count, total = unpack(META_ROWS, self._meta_value(META_ROWS) or b"")
        return count, total


class MemorySession:
    """A session of a handle. See `wal_runner.log.protocol.Session`."""

    descriptor: int | None = None

    def __init__(self, log: MemoryLog, number: int) -> None:
        self._log = log
        self.number = number
        marks = log.store.sessions[number] = Marks()
        log.own_sessions.add(number)
        self.scratch = MemoryScratch(marks)

    def close(self) -> None:
        """Remove what stood for the session."""
        self._log.own_sessions.discard(self.number)
        self._log.store.sessions.pop(self.number, None)

    def abandon(self) -> None:
        """Release the lock and leave the slots, as a crash would."""
        self._log.own_sessions.discard(self.number)
        if self.number in self._log.store.sessions:
            self._log.store.kill(self.number)


def _rows_of(ids: Iterable[str], *tables: Mapping[bytes, bytes]) -> list[bytes | None]:
    """Give the stored rows of *ids* from the first table that has each, their checksums checked."""
    found: list[bytes | None] = []
    for item_id in ids:
        key = row_key(item_id)
        value = next((table[key] for table in tables if key in table), None)
        if value is not None:
            unseal(key, value)
        found.append(value)
    return found
