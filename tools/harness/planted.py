"""Faults planted into the library, each of which breaks a promise: a harness that misses one is blind.

Invariant: a fault is planted below the witness, never in it; and it is one that a careless change might
really make.
"""

# ruff: noqa: SLF001 - most of what can be broken is private

from __future__ import annotations

import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import lmdb

from tools.harness.replacing import put
from tools.harness.witness import mark
from wal_runner.core.arrays import STARTED
from wal_runner.core.events import Decision, ItemReconciled, ItemReleased, ItemSucceeded
from wal_runner.errors import LogError
from wal_runner.log import folder, lmdb_data, opening, rewriting, scratch
from wal_runner.log.folder import Identity
from wal_runner.log.format import FORMAT_FIRST, ITEMS_TABLE
from wal_runner.log.lmdb_log import LmdbLog
from wal_runner.log.lmdb_turn import LmdbTurn
from wal_runner.log.scratch import Scratch
from wal_runner.recovery import evidence, recover
from wal_runner.recovery.snapshots import Snapshots


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from wal_runner.core.state import State
    from wal_runner.log.protocol import Log, Turn
    from wal_runner.recovery.writer import LogWriter


@dataclass(frozen=True)
class Plant:
    """A fault: what it is, which life shows it, and how it gets into the process that lives, and into the judge's."""

    what: str
    life: str
    in_life: Callable[[], None]
    in_judge: Callable[[], None] = lambda: None


# --- The disk is not asked -----------------------------------------------------------------


def _open_lmdb(**changed: object) -> None:
    really_open = lmdb.open

    def careless(*arguments: Any, **options: Any) -> lmdb.Environment:  # noqa: ANN401 - passed on
        return really_open(*arguments, **{**options, **changed})

    put(lmdb, open=careless)


def _sync_nothing() -> None:
    _open_lmdb(sync=False)


def _sync_no_meta_page() -> None:
    _open_lmdb(metasync=False)


def _sync_no_folder_at_creation() -> None:
    for module in (folder, lmdb_data):
        put(module, sync_folder=lambda _path: None)


def _sync_no_folder_at_swap() -> None:
    for module in (rewriting, lmdb_data):
        put(module, sync_folder=lambda _path: None)


def _trust_names_of_the_dead() -> None:
    put(lmdb_data.DataFile, _secure_names=lambda _self, _witness, _end: None)


def _build_in_place() -> None:
    def create_folder(path: Path) -> Identity:
        identity = Identity(FORMAT_FIRST, os.urandom(16).hex(), os.sysconf("SC_PAGE_SIZE"))
        folder._build(path, identity)
        folder.sync_folder(path.parent)
        return identity

    put(opening, create_folder=create_folder)


def _swap_before_sync() -> None:
    def create_env(file: Path) -> Any:  # noqa: ANN401 - an environment that does not sync
        env = lmdb.open(
            str(file), subdir=False, map_size=1 << 30, max_dbs=8, lock=False, sync=False, metasync=False, lib_version=0
        )
        return SimpleNamespace(open_db=env.open_db, begin=env.begin, close=env.close, sync=lambda _force: None)

    put(rewriting, create_env=create_env, _sync_file=lambda _path: None)


def _swap_unverified() -> None:
    really_copy = rewriting._copy_table

    def copy_most(source: Any, table: Any, target: Any, name: bytes) -> None:  # noqa: ANN401 - LMDB's own
        really_copy(source, table, target, name)
        if name == ITEMS_TABLE:
            with target.begin(write=True) as txn:
                cursor = txn.cursor(db=target.open_db(name, txn=txn))
                if cursor.last():
                    cursor.delete()

    put(rewriting, _copy_table=copy_most, _compare=lambda _source, _tables, _copy: None)


# --- The order is wrong ------------------------------------------------------------------------


def _acknowledge_before_commit() -> None:
    really_commit, really_enter, really_close = LmdbTurn.commit, LmdbLog._enter, LmdbLog.close
    late: list[LmdbTurn] = []

    def catch_up() -> None:
        while late:
            really_commit(late.pop())

    def commit(self: LmdbTurn) -> None:
        if self._changed:
            late.append(self)
        else:
            really_commit(self)

    def enter(self: LmdbLog, wait_s: float) -> None:
        catch_up()
        really_enter(self, wait_s)

    def close(self: LmdbLog) -> None:
        catch_up()
        really_close(self)

    put(LmdbTurn, commit=commit)
    put(LmdbLog, _enter=enter, close=close)


def _start_after_fn() -> None:
    really_commit = LmdbTurn.commit

    def commit(self: LmdbTurn) -> None:
        for record in self.appended:
            for start_seq, array in enumerate(record.arrays, record.first_seq):
                if array[0] == STARTED:
                    mark("begins", array[1], start_seq)
        really_commit(self)

    put(LmdbTurn, commit=commit)


def _witness_before_commit() -> None:
    really_commit = LmdbTurn.commit

    def commit(self: LmdbTurn) -> None:
        self._data.committed(*self._end)
        really_commit(self)

    put(LmdbTurn, commit=commit)


# --- The snapshot says something else --------------------------------------------------------------


def _hash_of_another_seq() -> None:
    really_put = LmdbTurn.put_snapshot

    def put_snapshot(self: LmdbTurn, state: State) -> int:
        state.chain = self._end[1]
        return really_put(self, state)

    put(LmdbTurn, put_snapshot=put_snapshot)


def _open_attempts_forgotten() -> None:
    really_put = LmdbTurn.put_snapshot

    def put_snapshot(self: LmdbTurn, state: State) -> int:
        state.open = {}
        return really_put(self, state)

    put(LmdbTurn, put_snapshot=put_snapshot)


def _snapshot_before_its_rows() -> None:
    really_begin = Snapshots._begin

    def begin(self: Snapshots, turn: Turn, state: State) -> None:
        really_begin(self, turn, state)
        if self._frozen is not None:
            turn.put_snapshot(self._frozen)

    put(Snapshots, _begin=begin)


# --- The slots are misread -----------------------------------------------------------------------------


def _reuse_slots_early() -> None:
    really_finish = Scratch.finish

    def finish(self: Scratch, slot: int, start_seq: int, event: Any) -> None:  # noqa: ANN401 - an outcome
        really_finish(self, slot, start_seq, event)
        self._free.appendleft(slot)

    put(Scratch, finish=finish, free=lambda _self, _slots: None)


def _believe_slots_of_another_boot() -> None:
    really = scratch._header

    def header(descriptor: int, log_id: str, session: int, _boot: str) -> bytes:
        return really(descriptor, log_id, session, "any")

    put(scratch, _header=header)


def _take_silence_for_not_begun() -> None:
    really = evidence.proven

    def proven(start_seq: int, said: Any) -> Any:  # noqa: ANN401 - as the real one
        return ItemReleased(start_seq) if said is None else really(start_seq, said)

    put(recover, proven=proven)


def _recover_in_two_transactions() -> None:
    really_begin = recover.begin_session

    def begin_session(log: Log, *, accept_copy: bool = False) -> LogWriter:
        proofs: dict[int, Any] = {}

        def note_evidence(turn: Turn, state: State, dead: Iterable[int]) -> None:
            for number in dead:
                remains = turn.remains(number)
                for start_seq in evidence.own_started(state, number):
                    proofs[start_seq] = evidence.proven(start_seq, remains.get(start_seq))

        put(recover, record_evidence=note_evidence)
        writer = really_begin(log, accept_copy=accept_copy)
        verdicts = []
        for start_seq, proof in proofs.items():
            if isinstance(proof, ItemSucceeded):
                verdicts.append(ItemReconciled(start_seq, Decision.HAPPENED, "slots", "", proof.result))
            elif isinstance(proof, ItemReleased):
                verdicts.append(ItemReconciled(start_seq, Decision.DID_NOT_HAPPEN, "slots", ""))
        if verdicts:
            writer.append(verdicts)
        return writer

    put(recover, begin_session=begin_session)


def _leave_failed_commits_unsettled() -> None:
    put(lmdb_data.DataFile, settle=lambda _self: None)


# --- Errors are swallowed ---------------------------------------------------------------------------------


def _swallow_errors_of_commits() -> None:
    really_commit = LmdbTurn.commit

    def commit(self: LmdbTurn) -> None:
        try:
            really_commit(self)
        except LogError:
            self.poisoned = False

    put(LmdbTurn, commit=commit)


SWALLOWED: Final = "errors-swallowed"
"""The fault that failing calls must show."""

PLANTS: Final = {
    "sync-off": Plant("LMDB does not sync", "windows", _sync_nothing),
    "metasync-off": Plant("LMDB does not sync its meta page", "windows", _sync_no_meta_page),
    "ack-before-commit": Plant("a turn ends before its commit", "serial", _acknowledge_before_commit),
    "start-after-fn": Plant("fn is called before its start is durable", "serial", _start_after_fn),
    "no-folder-sync": Plant("a new log's names are not synced", "creation", _sync_no_folder_at_creation),
    "built-in-place": Plant("a new log is built where it will stand", "creation", _build_in_place),
    "no-swap-sync": Plant("the swap's rename is not synced", "compaction", _sync_no_folder_at_swap),
    "creator-died": Plant(
        "the name of a log whose creator died is not synced", "creation_killed", _trust_names_of_the_dead
    ),
    "compactor-died": Plant(
        "a swap by a process that died is not synced", "compaction_killed", _trust_names_of_the_dead
    ),
    "swap-before-sync": Plant("the copy is swapped in before it is durable", "compaction", _swap_before_sync),
    "swap-unverified": Plant("a copy that lacks a row is swapped in", "compaction", _swap_unverified),
    "witness-first": Plant("HEAD is told before the commit", "windows", _witness_before_commit),
    "hash-of-another-seq": Plant("the snapshot's hash is that of the moment", "snapshots", _hash_of_another_seq),
    "no-open-attempts": Plant("the snapshot forgets open attempts", "snapshots", _open_attempts_forgotten),
    "snapshot-first": Plant("the snapshot is vouched for before its rows", "snapshots", _snapshot_before_its_rows),
    "slot-reused-early": Plant("a slot is taken again before its outcome is durable", "windows", _reuse_slots_early),
    "slots-of-another-boot": Plant(
        "slots are believed after a power cut",
        "windows",
        _believe_slots_of_another_boot,
        _believe_slots_of_another_boot,
    ),
    "silence-is-release": Plant(
        "a start that no slot names counts as never begun", "windows", lambda: None, _take_silence_for_not_begun
    ),
    "recovery-in-two": Plant("a loss and its evidence are two transactions", "sessions", _recover_in_two_transactions),
    "commit-unsettled": Plant(
        "what a failed commit left in memory is written over", "late_compaction", _leave_failed_commits_unsettled
    ),
    SWALLOWED: Plant("a commit that failed counts as one", "failing_windows", _swallow_errors_of_commits),
}
"""Each fault by its name."""
