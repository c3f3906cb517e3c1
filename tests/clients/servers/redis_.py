"""A Redis server of our own: private folder, free port, nothing on disk, a user that is not root."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.clients.servers.sharing import HOST, as_another_user, free_port, is_answered, shared_server
from tests.runner.driving import wait_until


START_S = 10.0


class Redis:
    """A server that runs until `close`; effects are pushes to the list that has the token as its name."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise FileNotFoundError("redis-server is not installed (Debian: redis-server)")
        self._program = program
        self.port = free_port()
        self._home = Path(tempfile.mkdtemp(prefix="redis-"))
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [self._program, "--port", str(self.port), "--bind", HOST, "--save", "", "--appendonly", "no"],
            cwd=self._home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **as_another_user(self._home),
        )
        wait_until(lambda: is_answered(lambda: self.ask("PING"), "+PONG"), START_S)

    def stop(self) -> None:
        """Stop it as a crash would."""
        self._process.kill()
        self._process.wait()

    def ask(self, command: str) -> str:
        """Send an inline command, and return the first line of the answer."""
        with socket.create_connection((HOST, self.port), timeout=START_S) as link:
            link.sendall(command.encode() + b"\r\n")
            with link.makefile("rb") as answer:
                return answer.readline().decode().strip()

    def count(self, token: str) -> int:
        """Return how often *token* was pushed."""
        return int(self.ask(f"LLEN {token}").removeprefix(":"))

    def size(self) -> int:
        """Return how many keys there are."""
        return int(self.ask("DBSIZE").removeprefix(":"))

    def happened(self, token: str) -> bool:
        """Return whether *token* was pushed."""
        return self.count(token) > 0

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)


shared = shared_server(Redis)
