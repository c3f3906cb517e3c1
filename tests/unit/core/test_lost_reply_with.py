"""`lost_reply_with`: other answers for some statuses and classes."""

from __future__ import annotations

import pickle
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.made_errors import chained, foreign, raised_over
from wal_runner import OutcomeUnknown, Runner, lost_reply, lost_reply_with


if TYPE_CHECKING:
    from pathlib import Path


class GoneError(Exception):
    """The service went away."""


class GoneForGoodError(GoneError):
    """A kind of it."""


def replied(status: int, method: str = "POST") -> BaseException:
    """Make requests' error for a status."""
    request = SimpleNamespace(method=method)
    return foreign("requests.exceptions.HTTPError", response=SimpleNamespace(status_code=status), request=request)


# --- Statuses ------------------------------------------------------------------------------------------------------


def test_status_of_the_caller_goes_before_its_usual_meaning() -> None:
    """A status may be called unknown or failed; other statuses keep their meaning."""
    mine = lost_reply_with(statuses={503: "unknown", 502: "failed", 422: "unknown"})

    assert [True, False, True] == [mine(replied(status)) for status in (503, 502, 422)]
    assert [True, False] == [mine(replied(status)) for status in (504, 404)]
    assert [False, True, False] == [lost_reply(replied(status)) for status in (503, 502, 422)]


def test_status_may_be_an_http_status() -> None:
    """The standard library's numbers are ints."""
    assert lost_reply_with(statuses={HTTPStatus.SERVICE_UNAVAILABLE: "unknown"})(replied(503))


def test_status_counts_for_classes_without_rows() -> None:
    """SDKs keep it at `status_code`, or in the reply."""
    mine = lost_reply_with(statuses={503: "unknown"})

    assert mine(foreign("acme.ApiError", status_code=503))
    assert mine(foreign("acme.ApiError", response=SimpleNamespace(status=503)))
    assert not mine(foreign("acme.ApiError", status_code="503"))


def test_status_of_a_safe_request_stays_a_failure() -> None:
    """Repeating a GET is harmless."""
    assert not lost_reply_with(statuses={503: "unknown"})(replied(503, "GET"))


# --- Classes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GoneError, f"{__name__}.GoneError"], ids=["class", "name"])
def test_class_of_the_caller_is_unknown(kind: str | type[BaseException]) -> None:
    """By itself or by name, subclasses and causes included."""
    mine = lost_reply_with(clients={kind: "unknown"})

    assert mine(GoneError())
    assert mine(GoneForGoodError())
    assert mine(chained(ValueError(), GoneError()))
    assert mine(raised_over(GoneError(), ValueError()))
    assert not mine(ValueError())
    assert not lost_reply(GoneError())


def test_nearest_class_counts() -> None:
    """A subclass may have an answer of its own."""
    mine = lost_reply_with(clients={GoneError: "unknown", GoneForGoodError: "failed"})

    assert mine(GoneError())
    assert not mine(GoneForGoodError())


def test_class_of_the_caller_goes_before_the_table() -> None:
    """Also if what it wraps says more: both are one event, and the caller knows it."""
    lost = chained(foreign("httpx.ReadTimeout"), foreign("httpcore.ReadTimeout"), TimeoutError())
    refused = chained(foreign("httpx.ConnectError"), ConnectionRefusedError())
    mine = lost_reply_with(clients={"httpx.ReadTimeout": "failed", "httpx.ConnectError": "unknown"})

    assert not mine(lost)
    assert mine(refused)
    assert mine(chained(foreign("httpx.WriteTimeout"), TimeoutError()))


def test_class_called_failed_hides_no_earlier_error() -> None:
    """An error that was being handled when it was raised is another event."""
    mine = lost_reply_with(clients={GoneError: "failed"})

    assert mine(raised_over(TimeoutError(), GoneError()))
    assert mine(ExceptionGroup("two", [GoneError(), TimeoutError()]))


def test_class_of_the_caller_counts_for_safe_requests() -> None:
    """A class that the caller names counts for safe requests too."""
    mine = lost_reply_with(clients={"requests.exceptions.HTTPError": "unknown"})

    assert mine(replied(404, "GET"))


def test_outcome_unknown_goes_before_a_class_called_failed() -> None:
    """What fn raises as OutcomeUnknown has the highest priority."""
    mine = lost_reply_with(clients={Exception: "failed"})

    assert mine(OutcomeUnknown("charge sent"))
    assert mine(chained(ValueError(), OutcomeUnknown("charge sent")))
    assert not mine(TimeoutError())


# --- What it is ------------------------------------------------------------------------------------------------------


def test_without_arguments_it_answers_as_lost_reply() -> None:
    """Without arguments the answers are those of `lost_reply`."""
    for error in (TimeoutError(), ConnectionRefusedError(), replied(502), replied(404), ValueError()):
        assert lost_reply(error) == lost_reply_with()(error)


def test_it_can_be_pickled_and_hashed() -> None:
    """It reaches worker processes pickled."""
    mine = lost_reply_with(statuses={503: "unknown"}, clients={GoneError: "unknown"})
    copy = pickle.loads(pickle.dumps(mine))  # noqa: S301

    assert copy(replied(503))
    assert copy(GoneError())
    assert not copy(replied(404))
    assert {mine: 1}[mine] == 1


def test_a_run_asks_it(tmp_path: Path) -> None:
    """As `outcome_unknown=`: the item is in doubt, or has failed."""
    errors = {"a": replied(503), "b": replied(502), "c": GoneError("sent")}

    def charge(item: str) -> None:
        raise errors[item]

    with Runner(tmp_path / "charges.wal") as runner:
        report = runner.run(
            list(errors),
            charge,
            key=str,
            outcome_unknown=lost_reply_with(statuses={503: "unknown", 502: "failed"}, clients={GoneError: "unknown"}),
        )

    assert (2, 1) == (report.in_doubt, report.failed)


# --- What is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"statuses": {"503": "unknown"}}, TypeError, "Use HTTP statuses, such as 503"),
        ({"statuses": {True: "unknown"}}, TypeError, "Use HTTP statuses, such as 503"),
        ({"statuses": {503.0: "unknown"}}, TypeError, "Use HTTP statuses, such as 503"),
        ({"statuses": {200: "failed"}}, ValueError, "Use statuses of errors: 400 to 599"),
        ({"statuses": {600: "failed"}}, ValueError, "Use statuses of errors: 400 to 599"),
        ({"statuses": [503]}, TypeError, "Use a dictionary"),
        ({"statuses": {503: "doubt"}}, ValueError, 'Use "unknown"'),
        ({"statuses": {503: True}}, ValueError, 'Use "unknown"'),
        ({"statuses": {503: None}}, ValueError, 'Use "unknown"'),
        ({"clients": {GoneError: "maybe"}}, ValueError, 'Use "unknown"'),
        ({"clients": {GoneError: ["unknown"]}}, ValueError, 'Use "unknown"'),
        ({"clients": {int: "unknown"}}, TypeError, "Use exception classes"),
        ({"clients": {GoneError(): "unknown"}}, TypeError, "Use exception classes"),
        ({"clients": {None: "unknown"}}, TypeError, "Use exception classes"),
        ({"clients": {"GoneError": "unknown"}}, ValueError, "acme.errors.GoneError"),
        ({"clients": {"": "unknown"}}, ValueError, "Name the module too"),
        ({"clients": (GoneError,)}, TypeError, "Use a dictionary"),
    ],
)
def test_wrong_answers_are_refused_with_advice(arguments: dict[str, Any], kind: type[Exception], says: str) -> None:
    """The error comes at the call, before any item runs."""
    with pytest.raises(kind) as raised:
        lost_reply_with(**arguments)

    assert says in str(raised.value)
