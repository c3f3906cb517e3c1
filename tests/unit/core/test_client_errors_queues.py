"""Rows of redis-py, pymongo, pika and confluent-kafka that the real clients are hard to bring to raise."""

from __future__ import annotations

from typing import Any

import pytest

from wal_runner.core.lost_reply import connection_unusable, lost_reply


def made(name: str, message: str = "", base: type[BaseException] = Exception, **attributes: object) -> Any:
    """Return an error whose class calls itself *name*; no client is needed for it."""
    home, _, kind = name.rpartition(".")
    error = type(kind, (base,), {"__module__": home})(message)
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error


def raised_by(module: str, *functions: str, error: BaseException, over: BaseException | None = None) -> BaseException:
    """Return *error* as it comes out of *functions* of *module*, outermost first; *over*: what the last one caught."""
    namespace: dict[str, Any] = {"__name__": module, "error": error, "over": over}
    body = "raise error" if over is None else "try:\n        raise over\n    except Exception:\n        raise error"
    for function in reversed(functions):
        exec(f"def {function}():\n    {body}", namespace)  # noqa: S102  # only a frame of that name will do
        body = f"{function}()"
    try:
        namespace[functions[0]]()
    except BaseException as raised:  # noqa: BLE001 - whatever it is
        return raised
    raise AssertionError("nothing was raised")


# --- redis-py ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        made("redis.exceptions.ConnectionError", "max number of clients reached"),
        made("redis.exceptions.ReadOnlyError", "...", type(made("redis.exceptions.ResponseError"))),
        raised_by(
            "redis.connection",
            "get_connection",
            error=made("redis.exceptions.MaxConnectionsError", base=type(made("redis.exceptions.ConnectionError"))),
        ),
        made("redis.exceptions.WatchError", "Watched variable changed."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_redis_refusal_is_a_failure(error: Exception) -> None:
    """The server, or the client before it sent anything, refuses the command; the connection stays usable."""
    assert (False, False) == (lost_reply(error), connection_unusable(error))


@pytest.mark.parametrize("text", ["upstream failure", "ERR Connection timed out", "ERR Connection reset by peer"])
def test_redis_proxy_that_lost_the_server_leaves_doubt(text: str) -> None:
    """Envoy and twemproxy answer in the server's place."""
    assert lost_reply(made("redis.exceptions.ResponseError", text))


def test_redis_that_loads_its_data_is_waited_for() -> None:
    """Redis refuses every command until its data is loaded, so the worker connects again and fails no further item."""
    error = made("redis.exceptions.BusyLoadingError", "Redis is loading the dataset in memory")

    assert (False, True) == (lost_reply(error), connection_unusable(error))


@pytest.mark.parametrize(
    "error",
    [
        made("redis.exceptions.ConnectionError", "Connection closed by server."),
        made("redis.exceptions.TimeoutError", "Timeout writing to socket"),
        made("redis.exceptions.InvalidResponse", "Protocol Error: b'?'"),
        made("redis.exceptions.LockNotOwnedError", "Cannot release a lock that's no longer owned"),
        made("redis.exceptions.WatchError", "A TimeoutError occurred while watching one or more keys"),
        made("redis.exceptions.ResponseError", "WRONGTYPE ... script: 5ab, on @user_script:1."),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}"[:40],
)
def test_redis_error_after_sending_is_in_doubt(error: Exception) -> None:
    """The command, or a part of a script or of what a lock guards, may have been executed."""
    assert lost_reply(error)


def test_redis_login_that_times_out_is_a_failure() -> None:
    """The time-out behind it is that of the login, before the command, though redis-py does not say ``from``."""
    error = made("redis.exceptions.TimeoutError", "Timeout reading from localhost:6379")
    functions = ("get_connection", "connect_check_health", "read_response")

    caught = raised_by("redis.connection", *functions, error=error, over=TimeoutError())

    assert not lost_reply(caught)


def test_redis_repetition_that_cannot_connect_is_in_doubt() -> None:
    """Without get_connection, the connecting may follow a command that redis-py sent before."""
    error = made("redis.exceptions.ConnectionError", "Error 111 connecting to localhost:6379.")

    caught = raised_by("redis.connection", "send_packed_command", "connect_check_health", error=error)

    assert lost_reply(caught)


def test_redis_cluster_that_cannot_connect_is_in_doubt() -> None:
    """The client of a cluster repeats a command on another node, and takes a connection each time."""
    error = made("redis.exceptions.ConnectionError", "Error 111 connecting to localhost:6379.")
    inner: dict[str, Any] = {"__name__": "redis.connection", "error": error}
    exec("def get_connection():\n    raise error", inner)  # noqa: S102
    outer: dict[str, Any] = {"__name__": "redis.cluster", "inner": inner["get_connection"]}
    exec("def get_connection():\n    inner()", outer)  # noqa: S102
    with pytest.raises(Exception, match="111") as raised:
        outer["get_connection"]()

    assert lost_reply(raised.value)


def test_error_over_an_earlier_lost_reply_is_in_doubt() -> None:
    """A retry in fn that cannot connect does not hide the attempt before it, in whose handler it runs."""
    refused = made("redis.exceptions.ConnectionError", "Error 111 connecting to localhost:6379.")
    namespace: dict[str, Any] = {"__name__": "redis.connection", "error": refused}
    exec("def get_connection():\n    raise error", namespace)  # noqa: S102

    def attempt_twice() -> None:
        try:
            raise TimeoutError  # noqa: TRY301
        except TimeoutError:
            namespace["get_connection"]()

    with pytest.raises(Exception, match="111") as raised:
        attempt_twice()

    assert lost_reply(raised.value)


# --- pymongo ----------------------------------------------------------------------------------------------------

FAILURE = type(made("pymongo.errors.ConnectionFailure"))
RECONNECT = type(made("pymongo.errors.AutoReconnect", base=FAILURE))
OPERATION = type(made("pymongo.errors.OperationFailure"))
WRITE = type(made("pymongo.errors.WriteError", base=OPERATION))


@pytest.mark.parametrize(
    "error",
    [
        made("pymongo.errors.ServerSelectionTimeoutError", base=RECONNECT, _error_labels={"RetryableWriteError"}),
        made("pymongo.errors.NotPrimaryError", "not primary", RECONNECT, details={"code": 10107}),
        made("pymongo.errors.AutoReconnect", base=FAILURE, _error_labels={"TransientTransactionError"}),
        made("pymongo.errors.DuplicateKeyError", base=WRITE, code=11000),
        made("pymongo.errors.OperationFailure", "not authorized", code=13),
    ],
    ids=lambda error: type(error).__name__,
)
def test_mongo_refusal_is_a_failure(error: Exception) -> None:
    """It was not sent, not done, or is aborted with its transaction."""
    assert (False, False) == (lost_reply(error), connection_unusable(error))


@pytest.mark.parametrize(
    "error",
    [
        made(
            "pymongo.errors.ServerSelectionTimeoutError",
            base=RECONNECT,
            _error_labels={"RetryableWriteError", "UnknownTransactionCommitResult"},
        ),
        made("pymongo.errors.NotPrimaryError", "stepping down", RECONNECT, details={"code": 11602}),
        made(
            "pymongo.errors.NotPrimaryError",
            "not primary, twice",
            RECONNECT,
            details={"code": 10107},
            _error_labels={"RetryableWriteError"},
        ),
        made("pymongo.errors.NetworkTimeout", base=RECONNECT),
        made("pymongo.errors.WaitQueueTimeoutError", base=FAILURE),
        made("pymongo.errors.ProtocolError"),
        made("pymongo.errors.WTimeoutError", base=type(made("pymongo.errors.WriteConcernError", base=OPERATION))),
        made("pymongo.errors.ExecutionTimeout", base=OPERATION, code=50),
        made("pymongo.errors.BulkWriteError", "{'writeConcernErrors': [], 'nInserted': 0,", base=OPERATION),
        made("pymongo.errors.OperationFailure", "interrupted", code=11601),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}"[:40],
)
def test_mongo_error_that_may_follow_a_write_is_in_doubt(error: Exception) -> None:
    """The write, or a part of it, may be done."""
    assert lost_reply(error)


def test_mongo_batch_of_which_nothing_was_inserted_is_a_failure() -> None:
    """An insert is done whole or not at all; its neighbours in the batch are counted."""
    nothing = made("pymongo.errors.BulkWriteError", "'writeConcernErrors': [], 'nInserted': 0, ...", base=OPERATION)
    some = made("pymongo.errors.BulkWriteError", "'writeConcernErrors': [], 'nInserted': 3, ...", base=OPERATION)
    home = "pymongo.synchronous.collection"

    assert not lost_reply(raised_by(home, "insert_many", error=nothing))
    assert lost_reply(raised_by(home, "insert_many", error=some))


def test_mongo_update_of_many_that_fails_is_in_doubt() -> None:
    """The documents before the refused one stay changed."""
    home = "pymongo.synchronous.collection"

    assert lost_reply(raised_by(home, "update_many", error=made("pymongo.errors.WriteError", base=OPERATION)))
    assert not lost_reply(raised_by(home, "update_one", error=made("pymongo.errors.WriteError", base=OPERATION)))


def test_mongo_connection_that_cannot_be_made_is_a_failure() -> None:
    """It is a failure unless pymongo had sent the write before."""
    home, over = "pymongo.synchronous.pool", ConnectionResetError()
    first = made("pymongo.errors.AutoReconnect", base=FAILURE)
    second = made("pymongo.errors.AutoReconnect", base=FAILURE, _error_labels={"RetryableWriteError"})

    assert not lost_reply(raised_by(home, "_get_conn", error=_from(first, over)))
    assert lost_reply(raised_by(home, "_get_conn", error=_from(second, over)))


def _from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


# --- pika -------------------------------------------------------------------------------------------------------

CONNECTION = type(made("pika.exceptions.AMQPConnectionError"))
CHANNEL_CLOSED = type(made("pika.exceptions.ChannelClosed"))


@pytest.mark.parametrize(
    "error",
    [
        made("pika.exceptions.AMQPHeartbeatTimeout", base=CONNECTION),
        made("pika.exceptions.ConnectionBlockedTimeout", base=CONNECTION),
        made("pika.exceptions.ConnectionClosedByBroker", base=CONNECTION, reply_code=320),
        made("pika.exceptions.ChannelClosedByBroker", "internal error", CHANNEL_CLOSED, reply_code=541),
        made(
            "pika.exceptions.ChannelClosedByBroker",
            "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out",
            CHANNEL_CLOSED,
            reply_code=406,
        ),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}"[:40],
)
def test_pika_error_after_publishing_is_in_doubt(error: Exception) -> None:
    """The message may have come in before the connection or the channel was closed."""
    assert (True, True) == (lost_reply(error), connection_unusable(error))


@pytest.mark.parametrize(
    "error",
    [
        made("pika.exceptions.ConnectionWrongStateError", base=CONNECTION),
        made("pika.exceptions.ProbableAuthenticationError", base=CONNECTION),
        made("pika.exceptions.ChannelClosedByBroker", "PRECONDITION_FAILED", CHANNEL_CLOSED, reply_code=406),
        raised_by(
            "pika.adapters.blocking_connection",
            "_create_connection",
            error=made("pika.exceptions.ConnectionClosedByBroker", base=CONNECTION, reply_code=320),
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_pika_error_before_publishing_is_a_failure(error: Exception) -> None:
    """Nothing was published, and the connection or the channel is gone."""
    assert (False, True) == (lost_reply(error), connection_unusable(error))


# --- confluent-kafka --------------------------------------------------------------------------------------------


class KafkaError:
    """As much of librdkafka's error as the table reads."""

    def __init__(self, name: str, text: str = "") -> None:
        self._name = name
        self._text = text

    def name(self) -> str:
        """Return its code, as a name."""
        return self._name

    def __repr__(self) -> str:
        return f'KafkaError{{code={self._name},val=-1,str="{self._text}"}}'


def kafka_exception(name: str, text: str = "") -> BaseException:
    """Return the exception that holds it."""
    return type(made("cimpl.KafkaException"))(KafkaError(name, text))


@pytest.mark.parametrize("name", ["_QUEUE_FULL", "_UNKNOWN_TOPIC", "MSG_SIZE_TOO_LARGE", "TOPIC_AUTHORIZATION_FAILED"])
def test_kafka_refusal_is_a_failure(name: str) -> None:
    """It was not sent, or no attempt of it can have been written."""
    assert not lost_reply(kafka_exception(name))


@pytest.mark.parametrize(
    "name",
    [
        "_ALL_BROKERS_DOWN",
        "_MSG_TIMED_OUT",
        "_PURGE_INFLIGHT",
        "_TIMED_OUT",
        "_TRANSPORT",
        "NOT_ENOUGH_REPLICAS",
        "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        "REQUEST_TIMED_OUT",
    ],
)
def test_kafka_error_after_sending_is_in_doubt(name: str) -> None:
    """An attempt of it may have been written."""
    assert lost_reply(kafka_exception(name))


def test_kafka_without_metadata_has_sent_nothing() -> None:
    """list_topics fails with the code of a lost connection; its message names the metadata."""
    assert not lost_reply(kafka_exception("_TRANSPORT", "Failed to get metadata: Local: Broker transport failure"))


def test_kafka_producer_that_was_fenced_is_unusable() -> None:
    """A fenced producer must be made again; others connect again by themselves."""
    assert connection_unusable(kafka_exception("_FENCED"))
    assert not connection_unusable(kafka_exception("_TRANSPORT"))
