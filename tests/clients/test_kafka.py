"""What confluent-kafka does beyond one message: repetitions of its own, refusals, a full queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.case import new_token
from tests.clients.cases.kafka import ConfluentKafka, ConfluentKafkaDefault
from tests.clients.conftest import error_of, started
from tests.clients.proxy import HOST, Break, Proxy
from tests.clients.servers import kafka
from wal_runner.core.lost_reply import lost_reply


if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.usefixtures("sockets_may_leak"),
    pytest.mark.xdist_group(ConfluentKafka.server_name),
]


@pytest.fixture
def server() -> kafka.Kafka:
    return started(kafka.shared, ConfluentKafka())


@pytest.fixture
def producer(server: kafka.Kafka) -> Iterator[Any]:
    case = ConfluentKafka()
    producer = case.connect(HOST, server.port)
    yield producer
    case.close(producer)


def test_default_retries_write_it_several_times(server: kafka.Kafka) -> None:
    """A message whose reply is lost is sent again until message.timeout.ms, and written each time."""
    case, token = ConfluentKafkaDefault(), new_token()
    with Proxy(server.port, case.through_proxy) as proxy:
        producer = case.connect(HOST, proxy.port)
        proxy.arm(Break.NO_REPLY, token.encode(), lambda: server.happened(token), every=True)
        error = error_of(lambda: case.act(producer, token))
        case.close(producer)

    assert server.count(token) > 1
    assert lost_reply(error)


def test_message_too_large_is_a_failure(producer: Any) -> None:
    """The client refuses the message before it is queued."""
    error = error_of(lambda: producer.produce(kafka.TOPIC, b"x" * 2_000_000))

    assert not lost_reply(error)


def test_full_queue_is_a_failure(server: kafka.Kafka) -> None:
    """The message is not queued: a BufferError of Python."""
    case = ConfluentKafka()
    case.options = {**case.options, "queue.buffering.max.messages": 1, "linger.ms": 1000}
    producer = case.connect(HOST, server.port)
    producer.produce(kafka.TOPIC, b"the first", partition=0)

    error = error_of(lambda: producer.produce(kafka.TOPIC, b"the second", partition=0))
    case.close(producer)

    assert not lost_reply(error)


def test_unknown_partition_is_a_failure(producer: Any) -> None:
    """Calling produce() says so, since the connection was made before."""
    error = error_of(lambda: producer.produce(kafka.TOPIC, b"x", partition=99))

    assert not lost_reply(error)
