"""What the server modules share: the address, free ports, another user than root, and one server for each process."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOST: Final = "127.0.0.1"


class Closable(Protocol):
    """A server that `close` stops."""

    def close(self) -> None:
        """Stop it."""


S = TypeVar("S", bound=Closable)


def shared_server(start: Callable[[], S]) -> Callable[[], S]:
    """Return a function that returns the one server of this process: started at the first call, closed at the end."""

    @functools.cache
    def shared() -> S:
        server = start()
        atexit.register(server.close)
        return server

    return shared


def as_another_user(home: Path) -> dict[str, Any]:
    """Return arguments for subprocess that drop root, which servers refuse; *home* is given to that user."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    os.chown(home, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def is_answered(ask: Callable[[], str], answer: str) -> bool:
    """Return whether *ask* returns what starts with *answer*; False while the server takes no connections."""
    try:
        return ask().startswith(answer)
    except OSError:
        return False


def free_port() -> int:
    """Return a port on which no server listens now."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        port: int = one.getsockname()[1]
        return port
