"""What an error of ftplib says depends on the command that it met."""

from __future__ import annotations

import ftplib
import io
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.case import new_token
from tests.clients.cases.ftp import FtplibRename, FtplibStore
from tests.clients.servers.ftp import FtpServer
from wal_runner.core.lost_reply import connection_unusable, lost_reply


if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = [FtplibStore(), FtplibRename()]
GARBLED = b"what was the question?"
CLOSED = b""


@pytest.fixture
def server() -> Iterator[FtpServer]:
    """Run a server whose answers this test may change."""
    with FtpServer() as one:
        yield one


def connected(server: FtpServer) -> Any:
    """Return a connection that is logged in."""
    return FtplibStore().connect("127.0.0.1", server.port)


def error_of(server: FtpServer, case: FtplibStore | FtplibRename, token: str) -> Exception:
    """Return the error of one effect."""
    connection = connected(server)
    try:
        case.act(connection, token)
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        return error
    finally:
        connection.close()
    raise AssertionError("no error")


@pytest.mark.parametrize("answer", [CLOSED, b"421 closing", b"550 no"], ids=repr)
@pytest.mark.parametrize("command", ["TYPE", "PASV", "RNFR"])
def test_error_before_the_effect_failed(server: FtpServer, command: str, answer: bytes) -> None:
    """STOR and RNTO were never sent."""
    server.answers[command] = answer
    token = new_token()
    error = error_of(server, FtplibRename(), token)

    assert (False, False) == (server.happened(token), lost_reply(error)), repr(error)


@pytest.mark.parametrize("answer", [b"421 closing", b"452 full", b"550 no"], ids=repr)
@pytest.mark.parametrize(("case", "reply"), [(CASES[0], "226"), (CASES[1], "RNTO")], ids=["STOR", "rename"])
def test_refusal_failed(server: FtpServer, case: FtplibStore, reply: str, answer: bytes) -> None:
    """The server's refusal means that it stored nothing."""
    server.answers[reply] = answer
    token = new_token()
    error = error_of(server, case, token)

    assert (False, False) == (server.happened(token), lost_reply(error)), repr(error)
    assert connection_unusable(error) is answer.startswith(b"421")


@pytest.mark.parametrize("answer", [CLOSED, GARBLED, b"350 go on"], ids=repr)
@pytest.mark.parametrize(("case", "reply"), [(CASES[0], "226"), (CASES[1], "RNTO")], ids=["STOR", "rename"])
def test_reply_that_says_nothing_leaves_doubt(server: FtpServer, case: FtplibStore, reply: str, answer: bytes) -> None:
    """The file is stored, once, so the error must not be called a failure."""
    server.answers[reply] = answer
    token = new_token()
    error = error_of(server, case, token)

    assert (1, True) == (server.times(token), lost_reply(error)), repr(error)
    assert connection_unusable(error)


@pytest.mark.parametrize("answer", [b"421 closing", b"500 what?", GARBLED], ids=repr)
def test_strange_farewell_leaves_doubt(server: FtpServer, answer: bytes) -> None:
    """Leaving the `with` block of ftplib raises the error of QUIT, after the file was stored."""
    server.answers["QUIT"] = answer
    token = new_token()

    with pytest.raises(ftplib.Error) as caught, connected(server) as connection:
        connection.storbinary(f"STOR {token}", io.BytesIO(b"content"))
    assert (True, True) == (server.happened(token), lost_reply(caught.value))


def test_command_after_a_time_out_leaves_doubt() -> None:
    """The command is sent, and then ftplib reads nothing: the file that it reads from had timed out."""
    came = threading.Event()

    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer, peer.makefile("rwb") as stream:
            stream.write(b"220 ready\r\n")
            stream.flush()
            for line in stream:
                if line.startswith(b"DELE"):
                    came.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        connection = ftplib.FTP(timeout=0.2)  # noqa: S321 - it is what is tried
        connection.connect("127.0.0.1", listener.getsockname()[1])
        with pytest.raises(TimeoutError):
            connection.voidcmd("NOOP")
        with pytest.raises(OSError, match="cannot read from timed out object") as caught:
            connection.delete("bill.pdf")

    assert came.wait(5)
    assert lost_reply(caught.value)
    assert connection_unusable(caught.value)
    connection.close()


def test_closed_connection_is_unusable(server: FtpServer) -> None:
    """Without a socket no file was sent."""
    connection = connected(server)
    connection.close()

    with pytest.raises(AttributeError) as caught:
        FtplibStore().act(connection, new_token())
    assert (False, True) == (lost_reply(caught.value), connection_unusable(caught.value))
