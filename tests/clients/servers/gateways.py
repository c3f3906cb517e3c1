"""What gateways answer after the server behind them has acted on the request: their own words, as they send them.

Imported by the cases of HTTP clients.
"""

from __future__ import annotations

from typing import Final


def answer(status: int, phrase: str, body: str, *headers: str) -> bytes:
    """Return the bytes of a reply after which the gateway closes the connection."""
    lines = [f"HTTP/1.1 {status} {phrase}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return ("\r\n".join([*lines, "", ""]) + body).encode()


def _page(title: str, server: str) -> str:
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        f"<hr><center>{server}</center>\r\n</body>\r\n</html>\r\n"
    )


_ENVOY: Final = ("content-type: text/plain", "server: envoy")
_HTML: Final = "Content-Type: text/html"
_NGINX: Final = ("Server: nginx/1.22.1", _HTML)
_CLOUDFLARE: Final = ("Server: cloudflare", "CF-RAY: 8f2a1b2c3d4e5f60-FRA", _HTML)
_BROKEN: Final = "upstream connect error or disconnect/reset before headers. "

AFTER_IT_WAS_DONE: Final = {
    "nginx, 502": answer(502, "Bad Gateway", _page("502 Bad Gateway", "nginx/1.22.1"), *_NGINX),
    "nginx, 504": answer(504, "Gateway Time-out", _page("504 Gateway Time-out", "nginx/1.22.1"), *_NGINX),
    "Envoy, 503 reset": answer(503, "Service Unavailable", f"{_BROKEN}reset reason: connection termination", *_ENVOY),
    "Envoy, 504": answer(504, "Gateway Timeout", "upstream request timeout", *_ENVOY),
    "Varnish, 503": answer(
        503,
        "Backend fetch failed",
        "<html><head><title>503 Backend fetch failed</title></head><body><h1>Error 503 Backend fetch failed</h1>"
        "<p>Backend fetch failed</p><h3>Guru Meditation:</h3><p>XID: 32770</p><hr><p>Varnish cache server</p></body>"
        "</html>",
        "Server: Varnish",
        "X-Varnish: 32769",
        _HTML,
    ),
    **{
        f"Cloudflare, {status}": answer(status, "<none>", f"error code: {status}", *_CLOUDFLARE)
        for status in (520, 522, 524)
    },
    "server, 500": answer(500, "Internal Server Error", "Internal Server Error", "Content-Type: text/plain"),
    "server, 408": answer(408, "Request Timeout", "", "Content-Type: text/plain"),
    "proxy, 598": answer(598, "Network Read Timeout Error", "", "Content-Type: text/plain"),
    "proxy, 599": answer(599, "Network Connect Timeout Error", "", "Content-Type: text/plain"),
}
"""Statuses of gateways, and of servers that broke, which say nothing about the effect. It has happened here."""

NO_REPLIES: Final = {
    "no HTTP": b"what was the question?\r\n\r\n",
    "breaks off in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf of",
}
"""Replies that are none."""

ALL: Final = {**AFTER_IT_WAS_DONE, **NO_REPLIES}

SOME: Final = {name: ALL[name] for name in ("nginx, 502", "Envoy, 503 reset", "server, 500")}
"""For cases that differ little from others."""
