"""Tell an error that means "it did not happen" from one that means "nobody knows".

Anything may import this module; it imports the standard library and `wal_runner.errors`, and
knows other people's libraries by name only. Invariant: when an error does not say whether the
request had left, the answer is "nobody knows". An item held needlessly costs a look; an item
repeated needlessly costs a second charge.

An error is read from the outside in: itself, then its cause or the error that it was raised
over, and so on. The first one that the tables know decides. What no error can show: a redirect,
or a second request of the same fn, that fails to connect after the first had its effect.
"""

from __future__ import annotations

import errno
import inspect
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import TypeAlias, assert_never

from wal_runner.errors import OutcomeUnknown


# What `outcome_unknown=` takes.
Setting: TypeAlias = Callable[[BaseException], bool] | type[BaseException] | tuple[type[BaseException], ...]

# Enough for any wrapping that people write, and for a TaskGroup of some hundred members. A chain
# that is longer was not read to its end, so nobody knows.
LINKS_READ_MAX = 1_000


# --- The tables -----------------------------------------------------------------
# A class is looked up along its MRO, so that the row nearest to it wins.

# The request never left, or the server refused it in so many words: a failure.
NOT_DONE = frozenset(
    {
        "builtins.ConnectionRefusedError",
        "socket.gaierror",
        "socket.herror",
        "ssl.SSLCertVerificationError",
        "smtplib.SMTPAuthenticationError",
        "smtplib.SMTPConnectError",
        "smtplib.SMTPHeloError",
        "smtplib.SMTPNotSupportedError",
        "smtplib.SMTPRecipientsRefused",
        "smtplib.SMTPResponseException",  # SMTPSenderRefused and SMTPDataError too
        "urllib3.exceptions.ClosedPoolError",
        "urllib3.exceptions.ConnectTimeoutError",
        "urllib3.exceptions.EmptyPoolError",
        "urllib3.exceptions.NewConnectionError",  # NameResolutionError too
        "requests.exceptions.ConnectTimeout",
        "httpcore.ConnectError",
        "httpcore.ConnectTimeout",
        "httpcore.PoolTimeout",
        "httpcore.ProxyError",
        "httpx.ConnectError",
        "httpx.ConnectTimeout",
        "httpx.PoolTimeout",
        "httpx.ProxyError",  # the proxy would not open the tunnel
        "aiohttp.client_exceptions.ClientConnectorError",  # DNS, TLS, proxy and Unix sockets too
        "aiohttp.client_exceptions.ClientConnectorCertificateError",
        "aiohttp.client_exceptions.ConnectionTimeoutError",
        "aiohttp.client_exceptions.ServerFingerprintMismatch",
    }
)

# The request, or a part of it, had left, and no whole reply came back: nobody knows.
REPLY_LOST = frozenset(
    {
        "builtins.BrokenPipeError",
        "builtins.ConnectionAbortedError",
        "builtins.ConnectionResetError",
        "builtins.TimeoutError",  # also known as socket., asyncio. and concurrent.futures.TimeoutError
        "ssl.SSLError",  # certificates are above, handshakes below
        "asyncio.exceptions.IncompleteReadError",
        "concurrent.futures._base.BrokenExecutor",  # a worker died, in a pool that fn uses
        "subprocess.TimeoutExpired",
        "http.client.BadStatusLine",  # RemoteDisconnected too
        "http.client.IncompleteRead",
        "http.client.LineTooLong",
        "http.client.UnknownProtocol",
        "smtplib.SMTPServerDisconnected",
        "urllib3.exceptions.DecodeError",
        "urllib3.exceptions.ReadTimeoutError",
        "requests.exceptions.ChunkedEncodingError",
        "requests.exceptions.ContentDecodingError",
        "requests.exceptions.ReadTimeout",
        "httpcore.ReadError",
        "httpcore.ReadTimeout",
        "httpcore.RemoteProtocolError",
        "httpcore.WriteError",
        "httpcore.WriteTimeout",
        "httpx.CloseError",
        "httpx.DecodingError",
        "httpx.ReadError",
        "httpx.ReadTimeout",
        "httpx.RemoteProtocolError",
        "httpx.WriteError",
        "httpx.WriteTimeout",
        "aiohttp.client_exceptions.ClientConnectionResetError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "aiohttp.client_exceptions.ServerDisconnectedError",
        "aiohttp.client_exceptions.ServerTimeoutError",
        "aiohttp.http_exceptions.BadHttpMessage",
    }
)

# Trouble with the connection at a time that the class does not tell. Its cause decides; where no
# cause does (they are lost on the way out of a process pool), nobody knows.
UNCLEAR = frozenset(
    {
        "builtins.ConnectionError",
        "urllib3.exceptions.ProtocolError",
        "urllib3.exceptions.ProxyError",
        "urllib3.exceptions.SSLError",
        "urllib3.exceptions.TimeoutError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "httpx.NetworkError",
        "httpx.TimeoutException",
        "aiohttp.client_exceptions.ClientConnectionError",
    }
)

# An error that came out of one of these (module, function) struck before any request was sent,
# whatever its class: a time-out of connect() and one of recv() are both a bare TimeoutError.
BEFORE_THE_REQUEST = frozenset(
    {
        ("socket", "create_connection"),
        ("ssl", "do_handshake"),
        ("ssl", "_create"),  # the peer was gone before the handshake
        ("asyncio.base_events", "create_connection"),
        ("smtplib", "connect"),  # waits for the greeting, too
        ("smtplib", "starttls"),
        ("smtplib", "login"),
        ("psycopg.connection", "connect"),
        ("psycopg.connection_async", "connect"),
        ("psycopg2", "connect"),
    }
)

# What the server reports has an SQLSTATE, and mostly a subclass of its own. Without one, libpq
# speaks for itself: the connection was not made (above), or it broke under a query.
POSTGRES_ERRORS = frozenset({"psycopg.OperationalError", "psycopg2.OperationalError"})

# Linux reports an unreachable host on open connections as well, once it gives up resending.
# EPROTOTYPE is what macOS says when writing to a connection that is being closed.
ERRNOS_OF_LOST_CONNECTIONS = frozenset(
    {
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.EPROTOTYPE,
    }
)

# Errors of these modules are where a story starts: what lies behind one is an earlier story,
# an attempt of fn's own that it was retrying.
ROOT_MODULES = frozenset({"builtins", "socket", "ssl", "smtplib"})


class Evidence(Enum):
    """What one error by itself says about the request."""

    NONE = auto()
    NOT_DONE = auto()
    REPLY_LOST = auto()
    UNCLEAR = auto()


# --- The two questions ------------------------------------------------------------


def lost_reply(error: BaseException) -> bool:
    """Return True if the request behind *error* may have been acted on: the item is in doubt.

    False means a known failure. An error that has nothing to do with a connection is one, and so
    is a reply that says no (an HTTP status, an SMTP refusal). Any `OutcomeUnknown` among the
    causes means True, and so does any member of an exception group that means True by itself.
    Never raises for what the exception does when it is read: one that cannot be read means True.
    """
    return _true_if_unreadable(lambda: _is_lost(error))


def _is_lost(error: BaseException) -> bool:
    links = list(_links(error))
    if any(isinstance(link, OutcomeUnknown) for link in links):
        return True
    unclear = False
    # Between an error that says "not connected" and its root, a TimeoutError is connect()'s own.
    inside_a_failed_connect = False
    for link in links:
        is_root = type(link).__module__ in ROOT_MODULES and isinstance(link, OSError)
        if inside_a_failed_connect and is_root:
            inside_a_failed_connect = False
            continue
        evidence = _evidence(link)
        match evidence:
            case Evidence.REPLY_LOST:
                return True
            case Evidence.NOT_DONE:
                unclear = False
                inside_a_failed_connect = not is_root
            case Evidence.UNCLEAR:
                unclear = True
            case Evidence.NONE:
                pass
            case _:
                assert_never(evidence)
    return unclear or len(links) == LINKS_READ_MAX


def unknown_when(setting: Setting) -> Callable[[BaseException], bool]:
    """Turn what the caller gave as ``outcome_unknown=`` into a question to ask of an error.

    A function is asked as it is, and must answer True or False. A type, or a tuple of types,
    is looked for in the error and its causes; ``()`` is never found. `OutcomeUnknown` means True
    whatever the setting. A setting of another kind is a TypeError, here and not at the first error.
    """
    if isinstance(setting, type):
        setting = (setting,)
    if isinstance(setting, tuple):
        return _when_among_the_causes(_checked(setting))
    if not callable(setting) or inspect.iscoroutinefunction(setting):
        raise TypeError(f"outcome_unknown cannot be {setting!r}. {ADVICE}")
    return _when_the_function_says_so(setting)


# --- Helpers ------------------------------------------------------------------------

ADVICE = (
    "Give a plain function from an exception to True or False (lost_reply is the default), "
    "an exception type, a tuple of them, or () if every error is a failure."
)


def _checked(types: tuple[object, ...]) -> tuple[type[BaseException], ...]:
    for kind in types:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"outcome_unknown holds {kind!r}, which is no exception type. {ADVICE}")
    return types  # type: ignore[return-value]  # the loop above has looked at each


def _when_among_the_causes(types: tuple[type[BaseException], ...]) -> Callable[[BaseException], bool]:
    wanted = (*types, OutcomeUnknown)

    def is_unknown(error: BaseException) -> bool:
        return _true_if_unreadable(lambda: any(isinstance(link, wanted) for link in _links(error)))

    return is_unknown


def _when_the_function_says_so(says: Callable[[BaseException], bool]) -> Callable[[BaseException], bool]:
    def is_unknown(error: BaseException) -> bool:
        if _true_if_unreadable(lambda: any(isinstance(link, OutcomeUnknown) for link in _links(error))):
            return True
        answer = says(error)
        # A forgotten return gives None, which would quietly call every lost reply a failure.
        if not isinstance(answer, bool):
            raise TypeError(f"outcome_unknown={says!r} answered {answer!r}. {ADVICE}")
        return answer

    return is_unknown


def _true_if_unreadable(reads: Callable[[], bool]) -> bool:
    """Return what *reads* finds in a user's exception; True if reading it raises: then nobody knows.

    Its class may define any attribute as a property: ``__cause__``, ``args``, ``__class__``. An error of that
    property would otherwise end the run, and say nothing of the one that fn raised.
    """
    try:
        return reads()
    except KeyboardInterrupt:  # Ctrl-C, and not the exception's doing
        raise
    except BaseException:  # noqa: BLE001 - a property of the user's may raise anything, SystemExit too
        return True


def _links(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and what lies behind it, nearest first, each once, at most LINKS_READ_MAX."""
    waiting = [error]
    seen: set[int] = set()
    while waiting and len(seen) < LINKS_READ_MAX:
        link = waiting.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting.extend(reversed(_behind(link)))


def _behind(error: BaseException) -> list[BaseException]:
    behind = [error.__cause__] if error.__cause__ is not None else []
    if error.__cause__ is None and error.__context__ is not None and not error.__suppress_context__:
        behind = [error.__context__]
    if isinstance(error, BaseExceptionGroup):
        behind.extend(error.exceptions)
    # URLError and requests keep the real error as an argument as well, and there it survives
    # pickling, which drops causes.
    behind.extend(argument for argument in error.args if isinstance(argument, BaseException))
    return behind


def _evidence(error: BaseException) -> Evidence:
    evidence = _evidence_of_details(error) or _evidence_of_class(type(error))
    if evidence in (Evidence.REPLY_LOST, Evidence.UNCLEAR) and _struck_before_the_request(error):
        return Evidence.NOT_DONE
    return evidence


def _evidence_of_class(kind: type[BaseException]) -> Evidence:
    for ancestor in kind.__mro__:
        name = f"{ancestor.__module__}.{ancestor.__qualname__}"
        if name in NOT_DONE:
            return Evidence.NOT_DONE
        if name in REPLY_LOST:
            return Evidence.REPLY_LOST
        if name in UNCLEAR:
            return Evidence.UNCLEAR
    return Evidence.NONE


def _evidence_of_details(error: BaseException) -> Evidence | None:
    """Read what a number says where the class says nothing, or says too much."""
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    if type(error) is OSError and error.errno in ERRNOS_OF_LOST_CONNECTIONS:
        return Evidence.REPLY_LOST
    # A command that a signal killed had begun, like a worker that died.
    returncode = getattr(error, "returncode", 0)
    if name == "subprocess.CalledProcessError" and isinstance(returncode, int) and returncode < 0:
        return Evidence.REPLY_LOST
    sqlstate = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if name in POSTGRES_ERRORS and sqlstate is None:
        return Evidence.REPLY_LOST
    # smtplib's way of saying that the reply was no SMTP reply at all.
    if name.startswith("smtplib.") and getattr(error, "smtp_code", 0) == -1:
        return Evidence.REPLY_LOST
    return None


def _struck_before_the_request(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) in BEFORE_THE_REQUEST:
            return True
        trace = trace.tb_next
    return False
