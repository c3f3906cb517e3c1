"""A memcached server of our own: free port, loopback, nothing on disk, a user that is not root."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.clients.servers.sharing import HOST, as_another_user, free_port, is_answered, shared_server
from tests.runner.driving import wait_until


START_S = 10.0


class Memcached:
    """A server that runs until `close`; effects are keys that have the token as their name."""

    def __init__(self) -> None:
        program = shutil.which("memcached")
        if program is None:
            raise FileNotFoundError("memcached is not installed (Debian: memcached)")
        self.port = free_port()
        self._home = Path(tempfile.mkdtemp(prefix="memcached-"))
        self._process = subprocess.Popen(
            [program, "-l", HOST, "-p", str(self.port), "-U", "0"],
            cwd=self._home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **as_another_user(self._home),
        )
        wait_until(lambda: is_answered(lambda: self.ask("version"), "VERSION"), START_S)

    def ask(self, command: str) -> str:
        """Send a command, and return the first line of the answer."""
        with socket.create_connection((HOST, self.port), timeout=START_S) as link:
            link.sendall(command.encode() + b"\r\n")
            with link.makefile("rb") as answer:
                return answer.readline().decode().strip()

    def happened(self, token: str) -> bool:
        """Return whether there is a key *token*."""
        return self.ask(f"get {token}") != "END"

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)


shared = shared_server(Memcached)
