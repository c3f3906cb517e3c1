"""Walk from an error to what lies behind it: causes, contexts, members of groups, errors kept as arguments.

Anything may import this module. Invariant: each error is met once, and the walk ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple


if TYPE_CHECKING:
    from collections.abc import Iterator

# Enough for any wrapping that people write, and for a TaskGroup of some hundred members. A chain
# that is longer was not read to its end, so nobody knows.
LINKS_READ_MAX: Final = 1_000


class Link(NamedTuple):
    """One error of a chain.

    *is_named* says that the error before it names it, as its cause or an argument: both tell of the same event. An
    error that was only being handled meanwhile (its context) tells of an earlier one, unless the client that caught it
    raised its own in the same call, without ``from``.
    """

    error: BaseException
    is_named: bool


def links(error: BaseException) -> Iterator[Link]:
    """Yield *error* and what lies behind it, nearest first, each once, at most LINKS_READ_MAX."""
    waiting = [Link(error, is_named=False)]
    seen: set[int] = set()
    while waiting and len(seen) < LINKS_READ_MAX:
        link = waiting.pop()
        if id(link.error) in seen:
            continue
        seen.add(id(link.error))
        yield link
        waiting.extend(reversed(_behind(link.error)))


def _behind(error: BaseException) -> list[Link]:
    behind = []
    if error.__cause__ is not None:
        behind.append(Link(error.__cause__, is_named=True))
    elif error.__context__ is not None and not error.__suppress_context__:
        is_same_event = _is_argument(error.__context__, error) or _is_translation(error.__context__, error)
        behind.append(Link(error.__context__, is_named=is_same_event))
    if isinstance(error, BaseExceptionGroup):
        behind.extend(Link(member, is_named=True) for member in error.exceptions)
    # URLError and requests keep the real error as an argument as well, and there it survives
    # pickling, which drops causes.
    behind.extend(Link(argument, is_named=True) for argument in error.args if isinstance(argument, BaseException))
    return behind


def _is_argument(context: BaseException, error: BaseException) -> bool:
    return any(argument is context for argument in error.args)


def _is_translation(context: BaseException, error: BaseException) -> bool:
    """Return whether the package that defines *error* caught *context*, and raised *error* in the same call."""
    trace = error.__traceback__
    if trace is None or context.__traceback__ is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    raised_in, caught_in = trace.tb_frame, context.__traceback__.tb_frame
    package = type(error).__module__.partition(".")[0]
    return raised_in is caught_in and str(raised_in.f_globals.get("__name__")).partition(".")[0] == package
