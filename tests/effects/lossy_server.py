"""Servers that take a whole request, note it, and then lose the reply; and addresses that take none.

Tests import this. Invariant: `arrived` is set only after the last byte of the request was read,
so a test that waits for it cannot pass on a request that was never made.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from io import BufferedRWPair
from typing import Self


HOST = "127.0.0.1"
# A name that the standards promise never to give to anyone (RFC 2606).
UNRESOLVABLE_NAME = "name.invalid"
PATIENCE_S = 20.0
# More than any system queues behind listen(0).
BACKLOG_FILLERS = 16


class LossyServer:
    """Serve one protocol on loopback, and end each connection the way *lose* does."""

    def __init__(self, receive: Receive, lose: Lose) -> None:
        self.arrived = threading.Event()
        self._receive = receive
        self._lose = lose
        self._stopping = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        # Closing a listener does not wake accept(); a last caller does.
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, self.port), timeout=PATIENCE_S).close()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopping.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        # The client may be gone before the reply is lost; that loses it as well.
        with connection, contextlib.suppress(OSError), connection.makefile("rwb") as stream:
            if self._receive(stream):
                self.arrived.set()
            self._lose(connection, self._stopping)


# --- Requests, read to their last byte ----------------------------------------------

Receive = Callable[[BufferedRWPair], bool]


def receive_http(stream: BufferedRWPair) -> bool:
    """Read one HTTP request with its body, and return True if all of it came."""
    length = 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return line == b"\r\n" and len(stream.read(length)) == length


def receive_smtp(stream: BufferedRWPair) -> bool:
    """Speak SMTP up to the dot that ends a mail, and return True if it came."""
    _say(stream, b"220 lossy")
    while line := stream.readline():
        if line.strip().upper() != b"DATA":
            _say(stream, b"250 fine")
            continue
        _say(stream, b"354 go on")
        while (line := stream.readline()) not in (b".\r\n", b""):
            pass
        return line == b".\r\n"
    return False


def receive_nothing(_: BufferedRWPair) -> bool:
    """Read nothing: the connection is made, and no request is awaited."""
    return False


def _say(stream: BufferedRWPair, line: bytes) -> None:
    stream.write(line + b"\r\n")
    stream.flush()


# --- Ways to lose a reply -------------------------------------------------------------

Lose = Callable[[socket.socket, threading.Event], None]


def hang(_: socket.socket, stopping: threading.Event) -> None:
    """Keep the connection open and say nothing."""
    stopping.wait(PATIENCE_S)


def close(_connection: socket.socket, _stopping: threading.Event) -> None:
    """Close the connection in good order; leaving the `with` block does it."""


def reset(connection: socket.socket, _: threading.Event) -> None:
    """Close the connection so that the kernel sends RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def garble(connection: socket.socket, _: threading.Event) -> None:
    """Answer in no known protocol."""
    connection.sendall(b"what was the question?\r\n\r\n")


def cut(connection: socket.socket, _: threading.Event) -> None:
    """Close in the middle of the reply."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of")


def cut_in_chunk(connection: socket.socket, _: threading.Event) -> None:
    """Close in the middle of a chunk of the reply."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf of")


def stall(connection: socket.socket, stopping: threading.Event) -> None:
    """Say nothing more after the middle of the reply."""
    cut(connection, stopping)
    hang(connection, stopping)


# --- Addresses where no request is ever received -----------------------------------------


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """Yield a port that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port whose backlog is full: connecting to it neither succeeds nor fails."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((HOST, 0))
        listener.listen(0)
        for _ in range(BACKLOG_FILLERS):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)  # connect_ex then only knocks
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
