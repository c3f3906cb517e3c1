"""What an error says of a mail depends on the command that it met: before the dot nothing was taken over."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING, Any

import pytest

from tests.clients.case import Case, new_token
from tests.clients.cases.mail import RECIPIENT, SENDER, Aiosmtplib, Smtplib, mail
from tests.clients.conftest import skip_or_fail
from tests.clients.servers.smtp import SmtpServer
from wal_runner.core.lost_reply import connection_unusable, lost_reply


if TYPE_CHECKING:
    from collections.abc import Iterator

GARBLED = b"what was the question?"
ENDLESS = b"250 " + b"x" * 70_000
CLOSED = b""


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    """Run a server whose answers this test may change."""
    with SmtpServer() as one:
        yield one


@pytest.fixture(params=[Smtplib(), Aiosmtplib()], ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Return each client in turn."""
    found: Case = request.param
    if (missing := found.missing()) is not None:
        skip_or_fail(missing)
    return found


def error_of(case: Case, server: SmtpServer, token: str) -> Exception:
    """Return the error of a mail, sent on the first connection or on one that worked."""
    connection = None
    try:
        connection = case.connect("127.0.0.1", server.port)
        case.act(connection, token)
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        return error
    finally:
        if connection is not None:
            case.close(connection)
    raise AssertionError("no error")


@pytest.mark.parametrize("answer", [CLOSED, GARBLED, b"421 closing", b"451 later", b"550 no"], ids=repr)
@pytest.mark.parametrize("command", ["HELLO", "EHLO", "MAIL", "RCPT"])
def test_mail_refused_before_its_text_was_sent_failed(
    case: Case, server: SmtpServer, command: str, answer: bytes
) -> None:
    """Before DATA the server accepts no mail, whatever goes wrong."""
    server.answers[command] = answer
    if command == "EHLO":
        server.answers["HELO"] = answer
    token = new_token()
    error = error_of(case, server, token)

    assert (False, False) == (server.happened(token), lost_reply(error)), repr(error)


@pytest.mark.parametrize("command", ["DATA", "."])
@pytest.mark.parametrize("answer", [b"421 closing", b"451 later", b"554 spam"], ids=repr)
def test_mail_refused_after_its_text_was_sent_failed(
    case: Case, server: SmtpServer, command: str, answer: bytes
) -> None:
    """A reply of 4xx or 5xx means that the server did not accept the mail."""
    server.answers[command] = answer
    token = new_token()
    error = error_of(case, server, token)

    assert (False, False) == (server.happened(token), lost_reply(error)), repr(error)
    assert connection_unusable(error) is answer.startswith(b"421")


@pytest.mark.parametrize("answer", [CLOSED, GARBLED, ENDLESS, b"252 perhaps"], ids=["closed", "?", "endless", "252"])
def test_reply_to_the_dot_that_says_nothing_leaves_doubt(case: Case, server: SmtpServer, answer: bytes) -> None:
    """The server accepted the mail, so the error must not be called a failure."""
    server.answers["."] = answer
    token = new_token()
    error = error_of(case, server, token)

    # Once: neither client sends it again by itself.
    assert (1, True) == (server.times(token), lost_reply(error)), repr(error)
    assert connection_unusable(error)


@pytest.mark.parametrize("answer", [b"421 closing", b"500 what?", GARBLED], ids=repr)
def test_strange_farewell_after_a_mail_leaves_doubt(server: SmtpServer, answer: bytes) -> None:
    """Leaving the `with` block of smtplib raises the error of QUIT, after the mail was sent."""
    server.answers["QUIT"] = answer
    token = new_token()

    with pytest.raises(smtplib.SMTPResponseException) as caught, smtplib.SMTP("127.0.0.1", server.port) as connection:
        connection.sendmail(SENDER, [RECIPIENT], mail(token))
    assert (True, True) == (server.happened(token), lost_reply(caught.value))


@pytest.mark.parametrize("answer", [b"421 closing", b"500 what?", GARBLED, CLOSED], ids=repr)
@pytest.mark.parametrize("command", ["quit", "rset", "noop"])
def test_command_after_a_mail_leaves_doubt(server: SmtpServer, command: str, answer: bytes) -> None:
    """An error of quit, after connect and send, is not a failure of the mail."""
    pytest.importorskip("aiosmtplib")
    case = Aiosmtplib()
    server.answers[command.upper()] = answer
    token = new_token()
    connection = case.connect("127.0.0.1", server.port)
    case.act(connection, token)

    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the client raises
        connection.run(getattr(connection.inner, command)())
    assert (True, True) == (server.happened(token), lost_reply(caught.value)), repr(caught.value)
    connection.inner.close()
    # The client has noticed that the connection is gone.
    with pytest.raises(Exception) as caught:  # noqa: PT011
        connection.run(getattr(connection.inner, command)())
    assert lost_reply(caught.value), repr(caught.value)
    case.close(connection)


def test_handshake_of_starttls_that_fails_is_a_failure(server: SmtpServer) -> None:
    """An untrusted certificate ends the connection before any mail."""
    import ssl

    with smtplib.SMTP("127.0.0.1", server.port) as connection, pytest.raises(ssl.SSLError) as caught:
        connection.starttls(context=ssl.create_default_context())
    assert not lost_reply(caught.value)
    connection.close()


def test_connection_lost_again_in_a_retry_does_not_hide_the_first_loss(server: SmtpServer) -> None:
    """The first attempt may have sent the mail, although the second one could not start."""
    connection: Any = Smtplib().connect("127.0.0.1", server.port)
    server.answers["."] = CLOSED
    token = new_token()

    def send_twice() -> None:
        try:
            connection.sendmail(SENDER, [RECIPIENT], mail(token))
        except smtplib.SMTPServerDisconnected:
            connection.sendmail(SENDER, [RECIPIENT], mail(token))

    with pytest.raises(smtplib.SMTPServerDisconnected, match="please run connect") as caught:
        send_twice()
    assert (True, True) == (server.happened(token), lost_reply(caught.value))
