"""Walk from an error to what lies behind it: causes, contexts, members of groups, errors kept as arguments.

Anything may import this module. Invariant: each error is met once, and the walk ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from wal_runner.core.earlier_requests import errors_of_earlier_tries
from wal_runner.core.error_evidence import is_translation


if TYPE_CHECKING:
    from collections.abc import Iterator

# Enough for any wrapping that people write, and for a TaskGroup of some hundred members. A chain
# that is longer was not read to its end, so nobody knows.
LINKS_READ_MAX: Final = 1_000

KEPT_AT: Final = ("inner_exception", "orig")
"""Attributes in which clients keep the error that they translate.

azure-core raises its errors after the except clause, so they have no context; those of SQLAlchemy survive pickling.
"""


class Link(NamedTuple):
    """One error of a chain.

    *parent* is the number of the error before it in the chain, -1 for the first one.

    *is_named* says that the error before it names it, as its cause or an argument: both tell of the same event. An
    error that was only being handled meanwhile (its context) tells of an earlier one, unless the client that caught it
    raised its own in the same call, without ``from``. *is_same_request* says that both tell of the same request: also
    true for an earlier try of a client that retries by itself.

    *story* is a number of its own for each member of a group, with what lies behind it: one of them says nothing of
    the others.
    """

    error: BaseException
    parent: int = -1
    is_named: bool = False
    is_same_request: bool = False
    story: int = 0


def links(error: BaseException) -> Iterator[Link]:
    """Yield *error* and what lies behind it, nearest first, each once, at most LINKS_READ_MAX."""
    waiting = [Link(error)]
    seen: set[int] = set()
    stories = 0
    while waiting and len(seen) < LINKS_READ_MAX:
        link = waiting.pop()
        if id(link.error) in seen:
            continue
        behind = [one._replace(parent=len(seen), story=link.story) for one in _behind(link.error)]
        seen.add(id(link.error))
        yield link
        for member in _members(link.error):
            stories += 1
            behind.append(Link(member, parent=len(seen) - 1, is_named=True, is_same_request=True, story=stories))
        waiting.extend(reversed(behind))


def _behind(error: BaseException) -> list[Link]:
    behind = []
    if error.__cause__ is not None:
        behind.append(_named(error.__cause__))
    elif error.__context__ is not None and not error.__suppress_context__:
        context = error.__context__
        is_same_event = any(argument is context for argument in error.args) or is_translation(error, context)
        behind.append(_named(context) if is_same_event else Link(context))
    # URLError and requests keep the real error as an argument as well, and there it survives
    # pickling, which drops causes.
    behind.extend(_named(argument) for argument in error.args if isinstance(argument, BaseException))
    attributes = getattr(error, "__dict__", {})
    behind.extend(_named(kept) for name in KEPT_AT if isinstance(kept := attributes.get(name), BaseException))
    behind.extend(Link(earlier, is_same_request=True) for earlier in errors_of_earlier_tries(error))
    return behind


def _named(error: BaseException) -> Link:
    return Link(error, is_named=True, is_same_request=True)


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()
