"""Kafka by confluent-kafka: one message, whose delivery report is awaited."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, Case
from tests.clients.conditions import Condition
from tests.clients.servers import kafka
from tests.clients.servers.sharing import HOST


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SAME_ERROR = "the delivery report does not say whether a message had been sent"
DELIVERY_S = 2.0
"""After a lost connection librdkafka asks for metadata first, once a second."""


class ConfluentKafka(Case):
    """Without retries of its own; list_topics makes sure of a connection first."""

    name = "confluent-kafka"
    packages = ("confluent-kafka",)
    server_name = "Kafka, librdkafka's mock cluster (protocol server)"
    skipped: Mapping[Condition, str] = {
        Condition.CLOSED_WHILE_IDLE: "librdkafka sends nothing on a dead connection: it makes another one while the "
        "message waits, and does so in time or not"
    }
    needless = {
        Condition.HALF_REQUEST: SAME_ERROR,
        Condition.DOWN_WHILE_IDLE: SAME_ERROR,
    }
    options: dict[str, Any] = {"message.send.max.retries": 0}

    @contextlib.contextmanager
    def serving(self) -> Iterator[kafka.Kafka]:
        yield kafka.shared()

    def connect(self, host: str, port: int) -> Any:
        return self._producer(host, port)

    def connect_tls(self, host: str, port: int) -> Any:
        return self._producer(host, port, {"security.protocol": "ssl"})

    def act(self, connection: Any, token: str) -> None:
        import confluent_kafka

        reports: list[Any] = []
        connection.produce(kafka.TOPIC, token.encode(), partition=0, on_delivery=lambda error, _: reports.append(error))
        connection.flush()
        if reports[0] is not None:
            raise confluent_kafka.KafkaException(reports[0])

    def close(self, connection: Any) -> None:
        connection.purge()
        connection.flush(TIMEOUT_S)

    def through_proxy(self, reply: bytes, server_port: int, proxy_port: int) -> bytes:
        """Replace the address that the broker says it has: a client goes on with that one."""
        host = HOST.encode()
        return reply.replace(host + struct.pack(">i", server_port), host + struct.pack(">i", proxy_port))

    def _producer(self, host: str, port: int, options: dict[str, Any] | None = None) -> Any:
        import confluent_kafka

        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": f"{host}:{port}",
                "acks": "all",
                "linger.ms": 0,
                "message.timeout.ms": round(DELIVERY_S * 1000),
                "reconnect.backoff.ms": 10,
                "reconnect.backoff.max.ms": 50,
                "log_level": 0,
                **self.options,
                **(options or {}),
            }
        )
        producer.list_topics(timeout=TIMEOUT_S)
        return producer


class ConfluentKafkaDefault(ConfluentKafka):
    """The retries that librdkafka makes by default, until message.timeout.ms; each reply is lost, not only one."""

    name = "confluent-kafka, default retries"
    breaks_every_request = True
    skipped = {}
    options = {}


CASES = (ConfluentKafka(), ConfluentKafkaDefault())
