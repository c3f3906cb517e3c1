"""What pika does beyond one confirmed message: refusals, queues that are full, heartbeats that fail to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.case import new_token
from tests.clients.cases.rabbitmq import Pika
from tests.clients.conftest import error_of, started
from tests.clients.proxy import HOST, Break, Proxy
from tests.clients.servers import rabbitmq
from wal_runner.core.lost_reply import connection_unusable, lost_reply


if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.usefixtures("sockets_may_leak"),
    pytest.mark.xdist_group(Pika.server_name),
]


@pytest.fixture
def server() -> rabbitmq.RabbitMQ:
    return started(rabbitmq.shared, Pika())


@pytest.fixture
def channel(server: rabbitmq.RabbitMQ) -> Iterator[Any]:
    channel = Pika().connect(HOST, server.port)
    yield channel
    channel.connection.close()


def test_message_without_a_queue_is_a_failure(channel: Any) -> None:
    """The server returns the message; the channel stays usable."""
    error = error_of(lambda: channel.basic_publish("", "no such queue", b"", mandatory=True))

    assert (False, False) == (lost_reply(error), connection_unusable(error))


def test_message_without_an_exchange_is_a_failure(channel: Any) -> None:
    """The server closes the channel."""
    error = error_of(lambda: channel.basic_publish("no such exchange", "", b""))

    assert (False, True) == (lost_reply(error), connection_unusable(error))


def test_message_that_one_of_two_queues_rejects_is_in_doubt(server: rabbitmq.RabbitMQ, channel: Any) -> None:
    """The other queue has the message, although the server reports a Nack."""
    full, token = new_token(), new_token()
    channel.queue_declare(full, exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.basic_publish("", full, b"the one that fits")
    for queue in (full, rabbitmq.QUEUE):
        channel.queue_bind(queue, "amq.fanout")

    error = error_of(lambda: channel.basic_publish("amq.fanout", "", token.encode()))
    channel.queue_unbind(rabbitmq.QUEUE, "amq.fanout")

    assert ("NackError", True, True) == (type(error).__name__, server.happened(token), lost_reply(error))


@pytest.mark.slow
def test_missing_heartbeat_leaves_doubt(server: rabbitmq.RabbitMQ) -> None:
    """The connection hangs after the message: pika closes it when heartbeats are missing."""
    import pika

    token = new_token()
    with Proxy(server.port) as proxy:
        channel = pika.BlockingConnection(pika.ConnectionParameters(HOST, proxy.port, heartbeat=1)).channel()
        channel.confirm_delivery()
        proxy.arm(Break.HANG, token.encode(), lambda: server.happened(token))
        error = error_of(lambda: channel.basic_publish("", rabbitmq.QUEUE, token.encode()))

    assert (True, True) == (lost_reply(error), connection_unusable(error))


def test_message_without_confirmation_is_lost_unseen(server: rabbitmq.RabbitMQ) -> None:
    """Without confirm_delivery there is no error at all, so the item would be done."""
    import pika

    token = new_token()
    with Proxy(server.port) as proxy:
        channel = pika.BlockingConnection(pika.ConnectionParameters(HOST, proxy.port)).channel()
        proxy.arm(Break.HALF_REQUEST, token.encode(), lambda: server.happened(token))
        channel.basic_publish("", rabbitmq.QUEUE, token.encode())

    assert not server.happened(token)
