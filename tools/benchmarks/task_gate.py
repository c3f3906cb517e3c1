"""How long the gate is held: one process runs a batch, another compacts the same log meanwhile.

Each function is one measured process. The gate's own methods are wrapped, so every access counts:
commits, slices of a snapshot, look-ups, steps of a compaction.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from tools.benchmarks.task import Result, do_nothing, item_ids, set_harness_aside
from wal_runner import Runner
from wal_runner.log.gate import Gate
from wal_runner.recovery.compact import compact


PAUSE_S = 0.01
WAIT_SECONDS_MAX = 120.0

# The two processes meet by files of these names.
OPEN, BEGUN, DONE, ENDED = "open", "begun", "done", "ended"


class Hold(NamedTuple):
    """One stay inside the gate. What is wall time and no CPU is the disk's, or another process's."""

    wall_s: float
    cpu_s: float


def run_batch(log: str, items: int, order: str, marks: str) -> Result:
    """Run a batch, snapshots included, while the other compacts; the session lives until the other has ended."""
    holds = watch_gate()
    ids = item_ids(items, order)
    set_harness_aside()
    with Runner(log) as runner:
        _set(marks, OPEN)
        _await(marks, BEGUN)
        runner.run(ids, do_nothing)
        _set(marks, DONE)
        _await(marks, ENDED)
        snapshot_seq = runner.writer.state.snapshot_seq
    return {"items": items, "snapshot_seq": snapshot_seq, **summary(holds)}


def compact_meanwhile(log: str, marks: str) -> Result:
    """Compact the log again and again while the other runs; once at least."""
    holds = watch_gate()
    compactions, dropped = 0, 0
    _await(marks, OPEN)
    _set(marks, BEGUN)
    while not compactions or not Path(marks, DONE).exists():
        compaction = compact(log)
        # Alone, a compaction may hold the gate as long as it likes: that is not what is measured.
        assert not compaction.rewritten, "the other session lives"
        compactions += 1
        dropped += compaction.events_dropped
        time.sleep(PAUSE_S)
    _set(marks, ENDED)
    return {"compactions": compactions, "events_dropped": dropped, **summary(holds)}


def _set(marks: str, name: str) -> None:
    """Tell the other process that we are there."""
    Path(marks, name).touch()


def _await(marks: str, name: str) -> None:
    """Wait until the other process is there."""
    gives_up = time.monotonic() + WAIT_SECONDS_MAX
    while not Path(marks, name).exists():
        if time.monotonic() > gives_up:
            raise TimeoutError(f"the other process did not come to {name!r} in {WAIT_SECONDS_MAX:g} s")
        time.sleep(PAUSE_S / 10)


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
    longest = max(holds)
    return {
        "holds": len(walls),
        "p50_ms": walls[len(walls) // 2],
        "p99_ms": walls[len(walls) * 99 // 100],
        "max_ms": walls[-1],
        "cpu_of_longest_ms": longest.cpu_s * 1000,
        "cpu_max_ms": max(hold.cpu_s for hold in holds) * 1000,
    }
