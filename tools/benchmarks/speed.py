"""The sub-benchmarks of running: how quick, against whom, at what cost in CPU and barriers.

Imported by `command`. Each is a function of a `Bench`; its docstring is what ``--list`` shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tools.benchmarks import barriers
from tools.benchmarks.measuring import Case
from tools.benchmarks.task import IN_ORDER, RANDOM, Unavailable


if TYPE_CHECKING:
    from tools.benchmarks.measuring import Bench

SLOW_RIVAL_ITEMS: Final = 300
"""With 1 ms a barrier; fewer where it is slower. A rate needs no more, and a rival takes seconds for them."""

COUNTED_ITEMS: Final = 200
"""Barriers are counted between so many items and twice as many: opening and closing cancel out."""

POOL_WORKERS: Final = 32
COROUTINES: Final = 1000

ITEMS_STRICT: Final = 3_000
ITEMS_RIVAL: Final = 2_000
ITEMS_OF_1_MS: Final = 60_000
ITEMS_OF_10_MS: Final = 10_000


class Mode(NamedTuple):
    """A way to run serial no-op items, with what the issue asks of it on this disk and with 1 ms a barrier."""

    name: str
    arguments: dict[str, Any]
    target: float
    target_slow: float


MODES: Final = (
    Mode("ids in order", {"order": IN_ORDER}, 150, 500),
    Mode("random ids", {"order": RANDOM}, 110, 500),
    Mode("small results", {"order": IN_ORDER, "results": True}, 120, 500),
)


def serial(bench: Bench) -> None:
    """Race serial no-op items against the home-made SQLite done-list, on this disk and on slow ones."""
    items = bench.settings.items
    for slow_ms in (0.0, *bench.settings.slow_disk_ms):
        cases = []
        for mode in MODES:
            few = _at_most(bench, ITEMS_RIVAL if not slow_ms else round(SLOW_RIVAL_ITEMS / max(1.0, slow_ms)))
            cases += [
                Case(_named("wal_runner", mode, slow_ms), "ours.serial", {"items": items, **mode.arguments}, slow_ms),
                Case(_named("SQLite", mode, slow_ms), "home_made.sqlite", {"items": few, **mode.arguments}, slow_ms),
            ]
        bench.interleave(cases)
        for mode in MODES:
            ratios = bench.ratios(_named("wal_runner", mode, slow_ms), _named("SQLite", mode, slow_ms))
            path = _named("serial against home-made SQLite", mode, slow_ms)
            must, target = _asked(mode, slow_ms)
            bench.figure(path, "times", ratios, must, target)


def _named(who: str, mode: Mode, slow_ms: float) -> str:
    return f"{who}, {mode.name}" + (f", {slow_ms:g} ms a barrier" if slow_ms else "")


def _asked(mode: Mode, slow_ms: float) -> tuple[str, float]:
    if not slow_ms:
        return ">=", mode.target
    return (">=", mode.target_slow) if slow_ms == 1 else ("", 0)


class Rival(NamedTuple):
    """Somebody else's way, with the number of items that takes it about two seconds here."""

    name: str
    task: str
    items: int
    arguments: dict[str, Any]


EXECUTOR: Final = "bare ThreadPoolExecutor, 32 workers, no log"
STEPS: Final = "DBOS on SQLite, a step an item"

RIVALS: Final = (
    Rival("home-made: SQLite, commit per item", "home_made.sqlite", ITEMS_RIVAL, {}),
    Rival("home-made: JSON file per item", "home_made.json_file", ITEMS_RIVAL, {}),
    Rival("home-made: offset per page of 200", "home_made.page_offset", 1_000_000, {}),
    Rival("home-made: Redis sets, fsync always", "home_made.redis_sets", 1_500, {"fsync": "always"}),
    Rival("home-made: Redis sets, fsync everysec", "home_made.redis_sets", 5_000, {"fsync": "everysec"}),
    Rival("home-made: content hash in SQLite", "home_made.content_hash", ITEMS_RIVAL, {}),
    Rival("SQLite WAL FULL, done only", "home_made.sqlite_wal", 8_000, {"starts": False}),
    Rival("SQLite WAL FULL, start and done", "home_made.sqlite_wal", 5_000, {"starts": True}),
    Rival(STEPS, "rivals.dbos_steps", 600, {}),
    Rival("DBOS on SQLite, a workflow an item", "rivals.dbos_flows", 300, {}),
    Rival("joblib.Memory", "rivals.joblib_memory", 1_500, {}),
    Rival("persist-queue, SQLiteAckQueue", "rivals.persist_queue", 1_000, {}),
    Rival("huey on SQLite", "rivals.huey_queue", 5_000, {"fsync": False}),
    Rival("huey on SQLite, fsync", "rivals.huey_queue", 1_500, {"fsync": True}),
)


def rivals(bench: Bench) -> None:
    """Race serial no-op items, default and strict, against everything else that is installed."""
    items = bench.settings.items
    ours, strict_mode, pooled = "wal_runner", "wal_runner, max_in_doubt=1", "wal_runner, 32 threads"
    cases = [
        Case(ours, "ours.serial", {"items": items}),
        Case(strict_mode, "ours.serial", {"items": _at_most(bench, ITEMS_STRICT), "max_in_doubt": 1}),
        Case(pooled, "ours.threads", {"items": items, "workers": POOL_WORKERS}),
        Case(EXECUTOR, "rivals.thread_pool", {"items": items, "workers": POOL_WORKERS}),
    ]
    cases += [
        Case(rival.name, rival.task, {"items": _at_most(bench, rival.items), **rival.arguments}) for rival in RIVALS
    ]
    bench.interleave(cases)
    for rival in RIVALS:
        asked = (">=", 400.0) if rival.name == STEPS else ("", 0.0)
        bench.figure(f"serial against {rival.name}", "times", bench.ratios(ours, rival.name), *asked)
        bench.figure(f"strict against {rival.name}", "times", bench.ratios(strict_mode, rival.name))
    bench.figure(f"32 threads, no-op, against {EXECUTOR}", "times", bench.ratios(pooled, EXECUTOR))


def strict(bench: Bench) -> None:
    """Count the barriers an item of max_in_doubt=1, and race it against SQLite WAL FULL storing start and end."""
    ours, theirs = "wal_runner, max_in_doubt=1", "SQLite WAL FULL, start and done"
    strict_mode = {"max_in_doubt": 1}
    cases = [
        Case(ours, "ours.serial", {"items": _at_most(bench, ITEMS_STRICT), **strict_mode}),
        Case(theirs, "home_made.sqlite_wal", {"items": _at_most(bench, ITEMS_STRICT), "starts": True}),
    ]
    bench.interleave(cases)
    bench.figure(f"strict against {theirs}", "times", bench.ratios(ours, theirs), ">=", 1)
    counted: tuple[tuple[str, str, dict[str, Any], str, float], ...] = (
        (ours, "ours.serial", strict_mode, "==", 2.0),
        # Known by other means, so that a wrong count shows: one sync a commit, two commits an item.
        (theirs, "home_made.sqlite_wal", {"starts": True}, "", 0.0),
        ("home-made SQLite, commit per item", "home_made.sqlite", {}, "", 0.0),
    )
    for name, task, arguments, must, target in counted:
        found = _barriers_an_item(bench, f"barriers of {name}", task, arguments)
        bench.figure(f"barriers an item: {name}", "", found, must, target)


def _barriers_an_item(bench: Bench, name: str, task: str, arguments: dict[str, Any]) -> tuple[float, ...]:
    found = []
    for items in (COUNTED_ITEMS, 2 * COUNTED_ITEMS):
        output = Path(bench.settings.folder) / "strace.txt"
        case = Case(f"{name}, {items} items", task, {"items": items, **arguments})
        try:
            prefix = barriers.strace_command(output)
        except Unavailable as reason:
            bench.skip(case.name, str(reason))
            return ()
        result = bench.once(case, prefix)
        if result is None:
            return ()
        kinds = barriers.count(output.read_text(errors="replace").splitlines())
        output.unlink()
        result["barriers"] = dict(kinds)
        found.append(kinds.total())
    return ((found[1] - found[0]) / COUNTED_ITEMS,)


class Burden(NamedTuple):
    """A way to run whose CPU time is measured, with the microseconds an item that the issue allows."""

    name: str
    task: str
    arguments: dict[str, Any]
    target_us: float


BURDENS: Final = (
    Burden("serial, ids in order", "ours.serial", {}, 5),
    Burden("serial, random ids", "ours.serial", {"order": RANDOM}, 8),
    Burden("32 threads", "ours.threads", {"workers": POOL_WORKERS}, 8),
    Burden("1,000 coroutines", "ours.coroutines", {"concurrency": COROUTINES, "yields": False}, 12),
    Burden("1,000 coroutines with sleep(0)", "ours.coroutines", {"concurrency": COROUTINES, "yields": True}, 0),
)


def cpu(bench: Bench) -> None:
    """Measure CPU microseconds an item, all threads, less what a run without items takes."""
    cases = []
    for burden in BURDENS:
        cases += [
            Case(burden.name, burden.task, {"items": bench.settings.items, **burden.arguments}),
            Case(f"{burden.name}, no items", burden.task, {"items": 0, **burden.arguments}),
        ]
    bench.interleave(cases)
    for burden in BURDENS:
        spent = bench.cpu_us(burden.name, f"{burden.name}, no items")
        bench.figure(f"CPU an item: {burden.name}", "us", spent, "<=" if burden.target_us else "", burden.target_us)


def threads(bench: Bench) -> None:
    """Race 32 threads with items of 1 ms and 10 ms against a bare ThreadPoolExecutor without a log."""
    cases = []
    amounts = ((1, ITEMS_OF_1_MS), (10, ITEMS_OF_10_MS))
    for item_ms, most in amounts:
        arguments = {"items": _at_most(bench, most), "workers": POOL_WORKERS, "item_ms": item_ms}
        cases += [
            Case(f"wal_runner, {item_ms} ms", "ours.threads", arguments),
            Case(f"ThreadPoolExecutor, {item_ms} ms", "rivals.thread_pool", arguments),
        ]
    bench.interleave(cases)
    for item_ms, _ in amounts:
        ratios = bench.ratios(f"wal_runner, {item_ms} ms", f"ThreadPoolExecutor, {item_ms} ms")
        bench.figure(f"32 threads, items of {item_ms} ms, against a bare pool", "times", ratios, ">=", 1)
        runs = zip(
            bench.values(f"ThreadPoolExecutor, {item_ms} ms", "wall_s"),
            bench.values(f"wal_runner, {item_ms} ms", "run_s"),
            strict=True,
        )
        alone = [pool_s / run_s for pool_s, run_s in runs]
        bench.figure(f"  the run alone, without opening and closing the log, {item_ms} ms", "times", alone)


def _at_most(bench: Bench, most: int) -> int:
    """Give how many items a case runs that is too slow for all of them: a rate needs no more."""
    return max(1, min(bench.settings.items, most))
