"""One exclusive turn at a log in memory, and the session that is born in it.

Imported by the memory engine. Invariant: nothing of a turn reaches the store before `MemoryTurn.commit`,
and no event is appended that a reader of the log's format cannot read.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from wal_runner.core.formats import format_of
from wal_runner.core.items import long_row
from wal_runner.errors import CommitUnknown, DiskFull
from wal_runner.failpoints import failpoint
from wal_runner.log.codec import encode_records, record_count
from wal_runner.log.format import (
    CHAIN_BYTES,
    FORMAT_VERSION,
    META_BASE,
    META_BASE_STATE,
    META_FORMAT,
    META_ROWS,
    META_SNAPSHOT,
    META_SNAPSHOTTER,
)
from wal_runner.log.memory_store import Fault, Marks, MemoryScratch
from wal_runner.log.rows import SUM_MODULUS, encode_row, pack, row_key, stored_checksum, unpack, unpack_number, unseal
from wal_runner.log.stored_state import decode_base_state, encode_base_state, encode_open, encode_snapshot
from wal_runner.log.upgrading import check_no_older_session, check_readable


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from wal_runner.core.events import Event, EventArray, Record
    from wal_runner.core.items import SessionInfo, ShortRow
    from wal_runner.core.state import State
    from wal_runner.log.memory_store import MemoryStore
    from wal_runner.log.protocol import Liveness
    from wal_runner.log.scratch import Remains


class MemoryTurn:
    """See `wal_runner.log.protocol.Turn` for what each method promises."""

    def __init__(self, path: Path, store: MemoryStore, own: set[int], records: Sequence[Record]) -> None:
        self._path = path
        self._store = store
        self._own = own
        self._end = store.end()
        self._now_ns = store.clock_ns()
        self._changed = False
        self._keeps_place = False
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
            # The LMDB engine spares itself this: a format-1 reader would call such a record damaged.
            needed = max(map(format_of, record.arrays))
            assert needed <= self.format(), f"an event of record {record.first_seq} needs format {needed}"
            self._values.append((record.first_seq, value))
            self._end = (record.last_seq, record.chain)
            self._changed = True
            self.appended.append(record)

    def copied_from(self) -> str:
        """Return where the log was last used. See `Turn.copied_from`."""
        return self._store.copied_from

    def keep_place(self) -> None:
        """Keep where the log is used. See `Turn.keep_place`."""
        if self._store.copied_from:
            self._keeps_place = self._changed = True

    def new_session(self, last: int) -> MemorySession:
        """Take a new number and its lock. See `Turn.new_session`."""
        check_readable(self._path, self.format())
        session = MemorySession(self._store, self._own, max([last, *self._store.sessions]) + 1)
        self._born.append(session)
        failpoint("session.after_file")
        return session

    def format(self) -> int:
        """Return the format that the log is in. See `Turn.format`."""
        return unpack_number(META_FORMAT, self._meta_value(META_FORMAT) or b"")

    def require_format(self, version: int, unended: Iterable[SessionInfo]) -> None:
        """Raise the log to a format. See `Turn.require_format`."""
        assert version <= FORMAT_VERSION, f"this version does not read format {version}"
        if version <= self.format():
            return
        check_no_older_session(self._path, version, unended, own=self._own, liveness=self.liveness)
        self._put_meta(META_FORMAT, pack(META_FORMAT, version))

    def liveness(self, sessions: Iterable[int]) -> Mapping[int, Liveness]:
        """Say who lives. See `Turn.liveness`."""
        return self._store.probe(sessions, self._own)

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
            raise DiskFull(f"{self._path} has no room for the outcomes of {running} running items.")

    def look_up(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Give the rows of *ids*. See `Turn.look_up`."""
        return rows_of(ids, self._items, self._store.items)

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
                raise DiskFull(f"The disk of {self._path} is full. Nothing more was started. Free some space.")
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
        if self._keeps_place:
            store.copied_from = ""

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

    def __init__(self, store: MemoryStore, own: set[int], number: int) -> None:
        self._store = store
        self._own = own
        self.number = number
        marks = store.sessions[number] = Marks()
        own.add(number)
        self.scratch = MemoryScratch(marks)

    def item_locked(self, slot: int) -> AbstractContextManager[None]:
        """Hold nothing: commands keep no session in memory alive. See `Session.item_locked`."""
        del slot
        return nullcontext()

    def close(self) -> None:
        """Remove what stood for the session."""
        self._own.discard(self.number)
        self._store.sessions.pop(self.number, None)

    def abandon(self) -> None:
        """Release the lock and leave the slots, as a crash would."""
        self._own.discard(self.number)
        if self.number in self._store.sessions:
            self._store.kill(self.number)


def rows_of(ids: Iterable[str], *tables: Mapping[bytes, bytes]) -> list[bytes | None]:
    """Give the stored rows of *ids* from the first table that has each, their checksums checked."""
    found: list[bytes | None] = []
    for item_id in ids:
        key = row_key(item_id)
        value = next((table[key] for table in tables if key in table), None)
        if value is not None:
            unseal(key, value)
        found.append(value)
    return found
