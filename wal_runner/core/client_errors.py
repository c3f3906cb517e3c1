"""The errors of clients, row by row. To add a client, see docs/contributing.md; no other file is to be changed.

Imported by `error_evidence`. Invariant: an error that may follow a request that was acted on is UNKNOWN. tests/clients
provokes the errors with the real clients, and docs/reference/lost-replies.md shows what came out.
"""

from __future__ import annotations

import errno
from typing import Final

from wal_runner.core.error_rows import (
    ANY,
    BY_STATUS,
    NOT_SENT,
    REFUSED,
    SEE_CAUSE,
    UNKNOWN,
    Client,
    Redirect,
    Retry,
    Row,
)
from wal_runner.core.http_statuses import UNKNOWN_STATUSES


def _httpx(name: str, core: str) -> Client:
    """Return the rows of httpx, or of a fork that kept the names of its classes; *core* is its httpcore."""
    return Client(
        name,
        modules=(name, core),
        rows=(
            Row(f"{name}.ConnectError", NOT_SENT, unusable=False),
            Row(f"{name}.ConnectTimeout", NOT_SENT, unusable=False),
            Row(f"{name}.PoolTimeout", NOT_SENT, unusable=False),
            Row(f"{name}.ProxyError", NOT_SENT, unusable=False),  # the proxy would not open the tunnel
            Row(f"{name}.CloseError", UNKNOWN, unusable=False),
            Row(f"{name}.DecodingError", UNKNOWN, unusable=False),
            Row(f"{name}.ReadError", UNKNOWN, unusable=False),
            Row(f"{name}.ReadTimeout", UNKNOWN, unusable=False),
            Row(f"{name}.RemoteProtocolError", UNKNOWN, unusable=False),
            Row(f"{name}.WriteError", UNKNOWN, unusable=False),
            Row(f"{name}.WriteTimeout", UNKNOWN, unusable=False),
            Row(f"{name}.LocalProtocolError", SEE_CAUSE, unusable=False),
            Row(f"{name}.NetworkError", SEE_CAUSE, unusable=False),
            Row(f"{name}.TimeoutException", SEE_CAUSE, unusable=False),
            Row(f"{name}.HTTPStatusError", BY_STATUS, unusable=False),
            Row(f"{core}.ConnectError", NOT_SENT, unusable=False),
            Row(f"{core}.ConnectTimeout", NOT_SENT, unusable=False),
            Row(f"{core}.PoolTimeout", NOT_SENT, unusable=False),
            Row(f"{core}.ProxyError", NOT_SENT, unusable=False),
            Row(f"{core}.ReadError", UNKNOWN, unusable=False),
            Row(f"{core}.ReadTimeout", UNKNOWN, unusable=False),
            Row(f"{core}.RemoteProtocolError", UNKNOWN, unusable=False),
            Row(f"{core}.WriteError", UNKNOWN, unusable=False),
            Row(f"{core}.WriteTimeout", UNKNOWN, unusable=False),
            # Headers that HTTP does not allow are found before anything is sent. A body of another length than was
            # said, or HTTP/2 against its rules, is found later.
            Row(f"{core}.LocalProtocolError", NOT_SENT, says="Illegal", unusable=False),
            Row(f"{core}.LocalProtocolError", UNKNOWN, unusable=False),
        ),
        redirects=(
            Redirect(
                (f"{name}._client", "_send_handling_redirects"),
                replies="history",
                status="status_code",
                method="request.method",
            ),
            Redirect(None, replies="response.history", status="status_code", method="request.method"),
        ),
    )


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
            # A proxy refused a CONNECT. By the place and not by the text: an OSError whose text cannot be read is none.
            Row("builtins.OSError", NOT_SENT, raised_in=("http.client", "_tunnel"), unusable=True),
            Row("builtins.OSError", NOT_SENT, raised_in=("urllib3.connection", "_tunnel"), unusable=True),
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
            Row("urllib.error.ContentTooShortError", UNKNOWN, unusable=False),
            Row("http.client.InvalidURL", NOT_SENT, unusable=False),
            Row("http.client.NotConnected", NOT_SENT, unusable=True),
            # The reply to an earlier request was never read, after a time-out for example.
            Row("http.client.CannotSendRequest", NOT_SENT, unusable=True),
            Row("http.client.CannotSendHeader", NOT_SENT, unusable=True),
            # This request was sent; it is the reply to the one before it that was not read.
            Row("http.client.ResponseNotReady", UNKNOWN, unusable=True),
            # BadStatusLine, IncompleteRead, LineTooLong, RemoteDisconnected, "got more than 100 headers".
            Row("http.client.HTTPException", UNKNOWN, unusable=True),
        ),
        connecting=(("http.client", "connect"), ("http.client", "_tunnel")),
        redirects=(Redirect(("urllib.request", "http_error_302"), status="code", method="req.get_method()"),),
    ),
    Client(
        "urllib3",
        modules=("urllib3.exceptions", "urllib3.util.ssl_match_hostname"),
        rows=(
            Row("urllib3.exceptions.ClosedPoolError", NOT_SENT, unusable=True),
            Row("urllib3.exceptions.ConnectTimeoutError", NOT_SENT, unusable=False),
            Row("urllib3.exceptions.EmptyPoolError", NOT_SENT, unusable=False),
            Row("urllib3.exceptions.LocationValueError", NOT_SENT, unusable=False),
            Row("urllib3.exceptions.NewConnectionError", NOT_SENT, unusable=False),  # NameResolutionError too
            Row("urllib3.exceptions.TimeoutStateError", NOT_SENT, unusable=False),
            Row("urllib3.util.ssl_match_hostname.CertificateError", NOT_SENT, unusable=False),
            Row("urllib3.exceptions.DecodeError", UNKNOWN, unusable=False),
            # Raised when a connection is put back, so the reply had begun.
            Row("urllib3.exceptions.FullPoolError", UNKNOWN, unusable=False),
            Row("urllib3.exceptions.IncompleteRead", UNKNOWN, unusable=False),
            Row("urllib3.exceptions.InvalidChunkLength", UNKNOWN, unusable=False),
            Row("urllib3.exceptions.InvalidHeader", UNKNOWN, unusable=False),  # a header of the reply
            # Also raised for a TLS handshake that took too long, which the cause tells.
            Row("urllib3.exceptions.ReadTimeoutError", SEE_CAUSE, unusable=False),
            # Without a proxy this is about the connection to the server. With one it may be a tunnel that was never
            # made, but also a reply that was lost: urllib3 forgets that it was connected when the connection breaks.
            Row("urllib3.exceptions.ProtocolError", SEE_CAUSE, unusable=False),
            Row("urllib3.exceptions.ProxyError", SEE_CAUSE, unusable=False),
            Row("urllib3.exceptions.SSLError", SEE_CAUSE, unusable=False),
            Row("urllib3.exceptions.TimeoutError", SEE_CAUSE, unusable=False),
            # What Retry(status_forcelist=...) ends with. The body of the last reply is not in it.
            Row("urllib3.exceptions.ResponseError", UNKNOWN, says="too many 408", unusable=False),
            Row("urllib3.exceptions.ResponseError", UNKNOWN, says="too many 409", unusable=False),
            Row("urllib3.exceptions.ResponseError", REFUSED, says="too many 4", unusable=False),
            Row("urllib3.exceptions.ResponseError", UNKNOWN, unusable=False),
        ),
        connecting=(("urllib3.connection", "connect"), ("urllib3.connection", "_tunnel")),
        redirects=(
            Redirect(("urllib3.poolmanager", "urlopen"), status="response.status"),
            Redirect(("urllib3.connectionpool", "urlopen"), status="response.status"),
        ),
        retries=(
            Retry(("urllib3.connectionpool", "urlopen"), where=(("err", (ANY,)),), method="method", error="err"),
            Retry(
                ("urllib3.connectionpool", "urlopen"),
                where=(("response.status", tuple(sorted(UNKNOWN_STATUSES))),),
                method="method",
            ),
        ),
    ),
    Client(
        "requests",
        modules=("requests.exceptions",),
        rows=(
            Row("requests.exceptions.ConnectTimeout", NOT_SENT, unusable=False),
            Row("requests.exceptions.ChunkedEncodingError", UNKNOWN, unusable=False),
            Row("requests.exceptions.ContentDecodingError", UNKNOWN, unusable=False),
            Row("requests.exceptions.ReadTimeout", SEE_CAUSE, unusable=False),
            Row("requests.exceptions.ConnectionError", SEE_CAUSE, unusable=False),  # ProxyError, SSLError too
            Row("requests.exceptions.Timeout", SEE_CAUSE, unusable=False),
            Row("requests.exceptions.HTTPError", BY_STATUS, unusable=False),
        ),
        redirects=(
            Redirect(
                ("requests.sessions", "resolve_redirects"),
                replies="hist",
                status="status_code",
                method="request.method",
            ),
            Redirect(None, replies="response.history", status="status_code", method="request.method"),
        ),
    ),
    _httpx("httpx", "httpcore"),
    _httpx("httpx2", "httpcore2"),  # a fork, which openai uses
    Client(
        "h11, which httpx uses",
        modules=("h11",),
        rows=(
            Row("h11._util.LocalProtocolError", NOT_SENT, says="Illegal", unusable=False),
            Row("h11._util.LocalProtocolError", UNKNOWN, unusable=False),
            Row("h11._util.RemoteProtocolError", UNKNOWN, unusable=False),
        ),
    ),
    Client(
        "aiohttp",
        modules=("aiohttp.client_exceptions", "aiohttp.http_exceptions"),
        rows=(
            # DNS, TLS, proxy and Unix sockets too.
            Row("aiohttp.client_exceptions.ClientConnectorError", NOT_SENT, unusable=False),
            Row("aiohttp.client_exceptions.ClientConnectorCertificateError", NOT_SENT, unusable=False),
            Row("aiohttp.client_exceptions.ClientConnectionError", NOT_SENT, says="Connector is closed", unusable=True),
            Row("aiohttp.client_exceptions.ClientHttpProxyError", NOT_SENT, unusable=False),  # the reply to CONNECT
            Row("aiohttp.client_exceptions.ConnectionTimeoutError", NOT_SENT, unusable=False),
            Row("aiohttp.client_exceptions.InvalidURL", NOT_SENT, unusable=False),
            Row("aiohttp.client_exceptions.ServerFingerprintMismatch", NOT_SENT, unusable=False),
            Row("aiohttp.client_exceptions.ClientConnectionResetError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.ClientPayloadError", UNKNOWN, unusable=False),
            # The reply says that it was done, in words that were not expected.
            Row("aiohttp.client_exceptions.ContentTypeError", UNKNOWN, where="status", values=("2*",), unusable=False),
            # The request before the redirect was answered: it may have had its effect.
            Row("aiohttp.client_exceptions.RedirectClientError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.InvalidUrlRedirectClientError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.NonHttpUrlRedirectClientError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.ServerDisconnectedError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.ServerTimeoutError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.UploadAbortedError", UNKNOWN, unusable=False),
            Row("aiohttp.client_exceptions.ClientConnectionError", SEE_CAUSE, unusable=False),
            # aiohttp reports a reply that is not HTTP as a status of 400, which no server sent.
            Row(
                "aiohttp.client_exceptions.ClientResponseError",
                UNKNOWN,
                raised_in=("aiohttp.client_reqrep", "start"),
                unusable=False,
            ),
            Row("aiohttp.client_exceptions.ClientResponseError", BY_STATUS, unusable=False),
            Row("aiohttp.http_exceptions.HttpProcessingError", UNKNOWN, unusable=False),
        ),
        connecting=(("aiohttp.connector", "connect"),),
        redirects=(
            Redirect(("aiohttp.client", "_request"), replies="history", status="status", method="method"),
            Redirect(None, replies="history", status="status", method="method"),
        ),
        # aiohttp sends a method that HTTP calls idempotent again, and has no switch for it.
        retries=(
            Retry(
                ("aiohttp.client", "_request"),
                where=(("retry_persistent_connection", (False,)), ("method", ("PUT", "DELETE", "TRACE"))),
                method="method",
            ),
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
            Row("psycopg.OperationalError", NOT_SENT, says="the connection is closed", unusable=True),
            # What the server reports has an SQLSTATE. Without one libpq speaks for itself: the connection was not
            # made (*connecting* tells), or it broke under a query.
            Row("psycopg.OperationalError", UNKNOWN, where="sqlstate", values=(None,), unusable=True),
            Row("psycopg.Error", REFUSED, where="sqlstate", values=("57P0*", "08*"), unusable=True),
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
            Row("psycopg2.Error", REFUSED, where="pgcode", values=("57P0*", "08*"), unusable=True),
            Row("psycopg2.Error", REFUSED, where="pgcode", values=(ANY,), unusable=False),
        ),
        connecting=(("psycopg2", "connect"),),
    ),
    # asyncpg
    # SQLAlchemy
    # PyMySQL
    # mysqlclient
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
