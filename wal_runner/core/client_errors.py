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
            Row("stripe._error.APIConnectionError", SEE_CAUSE, unusable=False),
            # A reply whose body cannot be read may have the status of success. Stripe calls the outcome of any 5xx
            # indeterminate.
            Row("stripe._error.StripeError", UNKNOWN, where="http_status", values=("2*", "5*"), unusable=False),
            # Without a status the error is about the call: no key, an unknown parameter.
            Row("stripe._error.StripeError", BY_STATUS, where="http_status", values=(ANY,), unusable=False),
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
    ),
    # --- Queues -------------------------------------------------------------------------------------------------
    # pika
    # confluent-kafka
    # --- Files and shells ---------------------------------------------------------------------------------------
    # paramiko
    # ftplib
    # aiosmtplib
)
