"""A server of a protocol of lines, such as SMTP and FTP: one thread a connection, on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

from tests.clients.servers.sharing import HOST


if TYPE_CHECKING:
    from io import BufferedRWPair


class LineServer:
    """Accept connections until `close`; subclasses define `talk`.

    *answers* replaces the reply to a command, named in upper case, by another one; empty bytes close the connection
    instead of replying. The greeting is called ``"HELLO"``.
    """

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self._tokens: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def happened(self, token: str) -> bool:
        """Return whether the effect named *token* happened."""
        return self.times(token) > 0

    def times(self, token: str) -> int:
        """Return how many times the effect named *token* happened."""
        with self._lock:
            return self._tokens[token]

    def tokens(self) -> list[str]:
        """Return the effects that happened."""
        with self._lock:
            return list(self._tokens)

    def note(self, token: str) -> None:
        """Remember that the effect named *token* happened; called before the reply is written."""
        with self._lock:
            self._tokens[token] += 1

    def talk(self, conversation: Conversation) -> None:
        """Speak the protocol with one client until it leaves."""
        raise NotImplementedError

    def close(self) -> None:
        """Accept no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        conversation = Conversation(connection, self.answers)
        with contextlib.suppress(OSError, Hangup):
            self.talk(conversation)
        with contextlib.suppress(OSError):
            conversation.close()


class Conversation:
    """One client's connection."""

    def __init__(self, connection: socket.socket, answers: dict[str, bytes]) -> None:
        self._answers = answers
        self.take_over(connection)

    def take_over(self, connection: socket.socket) -> None:
        """Go on with *connection*: the one after a TLS handshake."""
        self.connection = connection
        self.stream: BufferedRWPair = connection.makefile("rwb")

    def line(self) -> bytes:
        """Return the next whole line without its end. Raise `Hangup` if there is none."""
        line = self.stream.readline()
        # A line without an end was cut off: the client never sent this command.
        if not line.endswith(b"\r\n"):
            raise Hangup
        return line[:-2]

    def reply(self, command: str, usual: bytes) -> bool:
        """Send the *usual* reply to *command*, or the one in its place; return whether it was the usual one."""
        said = self.answer_to(command, usual)
        if not said:
            raise Hangup
        self.stream.write(said + b"\r\n")
        self.stream.flush()
        if said.startswith(b"421"):
            raise Hangup
        return said == usual

    def answer_to(self, command: str, usual: bytes) -> bytes:
        """Return what `reply` would send."""
        return self._answers.get(command, usual)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self.stream.close()
        self.connection.close()


class Hangup(Exception):
    """Either side ended the connection."""
