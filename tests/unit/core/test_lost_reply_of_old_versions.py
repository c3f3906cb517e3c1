"""`lost_reply` on errors of old versions of clients, whose classes and functions had other places; made by hand.

docs/reference/lost-replies-old-versions.md shows what the real old versions raise.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.made_errors import chained, foreign
from wal_runner.core.client_errors import CLIENTS
from wal_runner.core.lost_reply import connection_unusable, lost_reply


if TYPE_CHECKING:
    from collections.abc import Callable


def raised_in(place: tuple[str, str], error: BaseException, **local_variables: object) -> BaseException:
    """Raise *error* in a function with the name and the module of *place*, and return it."""
    home, function = place
    namespace: dict[str, Any] = {"__name__": home, "error": error, "given": local_variables}
    settings = "".join(f"    {name} = given[{name!r}]\n" for name in local_variables)
    # A frame with the name of that function in that module is what makes the difference.
    exec(f"def {function}():\n{settings}    raise error", namespace)  # noqa: S102
    return caught(namespace[function])


def caught(function: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # any error will do
        function()
    return raised.value


def refused(kind: str, bases: str, **attributes: object) -> BaseException:
    """Make a server's refusal of class *kind* that inherits from the class called *bases*."""
    base_home, _, base_name = bases.rpartition(".")
    home, _, name = kind.rpartition(".")
    base = type(base_name, (Exception,), {"__module__": base_home})
    error: BaseException = type(name, (base,), {"__module__": home})()
    vars(error).update(attributes)
    return error


# --- Moved classes and functions -------------------------------------------------------------


@pytest.mark.parametrize("home", ["pymongo.synchronous.collection", "pymongo.collection"])
@pytest.mark.parametrize("function", ["update_many", "delete_many"])
def test_pymongo_write_error_after_other_documents_is_unknown(home: str, function: str) -> None:
    """Documents that were changed before the refused one stay changed; before pymongo 4.9 too."""
    error = refused("pymongo.errors.WriteError", "pymongo.errors.OperationFailure", code=121)

    assert lost_reply(raised_in((home, function), error))


def test_pymongo_insert_many_of_nothing_is_a_failure_in_old_versions() -> None:
    """The server inserted none of the documents."""
    error = foreign("pymongo.errors.BulkWriteError", "{'writeConcernErrors': [], 'nInserted': 0, 'nUpserted': 0}")

    assert not lost_reply(raised_in(("pymongo.collection", "insert_many"), error))


@pytest.mark.parametrize("function", ["_get_conn", "_get_socket"])
def test_pymongo_connection_that_was_not_made_is_a_failure_in_old_versions(function: str) -> None:
    """The pool made no connection, so nothing was sent."""
    error = foreign("pymongo.errors.AutoReconnect", "connection pool paused")

    assert not lost_reply(raised_in(("pymongo.pool", function), error))


def test_closed_pool_of_an_old_pymongo_is_renewed() -> None:
    """A closed client cannot be used again."""
    error = foreign("pymongo.pool._PoolClosedError")

    assert not lost_reply(error)
    assert connection_unusable(error)


@pytest.mark.parametrize(
    "place",
    [
        ("redis.client", "raise_first_error"),
        ("redis.cluster", "raise_first_error"),  # before 6.2
        ("redis.cluster", "_raise_first_error"),
        ("redis.asyncio.cluster", "_execute"),
    ],
    ids=".".join,
)
def test_refused_command_of_a_redis_pipeline_is_unknown(place: tuple[str, str]) -> None:
    """The other commands of the pipeline were executed."""
    error = foreign("redis.exceptions.ResponseError", "Command # 2 (INCR name) of pipeline caused error: no integer")

    assert lost_reply(raised_in(place, error))
    assert not lost_reply(foreign("redis.exceptions.ResponseError", "value is not an integer"))


@pytest.mark.parametrize("function", ["quit", "rset", "noop"])
@pytest.mark.parametrize("home", ["aiosmtplib.esmtp", "aiosmtplib.smtp"])
def test_aiosmtplib_refusal_after_the_mail_is_unknown(home: str, function: str) -> None:
    """The mail before it was sent; aiosmtplib 1 had these functions in another module."""
    error = foreign("aiosmtplib.errors.SMTPResponseException", 421, "closing", code=421)

    assert lost_reply(raised_in((home, function), error))


@pytest.mark.parametrize("home", ["stripe.error", "stripe._error"])
@pytest.mark.parametrize(
    ("status", "is_unknown"), [(200, True), (500, True), (503, True), (402, False), (429, False), (None, False)]
)
def test_stripe_status_decides_in_old_versions(home: str, status: int | None, *, is_unknown: bool) -> None:
    """Stripe calls the outcome of any 5xx indeterminate; a success that cannot be read was one."""
    error = refused(f"{home}.APIError", f"{home}.StripeError", http_status=status)

    assert is_unknown == lost_reply(error)


@pytest.mark.parametrize("home", ["stripe.error", "stripe._error"])
def test_stripe_connection_error_answers_as_its_cause_in_old_versions(home: str) -> None:
    """A refused connection is a failure; a lost one, or one without a cause, is unknown."""
    name = f"{home}.APIConnectionError"

    assert lost_reply(foreign(name))
    assert lost_reply(chained(foreign(name), foreign("requests.exceptions.ReadTimeout"), TimeoutError()))
    assert not lost_reply(chained(foreign(name), ConnectionRefusedError()))


# --- Replies that were cut short ---------------------------------------------------------------

READERS = {
    ("requests.models", "json"): lambda status, method: {
        "self": SimpleNamespace(status_code=status, request=SimpleNamespace(method=method))
    },
    ("httpx._models", "json"): lambda status, method: {
        "self": SimpleNamespace(status_code=status, request=SimpleNamespace(method=method))
    },
    ("aiohttp.client_reqrep", "json"): lambda status, method: {"self": SimpleNamespace(status=status, method=method)},
    ("urllib3.response", "json"): lambda status, method: {
        "self": SimpleNamespace(status=status, _original_response=SimpleNamespace(_method=method))
    },
    ("twilio.base.version", "create"): lambda status, method: {
        "response": SimpleNamespace(status_code=status),
        "method": method,
    },
}


@pytest.mark.parametrize("place", READERS, ids=".".join)
@pytest.mark.parametrize(
    ("status", "method", "is_unknown"),
    [
        (200, "POST", True),
        (201, "PUT", True),
        (502, "POST", True),  # the page of a gateway
        (404, "POST", False),
        (200, "GET", False),
        (502, "GET", False),
    ],
)
def test_reply_that_cannot_be_read_as_json_is_unknown(
    place: tuple[str, str], status: int, method: str, *, is_unknown: bool
) -> None:
    """The request was answered, and urllib3 before 2 does not notice that the reply was cut short."""
    error = json.JSONDecodeError("Unterminated string starting at", '{"sid": "SM', 8)

    assert is_unknown == lost_reply(raised_in(place, error, **READERS[place](status, method)))


def test_json_that_no_client_read_is_a_failure() -> None:
    """A file that fn parses is not a reply."""
    assert not lost_reply(caught(lambda: json.loads('{"half')))


# --- The table ---------------------------------------------------------------------------------


def test_row_of_old_versions_says_until_which() -> None:
    """A version is numbers with dots: `until` is never a sentence."""
    marks = {row.until for client in CLIENTS for row in client.rows if row.until is not None}

    assert [] == [mark for mark in marks if not all(part.isdecimal() for part in mark.split("."))]
