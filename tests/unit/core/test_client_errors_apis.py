"""Rows of the SDKs that speak HTTP, on errors made by hand: the classes carry the names of the real ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wal_runner.core.lost_reply import connection_unusable, lost_reply


def error(
    name: str, text: str = "", *, base: str | None = None, cause: Exception | None = None, **found: Any
) -> Exception:
    """Return an error of the class called *name*, or of a subclass of *base*, with the attributes *found*."""
    parent = Exception if base is None else kind_of(base, Exception)
    made = kind_of(name, parent)(text)
    vars(made).update(found)
    made.__cause__ = cause
    return made


def kind_of(name: str, parent: type[Exception]) -> type[Exception]:
    home, _, own = name.rpartition(".")
    return type(own, (parent,), {"__module__": home, "__qualname__": own})


# --- botocore ---------------------------------------------------------------------------------


def client_error(status: int, code: str, retries: int | None = 0) -> Exception:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": retries}
    response = {"Error": {"Code": code, "Message": "what was wrong"}, "ResponseMetadata": metadata}
    name = "botocore.errorfactory.SomethingException"
    return error(name, f"An error occurred ({code})", base="botocore.exceptions.ClientError", response=response)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "ValidationException"), (404, "NoSuchBucket"), (409, "OperationAborted"), (503, "SlowDown"), (412, "412")],
)
def test_answer_of_aws_that_says_no_is_a_failure(status: int, code: str) -> None:
    """AWS looked at the request and did not do it."""
    assert not lost_reply(client_error(status, code))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalError"),
        (502, "502"),
        (503, "503"),  # the body was not AWS's
        (400, "RequestTimeout"),
        (400, "TransactionInProgressException"),
    ],
)
def test_answer_of_aws_that_leaves_it_open_is_unknown(status: int, code: str) -> None:
    """It was begun, or a proxy answered."""
    assert lost_reply(client_error(status, code))


def test_answer_of_aws_to_a_repetition_is_unknown() -> None:
    """A second attempt gets ConditionalCheckFailed if the first one's reply was lost."""
    assert not lost_reply(client_error(400, "ConditionalCheckFailedException", retries=0))
    assert not lost_reply(client_error(400, "ConditionalCheckFailedException", retries=None))
    assert lost_reply(client_error(400, "ConditionalCheckFailedException", retries=1))


@pytest.mark.parametrize(
    ("name", "is_lost"),
    [
        ("botocore.exceptions.ConnectTimeoutError", False),
        ("botocore.exceptions.EndpointConnectionError", False),
        ("botocore.exceptions.NoCredentialsError", False),
        ("botocore.exceptions.ReadTimeoutError", True),
        ("botocore.exceptions.ResponseStreamingError", True),
        ("botocore.exceptions.UnseekableStreamError", True),
        ("botocore.parsers.ResponseParserError", True),
        ("botocore.exceptions.HTTPClientError", True),
    ],
)
def test_error_of_botocore_by_its_class(name: str, *, is_lost: bool) -> None:
    """Without a cause, what may follow a request that was sent is unknown."""
    assert is_lost is lost_reply(error(name))


def test_connection_that_botocore_lost_answers_by_its_cause() -> None:
    """SSLError is a certificate that is not trusted, or a connection lost under a request."""
    lost = error("urllib3.exceptions.SSLError", cause=ConnectionResetError())
    refused = error("urllib3.exceptions.ProxyError", cause=ConnectionRefusedError())

    assert lost_reply(error("botocore.exceptions.SSLError", base="botocore.exceptions.ConnectionError", cause=lost))
    assert not lost_reply(error("botocore.exceptions.ConnectionError", cause=refused))


# --- azure-core -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ServiceRequestError", "ServiceResponseError"])
def test_azure_error_answers_by_what_it_keeps_inside(name: str) -> None:
    """By aiohttp a ServiceRequestError wraps a lost reply; by requests it has an attribute and no cause."""
    name = f"azure.core.exceptions.{name}"
    gone = error("aiohttp.client_exceptions.ServerDisconnectedError")

    assert lost_reply(error(name, cause=gone))
    assert lost_reply(error(name, inner_exception=gone))
    assert not lost_reply(error(name, inner_exception=ConnectionRefusedError()))
    assert lost_reply(error(name))


def test_azure_answer_is_read_by_its_status() -> None:
    """A status of success in an error, or a body that cannot be read, is no refusal."""
    name = "azure.core.exceptions.HttpResponseError"

    assert [False, True, True] == [lost_reply(error(name, status_code=status)) for status in (409, 500, 200)]
    assert lost_reply(error("azure.core.exceptions.DecodeError", base=name, status_code=404))
    assert lost_reply(error(name, status_code=None, inner_exception=TimeoutError()))


# --- openai and anthropic ---------------------------------------------------------------------


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_request_that_the_sdk_repeated_is_unknown(sdk: str) -> None:
    """The last attempt was refused; the one before may have lost its reply only."""
    first, third = ({"x-stainless-retry-count": count} for count in "02")

    def refused(headers: dict[str, str]) -> Exception:
        request = SimpleNamespace(headers=headers, method="POST")
        return error(f"{sdk}.APIConnectionError", request=request, cause=ConnectionRefusedError())

    def busy(headers: dict[str, str]) -> Exception:
        response = SimpleNamespace(request=SimpleNamespace(headers=headers, method="POST"))
        return error(f"{sdk}.RateLimitError", base=f"{sdk}.APIStatusError", status_code=429, response=response)

    assert not lost_reply(refused(first))
    assert lost_reply(refused(third))
    assert not lost_reply(busy(first))
    assert lost_reply(busy(third))


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_reply_of_a_model_that_cannot_be_used_is_unknown(sdk: str) -> None:
    """The model was called: a stream broke off, or the reply is not what was expected."""
    assert lost_reply(error(f"{sdk}.APIStatusError", status_code=200))
    assert lost_reply(error(f"{sdk}.APIResponseValidationError", base=f"{sdk}.APIError", status_code=200))
    assert lost_reply(error(f"{sdk}.APITimeoutError", base=f"{sdk}.APIConnectionError"))


# --- stripe, twilio, slack_sdk ----------------------------------------------------------------


def test_stripe_answer_is_read_by_its_status() -> None:
    """A key in use says that the first request with it is still being carried out; a 5xx is indeterminate."""
    name = "stripe._error.StripeError"
    in_use = '{"error": {"code": "idempotency_key_in_use"}}'

    assert not lost_reply(error("stripe._error.CardError", base=name, http_status=402))
    assert not lost_reply(error(name, http_status=409, http_body="{}"))
    assert lost_reply(error(name, http_status=409, http_body=in_use))
    assert [True, True, True] == [lost_reply(error(name, http_status=status)) for status in (500, 503, 200)]
    assert not lost_reply(error("stripe._error.AuthenticationError", base=name, http_status=None))


def test_stripe_connection_error_answers_by_its_cause() -> None:
    """should_retry says nothing about the request."""
    name = "stripe._error.APIConnectionError"

    assert lost_reply(error(name, cause=TimeoutError()))
    assert not lost_reply(error(name, cause=ConnectionRefusedError()))


def test_twilio_answer_that_is_not_twilios_is_unknown() -> None:
    """Twilio's own 503 has a code of five digits; a proxy's has the status as its code, and its body is gone."""
    name = "twilio.base.exceptions.TwilioRestException"

    assert not lost_reply(error(name, status=503, code=20503, method="POST"))
    assert lost_reply(error(name, status=503, code=503, method="POST"))
    assert lost_reply(error(name, status=500, code=20500, method="POST"))
    assert not lost_reply(error(name, status=400, code=21211, method="POST"))
    assert not lost_reply(error(name, status=500, code=20500, method="GET"))


@pytest.mark.parametrize(
    ("status", "data", "is_lost"),
    [
        (200, {"ok": False, "error": "channel_not_found"}, False),
        (429, {"ok": False, "error": "ratelimited"}, False),
        (200, {"ok": False, "error": "fatal_error"}, True),
        (200, {"ok": False, "error": "internal_error"}, True),
        (200, {"ok": False, "error": "Received a response in a non-JSON format: <html>"}, True),
        (200, {}, True),
        (502, {"ok": False, "error": "Received a response in a non-JSON format: <html>"}, True),
        (403, {"ok": False, "error": "Received a response in a non-JSON format: <html>"}, False),
    ],
)
def test_slack_answer_by_its_word(status: int, data: dict[str, object], *, is_lost: bool) -> None:
    """Slack says no with status 200, and of two words that a part may have been done."""
    response = SimpleNamespace(status_code=status, data=data)

    assert is_lost is lost_reply(error("slack_sdk.errors.SlackApiError", response=response))


def test_closed_websocket_of_slack_is_unusable() -> None:
    """Nothing was sent on it."""
    closed = error("slack_sdk.errors.SlackClientNotConnectedError")

    assert not lost_reply(closed)
    assert connection_unusable(closed)
