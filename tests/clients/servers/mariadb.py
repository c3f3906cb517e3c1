"""A MariaDB server of our own: private folder, free port, a user that is not root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from tests.clients.servers.sharing import HOST, as_another_user, free_port, shared_server


USER = "wal"
DATABASE = "wal"
START_S = 30.0
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/libexec", "/usr/local/sbin")
"""Where servers are that are not on the PATH of everyone."""


def program(name: str) -> str:
    """Return the path of *name*; raise FileNotFoundError if it is not installed."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS]))
    if found is None:
        raise FileNotFoundError(f"{name} is not installed (Debian: mariadb-server)")
    return found


class MariaDb:
    """A server that runs until `close`; `stop`, `kill` and `start` simulate an outage."""

    def __init__(self) -> None:
        self._server, self._client = program("mariadbd"), program("mariadb")
        install = program("mariadb-install-db")
        self.port = free_port()
        self._home = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self._as: dict[str, Any] = as_another_user(self._home)
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            [
                install,
                "--no-defaults",
                f"--datadir={self._home / 'data'}",
                # Two servers that are made at the same time would take each other's temporary tables away.
                f"--tmpdir={self._home}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                "--cross-bootstrap",
            ]
        )
        self.start()
        self.execute(
            f"CREATE DATABASE {DATABASE}; CREATE USER {USER}@'%'; GRANT ALL ON *.* TO {USER}@'%';"
            f"CREATE TABLE {DATABASE}.effects (token text) ENGINE=InnoDB"
        )

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._process = subprocess.Popen(
            [
                self._server,
                "--no-defaults",
                f"--datadir={self._home / 'data'}",
                f"--tmpdir={self._home}",
                f"--socket={self._home / 'socket'}",
                f"--pid-file={self._home / 'pid'}",
                f"--log-error={self._home / 'log'}",
                f"--bind-address={HOST}",
                f"--port={self.port}",
                "--skip-name-resolve",
                "--max-connections=150",
                "--innodb-buffer-pool-size=16M",
                "--innodb-log-file-size=8M",
                # The operating system keeps what a killed server wrote; a power cut is not tried here.
                "--innodb-flush-log-at-trx-commit=2",
                "--innodb-doublewrite=0",
            ],
            env={"PATH": os.environ["PATH"], "HOME": str(self._home)},
            cwd=self._home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as,
        )
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.execute("SELECT 1")
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)  # poll: nothing else says that it takes connections
            else:
                return

    def stop(self) -> None:
        """Stop it in order: it ends every connection first."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(START_S)

    def kill(self) -> None:
        """Stop it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(START_S)

    def execute(self, statement: str) -> str:
        """Run a statement with the command line client, over the Unix socket; return what it prints."""
        command = [self._client, "--no-defaults", f"--socket={self._home / 'socket'}", "-uroot", "-BNe", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def happened(self, token: str) -> bool:
        """Return whether a row with *token* was committed."""
        return self.execute(f"SELECT count(*) FROM {DATABASE}.effects WHERE token = '{token}'").strip() != "0"  # noqa: S608

    def tokens(self) -> list[str]:
        """Return the tokens of all committed rows."""
        return self.execute(f"SELECT token FROM {DATABASE}.effects").split()  # noqa: S608

    def close(self) -> None:
        """Stop it and remove its folder."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            check=False,
            cwd=self._home,
            env={"PATH": os.environ["PATH"], "HOME": str(self._home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **self._as,
        )
        assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:].decode(errors='replace')}"


shared = shared_server(MariaDb)
