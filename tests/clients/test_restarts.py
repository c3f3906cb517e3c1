"""Databases that restart, crash and kill connections under quick writers: what was called failed is not in the table.

The matrix breaks one connection at a chosen moment; here the servers themselves end connections, at any moment, and
say why in their own ways.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from tests.clients.cases import mariadb as mariadb_cases
from tests.clients.cases import postgres as postgres_cases
from tests.clients.cases import sqlalchemy_ as sqlalchemy_cases
from tests.clients.conftest import skip_or_fail, started
from tests.clients.matrix import describe
from tests.clients.proxy import HOST
from tests.clients.servers.mariadb import MariaDb
from tests.clients.servers.postgres import Postgres
from tests.clients.writers import PATIENCE_S, WORKERS, Writers
from tests.runner.driving import wait_until
from wal_runner.core.lost_reply import connection_unusable, lost_reply


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clients.case import Case

EFFECTS_BETWEEN: Final = 20
"""How many effects are done between two faults, so that each hits writers that are under way."""
VOLLEY: Final = 100
"""How often in a row each running statement is ended, a millisecond apart; a single shot rarely hits one."""


# --- Faults -----------------------------------------------------------------------------------------------------


def restart_in_order(server: Postgres | MariaDb) -> None:
    server.stop()
    server.start()


def crash(server: Postgres | MariaDb) -> None:
    if isinstance(server, Postgres):
        server.stop("immediate")
    else:
        server.kill()
    server.start()


def end_connections(server: Postgres | MariaDb) -> None:
    if isinstance(server, Postgres):
        server.execute(f"SELECT pg_terminate_backend(pid) FROM {OTHERS_OF_POSTGRES}")  # noqa: S608
    else:
        kill_each(server, "CONNECTION", times=1)


def end_statements(server: Postgres | MariaDb) -> None:
    if isinstance(server, Postgres):
        cancel = f"PERFORM pg_cancel_backend(pid) FROM {OTHERS_OF_POSTGRES}; PERFORM pg_sleep(0.001)"
        server.execute(f"DO $$ BEGIN FOR i IN 1..{VOLLEY} LOOP {cancel}; END LOOP; END $$")
    else:
        kill_each(server, "QUERY", times=VOLLEY)


OTHERS_OF_POSTGRES: Final = "pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def kill_each(server: MariaDb, what: str, times: int) -> None:
    """Kill *what* of each writer, *times* times; one that is gone already does not matter."""
    numbers = server.execute("SELECT id FROM information_schema.processlist WHERE user = 'wal'").split()
    volley = "".join(f"KILL {what} {number};" for number in numbers) + "DO SLEEP(0.001);"
    with contextlib.suppress(subprocess.CalledProcessError):
        server.execute(volley * times)


FAULTS: Final[dict[str, tuple[Callable[[Postgres | MariaDb], None], int]]] = {
    "restart": (restart_in_order, 1),
    "crash": (crash, 1),
    "connections": (end_connections, 5),
    "statements": (end_statements, 2),
}
"""What ends connections or statements, and how often it is done to the writers of one client."""


# --- Under quick writers ----------------------------------------------------------------------------------------


class PreparedCommit(postgres_cases.Psycopg3Commit):
    """COMMIT as a prepared statement, which takes the extended form of the protocol."""

    name = "psycopg 3, prepared COMMIT"

    def connect(self, host: str, port: int) -> Any:
        import psycopg

        return psycopg.connect(**postgres_cases.libpq_options(host, port), autocommit=True)

    def act(self, connection: Any, token: str) -> None:
        connection.execute("BEGIN")
        connection.execute(postgres_cases.INSERT, [token])
        connection.execute("COMMIT", prepare=True)


ON_POSTGRES: Final[tuple[Case, ...]] = (
    postgres_cases.Psycopg3(),
    PreparedCommit(),
    postgres_cases.Psycopg2Commit(),
    postgres_cases.AsyncpgCommit(),
    sqlalchemy_cases.OverPsycopg(),
)
ON_MARIADB: Final[tuple[Case, ...]] = (
    mariadb_cases.PyMySql(),
    mariadb_cases.MySqlClientCommit(),
    sqlalchemy_cases.OverPyMySql(),
)


@pytest.fixture(scope="module", params=[Postgres, MariaDb], ids=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[Postgres | MariaDb]:
    """Return a server of this module's own: the shared one must not be restarted."""
    with started(request.param) as running:
        running.execute(SLOW_TRIGGER[request.param])
        yield running


@pytest.fixture
def cases(server: Postgres | MariaDb) -> tuple[Case, ...]:
    """Return the clients of *server*."""
    chosen = ON_POSTGRES if isinstance(server, Postgres) else ON_MARIADB
    for case in chosen:
        if (missing := case.missing()) is not None:
            skip_or_fail(missing)
    return chosen


@pytest.mark.filterwarnings("ignore")  # clients forget sockets when a connection breaks
@pytest.mark.parametrize("fault", FAULTS)
def test_failed_effects_are_not_in_the_table(server: Any, cases: tuple[Case, ...], fault: str) -> None:
    """Effects called failed did not happen, and a fault leaves at most one effect of each writer in doubt."""
    inject, times = FAULTS[fault]
    for case in cases:
        with Writers(case, server.port) as writers:
            for _ in range(times):
                writers.wait_for_effects(EFFECTS_BETWEEN)
                inject(server)
            writers.wait_for_effects(EFFECTS_BETWEEN)
        tally, rows = writers.tally, set(server.tokens())
        server.execute(EMPTY[type(server)])

        assert [] == [f"{case.name}: {describe(error)}" for token, error in tally.failed.items() if token in rows]
        assert set() == tally.done - rows
        assert len(tally.in_doubt) <= WORKERS * times, case.name


# --- At a chosen moment -----------------------------------------------------------------------------------------

SLOW: Final = "slow"
SLOW_TRIGGER: Final = {
    Postgres: f"""
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_sleep({PATIENCE_S}); RETURN NEW; END $$;
        CREATE TRIGGER slow BEFORE INSERT ON effects FOR EACH ROW
        WHEN (NEW.token LIKE '{SLOW}%') EXECUTE FUNCTION slow()
        """,
    MariaDb: f"""
        CREATE TRIGGER wal.slow BEFORE INSERT ON wal.effects FOR EACH ROW
        SET NEW.token = IF(NEW.token LIKE '{SLOW}%' AND SLEEP({PATIENCE_S}) >= 0, NEW.token, NEW.token)
        """,
}
"""An effect whose token begins with "slow" runs until it is ended."""
RUNNING: Final = {
    Postgres: "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
    MariaDb: "SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep'",
}
EMPTY: Final = {Postgres: "DELETE FROM effects", MariaDb: "DELETE FROM wal.effects"}

RESTARTS: Final = {"restart": restart_in_order, "crash": crash}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("restart", RESTARTS)
@pytest.mark.parametrize("moment", ["running", "idle"])
def test_restart_costs_one_effect(server: Any, cases: tuple[Case, ...], moment: str, restart: str) -> None:
    """A running or an idle connection that a restart ended is called unusable; its effect is not in the table."""
    for case in cases:
        token = f"{SLOW if moment == 'running' else moment}{uuid.uuid4().hex}"
        connection = case.connect(HOST, server.port)
        case.act(connection, first := f"first{token}")
        if moment == "running":
            with ThreadPoolExecutor(1) as pool:
                effect = pool.submit(error_of, case, connection, token)
                wait_until(lambda: server.execute(RUNNING[type(server)]).strip() == "1", PATIENCE_S)
                RESTARTS[restart](server)
                error = effect.result(PATIENCE_S)
        else:
            RESTARTS[restart](server)
            error = error_of(case, connection, token)
        renewed = case.connect(HOST, server.port)
        case.act(renewed, second := f"second{token}")
        for one in (connection, renewed):
            with contextlib.suppress(Exception):
                case.close(one)

        rows = set(server.tokens())
        assert {first, second} <= rows
        is_replaced = moment == "idle" and error is None  # by pool_pre_ping
        shown = f"{case.name}: {describe(error)}"
        assert is_replaced == (token in rows), shown
        assert is_replaced or (error is not None and connection_unusable(error)), shown
        assert moment == "idle" or (error is not None and lost_reply(error)), shown


def error_of(case: Case, connection: Any, token: str) -> BaseException | None:
    """Return what the client raised."""
    try:
        case.act(connection, token)
    except Exception as error:  # noqa: BLE001 - whatever the client raises is what is looked at
        return error
    return None


# --- Why 57P01 leaves doubt -------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [Postgres], ids=["postgres"], indirect=True)
def test_admin_shutdown_may_follow_a_commit(server: Postgres) -> None:
    """PostgreSQL says 57P01 of a COMMIT that it did, if the end of the request comes after the order to shut down."""
    case = PreparedCommit()
    if (missing := case.missing()) is not None:
        skip_or_fail(missing)
    token = f"sync{uuid.uuid4().hex}"
    with HeldSync(server.port) as relay:
        connection = case.connect(HOST, relay.port)
        case.act(connection, f"first{token}")
        relay.hold()
        with ThreadPoolExecutor(1) as pool:
            effect = pool.submit(error_of, case, connection, token)
            wait_until(lambda: server.happened(token), PATIENCE_S)
            end_connections(server)
            error = effect.result(PATIENCE_S)
        connection.close()

    assert "57P01" == getattr(error, "sqlstate", None)
    assert error is not None
    assert lost_reply(error)


class HeldSync:
    """Pass everything between one client and PostgreSQL, but hold back the last Sync: that of a COMMIT."""

    SYNC: Final = b"S\x00\x00\x00\x04"

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._is_holding = False
        self._sockets: list[socket.socket] = [self._listener]

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def hold(self) -> None:
        """Hold back the Sync of a prepared statement without parameters, which is the COMMIT."""
        self._is_holding = True

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            server = socket.create_connection((HOST, self._target))
            self._sockets += [client, server]
            threading.Thread(target=self._pass_replies, args=(server, client), daemon=True).start()
            while chunk := client.recv(1 << 16):
                is_commit = (
                    self._is_holding and chunk.endswith(self.SYNC) and b"effect" not in chunk and b"sync" not in chunk
                )
                server.sendall(chunk.removesuffix(self.SYNC) if is_commit else chunk)

    @staticmethod
    def _pass_replies(server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(1 << 16):
                client.sendall(chunk)
            client.shutdown(socket.SHUT_RDWR)
