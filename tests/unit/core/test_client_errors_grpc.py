"""Rows of grpcio and google-api-core on errors made by hand: the classes carry the names of the real ones."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from wal_runner.core.lost_reply import connection_unusable, lost_reply


REFUSALS = [
    "ABORTED",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "OUT_OF_RANGE",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED",
    "UNIMPLEMENTED",
]
UNKNOWN = ["CANCELLED", "DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN", "A_NEW_CODE"]

# The texts of grpcio 1.26, 1.44, 1.62 and 1.85.
NOT_CONNECTED = [
    "failed to connect to all addresses",
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: connection refused",
    "connections to all backends failing; last error: UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed",
    "DNS resolution failed for api.example.com:443: C-ares status is not ARES_SUCCESS: Domain name not found",
    "errors resolving api.example.com:443: [field:hostname lookup error:address lookup failed]",
    "empty address list: ",
    "Failed to pick subchannel",
]
LOST = [
    "Socket closed",
    "Stream removed (Socket closed)",
    "recvmsg:Connection reset by peer",
    "keepalive watchdog timeout",
    "GOAWAY received",
    "Cancelling all calls",
    "Received http2 header with status: 502",
    "Received RST_STREAM with error code 2",
    "the payment service failed to connect to all addresses",
]


class RpcError(Exception):
    """Named as grpc names its own, with the methods of its subclasses."""

    def __init__(self, code: str, details: str, debug: str = "") -> None:
        self._code, self._details, self._debug = code, details, debug

    def code(self) -> SimpleNamespace:  # noqa: D102 - grpc's
        return SimpleNamespace(name=self._code)

    def details(self) -> str:  # noqa: D102 - grpc's
        return self._details

    def __str__(self) -> str:
        return (
            f'status = StatusCode.{self._code}\n\tdetails = "{self._details}"\n\tdebug_error_string = "{self._debug}"'
        )


RpcError.__module__, RpcError.__qualname__ = "grpc", "RpcError"


class _InactiveRpcError(RpcError):
    """What a channel raises; it has no row of its own."""


class GoogleAPICallError(Exception):
    """Named as google-api-core names its own."""

    def __init__(self, code: int | None, errors: list[object]) -> None:
        super().__init__(f"{code} message")
        self.code = code
        self.errors = errors


class ServiceUnavailable(GoogleAPICallError):
    """The class of 503 and of UNAVAILABLE."""


class Cancelled(GoogleAPICallError):
    """The class of 499 and of CANCELLED."""


class RetryError(Exception):
    """What a Retry raises in the end."""


for _kind in (GoogleAPICallError, ServiceUnavailable, Cancelled, RetryError):
    _kind.__module__ = "google.api_core.exceptions"


def wrapped(kind: type[GoogleAPICallError], status: int, inner: RpcError) -> GoogleAPICallError:
    try:
        raise kind(status, [inner]) from inner
    except GoogleAPICallError as error:
        return error


# --- grpcio -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", REFUSALS)
def test_code_of_a_refusal_is_a_failure(code: str) -> None:
    """The server looked at the request and did not do it."""
    assert not lost_reply(_InactiveRpcError(code, "refused"))


@pytest.mark.parametrize("code", UNKNOWN)
def test_any_other_code_is_unknown(code: str) -> None:
    """The call may have been carried out."""
    assert lost_reply(_InactiveRpcError(code, "no answer"))


@pytest.mark.parametrize("details", NOT_CONNECTED)
def test_call_without_a_connection_is_a_failure(details: str) -> None:
    """Nothing was sent, and calls keep failing until the channel tries again."""
    error = _InactiveRpcError("UNAVAILABLE", details)

    assert not lost_reply(error)
    assert connection_unusable(error)


@pytest.mark.parametrize("details", LOST)
def test_call_on_a_lost_connection_is_unknown(details: str) -> None:
    """The request had left; the channel connects again by itself."""
    error = _InactiveRpcError("UNAVAILABLE", details)

    assert lost_reply(error)
    assert not connection_unusable(error)


def test_status_that_a_server_passes_on_is_unknown() -> None:
    """The server acted, then could not reach a server of its own, and repeated that text."""
    debug = "UNKNOWN:Error received from peer ipv4:127.0.0.1:443 {grpc_status:14}"

    assert lost_reply(_InactiveRpcError("UNAVAILABLE", NOT_CONNECTED[0], debug))


def test_reply_that_is_too_large_is_unknown() -> None:
    """The server had sent it, so it had acted; only a request that it would not read was not carried out."""
    limit = "message larger than max (5000000 vs. 4194304)"

    assert lost_reply(_InactiveRpcError("RESOURCE_EXHAUSTED", f"CLIENT: Received {limit}"))
    assert lost_reply(_InactiveRpcError("RESOURCE_EXHAUSTED", f"SERVER: Sent {limit}"))
    assert lost_reply(_InactiveRpcError("RESOURCE_EXHAUSTED", f"Received {limit}"))
    assert not lost_reply(_InactiveRpcError("RESOURCE_EXHAUSTED", f"SERVER: Received {limit}"))
    assert not lost_reply(_InactiveRpcError("RESOURCE_EXHAUSTED", f"CLIENT: Sent {limit}"))


def test_stream_that_was_reset_is_unknown() -> None:
    """HTTP/2's ENHANCE_YOUR_CALM becomes RESOURCE_EXHAUSTED, which is else a refusal."""
    assert lost_reply(_InactiveRpcError("RESOURCE_EXHAUSTED", "Received RST_STREAM with error code 11"))


def test_reply_that_cannot_be_read_is_unknown() -> None:
    """INTERNAL is also the code of a request that could not be written, which says so."""
    assert lost_reply(_InactiveRpcError("INTERNAL", "Exception deserializing response!"))
    assert not lost_reply(_InactiveRpcError("INTERNAL", "Exception serializing request!"))


def test_call_without_credentials_is_a_failure() -> None:
    """The plugin is asked before the call is sent."""
    assert not lost_reply(_InactiveRpcError("UNAVAILABLE", "Getting metadata from plugin failed with error: no token"))


@pytest.mark.parametrize("text", ["Cannot invoke RPC on closed channel!", "Cannot invoke RPC: Channel closed!"])
def test_closed_channel_is_unusable(text: str) -> None:
    """The client says so by a plain ValueError."""
    assert not lost_reply(ValueError(text))
    assert connection_unusable(ValueError(text))
    assert not connection_unusable(ValueError("no such customer"))


# --- google-api-core ----------------------------------------------------------------------------


def test_google_error_answers_as_the_grpc_error_within() -> None:
    """503 is the class of a refused connection as well as of a lost reply."""
    refused = wrapped(ServiceUnavailable, 503, _InactiveRpcError("UNAVAILABLE", NOT_CONNECTED[0]))
    lost = wrapped(ServiceUnavailable, 503, _InactiveRpcError("UNAVAILABLE", "Socket closed"))
    late = wrapped(GoogleAPICallError, 504, _InactiveRpcError("DEADLINE_EXCEEDED", "Deadline Exceeded"))
    denied = wrapped(GoogleAPICallError, 403, _InactiveRpcError("PERMISSION_DENIED", "no"))

    assert [False, True, True, False] == [lost_reply(error) for error in (refused, lost, late, denied)]
    assert connection_unusable(refused)


def test_google_error_without_its_cause_is_unknown() -> None:
    """Pickling drops the cause."""
    assert lost_reply(GoogleAPICallError(403, [_InactiveRpcError("PERMISSION_DENIED", "no")]))


def test_google_error_of_a_json_reply_answers_by_its_status() -> None:
    """Google's servers send gRPC's UNAVAILABLE and CANCELLED as 503 and 499."""
    reason = {"message": "no", "domain": "global", "reason": "forbidden"}

    assert not lost_reply(GoogleAPICallError(403, [reason]))
    assert not lost_reply(GoogleAPICallError(409, []))
    assert lost_reply(GoogleAPICallError(504, []))
    assert lost_reply(ServiceUnavailable(503, []))
    assert lost_reply(Cancelled(499, []))
    assert lost_reply(GoogleAPICallError(None, []))


def test_google_retry_that_gave_up_is_unknown() -> None:
    """Its cause is the last attempt only; an earlier one may have been acted on."""
    error = RetryError("Timeout of 60.0s exceeded")
    error.__cause__ = _InactiveRpcError("UNAVAILABLE", NOT_CONNECTED[0])

    assert lost_reply(error)
