"""PostgreSQL by psycopg 3, psycopg2 and asyncpg: single statements, transactions, a pool."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, AsyncConnection, Case
from tests.clients.conditions import WHILE_CONNECTING, Condition
from tests.clients.servers import postgres


if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "INSERT INTO effects VALUES (%s)"
ASYNCPG_INSERT = "INSERT INTO effects VALUES ($1)"

SAME_ERROR = "the same error as after the whole statement"
SAME_ERROR_AS_COMMIT = "the same error as after the whole COMMIT"
CONNECT_TIMEOUT_S = 2
"""libpq takes 1 for 2, and nothing between."""
IDLE_S = 0.01
"""How long the event loop runs before an effect: in a real program it runs while a connection is idle."""


class OnPostgres(Case):
    """What all of them share. `act` is one statement that is committed by itself."""

    server_name = "PostgreSQL 15 (real server)"
    skipped = {
        Condition.TLS_FAILURE: "PostgreSQL asks for TLS in its own protocol, before any statement",
        Condition.HANG: "there is no time-out for a reply; the client waits until TCP gives up",
    }
    needless = {
        Condition.HALF_REQUEST: SAME_ERROR,
        Condition.CLOSED_WHILE_IDLE: SAME_ERROR,
        Condition.DOWN_WHILE_IDLE: SAME_ERROR,
    }

    @contextlib.contextmanager
    def serving(self) -> Iterator[postgres.Postgres]:
        yield postgres.shared()


def connects_as(name: str) -> dict[Condition, str]:
    """Return what is not tried of a case that connects exactly as the case *name* does."""
    return dict.fromkeys(sorted(WHILE_CONNECTING, key=list(Condition).index), f"it connects as {name} does")


def libpq_options(host: str, port: int) -> dict[str, Any]:
    """Return what psycopg 3 and psycopg2 hand to libpq."""
    return {
        "host": host,
        "port": port,
        "user": postgres.USER,
        "dbname": "postgres",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": round(TIMEOUT_S * 1000),
        "sslmode": "disable",
    }


# --- psycopg 3 --------------------------------------------------------------------------------------------------


class Psycopg3(OnPostgres):
    """Autocommit: the reply to the statement says that it is committed."""

    name = "psycopg 3"
    packages = ("psycopg",)

    def connect(self, host: str, port: int) -> Any:
        import psycopg

        return psycopg.connect(**libpq_options(host, port), autocommit=True)

    def act(self, connection: Any, token: str) -> None:
        connection.execute(INSERT, [token])


class Psycopg3Commit(OnPostgres):
    """A transaction, of which the COMMIT loses its reply."""

    name = "psycopg 3, COMMIT"
    packages = ("psycopg",)
    skipped = {**connects_as("psycopg 3"), Condition.HANG: OnPostgres.skipped[Condition.HANG]}
    needless = {
        Condition.HALF_REQUEST: SAME_ERROR_AS_COMMIT,
        Condition.CLOSED_WHILE_IDLE: SAME_ERROR_AS_COMMIT,
        Condition.DOWN_WHILE_IDLE: SAME_ERROR_AS_COMMIT,
    }

    def connect(self, host: str, port: int) -> Any:
        import psycopg

        return psycopg.connect(**libpq_options(host, port))

    def act(self, connection: Any, token: str) -> None:
        with connection.transaction():
            connection.execute(INSERT, [token])

    def marker(self, token: str) -> bytes:  # noqa: ARG002 - COMMIT names no token
        return b"COMMIT"


class Psycopg3Async(OnPostgres):
    """The asyncio connection; `asyncio.timeout` is its time-out for a reply."""

    name = "psycopg 3, async"
    packages = ("psycopg",)
    skipped = {Condition.TLS_FAILURE: OnPostgres.skipped[Condition.TLS_FAILURE]}

    def connect(self, host: str, port: int) -> Any:
        import psycopg

        options = libpq_options(host, port)
        return AsyncConnection(lambda: psycopg.AsyncConnection.connect(**options, autocommit=True))

    def act(self, connection: Any, token: str) -> None:
        connection.run(within(TIMEOUT_S, connection.inner.execute(INSERT, [token])))

    def close(self, connection: Any) -> None:
        connection.close(connection.inner.close())


# --- psycopg2 ---------------------------------------------------------------------------------------------------


class Psycopg2(OnPostgres):
    """Autocommit."""

    name = "psycopg2"
    packages = ("psycopg2-binary",)

    def connect(self, host: str, port: int) -> Any:
        import psycopg2

        connection = psycopg2.connect(**libpq_options(host, port))
        connection.autocommit = True
        return connection

    def act(self, connection: Any, token: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(INSERT, [token])


class Psycopg2Commit(OnPostgres):
    """A transaction, of which the COMMIT loses its reply."""

    name = "psycopg2, COMMIT"
    packages = ("psycopg2-binary",)
    skipped = {**connects_as("psycopg2"), Condition.HANG: OnPostgres.skipped[Condition.HANG]}
    needless = Psycopg3Commit.needless

    def connect(self, host: str, port: int) -> Any:
        import psycopg2

        return psycopg2.connect(**libpq_options(host, port))

    def act(self, connection: Any, token: str) -> None:
        with connection, connection.cursor() as cursor:
            cursor.execute(INSERT, [token])

    def marker(self, token: str) -> bytes:  # noqa: ARG002 - COMMIT names no token
        return b"COMMIT"


# --- asyncpg ----------------------------------------------------------------------------------------------------


class Asyncpg(OnPostgres):
    """One connection, kept."""

    name = "asyncpg"
    packages = ("asyncpg",)
    skipped = {Condition.TLS_FAILURE: OnPostgres.skipped[Condition.TLS_FAILURE]}
    needless = {Condition.HALF_REQUEST: SAME_ERROR}

    def connect(self, host: str, port: int) -> Any:
        import asyncpg

        return AsyncConnection(lambda: asyncpg.connect(**asyncpg_options(host, port)))

    def act(self, connection: Any, token: str) -> None:
        async def effect() -> None:
            await asyncio.sleep(IDLE_S)
            await connection.inner.execute(ASYNCPG_INSERT, token)

        connection.run(effect())

    def close(self, connection: Any) -> None:
        connection.close(connection.inner.close())


class AsyncpgCommit(Asyncpg):
    """A transaction, of which the COMMIT loses its reply."""

    name = "asyncpg, COMMIT"
    skipped = connects_as("asyncpg")
    needless = {Condition.HALF_REQUEST: SAME_ERROR_AS_COMMIT}

    def act(self, connection: Any, token: str) -> None:
        async def effect() -> None:
            await asyncio.sleep(IDLE_S)
            async with connection.inner.transaction():
                await connection.inner.execute(ASYNCPG_INSERT, token)

        connection.run(effect())

    def marker(self, token: str) -> bytes:  # noqa: ARG002 - COMMIT names no token
        return b"COMMIT"


class AsyncpgPool(Asyncpg):
    """A pool: each effect takes a connection of it, and a dead one is replaced."""

    name = "asyncpg, pool"

    def connect(self, host: str, port: int) -> Any:
        import asyncpg

        async def pool() -> Any:
            return await asyncpg.create_pool(**asyncpg_options(host, port), min_size=0, max_size=1)

        return AsyncConnection(pool)


def asyncpg_options(host: str, port: int) -> dict[str, Any]:
    """Return the options of a connection, which a pool takes too."""
    return {
        "host": host,
        "port": port,
        "user": postgres.USER,
        "database": "postgres",
        "timeout": TIMEOUT_S,
        "command_timeout": TIMEOUT_S,
    }


async def within(seconds: float, awaitable: Any) -> Any:
    """Return what comes of *awaitable*, or raise TimeoutError."""
    async with asyncio.timeout(seconds):
        return await awaitable


CASES = (
    Psycopg3(),
    Psycopg3Commit(),
    Psycopg3Async(),
    Psycopg2(),
    Psycopg2Commit(),
    Asyncpg(),
    AsyncpgCommit(),
    AsyncpgPool(),
)
