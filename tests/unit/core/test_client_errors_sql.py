"""Rows of database clients that real servers in the tests do not provoke, on errors made by hand."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from wal_runner.core.lost_reply import connection_unusable, is_connection_error, lost_reply


BASES = {
    "psycopg.Error": "sqlstate",
    "psycopg2.Error": "pgcode",
    "asyncpg.exceptions._base.PostgresError": "sqlstate",
}
MYSQL = ("pymysql.err.Error", "MySQLdb.Error")


def error_like(name: str, *arguments: object, **attributes: object) -> BaseException:
    """Make an error of a library that need not be installed."""
    home, _, kind = name.rpartition(".")
    made: type[Exception] = type(kind, (Exception,), {"__module__": home})
    error = made(*arguments)
    vars(error).update(attributes)
    return error


def answer(error: BaseException) -> tuple[str, str]:
    """Return what becomes of the item, and of the connection."""
    return "in doubt" if lost_reply(error) else "failed", "renewed" if connection_unusable(error) else "kept"


# --- PostgreSQL -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "where"), BASES.items())
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("23505", ("failed", "kept")),  # unique violation
        ("40001", ("failed", "kept")),  # serialization failure
        ("40P01", ("failed", "kept")),  # deadlock
        ("57014", ("failed", "kept")),  # cancelled: a COMMIT that is under way is not
        ("08001", ("failed", "renewed")),
        ("08004", ("failed", "renewed")),
        ("25P02", ("failed", "renewed")),  # in a transaction that failed: refused until someone rolls back
        ("25P03", ("failed", "renewed")),  # idle in a transaction for too long
        ("53300", ("failed", "renewed")),  # too many connections
        ("XXA00", ("in doubt", "renewed")),  # CockroachDB: committed, and a change of the schema failed
        ("57P03", ("failed", "renewed")),  # starting up
        ("57P05", ("failed", "renewed")),  # idle for too long
        ("08006", ("in doubt", "renewed")),
        ("08007", ("in doubt", "renewed")),
        ("08P01", ("in doubt", "renewed")),  # what PgBouncer says of a server that it lost
        ("40003", ("in doubt", "renewed")),  # what CockroachDB says of an ambiguous result
        ("57P01", ("in doubt", "renewed")),
        ("57P02", ("in doubt", "renewed")),
    ],
)
def test_sqlstate_says_whether_it_was_done(base: str, where: str, code: str, expected: tuple[str, str]) -> None:
    """What may follow a COMMIT that was done leaves doubt; the other codes are refusals."""
    assert expected == answer(error_like(base, "text", **{where: code}))


class Diagnosis:
    """What psycopg calls the fields of the server's message."""

    def __init__(self, severity: str) -> None:
        self.severity_nonlocalized = severity


@pytest.mark.parametrize(("base", "where"), BASES.items())
@pytest.mark.parametrize(
    ("severity", "expected"),
    [("ERROR", ("failed", "kept")), ("FATAL", ("in doubt", "renewed")), ("PANIC", ("in doubt", "renewed"))],
)
def test_server_that_ends_the_session_leaves_doubt(
    base: str, where: str, severity: str, expected: tuple[str, str]
) -> None:
    """A full disk is a refusal of one statement, and a panic under a COMMIT may come after its record was written."""
    error = error_like(base, "no space", **{where: "53100"}, diag=Diagnosis(severity), severity_en=severity)

    assert expected == answer(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (error_like("psycopg.OperationalError", "the connection is lost", sqlstate=None), ("failed", "renewed")),
        (error_like("psycopg.InternalError", "got no result", sqlstate=None), ("in doubt", "renewed")),
        (error_like("psycopg2.DatabaseError", "SSL SYSCALL error: EOF detected", pgcode=None), ("in doubt", "renewed")),
        (
            error_like("psycopg2.DatabaseError", "error with status PGRES_TUPLES_OK and no message from the libpq"),
            ("in doubt", "renewed"),
        ),
        (error_like("psycopg2.ProgrammingError", "no results to fetch", pgcode=None), ("failed", "kept")),
        (error_like("psycopg2.DatabaseError", "SSL error: bad record mac", pgcode=None), ("in doubt", "renewed")),
        (
            error_like("psycopg2.DatabaseError", "SSL connection has been closed unexpectedly", pgcode=None),
            ("in doubt", "renewed"),
        ),
        (
            error_like("psycopg2.DatabaseError", "lost synchronization with server", pgcode=None),
            ("in doubt", "renewed"),
        ),
    ],
)
def test_error_of_libpq_has_no_code(error: BaseException, expected: tuple[str, str]) -> None:
    """Without a code the message says whether the connection broke under the statement."""
    assert expected == answer(error)


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [
        (error_like("asyncpg.exceptions._base.PostgresError", "no password", sqlstate="28P01"), False),
        (error_like("psycopg.Error", "no database", sqlstate="3D000"), False),
        (error_like("psycopg.OperationalError", 'FATAL:  password authentication failed for user "a"'), False),
        (error_like("psycopg2.OperationalError", 'FATAL:  no pg_hba.conf entry for host "::1"'), False),
        (error_like("psycopg.OperationalError", "connection failed: Connection refused"), True),
        (error_like("asyncpg.exceptions._base.PostgresError", "starting up", sqlstate="57P03"), True),
        (error_like("psycopg2.Error", "too many connections", pgcode="53300"), True),
    ],
)
def test_login_that_is_refused_is_not_tried_again(error: BaseException, *, is_retried: bool) -> None:
    """Workers that try a wrong password for a minute could have the account locked."""
    assert is_retried == is_connection_error(error)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("PoolClosed", ("failed", "renewed")),
        ("PoolTimeout", ("failed", "kept")),
        ("TooManyRequests", ("failed", "kept")),
    ],
)
def test_pool_of_psycopg_gave_no_connection(kind: str, expected: tuple[str, str]) -> None:
    """The pool's errors are errors of libpq without a code, but nothing was sent."""
    base = type(error_like("psycopg.OperationalError", sqlstate=None))
    error = type(kind, (base,), {"__module__": "psycopg_pool", "sqlstate": None})(
        "couldn't get a connection after 30 sec"
    )

    assert expected == answer(error)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("InterfaceError", "connection is closed", ("failed", "renewed")),
        ("InterfaceError", "pool is closing", ("failed", "renewed")),
        ("InterfaceError", "cannot perform operation: another operation is in progress", ("failed", "kept")),
        ("InternalClientError", "not connected", ("failed", "renewed")),
        ("InternalClientError", "cannot switch to state 15; another operation (2) is", ("failed", "renewed")),
        ("InternalClientError", "unexpected message", ("in doubt", "renewed")),
    ],
)
def test_asyncpg_says_whether_it_sent_anything(kind: str, text: str, expected: tuple[str, str]) -> None:
    """What asyncpg refuses by itself was not sent; a reply that it cannot read was."""
    assert expected == answer(error_like(f"asyncpg.exceptions._base.{kind}", text))


# --- MySQL and MariaDB ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", MYSQL)
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1062, ("failed", "kept")),  # duplicate key
        (1213, ("failed", "kept")),  # deadlock: the whole transaction was rolled back
        (1290, ("failed", "kept")),  # read-only
        (1040, ("failed", "renewed")),
        (1205, ("failed", "renewed")),  # the transaction is still open
        (1317, ("failed", "renewed")),
        (4031, ("failed", "renewed")),
        (1053, ("in doubt", "renewed")),
        (1159, ("in doubt", "renewed")),
        (1180, ("in doubt", "renewed")),
        (1105, ("in doubt", "renewed")),
        (1927, ("in doubt", "renewed")),
        (3169, ("in doubt", "renewed")),
        (8501, ("in doubt", "renewed")),
        (2013, ("in doubt", "renewed")),
        (2014, ("in doubt", "renewed")),
        (2055, ("in doubt", "renewed")),
    ],
)
def test_mysql_code_says_whether_it_was_done(base: str, code: int, expected: tuple[str, str]) -> None:
    """What may follow a COMMIT that was done leaves doubt; a transaction that may be open means a new connection."""
    assert expected == answer(error_like(base, code, "text"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (error_like("pymysql.err.InterfaceError", 0, ""), ("failed", "renewed")),
        (error_like("pymysql.err.Error", "Already closed"), ("failed", "renewed")),
        (error_like("pymysql.err.OperationalError", 2006, "gone away"), ("failed", "renewed")),
        (
            error_like("pymysql.err.InternalError", "Packet sequence number wrong - got 3 expected 1"),
            ("in doubt", "renewed"),
        ),
        (error_like("MySQLdb.OperationalError", 2006, ""), ("failed", "renewed")),
        (error_like("MySQLdb.InterfaceError", 0, ""), ("in doubt", "renewed")),
    ],
)
def test_mysql_client_says_whether_it_sent_anything(error: BaseException, expected: tuple[str, str]) -> None:
    """2006 is a statement that could not be sent; (0, '') is a connection that PyMySQL has closed."""
    assert expected == answer(error)


def test_local_file_that_was_half_sent_leaves_doubt() -> None:
    """LOAD DATA LOCAL sends its statement first, so a file that could not be sent may have been stored in part."""
    namespace: dict[str, Any] = {"__name__": "pymysql.connections"}
    namespace["error"] = error_like("pymysql.err.OperationalError", 2006, "gone away")
    exec("def _read_load_local_packet():\n    raise error", namespace)  # noqa: S102  # a frame of that name

    with pytest.raises(Exception) as raised:  # noqa: PT011  # it is the one made above
        namespace["_read_load_local_packet"]()

    assert lost_reply(raised.value)


# --- What lies behind -------------------------------------------------------------------------------------------

TRANSLATION = """
def write():
    try:
        raise BrokenPipeError
    except OSError:
        raise error
def again():
    try:
        raise BrokenPipeError
    except OSError:
        connect()
def connect():
    raise error
"""


def raised_by(function: str, module: str, error: BaseException) -> BaseException:
    namespace: dict[str, Any] = {"__name__": module, "error": error}
    exec(TRANSLATION, namespace)  # noqa: S102  # frames of a client
    with pytest.raises(type(error)) as raised:
        namespace[function]()
    return raised.value


def test_client_may_translate_without_naming_the_cause() -> None:
    """The frame of the client that caught the socket's error raised its own in its place: both are one event."""
    error = raised_by("write", "pymysql.connections", error_like("pymysql.err.OperationalError", 2006, ""))

    assert not lost_reply(error)


@pytest.mark.parametrize(("function", "module"), [("again", "pymysql.connections"), ("write", "shop.orders")])
def test_second_try_does_not_hide_the_first(function: str, module: str) -> None:
    """An error from below the frame that caught the first, or from code that is not the client's, is another event."""
    error = raised_by(function, module, error_like("pymysql.err.OperationalError", 2006, ""))

    assert lost_reply(error)


# --- SQLAlchemy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("PendingRollbackError", "Can't reconnect until invalid transaction is rolled back.", ("failed", "renewed")),
        ("ResourceClosedError", "This Connection is closed", ("failed", "renewed")),
        ("ResourceClosedError", "This transaction is closed", ("failed", "renewed")),
        ("ResourceClosedError", "This result object does not return rows.", ("failed", "kept")),
        ("TimeoutError", "QueuePool limit of size 5 overflow 10 reached", ("failed", "kept")),
        ("DisconnectionError", "gone", ("failed", "kept")),
    ],
)
def test_sqlalchemy_says_whether_it_sent_anything(kind: str, text: str, expected: tuple[str, str]) -> None:
    """What SQLAlchemy refuses by itself was not sent."""
    assert expected == answer(error_like(f"sqlalchemy.exc.{kind}", text))


def wrapped(orig: BaseException, *, is_invalidated: bool) -> BaseException:
    error = error_like("sqlalchemy.exc.DBAPIError", str(orig), connection_invalidated=is_invalidated, orig=orig)
    error.__cause__ = orig
    return error


def test_sqlalchemy_answers_as_its_driver() -> None:
    """The wrapper adds whether the connection is gone; without a row for its driver a connection lost leaves doubt."""
    refused = error_like("psycopg.Error", "duplicate", sqlstate="23505")
    lost = error_like("psycopg.OperationalError", "server closed the connection", sqlstate=None)
    closed = error_like("psycopg.OperationalError", "the connection is closed", sqlstate=None)
    of_another_driver = error_like("oracledb.exceptions.DatabaseError", "ORA-03113")

    assert ("failed", "kept") == answer(wrapped(refused, is_invalidated=False))
    assert ("in doubt", "renewed") == answer(wrapped(lost, is_invalidated=True))
    assert ("failed", "renewed") == answer(wrapped(closed, is_invalidated=True))
    assert ("failed", "kept") == answer(wrapped(of_another_driver, is_invalidated=False))
    assert ("in doubt", "renewed") == answer(wrapped(of_another_driver, is_invalidated=True))


def test_driver_error_survives_pickling() -> None:
    """A worker process hands the error back pickled, without causes; SQLAlchemy keeps the driver's as `orig`."""
    exc = pytest.importorskip("sqlalchemy.exc")
    pymysql = pytest.importorskip("pymysql")
    lost = pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
    error = exc.OperationalError("COMMIT", None, lost, connection_invalidated=False)

    assert lost_reply(pickle.loads(pickle.dumps(error)))  # noqa: S301
