"""SQLAlchemy 2 over four drivers: an engine for each item, a connection or a session that a worker keeps."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

from tests.clients.case import TIMEOUT_S, AsyncConnection, Case, NotTried
from tests.clients.cases.mariadb import OnMariaDb
from tests.clients.cases.postgres import (
    CONNECT_TIMEOUT_S,
    IDLE_S,
    SAME_ERROR_AS_COMMIT,
    OnPostgres,
    connects_as,
)
from tests.clients.conditions import Condition
from tests.clients.servers import mariadb, postgres


if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "INSERT INTO effects VALUES (:token)"

NO_TIME_OUT = {Condition.HANG: OnPostgres.skipped[Condition.HANG]}


class OnSqlAlchemy(Case):
    """What all of them share: a transaction for each effect, and `pool_pre_ping`."""

    driver: ClassVar[str]
    server: ClassVar[Any]
    options: ClassVar[dict[str, Any]] = {}
    needless = {Condition.HALF_REQUEST: SAME_ERROR_AS_COMMIT}

    @contextlib.contextmanager
    def serving(self) -> Iterator[Any]:
        yield self.server.shared()

    def url(self, host: str, port: int) -> str:
        database = mariadb.DATABASE if self.server is mariadb else "postgres"
        return f"{self.driver}://{self.server.USER}@{host}:{port}/{database}"

    def engine(self, host: str, port: int) -> Any:
        import sqlalchemy as sa

        if sa.__version__.startswith("1.") and self.driver == "postgresql+psycopg":
            raise NotTried("before SQLAlchemy 2 there is no dialect for psycopg 3")
        # SQLAlchemy 1.4 behaves as 2 if it is told so.
        return sa.create_engine(self.url(host, port), pool_pre_ping=True, connect_args=self.options, future=True)

    def connect(self, host: str, port: int) -> Any:
        return self.engine(host, port)

    def act(self, connection: Any, token: str) -> None:
        import sqlalchemy as sa

        with connection.begin() as inside:
            inside.execute(sa.text(INSERT), {"token": token})

    def close(self, connection: Any) -> None:
        connection.dispose()

    def marker(self, token: str) -> bytes:  # noqa: ARG002 - COMMIT names no token
        return b"COMMIT"


LIBPQ_OPTIONS = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "tcp_user_timeout": round(TIMEOUT_S * 1000),
    "sslmode": "disable",
}


class OverPsycopg(OnSqlAlchemy):
    """An engine, of which each effect takes a connection."""

    name = "SQLAlchemy, psycopg"
    packages = ("SQLAlchemy", "psycopg")
    server_name = OnPostgres.server_name
    skipped = OnPostgres.skipped
    driver = "postgresql+psycopg"
    server = postgres
    options = LIBPQ_OPTIONS


class OverPsycopg2(OverPsycopg):
    """The same over psycopg2."""

    name = "SQLAlchemy, psycopg2"
    packages = ("SQLAlchemy", "psycopg2-binary")
    driver = "postgresql+psycopg2"


class OverPyMySql(OnSqlAlchemy):
    """The same over PyMySQL."""

    name = "SQLAlchemy, PyMySQL"
    packages = ("SQLAlchemy", "PyMySQL")
    server_name = OnMariaDb.server_name
    skipped = OnMariaDb.skipped
    driver = "mysql+pymysql"
    server = mariadb
    options = {"connect_timeout": TIMEOUT_S, "read_timeout": TIMEOUT_S, "write_timeout": TIMEOUT_S}


class OverAsyncpg(OverPsycopg):
    """An asyncio engine."""

    name = "SQLAlchemy, asyncpg"
    packages = ("SQLAlchemy", "asyncpg", "greenlet")
    skipped = {Condition.TLS_FAILURE: OnPostgres.skipped[Condition.TLS_FAILURE]}
    driver = "postgresql+asyncpg"
    options = {"timeout": TIMEOUT_S, "command_timeout": TIMEOUT_S}

    def connect(self, host: str, port: int) -> Any:
        from sqlalchemy.ext.asyncio import create_async_engine

        async def engine() -> Any:
            return create_async_engine(self.url(host, port), pool_pre_ping=True, connect_args=self.options)

        return AsyncConnection(engine)

    def act(self, connection: Any, token: str) -> None:
        import asyncio

        import sqlalchemy as sa

        async def effect() -> None:
            await asyncio.sleep(IDLE_S)
            async with connection.inner.begin() as inside:
                await inside.execute(sa.text(INSERT), {"token": token})

        connection.run(effect())

    def close(self, connection: Any) -> None:
        connection.close(connection.inner.dispose())

    def marker(self, token: str) -> bytes:  # noqa: ARG002 - COMMIT names no token
        return b"COMMIT;"  # SQLAlchemy 1.4 begins with READ COMMITTED


KEPT = {
    Condition.HALF_REQUEST: SAME_ERROR_AS_COMMIT,
    Condition.CLOSED_WHILE_IDLE: SAME_ERROR_AS_COMMIT,
    Condition.DOWN_WHILE_IDLE: SAME_ERROR_AS_COMMIT,
}


class KeptConnection(OverPsycopg):
    """A connection that the worker keeps, and commits by hand."""

    name = "SQLAlchemy, psycopg, kept Connection"
    skipped = {**connects_as(OverPsycopg.name), **NO_TIME_OUT}
    needless = KEPT

    def connect(self, host: str, port: int) -> Any:
        return self.engine(host, port).connect()

    def act(self, connection: Any, token: str) -> None:
        import sqlalchemy as sa

        connection.execute(sa.text(INSERT), {"token": token})
        connection.commit()

    def close(self, connection: Any) -> None:
        connection.close()
        connection.engine.dispose()


class KeptConnectionOverPyMySql(OverPyMySql):
    """The same over PyMySQL."""

    name = "SQLAlchemy, PyMySQL, kept Connection"
    skipped = connects_as(OverPyMySql.name)
    needless = KEPT
    connect = KeptConnection.connect
    act = KeptConnection.act
    close = KeptConnection.close


class KeptSession(OverPsycopg):
    """A session that the worker keeps, and commits by hand."""

    name = "SQLAlchemy, psycopg, kept Session"
    skipped = {**connects_as(OverPsycopg.name), **NO_TIME_OUT}

    def connect(self, host: str, port: int) -> Any:
        from sqlalchemy.orm import Session

        return Session(self.engine(host, port), future=True)

    def act(self, connection: Any, token: str) -> None:
        import sqlalchemy as sa

        connection.execute(sa.text(INSERT), {"token": token})
        connection.commit()

    def close(self, connection: Any) -> None:
        connection.close()
        connection.get_bind().dispose()


CASES = (
    OverPsycopg(),
    OverPsycopg2(),
    OverPyMySql(),
    OverAsyncpg(),
    KeptConnection(),
    KeptConnectionOverPyMySql(),
    KeptSession(),
)
