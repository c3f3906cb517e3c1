"""An FTP server (RFC 959, passive mode only) whose files are the effects."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from tests.clients.servers.lines import LineServer
from tests.clients.servers.sharing import HOST, shared_server


if TYPE_CHECKING:
    from tests.clients.servers.lines import Conversation

PATIENCE_S = 5.0


class FtpServer(LineServer):
    """An effect happened when a file has the token as its name: stored whole, or renamed to it.

    *answers* may name each command, and ``"226"``, the reply after the last byte of a file.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._files_lock = threading.Lock()
        super().__init__()

    def talk(self, conversation: Conversation) -> None:
        """Take files until the client leaves."""
        conversation.reply("HELLO", b"220 ready")
        with contextlib.ExitStack() as listeners:
            self._obey(conversation, listeners)

    def _obey(self, conversation: Conversation, listeners: contextlib.ExitStack) -> None:
        passive: socket.socket | None = None
        renamed = ""
        while True:
            command, _, name = conversation.line().decode().partition(" ")
            match command := command.upper():
                case "USER":
                    conversation.reply(command, b"331 password?")
                case "PASS":
                    conversation.reply(command, b"230 welcome")
                case "TYPE" | "NOOP":
                    conversation.reply(command, b"200 fine")
                case "PASV":
                    passive = listeners.enter_context(socket.create_server((HOST, 0)))
                    passive.settimeout(PATIENCE_S)
                    high, low = divmod(passive.getsockname()[1], 256)
                    conversation.reply(
                        command, f"227 Entering Passive Mode ({HOST.replace('.', ',')},{high},{low})".encode()
                    )
                case "STOR" if passive is not None:
                    self._store(conversation, passive, name)
                    passive = None
                case "RNFR":
                    renamed = name
                    conversation.reply(command, b"350 to what?" if name in self.files else b"550 no such file")
                case "RNTO":
                    self._rename(conversation, renamed, name)
                case "QUIT":
                    conversation.reply(command, b"221 bye")
                    return
                case _:
                    conversation.reply(command, b"502 unknown command")

    def _store(self, conversation: Conversation, passive: socket.socket, name: str) -> None:
        with passive:
            data, _ = passive.accept()
        with data:
            if not conversation.reply("STOR", b"150 send it"):
                return
            content = b""
            with contextlib.suppress(OSError):
                while chunk := data.recv(1 << 16):
                    content += chunk
        usual = b"226 stored"
        if not conversation.answer_to("226", usual).startswith((b"4", b"5")):
            self._keep(name, content)
        conversation.reply("226", usual)

    def _rename(self, conversation: Conversation, old: str, new: str) -> None:
        usual = b"250 renamed"
        if not conversation.answer_to("RNTO", usual).startswith((b"4", b"5")):
            self._keep(new, self.files.pop(old))
        conversation.reply("RNTO", usual)

    def _keep(self, name: str, content: bytes) -> None:
        with self._files_lock:
            self.files[name] = content
        self.note(name)


shared = shared_server(FtpServer)
