"""The same HTTP clients with a safe request, a GET: repeating it is harmless, so a lost reply is a failure.

What is in doubt all the same are the errors that do not name their method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clients.cases import http_clients
from tests.clients.conditions import Condition
from tests.clients.servers import gateways


if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_NAMED = "the error does not name the method"
LOST = (
    Condition.CLOSED_AT_ONCE,
    Condition.SILENT,
    Condition.HALF_REQUEST,
    Condition.NO_REPLY,
    Condition.HALF_REPLY,
    Condition.RESET,
    Condition.HANG,
)
# aiohttp sends a GET again if the connection that it had kept breaks.
SENT_AGAIN_BY_AIOHTTP = {Condition.HALF_REQUEST, Condition.NO_REPLY, Condition.RESET}


def safe(case: http_clients.HttpCase, needless: Mapping[Condition, str]) -> http_clients.HttpCase:
    """Return *case* with a GET."""
    case.name = f"{case.name}, GET"
    case.method = "GET"
    case.is_safe = True
    case.gateway_answers = gateways.SOME
    case.needless = needless
    return case


CASES = (
    safe(http_clients.Urllib(), dict.fromkeys((*LOST, Condition.GATEWAY), NOT_NAMED)),
    safe(
        http_clients.HttpClient(),
        dict.fromkeys((*LOST, Condition.CLOSED_WHILE_IDLE, Condition.DOWN_WHILE_IDLE), NOT_NAMED),
    ),
    safe(http_clients.Urllib3(), dict.fromkeys(LOST, NOT_NAMED)),
    safe(http_clients.Requests(), {Condition.HALF_REPLY: NOT_NAMED}),
    safe(http_clients.Httpx(), {}),
    safe(http_clients.HttpxAsync(), {}),
    safe(http_clients.Aiohttp(), {lost: NOT_NAMED for lost in LOST if lost not in SENT_AGAIN_BY_AIOHTTP}),
)
