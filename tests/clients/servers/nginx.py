"""An nginx of our own in front of a server: private folder, free port, a user that is not root."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from tests.clients.servers.sharing import HOST, as_another_user, free_port


STARTING_S = 10.0
CONFIGURATION = """
daemon off;
pid {home}/pid;
error_log {home}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen {host}:{port};
        client_max_body_size 1k;
        proxy_read_timeout 300ms;
        location / {{ proxy_pass http://{host}:{server}; }}
        location /refused {{ proxy_pass http://{host}:{dead}; }}
        location /overloaded {{ return 503; }}
    }}
}}
"""


class Nginx:
    """A gateway to *server*, a port; what it is asked for at /refused it sends to *dead*, a port that refuses."""

    def __init__(self, server: int, dead: int) -> None:
        # Debian's place is not in the path of everyone.
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise FileNotFoundError("nginx is not installed (Debian: nginx-light)")
        self.port = free_port()
        self._home = Path(tempfile.mkdtemp(prefix="nginx-"))
        configuration = self._home / "conf"
        configuration.write_text(
            CONFIGURATION.format(home=self._home, host=HOST, port=self.port, server=server, dead=dead)
        )
        configuration.chmod(0o644)
        self._process = subprocess.Popen(
            [program, "-c", configuration, "-p", self._home, "-e", self._home / "error.log"],
            stderr=subprocess.DEVNULL,
            **as_another_user(self._home),
        )
        self._wait()

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._process.terminate()
        self._process.wait(STARTING_S)
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTING_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
                return
            time.sleep(0.02)  # poll: nothing else says that it takes connections
        log = (self._home / "error.log").read_text()
        self.close()
        raise RuntimeError(f"nginx did not start: {log}")
