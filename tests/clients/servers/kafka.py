"""Kafka by the mock cluster of librdkafka: brokers in a process of their own, with the log of one partition in memory.

Run as a program, this is that process: it prints the port of its broker, and ends when its standard input does.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from tests.clients.servers.sharing import HOST, shared_server


ROOT: Final = Path(__file__).parents[3]
TOPIC: Final = "effects"
ANSWER_S: Final = 10.0


class Kafka:
    """A broker whose log is read back by a consumer."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._next = 0
        self._consumer = self._consumer_from_the_start()

    def happened(self, token: str) -> bool:
        """Return whether a message with *token* is in the log."""
        return self.count(token) > 0

    def count(self, token: str) -> int:
        """Return how many messages with *token* are in the log."""
        import confluent_kafka

        with self._lock:
            partition = confluent_kafka.TopicPartition(TOPIC, 0)
            _, end = self._consumer.get_watermark_offsets(partition, ANSWER_S)
            while self._next < end:
                for message in self._consumer.consume(end - self._next, ANSWER_S):
                    assert message.error() is None, message.error()
                    name = message.value().decode()
                    self.counts[name] = self.counts.get(name, 0) + 1
                    self._next = message.offset() + 1
            return self.counts.get(token, 0)

    def close(self) -> None:
        """Stop the broker."""
        self._consumer.close()
        self._process.communicate()

    def _consumer_from_the_start(self) -> Any:
        import confluent_kafka

        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": f"{HOST}:{self.port}",
                "group.id": "the test",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 5,
                "fetch.error.backoff.ms": 5,
                **({"fetch.queue.backoff.ms": 5} if confluent_kafka.libversion() >= ("2.2.0",) else {}),
            }
        )
        consumer.assign([confluent_kafka.TopicPartition(TOPIC, 0, 0)])
        return consumer


shared = shared_server(Kafka)


def main() -> None:
    """Run the broker."""
    import confluent_kafka

    owner = confluent_kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": ""})
    owner.produce(TOPIC, b"the first", partition=0)  # makes the topic
    owner.flush(ANSWER_S)
    (broker,) = owner.list_topics(timeout=ANSWER_S).brokers.values()
    sys.stdout.write(f"{broker.port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
