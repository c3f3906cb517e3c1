"""One exclusive turn at an LMDB log: what is appended, put and dropped commits as one.

Imported by the LMDB engine. Invariant: lives inside the gate, on one thread, for one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import lmdb

from wal_runner.core.events import Record
from wal_runner.errors import CommitUnknown, DiskFull, LogCorrupt, LogError, StorageFailed
from wal_runner.failpoints import failpoint
from wal_runner.log import room
from wal_runner.log.codec import encode_records, record_count
from wal_runner.log.env import translate, translated
from wal_runner.log.format import CHAIN_BYTES, KEY_TEXT_BYTES_MAX, META_BASE, META_BASE_STATE, META_ROWS, META_SNAPSHOT, META_SNAPSHOTTER
from wal_runner.log.rows import (
    encode_base_state,
    encode_open,
    encode_row,
    encode_snapshot,
    pack,
    row_key,
    stored_checksum,
    unpack,
    unseal,
)


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wal_runner.core.events import Event
    from wal_runner.core.state import Row, State
    from wal_runner.log.lmdb_log import LmdbLog, LmdbSession
    from wal_runner.log.protocol import Liveness
    from wal_runner.log.scratch import Remains

SUM_MODULUS = 1 << 64


class Tables(NamedTuple):
    """The handles of the sub-databases, in the order of their names in the engine."""

    log: lmdb._Database
    items: lmdb._Database
    open: lmdb._Database
    meta: lmdb._Database


def base_of_log(txn: lmdb.Transaction[bytes], tables: Tables) -> tuple[int, bytes]:
    """Give where the log begins: the last seq that was dropped, and the chain hash there."""
    value = txn.get(META_BASE, db=tables.meta)
    if value is None:
        raise LogCorrupt("The log does not say where it begins. Restore it from a backup.")
    seq, chain = unpack(META_BASE, value)
    return seq, chain


def end_of_log(txn: lmdb.Transaction[bytes], tables: Tables) -> tuple[int, bytes]:
    """Give the last seq of the log and the chain hash there."""
    cursor = txn.cursor(db=tables.log)
    if cursor.last():
        key, value = cursor.item()
        return int.from_bytes(key, "big") + record_count(value) - 1, value[:CHAIN_BYTES]
    return base_of_log(txn, tables)


def rows_of(txn: lmdb.Transaction[bytes], tables: Tables, ids: Iterable[str]) -> list[bytes | None]:
    """Give the stored rows of *ids*, their checksums checked."""
    cursor = txn.cursor(db=tables.items)
    # set_key stays on the leaf page, which makes ids in key order cheap; getmulti is no better.
    find, value_of = cursor.set_key, cursor.value
    found: list[bytes | None] = []
    for item_id in ids:
        key = item_id.encode()
        if len(key) > KEY_TEXT_BYTES_MAX:
            key = row_key(item_id)
        if find(key):
            value = value_of()
            unseal(key, value)
            found.append(value)
        else:
            found.append(None)
    return found


class LmdbTurn:
    """See `wal_runner.log.protocol.Turn` for what each method promises."""

    def __init__(
        self, log: LmdbLog, txn: lmdb.Transaction[bytes], tables: Tables, end: tuple[int, bytes], records: Sequence[Record]
    ) -> None:
        self._log = log
        self._txn = txn
        self._tables = tables
        self._end = end
        self._changed = False
        self._rows: tuple[int, int] | None = None
        self._retired: list[int] = []
        self._born: list[LmdbSession] = []
        self.records = records
        self.appended: list[Record] = []

    @property
    def end(self) -> int:
        """Give the last seq, appended ones of this turn included."""
        return self._end[0]

    def append(self, session: int, events: Sequence[Event]) -> None:
        """Add events of *session*, durable when the turn has ended. See `Turn.append`."""
        seq, chain = self._end
        made = encode_records(
            events, first_seq=seq + 1, session=session, time_ns=self._log.now_ns(), previous=chain
        )
        with translated(self._log.data_path, "written"):
            for record, value in made:
                stored = self._txn.put(
                    record.first_seq.to_bytes(8, "big"), value, db=self._tables.log, append=True
                )
                # put() reports an out-of-order key by returning False, not by raising. A silent
                # False here would lose an event, so treat it as a broken invariant.
                assert stored, f"record {record.first_seq} is not behind the end of the log"
                self._end = (record.last_seq, record.chain)
                self._changed = True
                self.appended.append(record)

    def new_session(self, last: int) -> LmdbSession:
        """Take a new number and its lock. See `Turn.new_session`."""
        session = self._log.new_session(last)
        self._born.append(session)
        failpoint("session.after_file")
        return session

    def liveness(self, sessions: Iterable[int]) -> Mapping[int, Liveness]:
        """Ask the kernel who lives. See `Turn.liveness`."""
        return self._log.probe(sessions)

    def remains(self, session: int) -> Mapping[int, Remains]:
        """Read a dead session's slots. See `Turn.remains`."""
        return self._log.remains(session)

    def retire(self, sessions: Iterable[int]) -> None:
        """Remove the files of dead sessions after the commit. See `Turn.retire`."""
        self._retired.extend(sessions)

    def reserve(self, running: int) -> None:
        """Make sure of room for outcomes. See `Turn.reserve`."""
        room.reserve(
            self._log.data_path,
            self._log.data_descriptor,
            used_bytes=(self._log.last_page() + 1) * self._log.page_bytes,
            running=running,
        )

    def look_up(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Give the rows of *ids*. See `Turn.look_up`."""
        with translated(self._log.data_path, "read"):
            return rows_of(self._txn, self._tables, ids)

    def snapshotter(self) -> int:
        """Give who writes a snapshot. See `Turn.snapshotter`."""
        value = self._txn.get(META_SNAPSHOTTER, db=self._tables.meta)
        return 0 if value is None else int(unpack(META_SNAPSHOTTER, value))

    def set_snapshotter(self, session: int) -> None:
        """Say who writes a snapshot. See `Turn.set_snapshotter`."""
        with translated(self._log.data_path, "written"):
            self._txn.put(META_SNAPSHOTTER, pack(META_SNAPSHOTTER, session), db=self._tables.meta)
        self._changed = True

    def put_rows(self, rows: Iterable[tuple[str, Row]]) -> None:
        """Write rows of the snapshot. See `Turn.put_rows`."""
        count, total = self._row_sums()
        with translated(self._log.data_path, "written"):
            for item_id, row in rows:
                key = row_key(item_id)
                value = encode_row(key, item_id, row)
                before = self._txn.replace(key, value, db=self._tables.items)
                if before is None:
                    count += 1
                else:
                    total -= stored_checksum(before)
                total += stored_checksum(value)
        self._rows = (count, total % SUM_MODULUS)
        self._changed = True

    def put_snapshot(self, state: State) -> int:
        """Make the snapshot stand for *state*. See `Turn.put_snapshot`."""
        with translated(self._log.data_path, "written"):
            keys = {seq.to_bytes(8, "big"): row for seq, row in state.open.items()}
            wanted = {key: encode_open(key, row) for key, row in keys.items()}
            stored = dict(self._txn.cursor(db=self._tables.open))
            for key in stored.keys() - wanted.keys():
                self._txn.delete(key, db=self._tables.open)
            for key, value in wanted.items():
                if stored.get(key) != value:
                    self._txn.put(key, value, db=self._tables.open)
            self._txn.put(META_SNAPSHOT, encode_snapshot(META_SNAPSHOT, state), db=self._tables.meta)
        self._changed = True
        return self._row_sums()[1]

    def put_base_state(self, state: State) -> None:
        """Keep what the log will begin with. See `Turn.put_base_state`."""
        with translated(self._log.data_path, "written"):
            self._txn.put(META_BASE_STATE, encode_base_state(META_BASE_STATE, state), db=self._tables.meta)
        self._changed = True

    def drop(self, until: int, *, records_max: int) -> tuple[int, bytes]:
        """Remove records up to *until*. See `Turn.drop`."""
        seq, chain = base_of_log(self._txn, self._tables)
        with translated(self._log.data_path, "written"), self._txn.cursor(db=self._tables.log) as cursor:
            more = cursor.first()
            for _ in range(records_max):
                if not more:
                    break
                key, value = cursor.item()
                last_seq = int.from_bytes(key, "big") + record_count(value) - 1
                if last_seq > until:
                    break
                seq, chain = last_seq, value[:CHAIN_BYTES]
                more = cursor.delete()
            self._txn.put(META_BASE, pack(META_BASE, (seq, chain)), db=self._tables.meta)
        self._changed = True
        return seq, chain

    def commit(self) -> None:
        """Make it all durable, then tell HEAD."""
        if not self._changed:
            self._txn.abort()
            return
        if self._rows is not None:
            self._txn.put(META_ROWS, pack(META_ROWS, self._rows), db=self._tables.meta)
        failpoint("commit.before_commit")
        self._log.committing()
        try:
            self._txn.commit()
        except lmdb.Error as error:
            self._forget_births()
            raise self._after_failure(translate(error, self._log.data_path, "written")) from error
        failpoint("commit.after_commit")
        self._log.committed(*self._end)
        failpoint("commit.after_head")
        for number in self._retired:
            self._log.retire(number)

    def abort(self) -> None:
        """Undo everything; nothing was written."""
        self._txn.abort()
        self._forget_births()

    def _forget_births(self) -> None:
        for session in self._born:
            session.close()

    def _row_sums(self) -> tuple[int, int]:
        if self._rows is None:
            count, total = unpack(META_ROWS, self._txn.get(META_ROWS, db=self._tables.meta) or b"")
            self._rows = (count, total)
        return self._rows

    def _after_failure(self, error: Exception) -> Exception:
        """Decide what a failed commit means: nothing written, unknown, or a disk that is not to be trusted."""
        if isinstance(error, StorageFailed):
            # After a failed sync the kernel may have dropped the pages and LMDB carries on as if
            # they were written (fsyncgate). Only a new process that verifies the log may go on.
            self._log.failed(error)
            return error
        if isinstance(error, DiskFull):
            # The data pages could not all be written, so the meta page that would make them count was not.
            return error
        unknown = CommitUnknown(f"A commit failed, and it may be on disk or not: {error}")
        return unknown if isinstance(error, LogError) else error
