"""The LMDB engine: one log in one folder, behind its gate.

Imported through `wal_runner.log.opening`. Invariant: every access to data.mdb happens inside the
gate, after it was checked that the files are the ones that were opened.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import lmdb

from wal_runner.core.state import State
from wal_runner.errors import LogClosed, LogError, LogForked, LogReadOnly
from wal_runner.log.codec import decoded
from wal_runner.log.env import translate, translated
from wal_runner.log.format import (
    GATE_NAME,
    ITEMS_TABLE,
    META_BASE_STATE,
    META_PLACE,
    META_SNAPSHOT,
    META_SNAPSHOTTER,
    SESSIONS_NAME,
)
from wal_runner.log.gate import Gate
from wal_runner.log.lmdb_data import DataFile
from wal_runner.log.lmdb_sessions import Sessions
from wal_runner.log.lmdb_turn import LmdbTurn
from wal_runner.log.place import copied_from, place_of, stored_place
from wal_runner.log.protocol import GATE_WAIT_S, Liveness, Room
from wal_runner.log.rewriting import swap_for_copy
from wal_runner.log.rows import decode_row, unpack_number
from wal_runner.log.stored_state import base_state_seq, check_history, decode_snapshot, read_base_state, snapshot_seq
from wal_runner.log.structure import WALKS_MAX


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from wal_runner.core.events import Record
    from wal_runner.core.items import Row
    from wal_runner.log.folder import Identity
    from wal_runner.log.place import Place
    from wal_runner.log.scratch import Remains


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
        self._failure: LogError | None = None
        self._closed = False
        self._held_for_fork = False
        self._turn: LmdbTurn | None = None
        self._txn: lmdb.Transaction[bytes] | None = None
        """The transaction of the turn that is going on, to be undone if an exception leaves it open."""
        self._sessions = Sessions(path / SESSIONS_NAME, identity.log_id)
        self._gate = Gate(path / GATE_NAME, writable=not read_only)
        try:
            self._data = DataFile(path, identity, read_only=read_only)
            try:
                self._open_data()
            except BaseException:
                self._data.close()
                raise
        except BaseException:
            self._closed = True
            self._gate.close()
            raise

    def _open_data(self) -> None:
        """Open the data. A large file that must be walked is walked while others may use the log.

        The walk counts if nothing was committed meanwhile; after some in vain the next one holds the lock.
        """
        for _ in range(WALKS_MAX):
            with self._gate.held(GATE_WAIT_S):
                if self._data.open(may_defer=True):
                    self._sessions.check_not_ahead(self._data.known[0])
                    return
            self._data.walk()
        with self._gate.held(GATE_WAIT_S):
            self._data.open()
            self._sessions.check_not_ahead(self._data.known[0])

    # --- Writing -----------------------------------------------------------------------

    @contextmanager
    def exclusive(self, after: int, *, wait_s: float = GATE_WAIT_S) -> Iterator[LmdbTurn]:
        """Begin a turn; leaving the block commits. See `Log.exclusive`."""
        self._check_writable()
        self._gate.check_not_mine()
        try:
            self._enter(wait_s)
            self._sessions.check_still_there()
            turn = self._begin_turn(after)
            try:
                yield turn
            except BaseException:
                turn.abort()
                raise
            try:
                turn.commit()
            except LogError as error:
                if turn.poisoned:
                    # After a failed sync the kernel may have dropped the pages and LMDB carries on as
                    # if they were written (fsyncgate). Only a new process that verifies may go on.
                    self._failure = error
                raise
        finally:
            self._leave()

    def rewrite(self) -> None:
        """Swap data.mdb for a verified copy in key order. See `Log.rewrite`."""
        self._check_writable()
        with self._inside():
            self._data.guard.check_everything()
            swap_for_copy(self.path, self._data.env, self._data.tables, self._sessions.others_alive())
            self._data.open()

    # --- Reading -----------------------------------------------------------------------

    def read(self, after: int, *, limit: int) -> Iterator[Record]:
        """Copy records out under the gate, and decode them outside it. See `Log.read`."""
        with self._reading() as txn:
            previous, raw = self._data.after(txn, after, limit)
        return decoded(previous, raw)

    def snapshot(self) -> State:
        """Give the snapshot's state without items. See `Log.snapshot`."""
        with self._reading() as txn:
            value = txn.get(META_SNAPSHOT, db=self._data.tables.meta)
            if value is None:
                return State()
            opens = list(txn.cursor(db=self._data.tables.open))
            chain = self._data.chain_at(txn, snapshot_seq(META_SNAPSHOT, value))
        state = decode_snapshot(META_SNAPSHOT, value, opens)
        check_history(state, chain)
        return state

    def look_up(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Give the rows of *ids*. See `Log.look_up`."""
        with self._reading() as txn:
            return self._data.rows(txn, ids)

    def scan(self, after_key: bytes, *, limit: int) -> tuple[Sequence[tuple[str, Row]], bytes]:
        """Give a page of rows in key order. See `Log.scan`."""
        found: list[tuple[bytes, bytes]] = []
        with self._reading() as txn:
            self._data.guard.check_from(ITEMS_TABLE, after_key, limit)
            cursor = txn.cursor(db=self._data.tables.items)
            more = cursor.set_range(after_key + b"\0") if after_key else cursor.first()
            while more and len(found) < limit:
                found.append(cursor.item())
                more = cursor.next()
        return [decode_row(key, value) for key, value in found], found[-1][0] if found else after_key

    def row_sums(self) -> tuple[int, int]:
        """Give the count and the sum of the rows. See `Log.row_sums`."""
        with self._reading() as txn:
            return self._data.row_sums(txn)

    def snapshotter(self) -> int:
        """Return who writes a snapshot. See `Log.snapshotter`."""
        with self._reading() as txn:
            value = txn.get(META_SNAPSHOTTER, db=self._data.tables.meta)
        return 0 if value is None else unpack_number(META_SNAPSHOTTER, value)

    def check_rows(self) -> None:
        """Check every row where the file is suspect. See `Log.check_rows`."""
        if self._data.suspect:
            self._data.check_rows()
            self._data.suspect = False

    def copied_from(self) -> str:
        """Return where the log was last used. See `Log.copied_from`."""
        with self._reading() as txn:
            stored = stored_place(txn.get(META_PLACE, db=self._data.tables.meta))
        return copied_from(self.path, stored, self._place())

    def format(self) -> int:
        """Return the format that the log is in. See `Log.format`."""
        with self._reading() as txn:
            return self._data.format(txn)

    def base(self) -> tuple[int, bytes]:
        """Give where the log begins. See `Log.base`."""
        with self._reading() as txn:
            return self._data.base(txn)

    def base_state(self) -> State:
        """Give what a replay begins with. See `Log.base_state`."""
        with self._reading() as txn:
            base = self._data.base(txn)
            value = txn.get(META_BASE_STATE, db=self._data.tables.meta)
            seq = base[0] if value is None else base_state_seq(META_BASE_STATE, value)
            chain = self._data.chain_at(txn, seq)
        return read_base_state(META_BASE_STATE, value, base, chain)

    def liveness(self, sessions: Iterable[int]) -> Mapping[int, Liveness]:
        """Ask the kernel who lives. See `Log.liveness`."""
        with self._inside():
            return self._sessions.probe(sessions)

    def remains_of(self, sessions: Iterable[int]) -> Mapping[int, Mapping[int, Remains]]:
        """Read what the slots of dead sessions say. See `Log.remains_of`."""
        with self._inside():
            return {number: self._sessions.remains(number) for number in sessions}

    def room(self) -> Room:
        """Tell how much the log takes. See `Log.room`."""
        with self._reading() as txn:
            return Room(
                file_bytes=self._data.path.stat().st_size,
                used_bytes=self._data.used_bytes(),
                records=txn.stat(self._data.tables.log)["entries"],
                rows=txn.stat(self._data.tables.items)["entries"],
            )

    @property
    def is_entered(self) -> bool:
        """Return whether this thread is inside the gate. See `Log.is_entered`."""
        return self._gate.is_mine

    def break_off(self) -> None:
        """Leave the gate if this thread is inside. See `Log.break_off`."""
        if self._gate.is_mine and self._pid == os.getpid() and not self._is_at_work():
            self._leave()

    def abandon_sessions(self) -> None:
        """Release the locks of our sessions. See `Log.abandon_sessions`."""
        self._sessions.abandon()

    # --- Closing and forking --------------------------------------------------------------

    def close(self) -> None:
        """Release everything but the sessions' files. Closing again does nothing."""
        self.break_off()
        self._closed = True
        self._data.close()
        self._gate.close()

    def after_fork_in_child(self) -> None:
        """Let go of everything that is the parent's. No unlock: the lock is the parent's too."""
        self._sessions.disown()
        self.close()

    def hold_for_fork(self, wait_s: float) -> None:
        """Wait until no thread is inside the gate, and keep it so during a fork."""
        self._held_for_fork = self._gate.mutex.acquire(timeout=wait_s)

    def let_go_after_fork(self) -> None:
        """End what `hold_for_fork` began."""
        if self._held_for_fork:
            self._held_for_fork = False
            self._gate.mutex.release()

    # --- Inside the gate -----------------------------------------------------------------

    def _begin_turn(self, after: int) -> LmdbTurn:
        try:
            txn = self._txn = self._data.env.begin(write=True)
            try:
                previous, raw = self._data.after(txn, after)
                records = list(decoded(previous, raw))
                turn = LmdbTurn(self._data, self._sessions, txn, records, self._clock_ns(), place=self._place)
                self._turn = turn
                return turn  # noqa: TRY300 - the transaction is undone if an exception strikes here
            except BaseException:
                txn.abort()
                raise
        except lmdb.Error as error:
            raise translate(error, self._data.path, "read") from error

    def _place(self) -> Place:
        with translated(self.path, "opened"):
            return place_of(self.path, self._gate.descriptor)

    @contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction[bytes]]:
        with self._inside(), translated(self._data.path, "read"), self._data.env.begin() as txn:
            yield txn

    @contextmanager
    def _inside(self) -> Iterator[None]:
        self._gate.check_not_mine()
        try:
            self._enter(GATE_WAIT_S)
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        """Undo the turn unless it was committed, and leave the gate if this thread is inside."""
        if not self._gate.is_mine:
            return
        # Before the gate is free: LMDB has one write transaction, and the next one would be undone with this one.
        turn, txn = self._turn, self._txn
        try:
            if turn is not None:
                turn.abort()
            elif txn is not None:
                txn.abort()
        finally:
            self._turn = self._txn = None
            self._gate.release()

    def _is_at_work(self) -> bool:
        """Return whether this thread is executing one of our methods, which a signal handler has interrupted."""
        frame = sys._getframe(1)  # noqa: SLF001 - inspect.currentframe() is the same
        while (before := frame.f_back) is not None:
            frame = before
            if frame.f_locals.get("self") is self and frame.f_code is not LmdbLog.close.__code__:
                return True
        return False

    def _enter(self, wait_s: float) -> None:
        if self._pid != os.getpid():
            raise LogForked("This log was opened by the parent process. Open it again in the child.")
        if self._closed:
            raise LogClosed(f"{self.path} was closed here. Open it again.")
        if self._failure is not None:
            raise self._failure
        self._gate.acquire(wait_s)
        self._data.follow_swap()

    def _check_writable(self) -> None:
        if self.read_only:
            raise LogReadOnly(f"{self.path} was opened for reading. Open it with Runner(path) to write.")
