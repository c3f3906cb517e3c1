"""Mails by smtplib and aiosmtplib: one connection a worker, one mail an item."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, AsyncConnection, Case
from tests.clients.conditions import Condition
from tests.clients.servers import smtp


if TYPE_CHECKING:
    from collections.abc import Iterator

SENDER = "shop@example.com"
RECIPIENT = "customer@example.com"
UNTIL_THE_DOT = "the same error as after the dot that ends the mail"


def mail(token: str) -> str:
    """Return a mail that holds *token*, and nothing else does."""
    return f"Subject: hello\r\n\r\n{token}\r\n"


class _Mail(Case):
    server_name = "SMTP (protocol server)"
    needless = {Condition.HALF_REQUEST: UNTIL_THE_DOT}

    @contextlib.contextmanager
    def serving(self) -> Iterator[smtp.SmtpServer]:
        yield smtp.shared()


class Smtplib(_Mail):
    """Python's own client."""

    name = "smtplib"

    def connect(self, host: str, port: int) -> Any:
        import smtplib

        return smtplib.SMTP(host, port, local_hostname="localhost", timeout=TIMEOUT_S)

    def connect_tls(self, host: str, port: int) -> Any:
        import smtplib

        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, port, local_hostname="localhost", timeout=TIMEOUT_S, context=context)

    def act(self, connection: Any, token: str) -> None:
        connection.sendmail(SENDER, [RECIPIENT], mail(token))


class Aiosmtplib(_Mail):
    """The asyncio client."""

    name = "aiosmtplib"
    packages = ("aiosmtplib",)

    def connect(self, host: str, port: int) -> Any:
        return self._connect(host, port, use_tls=False)

    def connect_tls(self, host: str, port: int) -> Any:
        return self._connect(host, port, use_tls=True)

    def _connect(self, host: str, port: int, *, use_tls: bool) -> Any:
        import aiosmtplib

        async def connecting() -> Any:
            client = aiosmtplib.SMTP(
                hostname=host,
                port=port,
                local_hostname="localhost",
                timeout=TIMEOUT_S,
                use_tls=use_tls,
                start_tls=False,
            )
            await client.connect()
            return client

        return AsyncConnection(connecting)

    def act(self, connection: Any, token: str) -> None:
        connection.run(connection.inner.sendmail(SENDER, [RECIPIENT], mail(token)))

    def close(self, connection: Any) -> None:
        connection.inner.close()
        connection.close()


CASES = (Smtplib(), Aiosmtplib())
