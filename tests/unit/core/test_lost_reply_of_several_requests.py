"""`lost_reply` on errors of several requests: safe ones, groups, and requests that a client sent by itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.support.made_errors import chained, foreign, raised_over
from wal_runner.core.lost_reply import lost_reply


def http_error(name: str, method: str | None, *arguments: object) -> BaseException:
    """Make an error that names its method as requests and httpx do, or none."""
    attributes = {} if method is None else {"request": SimpleNamespace(method=method)}
    return foreign(name, *arguments, **attributes)


def lost_by_requests(method: str | None) -> BaseException:
    """Make requests' error for a connection that was closed: what it wraps is its argument, and its context."""
    aborted = foreign("urllib3.exceptions.ProtocolError", "Connection aborted.", gone := ConnectionResetError())
    raised_over(gone, aborted)
    return raised_over(aborted, http_error("requests.exceptions.ConnectionError", method, aborted))


def lost_by_httpx(method: str | None) -> BaseException:
    """Make httpx's error for a time-out: what it wraps are its causes."""
    return chained(http_error("httpx.ReadTimeout", method), foreign("httpcore.ReadTimeout"), TimeoutError())


def lost_by_aiohttp() -> BaseException:
    """Make aiohttp's error for a closed connection, which names no method."""
    return foreign("aiohttp.client_exceptions.ServerDisconnectedError", "Server disconnected")


def innermost(error: BaseException) -> BaseException:
    """Return the end of the chain of *error*: what the next try's first error is raised over."""
    while (behind := error.__cause__ or error.__context__) is not None:
        error = behind
    return error


LOSING = {"requests": lost_by_requests, "httpx": lost_by_httpx}


# --- Safe requests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lose", LOSING.values(), ids=LOSING.keys())
@pytest.mark.parametrize(
    ("method", "is_unknown"),
    [
        ("GET", False),
        ("HEAD", False),
        ("OPTIONS", False),
        ("get", False),
        ("POST", True),
        ("PUT", True),
        ("PATCH", True),
        ("DELETE", True),
        ("PROPFIND", True),
        (None, True),
    ],
)
def test_lost_reply_of_a_safe_method_is_a_failure(lose: object, method: str | None, *, is_unknown: bool) -> None:
    """A method that the error does not name, or that HTTP does not call safe, counts as unsafe."""
    assert callable(lose)
    assert is_unknown == lost_reply(lose(method))


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 599, 409])
def test_status_for_a_safe_method_is_a_failure(status: int) -> None:
    """Repeating a GET is harmless, whatever the reply."""
    reply = SimpleNamespace(status_code=status, _content=b"upstream connect error or disconnect/reset before headers")

    assert not lost_reply(
        foreign("requests.exceptions.HTTPError", response=reply, request=SimpleNamespace(method="GET"))
    )
    assert (status != 409) == lost_reply(
        foreign("requests.exceptions.HTTPError", response=reply, request=SimpleNamespace(method="POST"))
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"request": SimpleNamespace(method="GET")},
        {"response": SimpleNamespace(request=SimpleNamespace(method="GET"))},
        {"request_info": SimpleNamespace(method="GET")},
        {"method": "GET"},
    ],
    ids=["request", "response.request", "request_info", "method"],
)
def test_method_is_found_where_clients_keep_it(attributes: dict[str, object]) -> None:
    """The method is read from httpx, requests' HTTPError, aiohttp, twilio and users' own classes."""
    assert not lost_reply(foreign("acme.ChargeTimeout", **attributes))


def test_attribute_that_is_no_method_is_not_taken_for_one() -> None:
    """Some errors have a function, or a name of something else, at that place."""
    assert lost_reply(foreign("acme.ChargeTimeout", method=lambda: "GET"))
    assert lost_reply(foreign("acme.ChargeTimeout", method="get_charge"))


@pytest.mark.parametrize("lose", LOSING.values(), ids=LOSING.keys())
@pytest.mark.parametrize("method", ["POST", None])
def test_safe_request_lost_while_a_lost_post_is_handled_is_unknown(lose: object, method: str | None) -> None:
    """The except block looked whether the charge is there, and lost that reply too."""
    assert callable(lose)
    check = lose("GET")
    raised_over(lose(method), innermost(check))

    assert lost_reply(check)
    assert lost_reply(raised_over(lose(method), ValueError("no such charge")))


def test_post_lost_while_a_lost_get_is_handled_is_unknown() -> None:
    """The order does not matter."""
    charge = lost_by_httpx("POST")
    raised_over(lost_by_httpx("GET"), innermost(charge))

    assert lost_reply(charge)


def test_own_error_about_a_lost_get_is_a_failure() -> None:
    """An error raised `from` it is about the same request; one raised over it may be about another."""
    assert not lost_reply(chained(RuntimeError("cannot read the price"), lost_by_requests("GET")))
    assert not lost_reply(chained(ConnectionError("cannot read the price"), lost_by_requests("GET")))
    assert lost_reply(raised_over(lost_by_requests("GET"), ConnectionError("the connection is closed")))


# --- Groups ---------------------------------------------------------------------------------------------------------


HARMLESS = {
    "requests GET": lost_by_requests("GET"),
    "httpx HEAD": lost_by_httpx("HEAD"),
    "connect timed out": foreign("httpx.ConnectTimeout"),
    "refused": ConnectionRefusedError(),
    "own": ValueError(),
    "404": foreign("requests.exceptions.HTTPError", response=SimpleNamespace(status_code=404)),
}
LOST = {
    "requests POST": lost_by_requests("POST"),
    "requests, no method": lost_by_requests(None),
    "httpx, no method": lost_by_httpx(None),
    "aiohttp": lost_by_aiohttp(),
    "reset": ConnectionResetError(),
    "timeout": TimeoutError(),
    "unclear": ConnectionError("the connection is closed"),
    "by its name": foreign("acme.ChargeTimeout"),
}


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("harmless", HARMLESS.values(), ids=HARMLESS.keys())
@pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())
def test_one_member_of_a_group_does_not_speak_for_another(
    harmless: Exception, lost: Exception, *, is_first: bool
) -> None:
    """A task whose GET was lost, or that could not connect, says nothing of the charge beside it."""
    members = [harmless, lost] if is_first else [lost, harmless]

    assert lost_reply(ExceptionGroup("two tasks", members))
    assert lost_reply(chained(RuntimeError("two tasks failed"), ExceptionGroup("two tasks", members)))
    assert lost_reply(ExceptionGroup("outer", [ExceptionGroup("inner", members)]))


def test_group_of_harmless_members_is_a_failure() -> None:
    """Nothing that any of the tasks did can have had an effect."""
    members = [lost_by_requests("GET"), foreign("httpx.ConnectTimeout"), ConnectionRefusedError(), ValueError()]

    assert not lost_reply(ExceptionGroup("four tasks", members))
    assert not lost_reply(ExceptionGroup("outer", [ExceptionGroup("inner", members), KeyError()]))


def test_group_of_failed_connects_explains_the_error_around_it() -> None:
    """A host with several addresses: each was tried, and each refused or timed out."""
    tries = ExceptionGroup("all addresses", [ConnectionRefusedError(), ConnectionRefusedError()])

    assert not lost_reply(chained(ConnectionError("cannot connect"), tries))
    assert not lost_reply(
        chained(
            foreign("httpx.ConnectError"), OSError("all"), ExceptionGroup("all", [TimeoutError(), *tries.exceptions])
        )
    )
    assert lost_reply(chained(ConnectionError("lost"), ExceptionGroup("one", [ConnectionRefusedError(), ValueError()])))


def test_cause_of_a_failed_connect_hides_no_earlier_time_out() -> None:
    """A TimeoutError belongs to the connect that names it, and to no other."""
    earlier = chained(RuntimeError("charge failed"), TimeoutError("read"))

    assert lost_reply(raised_over(earlier, foreign("httpx.ConnectTimeout")))


# --- Redirects ------------------------------------------------------------------------------------------------------


def redirected(*hops: tuple[int, str], last: str = "GET", status: int = 404) -> BaseException:
    """Make the error that requests and httpx raise for *status*, after replies that redirected."""
    history = [SimpleNamespace(status_code=code, request=SimpleNamespace(method=method)) for code, method in hops]
    request = SimpleNamespace(method=last)
    reply = SimpleNamespace(status_code=status, request=request, history=history, _content=b"")
    return foreign("requests.exceptions.HTTPError", response=reply, request=request)


@pytest.mark.parametrize(
    ("hops", "last", "is_unknown"),
    [
        ([], "POST", False),
        ([(303, "POST")], "GET", True),
        ([(302, "POST")], "GET", True),
        ([(301, "POST")], "GET", True),
        ([(302, "PUT")], "GET", True),
        ([(307, "POST")], "POST", False),
        ([(308, "POST")], "POST", False),
        ([(307, "POST"), (303, "POST")], "GET", True),
        ([(303, "POST"), (307, "GET")], "GET", True),
        ([(302, "GET")], "GET", False),
        ([(301, "GET"), (302, "GET")], "GET", False),
    ],
)
def test_refusal_after_a_redirect_is_about_the_last_request(
    hops: list[tuple[int, str]], last: str, *, is_unknown: bool
) -> None:
    """301, 302 and 303 answer a POST that may have acted; 307 and 308 send it on."""
    assert is_unknown == lost_reply(redirected(*hops, last=last))


def test_history_that_is_something_else_is_ignored() -> None:
    """An attribute of that name may hold anything."""
    assert not lost_reply(foreign("acme.LedgerError", history=["303", None, 303]))
    assert not lost_reply(foreign("acme.LedgerError", history="303"))
