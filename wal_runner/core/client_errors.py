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
    POSITIVE,
    REFUSED,
    SEE_CAUSE,
    UNKNOWN,
    Client,
    Redirect,
    Retry,
    Row,
)
from wal_runner.core.http_statuses import UNKNOWN_STATUSES


UNKNOWN_NUMBERS: Final = tuple(sorted(UNKNOWN_STATUSES))


def _reading_json(place: tuple[str, str], status: str, method: str) -> Retry:
    """Return the entry of a function that reads the reply to a request as JSON: the request was answered before.

    A reply that is cut short fails only there if the client does not compare its length with what was said, as
    urllib3 before 2 and all that use it. So does the page of a gateway. *status* and *method* are paths as in `Retry`.
    """
    return Retry(place, where=((status, ("2*", *UNKNOWN_NUMBERS)),), method=method)


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
        retries=(_reading_json((f"{name}._models", "json"), "self.status_code", "self.request.method"),),
    )


def _azure_retries(passed: tuple[str, str]) -> tuple[Retry, ...]:
    """Return how azure-core's history shows earlier tries, which ended with errors or with replies."""
    method, history = "request.http_request.method", "retry_settings.history"
    return (
        Retry(passed, where=(), method=method, tries=history, error="error"),
        *(
            Retry(passed, where=((f"{history}.{number}.http_response.status_code", UNKNOWN_NUMBERS),), method=method)
            for number in range(10)  # retry_total, unless the caller asks for more
        ),
    )


# --- What the codes of databases say --------------------------------------------------------------------------

SQLSTATES_OF_LOGIN: Final = ("28*", "3D000")
"""PostgreSQL does not know the user, the password or the database."""

LIBPQ_SAYS_OF_LOGIN: Final = ("password authentication failed", "no password supplied", "no pg_hba.conf entry")
"""The same, if libpq passes on the text without the code."""

SQLSTATES_NOT_DONE: Final = ("08001", "08004", "25P02", "25P03", "25P04", "53300", "57P03", "57P05")
"""PostgreSQL did not do it, and the connection is of no more use: refused, idle for too long, transaction aborted."""

SQLSTATES_UNKNOWN: Final = ("08*", "40003", "57P*", "XXA00")
"""What may follow a COMMIT that PostgreSQL did: the connection broke behind a pooler (PgBouncer says 08P01 for that),
the completion is unknown, the server shuts down (tests/clients/test_restarts.py shows 57P01 after a COMMIT).
CockroachDB says XXA00 of a transaction that was committed, and whose change of the schema then failed."""

SEVERITIES_OF_AN_END: Final = ("FATAL", "PANIC")
"""The server ended the session. Codes that say why before a COMMIT stand above; it may panic while it writes one."""

MYSQL_CODES_UNKNOWN: Final = (
    "20*",  # the client's own
    "50*",  # the same of MariaDB's
    1053,  # server shutdown in progress
    1105,  # an unknown error: what Vitess says of a server behind it that it lost
    *range(1156, 1162),  # errors of the connection that the server, or a storage engine that is a client, had
    1180,  # error during COMMIT
    1181,  # error during ROLLBACK
    1196,  # some tables could not be rolled back
    1927,  # connection was killed; MaxScale says so of a server that was lost as well
    3169,  # session was killed
    8501,  # TiDB: execution result undetermined
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

PYMONGO_COLLECTIONS: Final = (
    ("pymongo.synchronous.collection", None),
    ("pymongo.asynchronous.collection", None),
    ("pymongo.collection", "4.9"),
)
"""The modules of pymongo's collections, each with the version that it was moved in."""


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
            # A file made of a socket remembers its time-out: the command was sent, and its reply is not read.
            Row("builtins.OSError", UNKNOWN, raised_in=("socket", "readinto"), unusable=True),
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
                where=(("response.status", UNKNOWN_NUMBERS),),
                method="method",
            ),
            _reading_json(("urllib3.response", "json"), "self.status", "self._original_response._method"),
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
        retries=(_reading_json(("requests.models", "json"), "self.status_code", "self.request.method"),),
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
            _reading_json(("aiohttp.client_reqrep", "json"), "self.status", "self.method"),
        ),
    ),
    # --- Mail ---------------------------------------------------------------------------------------------------
    Client(
        "smtplib",
        modules=("smtplib",),
        rows=(
            # The server says 421 and closes; -1 is smtplib's number for what is not an SMTP reply.
            Row("smtplib.SMTPAuthenticationError", REFUSED, where="smtp_code", values=(421, -1), unusable=True),
            Row("smtplib.SMTPAuthenticationError", REFUSED),
            Row("smtplib.SMTPConnectError", REFUSED, unusable=True),
            # Of 4xx and 5xx nobody took the mail over; 2xx, which is not 250, may mean that somebody did.
            Row("smtplib.SMTPDataError", REFUSED, where="smtp_code", values=(421,), unusable=True),
            Row("smtplib.SMTPDataError", REFUSED, where="smtp_code", values=("4*", "5*")),
            Row("smtplib.SMTPDataError", UNKNOWN, unusable=True),
            Row("smtplib.SMTPHeloError", REFUSED, unusable=True),
            Row("smtplib.SMTPNotSupportedError", REFUSED),
            # Of a recipient: {"a@example.com": (421, b"closing")}.
            Row("smtplib.SMTPRecipientsRefused", REFUSED, says="(421, b", unusable=True),
            Row("smtplib.SMTPRecipientsRefused", REFUSED, says="(-1, b", unusable=True),
            Row("smtplib.SMTPRecipientsRefused", REFUSED),
            Row("smtplib.SMTPSenderRefused", REFUSED, where="smtp_code", values=(421, -1), unusable=True),
            Row("smtplib.SMTPSenderRefused", REFUSED),
            # The reply to QUIT, at the end of a `with` block: the mail before it was sent. And a reply, to whatever
            # command, that is too long to be read.
            Row("smtplib.SMTPResponseException", UNKNOWN, raised_in=("smtplib", "__exit__"), unusable=True),
            Row("smtplib.SMTPResponseException", UNKNOWN, raised_in=("smtplib", "getreply"), unusable=True),
            Row("smtplib.SMTPResponseException", REFUSED, where="smtp_code", values=(421,), unusable=True),
            Row("smtplib.SMTPResponseException", REFUSED, where="smtp_code", values=("4*", "5*")),
            Row("smtplib.SMTPResponseException", UNKNOWN, unusable=True),
            Row("smtplib.SMTPServerDisconnected", NOT_SENT, says="please run connect() first", unusable=True),
            Row("smtplib.SMTPServerDisconnected", UNKNOWN, unusable=True),
        ),
        connecting=(
            ("smtplib", "connect"),  # waits for the greeting, too
            ("smtplib", "ehlo"),
            ("smtplib", "helo"),
            ("smtplib", "starttls"),
            ("smtplib", "login"),
            # A mail is the server's after DATA and the dot, never before (RFC 5321, 4.1.1.4).
            ("smtplib", "mail"),
            ("smtplib", "rcpt"),
        ),
    ),
    Client(
        "aiosmtplib",
        modules=("aiosmtplib",),
        rows=(
            Row("aiosmtplib.errors.SMTPAuthenticationError", REFUSED, where="code", values=(421,), unusable=True),
            Row("aiosmtplib.errors.SMTPAuthenticationError", REFUSED),
            Row("aiosmtplib.errors.SMTPConnectError", NOT_SENT, unusable=True),
            Row("aiosmtplib.errors.SMTPConnectResponseError", REFUSED, unusable=True),
            Row("aiosmtplib.errors.SMTPConnectTimeoutError", NOT_SENT, unusable=True),
            Row("aiosmtplib.errors.SMTPDataError", REFUSED, where="code", values=(421,), unusable=True),
            Row("aiosmtplib.errors.SMTPDataError", REFUSED, where="code", values=("4*", "5*")),
            Row("aiosmtplib.errors.SMTPDataError", UNKNOWN, unusable=True),
            Row("aiosmtplib.errors.SMTPHeloError", REFUSED, unusable=True),
            Row("aiosmtplib.errors.SMTPNotSupported", REFUSED),
            Row("aiosmtplib.errors.SMTPRecipientRefused", REFUSED, where="code", values=(421,), unusable=True),
            Row("aiosmtplib.errors.SMTPRecipientRefused", REFUSED),
            Row("aiosmtplib.errors.SMTPRecipientsRefused", REFUSED, says="(421, ", unusable=True),
            Row("aiosmtplib.errors.SMTPRecipientsRefused", REFUSED),
            Row("aiosmtplib.errors.SMTPSenderRefused", REFUSED, where="code", values=(421,), unusable=True),
            Row("aiosmtplib.errors.SMTPSenderRefused", REFUSED),
            # These follow a mail. `quit` raises for a reply that smtplib would return.
            Row("aiosmtplib.errors.SMTPResponseException", UNKNOWN, raised_in=("aiosmtplib.smtp", "quit")),
            Row("aiosmtplib.errors.SMTPResponseException", UNKNOWN, raised_in=("aiosmtplib.smtp", "rset")),
            Row("aiosmtplib.errors.SMTPResponseException", UNKNOWN, raised_in=("aiosmtplib.smtp", "noop")),
            *(
                Row("aiosmtplib.errors.SMTPResponseException", UNKNOWN, raised_in=("aiosmtplib.esmtp", name), until="2")
                for name in ("quit", "rset", "noop")
            ),
            Row("aiosmtplib.errors.SMTPResponseException", REFUSED, where="code", values=(421,), unusable=True),
            Row("aiosmtplib.errors.SMTPResponseException", REFUSED, where="code", values=("4*", "5*")),
            Row("aiosmtplib.errors.SMTPResponseException", UNKNOWN, unusable=True),
            # Every error that means "not connected" closes the client, which `connect` would open again.
            Row("aiosmtplib.errors.SMTPServerDisconnected", UNKNOWN, unusable=True),
            Row("aiosmtplib.errors.SMTPReadTimeoutError", UNKNOWN, unusable=True),
            Row("aiosmtplib.errors.SMTPTimeoutError", UNKNOWN, unusable=True),
        ),
        connecting=(
            ("aiosmtplib.smtp", "connect"),
            ("aiosmtplib.smtp", "starttls"),
            ("aiosmtplib.smtp", "login"),
            # Not by `rset`, which says EHLO as well after a connection was lost, and comes after a mail.
            ("aiosmtplib.smtp", "sendmail", "ehlo"),
            ("aiosmtplib.smtp", "sendmail", "helo"),
            ("aiosmtplib.smtp", "send_message", "ehlo"),
            ("aiosmtplib.smtp", "send_message", "helo"),
            ("aiosmtplib.smtp", "mail"),
            ("aiosmtplib.smtp", "rcpt"),
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
            # What the server said while the connection was made; *connecting* tells that nothing was sent.
            *(
                Row(
                    "psycopg.OperationalError",
                    UNKNOWN,
                    says=text,
                    where="sqlstate",
                    values=(None,),
                    unusable=True,
                    is_final=True,
                )
                for text in LIBPQ_SAYS_OF_LOGIN
            ),
            Row("psycopg.OperationalError", UNKNOWN, where="sqlstate", values=(None,), unusable=True),
            Row("psycopg.InternalError", UNKNOWN, where="sqlstate", values=(None,), unusable=True),
            Row("psycopg.Error", REFUSED, where="sqlstate", values=SQLSTATES_OF_LOGIN, unusable=True, is_final=True),
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
        "psycopg_pool",
        modules=("psycopg_pool",),
        rows=(
            # These are OperationalErrors of psycopg without an SQLSTATE.
            Row("psycopg_pool.PoolClosed", NOT_SENT, unusable=True),
            Row("psycopg_pool.PoolTimeout", NOT_SENT, unusable=False),
            Row("psycopg_pool.TooManyRequests", NOT_SENT, unusable=False),
        ),
    ),
    Client(
        "psycopg2",
        modules=("psycopg2",),
        rows=(
            # What the server said while the connection was made; *connecting* tells that nothing was sent.
            *(
                Row(
                    "psycopg2.OperationalError",
                    UNKNOWN,
                    says=text,
                    where="pgcode",
                    values=(None,),
                    unusable=True,
                    is_final=True,
                )
                for text in LIBPQ_SAYS_OF_LOGIN
            ),
            Row("psycopg2.OperationalError", UNKNOWN, where="pgcode", values=(None,), unusable=True),
            Row("psycopg2.InterfaceError", NOT_SENT, says="already closed", unusable=True),
            # What psycopg2 raises if libpq left it without a result and without a message.
            Row("psycopg2.DatabaseError", UNKNOWN, says="no message from the libpq", unusable=True),
            Row("psycopg2.DatabaseError", UNKNOWN, says="SSL SYSCALL error", unusable=True),
            Row("psycopg2.DatabaseError", UNKNOWN, says="SSL error", where="pgcode", values=(None,), unusable=True),
            Row(
                "psycopg2.DatabaseError",
                UNKNOWN,
                says="SSL connection has been",
                where="pgcode",
                values=(None,),
                unusable=True,
            ),
            Row(
                "psycopg2.DatabaseError",
                UNKNOWN,
                says="lost synchronization",
                where="pgcode",
                values=(None,),
                unusable=True,
            ),
            Row("psycopg2.DatabaseError", UNKNOWN, says="server closed the connection", unusable=True),
            Row("psycopg2.Error", REFUSED, where="pgcode", values=SQLSTATES_OF_LOGIN, unusable=True, is_final=True),
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
                values=SQLSTATES_OF_LOGIN,
                unusable=True,
                is_final=True,
            ),
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
    Client(
        "redis-py",
        modules=("redis.exceptions",),
        rows=(
            # What the server answers instead of doing it. Each is a ConnectionError or a ResponseError.
            Row("redis.exceptions.AuthenticationError", REFUSED, unusable=False),
            Row("redis.exceptions.AuthorizationError", REFUSED, unusable=False),
            Row("redis.exceptions.BusyLoadingError", REFUSED, unusable=True),  # it starts
            Row("redis.exceptions.ExternalAuthProviderError", REFUSED, unusable=False),
            Row("redis.exceptions.ConnectionError", REFUSED, says="max number of clients reached", unusable=False),
            # Of the pool, which has no connection left. The others are at work, and not to be replaced.
            Row(
                "redis.exceptions.MaxConnectionsError",
                NOT_SENT,
                raised_in=("redis.connection", "get_connection"),
                unusable=False,
            ),
            Row(
                "redis.exceptions.MaxConnectionsError",
                NOT_SENT,
                raised_in=("redis.asyncio.connection", "get_connection"),
                unusable=False,
            ),
            # One command of a pipeline or a MULTI failed when it was executed: the others had their effect.
            *(
                Row("redis.exceptions.ResponseError", UNKNOWN, raised_in=place, unusable=False)
                for place in (
                    ("redis.client", "raise_first_error"),
                    ("redis.cluster", "_raise_first_error"),
                    ("redis.asyncio.client", "raise_first_error"),
                    ("redis.asyncio.cluster", "_raise_first_error"),
                    ("redis.asyncio.cluster", "_execute"),  # of a pipeline without a MULTI
                )
            ),
            Row(
                "redis.exceptions.ResponseError",
                UNKNOWN,
                raised_in=("redis.cluster", "raise_first_error"),
                unusable=False,
                until="6.2",
            ),
            # A script or function that failed after it had begun: what it wrote before stays.
            Row("redis.exceptions.ResponseError", UNKNOWN, says="on @user_", unusable=False),
            Row("redis.exceptions.ResponseError", UNKNOWN, says=": @user_", unusable=False),  # before Redis 7
            Row("redis.exceptions.ResponseError", UNKNOWN, says="wrong number of response items", unusable=False),
            # What Envoy and twemproxy say of a server behind them that they lost.
            Row("redis.exceptions.ResponseError", UNKNOWN, says="upstream failure", unusable=False),
            Row("redis.exceptions.ResponseError", UNKNOWN, says="Connection timed out", unusable=False),
            Row("redis.exceptions.ResponseError", UNKNOWN, says="Connection reset by peer", unusable=False),
            Row("redis.exceptions.ResponseError", UNKNOWN, says="Broken pipe", unusable=False),
            Row("redis.exceptions.ResponseError", REFUSED, unusable=False),
            Row("redis.exceptions.WatchError", SEE_CAUSE, says="occurred while watching", unusable=False),
            Row("redis.exceptions.WatchError", REFUSED, unusable=False),
            # The lock was lost while something was done under it.
            Row("redis.exceptions.LockNotOwnedError", UNKNOWN, unusable=False),
            Row("redis.exceptions.DataError", NOT_SENT, unusable=False),
            Row("redis.exceptions.InvalidResponse", UNKNOWN, unusable=False),
            Row("redis.exceptions.ClusterError", UNKNOWN, unusable=False),
            # redis-py repeats a command by itself and raises the last error only. It makes sure of a connection before
            # the first time, in get_connection. What fails to connect later may be a repetition.
            *(
                Row(error, verdict, raised_in=place, unusable=is_down)
                for error in ("redis.exceptions.ConnectionError", "redis.exceptions.TimeoutError")
                for place, verdict, is_down in (
                    (("redis.cluster", "get_connection"), UNKNOWN, False),
                    # The server is down: the worker waits for it, instead of failing one item after the other.
                    (("redis.connection", "get_connection"), NOT_SENT, True),
                    (("redis.asyncio.connection", "get_connection"), NOT_SENT, True),
                )
            ),
            Row("redis.exceptions.ConnectionError", UNKNOWN, unusable=False),
            Row("redis.exceptions.TimeoutError", UNKNOWN, unusable=False),
        ),
        # A refusal may answer a repetition: READONLY after a failover, LOADING after a restart. What is repeated may
        # also be an attempt to connect, before anything was sent; the name of the function to repeat tells.
        retries=tuple(
            Retry(
                (home, "call_with_retry"),
                where=(
                    ("failures", (POSITIVE,)),
                    ("self._retries", (-1, POSITIVE)),  # with 0 the one failure counted is the error itself
                    ("do.__qualname__", ("Redis.*", "Pipeline.*", "TransactionStrategy.*")),
                ),
            )
            for home in ("redis.retry", "redis.asyncio.retry")
        ),
    ),
    Client(
        "pymemcache",
        modules=("pymemcache.exceptions",),
        rows=(
            # Several keys are several commands: some may have had their effect before the one that failed.
            *(
                Row(error, UNKNOWN, raised_in=place, unusable=False)
                for error in (
                    "pymemcache.exceptions.MemcacheError",
                    "pymemcache.exceptions.MemcacheClientError",
                    "pymemcache.exceptions.MemcacheIllegalInputError",
                    "pymemcache.exceptions.MemcacheServerError",
                    "pymemcache.exceptions.MemcacheUnknownCommandError",
                )
                for place in (
                    ("pymemcache.client.hash", "_safely_run_set_many"),
                    ("pymemcache.client.hash", "delete_many"),
                    ("pymemcache.client.hash", "flush_all"),
                )
            ),
            *(
                Row(error, UNKNOWN, raised_in=("pymemcache.client.base", function), unusable=False)
                for error in (
                    "pymemcache.exceptions.MemcacheClientError",
                    "pymemcache.exceptions.MemcacheServerError",
                    "pymemcache.exceptions.MemcacheUnknownCommandError",
                )
                for function in ("set_many", "delete_many")
            ),
            # Each of them closes its connection, and the next call makes a new one.
            Row("pymemcache.exceptions.MemcacheIllegalInputError", NOT_SENT, unusable=False),
            Row("pymemcache.exceptions.MemcacheUnknownCommandError", REFUSED, unusable=False),
            Row("pymemcache.exceptions.MemcacheClientError", REFUSED, unusable=False),
            # Other texts are those of proxies (mcrouter, twemproxy), which say so of a reply that they lost too.
            Row("pymemcache.exceptions.MemcacheServerError", REFUSED, says="out of memory", unusable=False),
            Row("pymemcache.exceptions.MemcacheServerError", REFUSED, says="object too large", unusable=False),
            Row("pymemcache.exceptions.MemcacheServerError", UNKNOWN, unusable=False),
            Row("pymemcache.exceptions.MemcacheUnexpectedCloseError", UNKNOWN, unusable=False),
            Row("pymemcache.exceptions.MemcacheUnknownError", UNKNOWN, unusable=False),
            Row("pymemcache.exceptions.MemcacheError", NOT_SENT, says="All servers seem to be down", unusable=True),
            Row("pymemcache.exceptions.MemcacheError", UNKNOWN, unusable=False),
        ),
        connecting=(("pymemcache.client.base", "_connect"),),
    ),
    Client(
        "pymongo",
        modules=("pymongo.errors", "pymongo.pool_shared"),
        rows=(
            Row("pymongo.errors.InvalidOperation", NOT_SENT, says="after close", unusable=True),
            Row("pymongo.pool_shared._PoolClosedError", NOT_SENT, unusable=True),
            Row("pymongo.pool._PoolClosedError", NOT_SENT, unusable=True, until="4.9"),
            # pymongo raises the error of the first attempt if there is no server for a second one. A commit that is
            # repeated by the caller, or by with_transaction, is another matter.
            Row(
                "pymongo.errors.ServerSelectionTimeoutError",
                UNKNOWN,
                where="_error_labels",
                values=("UnknownTransactionCommitResult",),
                unusable=False,
            ),
            Row("pymongo.errors.ServerSelectionTimeoutError", NOT_SENT, unusable=False),
            # Any other error of a second attempt hides the first attempt's. A first error with the label
            # RetryableWriteError would have been repeated, so an error that has it may be the second.
            Row(
                "pymongo.errors.AutoReconnect",
                UNKNOWN,
                where="_error_labels",
                values=("RetryableWriteError", "UnknownTransactionCommitResult"),
                unusable=False,
            ),
            # Not committed, and aborted by the server.
            Row(
                "pymongo.errors.AutoReconnect",
                NOT_SENT,
                where="_error_labels",
                values=("TransientTransactionError",),
                unusable=False,
            ),
            Row(
                "pymongo.errors.AutoReconnect",
                NOT_SENT,
                raised_in=("pymongo.synchronous.pool", "_get_conn"),
                unusable=False,
            ),
            Row(
                "pymongo.errors.AutoReconnect",
                NOT_SENT,
                raised_in=("pymongo.asynchronous.pool", "_get_conn"),
                unusable=False,
            ),
            *(
                Row(
                    "pymongo.errors.AutoReconnect",
                    NOT_SENT,
                    raised_in=("pymongo.pool", function),
                    unusable=False,
                    until=until,
                )
                for function, until in (("_get_conn", "4.9"), ("_get_socket", "4.4"))
            ),
            # A server that steps down says so before it does something (these codes), or in the middle.
            Row(
                "pymongo.errors.NotPrimaryError",
                UNKNOWN,
                where="_error_labels",
                values=("RetryableWriteError", "UnknownTransactionCommitResult"),
                unusable=False,
            ),
            Row(
                "pymongo.errors.NotPrimaryError",
                REFUSED,
                where="details.code",
                values=(10058, 10107, 13435, 13436),
                unusable=False,
            ),
            # The pool may have been too small for the second attempt.
            Row("pymongo.errors.ConnectionFailure", UNKNOWN, unusable=False),
            Row("pymongo.errors.ProtocolError", UNKNOWN, unusable=False),
            # --- What the server answers -------------------------------------------------------------------------
            # insert_many of which nothing was inserted; what else a batch had done before its error stays.
            *(
                Row(
                    "pymongo.errors.BulkWriteError",
                    REFUSED,
                    says="'writeConcernErrors': [], 'nInserted': 0,",
                    raised_in=(home, "insert_many"),
                    unusable=False,
                    until=until,
                )
                for home, until in PYMONGO_COLLECTIONS
            ),
            Row("pymongo.errors.BulkWriteError", UNKNOWN, unusable=False),
            Row("pymongo.errors.ClientBulkWriteException", UNKNOWN, unusable=False),
            Row("pymongo.errors.ExecutionTimeout", UNKNOWN, unusable=False),
            Row("pymongo.errors.WriteConcernError", UNKNOWN, unusable=False),  # done, and perhaps not kept
            # Documents that were changed before the one that was refused stay changed.
            *(
                Row("pymongo.errors.WriteError", UNKNOWN, raised_in=(home, function), unusable=False, until=until)
                for home, until in PYMONGO_COLLECTIONS
                for function in ("update_many", "delete_many")
            ),
            Row(
                "pymongo.errors.OperationFailure",
                UNKNOWN,
                where="_error_labels",
                values=("RetryableWriteError", "UnknownTransactionCommitResult"),
                unusable=False,
            ),
            # Interrupted, stepped down, or a mongos that lost the server behind it.
            Row(
                "pymongo.errors.OperationFailure",
                UNKNOWN,
                where="code",
                values=(6, 7, 50, 64, 79, 89, 91, 100, 134, 189, 202, 262, 279, 9001, 11600, 11601, 11602),
                unusable=False,
            ),
            Row("pymongo.errors.OperationFailure", REFUSED, unusable=False),
        ),
    ),
    # --- Clouds and APIs ----------------------------------------------------------------------------------------
    Client(
        "botocore",
        modules=("botocore.exceptions", "botocore.parsers"),
        rows=(
            Row("botocore.exceptions.ConnectTimeoutError", NOT_SENT, unusable=False),
            Row("botocore.exceptions.EndpointConnectionError", NOT_SENT, unusable=False),
            Row("botocore.exceptions.ReadTimeoutError", UNKNOWN, unusable=False),
            Row("botocore.exceptions.ResponseStreamingError", UNKNOWN, unusable=False),
            Row("botocore.exceptions.IncompleteReadError", UNKNOWN, unusable=False),
            Row("botocore.exceptions.ChecksumError", UNKNOWN, unusable=False),  # of what the reply holds
            Row("botocore.exceptions.UnseekableStreamError", UNKNOWN, unusable=False),  # found before sending again
            Row("botocore.parsers.ResponseParserError", UNKNOWN, unusable=False),
            # ConnectionClosedError, SSLError and ProxyConnectionError too: they are raised over urllib3's own errors.
            Row("botocore.exceptions.ConnectionError", SEE_CAUSE, unusable=False),
            Row("botocore.exceptions.HTTPClientError", SEE_CAUSE, unusable=False),
            # AWS answers with words; "503" stands for a body that is not its own, which is a proxy's.
            Row(
                "botocore.exceptions.ClientError",
                UNKNOWN,
                where="response.Error.Code",
                values=("503", "RequestTimeout", "RequestTimeoutException", "TransactionInProgressException"),
                unusable=False,
            ),
            Row(
                "botocore.exceptions.ClientError",
                BY_STATUS,
                where="response.ResponseMetadata.RetryAttempts",
                values=(0, None),
                unusable=False,
            ),
            # The answer to a repetition: "exists already" may be about what an earlier attempt did.
            Row("botocore.exceptions.ClientError", UNKNOWN, unusable=False),
        ),
        # "Could not connect" may be about a repetition, too.
        retries=(
            Retry(
                ("botocore.endpoint", "_send_request"),
                where=(("attempts", (range(2, 1_000),)),),
                method="request.method",
            ),
        ),
    ),
    Client(
        "google-api-core",
        modules=("google.api_core.exceptions",),
        rows=(
            # Its cause is the last attempt's error; an earlier attempt may have been acted on.
            Row("google.api_core.exceptions.RetryError", UNKNOWN),
            # Made of a gRPC error, which is the cause, or of a JSON reply. In the latter,
            # Google's servers send 499 for gRPC's CANCELLED and 503 for its UNAVAILABLE, after which nobody knows.
            Row("google.api_core.exceptions.Cancelled", SEE_CAUSE, where="errors.0.code().name", values=(ANY,)),
            Row("google.api_core.exceptions.Cancelled", UNKNOWN),
            Row(
                "google.api_core.exceptions.ServiceUnavailable", SEE_CAUSE, where="errors.0.code().name", values=(ANY,)
            ),
            Row("google.api_core.exceptions.ServiceUnavailable", UNKNOWN),
            Row(
                "google.api_core.exceptions.GoogleAPICallError", SEE_CAUSE, where="errors.0.code().name", values=(ANY,)
            ),
            Row("google.api_core.exceptions.GoogleAPICallError", BY_STATUS),
        ),
        retries=tuple(
            Retry((f"google.api_core.retry.{home}", "retry_target"), where=(), error="error_list")
            for home in ("retry_unary", "retry_unary_async")
        ),
    ),
    Client(
        "grpcio",
        modules=("grpc", "grpc._cython.cygrpc"),
        rows=(
            # A status that the server sent may repeat the text of a connection of the server's own. Versions that say
            # where a status comes from show it here.
            Row(
                "grpc.RpcError",
                UNKNOWN,
                says="Error received from peer",
                where="code().name",
                values=("UNAVAILABLE",),
                unusable=False,
            ),
            # No connection to send the request on. The channel connects again by itself, but only after a pause that
            # grows to two minutes, and every call in that pause fails at once.
            Row(
                "grpc.RpcError",
                NOT_SENT,
                where="details()",
                values=(
                    "failed to connect to all addresses*",
                    "connections to all backends failing*",
                    "DNS resolution failed*",
                    "errors resolving *",
                    "Name resolution failure*",
                    "Failed to pick subchannel*",
                    "empty address list*",
                ),
                unusable=True,
            ),
            Row(
                "grpc.RpcError",
                NOT_SENT,
                where="details()",
                values=("Exception serializing request!", "Getting metadata from plugin failed*"),
                unusable=False,
            ),
            # A limit of the size of messages: only the server's limit for requests says that nothing happened. Where
            # the text does not name the side, the message may be the reply.
            Row("grpc.RpcError", REFUSED, says="SERVER: Received message larger than max", unusable=False),
            Row("grpc.RpcError", NOT_SENT, says="CLIENT: Sent message larger than max", unusable=False),
            Row("grpc.RpcError", UNKNOWN, says="message larger than max", unusable=False),
            # The stream was reset. Some of HTTP/2's codes become RESOURCE_EXHAUSTED or PERMISSION_DENIED.
            Row("grpc.RpcError", UNKNOWN, says="RST_STREAM", unusable=False),
            Row(
                "grpc.RpcError",
                REFUSED,
                where="code().name",
                values=(
                    "ABORTED",  # "if the client should retry at a higher level": a conflict, decided before the effect
                    "ALREADY_EXISTS",
                    "FAILED_PRECONDITION",
                    "INVALID_ARGUMENT",
                    "NOT_FOUND",
                    "OUT_OF_RANGE",
                    "PERMISSION_DENIED",
                    "RESOURCE_EXHAUSTED",
                    "UNAUTHENTICATED",
                    "UNIMPLEMENTED",
                ),
                unusable=False,
            ),
            # CANCELLED, DATA_LOSS, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, UNKNOWN. A deadline says the same before
            # and after the request was sent.
            Row("grpc.RpcError", UNKNOWN, unusable=False),
            Row("grpc.FutureCancelledError", UNKNOWN, unusable=False),
            Row("grpc.FutureTimeoutError", UNKNOWN, unusable=False),
            # The channel was closed: by `Cannot invoke RPC on closed channel!` and, by asyncio, `Channel is closed.`
            Row("builtins.ValueError", NOT_SENT, says="Cannot invoke RPC", unusable=True),
            Row("grpc._cython.cygrpc.UsageError", NOT_SENT, says="Channel is closed", unusable=True),
            Row("grpc._cython.cygrpc.BaseError", UNKNOWN),
        ),
        connecting=(("grpc._utilities", "_block"),),  # channel_ready_future(...).result(timeout)
    ),
    Client(
        "azure-core",
        modules=("azure.core.exceptions",),
        rows=(
            # "No request was sent", says its docstring. With aiohttp it wraps a connection lost under a request, with
            # requests a reply that breaks off. What was wrapped decides.
            Row("azure.core.exceptions.ServiceRequestError", SEE_CAUSE, unusable=False),
            Row("azure.core.exceptions.ServiceResponseError", SEE_CAUSE, unusable=False),
            Row("azure.core.exceptions.DecodeError", UNKNOWN, unusable=False),  # IncompleteReadError too
            # An operation that takes long ended badly, or a success was none that the SDK knows.
            Row("azure.core.exceptions.HttpResponseError", UNKNOWN, where="status_code", values=("2*",)),
            Row("azure.core.exceptions.HttpResponseError", BY_STATUS, unusable=False),
        ),
        retries=tuple(
            retry
            for home in ("_retry", "_retry_async")
            for retry in _azure_retries((f"azure.core.pipeline.policies.{home}", "send"))
        ),
    ),
    Client(
        "openai",
        modules=("openai",),
        rows=(
            # A header counts the repetitions by the client itself. After one nobody knows, whatever the last attempt
            # came to: an earlier one may have been acted on.
            Row(
                "openai.APIConnectionError",
                SEE_CAUSE,
                where="request.headers.x-stainless-retry-count",
                values=("0", None),
                unusable=False,
            ),
            Row("openai.APIConnectionError", UNKNOWN, unusable=False),  # APITimeoutError too
            # A stream that broke off, or a success that is none.
            Row("openai.APIStatusError", UNKNOWN, where="status_code", values=("2*",), unusable=False),
            Row(
                "openai.APIStatusError",
                BY_STATUS,
                where="response.request.headers.x-stainless-retry-count",
                values=("0", None),
                unusable=False,
            ),
            Row("openai.APIStatusError", UNKNOWN, unusable=False),
            Row("openai.APIError", UNKNOWN, unusable=False),  # in a stream, or a reply that cannot be read
            # The reply came whole: the model was called.
            Row("openai.ContentFilterFinishReasonError", UNKNOWN, unusable=False),
            Row("openai.LengthFinishReasonError", UNKNOWN, unusable=False),
        ),
    ),
    Client(
        "anthropic",
        modules=("anthropic",),
        rows=(
            # A header counts the repetitions by the client itself. After one nobody knows, whatever the last attempt
            # came to: an earlier one may have been acted on.
            Row(
                "anthropic.APIConnectionError",
                SEE_CAUSE,
                where="request.headers.x-stainless-retry-count",
                values=("0", None),
                unusable=False,
            ),
            Row("anthropic.APIConnectionError", UNKNOWN, unusable=False),  # APITimeoutError too
            # A stream that broke off, or a success that is none.
            Row("anthropic.APIStatusError", UNKNOWN, where="status_code", values=("2*",), unusable=False),
            Row(
                "anthropic.APIStatusError",
                BY_STATUS,
                where="response.request.headers.x-stainless-retry-count",
                values=("0", None),
                unusable=False,
            ),
            Row("anthropic.APIStatusError", UNKNOWN, unusable=False),
            Row("anthropic.APIError", UNKNOWN, unusable=False),  # in a stream, or a reply that cannot be read
        ),
    ),
    Client(
        "stripe",
        modules=("stripe", "stripe._error"),
        rows=(
            *(
                row
                for home, until in (("stripe._error", None), ("stripe.error", "8"))
                for row in (
                    Row(f"{home}.APIConnectionError", SEE_CAUSE, unusable=False, until=until),
                    # A reply whose body cannot be read may have the status of success. Stripe calls the outcome of any
                    # 5xx indeterminate.
                    Row(
                        f"{home}.StripeError",
                        UNKNOWN,
                        where="http_status",
                        values=("2*", "5*"),
                        unusable=False,
                        until=until,
                    ),
                    # Without a status the error is about the call: no key, an unknown parameter.
                    Row(
                        f"{home}.StripeError",
                        BY_STATUS,
                        where="http_status",
                        values=(ANY,),
                        unusable=False,
                        until=until,
                    ),
                )
            ),
        ),
        retries=tuple(
            Retry(("stripe._http_client", function), where=(("num_retries", (POSITIVE,)),), method="method")
            for function in ("_request_with_retries_internal", "_request_with_retries_internal_async")
        ),
    ),
    Client(
        "twilio",
        modules=("twilio.base.exceptions",),
        rows=(
            Row("twilio.base.exceptions.TwilioServiceException", BY_STATUS, unusable=False),
            # Twilio's own codes have five digits. If the body is not Twilio's, the code is the status; the body is not
            # kept, and it may be that of a proxy that lost the server.
            Row("twilio.base.exceptions.TwilioRestException", UNKNOWN, where="code", values=(503,), unusable=False),
            Row("twilio.base.exceptions.TwilioRestException", BY_STATUS, unusable=False),
        ),
        retries=tuple(
            _reading_json(("twilio.base.version", function), "response.status_code", "method")
            for function in ("create", "create_async", "update", "update_async")
        ),
    ),
    Client(
        "slack_sdk",
        modules=("slack_sdk.errors",),
        rows=(
            Row("slack_sdk.errors.SlackClientNotConnectedError", NOT_SENT, unusable=True),
            Row(
                "slack_sdk.errors.SlackApiError",
                BY_STATUS,
                where="response.status_code",
                values=("4*", "5*"),
                unusable=False,
            ),
            # "It's possible some aspect of the operation succeeded", says Slack of these. The others are refusals,
            # unless the answer is not Slack's: then `error` is a sentence of the client's.
            Row(
                "slack_sdk.errors.SlackApiError",
                UNKNOWN,
                where="response.data.error",
                values=("fatal_error", "internal_error", "Received a response in a non-JSON*"),
                unusable=False,
            ),
            Row("slack_sdk.errors.SlackApiError", REFUSED, where="response.data.ok", values=(False,), unusable=False),
            Row("slack_sdk.errors.SlackApiError", UNKNOWN, unusable=False),
        ),
        retries=tuple(
            Retry((f"slack_sdk.{home}", function), where=(("retry_state.current_attempt", (POSITIVE,)),))
            for home, function in (
                ("web.base_client", "_perform_urllib_http_request"),
                ("web.async_internal_utils", "_request_with_session"),
                ("webhook.client", "_perform_http_request"),
                ("webhook.async_client", "_perform_http_request"),
            )
        ),
    ),
    # --- Queues -------------------------------------------------------------------------------------------------
    Client(
        "pika",
        modules=("pika.exceptions", "pika.adapters.utils.connection_workflow"),
        rows=(
            # "Channel is closed.": what follows a lost connection, too.
            Row("pika.exceptions.ChannelWrongStateError", NOT_SENT, unusable=True),
            Row("pika.exceptions.ConnectionWrongStateError", NOT_SENT, unusable=True),
            Row("pika.exceptions.NoFreeChannels", NOT_SENT, unusable=False),
            Row("pika.exceptions.AuthenticationError", REFUSED, unusable=True, is_final=True),
            Row("pika.exceptions.ConnectionOpenAborted", NOT_SENT, unusable=True),
            Row("pika.exceptions.IncompatibleProtocolError", NOT_SENT, unusable=True),
            # Probable: the connection was lost in the middle of the login, as it is when the server restarts.
            Row("pika.exceptions.ProbableAccessDeniedError", NOT_SENT, unusable=True),
            Row("pika.exceptions.ProbableAuthenticationError", NOT_SENT, unusable=True),
            Row("pika.adapters.utils.connection_workflow.AMQPConnectorException", NOT_SENT, unusable=True),
            # AMQPHeartbeatTimeout, ConnectionBlockedTimeout, ConnectionClosedByBroker and StreamLostError too.
            Row("pika.exceptions.AMQPConnectionError", UNKNOWN, unusable=True),
            Row("pika.exceptions.ProtocolSyntaxError", UNKNOWN, unusable=True),
            # The server closes a channel for a message that it refuses, and, at any time, for another one that was not
            # acknowledged in time.
            Row("pika.exceptions.ChannelClosed", UNKNOWN, says="delivery acknowledgement", unusable=True),
            Row(
                "pika.exceptions.ChannelClosed", REFUSED, where="reply_code", values=(403, 404, 405, 406), unusable=True
            ),
            Row("pika.exceptions.ChannelClosed", UNKNOWN, unusable=True),
            # One queue did not take it; others that it was routed to may have.
            Row("pika.exceptions.NackError", UNKNOWN, unusable=False),
            Row("pika.exceptions.UnroutableError", REFUSED, unusable=False),
        ),
        connecting=(
            ("pika.adapters.blocking_connection", "_create_connection"),
            ("pika.adapters.blocking_connection", "channel"),
            ("pika.adapters.blocking_connection", "confirm_delivery"),
        ),
    ),
    Client(
        "confluent-kafka",
        modules=("confluent_kafka.cimpl",),
        rows=(
            # list_topics, before anything was produced, and produce itself, which puts nothing into its queue then.
            Row("cimpl.KafkaException", NOT_SENT, says='str="Failed to get metadata', unusable=False),
            Row("cimpl.KafkaException", NOT_SENT, says='{code=_FATAL,val=-150,str="Unable to produce', unusable=True),
            Row("cimpl.KafkaException", NOT_SENT, says='str="Unable to produce', unusable=False),
            Row(
                "cimpl.KafkaException",
                NOT_SENT,
                where="args.0.name()",
                values=(
                    "_INVALID_ARG",
                    "_KEY_SERIALIZATION",
                    "_QUEUE_FULL",
                    "_STATE",
                    "_UNKNOWN_PARTITION",
                    "_UNKNOWN_TOPIC",
                    "_VALUE_SERIALIZATION",
                ),
                unusable=False,
            ),
            # Answers that librdkafka does not retry. Those that it does may follow an attempt whose reply was lost.
            Row(
                "cimpl.KafkaException",
                REFUSED,
                where="args.0.name()",
                values=(
                    "CLUSTER_AUTHORIZATION_FAILED",
                    "INVALID_MSG",
                    "INVALID_MSG_SIZE",
                    "INVALID_RECORD",
                    "INVALID_REQUIRED_ACKS",
                    "INVALID_TIMESTAMP",
                    "MSG_SIZE_TOO_LARGE",
                    "POLICY_VIOLATION",
                    "RECORD_LIST_TOO_LARGE",
                    "TOPIC_AUTHORIZATION_FAILED",
                    "TOPIC_EXCEPTION",
                    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
                    "UNKNOWN_TOPIC_OR_PART",
                    "UNSUPPORTED_COMPRESSION_TYPE",
                    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
                    "UNSUPPORTED_VERSION",
                ),
                unusable=False,
            ),
            # The producer is of no use after these.
            Row(
                "cimpl.KafkaException",
                UNKNOWN,
                where="args.0.name()",
                values=("_FATAL", "_FENCED", "INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED"),
                unusable=True,
            ),
            Row("cimpl.KafkaException", UNKNOWN, unusable=False),
        ),
    ),
    # --- Files and shells ---------------------------------------------------------------------------------------
    Client(
        "paramiko",
        modules=("paramiko.ssh_exception", "paramiko.sftp"),
        rows=(
            # What paramiko says if the connection is lost in the middle of the login.
            Row("paramiko.ssh_exception.AuthenticationException", NOT_SENT, says="transport shut down", unusable=True),
            Row("paramiko.ssh_exception.AuthenticationException", REFUSED, unusable=True, is_final=True),
            Row("paramiko.ssh_exception.BadHostKeyException", REFUSED, unusable=True, is_final=True),
            Row("paramiko.ssh_exception.ChannelException", REFUSED),  # the server opens no channel
            Row("paramiko.ssh_exception.ConfigParseError", NOT_SENT),
            Row("paramiko.ssh_exception.CouldNotCanonicalize", NOT_SENT),
            Row("paramiko.ssh_exception.IncompatiblePeer", REFUSED, unusable=True),
            Row("paramiko.ssh_exception.NoValidConnectionsError", NOT_SENT, unusable=True),
            Row("paramiko.ssh_exception.SSHException", NOT_SENT, says="SSH session not active", unusable=True),
            Row("paramiko.ssh_exception.SSHException", NOT_SENT, says="No existing session", unusable=True),
            Row("paramiko.ssh_exception.SSHException", NOT_SENT, says="Channel is not open", unusable=True),
            # "Channel closed." may be a refusal of the command, or a lost connection.
            Row("paramiko.ssh_exception.SSHException", UNKNOWN, unusable=True),
            Row("paramiko.sftp.SFTPError", REFUSED, raised_in=("paramiko.sftp_client", "chdir")),
            Row("paramiko.sftp.SFTPError", UNKNOWN, unusable=True),
            # Errors of the thread that reads the connection; EOFError of a directory's or a file's end is not one.
            Row("builtins.EOFError", UNKNOWN, raised_in=("paramiko.transport", "run"), unusable=True),
            Row("builtins.EOFError", UNKNOWN, raised_in=("paramiko.sftp", "_write_all"), unusable=True),
            # These are one request each, or begin with the one that failed; `put` fails in `open` first.
            *(
                Row("builtins.OSError", NOT_SENT, says="Socket is closed", raised_in=place, unusable=True)
                for place in (
                    ("paramiko.sftp_client", "open"),
                    ("paramiko.sftp_client", "rename"),
                    ("paramiko.sftp_client", "posix_rename"),
                    ("paramiko.sftp_client", "remove"),
                    ("paramiko.sftp_client", "mkdir"),
                    ("paramiko.sftp_client", "rmdir"),
                    ("paramiko.sftp_client", "symlink"),
                )
            ),
            Row(
                "builtins.OSError",
                UNKNOWN,
                says="Socket is closed",
                raised_in=("paramiko.channel", "_send"),
                unusable=True,
            ),
        ),
        connecting=(
            ("paramiko.client", "connect"),
            ("paramiko.transport", "start_client"),
            ("paramiko.transport", "open_channel"),
            ("paramiko.channel", "invoke_subsystem"),
            ("paramiko.sftp_client", "from_transport"),
        ),
    ),
    Client(
        "ftplib",
        modules=("ftplib",),
        rows=(
            # The reply to QUIT, at the end of a `with` block too: the file before it was stored.
            Row("ftplib.error_temp", UNKNOWN, raised_in=("ftplib", "quit"), unusable=True),
            Row("ftplib.error_temp", REFUSED, where="args.0", values=("421*",), unusable=True),  # the server closes
            Row("ftplib.error_temp", REFUSED),
            Row("ftplib.error_perm", UNKNOWN, raised_in=("ftplib", "quit"), unusable=True),
            Row("ftplib.error_perm", REFUSED),
            # Replies that belong to no command, or to another one: too long, no number, 1xx or 3xx instead of 2xx.
            Row("ftplib.error_proto", UNKNOWN, unusable=True),
            Row("ftplib.error_reply", UNKNOWN, unusable=True),
            Row("ftplib.Error", UNKNOWN, unusable=True),
            Row("builtins.EOFError", UNKNOWN, raised_in=("ftplib", "getline"), unusable=True),
            # After close() or quit() there is no socket.
            Row("builtins.AttributeError", NOT_SENT, says="'NoneType'", raised_in=("ftplib", "putline"), unusable=True),
        ),
        connecting=(
            ("ftplib", "connect"),
            ("ftplib", "login"),
            # TYPE, PASV or PORT, and RNFR, which come before STOR and RNTO.
            ("ftplib", "storbinary", "voidcmd"),
            ("ftplib", "storlines", "voidcmd"),
            ("ftplib", "storbinary", "makepasv"),
            ("ftplib", "storlines", "makepasv"),
            ("ftplib", "rename", "sendcmd"),
        ),
    ),
)
