"""A PostgreSQL server of our own: private folder, free port, a user that is not root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.clients.servers.sharing import HOST, as_another_user, free_port, shared_server


if TYPE_CHECKING:
    from collections.abc import Sequence

USER = "wal"


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, the newest there is, or None."""
    candidates = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if (found := shutil.which("initdb")) is not None:
        candidates.append(Path(found).resolve().parent)
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


class Postgres:
    """A server that runs until `close`; `stop` and `start` simulate an outage."""

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


shared = shared_server(Postgres)
