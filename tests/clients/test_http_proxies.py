"""An HTTP proxy that does not open the tunnel: the request was never sent, whatever the proxy's status."""

from __future__ import annotations

import asyncio
import http.client
import importlib
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.conftest import skip_or_fail
from tests.clients.servers.http import HttpServer
from tests.clients.servers.sharing import HOST
from wal_runner.core.lost_reply import lost_reply


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clients.servers.http import Reply

URL = "https://service.invalid/effects"
TIMEOUT_S = 2.0

pytestmark = pytest.mark.filterwarnings("ignore")  # clients forget sockets when a connection breaks


def library(name: str) -> Any:
    """Import *name*; skip the test, or fail, if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        skip_or_fail(name)


def by_urllib(port: int) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"https": f"http://{HOST}:{port}"}))
    opener.open(URL, data=b"x", timeout=TIMEOUT_S)


def by_http_client(port: int) -> None:
    connection = http.client.HTTPSConnection(HOST, port, timeout=TIMEOUT_S)
    connection.set_tunnel("service.invalid", 443)
    connection.request("POST", "/effects", body=b"x")


def by_urllib3(port: int) -> None:
    proxy = library("urllib3").ProxyManager(f"http://{HOST}:{port}", retries=False, timeout=TIMEOUT_S)
    proxy.request("POST", URL, body=b"x")


def by_requests(port: int) -> None:
    with library("requests").Session() as session:
        session.trust_env = False
        session.post(URL, data=b"x", timeout=TIMEOUT_S, proxies={"https": f"http://{HOST}:{port}"})


def by_httpx(port: int) -> None:
    with library("httpx").Client(proxy=f"http://{HOST}:{port}", trust_env=False, timeout=TIMEOUT_S) as client:
        client.post(URL, content=b"x")


def by_aiohttp(port: int) -> None:
    async def sending() -> None:
        async with library("aiohttp").ClientSession() as session:
            await session.post(URL, data=b"x", proxy=f"http://{HOST}:{port}")

    asyncio.run(sending())


CLIENTS = [by_urllib, by_http_client, by_urllib3, by_requests, by_httpx, by_aiohttp]
# httpx raises for a CONNECT what it raises for a request.
TELLING_A_CONNECT = [client for client in CLIENTS if client is not by_httpx]


def name_of(client: Any) -> str:
    return str(getattr(client, "__name__", client)).removeprefix("by_")


@pytest.mark.parametrize("client", CLIENTS, ids=name_of)
@pytest.mark.parametrize("status", [403, 407, 500, 502, 503, 504])
def test_tunnel_that_is_refused_is_a_failure(client: Callable[[int], None], status: int) -> None:
    """Also by a status that would leave doubt as the reply to the request itself."""
    assert not lost_reply(error_of(client, (status, {}, b"")))


@pytest.mark.parametrize("client", TELLING_A_CONNECT, ids=name_of)
def test_tunnel_that_breaks_is_a_failure(client: Callable[[int], None]) -> None:
    """The proxy closes the connection instead of answering the CONNECT."""
    assert not lost_reply(error_of(client, None))


def test_httpx_does_not_tell_a_broken_tunnel() -> None:
    """The item is held needlessly."""
    assert lost_reply(error_of(by_httpx, None))


def error_of(client: Callable[[int], None], reply: Reply) -> Exception:
    with HttpServer(lambda *_: reply) as proxy, pytest.raises(Exception) as raised:  # noqa: PT011  # any class
        client(proxy.port)
    return raised.value
