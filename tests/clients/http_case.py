"""What the cases of HTTP services share: a client for an address, and conditions that leave doubt without need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.clients.case import Case
from tests.clients.conditions import Condition


if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_TOLD: Final = "the same error as after the whole request"

DOUBT_WITHOUT_A_REPLY: Final[Mapping[Condition, str]] = {
    Condition.CLOSED_AT_ONCE: NOT_TOLD,
    Condition.SILENT: NOT_TOLD,
    Condition.HALF_REQUEST: NOT_TOLD,
}


class ServiceCase(Case):
    """One request to a service by a client that is made with its address, ``"http://host:port"``."""

    needless: Mapping[Condition, str] = DOUBT_WITHOUT_A_REPLY

    def connect(self, host: str, port: int) -> Any:
        return self.client(f"http://{host}:{port}")

    def connect_tls(self, host: str, port: int) -> Any:
        return self.client(f"https://{host}:{port}")

    def client(self, address: str) -> Any:
        """Return a client of the service at *address*."""
        raise NotImplementedError
