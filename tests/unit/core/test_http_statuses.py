"""HTTP statuses, and what real proxies say in the replies that they send in a server's place."""

from __future__ import annotations

import pytest

from wal_runner.core.error_rows import Evidence
from wal_runner.core.http_statuses import evidence_of_status, head_of


UNKNOWN = [500, 502, 504, 408, 520, 522, 524, 598, 599]
REFUSED = [
    *(status for status in range(400, 500) if status != 408),
    *(501, 503, 505, 506, 507, 508, 510, 511),
    *(521, 523, 525, 526, 529, 530),
]

ENVOY = "upstream connect error or disconnect/reset before headers. "
SENT_AND_LOST = {
    "Envoy, closed": f"{ENVOY}reset reason: connection termination",
    "Envoy, reset by the server": f"{ENVOY}reset reason: remote reset",
    "Envoy, reset by itself": f"{ENVOY}reset reason: local reset",
    "Envoy, no reason": "upstream connect error or disconnect/reset before headers",
    "Envoy, not HTTP": f"{ENVOY}reset reason: protocol error",
    "Envoy, as JSON": f'{{"error":{{"code":503,"message":"{ENVOY}reset reason: connection termination"}}}}',
    "Envoy, the last of several tries": f"{ENVOY}retried and the latest reset reason: remote connection failure, "
    "transport failure reason: delayed connect error: Connection refused",
    "Varnish": "<h1>Error 503 Backend fetch failed</h1><p>Backend fetch failed</p><h3>Guru Meditation:</h3>",
    "Fastly, no first byte": "<h1>Error 503 first byte timeout</h1>",
    "Fastly, no further bytes": "<h1>Error 503 between bytes timeout</h1>",
    "Fastly, read": "<h1>Error 503 backend read error</h1>",
    "Fastly, write": "<h1>Error 503 backend write error</h1>",
    "Heroku, H12 and others": '<iframe src="//www.herokucdn.com/error-pages/application-error.html"></iframe>',
    "Azure Front Door": "<h2>Our services aren't available right now</h2><p>We're working to restore all services</p>",
    "AWS API Gateway": '{"message":"Service Unavailable"}',
}
NEVER_SENT = {
    "Envoy, refused": f"{ENVOY}reset reason: connection failure",
    "Envoy, refused by the server": f"{ENVOY}reset reason: remote connection failure, "
    "transport failure reason: delayed connect error: 111",
    "Envoy, refused by itself": f"{ENVOY}reset reason: local connection failure",
    "Envoy, connect timed out": f"{ENVOY}reset reason: connection timeout",
    "Envoy, overflow": f"{ENVOY}reset reason: overflow",
    "Envoy, no server": "no healthy upstream",
    "nginx": "<html><head><title>503 Service Temporarily Unavailable</title></head></html>",
    "HAProxy": "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body>",
    "AWS ALB": "<html><head><title>503 Service Temporarily Unavailable</title></head></html>",
    "Fastly, refused": "<h1>Error 503 Connection refused</h1>",
    "Fastly, unhealthy": "<h1>Error 503 Backend is unhealthy</h1>",
    "Kong": '{"message":"failure to get a peer from the ring-balancer"}',
    "Traefik": "no available server",
    "the application": '{"statusCode":503,"message":"Service Unavailable"}',
    "the application, overloaded": '{"error":{"type":"overloaded_error","message":"Overloaded"}}',
    "nothing": "",
}
KEY_IN_USE = [
    '{"error":{"code":"idempotency_key_in_use","type":"idempotency_error"}}',  # Stripe
    "There is currently another in-progress request using this Idempotent Key",  # Stripe's words
    '{"name":"PREVIOUS_REQUEST_IN_PROGRESS","message":"A previous request on this resource is in progress."}',  # PayPal
    '{"title":"A request is outstanding for this Idempotency-Key"}',  # the IETF's draft
    "Concurrent requests with the same idempotency key",
]
OTHER_CONFLICTS = [
    "",
    "version conflict",
    '{"code":"api_key_in_use"}',
    '{"message":"This name is already in use."}',
    '{"code":"idempotency_key_reused","message":"Keys can only be used with the same parameters"}',
]


def evidence(status: int, text: str = "", head: str = "", *, is_body_known: bool = True) -> Evidence:
    return evidence_of_status(status, text=text, head=head, is_body_known=is_body_known)


@pytest.mark.parametrize("status", UNKNOWN)
def test_status_of_a_lost_reply_is_unknown(status: int) -> None:
    """A gateway's time-out and broken connection, a server that broke, and proxies' own numbers."""
    assert evidence(status) is Evidence.UNKNOWN


@pytest.mark.parametrize("status", REFUSED)
def test_status_of_a_refusal_is_refused(status: int) -> None:
    """The server, or the proxy that could not reach it, says that it did not do it."""
    assert evidence(status) is Evidence.REFUSED


@pytest.mark.parametrize("status", sorted({*range(500, 600)} - {*UNKNOWN, *REFUSED}))
def test_server_error_without_a_meaning_is_unknown(status: int) -> None:
    """An undefined number does not mean that nothing was done."""
    assert evidence(status) is Evidence.UNKNOWN


@pytest.mark.parametrize("status", [100, 200, 201, 301, 304, 399, 600, 0, -1])
def test_status_that_is_not_an_error_says_nothing(status: int) -> None:
    """An error may carry the status of a good reply, which it could not read."""
    assert evidence(status) is Evidence.NONE


@pytest.mark.parametrize("text", SENT_AND_LOST.values(), ids=SENT_AND_LOST.keys())
def test_503_of_a_proxy_that_lost_the_reply_is_unknown(text: str) -> None:
    """The request had left the proxy."""
    assert evidence(503, text) is Evidence.UNKNOWN
    assert evidence(503, text.upper()) is Evidence.UNKNOWN


@pytest.mark.parametrize("text", NEVER_SENT.values(), ids=NEVER_SENT.keys())
def test_503_of_who_sent_nothing_is_refused(text: str) -> None:
    """The proxy could not connect, or the application itself refuses."""
    assert evidence(503, text, head="server: envoy") is Evidence.REFUSED


@pytest.mark.parametrize(
    "headers",
    [
        {"Server": "envoy"},
        {"server": "istio-envoy"},
        {"Server": "Google Frontend"},
        {"Server": "Cowboy", "Via": "1.1 vegur"},
        {"Server": "Heroku", "Via": "2.0 heroku-router"},
        {"X-Azure-Ref": "0abc"},
        {"apigw-requestid": "abc="},
    ],
    ids=str,
)
def test_503_whose_body_was_not_read_is_unknown_behind_such_a_proxy(headers: dict[str, str]) -> None:
    """Some clients, such as aiohttp and urllib, raise before the body is read, and these proxies say it only there."""
    head = head_of({"Date": "today", **headers}.items())

    assert evidence(503, head=head, is_body_known=False) is Evidence.UNKNOWN
    assert evidence(503, head=head, is_body_known=True) is Evidence.REFUSED


@pytest.mark.parametrize("headers", [{}, {"Server": "nginx"}, {"Server": "awselb/2.0"}, {"X-Server": "envoy"}], ids=str)
def test_503_whose_body_was_not_read_is_refused_elsewhere(headers: dict[str, str]) -> None:
    """An application's own refusal stays one."""
    assert evidence(503, head=head_of(headers.items()), is_body_known=False) is Evidence.REFUSED


@pytest.mark.parametrize("text", KEY_IN_USE)
def test_409_while_the_key_is_in_use_is_unknown(text: str) -> None:
    """The first request with the key is still running, and its outcome is what counts."""
    assert evidence(409, text) is Evidence.UNKNOWN


@pytest.mark.parametrize("text", OTHER_CONFLICTS)
def test_409_of_another_kind_is_refused(text: str) -> None:
    """A conflict is a refusal."""
    assert evidence(409, text) is Evidence.REFUSED
