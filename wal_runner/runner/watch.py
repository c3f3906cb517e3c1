"""Notice a source that changes an item after it has yielded it: a buffer that is refilled, an element that is cleared.

Imported by the feed. Invariant: an item is named when it is pulled, and watched from then until its fn has received
it. An object whose id has changed since is never run under the old one.
"""

from __future__ import annotations

from operator import is_
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from wal_runner.core.shown import a_or_an
from wal_runner.errors import ItemChanged


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from wal_runner.core.identity import KeyRule
    from wal_runner.runner.attempt import Attempt

IMMUTABLE_TYPES: Final = frozenset({str, int, bytes, float, bool, tuple, frozenset, UUID, type(None)})

RECENT_MAX: Final = 32
"""Number of items that are kept alive to notice one that comes again; a chunk that is pulled at once is compared whole.
A ring of more buffers than this is not noticed by small pulls. A larger number would hold more of the user's memory."""

FRESH_OBJECTS: Final = RECENT_MAX
"""A source counts as fresh after this many objects in a row none of which came again."""

_NEVER: Final = -1 << 62
"""Replaces the number of fresh objects once the source has reused or changed one."""

_ADVICE: Final = "Yield copies, or use max_in_doubt=1. What has not run is pending: run the same again after that."


def _nothing() -> None:
    """Do nothing; the default of `ItemWatch.on_change`."""


class ItemWatch:
    """The mutable items that were pulled last, by identity, each with the id under which it was pulled.

    *waiting* returns the items that were pulled and not started, with their ids. It is called while another thread
    moves items on, and must not miss one that is being moved.
    """

    def __init__(self, rule: KeyRule, waiting: Callable[[], Iterable[tuple[Any, str]]]) -> None:
        self._id_of = rule.id_of
        self._waiting = waiting
        self.in_flight: Callable[[], Iterable[Attempt]] = tuple
        """Returns the attempts that were started and have no outcome."""
        self.has_begun: Callable[[Attempt], bool] = bool
        self.on_change: Callable[[], None] = _nothing
        """Called when the source was found to change items."""
        # The items themselves, too: an id() is an object's own only as long as the object lives.
        self._recent: dict[int, tuple[Any, str]] = {}
        self.last: tuple[Any, str] | None = None
        """The mutable item that was pulled last, with its id."""
        self._pictures: dict[int, Any] = {}
        """What the recent items held when they were pulled, for threads that must not call the key."""
        self._thread = 0
        """The thread that reads the source and calls the key."""
        self._fresh = 0
        self.is_guarding = False
        """Whether to compare an item with its id again just before fn gets it: the source may be refilling it.

        From the first mutable item on, until the source has yielded more fresh objects than the watch compares.
        """

    @property
    def is_fresh(self) -> bool:
        """Return whether the source yielded enough objects in a row, none of which came again or was changed."""
        return self._fresh >= FRESH_OBJECTS

    def note(self, items: Sequence[Any], ids: Sequence[str]) -> None:
        """Note items that were just pulled. Raise `ItemChanged` if one is also, under another id, not done yet."""
        if not items or IMMUTABLE_TYPES.issuperset(map(type, items)):
            return
        self._thread = get_ident()
        keys = list(map(id, items))
        distinct = set(keys)
        if len(distinct) == len(keys) and self._recent.keys().isdisjoint(distinct):
            self._fresh += len(keys)
        else:
            self._compare(keys, items, ids)
        recent = self._recent
        for key, item, item_id in zip(keys[-RECENT_MAX:], items[-RECENT_MAX:], ids[-RECENT_MAX:], strict=True):
            recent.pop(key, None)
            recent[key] = (item, item_id)
            self._pictures[key] = _picture(item)
        while len(recent) > RECENT_MAX:
            oldest = next(iter(recent))
            del recent[oldest], self._pictures[oldest]
        self.last = (items[-1], ids[-1])
        self.is_guarding = self._fresh <= RECENT_MAX

    def _compare(self, keys: Sequence[int], items: Sequence[Any], ids: Sequence[str]) -> None:
        seen = dict(self._recent)
        for key, item, item_id in zip(keys, items, ids, strict=True):
            if type(item) in IMMUTABLE_TYPES:
                continue
            _, before = seen.get(key, (None, None))
            seen[key] = (item, item_id)
            if before is None:
                continue
            self._fresh = _NEVER
            if before != item_id and any(item is other and before == name for other, name in self._unfinished()):
                raise ItemChanged(
                    f"The source yielded one {type(item).__name__} object again, refilled: it was {before[:80]!r}, "
                    f"which is not done, and is {item_id[:80]!r} now. {_ADVICE}"
                )

    def check(self, *pulled: tuple[Any, str] | None) -> None:
        """Raise `ItemChanged` if the source has changed one of *pulled*, items with their ids, before it began."""
        for pair in pulled:
            if pair is None or self.is_as_named(*pair):
                continue
            self._fresh = _NEVER
            self.is_guarding = True
            item, item_id = pair
            # One that has begun may have been changed by fn.
            begun = any(attempt.item is item and self.has_begun(attempt) for attempt in self.in_flight())
            if not begun and any(item is other and item_id == name for other, name in self._unfinished()):
                raise changed(item, item_id)

    def is_as_named(self, item: object, item_id: str) -> bool:
        """Return whether *item* still has the id under which it was pulled: fn must get what the id names.

        The key is called on the thread that reads the source. On another one a dict, list or bytearray is compared with
        what it held when it was pulled, and only if that differs the key decides. Of anything else nothing is known
        there: the answer is yes.
        """
        if type(item) in IMMUTABLE_TYPES:
            return True
        if get_ident() != self._thread:
            picture = self._pictures.get(id(item))
            if picture is None or _is_like(picture, item):
                return True
        try:
            return bool(self._id_of(item) == item_id)
        except Exception:  # noqa: BLE001 - a key function of the user's, on an item that may be emptied
            return False

    def _unfinished(self) -> Iterator[tuple[Any, str]]:
        # In this order: an item moves from the first to the second, and is added there before it is removed here.
        yield from self._waiting()
        for attempt in self.in_flight():
            yield attempt.item, attempt.item_id


def changed(item: object, item_id: str) -> ItemChanged:
    """Return the error for an item that was changed after it was pulled as *item_id*, and before it ran."""
    return ItemChanged(
        f"The source changed an item after it had yielded it: {a_or_an(type(item).__name__)} that was named "
        f"{item_id[:80]!r} has not run, and is named otherwise now. {_ADVICE}"
    )


def _picture(item: object) -> tuple[Any, ...] | bytes | None:
    """Return what *item* holds, to be compared by `_is_like`; None if that would call code of the user's."""
    kind = type(item)
    if kind is dict:
        return (*item, *item.values())  # type: ignore[misc,attr-defined]
    if kind is list:
        return tuple(item)  # type: ignore[arg-type]
    return bytes(item) if kind is bytearray else None  # type: ignore[call-overload]


def _is_like(picture: tuple[Any, ...] | bytes, item: object) -> bool:
    try:
        now = _picture(item)
    except RuntimeError:  # another thread is changing it
        return False
    if isinstance(picture, bytes) or now is None or isinstance(now, bytes):
        return picture == now
    # By identity: comparing the user's values would call their code.
    return len(picture) == len(now) and all(map(is_, picture, now))
