"""One transaction at an LMDB log: everything that is appended, put and dropped in it commits as one.

Imported by the LMDB engine. Invariant: it is used while the log lock is held, by one thread, for one transaction.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from typing import TYPE_CHECKING

import lmdb
import msgpack

from wal_runner.core.items import long_row
from wal_runner.errors import CommitUnknown, DiskFull, LogError, StorageFailed
from wal_runner.failpoints import failpoint
from wal_runner.log import room
from wal_runner.log.codec import encode_records, record_count
from wal_runner.log.env import translate, translated
from wal_runner.log.format import (
    CHAIN_BYTES,
    FORMAT_VERSION,
    KEY_TEXT_BYTES_MAX,
    LOG_TABLE,
    META_BASE,
    META_BASE_STATE,
    META_FORMAT,
    META_PLACE,
    META_ROWS,
    META_SNAPSHOT,
    META_SNAPSHOTTER,
)
from wal_runner.log.lmdb_rows import none_between
from wal_runner.log.place import copied_from, packed_place, stored_place, warn_if_unknown
from wal_runner.log.rows import (
    CRC_BYTES,
    SUM_MODULUS,
    encode_row,
    pack,
    row_key,
    seq_in,
    stored_checksum,
    unpack_number,
)
from wal_runner.log.stored_state import decode_base_state, encode_base_state, encode_open, encode_snapshot
from wal_runner.log.upgrading import check_no_older_session, check_readable


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from wal_runner.core.events import Event, EventArray, Record
    from wal_runner.core.items import SessionInfo, ShortRow
    from wal_runner.core.state import State
    from wal_runner.log.lmdb_data import DataFile
    from wal_runner.log.lmdb_sessions import LmdbSession, Sessions
    from wal_runner.log.place import Place
    from wal_runner.log.protocol import Liveness
    from wal_runner.log.scratch import Remains

ROWS_A_LOOK = 32
"""Number of rows between two looks at the clock: beside a CPU-bound thread each call of LMDB may cost 5 ms."""


class LmdbTurn:
    """See `wal_runner.log.protocol.Turn` for what each method promises."""

    def __init__(
        self,
        data: DataFile,
        sessions: Sessions,
        txn: lmdb.Transaction[bytes],
        records: Sequence[Record],
        now_ns: int,
        *,
        place: Callable[[], Place],
    ) -> None:
        self.records = records
        self.appended: list[Record] = []
        self.poisoned = False
        """Whether the disk failed under the commit: what LMDB returns can no longer be trusted."""
        self._data = data
        self._sessions = sessions
        self._txn = txn
        self._tables = data.tables
        self._now_ns = now_ns
        self._place = place
        self._end = data.known
        self._changed = False
        self._format = 0
        """The format to which this transaction raises the log; 0 if it does not."""
        self._rows: tuple[int, int] | None = None
        self._retired: list[int] = []
        self._born: list[LmdbSession] = []

    @property
    def end(self) -> int:
        """Return the last seq, including those appended in this transaction."""
        return self._end[0]

    def append(self, session: int, events: Sequence[Event | EventArray]) -> None:
        """Append events of *session*; they are durable after the commit. See `Turn.append`."""
        seq, chain = self._end
        made = encode_records(events, first_seq=seq + 1, session=session, time_ns=self._now_ns, previous=chain)
        with translated(self._data.path, "written"):
            for record, value in made:
                stored = self._txn.put(record.first_seq.to_bytes(8, "big"), value, db=self._tables.log, append=True)
                # put() reports an out-of-order key by returning False, not by raising. A silent
                # False here would lose an event, so treat it as a broken invariant.
                assert stored, f"record {record.first_seq} is not behind the end of the log"
                self._end = (record.last_seq, record.chain)
                self._changed = True
                self.appended.append(record)

    def copied_from(self) -> str:
        """Return where the log was last used. See `Turn.copied_from`."""
        return copied_from(self._data.folder, self._stored_place(), self._place())

    def keep_place(self) -> None:
        """Record where the log is used. See `Turn.keep_place`."""
        stored, here = self._stored_place(), self._place()
        if stored is not None and stored.is_at(here):
            return
        warn_if_unknown(self._data.folder, stored, here)
        with translated(self._data.path, "written"):
            self._txn.put(META_PLACE, packed_place(here), db=self._tables.meta)
        self._changed = True

    def new_session(self, last: int) -> LmdbSession:
        """Take a new number and its lock. See `Turn.new_session`."""
        # Before its SessionOpened is durable, no other process checks which formats this session reads: one may
        # have raised the format since the file was opened here.
        check_readable(self._data.path, self.format())
        session = self._sessions.new(last)
        self._born.append(session)
        failpoint("session.after_file")
        return session

    def format(self) -> int:
        """Return the format that the log is in. See `Turn.format`."""
        with translated(self._data.path, "read"):
            return self._data.format(self._txn)

    def require_format(self, version: int, unended: Iterable[SessionInfo]) -> None:
        """Raise the log to a format. See `Turn.require_format`."""
        assert version <= FORMAT_VERSION, f"this version does not read format {version}"
        if version <= max(self._data.format_seen, self._format):
            return
        if version <= (found := self.format()):
            self._data.format_seen = found  # another process raised it, in a commit that is durable
            return
        check_no_older_session(
            self._data.folder, version, unended, own=self._sessions.own, liveness=self._sessions.probe
        )
        with translated(self._data.path, "written"):
            self._txn.put(META_FORMAT, pack(META_FORMAT, version), db=self._tables.meta)
        self._format = version
        self._changed = True

    def liveness(self, sessions: Iterable[int]) -> Mapping[int, Liveness]:
        """Return which sessions are alive, according to the kernel. See `Turn.liveness`."""
        return self._sessions.probe(sessions)

    def remains(self, session: int) -> Mapping[int, Remains]:
        """Read a dead session's slots. See `Turn.remains`."""
        return self._sessions.remains(session)

    def strays(self, unended: Collection[int]) -> Sequence[int]:
        """Return dead sessions that left files behind. See `Turn.strays`."""
        return self._sessions.strays(unended)

    def retire(self, sessions: Iterable[int]) -> None:
        """Remove the files of dead sessions after the commit. See `Turn.retire`."""
        self._retired.extend(sessions)

    def reserve(self, running: int) -> None:
        """Reserve disk space for outcomes. See `Turn.reserve`."""
        self._data.check_descriptors()
        room.reserve(
            self._data.path,
            self._data.descriptor,
            used_bytes=self._data.used_bytes(),
            running=running,
        )

    def look_up(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Return the rows of *ids*. See `Turn.look_up`."""
        with translated(self._data.path, "read"):
            return self._data.rows(self._txn, ids, is_clean=self._rows is None)

    def snapshotter(self) -> int:
        """Return the session that is writing a snapshot. See `Turn.snapshotter`."""
        with translated(self._data.path, "read"):
            value = self._txn.get(META_SNAPSHOTTER, db=self._tables.meta)
        return 0 if value is None else unpack_number(META_SNAPSHOTTER, value)

    def set_snapshotter(self, session: int) -> None:
        """Set the session that is writing a snapshot. See `Turn.set_snapshotter`."""
        with translated(self._data.path, "written"):
            self._txn.put(META_SNAPSHOTTER, pack(META_SNAPSHOTTER, session), db=self._tables.meta)
        self._changed = True

    def put_rows(self, rows: Sequence[tuple[str, ShortRow]], *, seconds_max: float) -> int:
        """Write rows of the snapshot, for at most *seconds_max*. See `Turn.put_rows`."""
        count, total = self._row_sums()
        deadline = time.perf_counter() + seconds_max
        written = 0
        with translated(self._data.path, "written"):
            cursor = self._txn.cursor(db=self._tables.items)
            while written < len(rows) and (not written or time.perf_counter() < deadline):
                batch = rows[written : written + ROWS_A_LOOK]
                pairs, checksums = _encoded(batch)
                if none_between(cursor, self._data.guard, [item_id for item_id, _ in batch]):
                    count += len(pairs)
                    _, added = cursor.putmulti(pairs)
                    # A key that was there already would make the sum wrong, and the snapshot with it.
                    assert added == len(pairs), "rows between which there is none are new"
                else:
                    self._data.guard.check_keys([key for key, _ in pairs])
                    for key, value in pairs:
                        # Most rows are new: one search instead of the two that replace() makes.
                        if self._txn.put(key, value, overwrite=False, db=self._tables.items):
                            count += 1
                        else:
                            before = self._txn.replace(key, value, db=self._tables.items)
                            total -= stored_checksum(before or b"")
                total += checksums
                written += len(pairs)
        self._rows = (count, total % SUM_MODULUS)
        self._changed = True
        return written

    def put_snapshot(self, state: State) -> int:
        """Complete the snapshot as that of *state*. See `Turn.put_snapshot`."""
        with translated(self._data.path, "written"):
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
        """Store the state with which the log will begin. See `Turn.put_base_state`."""
        with translated(self._data.path, "written"):
            kept = self._txn.get(META_BASE_STATE, db=self._tables.meta)
            if kept is not None and decode_base_state(META_BASE_STATE, kept).seq > state.seq:
                return
            self._txn.put(META_BASE_STATE, encode_base_state(META_BASE_STATE, state), db=self._tables.meta)
        self._changed = True

    def drop(self, until: int, *, records_max: int) -> tuple[int, bytes]:
        """Remove records up to *until*. See `Turn.drop`."""
        with translated(self._data.path, "written"), self._txn.cursor(db=self._tables.log) as cursor:
            seq, chain = self._data.base(self._txn)
            self._data.guard.check_from(LOG_TABLE, b"", records_max, deletes=True)
            cursor.first()
            for _ in range(records_max):
                key, value = cursor.item()
                if not key:
                    break  # delete() says True behind the last record too
                last_seq = seq_in(key) + record_count(value) - 1
                if last_seq > until:
                    break
                seq, chain = last_seq, value[:CHAIN_BYTES]
                cursor.delete()
            self._txn.put(META_BASE, pack(META_BASE, (seq, chain)), db=self._tables.meta)
        self._changed = True
        return seq, chain

    def commit(self) -> None:
        """Commit everything durably, then update HEAD."""
        if not self._changed:
            self._txn.abort()
            return
        try:
            if self._rows is not None:
                with translated(self._data.path, "written"):
                    self._txn.put(META_ROWS, pack(META_ROWS, self._rows), db=self._tables.meta)
            failpoint("commit.before_commit")
            self._data.committing()
            self._txn.commit()
            self._data.guard.committed()
        except lmdb.Error as error:
            self._forget_births()
            # Before the log lock is released: another process may commit then. A failure here recurs there.
            with contextlib.suppress(LogError):
                self._data.settle()
            raise self._after_failure(translate(error, self._data.path, "written")) from error
        except BaseException:
            # A transaction that is left open, by a Ctrl-C for example, would block every later one of this thread.
            # After a commit that succeeded this undoes nothing.
            self.abort()
            raise
        self._born.clear()  # they are on record: undoing this turn must not end them
        # Not before: after a failed commit the log may be in either format, and is read again.
        self._data.format_seen = max(self._data.format_seen, self._format)
        failpoint("commit.after_commit")
        self._data.committed(*self._end)
        failpoint("commit.after_head")
        for number in self._retired:
            self._sessions.retire(number)

    def abort(self) -> None:
        """Roll back; nothing was written."""
        self._txn.abort()
        self._forget_births()

    def _forget_births(self) -> None:
        for session in self._born:
            session.close()

    def _stored_place(self) -> Place | None:
        with translated(self._data.path, "read"):
            return stored_place(self._txn.get(META_PLACE, db=self._tables.meta))

    def _row_sums(self) -> tuple[int, int]:
        if self._rows is None:
            with translated(self._data.path, "read"):
                self._rows = self._data.row_sums(self._txn)
        return self._rows

    def _after_failure(self, error: Exception) -> Exception:
        """Return the error for a failed commit: nothing was written, unknown, or the disk is not to be trusted."""
        if isinstance(error, StorageFailed):
            self.poisoned = True
            return error
        if isinstance(error, DiskFull):
            # The data pages could not all be written, so the meta page that would make them count was not.
            return error
        unknown = CommitUnknown(f"A commit failed, and it may be on disk or not: {error}")
        return unknown if isinstance(error, LogError) else error


def _encoded(rows: Sequence[tuple[str, ShortRow]]) -> tuple[list[tuple[bytes, bytes]], int]:
    """Return the keys and values of *rows*, in their order, and the sum of their checksums."""
    pack = msgpack.Packer().pack
    crc32 = zlib.crc32
    pairs = []
    total = 0
    for item_id, row in rows:
        key = item_id.encode()
        if len(key) <= KEY_TEXT_BYTES_MAX:
            # As `seal` does, without a call for each of millions of rows.
            body = pack(row if type(row) is tuple else long_row(row))
            checksum = crc32(body, crc32(key))
            pairs.append((key, body + checksum.to_bytes(CRC_BYTES, "little")))
        else:
            key = row_key(item_id)
            value = encode_row(key, item_id, long_row(row))
            checksum = stored_checksum(value)
            pairs.append((key, value))
        total += checksum
    return pairs, total
