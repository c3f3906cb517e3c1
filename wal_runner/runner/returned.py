"""What fn is and what it returned: "returned" is not "done" if the work is still to be run.

Imported by the execution. Invariant: a function whose call runs nothing is refused before any start; a value
that stands for work to come is never taken for a success.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncGenerator, Generator
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

from wal_runner.core.shown import a_or_an


if TYPE_CHECKING:
    from collections.abc import Iterator

FINISHED_TYPES: Final = frozenset({type(None), str, bytes, int, float, bool, dict, list, tuple, set})
"""Types of results that are certainly values: all others are looked at."""

_LAZY_TYPES: Final = (Generator, AsyncGenerator, map, filter, zip, enumerate)

_FUTURE_CLASSES: Final = (("concurrent.futures", "Future"), ("multiprocessing.pool", "ApplyResult"))
"""Futures without ``__await__``, by module. A module that nobody has imported has made none."""

_FUTURE_METHODS: Final = ("result", "done", "cancel")
"""What the futures of other libraries (dask, distributed services) have in common."""

_INSIDE_MAX: Final = 1_000
"""Maximum number of members of a container that are looked at."""

_UNWRAPS_MAX: Final = 50
"""Maximum number of decorators that are looked behind; a cycle of wrappers ends there."""


def is_lazy_function(fn: object) -> bool:
    """Return whether calling *fn* runs nothing: it, what it wraps, or its ``__call__`` is a generator function."""
    call = getattr(type(fn), "__call__", None)  # noqa: B004 - what it is made of, not whether there is one
    return any(map(_is_generator_function, (*_layers(fn), *_layers(call))))


def unfinished(value: object) -> str | None:
    """Return what *value* is, if it stands for work that has not ended; None if it is a result.

    Cursors, files and readers are results: what they read has been asked for already.
    """
    # The type, not isinstance(): the `__class__` of a user's object may raise.
    kind = type(value)
    if issubclass(kind, _LAZY_TYPES) or kind.__module__ == "itertools":
        return f"{kind.__name__}, which runs when somebody iterates over it"
    if hasattr(kind, "__await__"):
        return f"{kind.__name__}, which nobody awaits"
    if _is_future(kind):
        return f"{kind.__name__}, whose work may still be running"
    return None


def unfinished_inside(value: object) -> str | None:
    """As `unfinished`, for the members of a list, tuple, set or dict; for results that could not be stored."""
    members: Any = ()
    if isinstance(value, list | tuple | set | frozenset):
        members = value
    elif isinstance(value, dict):
        members = value.values()
    for _, member in zip(range(_INSIDE_MAX), members, strict=False):
        if type(member) not in FINISHED_TYPES and (found := unfinished(member)) is not None:
            return f"{type(value).__name__} with {a_or_an(found)}"
    return None


def is_unstarted_coroutine(value: object) -> bool:
    """Return whether *value* is a coroutine of which nothing has run."""
    return inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == inspect.CORO_CREATED


def _is_generator_function(fn: object) -> bool:
    return inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)


def _layers(fn: object) -> Iterator[object]:
    """Yield *fn* and what it wraps, from the outside in."""
    for _ in range(_UNWRAPS_MAX):
        if fn is None:
            return
        yield fn
        if isinstance(fn, partial):
            fn = fn.func
        elif isinstance(fn, MethodType):
            fn = fn.__func__
        else:
            # Not by getattr: a proxy answers to every name.
            attributes = getattr(fn, "__dict__", None)
            fn = attributes.get("__wrapped__") if isinstance(attributes, dict) else None


def _is_future(kind: type) -> bool:
    for module, name in _FUTURE_CLASSES:
        loaded = sys.modules.get(module)
        if loaded is not None and issubclass(kind, getattr(loaded, name)):
            return True
    return all(callable(getattr(kind, name, None)) for name in _FUTURE_METHODS)
