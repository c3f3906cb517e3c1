"""MariaDB by PyMySQL and mysqlclient; MySQL says the same in the same protocol."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, Case
from tests.clients.cases.postgres import SAME_ERROR, SAME_ERROR_AS_COMMIT, connects_as
from tests.clients.conditions import Condition
from tests.clients.servers import mariadb


if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "INSERT INTO effects VALUES (%s)"
WHOLE_SECONDS = 1
"""mysqlclient takes whole seconds only."""


class OnMariaDb(Case):
    """What all of them share. `act` is one statement that is committed by itself."""

    server_name = "MariaDB 10.11 (real server)"
    skipped = {
        Condition.TLS_FAILURE: "MariaDB asks for TLS in its own protocol, before any statement",
    }
    needless = {
        Condition.HALF_REQUEST: SAME_ERROR,
        Condition.CLOSED_WHILE_IDLE: SAME_ERROR,
        Condition.DOWN_WHILE_IDLE: SAME_ERROR,
    }

    @contextlib.contextmanager
    def serving(self) -> Iterator[mariadb.MariaDb]:
        yield mariadb.shared()


class PyMySql(OnMariaDb):
    """Autocommit: the reply to the statement says that it is committed."""

    name = "PyMySQL"
    packages = ("PyMySQL",)

    def connect(self, host: str, port: int) -> Any:
        import pymysql

        return pymysql.connect(**pymysql_options(host, port), autocommit=True)

    def act(self, connection: Any, token: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(INSERT, [token])


class PyMySqlCommit(PyMySql):
    """A transaction, of which the COMMIT loses its reply."""

    name = "PyMySQL, COMMIT"
    skipped = connects_as("PyMySQL")
    needless = {
        Condition.HALF_REQUEST: SAME_ERROR_AS_COMMIT,
        Condition.CLOSED_WHILE_IDLE: SAME_ERROR_AS_COMMIT,
        Condition.DOWN_WHILE_IDLE: SAME_ERROR_AS_COMMIT,
    }

    def connect(self, host: str, port: int) -> Any:
        import pymysql

        return pymysql.connect(**pymysql_options(host, port))

    def act(self, connection: Any, token: str) -> None:
        super().act(connection, token)
        connection.commit()

    def marker(self, token: str) -> bytes:  # noqa: ARG002 - COMMIT names no token
        return b"COMMIT"


class MySqlClient(OnMariaDb):
    """Autocommit, by the C library."""

    name = "mysqlclient"
    packages = ("mysqlclient",)

    def connect(self, host: str, port: int) -> Any:
        import MySQLdb

        return MySQLdb.connect(**mysqlclient_options(host, port), autocommit=True)

    def act(self, connection: Any, token: str) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(INSERT, [token])


class MySqlClientCommit(MySqlClient):
    """A transaction, of which the COMMIT loses its reply."""

    name = "mysqlclient, COMMIT"
    skipped = connects_as("mysqlclient")
    needless = PyMySqlCommit.needless

    def connect(self, host: str, port: int) -> Any:
        import MySQLdb

        return MySQLdb.connect(**mysqlclient_options(host, port))

    def act(self, connection: Any, token: str) -> None:
        super().act(connection, token)
        connection.commit()

    def marker(self, token: str) -> bytes:  # noqa: ARG002 - COMMIT names no token
        return b"COMMIT"


def pymysql_options(host: str, port: int) -> dict[str, Any]:
    """Return the options of PyMySQL."""
    return {
        "host": host,
        "port": port,
        "user": mariadb.USER,
        "database": mariadb.DATABASE,
        "connect_timeout": TIMEOUT_S,
        "read_timeout": TIMEOUT_S,
        "write_timeout": TIMEOUT_S,
    }


def mysqlclient_options(host: str, port: int) -> dict[str, Any]:
    """Return the options of mysqlclient."""
    return {
        "host": host,
        "port": port,
        "user": mariadb.USER,
        "database": mariadb.DATABASE,
        "connect_timeout": WHOLE_SECONDS,
        "read_timeout": WHOLE_SECONDS,
        "write_timeout": WHOLE_SECONDS,
    }


CASES = (PyMySql(), PyMySqlCommit(), MySqlClient(), MySqlClientCommit())
