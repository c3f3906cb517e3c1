"""A PostgreSQL server of our own: private folder, free port, a user that is not root."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self


if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
USER = "wal"


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, the newest there is, or None."""
    candidates = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if (found := shutil.which("initdb")) is not None:
        candidates.append(Path(found).resolve().parent)
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


class Postgres:
    """A server that runs until `close`; `restart` and `stop` are what a night brings."""

    def __init__(self) -> None:
        folder = programs()
        if folder is None:
            raise FileNotFoundError("initdb is not installed (Debian: postgresql)")
        self._programs = folder
        self.port = free_port()
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._as: dict[str, Any] = as_another_user(self._home)
        self._do("initdb", "-D", "data", "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        self.start()
        self._watch: Any = None
        self.execute("CREATE TABLE effects (token text)")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-p {self.port} -k {self._home} -c listen_addresses={HOST} -c max_connections=150 -c fsync=off"
        self._do("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: "fast" ends every connection in order, "immediate" as a crash would."""
        self._do("pg_ctl", "-D", "data", "-m", mode, "-w", "stop")

    def execute(self, statement: str) -> str:
        """Run a statement with psql, over the Unix socket; return what it prints."""
        return subprocess.run(
            [
                self._programs / "psql",
                "-h",
                self._home,
                "-p",
                str(self.port),
                "-U",
                USER,
                "-d",
                "postgres",
                "-qAtc",
                statement,
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def happened(self, token: str) -> bool:
        """Return whether a row with *token* was committed."""
        return self.execute(f"SELECT count(*) FROM effects WHERE token = '{token}'").strip() != "0"  # noqa: S608

    def tokens(self) -> list[str]:
        """Return the tokens of all committed rows."""
        return self.execute("SELECT token FROM effects").split()

    def close(self) -> None:
        """Stop it and remove its folder."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = (str(self._programs / program), *arguments)
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self._home)}
        subprocess.run(
            command,
            check=True,
            env=environment,
            cwd=self._home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as,
        )


def as_another_user(home: Path) -> dict[str, Any]:
    """Return arguments for subprocess that drop root, which servers refuse; *home* is given to that user."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    os.chown(home, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        port: int = one.getsockname()[1]
        return port


@functools.cache
def shared() -> Postgres:
    """Return the one server of this process; it is stopped when the process ends."""
    import atexit

    server = Postgres()
    atexit.register(server.close)
    return server
