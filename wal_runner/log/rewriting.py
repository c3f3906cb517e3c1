"""Swap data.mdb for a copy of itself that has no holes.

Imported by the LMDB engine, inside the gate. Invariant: until the rename, the old file is whole and
in place; after it, the new one is, and both say the same.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from wal_runner.errors import LogBusy, LogCorrupt, listed
from wal_runner.failpoints import failpoint
from wal_runner.log.env import check_env, close_env, create_env, open_env, translated
from wal_runner.log.files import opened, remove_file
from wal_runner.log.folder import sync_folder
from wal_runner.log.format import DATA_NAME, ITEMS_TABLE, LOG_TABLE, META_TABLE, OPEN_TABLE, REWRITE_NAME


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import lmdb

    from wal_runner.log.lmdb_data import Tables

ROWS_A_TRANSACTION = 50_000


def swap_for_copy(folder: Path, source: lmdb.Environment, tables: Tables, others: Sequence[int]) -> None:
    """Copy every table in key order, compare, sync, rename. Refuse while *others* live.

    LMDB's own compacting copy keeps half-empty pages; writing in key order fills them.
    """
    if others:
        # They have the old file open, and would go on writing into an inode that nobody sees.
        raise LogBusy(
            f"Sessions {listed([str(n) for n in others])} are using {folder}. Its space can be given back "
            "when they have ended; what could be folded was folded."
        )
    data, copy = folder / DATA_NAME, folder / REWRITE_NAME
    try:
        with translated(copy, "written"):
            remove_file(folder, REWRITE_NAME)
            failpoint("compact.before_copy")
            _copy(source, tables, copy)
            failpoint("compact.after_copy")
            _compare(source, tables, copy)
            _sync_file(folder)
            failpoint("compact.before_swap")
            copy.replace(data)
    except BaseException:
        # On a disk that is full, half a copy would take what little room there is.
        with contextlib.suppress(OSError):
            remove_file(folder, REWRITE_NAME)
        raise
    failpoint("compact.after_swap")
    sync_folder(folder)


def _copy(source: lmdb.Environment, tables: Tables, copy: Path) -> None:
    target = create_env(copy)
    try:
        for name, table in zip((LOG_TABLE, ITEMS_TABLE, OPEN_TABLE, META_TABLE), tables, strict=True):
            _copy_table(source, table, target, name)
        target.sync(True)  # noqa: FBT003 - py-lmdb's own signature
    finally:
        close_env(target)


def _sync_file(folder: Path) -> None:
    with opened(folder, REWRITE_NAME) as descriptor:
        os.fsync(descriptor)


def _copy_table(source: lmdb.Environment, table: lmdb._Database, target: lmdb.Environment, name: bytes) -> None:
    new_table = target.open_db(name)
    with source.begin() as reading:
        rows = iter(reading.cursor(db=table))
        more = True
        while more:
            more = False
            with target.begin(write=True) as writing:
                for written, (key, value) in enumerate(rows, 1):
                    writing.put(key, value, db=new_table, append=True)
                    if written == ROWS_A_TRANSACTION:
                        more = True
                        break
                check_env(target)


def _compare(source: lmdb.Environment, tables: Tables, copy: Path) -> None:
    env = open_env(copy, read_only=True)
    try:
        with translated(copy, "read"):
            for name, table in zip((LOG_TABLE, ITEMS_TABLE, OPEN_TABLE, META_TABLE), tables, strict=True):
                new_table = env.open_db(name, create=False)
                with source.begin() as old, env.begin() as new:
                    pairs = zip(old.cursor(db=table), new.cursor(db=new_table), strict=True)
                    if old.stat(table)["entries"] != new.stat(new_table)["entries"] or any(a != b for a, b in pairs):
                        raise LogCorrupt(
                            f"The copy {copy} differs from the log. The log is as it was; run `walrun verify`."
                        )
    finally:
        close_env(env)
