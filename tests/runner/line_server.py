"""A small TCP server that notes and answers each line, and can be stopped and started on its port; and its clients."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Self


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TIMEOUT_S = 20.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class LineServer:
    """A server that answers each line; `lines` are those that it received. `stop` resets every connection."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.accepted = 0
        self.port = 0
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._clients: set[socket.socket] = set()
        self.start()

    def start(self) -> None:
        """Listen, on the same port as before."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """Refuse new connections, and reset the open ones."""
        with self._lock:
            listener, self._listener = self._listener, None
            if listener is None:
                return
            # shutdown() wakes accept(); a mere close() would let it take one connection more.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for client in self._clients:
                with suppress(OSError):
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                    client.shutdown(socket.SHUT_RD)
                    client.close()
            self._clients.clear()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with self._lock:
                    if self._listener is not listener:
                        client.close()
                        return
                    self._clients.add(client)
                    self.accepted += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        buffer = b""
        with suppress(OSError):
            while data := client.recv(4096):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self.lines.append(line.decode())
                    client.sendall(b"ok\n")


class Link:
    """A client's connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._file = self._socket.makefile("rb")

    def send(self, line: str) -> None:
        """Send *line* and wait for the answer; raise ConnectionResetError or BrokenPipeError if there is none."""
        self._socket.sendall(f"{line}\n".encode())
        if self._file.readline() != b"ok\n":
            raise ConnectionResetError("closed")

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self._socket.close()


@contextmanager
def linked(port: int) -> Iterator[Link]:
    """Hold a connection inside the block."""
    link = Link(port)
    try:
        yield link
    finally:
        link.close()


class AsyncLink:
    """A coroutine's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, line: str) -> None:
        """Do as `Link.send` does."""
        self._writer.write(f"{line}\n".encode())
        await self._writer.drain()
        if await self._reader.readline() != b"ok\n":
            raise ConnectionResetError("closed")


@asynccontextmanager
async def linked_async(port: int) -> AsyncIterator[AsyncLink]:
    """Hold a connection inside the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield AsyncLink(reader, writer)
    finally:
        writer.close()
