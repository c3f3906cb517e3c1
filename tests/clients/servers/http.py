"""An HTTP/1.1 server that speaks the protocol truly, and keeps the tokens of the whole requests that it read.

Imported by the cases. Invariant: a token counts as happened only after the last byte of its request was read, and
before the first byte of the reply is written.

A responder decides what is answered::

    def respond(method, path, headers, body):  # the names of headers are in lower case
        return 200, {"Content-Type": "application/json"}, b"{}"  # or None: the connection is closed without a reply

    with HttpServer(respond) as server:
        ...
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from tests.clients.servers.sharing import HOST


if TYPE_CHECKING:
    import ssl
    from io import BufferedIOBase

Reply: TypeAlias = tuple[int, Mapping[str, str], bytes] | None
Responder: TypeAlias = Callable[[str, str, Mapping[str, str], bytes], Reply]

TOKEN: Final = re.compile(rb"effect[0-9a-f]{16}")
"""What `tests.clients.case.new_token` makes."""

STATUSES_WITHOUT_BODY: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


def created(_method: str, _path: str, _headers: Mapping[str, str], _body: bytes) -> Reply:
    """Answer 200 with a JSON body that is longer than the head: the middle of the reply lies in the body."""
    return 200, {"Content-Type": "application/json"}, b'{"created": true, "what": "%s"}' % (b"one effect " * 40)


class HttpServer:
    """Serve on a free port of loopback until `close`."""

    def __init__(self, respond: Responder = created, *, tls: ssl.SSLContext | None = None) -> None:
        self.respond = respond
        self._lock = threading.Lock()
        self._tokens: Counter[str] = Counter()
        self._server = _Listener((HOST, 0), _Connection)
        self._server.home = self
        self._server.tls = tls
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def happened(self, token: str) -> bool:
        """Return whether a whole request that holds *token* was read."""
        return self.times(token) > 0

    def times(self, token: str) -> int:
        """Return how many whole requests held *token*: more than one if the client sent it again by itself."""
        with self._lock:
            return self._tokens[token]

    def note(self, *parts: bytes) -> None:
        """Record the tokens that *parts* of one whole request hold."""
        found = {token.decode() for part in parts for token in TOKEN.findall(part)}
        with self._lock:
            self._tokens.update(found)

    def stop_listening(self) -> None:
        """Refuse further connections; open ones are kept."""
        # Closing alone does not wake the thread that waits for connections, and the port would still take some.
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self.stop_listening()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- One connection -------------------------------------------------------------------------------------------


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    home: HttpServer
    tls: ssl.SSLContext | None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: connections that break are what this server is for."""


class _Connection(socketserver.StreamRequestHandler):
    server: _Listener
    disable_nagle_algorithm = True

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while self._serve_one():
                pass

    def _serve_one(self) -> bool:
        """Serve the next request; return whether the connection stays open."""
        head = read_head(self.rfile)
        method, path, _version = head[0].decode("latin-1").split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.decode("latin-1").partition(":") for line in head[1:])
        }
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = read_body(self.rfile, headers)
        home = self.server.home
        home.note(*head, body)
        reply = home.respond(method, path, headers, body)
        if reply is None:
            self.request.shutdown(socket.SHUT_RDWR)
            return False
        self.wfile.write(written(method, *reply))
        return "close" not in {headers.get("connection", "").lower(), reply[1].get("Connection", "").lower()}


def read_head(stream: BufferedIOBase) -> list[bytes]:
    """Read the request line and the headers; EOFError if the connection ends before the empty line."""
    line = b""
    while not line:  # an empty line may come before a request
        line = _whole_line(stream)
    lines = [line]
    while line := _whole_line(stream):
        lines.append(line)
    return lines


def read_body(stream: BufferedIOBase, headers: Mapping[str, str]) -> bytes:
    """Read the whole body; EOFError if the connection ends before its end."""
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return _exactly(stream, int(headers.get("content-length", 0)))
    body = b""
    while size := int(_whole_line(stream).partition(b";")[0], 16):
        body += _exactly(stream, size)
        _whole_line(stream)
    while _whole_line(stream):  # trailers
        pass
    return body


def written(method: str, status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the bytes of a reply."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    has_body = method != "HEAD" and status not in STATUSES_WITHOUT_BODY
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    if status not in STATUSES_WITHOUT_BODY and "content-length" not in {name.lower() for name in headers}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body if has_body else b"")


def _whole_line(stream: BufferedIOBase) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError("the connection ended within a line")
    return line[:-2]


def _exactly(stream: BufferedIOBase, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the connection ended within the body")
    return data
