"""Tell an error that means "it did not happen" from one that means "nobody knows".

Anything may import this module; it imports the standard library and `wal_runner.errors`, and
knows other people's libraries by name only: `client_errors` is the table. Invariant: if an error does not say
whether the request had left, the answer is "nobody knows". An item held needlessly costs a look; an item
repeated needlessly costs a second charge.

An error is read from the outside in: itself, then its cause or the error that it was raised
over, and so on. One lost reply among them is enough, unless the error that wraps it says more. What no error
can show: a second request of the same fn that fails to connect after the first had its effect; and a client's own
retries, if it raises only the last one's error, in a place from which `earlier_requests` cannot see the others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from wal_runner.core.error_evidence import name_of_class, row_for
from wal_runner.core.error_links import LINKS_READ_MAX, links
from wal_runner.core.error_reading import Reading
from wal_runner.core.error_rows import Evidence
from wal_runner.errors import OutcomeUnknown


# What `outcome_unknown=` takes.
Setting: TypeAlias = Callable[[BaseException], bool] | type[BaseException] | tuple[type[BaseException], ...]

ANSWERS: Final = {"unknown": Evidence.UNKNOWN, "failed": Evidence.REFUSED}
"""What `lost_reply_with` may be told about a status or a class: in doubt, or a known failure."""

STATUS_MIN, STATUS_MAX = 400, 599


# --- The questions ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)  # hashable: it is a function as far as others can tell
class LostReply:
    """`lost_reply`, adjusted; `lost_reply_with` makes one. Called with an error, it answers True or False."""

    statuses: Mapping[int, Evidence] = field(default_factory=dict)
    classes: Mapping[str, Evidence] = field(default_factory=dict)

    def __call__(self, error: BaseException) -> bool:
        """Return True if the request behind *error* may have been acted on."""
        return _true_if_unreadable(lambda: self._is_lost(error))

    def _is_lost(self, error: BaseException) -> bool:
        chain = list(links(error))
        if any(isinstance(link.error, OutcomeUnknown) for link in chain):
            return True
        reading = Reading(self)
        if any(reading.is_decided_by(link) for link in chain):
            return True
        return reading.is_unclear or len(chain) == LINKS_READ_MAX

    def own_answer(self, error: BaseException) -> Evidence | None:
        """Return the caller's own answer for the class of *error*, or None."""
        if self.classes:
            for ancestor in type(error).__mro__:
                if (told := self.classes.get(name_of_class(ancestor))) is not None:
                    return told
        return None


lost_reply: Final = LostReply()
"""Return True if the request behind an error may have been acted on: the item is in doubt.

False means a known failure. An error that has nothing to do with a connection is one, and so
is a reply that says no (an HTTP status, an SMTP refusal). Any `OutcomeUnknown` among the
causes means True, and so does any member of an exception group that means True by itself.
Never raises for what the exception does when it is read: one that cannot be read means True.
"""


def lost_reply_with(
    *,
    statuses: Mapping[int, str] | None = None,
    clients: Mapping[str | type[BaseException], str] | None = None,
) -> LostReply:
    """Return `lost_reply` with other answers for some HTTP statuses or some classes of errors.

    Args:
        statuses: ``{503: "unknown"}``: what a reply with this status means, if its request is not safe (GET, HEAD,
            OPTIONS). "unknown" leaves the item in doubt, "failed" is a known failure.
        clients: ``{"acme.errors.GoneError": "unknown"}``: the same for an exception class, or the name that it gives
            itself (module and qualified name), and what inherits from it. Such an answer counts for safe requests
            too, and for the errors that this one names as its causes.

    Returns:
        What ``outcome_unknown=`` takes. It can be pickled.

    Raises:
        TypeError: An argument is not a mapping, a status is not an int, or a class is neither an exception class nor
            text.
        ValueError: A status is not one of an error (400 to 599), a class is a text without its module, or an answer
            is not "unknown" or "failed".

    """
    for name, given in (("statuses", statuses), ("clients", clients)):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f'{name} is {given!r}. Use a dictionary from each of them to "unknown" or "failed".')
    own_statuses = {_checked_status(status): _checked_answer(answer) for status, answer in (statuses or {}).items()}
    own_classes = {_checked_class(kind): _checked_answer(answer) for kind, answer in (clients or {}).items()}
    return LostReply(own_statuses, own_classes)


def connection_unusable(error: BaseException) -> bool:
    """Return whether the connection that raised *error* cannot be used again, as far as the table knows.

    The error that is nearest decides: a client that opens a new connection by itself says so over the reset of the
    old one. False for an error that cannot be read.
    """
    return _answer_or_false(
        lambda: next(
            (row.unusable for link in links(error) if (row := row_for(link.error)) and row.unusable is not None), False
        )
    )


def is_connection_error(error: BaseException) -> bool:
    """Return whether *error* is about a connection: refused, lost, timed out, not to be used any more.

    A server's refusal (a wrong password, a constraint) is not. False for an error that cannot be read.
    """
    about_connections = (Evidence.NOT_SENT, Evidence.UNKNOWN, Evidence.SEE_CAUSE)

    def is_so() -> bool:
        for link in links(error):
            row = row_for(link.error)
            if row is not None and row.is_final:
                return False
            if row is not None and (row.unusable or row.verdict in about_connections):
                return True
        return False

    return _answer_or_false(is_so)


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
        return _true_if_unreadable(lambda: any(isinstance(link.error, wanted) for link in links(error)))

    return is_unknown


def _when_the_function_says_so(says: Callable[[BaseException], bool]) -> Callable[[BaseException], bool]:
    def is_unknown(error: BaseException) -> bool:
        if _true_if_unreadable(lambda: any(isinstance(link.error, OutcomeUnknown) for link in links(error))):
            return True
        answer = says(error)
        # A forgotten return gives None, which would quietly call every lost reply a failure.
        if not isinstance(answer, bool):
            raise TypeError(f"outcome_unknown={says!r} answered {answer!r}. {ADVICE}")
        return answer

    return is_unknown


def _checked_status(status: object) -> int:
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"statuses has {status!r} as a key. Use HTTP statuses, such as 503.")
    if not STATUS_MIN <= status <= STATUS_MAX:
        raise ValueError(f"statuses has {status} as a key. Use statuses of errors: {STATUS_MIN} to {STATUS_MAX}.")
    return int(status)


def _checked_class(kind: object) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return name_of_class(kind)
    if isinstance(kind, str):
        if "." not in kind.strip("."):
            raise ValueError(f'clients has {kind!r} as a key. Name the module too, as in "acme.errors.{kind}".')
        return kind
    raise TypeError(f'clients has {kind!r} as a key. Use exception classes, or names such as "acme.errors.GoneError".')


def _checked_answer(answer: object) -> Evidence:
    evidence = ANSWERS.get(answer) if isinstance(answer, str) else None
    if evidence is None:
        raise ValueError(f'{answer!r} is not an answer. Use "unknown" (in doubt) or "failed".')
    return evidence


def _answer_or_false(reads: Callable[[], bool]) -> bool:
    """Return what *reads* finds in a user's exception; False if reading it raises."""
    try:
        return reads()
    except KeyboardInterrupt:  # Ctrl-C, and not the exception's doing
        raise
    except BaseException:  # noqa: BLE001 - a property of the user's may raise anything, SystemExit too
        return False


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
