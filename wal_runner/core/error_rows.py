"""The words of the table of client errors: what a row says, and when it applies.

Anything may import this module. Invariant: a row names classes as text; no client is imported to read one.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, NamedTuple, TypeAlias


class Evidence(Enum):
    """What one error by itself says about the request that it is about."""

    NONE = auto()
    """Nothing: the error is not about a request."""

    NOT_SENT = auto()
    """The request surely never left, so nothing happened: a failure."""

    REFUSED = auto()
    """The other side, or a proxy, says that it did not do it: a failure."""

    UNKNOWN = auto()
    """The request, or a part of it, may have left, and no whole reply came back: in doubt."""

    SEE_CAUSE = auto()
    """The class does not say when it struck. Its cause decides; without a cause the outcome is unknown."""

    BY_STATUS = auto()
    """The error carries an HTTP status, which decides; without one, as SEE_CAUSE."""


NOT_SENT: Final = Evidence.NOT_SENT
REFUSED: Final = Evidence.REFUSED
UNKNOWN: Final = Evidence.UNKNOWN
SEE_CAUSE: Final = Evidence.SEE_CAUSE
BY_STATUS: Final = Evidence.BY_STATUS

ANY: Final = "*"
"""In *values* of a row: anything but None."""

POSITIVE: Final = range(1, 1_000_000)
"""In *values* of a row: a count that is not zero."""


class Row(NamedTuple):
    """What an error of one class means.

    *error* is the class as it names itself, ``f"{cls.__module__}.{cls.__qualname__}"``; subclasses without a row of
    their own count too. A row applies only if *says*, a text, occurs in ``str(error)`` (upper and lower case are the
    same), and if the attribute at *where* is one of *values*. *where* is a path such as ``"sqlstate"``, ``"args.0"``
    or ``"code().name"``. A value is compared as it is; a text that ends in ``*`` matches what begins with the rest; a
    range matches the numbers in it. None matches an attribute that is None or missing; a set matches if it holds the
    value. *raised_in*, a (module,
    function name), asks that the error passed through that function. Of several rows for a class the first that
    applies counts.

    *unusable* says whether the connection that raised the error cannot be used again, or not yet: the next call on it
    would fail too, or would read the reply of this one. None: the row does not say, ask the cause.

    *until* is the version of the client that no longer has the class or the function, for a row about the versions
    before it. A test does not look for them in the current version.

    *is_final* says that connecting again would end the same: the other side does not know these credentials. A worker
    that tried on and on could have the account locked.
    """

    error: str
    verdict: Evidence
    says: str | None = None
    where: str | None = None
    values: tuple[object, ...] = ()
    raised_in: tuple[str, str] | None = None
    unusable: bool | None = None
    until: str | None = None
    is_final: bool = False


Place: TypeAlias = tuple[str, str] | tuple[str, str, str]
"""A function of a client: (module, function name), or (module, caller, function name)."""


class Redirect(NamedTuple):
    """How an error shows that its request followed a redirect, so that an earlier request had been answered.

    *passed* is a (module, function name): the error came out of that function, and the paths lead through the
    function's local variables. If it is None they lead through the error. *replies* is the path to the replies that
    redirected; *status* and *method* lead from each of them to its status and to the method of its request. Without
    *replies* there is one, and the paths lead to it directly. Without *method* the method is not known.
    """

    passed: tuple[str, str] | None
    status: str
    method: str | None = None
    replies: str | None = None


class Retry(NamedTuple):
    """How an error shows that the same request had been sent before: by its client itself, or to read its reply now.

    *passed* as in `Redirect`. It shows so if for each (path, values) of *where* the local variable there is one of
    *values*, as in a `Row`. *method* leads to the method; without it the request counts as unsafe. *error* leads to
    the error that the earlier try ended with, or to a list of such errors. With *tries* there is a list of earlier
    tries, and *error* leads from each of them. Without *error* nobody knows what became of that try.
    """

    passed: tuple[str, str]
    where: tuple[tuple[str, tuple[object, ...]], ...]
    method: str | None = None
    error: str | None = None
    tries: str | None = None


class Client(NamedTuple):
    """The rows of one client.

    *name* is what people call it; *modules* are those that a test imports to compare each row with the real class. An
    error, whatever its class, that came out of one of the functions *connecting*, each a (module, function name),
    struck before any request was sent. Three names, (module, caller, function name), ask that the function was called
    by *caller* of the same module, at any depth: for a function that runs before the request and after it. *redirects*
    and *retries* tell errors of requests that were not the first.
    """

    name: str
    modules: tuple[str, ...]
    rows: tuple[Row, ...]
    connecting: tuple[Place, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    retries: tuple[Retry, ...] = ()
