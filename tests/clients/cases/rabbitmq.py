"""RabbitMQ by pika: a message whose delivery is confirmed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, Case
from tests.clients.conditions import Condition
from tests.clients.servers import rabbitmq


if TYPE_CHECKING:
    from collections.abc import Iterator

SAME_ERROR = "the same error as after the whole message"


class Pika(Case):
    """BlockingConnection with confirm_delivery: basic_publish returns when the server has the message."""

    name = "pika"
    packages = ("pika",)
    server_name = "RabbitMQ 3.10 (real server)"
    skipped = {
        Condition.HANG: "pika has no time-out for a confirmation; it waits until heartbeats fail to come, 12 s or more"
    }
    needless = {
        Condition.HALF_REQUEST: SAME_ERROR,
        Condition.CLOSED_WHILE_IDLE: SAME_ERROR,
        Condition.DOWN_WHILE_IDLE: SAME_ERROR,
    }

    @contextlib.contextmanager
    def serving(self) -> Iterator[rabbitmq.RabbitMQ]:
        yield rabbitmq.shared()

    def connect(self, host: str, port: int) -> Any:
        return self._channel(host, port)

    def connect_tls(self, host: str, port: int) -> Any:
        import ssl

        import pika

        return self._channel(host, port, ssl_options=pika.SSLOptions(ssl.create_default_context(), host))

    def act(self, connection: Any, token: str) -> None:
        connection.basic_publish("", rabbitmq.QUEUE, token.encode(), mandatory=True)

    def close(self, connection: Any) -> None:
        connection.connection.close()

    def _channel(self, host: str, port: int, **options: Any) -> Any:
        import pika

        parameters = pika.ConnectionParameters(
            host, port, socket_timeout=TIMEOUT_S, stack_timeout=TIMEOUT_S, connection_attempts=1, **options
        )
        channel = pika.BlockingConnection(parameters).channel()
        channel.confirm_delivery()
        return channel


CASES = (Pika(),)
