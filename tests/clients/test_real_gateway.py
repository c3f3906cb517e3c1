"""A real nginx between the real clients and the server: what it answers for a server that did it leaves doubt."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.clients.case import new_token
from tests.clients.cases.http_clients import CASES
from tests.clients.conftest import skip_or_fail, started
from tests.clients.servers.http import HttpServer, created
from tests.clients.servers.nginx import Nginx
from tests.clients.servers.sharing import HOST
from tests.effects.lossy_server import refusing_port
from wal_runner.core.lost_reply import lost_reply


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.clients.cases.http_clients import HttpCase
    from tests.clients.servers.http import Reply

# What nginx sends on to the server, and what becomes of it: (path, happened, in doubt).
ANSWERS = {
    "502 after it was done": ("/closes", True, True),
    "504 after it was done": ("/sleeps", True, True),
    # nginx answers 502 as well if it cannot connect, with the same words. The item is held needlessly.
    "502 because it was refused": ("/refused", False, True),
    "503 of nginx itself": ("/overloaded", False, False),
    "404 of the server": ("/missing", True, False),
    "429 of the server": ("/busy", True, False),
}

pytestmark = pytest.mark.filterwarnings("ignore")  # clients forget sockets when a connection breaks


class Site:
    """The server behind nginx, and nginx."""

    def __init__(self, server: HttpServer, port: int) -> None:
        self.server = server
        self.port = port


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Run nginx in front of a server that does what it is asked for, and answers by the path."""
    waking = threading.Event()

    def respond(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        match path.partition("?")[0]:
            case "/closes":
                return None
            case "/sleeps":
                waking.wait(20)
                return None
            case "/missing":
                return 404, {}, b""
            case "/busy":
                return 429, {}, b""
        return created(method, path, headers, body)

    with (
        refusing_port() as dead,
        HttpServer(respond) as server,
        started(lambda: Nginx(server.port, dead)) as gateway,
    ):
        yield Site(server, gateway.port)
        waking.set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(("path", "happens", "is_unknown"), ANSWERS.values(), ids=ANSWERS.keys())
def test_what_nginx_answers(site: Site, case: HttpCase, path: str, *, happens: bool, is_unknown: bool) -> None:
    """The server's tokens show whether the effect happened; a refusal by the server itself is a failure."""
    if (missing := case.missing()) is not None:
        skip_or_fail(missing)
    token = new_token()

    error = error_of(site, case, path, token)

    assert happens == site.server.happened(token)
    assert is_unknown == lost_reply(error)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nginx_passes_what_goes_well(site: Site, case: HttpCase) -> None:
    """A request that succeeds is passed through nginx."""
    if (missing := case.missing()) is not None:
        skip_or_fail(missing)
    token = new_token()
    connection = case.connect(HOST, site.port)
    try:
        case.act(connection, token)
    finally:
        case.close(connection)

    assert site.server.happened(token)


def error_of(site: Site, case: HttpCase, path: str, token: str) -> Exception:
    connection = case.connect(HOST, site.port)
    case.path = path
    try:
        with pytest.raises(Exception) as raised:  # noqa: PT011  # which class it is, is each client's own matter
            case.act(connection, token)
    finally:
        del case.path
        case.close(connection)
    return raised.value
