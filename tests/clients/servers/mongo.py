"""A server that speaks MongoDB's wire protocol: OP_MSG, hello, insert, and retryable writes as a primary does them.

The BSON is that of pymongo. Invariant: a token is in `counts` before the reply to its insert is written; an insert
with the session and the transaction number of an earlier one is answered as that one was, and not done again.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Any, Final

from tests.clients.servers.sharing import HOST, shared_server


HEADER: Final = struct.Struct("<iiii")
OP_REPLY: Final = 1
OP_QUERY: Final = 2004
OP_MSG: Final = 2013
MORE_TO_COME: Final = 2
CHECKSUM_PRESENT: Final = 1


class Mongo:
    """A primary of a replica set of one, which keeps nothing but the tokens."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.counts: dict[str, int] = {}
        self._answers: dict[tuple[bytes, int], dict[str, Any]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def happened(self, token: str) -> bool:
        """Return whether a document with *token* was inserted."""
        return self.counts.get(token, 0) > 0

    def close(self) -> None:
        """Accept no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with link, link.makefile("rb") as stream, contextlib.suppress(OSError):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while len(head := stream.read(HEADER.size)) == HEADER.size:
                length, request_id, _, opcode = HEADER.unpack(head)
                body = stream.read(length - HEADER.size)
                if len(body) < length - HEADER.size:
                    return  # a half request: nothing is done
                if (answer := self._answer(opcode, request_id, body)) is not None:
                    link.sendall(answer)

    def _answer(self, opcode: int, request_id: int, body: bytes) -> bytes | None:
        import bson

        if opcode == OP_QUERY:  # only the first hello of older clients
            name_end = body.index(b"\0", 4)
            self._do(bson.decode(body[name_end + 9 :]))
            reply = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(self._hello())
            return HEADER.pack(HEADER.size + len(reply), 0, request_id, OP_REPLY) + reply
        assert opcode == OP_MSG, f"opcode {opcode}"
        (flags,) = struct.unpack_from("<i", body)
        document = self._do(_sections(body[4 : -4 if flags & CHECKSUM_PRESENT else None]))
        if flags & MORE_TO_COME:
            return None
        reply = struct.pack("<ib", 0, 0) + bson.encode(document)
        return HEADER.pack(HEADER.size + len(reply), 0, request_id, OP_MSG) + reply

    def _do(self, command: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(command))
        if name in ("hello", "isMaster", "ismaster"):
            return self._hello()
        if name == "insert":
            return self._insert(command)
        if name in ("ping", "endSessions"):
            return {"ok": 1.0}
        return {"ok": 0.0, "errmsg": f"no such command: '{name}'", "code": 59, "codeName": "CommandNotFound"}

    def _insert(self, command: dict[str, Any]) -> dict[str, Any]:
        attempt = None
        if "txnNumber" in command:
            attempt = (bytes(command["lsid"]["id"]), int(command["txnNumber"]))
        with self._lock:
            if attempt is not None and attempt in self._answers:
                return self._answers[attempt]
            for document in command["documents"]:
                self.counts[document["token"]] = self.counts.get(document["token"], 0) + 1
            answer = {"n": len(command["documents"]), "ok": 1.0}
            if attempt is not None:
                self._answers[attempt] = answer
            return answer

    def _hello(self) -> dict[str, Any]:
        return {
            "helloOk": True,
            "ismaster": True,
            "isWritablePrimary": True,
            "setName": "effects",
            "setVersion": 1,
            "hosts": [f"{HOST}:{self.port}"],
            "me": f"{HOST}:{self.port}",
            "maxBsonObjectSize": 16 * 1024 * 1024,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "logicalSessionTimeoutMinutes": 30,
            "minWireVersion": 0,
            "maxWireVersion": 21,
            "readOnly": False,
            "ok": 1.0,
        }


def _sections(body: bytes) -> dict[str, Any]:
    """Return the command of an OP_MSG: its body, with the sequences of documents put in."""
    import bson

    command: dict[str, Any] = {}
    sequences: dict[str, list[Any]] = {}
    at = 0
    while at < len(body):
        kind = body[at]
        (size,) = struct.unpack_from("<i", body, at + 1)
        section = body[at + 1 : at + 1 + size]
        if kind == 0:
            command = bson.decode(section)
        else:
            name_end = section.index(b"\0", 4)
            sequences[section[4:name_end].decode()] = bson.decode_all(section[name_end + 1 :])
        at += 1 + size
    return command | sequences


shared = shared_server(Mongo)
