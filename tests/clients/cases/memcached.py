"""memcached by pymemcache: one connection, a pool, and several servers behind one client."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, Case
from tests.clients.conditions import Condition
from tests.clients.servers import memcached


if TYPE_CHECKING:
    from collections.abc import Iterator


SAME_ERROR = "the same error as after the whole command"


class Pymemcache(Case):
    """One connection that waits for replies; the default of `add` is not to."""

    name = "pymemcache"
    packages = ("pymemcache",)
    server_name = "memcached 1.6 (real server)"
    needless = {
        Condition.CLOSED_AT_ONCE: SAME_ERROR,
        Condition.SILENT: SAME_ERROR,
        Condition.HALF_REQUEST: SAME_ERROR,
        Condition.CLOSED_WHILE_IDLE: SAME_ERROR,
        Condition.DOWN_WHILE_IDLE: SAME_ERROR,
    }

    @contextlib.contextmanager
    def serving(self) -> Iterator[memcached.Memcached]:
        yield memcached.shared()

    def connect(self, host: str, port: int) -> Any:
        return self._client(host, port)

    def connect_tls(self, host: str, port: int) -> Any:
        return self._client(host, port, tls_context=ssl.create_default_context())

    def act(self, connection: Any, token: str) -> None:
        connection.add(token, b"1")

    def _client(self, host: str, port: int, **options: Any) -> Any:
        from pymemcache.client.base import Client

        return Client((host, port), connect_timeout=TIMEOUT_S, timeout=TIMEOUT_S, default_noreply=False, **options)


class PymemcachePool(Pymemcache):
    """A pool of connections; one that failed is thrown away."""

    name = "pymemcache, PooledClient"

    def _client(self, host: str, port: int, **options: Any) -> Any:
        from pymemcache.client.base import PooledClient

        return PooledClient(
            (host, port), connect_timeout=TIMEOUT_S, timeout=TIMEOUT_S, default_noreply=False, **options
        )


class PymemcacheHash(Pymemcache):
    """Several servers, of which the key chooses one; a server that failed is asked again at once."""

    name = "pymemcache, HashClient"

    def _client(self, host: str, port: int, **options: Any) -> Any:
        from pymemcache.client.hash import HashClient

        return HashClient(
            [(host, port)],
            connect_timeout=TIMEOUT_S,
            timeout=TIMEOUT_S,
            default_noreply=False,
            retry_timeout=0,
            **options,
        )


CASES = (Pymemcache(), PymemcachePool(), PymemcacheHash())
