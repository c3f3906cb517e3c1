"""What people install instead: other packages, each as its manual tells to use it.

Each is one measured process. A package that is not installed is skipped with the reason.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tools.benchmarks.task import Meter, Result, do_nothing, item_ids, needed


def dbos_steps(folder: str, items: int) -> Result:
    """Run each item as one DBOS step of one workflow, on SQLite."""
    dbos = _launchable(folder)

    @dbos.DBOS.step()  # type: ignore[untyped-decorator]
    def step(item: str) -> None:
        do_nothing(item)

    @dbos.DBOS.workflow()  # type: ignore[untyped-decorator]
    def batch(ids: list[str]) -> None:
        for item in ids:
            step(item)

    return _timed(dbos, items, batch)


def dbos_flows(folder: str, items: int) -> Result:
    """Run each item as one DBOS workflow without a step, on SQLite."""
    dbos = _launchable(folder)

    @dbos.DBOS.workflow()  # type: ignore[untyped-decorator]
    def one(item: str) -> None:
        do_nothing(item)

    def each(ids: list[str]) -> None:
        for item in ids:
            one(item)

    return _timed(dbos, items, each)


def joblib_memory(folder: str, items: int) -> Result:
    """Run each item through joblib.Memory, which keeps a result a file and syncs none."""
    joblib = needed("joblib")
    ids = item_ids(items)
    with Meter(items) as meter:
        cached = joblib.Memory(folder, verbose=0).cache(do_nothing)
        for item in ids:
            cached(item)
    return meter.result()


def persist_queue(folder: str, items: int) -> Result:
    """Put each item into a SQLiteAckQueue, take it, run it, acknowledge it."""
    persistqueue = needed("persistqueue", "persist-queue")
    ids = item_ids(items)
    with Meter(items) as meter:
        queue = persistqueue.SQLiteAckQueue(str(Path(folder) / "queue"), auto_commit=True)
        for item in ids:
            queue.put(item)
        for _ in ids:
            item = queue.get()
            do_nothing(item)
            queue.ack(item)
        queue.close()
    return meter.result()


def huey_queue(folder: str, items: int, *, fsync: bool) -> Result:
    """Put each item into a SqliteHuey, take it and execute it, as its consumer does."""
    huey_package = needed("huey")
    ids = item_ids(items)
    with Meter(items) as meter:
        huey = huey_package.SqliteHuey(filename=str(Path(folder) / "huey.db"), fsync=fsync)
        handle = huey.task()(do_nothing)
        for item in ids:
            handle(item)
        for _ in ids:
            huey.execute(huey.dequeue())
        huey.storage.close()
    return meter.result()


def thread_pool(folder: str, items: int, workers: int, item_ms: float = 0) -> Result:
    """Submit all items to a bare ThreadPoolExecutor: no log at all, the floor of what threads cost."""
    del folder  # nothing is kept
    ids = item_ids(items)
    seconds = item_ms / 1000

    def sleep(_item: str) -> None:
        time.sleep(seconds)

    with Meter(items) as meter, ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(sleep if item_ms else do_nothing, item) for item in ids]
        for future in futures:
            future.result()
    return meter.result()


def _launchable(folder: str) -> Any:  # noqa: ANN401 - dbos is optional
    dbos = needed("dbos")
    config = {
        "name": "bench",
        "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
        "run_admin_server": False,
        "console_log_level": "ERROR",
        "log_level": "ERROR",
    }
    dbos.DBOS(config=config)
    return dbos


def _timed(dbos: Any, items: int, perform: Any) -> Result:  # noqa: ANN401 - dbos is optional
    ids = item_ids(items)
    dbos.DBOS.launch()
    try:
        with Meter(items) as meter:
            perform(ids)
    finally:
        dbos.DBOS.destroy()
    return meter.result()
