"""A proxy between a real client and a real server, which breaks the connection in one chosen way.

Imported by the matrix. Invariant: what it breaks is one request, the one that carries the marker; everything before
it, on this and on other connections, passes unchanged. A way that loses the reply acts only after the server itself
says that the effect has happened.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from enum import Enum
from typing import TYPE_CHECKING, Self


if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
PATIENCE_S = 10.0
CHUNK = 1 << 16
QUIET_S = 0.05
"""A reply of which nothing more comes for so long is taken to be whole."""


class Break(Enum):
    """What the proxy does to the request that carries the marker."""

    HALF_REQUEST = "the connection is closed after half of the request"
    NO_REPLY = "the connection is closed after the request, before the reply"
    HALF_REPLY = "the connection is closed in the middle of the reply"
    RESET = "the connection is reset after the request, before the reply"
    HANG = "no reply comes"
    ANSWER = "a gateway answers in the server's place"


class Proxy:
    """Pass everything between clients and *port*, until `arm` says what to break.

    *see_reply* returns what a client is to see of a reply; it is called with the reply, *port* and the proxy's port.
    """

    def __init__(self, port: int, see_reply: Callable[[bytes, int, int], bytes] = lambda reply, *_: reply) -> None:
        self._target = port
        self._see_reply = see_reply
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._plan: Plan | None = None
        self._is_closing_at_once = False
        self._is_silent = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.refuse_new_connections()
        self.drop_all()

    def arm(
        self,
        how: Break,
        marker: bytes,
        happened: Callable[[], bool],
        answer: bytes = b"",
        *,
        every: bool = False,
    ) -> Plan:
        """Break the next request that carries *marker*; pass everything again after that, unless *every*."""
        self._plan = Plan(how, marker, happened, answer, is_for_every_request=every)
        return self._plan

    def disarm(self) -> None:
        """Pass everything from now on."""
        self._plan = None
        self._is_closing_at_once = self._is_silent = False
        if self._thread is None:
            self._listener = socket.create_server((HOST, self.port))
            self._listen()

    def refuse_new_connections(self) -> None:
        """Refuse new connections: the port is closed."""
        if self._thread is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._thread.join(PATIENCE_S)
            self._thread = None

    def close_new_connections(self) -> None:
        """Accept new connections, and close each at once."""
        self._is_closing_at_once = True

    def say_nothing(self) -> None:
        """Accept new connections, read from them, and answer nothing."""
        self._is_silent = True

    def drop_all(self) -> None:
        """Close every connection there is, as a server does that goes down."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.close()

    # --- Inside ---------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._is_closing_at_once:
                client.close()
                continue
            if self._is_silent:
                with self._lock:
                    self._pairs.append(_Pair(client, None))
                continue
            try:
                server = socket.create_connection((HOST, self._target), timeout=PATIENCE_S)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(client, server)
            with self._lock:
                self._pairs.append(pair)
            for pump in (self._pump_requests, self._pump_replies):
                threading.Thread(target=pump, args=(pair,), daemon=True).start()

    def _pump_requests(self, pair: _Pair) -> None:
        assert pair.server is not None
        window = b""
        while chunk := pair.read(pair.client):
            plan = self._plan
            # The marker may lie across two chunks.
            window = (window + chunk)[-len(chunk) - 256 :]
            if plan is not None and plan.may_be_about(pair) and plan.is_in(window, new=len(chunk)):
                plan.pairs.append(pair)
                if plan.how is Break.HALF_REQUEST:
                    half = chunk[: plan.half_of(chunk, window)]
                    with contextlib.suppress(OSError):
                        pair.server.sendall(half)
                    # The server must have read the half before the connection ends, or it would see less.
                    time.sleep(QUIET_S)
                    plan.has_struck.set()
                    pair.close()
                    return
                with contextlib.suppress(OSError):
                    pair.server.sendall(chunk)
                threading.Thread(target=self._strike, args=(plan, pair), daemon=True).start()
                continue
            with contextlib.suppress(OSError):
                pair.server.sendall(chunk)
        pair.end_of_requests()

    def _pump_replies(self, pair: _Pair) -> None:
        assert pair.server is not None
        while chunk := pair.read(pair.server):
            plan = self._plan
            if plan is not None and pair in plan.pairs and (not plan.is_answered_before or plan.happened()):
                pair.held += chunk
                pair.came_at = time.monotonic()
                continue
            with contextlib.suppress(OSError):
                pair.client.sendall(self._see_reply(chunk, self._target, self.port))
        plan = self._plan
        if plan is None or pair not in plan.pairs:
            pair.close()

    def _strike(self, plan: Plan, pair: _Pair) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not plan.happened():
            if time.monotonic() > deadline or self._stopped.is_set():
                plan.failure = "the server never said that it did it"
                plan.has_struck.set()
                pair.close()
                return
            time.sleep(0.002)  # poll: a server has no event for an effect
        if plan.how is Break.HALF_REPLY:
            while not pair.held or time.monotonic() - pair.came_at < QUIET_S:
                if time.monotonic() > deadline:
                    plan.failure = "the server sent no reply"
                    break
                time.sleep(0.002)  # poll: a reply is whole if nothing more comes for QUIET_S
            with contextlib.suppress(OSError):
                pair.client.sendall(pair.held[: max(1, len(pair.held) // 2)] if len(pair.held) > 1 else b"")
                time.sleep(QUIET_S)  # let the client read it: a close at once might reset the connection
        if plan.how is Break.ANSWER:
            with contextlib.suppress(OSError):
                pair.client.sendall(plan.answer)
                time.sleep(QUIET_S)  # let the client read it: a close at once might reset the connection
        plan.has_struck.set()
        if plan.how is Break.RESET:
            pair.reset()
        elif plan.how is not Break.HANG:
            pair.close()


class Plan:
    """One request to break, or each request that carries the marker, and what became of it."""

    def __init__(
        self, how: Break, marker: bytes, happened: Callable[[], bool], answer: bytes, *, is_for_every_request: bool
    ) -> None:
        self.how = how
        self.marker = marker
        self.happened = happened
        self.answer = answer
        self.is_for_every_request = is_for_every_request
        self.is_answered_before = False
        self.writes_before: int | None = None
        self.pairs: list[_Pair] = []
        self.has_struck = threading.Event()
        self.failure: str | None = None

    def may_be_about(self, pair: _Pair) -> bool:
        """Return whether a request on *pair* is to be broken."""
        return not self.pairs or (self.is_for_every_request and pair not in self.pairs)

    def is_in(self, window: bytes, *, new: int) -> bool:
        """Return whether the request to break is in *window*, the last bytes that came; *new* of them came just now."""
        if self.writes_before is None:
            return self._found_in(window, len(window) - new) >= 0
        self.writes_before -= 1
        return self.writes_before < 0

    def half_of(self, chunk: bytes, window: bytes) -> int:
        """Return how many bytes of *chunk*, the last ones of *window*, are sent of a request that is cut."""
        if self.writes_before is not None:
            return len(chunk) // 2
        seen = len(window) - len(chunk)
        return max(1, self._found_in(window, seen) - seen + len(self.marker) // 2)

    def _found_in(self, window: bytes, seen: int) -> int:
        # A marker such as COMMIT was in earlier requests, too: one that ended in an earlier chunk does not count.
        return window.find(self.marker, max(0, seen - len(self.marker) + 1))


class _Pair:
    """One client's connection, and the one to the server that stands for it."""

    def __init__(self, client: socket.socket, server: socket.socket | None) -> None:
        self.client = client
        self.server = server
        self.held = b""
        self.came_at = 0.0

    def read(self, one: socket.socket) -> bytes:
        try:
            return one.recv(CHUNK)
        except OSError:
            return b""

    def end_of_requests(self) -> None:
        if self.server is not None:
            with contextlib.suppress(OSError):
                self.server.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close so that the client's kernel gets RST, not FIN."""
        with contextlib.suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A thread that reads the socket would keep it open: wake it, without a FIN to the client.
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_RD)
        self.client.close()
        self._close_server()

    def close(self) -> None:
        """Close both in good order."""
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)
        self.client.close()
        self._close_server()

    def _close_server(self) -> None:
        if self.server is not None:
            with contextlib.suppress(OSError):
                self.server.shutdown(socket.SHUT_RDWR)
            self.server.close()
