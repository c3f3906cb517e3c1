"""Where the items of simulated runs come from, and the rules by which these name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAGE_SIZE: Final = 2


def by_name(item: str) -> str:
    """Name items as they are, by another rule: the ids are the same, and the log cannot know."""
    return item


def key_of(rule: str | None) -> Callable[[str], str] | None:
    """Give the ``key=`` of a run on a log that goes by *rule*."""
    return by_name if rule is not None and rule.startswith("function") else None


def fetching(items: Sequence[str]) -> Callable[[Any, int], tuple[Sequence[str], Any]]:
    """Return a function that fetches *items* page by page; a cursor is the number of items before it."""

    def fetch(cursor: Any, size: int) -> tuple[Sequence[str], Any]:  # noqa: ANN401 - what we returned
        at = int(cursor or 0)
        return items[at : at + size], at + size if at + size < len(items) else None

    return fetch
