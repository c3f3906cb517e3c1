"""Commands and files by paramiko. The stream is encrypted: the proxy counts what the client writes."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING, Any

from tests.clients.case import TIMEOUT_S, Case, new_token
from tests.clients.conditions import Condition
from tests.clients.servers import sshd


if TYPE_CHECKING:
    from collections.abc import Iterator

NO_EXIT_STATUS = -1
REPLY_S = 2 * TIMEOUT_S
"""Time-out for replies: a command is a process or two more than a request."""

# What goes wrong is looked at in the errors; paramiko's thread would print it as well.
logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)


class _Ssh(Case):
    packages = ("paramiko",)
    server_name = "OpenSSH 9 (real server)"
    is_answered_before = True
    skipped = {
        Condition.TLS_FAILURE: "SSH has no certificates; a host key that is not known is refused while connecting"
    }

    needless = {Condition.HALF_REQUEST: "the same error as after the whole request"}

    @contextlib.contextmanager
    def serving(self) -> Iterator[sshd.Sshd]:
        yield sshd.shared()

    def connect(self, host: str, port: int) -> Any:
        import paramiko

        server = sshd.shared()
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507 - a server of our own
        try:
            client.connect(
                host,
                port,
                server.user,
                pkey=paramiko.Ed25519Key.from_private_key_file(str(server.user_key)),
                timeout=TIMEOUT_S,
                banner_timeout=3 * TIMEOUT_S,
                auth_timeout=10 * TIMEOUT_S,
                allow_agent=False,
                look_for_keys=False,
            )
            # connect() of old versions does not take it.
            client.get_transport().channel_timeout = TIMEOUT_S  # type: ignore[union-attr]
        except BaseException:
            client.close()
            raise
        return client


class ParamikoCommand(_Ssh):
    """A command that appends to a file; its exit status is the reply."""

    name = "paramiko, exec_command"
    # The channel is opened, then the command is sent.
    writes_before = 1

    def act(self, connection: Any, token: str) -> None:
        # The server says that the command has begun before the effect, which waits a little for that.
        command = f"sleep 0.05; echo {token} >> {sshd.shared().log}"
        _, stdout, _ = connection.exec_command(command, timeout=REPLY_S)
        stdout.read()
        status = stdout.channel.recv_exit_status()
        if status == NO_EXIT_STATUS:
            # In doubt, and the connection is renewed; a command that a signal ended has no exit status either.
            raise ConnectionError("the connection was lost before the exit status came")
        if status != 0:
            raise RuntimeError(f"exit status {status}")


class ParamikoSftp(_Ssh):
    """A file that is stored under another name, then renamed, on one SFTP channel."""

    name = "paramiko, SFTP put and rename"
    # OPEN comes first; cut there, no file is made. The file has its name at the end, and its reply is held.
    writes_before = 0

    def connect(self, host: str, port: int) -> Any:
        client = super().connect(host, port)
        sftp = client.open_sftp()
        sftp.get_channel().settimeout(REPLY_S)
        return client, sftp

    def act(self, connection: Any, token: str) -> None:
        files = sshd.shared().files
        part = files / f"part-of-{new_token()}"
        _, sftp = connection
        sftp.putfo(io.BytesIO(b"content"), str(part))
        sftp.rename(str(part), str(files / token))

    def close(self, connection: Any) -> None:
        client, _ = connection
        client.close()


CASES = (ParamikoCommand(), ParamikoSftp())
