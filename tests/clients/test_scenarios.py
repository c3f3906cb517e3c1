"""Whole runs over real clients while their server restarts: doubt is what was in flight, and nothing else.

Each scenario is one from the life of a batch: workers with a connection each, a server that goes away in the middle and
comes back. Afterwards the server's own state is compared with the log, item by item.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import smtplib
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.clients import proxy
from tests.clients.conftest import skip_or_fail, started
from tests.clients.servers import mariadb, postgres, redis_, smtp
from tests.clients.servers.sharing import HOST
from wal_runner import Runner, Status


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

WORKERS: Final = 4
IN_DOUBT_MAX: Final = 2 * WORKERS
ROWS: Final = 1000

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # clients forget sockets when a connection breaks
    pytest.mark.timeout(180),
]


# --- The claims -----------------------------------------------------------------------------------------------


@pytest.mark.xdist_group("PostgreSQL 15 (real server)")
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_restarts_under_four_workers(mode: str, tmp_path: Path) -> None:
    """Each worker loses at most the row in flight, and connects again; all other rows are stored."""
    psycopg, server = imported("psycopg"), started(postgres.Postgres)

    with server:
        restart = Restart(lambda: server.stop(mode), server.start, down_s=0.5)
        look = run_over_psycopg(psycopg, server, restart, tmp_path)

    look.check(doubts_max=IN_DOUBT_MAX, failures_max=IN_DOUBT_MAX)


@pytest.mark.slow
@pytest.mark.xdist_group("PostgreSQL 15 (real server)")
def test_server_that_is_down_for_ten_seconds_costs_what_was_in_flight(tmp_path: Path) -> None:
    """The workers wait for the server without an item, so no further item fails."""
    psycopg, server = imported("psycopg"), started(postgres.Postgres)

    with server:
        restart = Restart(server.stop, server.start, down_s=10)
        look = run_over_psycopg(psycopg, server, restart, tmp_path)

    look.check(doubts_max=WORKERS, failures_max=WORKERS)


@pytest.mark.xdist_group("PostgreSQL 15 (real server)")
def test_postgres_restarts_twice_under_a_hundred_coroutines(tmp_path: Path) -> None:
    """With asyncpg: each restart costs at most the rows in flight."""
    asyncpg = imported("asyncpg")
    server = started(postgres.Postgres)
    coroutines = 100

    @contextlib.asynccontextmanager
    async def connect() -> Any:
        connection = await asyncpg.connect(host=HOST, port=server.port, user=postgres.USER, database="postgres")
        try:
            yield connection
        finally:
            await connection.close(timeout=2)

    async def store(row: str, connection: Any) -> None:
        await connection.execute("INSERT INTO effects VALUES ($1)", row)

    with contextlib.closing(server):
        restart = Restart(server.stop, server.start, down_s=0.5, times=2)
        look = run_through(
            tmp_path, store, restart, server.tokens, coroutines=coroutines, per_worker=connect, rows=5000
        )

    look.check(doubts_max=2 * coroutines, failures_max=2 * coroutines)


@pytest.mark.parametrize("down_s", [0.3, pytest.param(10, marks=pytest.mark.slow)])
def test_mail_server_goes_away_under_four_workers(down_s: float, tmp_path: Path) -> None:
    """Each worker loses at most one of 400 mails, and connects again."""

    @contextlib.contextmanager
    def connect() -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP(HOST, between.port, local_hostname="localhost", timeout=5) as session:
            yield session

    def send(token: str, session: smtplib.SMTP) -> None:
        session.sendmail("from@example.org", ["to@example.org"], f"Subject: hello\r\n\r\n{token}\r\n")

    mails = 400
    with smtp.SmtpServer() as server, proxy.Proxy(server.port) as between:
        restart = Restart(lambda: cut_off(between), between.disarm, down_s=down_s)
        look = run_through(
            tmp_path,
            send,
            restart,
            lambda: [token for token in tokens_of(mails) for _ in range(server.times(token))],
            workers=WORKERS,
            per_worker=connect,
            rows=mails,
        )

    look.check(doubts_max=WORKERS, failures_max=WORKERS)


@pytest.mark.xdist_group("Redis 7 (real server)")
@pytest.mark.parametrize("down_s", [0.3, pytest.param(10, marks=pytest.mark.slow)])
def test_redis_goes_away_under_four_workers(down_s: float, tmp_path: Path) -> None:
    """A worker pings a client that connects by itself, and waits until the ping succeeds."""
    redis = imported("redis")
    backoff, retry = imported("redis.backoff"), imported("redis.retry")
    server = started(redis_.Redis)

    @contextlib.contextmanager
    def connect() -> Iterator[Any]:
        never = retry.Retry(backoff.NoBackoff(), 0)
        with redis.Redis(host=HOST, port=between.port, socket_timeout=2, retry=never) as client:
            client.ping()
            yield client

    def push(token: str, client: Any) -> None:
        client.rpush(token, "1")

    with contextlib.closing(server), proxy.Proxy(server.port) as between:
        restart = Restart(lambda: cut_off(between), between.disarm, down_s=down_s)
        look = run_through(
            tmp_path,
            push,
            restart,
            lambda: [token for token in tokens_of(ROWS) for _ in range(server.count(token))],
            done=server.size,
            workers=WORKERS,
            per_worker=connect,
        )

    look.check(doubts_max=IN_DOUBT_MAX, failures_max=IN_DOUBT_MAX)


@pytest.mark.xdist_group("MariaDB 10.11 (real server)")
def test_mariadb_restarts_under_four_workers(tmp_path: Path) -> None:
    """Each worker loses at most the row in flight, and connects again, as with PostgreSQL."""
    pymysql = imported("pymysql")
    server = started(mariadb.MariaDb)

    @contextlib.contextmanager
    def connect() -> Iterator[Any]:
        options = {"user": mariadb.USER, "database": mariadb.DATABASE, "autocommit": True}
        with pymysql.connect(host=HOST, port=server.port, connect_timeout=2, **options) as connection:
            yield connection

    def store(token: str, connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO effects VALUES (%s)", [token])

    with contextlib.closing(server):
        restart = Restart(server.stop, server.start, down_s=0.5)
        look = run_through(tmp_path, store, restart, server.tokens, workers=WORKERS, per_worker=connect)

    look.check(doubts_max=IN_DOUBT_MAX, failures_max=IN_DOUBT_MAX)


# --- How it is done ---------------------------------------------------------------------------------------------


class Restart:
    """Stops a server when a part of the batch is done, and starts it again; as often as *times* says."""

    def __init__(
        self, stop: Callable[[], object], start: Callable[[], object], *, down_s: float, times: int = 1
    ) -> None:
        self._stop = stop
        self._start = start
        self._down_s = down_s
        self.times = times
        self.error: BaseException | None = None

    def watch(self, done: Callable[[], int], rows: int) -> threading.Thread:
        """Stop and start the server on a thread, each time when another part of *rows* is *done*."""
        thread = threading.Thread(target=self._work, args=(done, rows), daemon=True)
        thread.start()
        return thread

    def _work(self, done: Callable[[], int], rows: int) -> None:
        try:
            for n in range(1, self.times + 1):
                while done() < rows * n // (self.times + 2):
                    time.sleep(
                        0.02
                    )  # poll slowly: `done` may start a process such as psql, which takes CPU from the run
                self._stop()
                time.sleep(self._down_s)  # the outage: workers fail to connect for this long
                self._start()
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            self.error = error


class Look:
    """What the log says after the run and after the next one, and what the server has."""

    def __init__(self, first: dict[str, Status], last: dict[str, Status], tokens: Sequence[str], rows: int) -> None:
        self.first = Counter(first.values())
        self.last = Counter(last.values())
        self._first, self._last = first, last
        self._tokens = Counter(tokens)
        self._rows = rows

    def check(self, *, doubts_max: int, failures_max: int) -> None:
        """Nothing twice, nothing lost; doubt and failure are bounded; what failed did not happen before."""
        assert {1} == set(self._tokens.values()), "an effect happened twice"
        assert self.first[Status.IN_DOUBT] <= doubts_max, self.first
        assert self.first[Status.FAILED] <= failures_max, self.first
        assert {Status.SUCCEEDED, Status.IN_DOUBT} >= set(self.last), self.last
        assert self._rows == sum(self.last.values())
        done = {item for item, status in self._last.items() if status is Status.SUCCEEDED}
        assert set() == done - set(self._tokens), "an item is called done, and its effect is not there"
        doubtful = {item for item, status in self._last.items() if status is Status.IN_DOUBT}
        assert set() == set(self._tokens) - done - doubtful


def run_through(
    folder: Path,
    store: Callable[..., Any],
    restart: Restart,
    tokens: Callable[[], Sequence[str]],
    *,
    done: Callable[[], int] | None = None,
    workers: int = 0,
    coroutines: int = 0,
    rows: int = ROWS,
    **options: Any,
) -> Look:
    """Run *rows* items while the server restarts, then once more without trouble; return what is to be seen.

    *tokens* returns what happened, each as often as it did; *done* how much that is, where it can be asked quickly.
    """
    items = tokens_of(rows)
    with Runner(folder / "batch.wal") as runner:

        def run() -> None:
            if coroutines:
                asyncio.run(runner.run_async(items, store, concurrency=coroutines, **options))
            else:
                runner.run(items, store, workers=workers, **options)

        thread = restart.watch(done or (lambda: len(tokens())), rows)
        run()
        thread.join(60)
        assert not thread.is_alive(), "the run ended before the server went down, so this shows nothing"
        assert restart.error is None, restart.error
        first = {item.item_id: item.status for item in runner.items()}
        run()
        last = {item.item_id: item.status for item in runner.items()}
    return Look(first, last, tokens(), rows)


def run_over_psycopg(psycopg: Any, server: postgres.Postgres, restart: Restart, folder: Path) -> Look:
    """Return what `run_through` returns for workers that each insert rows over a connection of psycopg."""
    address = f"host={HOST} port={server.port} user={postgres.USER} dbname=postgres"

    @contextlib.contextmanager
    def connect() -> Iterator[Any]:
        with psycopg.connect(address, autocommit=True, connect_timeout=2) as connection:
            yield connection

    def store(row: str, connection: Any) -> None:
        connection.execute("INSERT INTO effects VALUES (%s)", [row])

    return run_through(folder, store, restart, server.tokens, workers=WORKERS, per_worker=connect)


def imported(name: str) -> Any:
    """Return the module *name*; skip or fail the test if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        skip_or_fail(name)


def tokens_of(rows: int) -> list[str]:
    """Return the ids of *rows* items, as servers look for them."""
    return [f"effect{n:016x}" for n in range(rows)]


def cut_off(between: proxy.Proxy) -> None:
    """Close all connections and refuse new ones, as if the server were down."""
    between.refuse_new_connections()
    between.drop_all()
