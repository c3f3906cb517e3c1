"""A request that an HTTP client sends by itself, redirected or once more, does not hide the one that had its effect.

A POST that is answered 303 has had its effect; what the GET after it meets is no longer about that.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.case import new_token
from tests.clients.conftest import skip_or_fail
from tests.clients.servers.http import HttpServer
from tests.clients.servers.sharing import HOST
from tests.effects.lossy_server import refusing_port
from wal_runner.core.lost_reply import lost_reply


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.clients.servers.http import Reply

TIMEOUT_S = 2.0

pytestmark = pytest.mark.filterwarnings("ignore")  # clients forget sockets when a connection breaks


# --- The clients, as people use them: redirects are followed, statuses raise -------------------------------------


def by_urllib(method: str, url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, method=method, data=None if method == "GET" else b"x")  # noqa: S310
    opener.open(request, timeout=TIMEOUT_S).read()


def by_urllib3(method: str, url: str) -> None:
    urllib3().PoolManager(timeout=TIMEOUT_S).request(method, url, body=b"x")


def by_requests(method: str, url: str) -> None:
    with library("requests").Session() as session:
        session.trust_env = False
        session.request(method, url, data=b"x", timeout=TIMEOUT_S).raise_for_status()


def by_httpx(method: str, url: str, name: str = "httpx") -> None:
    with library(name).Client(follow_redirects=True, trust_env=False, timeout=TIMEOUT_S) as client:
        client.request(method, url, content=b"x").raise_for_status()


def by_httpx_async(method: str, url: str) -> None:
    async def sending() -> None:
        async with library("httpx").AsyncClient(follow_redirects=True, trust_env=False, timeout=TIMEOUT_S) as client:
            (await client.request(method, url, content=b"x")).raise_for_status()

    asyncio.run(sending())


def by_httpx2(method: str, url: str) -> None:
    by_httpx(method, url, "httpx2")


def by_aiohttp(method: str, url: str) -> None:
    async def sending() -> None:
        timeout = library("aiohttp").ClientTimeout(sock_read=TIMEOUT_S)
        async with library("aiohttp").ClientSession(timeout=timeout) as session:
            reply = await session.request(method, url, data=None if method == "GET" else b"x")
            reply.raise_for_status()
            await reply.read()

    asyncio.run(sending())


CLIENTS = [by_urllib, by_urllib3, by_requests, by_httpx, by_httpx_async, by_httpx2, by_aiohttp]
RAISING_FOR_STATUS = [client for client in CLIENTS if client is not by_urllib3]
NAMING_THE_METHOD = [by_requests, by_httpx, by_httpx_async, by_httpx2]
FOLLOWING_307 = [client for client in CLIENTS if client is not by_urllib]


def library(name: str) -> Any:
    """Import *name*; skip the test, or fail, if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        skip_or_fail(name)


def urllib3() -> Any:
    return library("urllib3")


def name_of(client: Any) -> str:
    return str(getattr(client, "__name__", client)).removeprefix("by_")


# --- Redirects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS, ids=name_of)
def test_post_that_redirects_to_a_dead_host_is_unknown(client: Callable[[str, str], None]) -> None:
    """The GET was never sent; the POST before it was."""
    assert lost_reply(error_after_a_redirect(client, "POST", 303, second="refuses"))


@pytest.mark.parametrize("client", RAISING_FOR_STATUS, ids=name_of)
def test_post_that_redirects_to_a_404_is_unknown(client: Callable[[str, str], None]) -> None:
    """The page after the effect is missing; the effect is not."""
    assert lost_reply(error_after_a_redirect(client, "POST", 303, second="404"))


@pytest.mark.parametrize("client", CLIENTS, ids=name_of)
def test_post_that_redirects_to_a_lost_get_is_unknown(client: Callable[[str, str], None]) -> None:
    """The last request is a GET, which is safe; the one before it was not."""
    assert lost_reply(error_after_a_redirect(client, "POST", 303, second="loses the reply"))


@pytest.mark.parametrize("client", CLIENTS, ids=name_of)
def test_post_that_redirects_in_a_circle_is_unknown(client: Callable[[str, str], None]) -> None:
    """Too many redirects is an error about the GETs only."""
    assert lost_reply(error_after_a_redirect(client, "POST", 303, second="redirects to itself"))


@pytest.mark.parametrize("client", FOLLOWING_307, ids=name_of)
def test_post_sent_on_to_a_dead_host_is_a_failure(client: Callable[[str, str], None]) -> None:
    """A server that answers 307 has not acted: the same request is to be sent elsewhere."""
    assert not lost_reply(error_after_a_redirect(client, "POST", 307, second="refuses"))


@pytest.mark.parametrize("client", NAMING_THE_METHOD, ids=name_of)
@pytest.mark.parametrize("second", ["refuses", "404", "loses the reply", "redirects to itself"])
def test_get_that_is_redirected_is_a_failure(client: Callable[[str, str], None], second: str) -> None:
    """All its requests are safe."""
    assert not lost_reply(error_after_a_redirect(client, "GET", 302, second=second))


# --- Retries ---------------------------------------------------------------------------------------------------------


def test_put_that_urllib3_repeats_in_vain_is_unknown() -> None:
    """By default urllib3 sends a PUT again after a lost reply; its error of connecting does not undo the first one."""
    with server_that_dies_after_the_first_reply_is_lost() as base:
        error = error_of(by_urllib3, "PUT", base)

    assert isinstance(error, urllib3().exceptions.MaxRetryError)
    assert lost_reply(error)


def test_get_that_requests_repeats_in_vain_is_a_failure() -> None:
    """With retries of urllib3 too, requests names the method."""
    with server_that_dies_after_the_first_reply_is_lost() as base:
        assert not lost_reply(error_of(by_requests_with_retries, "GET", base))
    with server_that_dies_after_the_first_reply_is_lost() as base:
        assert lost_reply(error_of(by_requests_with_retries, "PUT", base))


def test_post_that_urllib3_never_sent_is_a_failure() -> None:
    """Attempts that could not connect do not count as earlier requests."""
    with refusing_port() as port:
        error = error_of(by_urllib3, "POST", f"http://{HOST}:{port}")

    assert not lost_reply(error)


def test_status_that_urllib3_repeats_in_vain_is_unknown() -> None:
    """A 502, then a refused connection: the first try may have had its effect."""
    with server_that_dies_after_the_first_reply_is_lost(reply=(502, {"Connection": "close"}, b"")) as base:
        assert lost_reply(error_of(by_urllib3_with_statuses, "POST", base))


@pytest.mark.parametrize(("status", "is_unknown"), [(429, False), (502, True), (409, True)])
def test_statuses_that_urllib3_gave_up_on_are_read(status: int, *, is_unknown: bool) -> None:
    """Its last error says only how the attempts were answered."""
    with HttpServer(lambda *_: (status, {}, b"")) as server:
        error = error_of(by_urllib3_with_statuses, "POST", f"http://{HOST}:{server.port}")

    assert is_unknown == lost_reply(error)


def test_put_that_aiohttp_repeats_in_vain_is_unknown() -> None:
    """On a connection that it had kept, aiohttp sends a PUT again, and has no switch for it."""

    async def sending(method: str, base: str, die: Callable[[], None]) -> None:
        async with library("aiohttp").ClientSession(base) as session:
            await (await session.get("/warm")).read()
            die()
            await (await session.request(method, "/effects", data=b"x")).read()

    def error_for(method: str) -> Exception:
        with dying_server() as (base, die):
            return error_of(lambda method, base: asyncio.run(sending(method, base, die)), method, base)

    assert "Cannot connect" in str(error_for("PUT"))
    assert lost_reply(error_for("PUT"))
    assert lost_reply(error_for("POST"))


@pytest.mark.parametrize(
    ("client", "method", "times"),
    [
        (by_urllib, "PUT", 1),
        (by_urllib3, "POST", 1),
        (by_urllib3, "PUT", 4),
        (by_requests, "PUT", 1),
        (by_httpx, "PUT", 1),
        (by_httpx2, "PUT", 1),
        (by_aiohttp, "POST", 1),
        (by_aiohttp, "PUT", 2),
    ],
    ids=name_of,
)
def test_clients_send_as_often_as_the_notes_say(client: Callable[[str, str], None], method: str, times: int) -> None:
    """Each reply is lost; the server counts the requests."""
    token = new_token()
    with HttpServer(lambda *_: None) as server:
        error_of(client, method, f"http://{HOST}:{server.port}/{token}")

        assert times == server.times(token)


# --- Helpers ---------------------------------------------------------------------------------------------------------


def by_requests_with_retries(method: str, url: str) -> None:
    with library("requests").Session() as session:
        session.trust_env = False
        session.mount("http://", library("requests.adapters").HTTPAdapter(max_retries=2))
        session.request(method, url, data=b"x", timeout=TIMEOUT_S)


def by_urllib3_with_statuses(method: str, url: str) -> None:
    retry = urllib3().Retry(2, status_forcelist=[409, 429, 502], allowed_methods=None)
    urllib3().PoolManager(timeout=TIMEOUT_S, retries=retry).request(method, url, body=b"x")


def error_of(client: Callable[[str, str], None], method: str, url: str) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # which class it is, is what the test is about
        client(method, url)
    return raised.value


def error_after_a_redirect(client: Callable[[str, str], None], method: str, status: int, *, second: str) -> Exception:
    with refusing_port() as dead, HttpServer() as server:
        here = f"http://{HOST}:{server.port}"
        target = f"http://{HOST}:{dead}/" if second == "refuses" else f"{here}/second"

        def respond(_method: str, path: str, _headers: Mapping[str, str], _body: bytes) -> Reply:
            if path == "/second" and second == "404":
                return 404, {}, b""
            if path == "/second" and second == "loses the reply":
                return None
            return status, {"Location": target}, b""

        server.respond = respond
        return error_of(client, method, f"{here}/first")


@contextlib.contextmanager
def dying_server() -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield an address, and a function after which the server there takes one more request, and no connection more."""
    with HttpServer() as server:
        yield f"http://{HOST}:{server.port}", lambda: lose_the_next_reply_and_die(server, None)


@contextlib.contextmanager
def server_that_dies_after_the_first_reply_is_lost(reply: Reply = None) -> Iterator[str]:
    with HttpServer() as server:
        lose_the_next_reply_and_die(server, reply)
        yield f"http://{HOST}:{server.port}"


def lose_the_next_reply_and_die(server: HttpServer, reply: Reply) -> None:
    def respond(*_: object) -> Reply:
        server.stop_listening()
        return reply

    server.respond = respond
