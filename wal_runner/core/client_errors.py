"""The errors of clients, row by row. To add a client, see docs/contributing.md; no other file is to be changed.

Imported by `error_evidence`. Invariant: an error that may follow a request that was acted on is UNKNOWN. tests/clients
provokes the errors with the real clients, and docs/reference/lost-replies.md shows what came out.
"""

from __future__ import annotations

import errno
from typing import Final

from wal_runner.core.error_rows import ANY, BY_STATUS, NOT_SENT, REFUSED, SEE_CAUSE, UNKNOWN, Client, Row


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
            # A file made of a socket remembers its time-out: the command was sent, and its reply is not read.
            Row("builtins.OSError", UNKNOWN, says="cannot read from timed out object", unusable=True),
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
    Client(
        "paramiko",
        modules=("paramiko.ssh_exception", "paramiko.sftp"),
        rows=(
            Row("paramiko.ssh_exception.AuthenticationException", REFUSED, unusable=True),
            Row("paramiko.ssh_exception.BadHostKeyException", REFUSED, unusable=True),
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
