"""What an error of paramiko says depends on the request that it met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.case import new_token
from tests.clients.cases.ssh import ParamikoCommand, ParamikoSftp
from tests.clients.conftest import started
from tests.clients.proxy import HOST, Break, Proxy
from tests.clients.servers import sshd
from wal_runner.core.lost_reply import connection_unusable, lost_reply


if TYPE_CHECKING:
    from collections.abc import Callable

paramiko = pytest.importorskip("paramiko")


@pytest.fixture
def server() -> sshd.Sshd:
    """Return the server that the cases share."""
    return started(sshd.shared)


REQUESTS = {
    "open": lambda sftp, home: sftp.open(f"{home}/new", "w"),
    "rename": lambda sftp, home: sftp.rename(f"{home}/a", f"{home}/b"),
    "posix_rename": lambda sftp, home: sftp.posix_rename(f"{home}/a", f"{home}/b"),
    "remove": lambda sftp, home: sftp.remove(f"{home}/a"),
    "mkdir": lambda sftp, home: sftp.mkdir(f"{home}/d"),
    "rmdir": lambda sftp, home: sftp.rmdir(f"{home}/d"),
    "symlink": lambda sftp, home: sftp.symlink(f"{home}/a", f"{home}/l"),
}


@pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)
def test_request_on_a_lost_connection_failed(server: sshd.Sshd, request_of: Callable[[Any, Any], object]) -> None:
    """The SFTP channel is closed, and the request was never sent."""
    error = error_after_the_loss(server, lambda sftp: request_of(sftp, server.files), lambda _: None)

    assert (False, True) == (lost_reply(error), connection_unusable(error)), repr(error)


def test_write_to_an_open_file_leaves_doubt(server: sshd.Sshd) -> None:
    """The file was opened before, and holds a part of what was written."""
    path = str(server.files / new_token())
    error = error_after_the_loss(server, lambda file: file.write("more"), lambda sftp: sftp.open(path, "w", 0))

    assert (True, True) == (lost_reply(error), connection_unusable(error)), repr(error)


def test_stat_after_a_put_leaves_doubt(server: sshd.Sshd) -> None:
    """`put` asks for the size of what it has stored; the file stays stored if that fails."""
    error = error_after_the_loss(server, lambda sftp: sftp.stat(str(server.files)), lambda _: None)

    assert lost_reply(error), repr(error)


def test_wrong_key_is_a_failure(server: sshd.Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses the login, so the connection is unusable."""
    monkeypatch.setattr(server, "user_key", server.home / "host_key")
    with pytest.raises(paramiko.AuthenticationException) as caught:
        ParamikoCommand().connect(HOST, server.port)

    assert (False, True) == (lost_reply(caught.value), connection_unusable(caught.value))


def test_unknown_host_key_is_a_failure(server: sshd.Sshd) -> None:
    """The default policy refuses the server before anything is sent."""
    client = paramiko.SSHClient()
    with pytest.raises(paramiko.SSHException, match="not found in known_hosts") as caught:
        client.connect(HOST, server.port, server.user, allow_agent=False, look_for_keys=False)
    client.close()

    assert not lost_reply(caught.value)


def test_command_is_sent_once(server: sshd.Sshd) -> None:
    """The reply is lost, and paramiko does not send the command again."""
    case = ParamikoCommand()
    token = new_token()
    with Proxy(server.port) as proxy:
        connection = case.connect(HOST, proxy.port)
        plan = proxy.arm(Break.NO_REPLY, b"", lambda: server.happened(token))
        plan.is_answered_before, plan.writes_before = True, case.writes_before
        with pytest.raises(ConnectionError):
            case.act(connection, token)
        case.close(connection)

    assert 1 == server.times(token)


def error_after_the_loss(
    server: sshd.Sshd, act: Callable[[Any], object], prepare: Callable[[Any], object]
) -> BaseException:
    """Return the error of *act*, after the connection was lost; *prepare* makes what it acts on, unless None."""
    case = ParamikoSftp()
    with Proxy(server.port) as proxy:
        client, sftp = case.connect(HOST, proxy.port)
        target = prepare(sftp) or sftp
        proxy.drop_all()
        client.get_transport().join(5)
        try:
            act(target)
        except Exception as error:  # noqa: BLE001 - whatever the client raises
            return error
        finally:
            client.close()
    raise AssertionError("no error")
