"""The sub-benchmarks of logs that stand: replay, start-up, memory, disk, and the gate.

Imported by `command`. Each is a function of a `Bench`; its docstring is what ``--list`` shows.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.benchmarks.measuring import Case, ChildFailed, result_of, run_child, start_child
from tools.benchmarks.task import IN_ORDER, RANDOM


if TYPE_CHECKING:
    from tools.benchmarks.measuring import Bench

REPLAY_ITEMS: Final = 1_000_000
SKIPPED_ITEMS: Final = 1_000_000
MEGABYTE: Final = 1e6

TAIL_GROWTH: Final = 1.1
TAIL_SLACK: Final = 1000
"""Each look at a log adds some events to its tail; one that has grown more is made anew."""


def replay(bench: Bench) -> None:
    """Replay a whole log of 1,000,000 items with text ids, the chain verified."""
    log = _standing_log(bench, min(REPLAY_ITEMS, bench.settings.startup_items))
    bench.interleave([Case("replay", "standing.replay_all", {"log": str(log)}, needs_folder=False)])
    rates = [result["events"] / result["wall_s"] for result in bench.rounds_of["replay"]]
    bench.figure("full replay, chain verified", "events/s", rates, ">=", 1.5e6)


def startup(bench: Bench) -> None:
    """Measure open to first fn behind a tail of 100,000 events, memory, and how quickly what is done is skipped."""
    items = bench.settings.startup_items
    log = str(_standing_log(bench, items))
    for number in range(bench.settings.rounds + 1):
        case = Case(
            "first item" if number else "first item, warming up",
            "standing.first_item",
            {"log": log, "item": f"new-{uuid.uuid4()}", "spawned_at": time.monotonic()},
            needs_folder=False,
        )
        bench.once(case)
    few = min(SKIPPED_ITEMS, items)
    skips = [
        Case(
            f"skip, {order}",
            "standing.skip",
            {"log": log, "items": few, "table_items": items, "order": order},
            needs_folder=False,
        )
        for order in (IN_ORDER, RANDOM)
    ]
    bench.interleave([*skips, Case("memory", "standing.memory", {"log": log, "items": items}, needs_folder=False)])
    done = f"{items:,} items done"
    for key, words, must, target in (
        ("open_to_fn_s", "open to first fn", "<=", 60.0),
        ("import_to_fn_s", "import and open to first fn", "", 0.0),
        ("spawn_to_fn_s", "process start to first fn", "", 0.0),
    ):
        took = [seconds * 1000 for seconds in bench.values("first item", key)]
        bench.figure(f"{words}, {done}, tail {bench.settings.tail_events:,}", "ms", took, must, target)
    held = [value / MEGABYTE for value in bench.values("memory", "anonymous_bytes")]
    bench.figure(f"anonymous memory behind a run over {done}", "MB", held, "<=", 80)
    made = [value / MEGABYTE for value in bench.values("build", "anonymous_bytes")]
    bench.figure(f"anonymous memory behind the run that did {items:,} items", "MB", made)
    bench.figure("skip finished items, key order", "items/s", bench.rates(f"skip, {IN_ORDER}"), ">=", 1.5e6)
    bench.figure("skip finished items, random order", "items/s", bench.rates(f"skip, {RANDOM}"), ">=", 0.35e6)


def disk(bench: Bench) -> None:
    """Weigh an item on disk: 13-character id, start and success, no result; and after compaction."""
    items = bench.settings.items
    orders = ((IN_ORDER, "ids in order", "<="), (RANDOM, "random ids", ""))
    cases = [Case(words, "standing.disk", {"items": items, "order": order}) for order, words, _ in orders]
    bench.interleave(cases, rounds=1)
    for _, words, must in orders:
        result = bench.rounds_of[words][0]
        before, after = result["before"], result["after"]
        bench.figure(f"bytes an item in the log, {words}", "B", [before["log"] / items], must, 30)
        bench.figure(f"bytes an item in the file, log and snapshot, {words}", "B", [before["used"] / items])
        bench.figure(f"bytes an item after compaction, {words}", "B", [after["used"] / items], must, 35)


def gate(bench: Bench) -> None:
    """Time the longest stay inside the gate: a run with snapshots, and a compaction beside it."""
    for order, words in ((IN_ORDER, "ids in order"), (RANDOM, "random ids")):
        for number in range(bench.settings.rounds):
            _race(bench, order, words, number)
        for who in ("run", "compaction"):
            case = f"{who}, {words}"
            longest = bench.values(case, "max_ms")
            bench.figure(f"gate held by the {who}, longest, {words}", "ms", longest, "<=", 25)
            # What is wall time and no CPU is the disk's, or other processes'.
            bench.figure(f"  most CPU in one stay, {who}, {words}", "ms", bench.values(case, "cpu_max_ms"))
            bench.figure(f"  99th percentile, {who}, {words}", "ms", bench.values(case, "p99_ms"))
            bench.figure(f"  median, {who}, {words}", "ms", bench.values(case, "p50_ms"))


def _race(bench: Bench, order: str, words: str, number: int) -> None:
    """Run a batch and compact its log at the same time, each in its own process."""
    folder = Path(tempfile.mkdtemp(prefix="gate-", dir=bench.settings.folder))
    shared = {"log": str(folder / "bench.wal"), "marks": str(folder)}
    batch = {**shared, "items": bench.settings.items, "order": order}
    children = {}
    try:
        children["run"] = start_child("gate.run_batch", batch)
        children["compaction"] = start_child("gate.compact_meanwhile", shared)
        for who, child in children.items():
            result = result_of(child, who)
            bench.rounds_of.setdefault(f"{who}, {words}", []).append(result)
            told = {"case": f"{who}, {words}", "round": number, "task": "gate", "arguments": batch}
            bench.runs.append({**told, "slow_disk_ms": 0, "result": result})
    finally:
        for child in children.values():
            with child:  # one that waits for another that failed
                child.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _standing_log(bench: Bench, items: int) -> Path:
    """Give a log with *items* done and the tail; take the one in the cache if it still fits."""
    tail = bench.settings.tail_events
    log = bench.settings.cache / f"standing-{items}-{tail}.wal"
    made = log.with_suffix(".json")
    if log.exists():
        try:
            found = run_child("standing.look", {"log": str(log)})
        except ChildFailed:
            found = {"succeeded": 0, "tail_events": 0}  # of an older format, or half made
        done, there = found["succeeded"], found["tail_events"]
        if done == items + tail // 2 and tail <= there <= tail * TAIL_GROWTH + TAIL_SLACK and made.exists():
            bench.rounds_of["build"] = [json.loads(made.read_text())]
            return log
        shutil.rmtree(log)
    case = Case("build", "standing.build", {"log": str(log), "items": items, "tail_events": tail}, needs_folder=False)
    made.write_text(json.dumps(bench.once(case)))
    return log
