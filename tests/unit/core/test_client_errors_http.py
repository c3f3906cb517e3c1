"""Rows of HTTP clients that the proxy of tests/clients does not provoke."""

from __future__ import annotations

import http.client
import urllib.error
from typing import Any

import pytest

from tests.clients.case import new_token
from tests.clients.servers.http import HttpServer
from tests.clients.servers.sharing import HOST
from tests.support.made_errors import chained, foreign, raised_over
from wal_runner.core.lost_reply import connection_unusable, lost_reply


FAILED = {
    "http.client, not connected": http.client.NotConnected(),
    "http.client, URL": http.client.InvalidURL("two words"),
    "urllib, scheme": urllib.error.URLError("unknown url type: ftps"),
    "urllib3, closed pool": foreign("urllib3.exceptions.ClosedPoolError"),
    "urllib3, empty pool": foreign("urllib3.exceptions.EmptyPoolError"),
    "requests, host name in the certificate": chained(
        foreign("requests.exceptions.SSLError"),
        foreign("urllib3.exceptions.MaxRetryError"),
        foreign("urllib3.exceptions.SSLError", foreign("urllib3.util.ssl_match_hostname.CertificateError")),
    ),
    "urllib3, gave up on 429": foreign("urllib3.exceptions.ResponseError", "too many 429 error responses"),
    "httpx, pool": foreign("httpx.PoolTimeout"),
    "httpx, proxy": foreign("httpx.ProxyError", "502 Bad Gateway"),
    "httpx, header": chained(
        foreign("httpx.LocalProtocolError", "Illegal header value b'a\\n'"),
        foreign("httpcore.LocalProtocolError", "Illegal header value b'a\\n'"),
        foreign("h11._util.LocalProtocolError", "Illegal header value b'a\\n'"),
    ),
    "httpx2, connect": foreign("httpx2.ConnectError"),
    "aiohttp, tunnel": foreign("aiohttp.client_exceptions.ClientHttpProxyError", status=502),
    "aiohttp, closed": foreign("aiohttp.client_exceptions.ClientConnectionError", "Connector is closed."),
    "aiohttp, fingerprint": foreign("aiohttp.client_exceptions.ServerFingerprintMismatch"),
    "aiohttp, page of a 404": foreign("aiohttp.client_exceptions.ContentTypeError", status=404),
}
UNKNOWN = {
    "http.client, headers": http.client.HTTPException("got more than 100 headers"),
    "http.client, line": http.client.LineTooLong("header line"),
    "http.client, protocol": http.client.UnknownProtocol("HTTP/3"),
    "http.client, earlier reply unread": http.client.ResponseNotReady("Request-sent"),
    "urllib, short": urllib.error.ContentTooShortError("short", None),  # type: ignore[arg-type]
    "urllib3, reply lost behind a proxy": chained(
        foreign("urllib3.exceptions.ProxyError"), http.client.RemoteDisconnected()
    ),
    "urllib3, proxy without a cause": foreign("urllib3.exceptions.ProxyError"),
    "urllib3, full pool": foreign("urllib3.exceptions.FullPoolError"),
    "urllib3, header of the reply": foreign("urllib3.exceptions.InvalidHeader"),
    "urllib3, chunk": foreign("urllib3.exceptions.InvalidChunkLength"),
    "urllib3, gave up on 503": foreign("urllib3.exceptions.ResponseError", "too many 503 error responses"),
    "urllib3, gave up on 408": foreign("urllib3.exceptions.ResponseError", "too many 408 error responses"),
    "urllib3, gave up on redirects": foreign("urllib3.exceptions.ResponseError", "too many redirects"),
    "requests, gave up on 502": raised_over(
        foreign("urllib3.exceptions.ResponseError", "too many 502 error responses"),
        foreign("requests.exceptions.RetryError"),
    ),
    "requests, gzip": foreign("requests.exceptions.ContentDecodingError"),
    "httpx, body shorter than it was said": foreign(
        "h11._util.LocalProtocolError", "Too little data for declared Content-Length"
    ),
    "httpx, without a cause": foreign("httpx.LocalProtocolError"),
    "httpx, gzip": foreign("httpx.DecodingError"),
    "httpx2, read": foreign("httpx2.ReadError"),
    "httpcore2, alone": foreign("httpcore2.ReadTimeout"),
    "aiohttp, page of a 200": foreign("aiohttp.client_exceptions.ContentTypeError", status=200),
    "aiohttp, redirect": foreign("aiohttp.client_exceptions.NonHttpUrlRedirectClientError"),
    "aiohttp, closed while reading": foreign("aiohttp.client_exceptions.ClientConnectionError", "Connection closed"),
    "aiohttp, no status": foreign("aiohttp.client_exceptions.ClientResponseError", status=0),
}


@pytest.mark.parametrize("error", FAILED.values(), ids=FAILED.keys())
def test_error_of_a_request_that_was_not_sent_is_a_failure(error: BaseException) -> None:
    """Or of one that was refused."""
    assert not lost_reply(error)


@pytest.mark.parametrize("error", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_error_of_a_request_that_was_sent_is_unknown(error: BaseException) -> None:
    """The same holds for a request whose method is unknown."""
    assert lost_reply(error)


def test_aiohttp_status_of_a_reply_that_is_no_http_is_unknown() -> None:
    """Its 400 is aiohttp's own: no server has refused anything. The cause is dropped by pickling."""
    namespace: dict[str, Any] = {"__name__": "aiohttp.client_reqrep"}
    namespace["error"] = foreign("aiohttp.client_exceptions.ClientResponseError", status=400)
    exec("def start():\n    raise error", namespace)  # noqa: S102  # a frame of that name is what makes the difference

    with pytest.raises(Exception) as raised:  # noqa: PT011  # a class made here
        namespace["start"]()

    assert lost_reply(raised.value)
    assert not lost_reply(foreign("aiohttp.client_exceptions.ClientResponseError", status=400))


# --- http.client, whose connection has states ------------------------------------------------------------------------


def test_request_behind_an_unread_reply_was_sent() -> None:
    """ResponseNotReady sounds as if nothing had been sent; the server has the request."""
    first, second = new_token(), new_token()
    with HttpServer() as server:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=5)
        connection.request("POST", "/effects", body=first)
        unread = connection.getresponse()
        connection.request("POST", "/effects", body=second)
        with pytest.raises(http.client.ResponseNotReady) as raised:
            connection.getresponse()
        assert unread.read()
        assert connection.getresponse().read()
        connection.close()

        assert server.happened(second)
    assert lost_reply(raised.value)
    assert connection_unusable(raised.value)


def test_request_on_a_connection_that_timed_out_was_not_sent() -> None:
    """After a time-out http.client refuses every further request on the connection."""
    second = new_token()
    with HttpServer() as server:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=5)
        connection.request("POST", "/effects", body=b"x")
        with pytest.raises(http.client.CannotSendRequest) as raised:
            connection.request("POST", "/effects", body=second)
        connection.getresponse().read()
        connection.close()

        assert not server.happened(second)
    assert not lost_reply(raised.value)
    assert connection_unusable(raised.value)


def test_reply_with_too_many_headers_is_unknown() -> None:
    """The request was answered; http.client would not read the answer."""
    token = new_token()
    with HttpServer(lambda *_: (200, {f"X-{number}": "x" for number in range(101)}, b"")) as server:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=5)
        connection.request("POST", "/effects", body=token)
        with pytest.raises(http.client.HTTPException) as raised:
            connection.getresponse()
        connection.close()

        assert server.happened(token)
    assert lost_reply(raised.value)
