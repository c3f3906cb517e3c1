"""The memory engine: a log whose disk is a `MemoryStore`, for tests and simulations.

Imported by tests. Invariant: the same calls give the same bytes, and what is stored is what the LMDB
engine stores, byte for byte.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wal_runner.core.state import State
from wal_runner.errors import LogBusy, LogClosed, LogReadOnly, LogReplaced, listed
from wal_runner.log.format import (
    META_BASE_STATE,
    META_FORMAT,
    META_ROWS,
    META_SNAPSHOT,
    META_SNAPSHOTTER,
)
from wal_runner.log.memory_turn import MemoryTurn, rows_of
from wal_runner.log.protocol import GATE_WAIT_S, Liveness, Room
from wal_runner.log.rows import decode_row, unpack, unpack_number
from wal_runner.log.stored_state import base_state_seq, check_history, decode_snapshot, read_base_state, snapshot_seq


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wal_runner.core.events import Record
    from wal_runner.core.items import Row
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
            turn = MemoryTurn(self.path, self.store, self.own_sessions, self.store.records_after(after, None))
            try:
                yield turn
            except BaseException:
                turn.abort()
                raise
            turn.commit()

    @property
    def is_entered(self) -> bool:
        """Return False: `break_off` has nothing to do. See `Log.is_entered`."""
        return False

    def break_off(self) -> None:
        """Do nothing: memory has no lock that an exception could leave held. See `Log.break_off`."""

    def abandon_sessions(self) -> None:
        """Do nothing: an opening in memory is not interrupted. See `Log.abandon_sessions`."""

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
            return rows_of(ids, self.store.items)

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

    def format(self) -> int:
        """Return the format that the log is in. See `Log.format`."""
        with self._inside():
            return unpack_number(META_FORMAT, self.store.meta[META_FORMAT])

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

    def copied_from(self) -> str:
        """Return where the log was last used. See `Log.copied_from`."""
        with self._inside():
            return self.store.copied_from

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
        return self.store.probe(sessions, self.own_sessions)

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
