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
    Client(
        "redis-py",
        modules=("redis.exceptions",),
        rows=(
            # What the server answers instead of doing it. Each is a ConnectionError or a ResponseError.
            Row("redis.exceptions.AuthenticationError", REFUSED, unusable=False),
            Row("redis.exceptions.AuthorizationError", REFUSED, unusable=False),
            Row("redis.exceptions.BusyLoadingError", REFUSED, unusable=False),
            Row("redis.exceptions.ExternalAuthProviderError", REFUSED, unusable=False),
            Row("redis.exceptions.ConnectionError", REFUSED, says="max number of clients reached", unusable=False),
            # One command of a pipeline or a MULTI failed when it was executed: the others had their effect.
            *(
                Row("redis.exceptions.ResponseError", UNKNOWN, raised_in=place, unusable=False)
                for place in (
                    ("redis.client", "raise_first_error"),
                    ("redis.cluster", "_raise_first_error"),
                    ("redis.asyncio.client", "raise_first_error"),
                    ("redis.asyncio.cluster", "_raise_first_error"),
                )
            ),
            # A script or function that failed after it had begun: what it wrote before stays.
            Row("redis.exceptions.ResponseError", UNKNOWN, says="on @user_", unusable=False),
            Row("redis.exceptions.ResponseError", UNKNOWN, says=": @user_", unusable=False),  # before Redis 7
            Row("redis.exceptions.ResponseError", UNKNOWN, says="wrong number of response items", unusable=False),
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
                Row(error, verdict, raised_in=place, unusable=False)
                for error in ("redis.exceptions.ConnectionError", "redis.exceptions.TimeoutError")
                for place, verdict in (
                    (("redis.cluster", "get_connection"), UNKNOWN),
                    (("redis.connection", "get_connection"), NOT_SENT),
                    (("redis.asyncio.connection", "get_connection"), NOT_SENT),
                )
            ),
            Row("redis.exceptions.ConnectionError", UNKNOWN, unusable=False),
            Row("redis.exceptions.TimeoutError", UNKNOWN, unusable=False),
        ),
    ),
    Client(
        "pymongo",
        modules=("pymongo.errors", "pymongo.pool_shared"),
        rows=(
            Row("pymongo.errors.InvalidOperation", NOT_SENT, says="after close", unusable=True),
            Row("pymongo.pool_shared._PoolClosedError", NOT_SENT, unusable=True),
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
                )
                for home in ("pymongo.synchronous.collection", "pymongo.asynchronous.collection")
            ),
            Row("pymongo.errors.BulkWriteError", UNKNOWN, unusable=False),
            Row("pymongo.errors.ClientBulkWriteException", UNKNOWN, unusable=False),
            Row("pymongo.errors.ExecutionTimeout", UNKNOWN, unusable=False),
            Row("pymongo.errors.WriteConcernError", UNKNOWN, unusable=False),  # done, and perhaps not kept
            # Documents that were changed before the one that was refused stay changed.
            *(
                Row("pymongo.errors.WriteError", UNKNOWN, raised_in=(home, function), unusable=False)
                for home in ("pymongo.synchronous.collection", "pymongo.asynchronous.collection")
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
    Client(
        "pika",
        modules=("pika.exceptions", "pika.adapters.utils.connection_workflow"),
        rows=(
            # "Channel is closed.": what follows a lost connection, too.
            Row("pika.exceptions.ChannelWrongStateError", NOT_SENT, unusable=True),
            Row("pika.exceptions.ConnectionWrongStateError", NOT_SENT, unusable=True),
            Row("pika.exceptions.NoFreeChannels", NOT_SENT, unusable=False),
            Row("pika.exceptions.AuthenticationError", REFUSED, unusable=True),
            Row("pika.exceptions.ConnectionOpenAborted", NOT_SENT, unusable=True),
            Row("pika.exceptions.IncompatibleProtocolError", NOT_SENT, unusable=True),
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
    # paramiko
    # ftplib
    # aiosmtplib
)
