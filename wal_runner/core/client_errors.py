"""The errors of clients, row by row. To add a client, see docs/contributing.md; no other file is to be changed.

Imported by `error_evidence`. Invariant: an error that may follow a request that was acted on is UNKNOWN. tests/clients
provokes the errors with the real clients, and docs/reference/lost-replies.md shows what came out.
"""

from __future__ import annotations

import errno
from typing import Final

from wal_runner.core.error_rows import ANY, BY_STATUS, NOT_SENT, REFUSED, SEE_CAUSE, UNKNOWN, Client, Row


# --- What the codes of databases say --------------------------------------------------------------------------

SQLSTATES_NOT_DONE: Final = ("08001", "08004", "25P02", "25P03", "25P04", "28*", "3D000", "53300", "57P03", "57P05")
"""PostgreSQL did not do it, and the connection is of no more use: refused, idle for too long, transaction aborted."""

SQLSTATES_UNKNOWN: Final = ("08*", "40003", "57P*")
"""What may follow a COMMIT that PostgreSQL did: the connection broke behind a pooler (PgBouncer says 08P01 for that),
the completion is unknown, the server shuts down (tests/clients/test_restarts.py shows 57P01 after a COMMIT)."""

SEVERITIES_OF_AN_END: Final = ("FATAL", "PANIC")
"""The server ended the session. Codes that say why before a COMMIT stand above; it may panic while it writes one."""

MYSQL_CODES_UNKNOWN: Final = (
    "20*",  # the client's own
    "50*",  # the same of MariaDB's
    1053,  # server shutdown in progress
    *range(1156, 1162),  # errors of the connection that the server, or a storage engine that is a client, had
    1180,  # error during COMMIT
    1181,  # error during ROLLBACK
    1196,  # some tables could not be rolled back
    1927,  # connection was killed; MaxScale says so of a server that was lost as well
)
"""What may follow a COMMIT that MySQL or MariaDB did."""

MYSQL_CODES_NOT_DONE: Final = (
    *(1040, 1129, 1130, 1203),  # too many connections, host blocked
    4031,  # idle for too long
    *(1205, 1317, 1969, 3024),  # waited or ran for too long, or was killed
)
"""It was not done, and the connection is renewed: it is closed, or may be left with an open transaction.

If fn does not roll back, the COMMIT of the next item would commit what this one did before it failed.
"""


CLIENTS: Final[tuple[Client, ...]] = (
    # --- Python itself ------------------------------------------------------------------------------------------
    Client(
        "Python's sockets, TLS, asyncio and executors",
        modules=("socket", "ssl", "asyncio", "concurrent.futures"),
        rows=(
            Row("builtins.ConnectionRefusedError", NOT_SENT, unusable=True),
            Row("builtins.BrokenPipeError", UNKNOWN, unusable=True),
            Row("builtins.ConnectionAbortedError", UNKNOWN, unusable=True),
            Row("builtins.ConnectionResetError", UNKNOWN, unusable=True),
            Row("builtins.ConnectionError", SEE_CAUSE, unusable=True),
            # After a time-out the reply may still come, and would be taken for that of the next request.
            Row("builtins.TimeoutError", UNKNOWN, unusable=True),  # socket., asyncio., concurrent.futures.TimeoutError
            # Linux reports an unreachable host on open connections as well, when it stops resending. EPROTOTYPE is
            # what macOS says when a process writes to a connection that is being closed.
            Row(
                "builtins.OSError",
                UNKNOWN,
                where="errno",
                values=(
                    errno.EHOSTDOWN,
                    errno.EHOSTUNREACH,
                    errno.ENETDOWN,
                    errno.ENETRESET,
                    errno.ENETUNREACH,
                    errno.EPROTOTYPE,
                ),
                unusable=True,
            ),
            Row("socket.gaierror", NOT_SENT, unusable=True),
            Row("socket.herror", NOT_SENT, unusable=True),
            Row("ssl.SSLCertVerificationError", NOT_SENT, unusable=True),
            Row("ssl.SSLError", UNKNOWN, unusable=True),
            Row("asyncio.exceptions.IncompleteReadError", UNKNOWN, unusable=True),
            Row("concurrent.futures._base.BrokenExecutor", UNKNOWN, unusable=True),  # a worker of a pool of fn's died
        ),
        connecting=(
            ("socket", "create_connection"),
            ("ssl", "do_handshake"),
            ("ssl", "_create"),  # the peer was gone before the handshake
            ("asyncio.base_events", "create_connection"),
        ),
    ),
    Client(
        "subprocess",
        modules=("subprocess",),
        rows=(
            Row("subprocess.TimeoutExpired", UNKNOWN),
            # Exit codes are negative for a command that a signal ended: it had begun, and did not end by itself.
            Row("subprocess.CalledProcessError", UNKNOWN, where="returncode", values=("-*",)),
        ),
    ),
    # --- HTTP ---------------------------------------------------------------------------------------------------
    Client(
        "urllib, http.client",
        modules=("urllib.error", "http.client"),
        rows=(
            Row("urllib.error.HTTPError", BY_STATUS, unusable=False),
            Row("http.client.BadStatusLine", UNKNOWN, unusable=True),  # RemoteDisconnected too
            Row("http.client.IncompleteRead", UNKNOWN, unusable=True),
            Row("http.client.LineTooLong", UNKNOWN, unusable=True),
            Row("http.client.UnknownProtocol", UNKNOWN, unusable=True),
        ),
    ),
    Client(
        "urllib3",
        modules=("urllib3.exceptions",),
        rows=(
            Row("urllib3.exceptions.ClosedPoolError", NOT_SENT, unusable=True),
            Row("urllib3.exceptions.ConnectTimeoutError", NOT_SENT, unusable=False),
            Row("urllib3.exceptions.EmptyPoolError", NOT_SENT, unusable=False),
            Row("urllib3.exceptions.NewConnectionError", NOT_SENT, unusable=False),  # NameResolutionError too
            Row("urllib3.exceptions.DecodeError", UNKNOWN, unusable=False),
            Row("urllib3.exceptions.ReadTimeoutError", UNKNOWN, unusable=False),
            Row("urllib3.exceptions.ProtocolError", SEE_CAUSE, unusable=False),
            Row("urllib3.exceptions.ProxyError", SEE_CAUSE, unusable=False),
            Row("urllib3.exceptions.SSLError", SEE_CAUSE, unusable=False),
            Row("urllib3.exceptions.TimeoutError", SEE_CAUSE, unusable=False),
        ),
    ),
    Client(
        "requests",
        modules=("requests.exceptions",),
        rows=(
            Row("requests.exceptions.ConnectTimeout", NOT_SENT, unusable=False),
            Row("requests.exceptions.ChunkedEncodingError", UNKNOWN, unusable=False),
            Row("requests.exceptions.ContentDecodingError", UNKNOWN, unusable=False),
            Row("requests.exceptions.ReadTimeout", UNKNOWN, unusable=False),
            Row("requests.exceptions.ConnectionError", SEE_CAUSE, unusable=False),
            Row("requests.exceptions.Timeout", SEE_CAUSE, unusable=False),
            Row("requests.exceptions.HTTPError", BY_STATUS, unusable=False),
        ),
    ),
    Client(
        "httpx",
        modules=("httpx", "httpcore"),
        rows=(
            Row("httpx.ConnectError", NOT_SENT, unusable=False),
            Row("httpx.ConnectTimeout", NOT_SENT, unusable=False),
            Row("httpx.PoolTimeout", NOT_SENT, unusable=False),
            Row("httpx.ProxyError", NOT_SENT, unusable=False),  # the proxy would not open the tunnel
            Row("httpx.CloseError", UNKNOWN, unusable=False),
            Row("httpx.DecodingError", UNKNOWN, unusable=False),
            Row("httpx.ReadError", UNKNOWN, unusable=False),
            Row("httpx.ReadTimeout", UNKNOWN, unusable=False),
            Row("httpx.RemoteProtocolError", UNKNOWN, unusable=False),
            Row("httpx.WriteError", UNKNOWN, unusable=False),
            Row("httpx.WriteTimeout", UNKNOWN, unusable=False),
            Row("httpx.NetworkError", SEE_CAUSE, unusable=False),
            Row("httpx.TimeoutException", SEE_CAUSE, unusable=False),
            Row("httpx.HTTPStatusError", BY_STATUS, unusable=False),
            Row("httpcore.ConnectError", NOT_SENT, unusable=False),
            Row("httpcore.ConnectTimeout", NOT_SENT, unusable=False),
            Row("httpcore.PoolTimeout", NOT_SENT, unusable=False),
            Row("httpcore.ProxyError", NOT_SENT, unusable=False),
            Row("httpcore.ReadError", UNKNOWN, unusable=False),
            Row("httpcore.ReadTimeout", UNKNOWN, unusable=False),
            Row("httpcore.RemoteProtocolError", UNKNOWN, unusable=False),
            Row("httpcore.WriteError", UNKNOWN, unusable=False),
            Row("httpcore.WriteTimeout", UNKNOWN, unusable=False),
        ),
    ),
    Client(
        "aiohttp",
        modules=("aiohttp.client_exceptions", "aiohttp.http_exceptions"),
        rows=(
            # DNS, TLS, proxy and Unix sockets too.
            Row("aiohttp.client_exceptions.ClientConnectorError", NOT_SENT, unusable=False),
            Row("aiohttp.client_exceptions.ClientConnectorCertificateError", NOT_SENT, unusable=False),
            Row("aiohttp.client_exceptions.ConnectionTimeoutError", NOT_SENT, unusable=False),
            Row("aiohttp.client_exceptions.ServerFingerprintMismatch", NOT_SENT, unusable=False),
            Row("aiohttp.client_exceptions.ClientConnectionResetError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.ClientPayloadError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.ServerDisconnectedError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.ServerTimeoutError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.ClientConnectionError", SEE_CAUSE, unusable=False),
            Row("aiohttp.client_exceptions.ClientResponseError", BY_STATUS, unusable=False),
            Row("aiohttp.http_exceptions.BadHttpMessage", UNKNOWN, unusable=False),
        ),
    ),
    # --- Mail ---------------------------------------------------------------------------------------------------
    Client(
        "smtplib",
        modules=("smtplib",),
        rows=(
            Row("smtplib.SMTPAuthenticationError", REFUSED),
            Row("smtplib.SMTPConnectError", REFUSED, unusable=True),
            Row("smtplib.SMTPHeloError", REFUSED, unusable=True),
            Row("smtplib.SMTPNotSupportedError", NOT_SENT),
            Row("smtplib.SMTPRecipientsRefused", REFUSED),
            # smtplib's way to say that the reply was not an SMTP reply.
            Row("smtplib.SMTPResponseException", UNKNOWN, where="smtp_code", values=(-1,), unusable=True),
            Row("smtplib.SMTPResponseException", REFUSED),  # SMTPSenderRefused and SMTPDataError too
            Row("smtplib.SMTPServerDisconnected", NOT_SENT, says="please run connect() first", unusable=True),
            Row("smtplib.SMTPServerDisconnected", UNKNOWN, unusable=True),
        ),
        connecting=(
            ("smtplib", "connect"),  # waits for the greeting, too
            ("smtplib", "starttls"),
            ("smtplib", "login"),
        ),
    ),
    # --- Databases ----------------------------------------------------------------------------------------------
    Client(
        "psycopg 3",
        modules=("psycopg", "psycopg.connection", "psycopg.connection_async"),
        rows=(
            # psycopg looks whether the connection is open before it sends anything.
            Row(
                "psycopg.OperationalError",
                NOT_SENT,
                says="the connection is closed",
                where="sqlstate",
                values=(None,),
                unusable=True,
            ),
            Row(
                "psycopg.OperationalError",
                NOT_SENT,
                says="the connection is lost",
                where="sqlstate",
                values=(None,),
                unusable=True,
            ),
            # What the server reports has an SQLSTATE. Without one libpq speaks for itself: the connection was not
            # made (*connecting* tells), or it broke under a query.
            Row("psycopg.OperationalError", UNKNOWN, where="sqlstate", values=(None,), unusable=True),
            Row("psycopg.InternalError", UNKNOWN, where="sqlstate", values=(None,), unusable=True),
            Row("psycopg.Error", REFUSED, where="sqlstate", values=SQLSTATES_NOT_DONE, unusable=True),
            Row("psycopg.Error", UNKNOWN, where="sqlstate", values=SQLSTATES_UNKNOWN, unusable=True),
            Row(
                "psycopg.Error", UNKNOWN, where="diag.severity_nonlocalized", values=SEVERITIES_OF_AN_END, unusable=True
            ),
            Row("psycopg.Error", REFUSED, where="sqlstate", values=(ANY,), unusable=False),
        ),
        connecting=(("psycopg.connection", "connect"), ("psycopg.connection_async", "connect")),
    ),
    Client(
        "psycopg2",
        modules=("psycopg2",),
        rows=(
            Row("psycopg2.OperationalError", UNKNOWN, where="pgcode", values=(None,), unusable=True),
            Row("psycopg2.InterfaceError", NOT_SENT, says="already closed", unusable=True),
            # What psycopg2 raises if libpq left it without a result and without a message.
            Row("psycopg2.DatabaseError", UNKNOWN, says="no message from the libpq", unusable=True),
            Row("psycopg2.DatabaseError", UNKNOWN, says="SSL SYSCALL error", unusable=True),
            Row("psycopg2.DatabaseError", UNKNOWN, says="server closed the connection", unusable=True),
            Row("psycopg2.Error", REFUSED, where="pgcode", values=SQLSTATES_NOT_DONE, unusable=True),
            Row("psycopg2.Error", UNKNOWN, where="pgcode", values=SQLSTATES_UNKNOWN, unusable=True),
            Row(
                "psycopg2.Error",
                UNKNOWN,
                where="diag.severity_nonlocalized",
                values=SEVERITIES_OF_AN_END,
                unusable=True,
            ),
            Row("psycopg2.Error", REFUSED, where="pgcode", values=(ANY,), unusable=False),
        ),
        connecting=(("psycopg2", "connect"),),
    ),
    Client(
        "asyncpg",
        modules=("asyncpg", "asyncpg.connection", "asyncpg.connect_utils", "asyncpg.pool"),
        rows=(
            # Of a connection, and of a pool.
            Row("asyncpg.exceptions._base.InterfaceError", NOT_SENT, says="closed", unusable=True),
            Row("asyncpg.exceptions._base.InterfaceError", NOT_SENT, says="pool is closing", unusable=True),
            Row("asyncpg.exceptions._base.InterfaceError", NOT_SENT, unusable=False),
            Row("asyncpg.exceptions._base.InternalClientError", NOT_SENT, says="not connected", unusable=True),
            Row("asyncpg.exceptions._base.InternalClientError", NOT_SENT, says="cannot switch to state", unusable=True),
            # The reply came and could not be read.
            Row("asyncpg.exceptions._base.InternalClientError", UNKNOWN, unusable=True),
            Row(
                "asyncpg.exceptions._base.PostgresError",
                REFUSED,
                where="sqlstate",
                values=SQLSTATES_NOT_DONE,
                unusable=True,
            ),
            # ConnectionDoesNotExistError too, which asyncpg raises by itself when a connection breaks under a query.
            Row(
                "asyncpg.exceptions._base.PostgresError",
                UNKNOWN,
                where="sqlstate",
                values=SQLSTATES_UNKNOWN,
                unusable=True,
            ),
            Row(
                "asyncpg.exceptions._base.PostgresError",
                UNKNOWN,
                where="severity_en",
                values=SEVERITIES_OF_AN_END,
                unusable=True,
            ),
            Row("asyncpg.exceptions._base.PostgresError", REFUSED, where="sqlstate", values=(ANY,), unusable=False),
        ),
        connecting=(
            ("asyncpg.connection", "connect"),
            # These catch the error of one attempt, and it stays the cause of the error of the next.
            ("asyncpg.connect_utils", "_connect_addr"),
            ("asyncpg.connect_utils", "__connect_addr"),
            ("asyncpg.pool", "_acquire"),
        ),
    ),
    Client(
        "SQLAlchemy",
        modules=("sqlalchemy.exc", "sqlalchemy.pool"),
        rows=(
            Row("sqlalchemy.exc.PendingRollbackError", NOT_SENT, unusable=True),
            # A Session whose COMMIT failed, and that was not rolled back.
            Row("sqlalchemy.exc.InvalidRequestError", NOT_SENT, says="no further SQL can be emitted", unusable=True),
            Row("sqlalchemy.exc.ResourceClosedError", NOT_SENT, says="connection is closed", unusable=True),
            Row("sqlalchemy.exc.ResourceClosedError", NOT_SENT, says="transaction is closed", unusable=True),
            Row("sqlalchemy.exc.TimeoutError", NOT_SENT, unusable=False),  # no connection of the pool came free
            Row("sqlalchemy.exc.DisconnectionError", NOT_SENT, unusable=False),  # the pool gave a connection up
            # SQLAlchemy knows that the connection is gone, its driver's error says when. A Connection or a Session
            # that was not rolled back refuses everything after that; an Engine is renewed needlessly. The error of a
            # connection that is not gone has no row: its driver's rows decide.
            Row(
                "sqlalchemy.exc.DBAPIError",
                SEE_CAUSE,
                where="connection_invalidated",
                values=(True,),
                unusable=True,
            ),
        ),
        # Taking a connection out of the pool, pinging it, making a new one and asking it for its version.
        connecting=(("sqlalchemy.pool.base", "connect"),),
    ),
    Client(
        "PyMySQL",
        modules=("pymysql", "pymysql.connections"),
        rows=(
            Row("pymysql.err.InterfaceError", NOT_SENT, where="args.0", values=(0,), unusable=True),  # it is closed
            Row("pymysql.err.Error", NOT_SENT, where="args.0", values=("Already closed",), unusable=True),
            # While a local file is sent the server already has the statement.
            Row(
                "pymysql.err.OperationalError",
                UNKNOWN,
                where="args.0",
                values=(2006,),
                raised_in=("pymysql.connections", "_read_load_local_packet"),
                unusable=True,
            ),
            # The system did not take the last bytes of the statement, and the server acts on whole ones only.
            Row("pymysql.err.OperationalError", NOT_SENT, where="args.0", values=(2006,), unusable=True),
            Row("pymysql.err.InternalError", UNKNOWN, says="Packet sequence number wrong", unusable=True),
            Row("pymysql.err.Error", UNKNOWN, where="args.0", values=MYSQL_CODES_UNKNOWN, unusable=True),
            Row("pymysql.err.Error", REFUSED, where="args.0", values=MYSQL_CODES_NOT_DONE, unusable=True),
            Row("pymysql.err.Error", REFUSED, where="args.0", values=(ANY,), unusable=False),
        ),
        connecting=(("pymysql.connections", "connect"),),
    ),
    Client(
        "mysqlclient",
        modules=("MySQLdb", "MySQLdb.connections"),
        rows=(
            # "The client couldn't send a question to the server", say the manuals of both C libraries.
            Row("MySQLdb.OperationalError", NOT_SENT, where="args.0", values=(2006,), unusable=True),
            Row("MySQLdb.InterfaceError", UNKNOWN, where="args.0", values=(0,), unusable=True),
            Row("MySQLdb.Error", UNKNOWN, where="args.0", values=MYSQL_CODES_UNKNOWN, unusable=True),
            Row("MySQLdb.Error", REFUSED, where="args.0", values=MYSQL_CODES_NOT_DONE, unusable=True),
            Row("MySQLdb.Error", REFUSED, where="args.0", values=(ANY,), unusable=False),
        ),
        connecting=(("MySQLdb.connections", "__init__"),),
    ),
    # redis-py
    # pymongo
    # --- Clouds and APIs ----------------------------------------------------------------------------------------
    # botocore
    # google-api-core
    # grpcio
    # azure-core
    # openai
    # anthropic
    # stripe
    # twilio
    # slack_sdk
    # --- Queues -------------------------------------------------------------------------------------------------
    # pika
    # confluent-kafka
    # --- Files and shells ---------------------------------------------------------------------------------------
    # paramiko
    # ftplib
    # aiosmtplib
)
