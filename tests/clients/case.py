"""What a client must offer so that the matrix can break its requests: connect, act, close.

Each module in tests/clients/cases holds some of these in a tuple CASES; that is all it takes to add a client.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import uuid
from typing import TYPE_CHECKING, Any, Final, Protocol


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from contextlib import AbstractContextManager

    from tests.clients.conditions import Condition

TIMEOUT_S: Final = 0.6
"""Time-out of clients for connecting and for replies: long enough for a busy machine, short enough for 400 cells."""


class NotTried(BaseException):
    """The case cannot run with the version that is installed; the text says why."""


class Server(Protocol):
    """A server that runs, and can say whether an effect happened."""

    port: int

    def happened(self, token: str) -> bool:
        """Return whether the effect named *token* is in the server's own state."""


class Case:
    """One client, used in one way, against one server. Subclasses say how."""

    name: str
    """As the page shows it: ``"redis-py"``, ``"httpx, async"``."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions the page shows; a case whose packages are missing is skipped."""
    server_name: str
    """``"PostgreSQL 15 (real server)"`` or ``"SMTP (protocol server)"``."""
    is_safe: bool = False
    """The effect is that of a safe request, such as a GET: repeating it is harmless, so a lost reply is a failure."""
    skipped: Mapping[Condition, str] = {}
    """Conditions that make no sense for this client, and why."""
    needless: Mapping[Condition, str] = {}
    """Conditions in which nothing happened, or that of a safe request, and the item is in doubt all the same; and why
    that cannot be told."""
    is_answered_before: bool = False
    """Whether the server replies to the request before the effect as well (FTP: 150); those replies pass."""
    writes_before: int | None = None
    """For an encrypted stream, where no marker is seen: how many writes of `act` pass before the one that is broken."""
    breaks_every_request: bool = False
    """Whether a request that the client repeats by itself is broken again, each time; else it passes."""
    gateway_answers: Mapping[str, bytes] = {}
    """Replies that a gateway sends in the server's place, by name; HTTP only."""

    def serving(self) -> AbstractContextManager[Server]:
        """Run the server; one that is shared by many cases is started once."""
        raise NotImplementedError

    def connect(self, host: str, port: int) -> Any:
        """Return a connection or client, with time-outs of TIMEOUT_S and its own retries switched off."""
        raise NotImplementedError

    def connect_tls(self, host: str, port: int) -> Any:
        """As `connect`, with TLS and certificates checked; only for cases that do not skip TLS_FAILURE."""
        raise NotImplementedError

    def act(self, connection: Any, token: str) -> None:
        """Have one effect, named *token*, that is not safe to repeat; return when the reply has come."""
        raise NotImplementedError

    def close(self, connection: Any) -> None:
        """Close the connection; errors do not matter."""
        connection.close()

    def through_proxy(self, reply: bytes, server_port: int, proxy_port: int) -> bytes:  # noqa: ARG002
        """Return *reply* as the client is to see it; for servers that say at which address they are to be reached."""
        return reply

    def marker(self, token: str) -> bytes:
        """Return the bytes that only the request with the effect holds; it is the one that is broken."""
        return token.encode()

    # --- For the matrix -----------------------------------------------------------------------------------

    def missing(self) -> str | None:
        """Return what is not installed, or None."""
        for package in self.packages:
            try:
                importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                return package
        return None

    def versions(self) -> str:
        """Return the versions of the packages, for the page."""
        return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in self.packages)


def new_token() -> str:
    """Return a name for one effect that occurs nowhere else."""
    return f"effect{uuid.uuid4().hex[:16]}"


class AsyncConnection:
    """A connection of an asyncio client, with the event loop that it lives in."""

    def __init__(self, connecting: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.runner = asyncio.Runner()
        try:
            self.inner = self.runner.run(connecting())
        except BaseException:
            self.runner.close()
            raise

    def run(self, awaitable: Coroutine[Any, Any, Any]) -> Any:
        """Run *awaitable* to its end in the connection's loop."""
        return self.runner.run(awaitable)

    def close(self, closing: Coroutine[Any, Any, Any] | None = None) -> None:
        """Close the connection, then its loop."""
        try:
            if closing is not None:
                self.runner.run(asyncio.wait_for(closing, TIMEOUT_S))
        finally:
            self.runner.close()
