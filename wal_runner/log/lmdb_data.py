"""data.mdb and its witness: opened, checked, followed through swaps, and read.

Imported by the LMDB engine, which calls everything here inside the gate. Invariant: what is read or
written is the file that the folder names now, it is sound as far as LMDB could stumble over it, and
it holds at least what this handle and HEAD have seen.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from wal_runner.core.shown import shown
from wal_runner.errors import ON_RESTORING, RESTORE, Compacted, LogCorrupt, LogLost, LogWentBack
from wal_runner.log.codec import record_count
from wal_runner.log.env import check_env, close_env, open_env, translate_system, translated
from wal_runner.log.files import CLOSED, HeldFile, open_file
from wal_runner.log.folder import sync_folder
from wal_runner.log.format import (
    CHAIN_BYTES,
    CHECK_ALWAYS_BYTES_MAX,
    DATA_NAME,
    HEAD_NAME,
    ITEMS_TABLE,
    LOG_TABLE,
    META_BASE,
    META_FORMAT,
    META_LOG_ID,
    META_ROWS,
    META_TABLE,
    OPEN_TABLE,
    READ_BYTES_MAX,
    STRUCTURE_CHECK_BYTES_MAX,
)
from wal_runner.log.head import Witness, boot_mark, open_head, read_head, write_head
from wal_runner.log.host import boot_id
from wal_runner.log.lmdb_rows import stored_rows
from wal_runner.log.page_guard import PageGuard
from wal_runner.log.page_walk import walk
from wal_runner.log.rows import seq_in, unpack_fields, unpack_number
from wal_runner.log.structure import as_it_is, is_always_checked, raise_for_structure
from wal_runner.log.upgrading import check_readable


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import lmdb

    from wal_runner.log.folder import Identity
    from wal_runner.log.page_walk import Walked
    from wal_runner.log.structure import Unchanged


class Tables(NamedTuple):
    """The handles of the sub-databases, in the order of `TABLE_NAMES`."""

    log: lmdb._Database
    items: lmdb._Database
    open: lmdb._Database
    meta: lmdb._Database


TABLE_NAMES = (LOG_TABLE, ITEMS_TABLE, OPEN_TABLE, META_TABLE)


class DataFile:
    """The data of one log, as one handle has it open."""

    env: lmdb.Environment
    tables: Tables
    guard: PageGuard

    def __init__(self, folder: Path, identity: Identity, *, read_only: bool) -> None:
        self.folder = folder
        self.path = folder / DATA_NAME
        self.page_bytes = identity.page_bytes
        self.known = (0, b"")
        """The last seq that this handle has seen, and the chain hash there."""
        self.format_seen = 0
        """A format that the file was in when it was looked at; it only rises. Only what is committed is kept here."""
        self._log_id = identity.log_id
        self._read_only = read_only
        self._witness = Witness(0, b"", 0, 0, 0)
        self._boot_mark = boot_mark(boot_id())
        self._head = None if read_only else HeldFile(open_head(folder / HEAD_NAME), folder / HEAD_NAME)
        self._data: HeldFile | None = None
        """data.mdb, while it is open."""
        self._inode = (0, 0)
        self.suspect = True
        """Whether something may have happened to the file since HEAD was written; then it was walked."""
        self._walked: tuple[Unchanged, Walked] | None = None
        """The last walk, and what the file was like then."""
        self._sums = (0, 0)

    @property
    def descriptor(self) -> int:
        """Return the descriptor of data.mdb."""
        return CLOSED if self._data is None else self._data.descriptor

    # --- Opening --------------------------------------------------------------------------

    def open(self, *, may_defer: bool = False) -> bool:
        """Open the file if it is sound and not older than its witness. Call it inside the log lock.

        Return False, with *may_defer*, if a large file must be walked first: call `walk` without the lock, then
        this again.
        """
        self._close_env()
        witness = read_head(self.folder / HEAD_NAME)
        try:
            flags = os.O_RDONLY if self._read_only else os.O_RDWR
            self._data = HeldFile(open_file(self.folder, DATA_NAME, flags), self.path)
        except (FileNotFoundError, NotADirectoryError):
            raise LogLost(f"{self.path} is gone. {RESTORE}") from None
        except OSError as error:
            raise translate_system(error, self.path, "opened") from error
        found = os.fstat(self.descriptor)
        self._inode = (found.st_dev, found.st_ino)
        as_remembered = witness is not None and (found.st_ino, found.st_size, found.st_mtime_ns) == witness[2:5]
        if not self._read_only and (witness is None or witness.writing or not as_remembered):
            self.settle()
        trusted = as_remembered or self._is_left_by_a_crash(found, witness)
        self.suspect = not trusted or is_always_checked(self.descriptor)
        if self.suspect and not self._is_walked():
            if may_defer and found.st_size > CHECK_ALWAYS_BYTES_MAX:
                return False
            self.walk()
        self._check_pages()
        self.env = open_env(self.path, read_only=self._read_only)
        with translated(self.path, "opened"):
            self.tables = Tables(*(self.env.open_db(name, create=False) for name in TABLE_NAMES))
            with self.env.begin() as txn:
                self._check_identity(txn)
                self._check_row_count(txn)
                self._sums = self.row_sums(txn)
                end = self.end(txn)
                if witness is not None:
                    self._check_witness(txn, witness, end)
        self.known = end
        if witness is not None:
            self._witness = witness
        if not self._read_only:
            self._secure_names(witness, end)
            if not as_remembered:
                self.committed(*end)
        return True

    def walk(self) -> None:
        """Walk the whole file, and keep what was found for `open`. The log lock need not be held."""
        with translated(self.path, "read"):
            before = as_it_is(self.descriptor)
            self._walked = (before, walk(self.descriptor))

    def _check_pages(self) -> None:
        """Check what LMDB meets first; the rest was walked, or is checked when it is touched."""
        if self.suspect and self._walked is not None:
            raise_for_structure(self.path, self._walked[1])
        self.guard = PageGuard(self.path, self.descriptor, self.page_bytes, trusts_all=self.suspect)
        self.guard.begin()

    def _is_walked(self) -> bool:
        """Return whether the file is as it was when it was walked."""
        return self._walked is not None and self._walked[0] == as_it_is(self.descriptor)

    def close(self) -> None:
        """Let go of the file and of HEAD."""
        self._close_env()
        if self._head is not None:
            self._head.close()

    def follow_swap(self) -> None:
        """Open the file anew where a compaction swapped it: the old inode is written in vain."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            raise LogLost(f"{self.path} is gone. {RESTORE}") from None
        if (found.st_dev, found.st_ino) != self._inode:
            self.open()

    def _close_env(self) -> None:
        if hasattr(self, "env"):
            close_env(self.env)  # which may be closed already
        if self._data is not None:
            self._data.close()

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

    def settle(self) -> None:
        """Sync what a failed commit left: LMDB puts the old meta page back unsynced, whose successor may be on disk."""
        with translated(self.path, "synced"):
            os.fsync(self.descriptor)

    def _secure_names(self, witness: Witness | None, end: tuple[int, bytes]) -> None:
        """Make durable what a process may have died before syncing: the log's own name, or a swapped file's.

        What such a process did is seen by the next one, for the kernel lives on, and would be gone after a
        power cut, with every commit that was built on it.
        """
        if not end[0]:
            sync_folder(self.folder.parent)
        if witness is None or witness.inode != self._inode[1]:
            sync_folder(self.folder)

    def _check_identity(self, txn: lmdb.Transaction[bytes]) -> None:
        stored = txn.get(META_LOG_ID, db=self.tables.meta)
        if stored != self._log_id.encode():
            raise LogLost(
                f"{self.path} belongs to another log ({shown(stored)} instead of {self._log_id}). Put the right file "
                "back."
            )
        # Set, not raised: the file may be another one than before, and in a lower format.
        self.format_seen = self.format(txn)
        check_readable(self.path, self.format_seen)

    def _check_row_count(self, txn: lmdb.Transaction[bytes]) -> None:
        if self.row_sums(txn)[0] != txn.stat(self.tables.items)["entries"]:
            raise LogCorrupt(
                f"Rows of the snapshot of {self.path} are missing. Do not run anything on it: finished items would "
                f"be done again. Run `walrun verify`. {RESTORE}"
            )

    def _check_witness(self, txn: lmdb.Transaction[bytes], witness: Witness, end: tuple[int, bytes]) -> None:
        seq, chain = witness.seq, witness.chain
        if seq > end[0]:
            raise LogWentBack(
                f"{self.folder} ends at event {end[0]}, and its witness HEAD has seen event {seq}: an older copy was "
                f"put back, or commits were lost. Running would repeat them. Put the newest copy back. {ON_RESTORING}"
            )
        if seq < self.base(txn)[0]:
            return
        at_seq = end[1] if seq == end[0] else self.chain_at(txn, seq)
        if at_seq.ljust(CHAIN_BYTES, b"\0") != chain:
            raise LogWentBack(
                f"{self.folder} tells another history than its witness HEAD saw at event {seq}: it was replaced by "
                f"another copy. Put the copy back that ran last. {ON_RESTORING}"
            )

    # --- Committing -------------------------------------------------------------------------

    def check_descriptors(self) -> None:
        """Raise `LogReplaced` if the program closed one: what is written next would be written into its file."""
        for file in (self._head, self._data):
            if file is not None:
                file.check()

    def committing(self) -> None:
        """Mark in HEAD that data.mdb is about to change."""
        self.check_descriptors()
        check_env(self.env)
        assert self._head is not None, "a reader commits nothing"
        # What this handle remembers may be older than what others committed; the witness never steps back.
        seq, chain = self.known
        write_head(self._head.descriptor, self._witness._replace(seq=seq, chain=chain, writing=self._boot_mark))

    def committed(self, seq: int, chain: bytes) -> None:
        """Remember the new end of the log, here and in HEAD."""
        self.known = (seq, chain)
        assert self._data is not None
        stat = self._data.stat()
        self._witness = Witness(seq, chain, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if self._head is not None and self._head.is_ours:
            write_head(self._head.descriptor, self._witness)

    def used_bytes(self) -> int:
        """Give how far the pages in use reach."""
        return (self.env.info()["last_pgno"] + 1) * self.page_bytes

    # --- Reading --------------------------------------------------------------------------

    def base(self, txn: lmdb.Transaction[bytes]) -> tuple[int, bytes]:
        """Give where the log begins: the last seq that was dropped, and the chain hash there."""
        value = txn.get(META_BASE, db=self.tables.meta)
        if value is None:
            raise LogCorrupt(f"{self.path} does not say where its log begins. {RESTORE}")
        seq, chain = unpack_fields(META_BASE, value, int, bytes)
        return seq, chain

    def format(self, txn: lmdb.Transaction[bytes]) -> int:
        """Return the format that the log is in, as *txn* sees it."""
        value = txn.get(META_FORMAT, db=self.tables.meta)
        version = 0 if value is None else unpack_number(META_FORMAT, value)
        if version < 1:
            raise LogCorrupt(f"{self.path} does not say in which format it is. {RESTORE}")
        return version

    def end(self, txn: lmdb.Transaction[bytes]) -> tuple[int, bytes]:
        """Give the last seq of the log and the chain hash there."""
        cursor = txn.cursor(db=self.tables.log)
        if cursor.last():
            key, value = cursor.item()
            return seq_in(key) + record_count(value) - 1, value[:CHAIN_BYTES]
        return self.base(txn)

    def rows(self, txn: lmdb.Transaction[bytes], ids: Sequence[str], *, is_clean: bool = True) -> list[bytes | None]:
        """Return the stored rows of *ids*, their checksums checked; None stands for no row, and is proven.

        *is_clean* says that *txn* holds no uncommitted rows.
        """
        return stored_rows(txn.cursor(db=self.tables.items), self.guard, ids, is_clean=is_clean)

    def check_rows(self) -> None:
        """Raise `LogCorrupt` unless the last walk found every row there as it was put."""
        if self._walked is None:
            return
        walked = self._walked[1]
        if walked.row_problem or walked.sums != self._sums:
            why = f": {walked.row_problem}" if walked.row_problem else ""
            raise LogCorrupt(
                f"Rows of the snapshot of {self.path} are not those that were written last{why}. Do not run anything "
                f"on it: finished items would be done again. Run `walrun verify`. {RESTORE}"
            )

    def row_sums(self, txn: lmdb.Transaction[bytes]) -> tuple[int, int]:
        """Give how many rows there should be, and the sum of their checksums."""
        value = txn.get(META_ROWS, db=self.tables.meta)
        if value is None:
            raise LogCorrupt(f"{self.path} does not say how many rows it holds. {RESTORE}")
        count, total = unpack_fields(META_ROWS, value, int, int)
        return count, total

    def after(
        self, txn: lmdb.Transaction[bytes], after: int, limit: int | None = None
    ) -> tuple[bytes, list[tuple[int, bytes]]]:
        """Give the hash at *after*, and the stored records behind it: no more than asked for."""
        seq, chain = self.end(txn)
        if (seq, chain) != self.known:
            self._check_memory(txn, seq, chain)
        if after == seq:
            return chain, []
        if after > seq:
            raise LogWentBack(
                f"{self.folder} ends at event {seq} and held event {after} before: it was rolled back. Put the newest "
                f"copy back. {ON_RESTORING}"
            )
        base_seq, base_chain = self.base(txn)
        if after < base_seq:
            raise Compacted(f"The events up to {base_seq} of {self.folder} were compacted. Begin at {base_seq}.")
        previous = base_chain if after == base_seq else self.chain_at(txn, after)
        self.guard.check_from(LOG_TABLE, (after + 1).to_bytes(8, "big"), sys.maxsize if limit is None else limit)
        cursor = txn.cursor(db=self.tables.log)
        raw: list[tuple[int, bytes]] = []
        size = 0
        if cursor.set_range((after + 1).to_bytes(8, "big")):
            for key, value in cursor.iternext():
                raw.append((seq_in(key), value))
                size += len(value)
                if limit is not None and (len(raw) >= limit or size >= READ_BYTES_MAX):
                    break
        if not raw or raw[0][0] != after + 1:  # missing, or *after* is in the middle of a record
            raise LogCorrupt(f"Events after {after} of {self.folder} are missing. Run `walrun verify`.", seq=after + 1)
        return previous, raw

    def chain_at(self, txn: lmdb.Transaction[bytes], seq: int) -> bytes:
        """Give the hash of the record that ends at *seq*."""
        base_seq, base_chain = self.base(txn)
        if seq == base_seq:
            return base_chain
        self.guard.check_around(LOG_TABLE, (seq + 1).to_bytes(8, "big"))
        cursor = txn.cursor(db=self.tables.log)
        found = cursor.set_range((seq + 1).to_bytes(8, "big"))
        if not (cursor.prev() if found else cursor.last()):
            raise LogCorrupt(f"Event {seq} of {self.folder} is missing. Run `walrun verify`.", seq=seq)
        return cursor.value()[:CHAIN_BYTES]

    def _check_memory(self, txn: lmdb.Transaction[bytes], seq: int, chain: bytes) -> None:
        """Make sure that the log still holds what this handle saw last, and remember its end."""
        known_seq, known_chain = self.known
        if seq < known_seq:
            raise LogWentBack(
                f"{self.folder} ends at event {seq} and held event {known_seq} before: it was rolled back. Put the "
                f"newest copy back. {ON_RESTORING}"
            )
        if known_seq > self.base(txn)[0]:
            chain_there = chain if seq == known_seq else self.chain_at(txn, known_seq)
            if chain_there != known_chain:
                raise LogWentBack(
                    f"{self.folder} was replaced by another history. Put the copy back that ran last. {ON_RESTORING}"
                )
        self.known = (seq, chain)
