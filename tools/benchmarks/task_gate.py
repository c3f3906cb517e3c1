"""How long the gate is held: one process runs a batch, another compacts the same log meanwhile.

Each function is one measured process. The gate's own methods are wrapped, so every access counts:
commits, slices of a snapshot, look-ups, steps of a compaction.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from tools.benchmarks.task import Result, do_nothing, item_ids
from wal_runner import Runner
from wal_runner.errors import LogMissing
from wal_runner.log.gate import Gate
from wal_runner.recovery.compact import compact


PAUSE_S = 0.01


class Hold(NamedTuple):
    """One stay inside the gate. What is wall time and no CPU is the disk's, or another process's."""

    wall_s: float
    cpu_s: float


def run_batch(log: str, items: int, order: str, done: str) -> Result:
    """Run a batch, snapshots included, and say so in the file *done*."""
    holds = watch_gate()
    ids = item_ids(items, order)
    try:
        with Runner(log) as runner:
            runner.run(ids, do_nothing)
            snapshot_seq = runner.writer.state.snapshot_seq
    finally:
        Path(done).touch()
    return {"items": items, "snapshot_seq": snapshot_seq, **summary(holds)}


def compact_meanwhile(log: str, done: str) -> Result:
    """Compact the log again and again until the file *done* is there."""
    holds = watch_gate()
    compactions, rewrites, dropped = 0, 0, 0
    while not Path(done).exists():
        before = len(holds)
        try:
            compaction = compact(log)
        except LogMissing:
            continue  # the other has not made it yet
        if compaction.rewritten:
            # Before the other's session began, or behind its end: alone, a compaction may hold the gate.
            del holds[before:]
            rewrites += 1
        else:
            compactions += 1
            dropped += compaction.events_dropped
        time.sleep(PAUSE_S)
    return {"compactions": compactions, "rewrites": rewrites, "events_dropped": dropped, **summary(holds)}


def watch_gate() -> list[Hold]:
    """Give a list to which each stay inside a gate is added from now on."""
    holds: list[Hold] = []
    entered: dict[int, tuple[float, float]] = {}
    acquire, release = Gate.acquire, Gate.release

    def timed_acquire(gate: Gate, wait_s: float) -> None:
        acquire(gate, wait_s)
        entered[id(gate)] = (time.perf_counter(), time.thread_time())

    def timed_release(gate: Gate) -> None:
        wall_s, cpu_s = entered.pop(id(gate))
        held = Hold(time.perf_counter() - wall_s, time.thread_time() - cpu_s)
        release(gate)
        holds.append(held)

    Gate.acquire = timed_acquire  # type: ignore[method-assign, assignment]
    Gate.release = timed_release  # type: ignore[method-assign, assignment]
    return holds


def summary(holds: list[Hold]) -> Result:
    """Give the figures of many stays, in milliseconds."""
    walls = sorted(hold.wall_s * 1000 for hold in holds)
    if not walls:
        return {"holds": 0}
    longest = max(holds)
    return {
        "holds": len(walls),
        "p50_ms": walls[len(walls) // 2],
        "p99_ms": walls[len(walls) * 99 // 100],
        "max_ms": walls[-1],
        "cpu_of_longest_ms": longest.cpu_s * 1000,
        "cpu_max_ms": max(hold.cpu_s for hold in holds) * 1000,
    }
