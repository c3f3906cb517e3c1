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

    *is_named* says that the error before it, *over*, names it, as its cause or an argument: both tell of the same
    event. An error that was only being handled meanwhile (its context) tells of an earlier one. *over* is None for the
    first.
    """

    error: BaseException
    is_named: bool
    over: BaseException | None = None


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
        behind.append(Link(error.__cause__, is_named=True, over=error))
    elif error.__context__ is not None and not error.__suppress_context__:
        behind.append(Link(error.__context__, is_named=_is_argument(error.__context__, error), over=error))
    if isinstance(error, BaseExceptionGroup):
        behind.extend(Link(member, is_named=True, over=error) for member in error.exceptions)
    # URLError and requests keep the real error as an argument as well, SQLAlchemy as `orig`, and there it survives
    # pickling, which drops causes.
    kept = (*error.args, vars(error).get("orig"))
    behind.extend(Link(one, is_named=True, over=error) for one in kept if isinstance(one, BaseException))
    return behind


def _is_argument(context: BaseException, error: BaseException) -> bool:
    return any(argument is context for argument in error.args)
