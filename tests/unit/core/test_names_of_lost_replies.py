"""Classes that no row knows, judged by their names."""

from __future__ import annotations

import pytest

from tests.support.made_errors import chained, foreign
from wal_runner.core.lost_reply import lost_reply


LOST = [
    *("Timeout", "TimeoutError", "TimeoutException", "TimeOut", "TimedOut", "TimedOutError", "TIMEOUT", "ReadTimeout"),
    *("timeout", "ReadTimeoutError", "Timeouts", "RequestTimedOut", "HTTPTimeout", "Timed_Out", "LockWaitTimeout"),
    *("DeadlineExceeded", "DeadlineExceededError", "Deadline", "DeadlineError"),
    *("Disconnect", "Disconnected", "DisconnectedError", "ServerDisconnectedError", "ClientDisconnect"),
    *("ConnectionReset", "ConnectionResetError", "StreamReset", "ResetByPeer", "ConnectionResetByPeer", "ResetError"),
    *("PeerResetException", "StreamResetByServerError", "GatewayReset"),
]
OTHERS = [
    *("ResetPasswordError", "PasswordResetError", "PasswordReset", "AccountResetError", "PresetError", "FactoryReset"),
    *("ResetRequired", "QuotaResetError", "TokenReset"),
    *("RuntimeOutputError", "RuntimeOutOfMemory", "OvertimeOutlay", "Timeoutlet"),
    *("InvalidTimeout", "InvalidTimeoutError", "TimeoutValueError", "TimeoutStateError", "TimeoutTypeError"),
    *("TimeoutConfigError", "TimeoutSettingsError", "MissingDeadline", "BadTimeout", "InvalidDeadlineError"),
    *("NotConnected", "ChargeError", "CardDeclined", "Timer", "TimeError", "DeadLetterError", "DeadlockError"),
]


@pytest.mark.parametrize("name", LOST)
def test_name_that_tells_of_a_lost_reply_is_unknown(name: str) -> None:
    """The outcome is unknown, unless a cause of the error says more."""
    assert lost_reply(foreign(f"acme.{name}"))
    assert not lost_reply(chained(foreign(f"acme.{name}"), ConnectionRefusedError()))


@pytest.mark.parametrize("name", OTHERS)
def test_name_that_tells_of_something_else_is_a_failure(name: str) -> None:
    """Names that share letters with these, and names of wrong settings."""
    assert not lost_reply(foreign(f"acme.{name}"))


def test_cause_of_an_error_counts_by_its_name_too() -> None:
    """Users wrap the errors of clients that have no row."""
    assert lost_reply(chained(RuntimeError("charge failed"), foreign("acme.ChargeTimeout")))
