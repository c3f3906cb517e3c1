"""An sshd of our own: private folder, own keys and configuration, free port, the user who runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from tests.clients.servers.sharing import HOST, free_port, shared_server


PATIENCE_S = 10.0
PRIVILEGE_SEPARATION = Path("/run/sshd")
"""A folder that sshd asks for if root runs it; Debian's unit makes it, a container has none."""

# Another HOME: bash reads ~/.bashrc for ssh, and that of a developer may take seconds.
CONFIGURATION = """\
ListenAddress {host}:{port}
HostKey {home}/host_key
AuthorizedKeysFile {home}/user_key.pub
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
SetEnv HOME={home}
Subsystem sftp internal-sftp
MaxStartups 100
LogLevel ERROR
"""


class Sshd:
    """A server that runs until `close`. An effect happened when a file of its name is there, or a line of the log."""

    def __init__(self) -> None:
        program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise FileNotFoundError("sshd is not installed (Debian: openssh-server)")
        if os.geteuid() == 0:
            PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        self.port = free_port()
        self.user = getpass.getuser()
        self.home = Path(tempfile.mkdtemp(prefix="sshd-"))
        self.files = self.home / "files"
        self.files.mkdir()
        self.log = self.home / "effects"
        self.log.touch()
        self.user_key = self.home / "user_key"
        for key in (self.home / "host_key", self.user_key):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, capture_output=True)
        configuration = self.home / "sshd_config"
        configuration.write_text(CONFIGURATION.format(host=HOST, port=self.port, home=self.home))
        with (self.home / "messages").open("wb") as messages:
            # sshd re-executes itself for each connection, so it asks for its whole path.
            self._process = subprocess.Popen([program, "-D", "-e", "-f", configuration], stderr=messages)
        self._wait_until_it_answers()

    def happened(self, token: str) -> bool:
        """Return whether *token* is a whole line of the log, or the name of a file."""
        return (self.files / token).exists() or token in self.log.read_text().splitlines()

    def times(self, token: str) -> int:
        """Return how many lines of the log are *token*."""
        return self.log.read_text().splitlines().count(token)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=PATIENCE_S) as one:
                if one.recv(4) == b"SSH-":
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd does not answer: {(self.home / 'messages').read_text()}")
            time.sleep(0.02)  # poll: nothing else says that it takes connections


shared = shared_server(Sshd)
