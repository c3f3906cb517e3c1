"""Events and fields that have a place on disk and no meaning in this version.

Pure. Imported by the events, the fold and the audit. Invariant: they are decoded, checked and shown; the
fold refuses them as `LogTooNew`, so that no meaning is guessed before one is given to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias


if TYPE_CHECKING:
    from wal_runner.core.error_info import ErrorInfo


Effects: TypeAlias = tuple[tuple[str, int, bool, bytes | None, str | None], ...]
"""Effects inside an item: (name, seq of its start, done, result, why the result is omitted) each."""


class EffectStarted(NamedTuple):
    """An effect inside a started item began."""

    start_seq: int
    name: str


class EffectSucceeded(NamedTuple):
    """An effect inside a started item ended well."""

    effect_seq: int
    elapsed_ns: int
    result: bytes | None = None
    omitted: str | None = None


class EffectFailed(NamedTuple):
    """An effect failed, or never began (*error* None)."""

    effect_seq: int
    elapsed_ns: int
    error: ErrorInfo | None = None


class FunctionSeen(NamedTuple):
    """Items carry *number* for this function."""

    number: int
    name: str
    version: str


class ItemForgotten(NamedTuple):
    """All that names an item was erased; a keyed hash stays."""

    item_hash: bytes
    by: str
    note: str


PLACES: Final[frozenset[type]] = frozenset({EffectStarted, EffectSucceeded, EffectFailed, FunctionSeen, ItemForgotten})

PLACE_FIELDS: Final = frozenset({"effects", "digest", "function", "payload"})
"""Fields of `ItemStarted` and `ItemReopened`, of rows and of open attempts."""
