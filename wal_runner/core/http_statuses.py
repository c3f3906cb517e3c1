"""Tell an HTTP status that is the server's "no" from one that leaves nobody wiser.

Anything may import this module. Source of the numbers: RFC 9110 for the standard ones; Cloudflare's documentation for
520 to 530; 598 and 599 are used by proxies for time-outs behind them. Invariant: a status that a proxy sends when its
connection to the server broke, or that a server sends when it broke itself, is unknown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from wal_runner.core.error_rows import Evidence


if TYPE_CHECKING:
    from collections.abc import Mapping

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing on the server (RFC 9110, 9.2.1): doing them again is harmless."""

METHODS: Final = SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"}

FIRST_ERROR: Final = 400
FIRST_SERVER_ERROR: Final = 500
STATUS_MAX: Final = 599

UNKNOWN_STATUSES: Final = frozenset({408, 500, 502, 504, 520, 522, 524, 598, 599})

REFUSED_SERVER_ERRORS: Final = frozenset({501, 503, 505, 506, 507, 508, 510, 511, 521, 523, 525, 526, 529, 530})
"""Server errors that are sent instead of acting on the request. Those in neither list are unknown."""

# What proxies say in a 503 when the connection to the server broke: Envoy (and Istio), Varnish, Fastly.
_PROXY_LOST_THE_SERVER: Final = re.compile(
    r"upstream connect error or disconnect/reset|backend fetch failed|first byte timeout|backend (read|write) error",
    re.IGNORECASE,
)
# Envoy's reasons for which nothing was sent to the server.
_PROXY_SENT_NOTHING: Final = re.compile(
    r"reset reason: *(?:remote |local )?(?:connection failure|connection timeout|overflow)|"
    r"delayed connect error|no healthy upstream",
    re.IGNORECASE,
)
# Stripe's code, and what the IETF's draft on the Idempotency-Key header asks servers to say.
_KEY_IN_USE: Final = re.compile(
    r"idempotency_key_in_use|key_in_use|"
    r"idempotency.{0,60}(?:in use|in progress|outstanding|being processed|concurrent)|"
    r"(?:outstanding|in progress|concurrent).{0,60}idempotency",
    re.IGNORECASE | re.DOTALL,
)

_CONFLICT: Final = 409
_UNAVAILABLE: Final = 503


def evidence_of_status(status: int, *, text: str, server: str, is_body_known: bool) -> Evidence:
    """Return what *status* says of a request that is not safe; NONE for one that is not an error.

    *text* is what the error and the reply's body say, *server* the reply's Server header. If the body was not read,
    *is_body_known* is False, and a 503 of Envoy, which may be a broken connection, is unknown.
    """
    if not FIRST_ERROR <= status <= STATUS_MAX:
        return Evidence.NONE
    if status == _CONFLICT and _KEY_IN_USE.search(text):
        return Evidence.UNKNOWN
    if status == _UNAVAILABLE:
        return _evidence_of_503(text, server, is_body_known=is_body_known)
    if status in UNKNOWN_STATUSES:
        return Evidence.UNKNOWN
    if status < FIRST_SERVER_ERROR or status in REFUSED_SERVER_ERRORS:
        return Evidence.REFUSED
    return Evidence.UNKNOWN


def _evidence_of_503(text: str, server: str, *, is_body_known: bool) -> Evidence:
    if _PROXY_SENT_NOTHING.search(text):
        return Evidence.REFUSED
    if _PROXY_LOST_THE_SERVER.search(text) or (not is_body_known and "envoy" in server.lower()):
        return Evidence.UNKNOWN
    return Evidence.REFUSED


def server_of(headers: Mapping[str, object]) -> str:
    """Return the Server header of *headers*, or an empty text."""
    for name, value in headers.items():
        if str(name).lower() == "server":
            return str(value)
    return ""
