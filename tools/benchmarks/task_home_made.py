"""What people write themselves, as they write it: the recipes of a home-made done-list.

Each is one measured process. None is tuned, and none is crippled: where a recipe does not sync, it
does not here. What each keeps, and what a crash makes of it, is in `docs/benchmarks.md`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.benchmarks.task import IN_ORDER, Meter, Result, Unavailable, do_nothing, item_ids, needed, small_result


if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE_ITEMS = 200
REDIS_START_SECONDS_MAX = 10.0


def sqlite(folder: str, items: int, order: str = IN_ORDER, *, results: bool = False) -> Result:
    """Keep a table of done ids, and commit it after each item."""
    ids = item_ids(items, order)
    fn = small_result if results else do_nothing
    with Meter(items) as meter, closing(sqlite3.connect(Path(folder) / "done.db")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS done (id TEXT PRIMARY KEY, result TEXT)")
        for item in ids:
            if connection.execute("SELECT 1 FROM done WHERE id = ?", (item,)).fetchone():
                continue
            result = fn(item)
            connection.execute("INSERT INTO done VALUES (?, ?)", (item, result))
            connection.commit()
    return meter.result()


def content_hash(folder: str, items: int) -> Result:
    """Keep a table of hashes of the items' content, and commit it after each item."""
    contents = [{"id": item, "to": f"{item}@example.com"} for item in item_ids(items)]
    with Meter(items) as meter, closing(sqlite3.connect(Path(folder) / "hashes.db")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS done (hash TEXT PRIMARY KEY)")
        for content in contents:
            text = json.dumps(content, sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            if connection.execute("SELECT 1 FROM done WHERE hash = ?", (digest,)).fetchone():
                continue
            do_nothing(content)
            connection.execute("INSERT INTO done VALUES (?)", (digest,))
            connection.commit()
    return meter.result()


def json_file(folder: str, items: int) -> Result:
    """Keep the done ids in a JSON file, written anew after each item, never synced."""
    ids = item_ids(items)
    path = Path(folder) / "done.json"
    with Meter(items) as meter:
        done = set(json.loads(path.read_text())) if path.exists() else set()
        for item in ids:
            if item in done:
                continue
            do_nothing(item)
            done.add(item)
            path.write_text(json.dumps(list(done)))
    return meter.result()


def page_offset(folder: str, items: int) -> Result:
    """Keep only the offset of the next page of 200 in a file, never synced: nothing is known of an item."""
    ids = item_ids(items)
    path = Path(folder) / "offset.txt"
    with Meter(items) as meter:
        offset = int(path.read_text()) if path.exists() else 0
        while page := ids[offset : offset + PAGE_ITEMS]:
            for item in page:
                do_nothing(item)
            offset += len(page)
            path.write_text(str(offset))
    return meter.result()


def redis_sets(folder: str, items: int, fsync: str) -> Result:
    """Keep a set of running and a set of done ids in Redis; *fsync* is its appendfsync."""
    ids = item_ids(items)
    with _redis_server(Path(folder), fsync) as client, Meter(items) as meter:
        for item in ids:
            if client.sismember("done", item):
                continue
            client.sadd("running", item)
            do_nothing(item)
            client.smove("running", "done", item)
    return meter.result()


def sqlite_wal(folder: str, items: int, *, starts: bool) -> Result:
    """Use SQLite well: WAL with synchronous=FULL. With *starts* each item is on disk before it runs, as ours are."""
    ids = item_ids(items)
    with Meter(items) as meter, closing(sqlite3.connect(Path(folder) / "wal.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, status TEXT)")
        for item in ids:
            if connection.execute("SELECT 1 FROM items WHERE id = ?", (item,)).fetchone():
                continue
            if starts:
                connection.execute("INSERT INTO items VALUES (?, 'started')", (item,))
                do_nothing(item)
                connection.execute("UPDATE items SET status = 'done' WHERE id = ?", (item,))
            else:
                do_nothing(item)
                connection.execute("INSERT INTO items VALUES (?, 'done')", (item,))
    return meter.result()


@contextmanager
def _redis_server(folder: Path, fsync: str) -> Iterator[Any]:
    redis = needed("redis")
    program = shutil.which("redis-server")
    if program is None:
        raise Unavailable("there is no redis-server on PATH: install redis")
    # A socket's path has a short limit, so it is named from inside the folder.
    options = ["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--dir", str(folder)]
    durability = ["--appendonly", "yes", "--appendfsync", fsync]
    server = subprocess.Popen([program, *options, *durability], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(unix_socket_path=str(folder / "redis.sock"))
        _wait_for(client, redis.exceptions.ConnectionError)
        yield client
        client.close()
    finally:
        server.terminate()
        server.wait()


def _wait_for(client: Any, not_yet: type[Exception]) -> None:  # noqa: ANN401 - redis is optional
    gives_up = time.monotonic() + REDIS_START_SECONDS_MAX
    while True:
        try:
            client.ping()
        except not_yet:
            if time.monotonic() > gives_up:
                raise
            time.sleep(0.01)
        else:
            return
