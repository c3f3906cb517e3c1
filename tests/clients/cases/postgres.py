"""PostgreSQL by psycopg 3: the pattern for the other databases."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, Case
from tests.clients.conditions import Condition
from tests.clients.servers import postgres


if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "INSERT INTO effects VALUES (%s)"


class Psycopg3(Case):
    """Autocommit: the reply to the statement says that it is committed."""

    name = "psycopg 3"
    packages = ("psycopg",)
    server_name = "PostgreSQL 15 (real server)"
    skipped = {
        Condition.TLS_FAILURE: "PostgreSQL asks for TLS in its own protocol, before any statement",
        Condition.HANG: "psycopg has no time-out for a reply; it waits until TCP gives up",
    }
    needless = {
        Condition.HALF_REQUEST: "the same error as after the whole statement",
        Condition.CLOSED_WHILE_IDLE: "the same error as after the whole statement",
        Condition.DOWN_WHILE_IDLE: "the same error as after the whole statement",
    }

    @contextlib.contextmanager
    def serving(self) -> Iterator[postgres.Postgres]:
        yield postgres.shared()

    def connect(self, host: str, port: int) -> Any:
        import psycopg

        return psycopg.connect(
            host=host,
            port=port,
            user=postgres.USER,
            dbname="postgres",
            autocommit=True,
            connect_timeout=2,
            tcp_user_timeout=round(TIMEOUT_S * 1000),
            sslmode="disable",
        )

    def act(self, connection: Any, token: str) -> None:
        connection.execute(INSERT, [token])


CASES = (Psycopg3(),)
