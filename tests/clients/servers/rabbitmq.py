"""A RabbitMQ server of our own: private folders, free ports, no epmd, a user that is not root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from tests.clients.servers.sharing import HOST, as_another_user, free_port, shared_server


PROGRAMS: Final = Path("/usr/lib/rabbitmq/lib")
START_S: Final = 60.0
QUEUE: Final = "effects"


class RabbitMQ:
    """A node of its own, until `close`; what arrives in the queue `effects` is fetched by a second connection."""

    def __init__(self) -> None:
        program = next(iter(sorted(PROGRAMS.glob("*/sbin/rabbitmq-server"), reverse=True)), None)
        if program is None:
            raise FileNotFoundError("rabbitmq-server is not installed (Debian: rabbitmq-server)")
        self.port = free_port()
        self._home = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        (self._home / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {HOST}:{self.port}\nlog.console = true\nlog.file = false\n"
        )
        (self._home / "enabled_plugins").write_text("[].\n")
        node = f"effects{self.port}@localhost"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_MNESIA_BASE": str(self._home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._home / "log"),
            "RABBITMQ_CONFIG_FILE": str(self._home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self._home / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "enabled_plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self._home / "feature_flags"),
            "RABBITMQ_PID_FILE": str(self._home / "pid"),
            # Run erl itself, without a shell around it that would have to be stopped as well.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput -sname {node} -setcookie effects",
            # No epmd, which would outlive the node: also not by the erl that a node starts for that once a minute.
            "ERL_FLAGS": f"-start_epmd false -erl_epmd_port {free_port()}",
        }
        self._process = subprocess.Popen(
            [program],
            env=environment,
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **as_another_user(self._home),
        )
        self.channel = self._connected()
        self.channel.queue_declare(QUEUE)

    def happened(self, token: str) -> bool:
        """Return whether a message with *token* came into the queue."""
        with self._lock:
            while token not in self._seen:
                method, _, body = self.channel.basic_get(QUEUE, auto_ack=True)
                if method is None:
                    return False
                self._seen.add(body.decode())
            return True

    def close(self) -> None:
        """Stop it and remove its folder."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def _connected(self) -> Any:
        import pika
        import pika.exceptions

        deadline = time.monotonic() + START_S
        while True:
            try:
                return pika.BlockingConnection(
                    pika.ConnectionParameters(HOST, self.port, heartbeat=0, stack_timeout=START_S)
                ).channel()
            except pika.exceptions.AMQPConnectionError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.close()
                    raise
                time.sleep(0.1)  # poll: nothing else says that it takes connections


shared = shared_server(RabbitMQ)
