"""Rows and places of clients that no server provokes: made by hand, in frames that are named as the client's."""

from __future__ import annotations

import smtplib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from wal_runner.core.lost_reply import connection_unusable, is_connection_error, lost_reply


if TYPE_CHECKING:
    from collections.abc import Callable


def functions_of(module: str, source: str, **names: object) -> SimpleNamespace:
    """Return the functions that *source* defines, as if it were the text of *module*."""
    namespace: dict[str, Any] = {"__name__": module, **names}
    exec(source, namespace)  # noqa: S102 - frames of that name in that module are what is looked at
    return SimpleNamespace(**namespace)


def error_from(call: Callable[[], object]) -> BaseException:
    """Return what *call* raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("no error")


TRANSLATION = """
def mail(): reply()
def data(): reply()
def reply():
    try:
        read()
    except OSError:
        raise lost
def read(): raise ConnectionResetError
"""


def test_error_caught_while_connecting_struck_there() -> None:
    """The reset that smtplib translates saw no more than the function that read the socket."""
    smtp = functions_of("smtplib", TRANSLATION, lost=smtplib.SMTPServerDisconnected("gone"))

    assert not lost_reply(error_from(smtp.mail))


def test_error_caught_after_connecting_leaves_doubt() -> None:
    """The same translation, in a function that runs after the mail was handed over."""
    smtp = functions_of("smtplib", TRANSLATION, lost=smtplib.SMTPServerDisconnected("gone"))

    assert lost_reply(error_from(smtp.data))


def test_try_before_is_not_taken_for_a_part_of_connecting() -> None:
    """What fn caught before it tried again lies behind the error as well, and may have had its effect."""
    smtp = functions_of("smtplib", TRANSLATION, lost=smtplib.SMTPServerDisconnected("gone"))

    def send_again() -> None:
        try:
            raise TimeoutError  # noqa: TRY301 - by fn itself
        except TimeoutError:
            smtp.mail()

    assert lost_reply(error_from(send_again))


def test_place_under_a_caller_needs_the_caller() -> None:
    """Aiosmtplib says EHLO before a mail, and before RSET, which follows one."""
    source = "def sendmail(): ehlo()\ndef rset(): ehlo()\ndef ehlo(): raise TimeoutError\n"
    client = functions_of("aiosmtplib.smtp", source)

    assert not lost_reply(error_from(client.sendmail))
    assert lost_reply(error_from(client.rset))


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPSenderRefused(421, b"closing", "a@example.com"),
        smtplib.SMTPSenderRefused(-1, b"?", "a@example.com"),
        smtplib.SMTPRecipientsRefused({"a@example.com": (550, b"no"), "b@example.com": (421, b"closing")}),
        smtplib.SMTPDataError(421, b"closing"),
        smtplib.SMTPAuthenticationError(421, b"closing"),
        smtplib.SMTPHeloError(421, b"closing"),
        smtplib.SMTPConnectError(554, b"no"),
    ],
    ids=repr,
)
def test_smtp_server_that_closes_leaves_an_unusable_connection(error: Exception) -> None:
    """The mail was refused, and the next one needs another connection."""
    assert not lost_reply(error)
    assert connection_unusable(error)


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPSenderRefused(550, b"no", "a@example.com"),
        smtplib.SMTPRecipientsRefused({"a@example.com": (550, b"no")}),
        smtplib.SMTPDataError(554, b"spam"),
        smtplib.SMTPAuthenticationError(535, b"no"),
        smtplib.SMTPNotSupportedError("no SMTPUTF8"),
    ],
    ids=repr,
)
def test_smtp_refusal_leaves_the_connection_as_it_is(error: Exception) -> None:
    """A refusal is no reason to connect again."""
    assert not lost_reply(error)
    assert not connection_unusable(error)
    assert not is_connection_error(error)
