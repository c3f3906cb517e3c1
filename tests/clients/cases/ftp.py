"""Files by ftplib: stored, and stored under another name and then renamed."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, Case, new_token
from tests.clients.conditions import Condition
from tests.clients.servers import ftp


if TYPE_CHECKING:
    from collections.abc import Iterator

WHOLE = "the same error as after the whole command"


class _Ftp(Case):
    server_name = "FTP (protocol server)"
    skipped = {Condition.TLS_FAILURE: "FTP asks for TLS in its own protocol, by AUTH, before any file"}
    needless = {Condition.HALF_REQUEST: WHOLE}

    @contextlib.contextmanager
    def serving(self) -> Iterator[ftp.FtpServer]:
        yield ftp.shared()

    def connect(self, host: str, port: int) -> Any:
        import ftplib

        connection = ftplib.FTP(timeout=TIMEOUT_S)  # noqa: S321 - it is what is tried
        connection.connect(host, port)
        connection.login("shop", "secret")
        return connection


class FtplibStore(_Ftp):
    """The reply to STOR comes after the last byte of the file."""

    name = "ftplib, STOR"
    is_answered_before = True

    def act(self, connection: Any, token: str) -> None:
        connection.storbinary(f"STOR {token}", io.BytesIO(b"content"))


class FtplibRename(_Ftp):
    """The file is there, whole, when it has its name."""

    name = "ftplib, STOR and rename"

    def act(self, connection: Any, token: str) -> None:
        part = f"part-of-{new_token()}"
        connection.storbinary(f"STOR {part}", io.BytesIO(b"content"))
        connection.rename(part, token)


CASES = (FtplibStore(), FtplibRename())
