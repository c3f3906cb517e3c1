"""Tell an HTTP status that is the server's "no" from one that leaves nobody wiser.

Anything may import this module. Source of the numbers: RFC 9110 for the standard ones; Cloudflare's documentation for
520 to 530; 598 and 599 are used by proxies for time-outs behind them. The texts are from the proxies' own sources and
manuals. Invariant: a status that a proxy sends when its connection to the server broke, or that a server sends when it
broke itself, is unknown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from wal_runner.core.error_rows import Evidence


if TYPE_CHECKING:
    from collections.abc import Iterable

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing on the server (RFC 9110, 9.2.1): doing them again is harmless."""

METHODS: Final = SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"}

FIRST_ERROR: Final = 400
FIRST_SERVER_ERROR: Final = 500
STATUS_MAX: Final = 599

UNKNOWN_STATUSES: Final = frozenset({408, 500, 502, 504, 520, 522, 524, 598, 599})

REFUSED_SERVER_ERRORS: Final = frozenset({501, 503, 505, 506, 507, 508, 510, 511, 521, 523, 525, 526, 529, 530})
"""Server errors that are sent instead of acting on the request. Those in neither list are unknown."""

# What proxies say in a 503 after the request was sent: the connection to the server broke, or no reply came in time.
_LOST_THE_REPLY: Final = (
    r"upstream connect error or disconnect/reset",  # Envoy, Istio, Cloud Run
    r"backend fetch failed",  # Varnish
    # Fastly
    r"(?:first byte|between bytes|backend|fetch) timeout",
    r"backend (?:read|write) error",
    r"illegal vary header",
    r"response object too large",
    # Heroku's page for a crash, and for a request that took 30 s. Nothing in it tells the two apart.
    r"herokucdn\.com/error-pages/application-error",
    r"our services aren't available right now",  # Azure Front Door
    r'\{"message": ?"Service Unavailable"\}',  # AWS API Gateway, after the 30 s that an HTTP API waits
)
_PROXY_LOST_THE_REPLY: Final = re.compile("|".join(_LOST_THE_REPLY), re.IGNORECASE)
# Envoy's reasons for which nothing was sent to the server. After a retry it names the reason of the last try only.
_ENVOY_SENT_NOTHING: Final = re.compile(
    r"before headers\. reset reason: *(?:(?:remote |local )?connection failure|connection timeout|overflow)",
    re.IGNORECASE,
)
# The heads of replies of those of them that say it in the body only. Varnish and Fastly say it in the status line too.
_PROXY_SAYS_IT_IN_THE_BODY: Final = re.compile(
    r"^server: .*(?:envoy|google frontend|heroku|cowboy)|^via: .*(?:vegur|heroku)|^x-azure-ref:|^apigw-requestid:",
    re.IGNORECASE | re.MULTILINE,
)
# Stripe's code, PayPal's, and what the IETF's draft on the Idempotency-Key header asks servers to say.
_KEY_IN_USE: Final = re.compile(
    r"previous[_ ]request[_ ](?:is )?(?:still )?in[_ ]progress|"
    r"idempoten.{0,60}(?:in[-_ ]use|in[-_ ]progress|outstanding|being processed|still processing|concurrent)|"
    r"(?:outstanding|in[-_ ]progress|concurrent|being processed).{0,60}idempoten",
    re.IGNORECASE | re.DOTALL,
)

_CONFLICT: Final = 409
_UNAVAILABLE: Final = 503


def evidence_of_status(status: int, *, text: str, head: str, is_body_known: bool) -> Evidence:
    """Return what *status* says of a request that is not safe; NONE for one that is not an error.

    *text* is what the error and the reply's body say, *head* the reply's headers as `head_of` returns them. If the
    body was not read, *is_body_known* is False, and a 503 of a proxy that explains itself in the body is unknown.
    """
    if not FIRST_ERROR <= status <= STATUS_MAX:
        return Evidence.NONE
    if status == _CONFLICT and _KEY_IN_USE.search(text):
        return Evidence.UNKNOWN
    if status == _UNAVAILABLE:
        return _evidence_of_503(text, head, is_body_known=is_body_known)
    if status in UNKNOWN_STATUSES:
        return Evidence.UNKNOWN
    if status < FIRST_SERVER_ERROR or status in REFUSED_SERVER_ERRORS:
        return Evidence.REFUSED
    return Evidence.UNKNOWN


def _evidence_of_503(text: str, head: str, *, is_body_known: bool) -> Evidence:
    if _ENVOY_SENT_NOTHING.search(text):
        return Evidence.REFUSED
    if _PROXY_LOST_THE_REPLY.search(text) or (not is_body_known and _PROXY_SAYS_IT_IN_THE_BODY.search(head)):
        return Evidence.UNKNOWN
    return Evidence.REFUSED


def head_of(headers: Iterable[tuple[object, object]]) -> str:
    """Return *headers* as lines of text, the names in lower case."""
    return "\n".join(f"{str(name).lower()}: {value}" for name, value in headers)
