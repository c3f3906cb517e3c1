"""Benches: one log in some engine, opened as one process after another would, and what may befall it."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from wal_runner.log.folder import create_folder, read_identity
from wal_runner.log.lmdb_log import LmdbLog
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import Marks, MemoryStore
from wal_runner.log.session_files import probe


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wal_runner.log.protocol import Liveness, Log, Session

NAMES = ("lmdb", "memory")


class LmdbBench:
    """A log in a folder. LMDB lets a process open it once, so each handle closes the one before."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "emails.wal"
        self.log_id = create_folder(self.path).log_id
        self.clock_ns = itertools.count(1).__next__
        self._log: LmdbLog | None = None

    def open(self, *, read_only: bool = False) -> Log:
        """Open the log, as the next process would."""
        self.close()
        self._log = LmdbLog(self.path, read_identity(self.path), read_only=read_only, clock_ns=self.clock_ns)
        return self._log

    def close(self) -> None:
        """Close the handle that is open."""
        if self._log is not None:
            self._log.close()

    def leave_effect(self, session: Session) -> Callable[[], None]:
        """Let the session's process die while a command that it started runs on; return how that ends."""
        assert session.descriptor is not None
        inherited = os.dup(session.descriptor)
        session.abandon()
        return lambda: os.close(inherited)

    def leave_files(self, number: int) -> None:
        """Leave what a crash leaves between a session's files and its first commit."""
        (self.path / "sessions" / str(number)).touch()

    def ask_the_kernel(self, number: int) -> Liveness:
        """Ask who holds the session's locks, past the handle that may know it better."""
        return probe(self.path / "sessions", number)

    def remove_files(self, number: int) -> None:
        """Delete what stands for a session, as somebody might by mistake."""
        (self.path / "sessions" / str(number)).unlink()


class MemoryBench:
    """A log in memory, with any number of handles."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.log_id = self.store.log_id

    def open(self, *, read_only: bool = False) -> Log:
        """Open the log, as the next process would."""
        return MemoryLog(self.store, read_only=read_only)

    def close(self) -> None:
        """Have nothing to close."""

    def leave_effect(self, session: Session) -> Callable[[], None]:
        """Let the session's process die while a command that it started runs on; return how that ends."""
        session.abandon()
        self.store.kill(session.number, effect_running=True)
        return lambda: self.store.kill(session.number)

    def leave_files(self, number: int) -> None:
        """Leave what a crash leaves between a session's files and its first commit."""
        self.store.sessions[number] = Marks()
        self.store.kill(number)

    def ask_the_kernel(self, number: int) -> Liveness:
        """Say what stands for the kernel's word."""
        return self.store.liveness_of(number)

    def remove_files(self, number: int) -> None:
        """Delete what stands for a session, as somebody might by mistake."""
        del self.store.sessions[number]


Bench = LmdbBench | MemoryBench


def make_bench(name: str, folder: Path) -> Bench:
    """Make a new, empty log in the engine *name*."""
    return LmdbBench(folder) if name == "lmdb" else MemoryBench()
