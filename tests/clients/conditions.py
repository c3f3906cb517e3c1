"""The conditions of the matrix: what goes wrong, and what is sure about it beforehand."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Condition(Enum):
    """What goes wrong between a client and its server. The value is what the page says."""

    REFUSED = "connecting is refused"
    UNKNOWN_HOST = "the host name is unknown"
    TLS_FAILURE = "the certificate is not trusted"
    CLOSED_AT_ONCE = "the connection is closed as soon as it is made"
    CONNECT_TIMEOUT = "connecting times out"
    SILENT = "the connection is made, and nothing is ever answered"
    HALF_REQUEST = "closed after half of the request"
    NO_REPLY = "closed after the request, before the reply"
    HALF_REPLY = "closed in the middle of the reply"
    RESET = "reset after the request, before the reply"
    HANG = "no reply comes"
    CLOSED_WHILE_IDLE = "closed before the request, which is sent on the dead connection"
    DOWN_WHILE_IDLE = "closed before the request, and connecting again is refused"
    USED_AGAIN = "the connection that lost a reply is used again"
    GATEWAY = "a gateway answers in the server's place"


WHILE_CONNECTING: Final = frozenset(
    {
        Condition.REFUSED,
        Condition.UNKNOWN_HOST,
        Condition.TLS_FAILURE,
        Condition.CLOSED_AT_ONCE,
        Condition.CONNECT_TIMEOUT,
        Condition.SILENT,
    }
)

NEVER_IN_DOUBT: Final = frozenset({Condition.REFUSED, Condition.UNKNOWN_HOST, Condition.USED_AGAIN})
"""Where nothing was surely sent, and each client must show it. USED_AGAIN only if the second effect did not happen."""
