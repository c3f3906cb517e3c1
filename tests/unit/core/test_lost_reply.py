"""`lost_reply` and `unknown_when` on errors made by hand: the walk, the tables, the settings."""

from __future__ import annotations

import concurrent.futures
import errno
import http.client
import importlib
import importlib.util
import pickle
import smtplib
import socket
import ssl
import subprocess
import urllib.error
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.made_errors import chained, foreign, raised_over
from wal_runner.core.client_errors import CLIENTS
from wal_runner.core.error_links import LINKS_READ_MAX
from wal_runner.core.lost_reply import lost_reply, unknown_when
from wal_runner.errors import OutcomeUnknown


if TYPE_CHECKING:
    from collections.abc import Callable

    from wal_runner.core import lost_reply as module
    from wal_runner.core.error_rows import Client


KNOWN_FAILURES = [
    ValueError("no such customer"),
    KeyError("email"),
    OSError(errno.ENOENT, "no such file"),
    ConnectionRefusedError(),
    socket.gaierror(),
    ssl.SSLCertVerificationError(),
    smtplib.SMTPAuthenticationError(535, b"no"),
    smtplib.SMTPConnectError(421, b"busy"),
    smtplib.SMTPDataError(554, b"spam"),
    smtplib.SMTPRecipientsRefused({}),
    smtplib.SMTPSenderRefused(550, b"no", "from@example.com"),
    http.client.InvalidURL("two words"),
    subprocess.CalledProcessError(1, "false"),
]
UNKNOWN_OUTCOMES = [
    OutcomeUnknown("the gateway timed out"),
    TimeoutError(),
    OSError(errno.ETIMEDOUT, "timed out"),
    OSError(errno.EHOSTUNREACH, "no route to host"),
    ConnectionResetError(),
    ConnectionAbortedError(),
    BrokenPipeError(),
    ConnectionError("the connection is closed"),
    ssl.SSLEOFError(),
    ssl.SSLZeroReturnError(),
    http.client.RemoteDisconnected("gone"),
    http.client.IncompleteRead(b"half"),
    http.client.BadStatusLine("?"),
    smtplib.SMTPServerDisconnected("gone"),
    smtplib.SMTPDataError(-1, b"?"),
    subprocess.TimeoutExpired("curl", 5),
    subprocess.CalledProcessError(-9, "curl"),
    concurrent.futures.BrokenExecutor(),
]


def name_of(error: BaseException) -> str:
    return f"{type(error).__name__}-{error}"


# --- One error by itself ---------------------------------------------------------------------


@pytest.mark.parametrize("error", KNOWN_FAILURES, ids=name_of)
def test_error_that_says_not_done_is_a_failure(error: Exception) -> None:
    """It never left, was refused, or has nothing to do with a connection."""
    assert not lost_reply(error)


@pytest.mark.parametrize("error", UNKNOWN_OUTCOMES, ids=name_of)
def test_error_that_says_the_reply_is_lost_is_unknown(error: Exception) -> None:
    """Something had left, and no whole reply came back."""
    assert lost_reply(error)


def test_subclass_answers_as_the_nearest_row() -> None:
    """A library's own class is known by what it inherits from, nearest first."""

    class GatewaySilentError(TimeoutError):
        pass

    class GatewayRefusedError(ConnectionRefusedError):
        pass

    assert lost_reply(GatewaySilentError())
    assert not lost_reply(GatewayRefusedError())


# --- The walk --------------------------------------------------------------------------------


def test_unknown_error_answers_as_its_cause() -> None:
    """Libraries wrap; what they wrap decides."""
    assert lost_reply(chained(RuntimeError("charge failed"), ValueError(), ConnectionResetError()))
    assert not lost_reply(chained(RuntimeError("charge failed"), ValueError(), ConnectionRefusedError()))


def test_context_counts_unless_it_was_suppressed() -> None:
    """`raise ... from None` says that what came before does not matter."""
    over = raised_over(TimeoutError(), RuntimeError("charge failed"))
    instead = raised_over(TimeoutError(), RuntimeError("charge failed"))
    instead.__suppress_context__ = True

    assert lost_reply(over)
    assert not lost_reply(instead)


def test_cause_hides_the_context() -> None:
    """What was raised `from` another names its cause; the rest is not asked."""
    error = raised_over(TimeoutError(), RuntimeError("charge failed"))
    error.__cause__ = ConnectionRefusedError()

    assert not lost_reply(error)


def test_nearest_error_decides() -> None:
    """A reset is a reset, whatever lay behind it."""
    assert lost_reply(chained(ConnectionResetError(), ConnectionRefusedError()))


def test_unclear_error_answers_as_its_cause_and_else_is_unknown() -> None:
    """A bare ConnectionError does not tell when; without a cause, nobody knows."""
    assert not lost_reply(chained(ConnectionError(), ConnectionRefusedError()))
    assert lost_reply(chained(ConnectionError(), BrokenPipeError()))
    assert lost_reply(chained(ConnectionError(), ValueError()))


def test_timeout_behind_a_failed_connect_is_its_own() -> None:
    """A wrapper that says "connect timed out" is built on a bare TimeoutError, which is no lost reply."""
    assert not lost_reply(chained(foreign("httpx.ConnectTimeout"), foreign("httpcore.ConnectTimeout"), TimeoutError()))


def test_retry_that_could_not_connect_does_not_hide_the_try_before() -> None:
    """A time-out, then a refusal of the second try: the first may have had its effect."""
    first = chained(foreign("httpx.ReadTimeout"), TimeoutError())

    assert lost_reply(raised_over(first, ConnectionRefusedError()))
    assert lost_reply(raised_over(TimeoutError(), ConnectionRefusedError()))
    assert lost_reply(raised_over(TimeoutError(), smtplib.SMTPAuthenticationError(535, b"no")))
    root = raised_over(TimeoutError("read"), TimeoutError("connect"))
    assert lost_reply(chained(foreign("httpx.ConnectTimeout"), root))


def test_member_of_a_group_decides_for_the_group() -> None:
    """One lost reply among the failures of a TaskGroup is enough."""
    assert lost_reply(ExceptionGroup("three", [ValueError(), ConnectionRefusedError(), TimeoutError()]))
    assert not lost_reply(ExceptionGroup("two", [ValueError(), ConnectionRefusedError()]))


def test_error_kept_as_an_argument_decides() -> None:
    """Pickling drops causes and keeps arguments, as URLError shows on its way out of a process pool."""
    lost = pickle.loads(pickle.dumps(urllib.error.URLError(ConnectionResetError())))  # noqa: S301
    refused = pickle.loads(pickle.dumps(urllib.error.URLError(ConnectionRefusedError())))  # noqa: S301

    assert lost_reply(lost)
    assert not lost_reply(refused)


def test_error_kept_as_an_attribute_decides() -> None:
    """Raised after the except clause, an error of azure-core has neither cause nor context."""
    lost, refused = RuntimeError("no answer"), RuntimeError("no answer")
    lost.inner_exception = ConnectionResetError()  # type: ignore[attr-defined]
    refused.inner_exception = ConnectionRefusedError()  # type: ignore[attr-defined]

    assert lost_reply(lost)
    assert not lost_reply(refused)


def test_circle_of_causes_ends() -> None:
    """Two errors that name each other as cause are each read once."""
    one, other = ValueError(), RuntimeError()
    one.__cause__, other.__cause__ = other, one

    assert not lost_reply(one)


def test_chain_too_long_to_read_is_unknown() -> None:
    """What was not read to its end cannot be called a failure."""
    assert not lost_reply(chained(*[ValueError() for _ in range(LINKS_READ_MAX - 1)]))
    assert lost_reply(chained(*[ValueError() for _ in range(LINKS_READ_MAX)]))


def test_outcome_unknown_outweighs_everything() -> None:
    """The word of fn counts, wherever it stands."""
    assert lost_reply(chained(ConnectionRefusedError(), OutcomeUnknown("charge sent")))


# --- Where it struck ---------------------------------------------------------------------------


def test_timeout_out_of_connect_is_a_failure() -> None:
    """The same class is known by the function that it came out of."""
    namespace: dict[str, Any] = {"__name__": "socket"}
    # A frame with the name of that function in that module is what makes the difference.
    exec("def create_connection():\n    raise TimeoutError", namespace)  # noqa: S102
    elsewhere: dict[str, Any] = {"__name__": "my_socket"}
    exec("def create_connection():\n    raise TimeoutError", elsewhere)  # noqa: S102

    assert not lost_reply(error_from(namespace["create_connection"]))
    assert lost_reply(error_from(elsewhere["create_connection"]))


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_database_connection_that_broke_under_a_query_is_unknown(driver: str) -> None:
    """The query may have been committed; an error with an SQLSTATE is the server's own answer."""
    broken = foreign(f"{driver}.OperationalError")
    answered = foreign(f"{driver}.OperationalError")
    answered.sqlstate = answered.pgcode = "53300"  # type: ignore[attr-defined]
    connecting: dict[str, Any] = {"__name__": {"psycopg": "psycopg.connection"}.get(driver, driver)}
    connecting["error"] = foreign(f"{driver}.OperationalError")
    exec("def connect():\n    raise error", connecting)  # noqa: S102  # a frame of that name, as above

    assert lost_reply(broken)
    assert not lost_reply(answered)
    assert not lost_reply(error_from(connecting["connect"]))


# --- The table ---------------------------------------------------------------------------------


def test_no_two_clients_have_rows_for_one_class() -> None:
    """A class has its rows in one place, where their order is seen, except rows about a function of the client's."""
    homes: dict[str, set[str]] = {}
    for client in CLIENTS:
        for row in (row for row in client.rows if row.raised_in is None):
            homes.setdefault(row.error, set()).add(client.name)

    assert {} == {name: names for name, names in homes.items() if len(names) > 1}


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_each_row_names_a_class_as_it_names_itself(client: Client) -> None:
    """A misspelled row would never apply; classes of clients that are not installed are not looked at."""
    modules = [pytest.importorskip(module_name) for module_name in client.modules]
    for row in (row for row in client.rows if row.until is None):
        home, _, kind_name = row.error.rpartition(".")
        # A class written in C may call its module by a name under which it cannot be imported.
        holders = [importlib.import_module(home)] if importlib.util.find_spec(home) else modules
        kind = next(getattr(holder, kind_name) for holder in holders if hasattr(holder, kind_name))
        assert issubclass(kind, BaseException)
        assert row.error == f"{kind.__module__}.{kind.__qualname__}"


PLACES = {place for client in CLIENTS for place in client.connecting}
PLACES |= {
    row.raised_in for client in CLIENTS for row in client.rows if row.raised_in is not None and row.until is None
}


@pytest.mark.parametrize("place", sorted(PLACES), ids=".".join)
def test_each_place_is_that_of_a_function(place: tuple[str, ...]) -> None:
    """The functions that rows and clients name exist under these names."""
    home, *functions = place
    pytest.importorskip(home.partition(".")[0])
    source = importlib.import_module(home)
    classes = [value for value in vars(source).values() if isinstance(value, type)]
    holders = [source, *classes]

    assert [] == [name for name in functions if not any(callable(getattr(one, name, None)) for one in holders)]


@pytest.mark.filterwarnings("ignore::ImportWarning")  # google-api-core, where grpcio-status is missing
@pytest.mark.parametrize(
    ("home", "function"),
    sorted({entry.passed for client in CLIENTS for entry in (*client.redirects, *client.retries) if entry.passed}),
)
def test_each_place_that_sends_again_is_that_of_a_function(home: str, function: str) -> None:
    """The functions that follow redirects or retry exist under these names."""
    pytest.importorskip(home.partition(".")[0])
    source = importlib.import_module(home)
    classes = [value for value in vars(source).values() if isinstance(value, type)]

    assert any(callable(getattr(holder, function, None)) for holder in [source, *classes])


# --- unknown_when --------------------------------------------------------------------------------


def test_function_is_asked_as_it_is() -> None:
    """The caller's rule replaces the default."""
    unknown = unknown_when(lambda error: "charge" in str(error))

    assert unknown(ValueError("charge sent"))
    assert not unknown(TimeoutError())
    assert unknown_when(lost_reply)(TimeoutError())


def test_types_are_looked_for_in_the_error_and_its_causes() -> None:
    """One type or several, subclasses included."""
    assert unknown_when(TimeoutError)(chained(ValueError(), TimeoutError()))
    assert unknown_when((KeyError, OSError))(ConnectionRefusedError())
    assert not unknown_when((KeyError, OSError))(ValueError())


def test_empty_tuple_is_never() -> None:
    """`()` calls every error a failure."""
    assert not any(unknown_when(())(error) for error in UNKNOWN_OUTCOMES[1:])


@pytest.mark.parametrize(
    "setting", [(), KeyError, (KeyError,), lambda _: False], ids=["never", "type", "types", "function"]
)
def test_outcome_unknown_is_unknown_whatever_the_setting(setting: module.Setting) -> None:
    """The word of fn counts most, among the causes too."""
    assert unknown_when(setting)(OutcomeUnknown("charge sent"))
    assert unknown_when(setting)(chained(ValueError(), OutcomeUnknown("charge sent")))


async def _coroutine_function(_: BaseException) -> bool:
    return True


@pytest.mark.parametrize(
    "setting",
    [None, True, "TimeoutError", [TimeoutError], int, (TimeoutError, int), ("timeout",), _coroutine_function],
    ids=[
        "none",
        "bool",
        "text",
        "list",
        "other type",
        "other type among",
        "text among",
        "coroutine function",
    ],
)
def test_setting_of_another_kind_is_refused_with_advice(setting: object) -> None:
    """It is refused when it is given, before any item runs."""
    with pytest.raises(TypeError, match="Give a plain function"):
        unknown_when(setting)  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [None, 1, "yes"])
def test_answer_that_is_no_bool_is_refused_with_advice(answer: object) -> None:
    """A forgotten return would call every lost reply a failure."""
    unknown = unknown_when(lambda _: answer)  # type: ignore[arg-type,return-value]

    with pytest.raises(TypeError, match="Give a plain function"):
        unknown(ValueError())


# --- Helpers ---------------------------------------------------------------------------------------


def error_from(function: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # any error will do
        function()
    return raised.value
