"""Logs that stand already: building them, opening them, skipping over them, reading them.

Each function is one measured process. `wal_runner` is imported inside them, because how long that
takes is part of what is measured.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tools.benchmarks.task import (
    RANDOM,
    SHUFFLE_SEED,
    Meter,
    Result,
    anonymous_bytes,
    do_nothing,
    id_stream,
    item_ids,
    tell,
)


if TYPE_CHECKING:
    from wal_runner.recovery.writer import LogWriter

NEVER = sys.maxsize


def build(log: str, items: int, tail_events: int) -> Result:
    """Make a log with *items* done and, behind its snapshot, a tail of *tail_events*."""
    from wal_runner import Runner
    from wal_runner.recovery import snapshots

    with Meter(items) as meter, Runner(log) as runner:
        report = runner.run(id_stream(items), do_nothing)
        memory = anonymous_bytes()
    assert report.succeeded == items, report
    # A tail so long is otherwise gone before it is there: a snapshot begins earlier.
    snapshots.TAIL_EVENTS_MAX = NEVER  # type: ignore[misc]
    snapshots.TAIL_EVENTS_MIN = NEVER  # type: ignore[misc]
    runner = Runner(log, must_exist=True)
    runner.run(id_stream(tail_events // 2, prefix="tail"), do_nothing)
    runner.writer.abandon()  # not closed: that would take the tail into a snapshot
    return meter.result(anonymous_bytes=memory)


def look(log: str) -> Result:
    """Tell how many items and how long a tail a log has."""
    from wal_runner import Runner, Status

    with Runner.open_read(log) as view:
        state = view.state()
        return {"succeeded": state.counts[Status.SUCCEEDED], "tail_events": state.seq - state.snapshot_seq}


def first_item(log: str, item: str, spawned_at: float) -> Result:
    """Open the log as after a crash, and stop the clock when fn is called for a new item.

    The process ends inside fn, so that the tail stays as it was; the item is in doubt from then on.
    *spawned_at* is the parent's monotonic clock just before it started us.
    """
    began = time.perf_counter()
    from wal_runner import Runner

    imported = time.perf_counter()

    def stop_the_clock(_item: str) -> None:
        called, now = time.perf_counter(), time.monotonic()
        tell(
            {
                "open_to_fn_s": called - imported,
                "import_to_fn_s": called - began,
                "spawn_to_fn_s": now - spawned_at,
                "opened_s": opened - imported,
                "anonymous_bytes": anonymous_bytes(),
            }
        )
        os._exit(0)

    runner = Runner(log, must_exist=True)
    opened = time.perf_counter()
    runner.run([item], stop_the_clock)
    raise AssertionError("fn was not called: the item was not new")


def memory(log: str, items: int) -> Result:
    """Run over all items of a log, which are done, and tell the anonymous memory behind that."""
    from wal_runner import Runner

    before = anonymous_bytes()
    runner = Runner(log, must_exist=True)
    with Meter(items) as meter:
        report = runner.run(id_stream(items), do_nothing)
    after = anonymous_bytes()
    _leave(runner.writer)
    assert report.skipped == items, report
    return meter.result(anonymous_bytes=after, anonymous_bytes_before=before)


def skip(log: str, items: int, table_items: int, order: str) -> Result:
    """Run over *items* of the *table_items* done: the first in key order, or a sample of all at random."""
    from wal_runner import Runner

    if order == RANDOM:
        chosen = random.Random(SHUFFLE_SEED).sample(range(table_items), items)  # noqa: S311 - no secret
        ids = [f"item-{number:08d}" for number in chosen]
    else:
        ids = item_ids(items)
    runner = Runner(log, must_exist=True)
    with Meter(items) as meter:
        report = runner.run(ids, do_nothing)
    _leave(runner.writer)
    assert report.skipped == items, report
    return meter.result()


def replay_all(log: str) -> Result:
    """Fold a whole log from its first event, the chain checked on the way."""
    from wal_runner import replay

    with Meter(0) as meter:
        state = replay(log)
    return meter.result(events=state.seq - state.base_seq)


def disk(folder: str, items: int, order: str) -> Result:
    """Run *items*, then compact, and tell the bytes of each table before and after."""
    from wal_runner import Runner
    from wal_runner.recovery.compact import compact

    log = Path(folder) / "bench.wal"
    with Runner(log) as runner:
        report = runner.run(item_ids(items, order), do_nothing)
    assert report.succeeded == items, report
    before = _bytes(log)
    compaction = compact(log)
    assert compaction.rewritten, compaction
    return {"items": items, "before": before, "after": _bytes(log)}


def _bytes(log: Path) -> dict[str, int]:
    """Give the bytes that each table's pages take, and what the log counts as used in all."""
    import lmdb

    from wal_runner import Runner
    from wal_runner.log.format import DATA_NAME

    with Runner.open_read(log) as view:
        found = {"used": view.log.room().used_bytes}
    with (
        lmdb.open(str(log / DATA_NAME), subdir=False, readonly=True, lock=False, lib_version=0, max_dbs=8) as env,
        env.begin() as txn,
    ):
        for name, _ in list(txn.cursor()):
            stat = txn.stat(env.open_db(name, txn=txn, create=False))
            pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            found[name.decode()] = pages * stat["psize"]
    return found


def _leave(writer: LogWriter) -> None:
    """End without a closing snapshot, so that the log is the same for the next run."""
    writer.abandon()
