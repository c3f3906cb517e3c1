"""Logs with something in them, made by the writer that runs use."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import lmdb

from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import ItemFailed, ItemInterrupted, ItemStarted, ItemSucceeded
from wal_runner.log.format import META_PLACE, META_TABLE
from wal_runner.recovery.recover import open_writer


if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wal_runner.recovery.writer import LogWriter

ERROR = ErrorInfo("builtins.OSError", "no route")


def copy_log(source: Path, target: Path) -> None:
    """Copy a log, and make the copy forget where it was: it opens as one that was never anywhere else."""
    shutil.copytree(source, target)
    with lmdb.open(str(target / "data.mdb"), subdir=False, max_dbs=8, lock=False, map_size=1 << 30) as env:
        meta = env.open_db(META_TABLE, create=False)
        with env.begin(write=True) as txn:
            txn.delete(META_PLACE, db=meta)


def start(writer: LogWriter, ids: Iterable[str]) -> dict[str, int]:
    """Start items that the log does not know; give their starts."""
    ids = list(ids)
    appended = writer.append([ItemStarted(item_id) for item_id in ids])
    # Behind them, a snapshot's last slice may have said so.
    return {item_id: appended[0].first_seq + place for place, item_id in enumerate(ids)}


def succeed(writer: LogWriter, ids: Iterable[str], result: bytes | None = None) -> None:
    """Start items, and let them succeed."""
    writer.append([ItemSucceeded(seq, 5, result) for seq in start(writer, ids).values()])


def fill(writer: LogWriter) -> None:
    """Make the log hold an item in each status that one session can leave; "open" stays started."""
    succeed(writer, [f"done-{n}" for n in range(20)])
    succeed(writer, ["with result", "long " * 200], b"\xa2ok")
    seqs = start(writer, ["failed", "doubted", "open"])
    writer.append([ItemFailed(seqs["failed"], 5, ERROR), ItemInterrupted(seqs["doubted"], 5, "Ctrl-C")])


def make_log(path: Path, *, snapshot: bool = True) -> None:
    """Make a log whose session ended, with a snapshot and something behind it."""
    writer, _ = open_writer(path)
    fill(writer)
    if snapshot:
        writer.take_snapshot()
    succeed(writer, ["after"])
    writer.append([ItemFailed(seq, 5, ERROR) for seq, attempt in writer.state.attempts() if attempt.item_id == "open"])
    writer.close()
