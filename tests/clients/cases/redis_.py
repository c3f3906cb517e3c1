"""Redis by redis-py: one command, a MULTI, and the retries that redis-py makes by default."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, AsyncConnection, Case, NotTried
from tests.clients.conditions import Condition
from tests.clients.servers import redis_


if TYPE_CHECKING:
    from collections.abc import Iterator

SAME_ERROR = "the same error as after the whole command"


class RedisPy(Case):
    """A client whose own retries are off, with its pool of connections."""

    name = "redis-py"
    packages = ("redis",)
    server_name = "Redis 7 (real server)"
    needless = {Condition.HALF_REQUEST: SAME_ERROR}

    @contextlib.contextmanager
    def serving(self) -> Iterator[redis_.Redis]:
        yield redis_.shared()

    def connect(self, host: str, port: int) -> Any:
        return self._client(host, port)

    def connect_tls(self, host: str, port: int) -> Any:
        return self._client(host, port, ssl=True)

    def act(self, connection: Any, token: str) -> None:
        connection.rpush(token, "1")

    def _client(self, host: str, port: int, **options: Any) -> Any:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return redis.Redis(
            host=host,
            port=port,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            **options,
        )


class RedisPyMulti(RedisPy):
    """A pipeline is a MULTI by default: all of it or nothing."""

    name = "redis-py, MULTI"

    def act(self, connection: Any, token: str) -> None:
        with connection.pipeline() as pipe:
            pipe.rpush(token, "1")
            pipe.incr("effects")
            pipe.execute()


class RedisPySingle(RedisPy):
    """One connection without a pool: nothing looks whether it is alive before a command is sent on it."""

    name = "redis-py, one connection"
    needless = {
        Condition.HALF_REQUEST: SAME_ERROR,
        Condition.CLOSED_WHILE_IDLE: SAME_ERROR,
        Condition.DOWN_WHILE_IDLE: SAME_ERROR,
    }

    def connect(self, host: str, port: int) -> Any:
        return self._client(host, port, single_connection_client=True)

    def connect_tls(self, host: str, port: int) -> Any:
        return self._client(host, port, single_connection_client=True, ssl=True)


class RedisPyDefault(RedisPy):
    """The retries that redis-py makes by default, with a shorter backoff; each reply is lost, not only the first."""

    name = "redis-py, default retries"
    breaks_every_request = True
    timeout_s = 0.15

    def _client(self, host: str, port: int, **options: Any) -> Any:
        import redis

        client = redis.Redis(
            host=host, port=port, socket_timeout=self.timeout_s, socket_connect_timeout=self.timeout_s, **options
        )
        retry = client.get_retry()
        if retry is None:
            raise NotTried("before redis-py 6 there are no retries by default")
        from redis.backoff import ExponentialWithJitterBackoff

        assert retry.get_retries() > 0, "redis-py has no retries by default any more"
        retry._backoff = ExponentialWithJitterBackoff(base=0.001, cap=0.01)
        client.set_retry(retry)
        return client


class RedisPyAsyncio(RedisPy):
    """The asyncio client."""

    name = "redis-py, asyncio"
    needless = {
        Condition.HALF_REQUEST: SAME_ERROR,
        Condition.CLOSED_WHILE_IDLE: "the event loop had no time to see that it was closed; " + SAME_ERROR,
        Condition.DOWN_WHILE_IDLE: "the event loop had no time to see that it was closed; " + SAME_ERROR,
    }

    def connect(self, host: str, port: int) -> AsyncConnection:
        return AsyncConnection(lambda: self._connected(host, port))

    def connect_tls(self, host: str, port: int) -> AsyncConnection:
        return AsyncConnection(lambda: self._connected(host, port, ssl=True))

    def act(self, connection: AsyncConnection, token: str) -> None:
        connection.run(connection.inner.rpush(token, "1"))

    def close(self, connection: AsyncConnection) -> None:
        connection.close(connection.inner.aclose())

    async def _connected(self, host: str, port: int, **options: Any) -> Any:
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        return redis.asyncio.Redis(
            host=host,
            port=port,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            **options,
        )


CASES = (RedisPy(), RedisPyMulti(), RedisPySingle(), RedisPyDefault(), RedisPyAsyncio())
