"""The outside world of the demo: an HTTP server that does what it is told, and keeps its own ledger.

Run by ``walrun demo`` as a process of its own; it imports nothing of the package, for it stands for
somebody else's service. Invariant: each request that reaches its effect is one line of the ledger; it
never notices by itself that it did something twice.

    POST /send            Idempotency-Key, X-Item-Id: after a while there is a line in the ledger
    POST /happened        a JSON list of idempotency keys: gives those that are in the ledger
    GET  /wait?lines=N    gives the number of lines as soon as there are N, or after half a second
    GET  /ledger          the numbers: lines, items, and how many items stand there more than once

It ends when its stdin does, so it does not outlive the demo.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from contextlib import suppress
from typing import Any, Final


# The effect is in the midst of a request: a client that dies meanwhile cannot know.
BEFORE_EFFECT_S: Final = 0.001
AFTER_EFFECT_S: Final = 0.001
# As with any service, some requests wait: then a death finds requests before their effect, too.
EACH_SLOW: Final = 20
SLOW_S: Final = 0.02

WAIT_S_MAX: Final = 0.5

LINE_END: Final = b"\r\n"


class Ledger:
    """What was done, in order: (item id, idempotency key)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.requests = itertools.count(1)
        self._grew = asyncio.Condition()

    async def write(self, item_id: str, key: str) -> int:
        """Do the effect: one more line. Return its number."""
        self.lines.append((item_id, key))
        number = len(self.lines)
        async with self._grew:
            self._grew.notify_all()
        return number

    async def wait_for(self, count: int) -> int:
        """Return how many lines there are, as soon as there are *count*, or after a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S_MAX), self._grew:
                await self._grew.wait_for(lambda: len(self.lines) >= count)
        return len(self.lines)

    def happened(self, keys: list[str]) -> list[str]:
        """Return those of *keys* under which something was done."""
        known = {key for _, key in self.lines}
        return [key for key in keys if key in known]

    def numbers(self) -> dict[str, int]:
        """Return what an auditor would ask for."""
        times = Counter(item_id for item_id, _ in self.lines)
        return {
            "lines": len(self.lines),
            "items": len(times),
            "more_than_once": sum(count > 1 for count in times.values()),
        }


async def serve(ledger: Ledger, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection, one after the other."""
    # A client that is killed resets its connections.
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            request = await _read_request(reader)
            if request is None:
                break
            target, headers, body = request
            reply = json.dumps(await _answer(ledger, reader, target, headers, body)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(reply), reply))
            await writer.drain()
    writer.close()


async def _answer(
    ledger: Ledger, reader: asyncio.StreamReader, target: str, headers: dict[str, str], body: bytes
) -> Any:  # noqa: ANN401 - JSON
    path, _, query = target.partition("?")
    match path:
        case "/send":
            is_slow = next(ledger.requests) % EACH_SLOW == 0
            await asyncio.sleep(SLOW_S if is_slow else BEFORE_EFFECT_S)
            if reader.at_eof() or reader.exception() is not None:
                raise ConnectionResetError  # the client hung up; as many servers do, we then let it be
            receipt = await ledger.write(headers["x-item-id"], headers["idempotency-key"])
            await asyncio.sleep(AFTER_EFFECT_S)
            return {"receipt": receipt}
        case "/happened":
            return ledger.happened(json.loads(body))
        case "/wait":
            return await ledger.wait_for(int(query.removeprefix("lines=")))
        case _:
            return ledger.numbers()


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes] | None:
    """Read one request: target, headers, body; None where the connection has ended."""
    line = await reader.readline()
    if not line:
        return None
    target = line.split()[1].decode()
    headers = {}
    while (line := await reader.readline()) not in {LINE_END, b""}:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return target, headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def main() -> None:
    """Serve on a free port of the loopback interface, and print it; end with stdin."""
    ledger = Ledger()
    server = await asyncio.start_server(lambda reader, writer: serve(ledger, reader, writer), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(main())
