"""The LMDB engine: one log in one folder, behind its gate.

Imported through `wal_runner.log.opening`. Invariant: every access to data.mdb happens inside the
gate, after it was checked that the files are the ones that were opened.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import lmdb

from wal_runner.core.state import State
from wal_runner.errors import Compacted, DiskFull, LogClosed, LogCorrupt, LogError, LogForked, LogLost, LogReadOnly, LogWentBack
from wal_runner.log import scratch, session_files
from wal_runner.log.codec import decode_record
from wal_runner.log.env import open_env, translated
from wal_runner.log.format import (
    CHAIN_BYTES,
    DATA_NAME,
    GATE_NAME,
    HEAD_NAME,
    ITEMS_TABLE,
    LOG_TABLE,
    META_BASE_STATE,
    META_LOG_ID,
    META_ROWS,
    META_SNAPSHOT,
    META_TABLE,
    OPEN_TABLE,
    READ_BYTES_MAX,
    SESSIONS_NAME,
    STRUCTURE_CHECK_BYTES_MAX,
)
from wal_runner.log.gate import Gate
from wal_runner.log.filesystems import is_mappable
from wal_runner.log.head import Witness, boot_mark, open_head, read_head, write_head
from wal_runner.log.host import boot_id
from wal_runner.log.lmdb_turn import LmdbTurn, Tables, base_of_log, end_of_log, rows_of
from wal_runner.log.protocol import GATE_WAIT_S, Liveness, Room
from wal_runner.log.rewriting import swap_for_copy
from wal_runner.log.structure import check_structure
from wal_runner.log.rows import decode_base_state, decode_row, decode_snapshot, unpack


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from wal_runner.core.events import Record
    from wal_runner.core.state import Row
    from wal_runner.log.folder import Identity


class LmdbLog:
    """A log on disk. See `wal_runner.log.protocol.Log` for what each method promises."""

    def __init__(
        self, path: Path, identity: Identity, *, read_only: bool, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.path = path
        self.read_only = read_only
        self.log_id = identity.log_id
        self._clock_ns = clock_ns
        self._pid = os.getpid()
        self._page_bytes = identity.page_bytes
        self._data = path / DATA_NAME
        self._sessions_folder = path / SESSIONS_NAME
        self._own_sessions: dict[int, LmdbSession] = {}
        self._failure: LogError | None = None
        self._closed = False
        self._held_for_fork = False
        self._env: lmdb.Environment | None = None
        self._tables: Tables | None = None
        self._data_descriptor = -1
        self._head_descriptor = -1
        self._known = (0, b"")
        self._witness = Witness(0, b"", 0, 0, 0)
        self._boot_mark = boot_mark(boot_id())
        self._gate = Gate(path / GATE_NAME, writable=not read_only)
        try:
            self._gate.acquire(GATE_WAIT_S)
            try:
                if not read_only:
                    self._head_descriptor = open_head(path / HEAD_NAME)
                self._open_data()
            finally:
                self._gate.release()
        except BaseException:
            self.close()
            raise

    # --- The protocol -------------------------------------------------------------

    @contextmanager
    def exclusive(self, after: int, *, wait_s: float = GATE_WAIT_S) -> Iterator[LmdbTurn]:
        """Begin a turn; leaving the block commits. See `Log.exclusive`."""
        if self.read_only:
            raise LogReadOnly(f"{self.path} was opened for reading. Open it with Runner(path) to write.")
        with self._inside(wait_s):
            for session in self._own_sessions.values():
                session.file.check_still_there()
            with translated(self._data, "written"):
                txn = self._environment.begin(write=True)
            try:
                with translated(self._data, "read"):
                    previous, raw = self._raw_after(txn, after, None)
                turn = LmdbTurn(self, txn, self._open_tables, self._known, _decoded(previous, raw))
            except BaseException:
                txn.abort()
                raise
            try:
                yield turn
            except BaseException:
                turn.abort()
                raise
            turn.commit()

    def read(self, after: int, *, limit: int) -> Sequence[Record]:
        """Copy records out under the gate, and decode them outside it. See `Log.read`."""
        with self._inside(GATE_WAIT_S), translated(self._data, "read"), self._environment.begin() as txn:
            previous, raw = self._raw_after(txn, after, limit)
        return _decoded(previous, raw)

    def snapshot(self) -> State:
        """Give the snapshot's state without items. See `Log.snapshot`."""
        with self._inside(GATE_WAIT_S), translated(self._data, "read"), self._environment.begin() as txn:
            value = txn.get(META_SNAPSHOT, db=self._open_tables.meta)
            opens = list(txn.cursor(db=self._open_tables.open))
        return State() if value is None else decode_snapshot(META_SNAPSHOT, value, opens)

    def look_up(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Give the rows of *ids*. See `Log.look_up`."""
        with self._inside(GATE_WAIT_S), translated(self._data, "read"), self._environment.begin() as txn:
            return rows_of(txn, self._open_tables, ids)

    def scan(self, after_key: bytes, *, limit: int) -> tuple[Sequence[tuple[str, Row]], bytes]:
        """Give a page of rows in key order. See `Log.scan`."""
        found: list[tuple[bytes, bytes]] = []
        with self._inside(GATE_WAIT_S), translated(self._data, "read"), self._environment.begin() as txn:
            cursor = txn.cursor(db=self._open_tables.items)
            more = cursor.set_range(after_key + b"\0") if after_key else cursor.first()
            while more and len(found) < limit:
                found.append(cursor.item())
                more = cursor.next()
        return [decode_row(key, value) for key, value in found], found[-1][0] if found else after_key

    def row_sums(self) -> tuple[int, int]:
        """Give the count and the sum of the rows. See `Log.row_sums`."""
        with self._inside(GATE_WAIT_S), translated(self._data, "read"), self._environment.begin() as txn:
            count, total = unpack(META_ROWS, txn.get(META_ROWS, db=self._open_tables.meta) or b"")
        return count, total

    def base(self) -> tuple[int, bytes]:
        """Give where the log begins. See `Log.base`."""
        with self._inside(GATE_WAIT_S), translated(self._data, "read"), self._environment.begin() as txn:
            return base_of_log(txn, self._open_tables)

    def base_state(self) -> State:
        """Give what a replay begins with. See `Log.base_state`."""
        with self._inside(GATE_WAIT_S), translated(self._data, "read"), self._environment.begin() as txn:
            value = txn.get(META_BASE_STATE, db=self._open_tables.meta)
            seq, chain = base_of_log(txn, self._open_tables)
        state = State() if value is None else decode_base_state(META_BASE_STATE, value)
        if state.seq < seq:
            raise LogCorrupt(f"{self._data} does not hold the state at its base, {seq}. Restore it from a backup.")
        if value is None:
            state.chain = chain
        return state

    def liveness(self, sessions: Iterable[int]) -> Mapping[int, Liveness]:
        """Ask the kernel who lives. See `Log.liveness`."""
        with self._inside(GATE_WAIT_S):
            return self.probe(sessions)

    def room(self) -> Room:
        """Tell how much the log takes. See `Log.room`."""
        with self._inside(GATE_WAIT_S), translated(self._data, "read"), self._environment.begin() as txn:
            info = self._environment.info()
            return Room(
                file_bytes=self._data.stat().st_size,
                used_bytes=(info["last_pgno"] + 1) * self._page_bytes,
                records=txn.stat(self._open_tables.log)["entries"],
                rows=txn.stat(self._open_tables.items)["entries"],
            )

    def rewrite(self) -> None:
        """Swap data.mdb for a verified copy in key order. See `Log.rewrite`."""
        if self.read_only:
            raise LogReadOnly(f"{self.path} was opened for reading. Open it with Runner(path) to compact it.")
        with self._inside(GATE_WAIT_S):
            swap_for_copy(self.path, self._environment, self._open_tables, self.others_alive())
            self._open_data()

    def close(self) -> None:
        """Release everything but the sessions' files. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._close_data()
        if self._head_descriptor >= 0:
            os.close(self._head_descriptor)
        self._gate.close()

    # --- For the turn, inside the gate ------------------------------------------------

    def committing(self) -> None:
        """Mark in HEAD that data.mdb is about to change."""
        write_head(self._head_descriptor, self._witness._replace(writing=self._boot_mark))

    def committed(self, seq: int, chain: bytes) -> None:
        """Remember the new end of the log, here and in HEAD."""
        self._known = (seq, chain)
        stat = os.fstat(self._data_descriptor)
        self._witness = Witness(seq, chain, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        write_head(self._head_descriptor, self._witness)

    def failed(self, error: LogError) -> None:
        """Refuse everything from now on: after a failed sync nothing that LMDB says can be trusted."""
        self._failure = error

    def now_ns(self) -> int:
        """Give wall time, for a record's header."""
        return self._clock_ns()

    def probe(self, sessions: Iterable[int]) -> dict[int, Liveness]:
        """Ask the kernel about each session; those of this handle live."""
        return {
            number: Liveness(alive=True, owner_alive=True)
            if number in self._own_sessions
            else session_files.probe(self._sessions_folder, number)
            for number in sessions
        }

    def others_alive(self) -> list[int]:
        """Give the sessions of others that live."""
        numbers = session_files.numbers_in(self._sessions_folder) - set(self._own_sessions)
        return sorted(n for n, liveness in self.probe(numbers).items() if liveness.alive)

    def new_session(self, last: int) -> LmdbSession:
        """Create and lock the files of a new session."""
        # A crash between the files and the commit leaves files of a number that no event names.
        number = max([last, *session_files.numbers_in(self._sessions_folder)]) + 1
        file = session_files.SessionFile(self._sessions_folder, number)
        assert file.descriptor is not None, "it was just made"
        try:
            slots = scratch.Scratch(
                file.descriptor,
                session_files.beside(self._sessions_folder, number),
                log_id=self.log_id,
                session=number,
                boot=boot_id(),
                shared=is_mappable(self.path),
            )
        except OSError as error:
            file.close()
            raise DiskFull(
                f"The disk of {self.path} has no room for a session's slots ({error.strerror}). Nothing was started. "
                "Free some space, then run the same again."
            ) from error
        except BaseException:
            file.close()
            raise
        session = LmdbSession(self, number, file, slots)
        self._own_sessions[number] = session
        return session

    def remains(self, number: int) -> dict[int, scratch.Remains]:
        """Read what a dead session's slots say."""
        return scratch.read_remains(
            self._sessions_folder / str(number),
            session_files.beside(self._sessions_folder, number),
            log_id=self.log_id,
            session=number,
            boot=boot_id(),
        )

    def forget_session(self, number: int) -> None:
        """Count a session of this handle among the dead from now on."""
        self._own_sessions.pop(number, None)

    def retire(self, number: int) -> None:
        """Remove the files of a dead session."""
        session_files.remove(self._sessions_folder, number)

    @property
    def page_bytes(self) -> int:
        """Give the page size of data.mdb."""
        return self._page_bytes

    @property
    def data_descriptor(self) -> int:
        """Give a descriptor of data.mdb, for its size and for room ahead."""
        return self._data_descriptor

    @property
    def data_path(self) -> Path:
        """Give the path of data.mdb."""
        return self._data

    def last_page(self) -> int:
        """Give the number of the last page in use."""
        return self._environment.info()["last_pgno"]

    # --- Opening ------------------------------------------------------------------------

    def after_fork_in_child(self) -> None:
        """Let go of everything that is the parent's. No unlock: the lock is the parent's too."""
        for session in self._own_sessions.values():
            session.disown()
        self._own_sessions.clear()
        self.close()

    def hold_for_fork(self, wait_s: float) -> None:
        """Wait until no thread is inside the gate, and keep it so during a fork."""
        self._held_for_fork = self._gate.mutex.acquire(timeout=wait_s)

    def let_go_after_fork(self) -> None:
        """End what `hold_for_fork` began."""
        if self._held_for_fork:
            self._held_for_fork = False
            self._gate.mutex.release()

    def _open_data(self) -> None:
        """Open data.mdb, having made sure that it is sound and not older than its witness."""
        self._close_data()
        witness = read_head(self.path / HEAD_NAME)
        try:
            self._data_descriptor = os.open(self._data, os.O_RDWR if not self.read_only else os.O_RDONLY)
        except FileNotFoundError:
            raise LogLost(f"{self._data} is gone. Restore the folder from a backup.") from None
        except PermissionError:
            raise LogReadOnly(f"{self._data} cannot be opened by this user. Read it, or change its owner.") from None
        found = os.fstat(self._data_descriptor)
        as_remembered = witness is not None and (found.st_ino, found.st_size, found.st_mtime_ns) == witness[2:5]
        if not as_remembered and not self._is_left_by_a_crash(found, witness):
            check_structure(self._data)
        self._env = open_env(self._data, read_only=self.read_only)
        with translated(self._data, "opened"):
            self._tables = Tables(*(self._env.open_db(name, create=False) for name in _TABLE_NAMES))
            with self._env.begin() as txn:
                self._check_identity(txn)
                self._check_row_count(txn)
                seq, chain = end_of_log(txn, self._tables)
                if witness is not None:
                    self._check_witness(txn, witness.seq, witness.chain, seq, chain)
        self._known = (seq, chain)
        if witness is not None:
            self._witness = witness
        if not self.read_only and not as_remembered:
            self.committed(seq, chain)

    def _is_left_by_a_crash(self, found: os.stat_result, witness: Witness | None) -> bool:
        """Say whether data.mdb differs from its witness only because a process died in a commit.

        LMDB survives that by design, so a large file need not be walked. A small one is, all the
        same: what costs nothing need not be believed.
        """
        return (
            witness is not None
            and bool(witness.writing)
            and witness.writing == self._boot_mark
            and found.st_ino == witness.inode
            and found.st_size >= witness.size
            and found.st_size > STRUCTURE_CHECK_BYTES_MAX
        )

    def _check_row_count(self, txn: lmdb.Transaction[bytes]) -> None:
        value = txn.get(META_ROWS, db=self._open_tables.meta)
        count, _total = (-1, 0) if value is None else unpack(META_ROWS, value)
        if count != txn.stat(self._open_tables.items)["entries"]:
            raise LogCorrupt(
                f"Rows of the snapshot of {self._data} are missing. Do not run anything on it: finished items would "
                "be done again. Run `walrun verify`; restore it from a backup."
            )

    def _close_data(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None
        if self._data_descriptor >= 0:
            os.close(self._data_descriptor)
            self._data_descriptor = -1

    def _check_identity(self, txn: lmdb.Transaction[bytes]) -> None:
        stored = txn.get(META_LOG_ID, db=self._open_tables.meta)
        if stored != self.log_id.encode():
            raise LogLost(
                f"{self._data} belongs to another log ({stored!r} instead of {self.log_id}). Put the right file back."
            )

    def _check_witness(
        self, txn: lmdb.Transaction[bytes], seq: int, chain: bytes, last_seq: int, last_chain: bytes
    ) -> None:
        if seq > last_seq:
            raise LogWentBack(
                f"{self.path} ends at event {last_seq}, and its witness HEAD has seen event {seq}: an older copy was "
                "put back, or commits were lost. Running would repeat what they did. Restore the newest copy."
            )
        if seq < base_of_log(txn, self._open_tables)[0]:
            return
        at_seq = last_chain if seq == last_seq else self._chain_at(txn, seq)
        if at_seq.ljust(CHAIN_BYTES, b"\0") != chain:
            raise LogWentBack(
                f"{self.path} tells another history than its witness HEAD saw at event {seq}: it was replaced by "
                "another copy. Restore the copy that ran last."
            )

    @contextmanager
    def _inside(self, wait_s: float) -> Iterator[None]:
        if self._pid != os.getpid():
            raise LogForked("This log was opened by the parent process. Open it again in the child.")
        if self._closed:
            raise LogClosed(f"{self.path} was closed here. Open it again.")
        if self._failure is not None:
            raise self._failure
        self._gate.acquire(wait_s)
        try:
            self._follow_swap()
            yield
        finally:
            self._gate.release()

    def _follow_swap(self) -> None:
        """Open data.mdb anew where a compaction swapped it: the old inode is written in vain."""
        try:
            found = self._data.stat()
        except FileNotFoundError:
            raise LogLost(f"{self._data} is gone. Restore the folder from a backup.") from None
        if not os.path.samestat(found, os.fstat(self._data_descriptor)):
            self._open_data()

    @property
    def _environment(self) -> lmdb.Environment:
        assert self._env is not None, "inside the gate the environment is open"
        return self._env

    @property
    def _open_tables(self) -> Tables:
        assert self._tables is not None, "inside the gate the tables are open"
        return self._tables

    # --- Reading --------------------------------------------------------------------------

    def _raw_after(
        self, txn: lmdb.Transaction[bytes], after: int, limit: int | None
    ) -> tuple[bytes, list[tuple[int, bytes]]]:
        """Give the hash at *after*, and the stored records behind it: no more than asked for."""
        seq, chain = end_of_log(txn, self._open_tables)
        self._check_memory(txn, seq, chain)
        if after == seq:
            return chain, []
        if after > seq:
            raise LogWentBack(
                f"{self.path} ends at event {seq} and held event {after} before: it was rolled back. Restore the "
                "newest copy."
            )
        base_seq, base_chain = base_of_log(txn, self._open_tables)
        if after < base_seq:
            raise Compacted(f"The events up to {base_seq} of {self.path} were compacted. Begin at {base_seq}.")
        previous = base_chain if after == base_seq else self._chain_at(txn, after)
        cursor = txn.cursor(db=self._open_tables.log)
        raw: list[tuple[int, bytes]] = []
        size = 0
        more = cursor.set_range((after + 1).to_bytes(8, "big"))
        while more and (limit is None or (len(raw) < limit and size < READ_BYTES_MAX)):
            key, value = cursor.item()
            raw.append((int.from_bytes(key, "big"), value))
            size += len(value)
            more = cursor.next()
        if raw and raw[0][0] != after + 1:
            raise LogCorrupt(f"Events after {after} of {self.path} are missing. Run `walrun verify`.", seq=after + 1)
        return previous, raw

    def _check_memory(self, txn: lmdb.Transaction[bytes], seq: int, chain: bytes) -> None:
        """Make sure that the log still holds what this handle saw last, and remember its end."""
        known_seq, known_chain = self._known
        if seq < known_seq:
            raise LogWentBack(
                f"{self.path} ends at event {seq} and held event {known_seq} before: it was rolled back. Restore the "
                "newest copy."
            )
        if known_seq > base_of_log(txn, self._open_tables)[0]:
            chain_there = chain if seq == known_seq else self._chain_at(txn, known_seq)
            if chain_there != known_chain:
                raise LogWentBack(f"{self.path} was replaced by another history. Restore the copy that ran last.")
        self._known = (seq, chain)

    def _chain_at(self, txn: lmdb.Transaction[bytes], seq: int) -> bytes:
        """Give the hash of the record that ends at *seq*."""
        base_seq, base_chain = base_of_log(txn, self._open_tables)
        if seq == base_seq:
            return base_chain
        cursor = txn.cursor(db=self._open_tables.log)
        found = cursor.set_range((seq + 1).to_bytes(8, "big"))
        if not (cursor.prev() if found else cursor.last()):
            raise LogCorrupt(f"Event {seq} of {self.path} is missing. Run `walrun verify`.", seq=seq)
        return cursor.value()[:CHAIN_BYTES]


class LmdbSession:
    """A session of this process. See `wal_runner.log.protocol.Session`."""

    def __init__(
        self, log: LmdbLog, number: int, file: session_files.SessionFile, slots: scratch.Scratch
    ) -> None:
        self._log = log
        self.number = number
        self.file = file
        self.scratch = slots

    @property
    def descriptor(self) -> int | None:
        """Give the descriptor that commands inherit."""
        return self.file.descriptor

    def close(self) -> None:
        """Release the locks and remove the files."""
        self.scratch.close()
        self._log.forget_session(self.number)
        self.file.close()

    def abandon(self) -> None:
        """Release the locks and leave the files, as a crash would."""
        self.scratch.close()
        self._log.forget_session(self.number)
        self.file.abandon()

    def disown(self) -> None:
        """Let go in a forked child; the lock stays the parent's."""
        self.scratch.disown()
        self.file.abandon()


_TABLE_NAMES = (LOG_TABLE, ITEMS_TABLE, OPEN_TABLE, META_TABLE)


def _decoded(previous: bytes, raw: list[tuple[int, bytes]]) -> list[Record]:
    records = []
    for first_seq, value in raw:
        record = decode_record(first_seq, value, previous)
        records.append(record)
        previous = record.chain
    return records
