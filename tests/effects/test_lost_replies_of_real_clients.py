"""`lost_reply` against the errors that real clients raise on real sockets.

Every lost case has a server that says that the whole request arrived. Every other case has an
address where no request can arrive.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import http.client
import smtplib
import sys
import urllib.request
from typing import TYPE_CHECKING

import aiohttp
import httpx
import pytest
import requests
import urllib3

from tests.effects import lossy_server
from tests.effects.lossy_server import (
    HOST,
    PATIENCE_S,
    UNRESOLVABLE_NAME,
    LossyServer,
    receive_http,
    receive_nothing,
    receive_smtp,
    refusing_port,
    silent_port,
)
from wal_runner.core.lost_reply import lost_reply, unknown_when


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


LOST_CASES_MIN = 22
TIMEOUT_S = 0.5
BODY = b"charge 9.99"


# httpcore forgets its socket when a TLS handshake times out.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


@pytest.fixture(autouse=True)
def _forgotten_sockets_are_collected() -> Iterator[None]:
    """Collect forgotten sockets here, where their warning is ignored, and not in a later test."""
    yield
    gc.collect()


# --- The clients: each sends one request, reads the whole reply, and knows of no proxy ----------


def by_urllib(host: str, port: int, scheme: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(f"{scheme}://{host}:{port}/charge", data=BODY, timeout=TIMEOUT_S).read()


def by_http_client(host: str, port: int, scheme: str) -> None:
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request("POST", "/charge", body=BODY)
        connection.getresponse().read()


def by_urllib3(host: str, port: int, scheme: str) -> None:
    with urllib3.PoolManager(timeout=TIMEOUT_S, retries=False) as pool:
        pool.request("POST", f"{scheme}://{host}:{port}/charge", body=BODY)


def by_requests(host: str, port: int, scheme: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.post(f"{scheme}://{host}:{port}/charge", data=BODY, timeout=TIMEOUT_S)


def by_httpx(host: str, port: int, scheme: str) -> None:
    with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
        client.post(f"{scheme}://{host}:{port}/charge", content=BODY)


def by_httpx_async(host: str, port: int, scheme: str) -> None:
    async def post() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as client:
            await client.post(f"{scheme}://{host}:{port}/charge", content=BODY)

    asyncio.run(post())


def by_aiohttp(host: str, port: int, scheme: str) -> None:
    async def post() -> None:
        timeout = aiohttp.ClientTimeout(sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{scheme}://{host}:{port}/charge", data=BODY) as reply,
        ):
            await reply.read()

    asyncio.run(post())


def by_smtplib(host: str, port: int, scheme: str) -> None:
    kind = smtplib.SMTP_SSL if scheme == "https" else smtplib.SMTP
    with kind(host, port, local_hostname="localhost", timeout=TIMEOUT_S) as server:
        server.sendmail("from@example.com", ["to@example.com"], "Subject: hello\r\n\r\nhello\r\n")


HTTP_CLIENTS = ("urllib", "http_client", "urllib3", "requests", "httpx", "httpx_async", "aiohttp")
CLIENTS = (*HTTP_CLIENTS, "smtplib")
LOST_CASES = [
    *((client, way) for client in CLIENTS for way in ("hang", "close", "reset", "garble")),
    *((client, way) for client in HTTP_CLIENTS for way in ("cut", "cut_in_chunk", "stall")),
]
TLS_CASES = [(client, way) for client in CLIENTS for way in ("hang", "close", "reset", "garble")]


# --- The claims ------------------------------------------------------------------------------


def test_there_are_enough_kinds_of_lost_reply() -> None:
    """Seven HTTP clients and smtplib lose their reply in more ways than the 22 that were asked for."""
    assert len(set(LOST_CASES)) == len(LOST_CASES)
    assert len(LOST_CASES) >= LOST_CASES_MIN


@pytest.mark.parametrize(("client", "way"), LOST_CASES)
def test_reply_lost_after_the_request_arrived_is_unknown(client: str, way: str) -> None:
    """The server has the request and the client has an error: nobody knows, so the item is in doubt."""
    error = error_of_lost_reply(client, way)

    assert lost_reply(error), describe(error)


@pytest.mark.parametrize("client", CLIENTS)
def test_refused_connection_is_a_known_failure(client: str) -> None:
    """Nobody listens on the port, so nothing was sent."""
    with refusing_port() as port:
        error = error_of(client, HOST, port)

    assert not lost_reply(error), describe(error)


@pytest.mark.parametrize("client", CLIENTS)
def test_unresolvable_name_is_a_known_failure(client: str) -> None:
    """The host has no address, so nothing was sent."""
    error = error_of(client, UNRESOLVABLE_NAME, 80)

    assert not lost_reply(error), describe(error)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops callers when the backlog is full")
@pytest.mark.parametrize("client", CLIENTS)
def test_time_out_of_connecting_is_a_known_failure(client: str) -> None:
    """connect() and recv() time out with the same class; only the second may have sent something."""
    with silent_port() as port:
        error = error_of(client, HOST, port)

    assert not lost_reply(error), describe(error)


@pytest.mark.parametrize(("client", "way"), TLS_CASES)
def test_tls_handshake_that_fails_is_a_known_failure(client: str, way: str) -> None:
    """The request is sent only after the handshake."""
    with LossyServer(receive_nothing, getattr(lossy_server, way)) as server:
        error = error_of(client, HOST, server.port, scheme="https")

    assert not lost_reply(error), describe(error)


def test_only_time_outs_would_miss_most_lost_replies() -> None:
    """The rule that everyone writes first calls most of these failures, and would repeat them."""
    only_time_outs = unknown_when(TimeoutError)
    found = [case for case in LOST_CASES if isinstance(error_of_lost_reply(*case), TimeoutError)]
    found_among_causes = [case for case in LOST_CASES if only_time_outs(error_of_lost_reply(*case))]

    assert len(found) < len(LOST_CASES) / 4
    assert len(found_among_causes) < len(LOST_CASES) / 2


# --- Helpers ------------------------------------------------------------------------------------


@functools.cache
def error_of_lost_reply(client: str, way: str) -> Exception:
    receive = receive_smtp if client == "smtplib" else receive_http
    with LossyServer(receive, getattr(lossy_server, way)) as server:
        error = error_of(client, HOST, server.port)
        arrived = server.arrived.wait(PATIENCE_S)
    assert arrived, f"the request never arrived, so this proves nothing: {describe(error)}"
    return error


def error_of(client: str, host: str, port: int, scheme: str = "http") -> Exception:
    send: Callable[[str, int, str], None] = globals()[f"by_{client}"]
    with pytest.raises(Exception) as raised:  # noqa: PT011  # which class it is, is what the test is about
        send(host, port, scheme)
    return raised.value


def describe(error: BaseException) -> str:
    """Show the error and what lies behind it, for the one who has to mend the table."""
    behind = error.__cause__ or error.__context__
    shown = f"{type(error).__module__}.{type(error).__qualname__}: {error}"
    return shown if behind is None else f"{shown} <- {describe(behind)}"
