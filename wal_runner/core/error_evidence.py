"""Look one error up in the table of client errors.

Imported by `lost_reply`. Invariant: nothing is called of an error but its ``__str__`` and the attributes that rows
name, and no client is imported.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final

from wal_runner.core.client_errors import CLIENTS
from wal_runner.core.error_rows import ANY, Evidence, Row
from wal_runner.core.http_statuses import METHODS, SAFE_METHODS, evidence_of_status, head_of


if TYPE_CHECKING:
    from types import FrameType, TracebackType

TEXT_CHARS_MAX: Final = 64 * 1024
"""So much of a reply's body is searched for what a proxy says."""

_ROWS: Final[dict[str, list[Row]]] = {}
for _client in CLIENTS:
    for _row in _client.rows:
        _ROWS.setdefault(_row.error, []).append(_row)

_CONNECTING: Final[set[tuple[str, str]]] = set()
# (module, function name) -> the callers of which one must be there.
_CONNECTING_UNDER: Final[dict[tuple[str, str], set[tuple[str, str]]]] = {}
for _client in CLIENTS:
    for _home, *_callers, _function in _client.connecting:
        if _callers:
            _CONNECTING_UNDER.setdefault((_home, _function), set()).update((_home, caller) for caller in _callers)
        else:
            _CONNECTING.add((_home, _function))

_PACKAGES: Final = frozenset(row.error.partition(".")[0] for client in CLIENTS for row in client.rows) - {"builtins"}

# Where clients keep these; the first place that holds one counts. A body is taken only if it was read already.
_STATUS_PATHS: Final = ("status_code", "response.status_code", "http_status", "response.status")
_STATUS_PATHS_OF_KNOWN: Final = (*_STATUS_PATHS, "status", "code", "response.ResponseMetadata.HTTPStatusCode")
_METHOD_PATHS: Final = ("request.method", "response.request.method", "request_info.method", "method")
_HEADERS_PATHS: Final = ("response.headers", "headers", "response.ResponseMetadata.HTTPHeaders")
_BODY_PATHS: Final = ("response._content", "body", "http_body", "response._body")

# What clients without rows call an error after which nobody knows: ReadTimeout, TIMEOUT, TimedOutError,
# DeadlineExceeded, ServerDisconnected, ConnectionReset, ResetByPeer. RuntimeOutputError, ResetPasswordError and
# PasswordResetError are none, and neither are errors about a setting: InvalidTimeout, TimeoutValueError.
_NAME_OF_A_LOST_REPLY: Final = re.compile(
    r"(?:T|(?<![A-Za-z])t)ime[d_]?_?[Oo]ut(?![a-rt-z])|TIME_?OUT|TIMED_?OUT|Deadline|Disconnect|"
    r"(?<!Password)(?<!Account)(?<!Credentials)(?<!Factory)(?<!Quota)(?<!Token)"
    r"Reset(?:s|ted)?(?:By[A-Z][a-z]+)?(?:Error|Exception)?$"
)
_NAME_OF_A_WRONG_SETTING: Final = re.compile(
    r"^_?(?:Bad|Illegal|Invalid|Missing|Unsupported)[A-Z]|"
    r"(?:Argument|Config|Configuration|Format|Option|Parameter|Parse|Setting|State|Type|Value)s?(?:Error|Exception)?$"
)


# --- The questions --------------------------------------------------------------------------------------------


def row_for(error: BaseException) -> Row | None:
    """Return the row that applies to *error*: of its class, or of the nearest class that it inherits from."""
    rows = _rows_of(type(error))  # type: ignore[arg-type]  # mypy takes the hash of its instances for that of the class
    return next((row for row in rows if _applies(row, error)), None)


@functools.lru_cache(maxsize=256)
def _rows_of(kind: type) -> tuple[Row, ...]:
    """Return the rows of *kind* and of the classes that it inherits from, the nearest first."""
    return tuple(row for ancestor in kind.__mro__ for row in _ROWS.get(name_of_class(ancestor), ()))


def evidence_of(error: BaseException, statuses: Mapping[int, Evidence], connecting: set[FrameType]) -> Evidence:
    """Return what *error* by itself says about its request; *statuses* go before the usual meaning of a status.

    *connecting* holds the frames in which the errors before this one were connecting, and gets those of this one. An
    error that was caught in one of them struck while connecting as well.
    """
    is_connecting = _struck_while_connecting(error, connecting)
    row = row_for(error)
    if row is None:
        # A class that the table does not know may still carry the status of a reply.
        status = _status_at(error, _STATUS_PATHS)
        return Evidence.NONE if status is None else _evidence_of_reply(error, status, statuses)
    if row.verdict is Evidence.BY_STATUS:
        status = _status_at(error, _STATUS_PATHS_OF_KNOWN)
        return Evidence.SEE_CAUSE if status is None else _evidence_of_reply(error, status, statuses)
    if row.verdict in (Evidence.UNKNOWN, Evidence.SEE_CAUSE) and is_connecting:
        return Evidence.NOT_SENT
    return row.verdict


def is_safe_request(error: BaseException) -> bool | None:
    """Return whether the request that *error* names changes nothing on the server; None if it names no request."""
    for path in _METHOD_PATHS:
        method = value_at(error, path)
        if isinstance(method, str) and method.upper() in METHODS:
            return method.upper() in SAFE_METHODS
    return None


def is_named_like_a_lost_reply(error: BaseException) -> bool:
    """Return whether the name of the error's class says that a reply was awaited in vain."""
    name = type(error).__name__
    return _NAME_OF_A_LOST_REPLY.search(name) is not None and _NAME_OF_A_WRONG_SETTING.search(name) is None


def is_translation(error: BaseException, context: BaseException) -> bool:
    """Return whether a client raised *error* in place of *context*, and left out the ``from``.

    So it is if the frame that caught *context* raised *error*, and belongs to the client whose class *error* is. Then
    both tell of the same event. A client that tries again raises the error of the second try in a frame below.
    """
    caught_in, raised_in = traceback_of(context), traceback_of(error)
    if caught_in is None or raised_in is None:
        return False
    while raised_in.tb_next is not None:
        raised_in = raised_in.tb_next
    package = type(error).__module__.partition(".")[0]
    home = str(raised_in.tb_frame.f_globals.get("__name__")).partition(".")[0]
    return caught_in.tb_frame is raised_in.tb_frame and home == package and package in _PACKAGES


# --- Reading an error -------------------------------------------------------------------------------------------


def name_of_class(kind: type) -> str:
    """Return the name under which the table knows *kind*."""
    return f"{kind.__module__}.{kind.__qualname__}"


def value_at(root: object, path: str) -> Any:  # noqa: ANN401 - whatever is there
    """Return what is at *path* in *root*, or None: attributes, keys or indexes, ``()`` at the end of one calls it."""
    value: Any = root
    for name, is_called in _steps(path):
        if value is None:
            return None
        try:
            # Most errors have none of the attributes that are asked for, and a batch may have a million errors:
            # a raised AttributeError and a look at the abstract classes would be most of the cost of a verdict.
            if not hasattr(type(value), "__getitem__"):
                value = getattr(value, name, None)
            elif isinstance(value, Mapping):
                value = value[name]
            elif isinstance(value, Sequence) and name.isdigit():
                value = value[int(name)]
            else:
                value = getattr(value, name)
            if is_called:
                value = value()
        except KeyboardInterrupt:  # Ctrl-C, and not the error's doing
            raise
        except BaseException:  # noqa: BLE001 - it is not there; a property may say so by any error
            return None
    return value


@functools.cache
def _steps(path: str) -> tuple[tuple[str, bool], ...]:
    """Return the names in *path*, one of a row, and whether each is called."""
    return tuple((step.removesuffix("()"), step.endswith("()")) for step in path.split("."))


def _applies(row: Row, error: BaseException) -> bool:
    if row.raised_in is not None and not _passed_through(error, row.raised_in):
        return False
    if row.where is not None and not is_one_of(value_at(error, row.where), row.values):
        return False
    # Last: the text of a user's own exception may raise, and is read only if everything else fits.
    return row.says is None or row.says.lower() in str(error).lower()


def is_one_of(found: object, values: tuple[object, ...]) -> bool:
    """Return whether *found* is one of the *values* of a row."""
    return any(_is_like(found, value) for value in values)


def _is_like(found: object, value: object) -> bool:
    if value == ANY:
        return found is not None
    if isinstance(found, AbstractSet):
        return value in found
    if isinstance(value, str) and value.endswith("*"):
        return found is not None and str(found).startswith(value[:-1])
    if isinstance(value, range):
        return type(found) is int and found in value
    return type(found) is type(value) and found == value


def _struck_while_connecting(error: BaseException, connecting: set[FrameType]) -> bool:
    # smtplib raises its own error over the socket's, whose traceback begins where smtplib caught it.
    trace = traceback_of(error)
    is_connecting = trace is not None and trace.tb_frame in connecting
    callers: set[tuple[str, str]] = set()
    for function, frame in frames_of(error):
        if function in _CONNECTING or not callers.isdisjoint(_CONNECTING_UNDER.get(function, ())):
            is_connecting = True
        if is_connecting:
            connecting.add(frame)
        callers.add(function)
    return is_connecting


def _passed_through(error: BaseException, place: tuple[str, str]) -> bool:
    return any(passed == place for passed, _ in frames_of(error))


def frames_of(error: BaseException) -> Iterator[tuple[tuple[str, str], FrameType]]:
    """Yield the (module, function name) and the frame of each function that *error* passed through, outermost first."""
    trace = traceback_of(error)
    while trace is not None:
        yield _function_of(trace), trace.tb_frame
        trace = trace.tb_next


def traceback_of(error: BaseException) -> TracebackType | None:
    """Return the traceback of *error*, or None: also if reading it raises, as it may for a user's own class."""
    try:
        return error.__traceback__
    except KeyboardInterrupt:  # Ctrl-C, and not the error's doing
        raise
    except BaseException:  # noqa: BLE001 - a property may raise anything, SystemExit too
        return None


def _function_of(trace: TracebackType) -> tuple[str, str]:
    """Return the module and the name of the function that an error passed through."""
    return str(trace.tb_frame.f_globals.get("__name__")), trace.tb_frame.f_code.co_name


# --- HTTP replies -------------------------------------------------------------------------------------------------


def _status_at(error: BaseException, paths: tuple[str, ...]) -> int | None:
    for path in paths:
        status = value_at(error, path)
        if isinstance(status, int) and not isinstance(status, bool) and 100 <= status <= 599:  # noqa: PLR2004
            return int(status)
    return None


def _evidence_of_reply(error: BaseException, status: int, statuses: Mapping[int, Evidence]) -> Evidence:
    if status in statuses:
        return statuses[status]
    body = next((found for path in _BODY_PATHS if (found := value_at(error, path))), None)
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    # urllib's and http.client's headers are an email.message.Message, which is not a Mapping.
    headers: Any = next((found for path in _HEADERS_PATHS if hasattr(found := value_at(error, path), "items")), {})
    return evidence_of_status(
        status,
        text=f"{str(error)[:TEXT_CHARS_MAX]}\n{text[:TEXT_CHARS_MAX]}",
        head=head_of(headers.items()),
        is_body_known=body is not None,
    )
