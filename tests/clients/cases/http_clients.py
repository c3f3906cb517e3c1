"""HTTP clients with a request that is not safe: a POST. The requests that are safe stand in http_safe.py."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, AsyncConnection, Case
from tests.clients.conditions import Condition
from tests.clients.http_case import DOUBT_WITHOUT_A_REPLY, NOT_TOLD
from tests.clients.servers import gateways
from tests.clients.servers.http import HttpServer
from tests.clients.servers.sharing import shared_server


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOOP_TURN_S = 0.01


shared = shared_server(HttpServer)


class StatusError(Exception):
    """What an fn raises whose client raises nothing for a status: `lost_reply` reads these attributes of any error."""

    def __init__(self, method: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"{method}: HTTP status {status}")
        self.method = method
        self.status_code = status
        self.headers = headers
        self.body = body


class HttpCase(Case):
    """One request for each effect; the token is the body of a POST, and in the query of a GET."""

    server_name = "HTTP/1.1 (protocol server)"
    gateway_answers = gateways.ALL
    method = "POST"
    path = "/effects"
    needless: Mapping[Condition, str] = DOUBT_WITHOUT_A_REPLY

    @contextlib.contextmanager
    def serving(self) -> Iterator[HttpServer]:
        yield shared()

    def connect(self, host: str, port: int) -> Any:
        return self.connect_to("http", host, port)

    def connect_tls(self, host: str, port: int) -> Any:
        return self.connect_to("https", host, port)

    def connect_to(self, scheme: str, host: str, port: int) -> Any:
        """Return a client of the server at this address."""
        raise NotImplementedError

    def request(self, token: str) -> tuple[str, bytes | None]:
        """Return the path and the body of the request for the effect *token*."""
        return (self.path, token.encode()) if self.method == "POST" else (f"{self.path}?token={token}", None)


class Urllib(HttpCase):
    """A connection for each request."""

    name = "urllib"

    def connect_to(self, scheme: str, host: str, port: int) -> Any:
        return urllib.request.build_opener(urllib.request.ProxyHandler({})), f"{scheme}://{host}:{port}"

    def act(self, connection: Any, token: str) -> None:
        opener, base = connection
        path, body = self.request(token)
        opener.open(base + path, data=body, timeout=TIMEOUT_S).read()

    def close(self, connection: Any) -> None:
        """There is no connection to close."""


class HttpClient(HttpCase):
    """One connection, kept; fn raises an error of its own for a status."""

    name = "http.client"
    needless = {**HttpCase.needless, Condition.CLOSED_WHILE_IDLE: NOT_TOLD, Condition.DOWN_WHILE_IDLE: NOT_TOLD}

    def connect_to(self, scheme: str, host: str, port: int) -> Any:
        kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        return kind(host, port, timeout=TIMEOUT_S)

    def act(self, connection: Any, token: str) -> None:
        path, body = self.request(token)
        connection.request(self.method, path, body=body)
        response = connection.getresponse()
        content = response.read()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise StatusError(self.method, response.status, response.headers, content)


class Urllib3(HttpCase):
    """A pool of connections; fn raises an error of its own for a status."""

    name = "urllib3"
    packages = ("urllib3",)

    def connect_to(self, scheme: str, host: str, port: int) -> Any:
        import urllib3

        return urllib3.PoolManager(timeout=TIMEOUT_S, retries=False), f"{scheme}://{host}:{port}"

    def act(self, connection: Any, token: str) -> None:
        pool, base = connection
        path, body = self.request(token)
        response = pool.request(self.method, base + path, body=body)
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise StatusError(self.method, response.status, response.headers, response.data)

    def close(self, connection: Any) -> None:
        connection[0].clear()


class Requests(HttpCase):
    """A session, which keeps its connections."""

    name = "requests"
    packages = ("requests", "urllib3")

    def connect_to(self, scheme: str, host: str, port: int) -> Any:
        import requests

        session = requests.Session()
        session.trust_env = False
        return session, f"{scheme}://{host}:{port}"

    def act(self, connection: Any, token: str) -> None:
        session, base = connection
        path, body = self.request(token)
        session.request(self.method, base + path, data=body, timeout=TIMEOUT_S).raise_for_status()

    def close(self, connection: Any) -> None:
        connection[0].close()


class Httpx(HttpCase):
    """A client, which keeps its connections."""

    name = "httpx, sync"
    packages = ("httpx", "httpcore")
    module = "httpx"

    def connect_to(self, scheme: str, host: str, port: int) -> Any:
        return self.library().Client(base_url=f"{scheme}://{host}:{port}", timeout=TIMEOUT_S, trust_env=False)

    def act(self, connection: Any, token: str) -> None:
        path, body = self.request(token)
        connection.request(self.method, path, content=body).raise_for_status()

    def library(self) -> Any:
        """Return the module httpx, or that of its fork."""
        import importlib

        return importlib.import_module(self.module)


class HttpxAsync(Httpx):
    """An asynchronous client, which keeps its connections."""

    name = "httpx, async"

    def connect_to(self, scheme: str, host: str, port: int) -> Any:
        async def connecting() -> Any:
            return self.library().AsyncClient(base_url=f"{scheme}://{host}:{port}", timeout=TIMEOUT_S, trust_env=False)

        return AsyncConnection(connecting)

    def act(self, connection: Any, token: str) -> None:
        path, body = self.request(token)
        connection.run(connection.inner.request(self.method, path, content=body)).raise_for_status()

    def close(self, connection: Any) -> None:
        connection.close(connection.inner.aclose())


class Httpx2(Httpx):
    """A fork of httpx, which the client of OpenAI uses; its code is httpx's, so some replies of gateways will do."""

    name = "httpx2, sync"
    gateway_answers = gateways.SOME
    packages = ("httpx2", "httpcore2")
    module = "httpx2"


class Httpx2Async(HttpxAsync):
    """The same, asynchronous."""

    name = "httpx2, async"
    gateway_answers = gateways.SOME
    packages = ("httpx2", "httpcore2")
    module = "httpx2"


class Aiohttp(HttpCase):
    """A session, which keeps its connections."""

    name = "aiohttp"
    packages = ("aiohttp",)

    def connect_to(self, scheme: str, host: str, port: int) -> Any:
        import aiohttp

        async def connecting() -> Any:
            timeout = aiohttp.ClientTimeout(sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)
            return aiohttp.ClientSession(f"{scheme}://{host}:{port}", timeout=timeout, raise_for_status=True)

        return AsyncConnection(connecting)

    def act(self, connection: Any, token: str) -> None:
        path, body = self.request(token)

        async def acting() -> None:
            # As in a loop that runs all the time, aiohttp sees that a connection was closed before it uses it.
            await asyncio.sleep(LOOP_TURN_S)
            async with connection.inner.request(self.method, path, data=body) as reply:
                await reply.read()

        connection.run(acting())

    def close(self, connection: Any) -> None:
        connection.close(connection.inner.close())


CASES: tuple[HttpCase, ...] = (
    Urllib(),
    HttpClient(),
    Urllib3(),
    Requests(),
    Httpx(),
    HttpxAsync(),
    Httpx2(),
    Httpx2Async(),
    Aiohttp(),
)
