"""What goes into an event from the user's side: results packed, exceptions as text, texts capped.

Imported by recovery, the runner and the command line. Invariant: nothing here raises for what a
user's object does; the effect has happened, and a value that cannot be stored must not look like a
failure.

A result that msgpack packs as it is, is plain msgpack, as in format 1. Any other has tags
(`wal_runner.log.tags`), or is omitted with the reason.
"""

from __future__ import annotations

import re
import struct
import traceback
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

import msgpack

from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.shown import a_or_an
from wal_runner.errors import RESTORE, LogCorrupt
from wal_runner.log.codec import UNPACK_ERRORS, unpack_bounded
from wal_runner.log.format import (
    ERROR_MESSAGE_CHARS_MAX,
    OMITTED_CHARS_MAX,
    RESULT_BYTES_FORMAT_MAX,
    RESULT_BYTES_MAX,
    RESULT_ELEMENTS_MAX,
    TRACEBACK_CHARS_MAX,
)
from wal_runner.log.msgpack_walk import EXT_MARKS, has_many_elements
from wal_runner.log.tags import NESTED, TooLarge, decode_tagged, encode_tagged


if TYPE_CHECKING:
    from collections.abc import Mapping

SURELY_READABLE: Final = {str, bytes, int, float, bool}
"""What msgpack packs of these it reads. It also packs what it does not read: ext types, and more levels of nesting
than the reader takes."""

SURELY_SHALLOW_BYTES: Final = 255
"""What is packed in so few bytes has fewer levels of nesting than the reader takes."""

_MAYBE_EXT: Final = re.compile(b"[" + re.escape(bytes(sorted(EXT_MARKS))) + b"]").search
"""A byte that may be the mark of an ext type: msgpack packs its own ones without being asked."""

_EXT_HEADS: Final = frozenset(bytes((mark,)) for mark in EXT_MARKS)

_SURELY_TAGGED: Final = frozenset((tuple, set, frozenset))

UNPACK_TAG_ERRORS: Final = (*UNPACK_ERRORS, struct.error, ArithmeticError)
"""Every way in which a result is not what was packed; Decimal's errors are ArithmeticErrors."""

NO_CLASSES: Final[Mapping[str, type]] = MappingProxyType({})


def encode_result(value: object, limit_bytes: int = RESULT_BYTES_MAX) -> tuple[bytes | None, str | None]:
    """Pack what fn returned: (packed, None), or (None, why it is omitted). None packs to None.

    A result that is not surely readable is decoded once, so that no reader meets one that it cannot read.
    """
    if value is None:
        return None, None
    kind = type(value)
    if kind in _SURELY_TAGGED:
        return _encode_tagged(value, limit_bytes)
    try:
        if kind in SURELY_READABLE:
            packed = cast("bytes", msgpack.Packer().pack(value))
        else:
            # Strict, or a tuple would become a list.
            packed = cast("bytes", msgpack.Packer(strict_types=True).pack(value))
            if len(packed) <= limit_bytes and (len(packed) > SURELY_SHALLOW_BYTES or _MAYBE_EXT(packed)):
                _check_elements(packed)
                _unpacked_plain(packed)
        if len(packed) > limit_bytes:
            return None, f"the result has {len(packed):,} bytes, over the limit of {limit_bytes:,}"
    except (TypeError, OverflowError):
        return _encode_tagged(value, limit_bytes)
    except Exception as error:  # noqa: BLE001 - a __len__ or __iter__ of the user's may raise anything
        return None, _why_not(value, error)
    return packed, None


def _encode_tagged(value: object, limit_bytes: int) -> tuple[bytes | None, str | None]:
    try:
        packed = encode_tagged(value, limit_bytes)
        if len(packed) > limit_bytes:
            return None, f"the result has {len(packed):,} bytes, over the limit of {limit_bytes:,}"
        _unpacked(packed, NO_CLASSES)
    except TooLarge:
        return None, f"the result is over the limit of {limit_bytes:,} bytes"
    except Exception as error:  # noqa: BLE001 - as above
        return None, _why_not(value, error)
    return packed, None


def encode_plain(value: object, limit_bytes: int = RESULT_BYTES_MAX) -> tuple[bytes | None, str | None]:
    """As `encode_result`, without tags: tuples become lists, and what msgpack does not know is omitted."""
    if value is None:
        return None, None
    try:
        packed = cast("bytes", msgpack.Packer().pack(value))
        if len(packed) > limit_bytes:
            return None, f"it has {len(packed):,} bytes, over the limit of {limit_bytes:,}"
        _unpacked_plain(packed)
    except Exception as error:  # noqa: BLE001 - a __len__ or __iter__ of the user's may raise anything
        return None, _why_not(value, error)
    return packed, None


def decode_result(packed: bytes | None, classes: Mapping[str, type] = NO_CLASSES) -> Any:  # noqa: ANN401
    """Unpack a stored result. *classes* are those that the caller named, as `classes_by_name` returns them.

    Raise `LogCorrupt` for bytes that `encode_result` never makes: they may be large in memory, or not
    be msgpack at all. Raise `LogTooNew` for a tag of a later version.
    """
    if packed is None:
        return None
    if len(packed) <= RESULT_BYTES_MAX:
        try:
            return unpack_bounded(packed, strict_map_key=False, max_ext_len=0, ext_hook=_refuse_ext)
        except UNPACK_ERRORS:
            pass  # a tagged result is refused at its first byte
    elif len(packed) > RESULT_BYTES_FORMAT_MAX:
        raise _unreadable(f"it has {len(packed):,} bytes, over the limit of {RESULT_BYTES_FORMAT_MAX:,}")
    if classes:
        # Hashing a value of the caller's class may raise anything.
        with suppress(Exception):
            return _unpacked(packed, classes)
    try:
        return _unpacked(packed, NO_CLASSES)
    except UNPACK_TAG_ERRORS as error:
        raise _unreadable(f"{type(error).__name__}: {printable(error, OMITTED_CHARS_MAX)}") from error


def decode_plain(packed: bytes) -> Any:  # noqa: ANN401 - whatever was packed
    """Unpack what `encode_plain` packed; tags are refused. Raise `LogCorrupt` as `decode_result` does."""
    if len(packed) > RESULT_BYTES_MAX:
        raise _unreadable(f"it has {len(packed):,} bytes, over the limit of {RESULT_BYTES_MAX:,}")
    try:
        return _unpacked_plain(packed)
    except UNPACK_ERRORS as error:
        raise _unreadable(f"{type(error).__name__}: {error}") from error


def _unpacked(packed: bytes, classes: Mapping[str, type]) -> Any:  # noqa: ANN401 - whatever fn returned
    _check_elements(packed)
    if packed[:1] in _EXT_HEADS:
        return decode_tagged(packed, classes)
    return _unpacked_plain(packed)


def _check_elements(packed: bytes) -> None:
    # A smaller one cannot hold more, for each value takes a byte.
    if len(packed) > RESULT_BYTES_MAX and has_many_elements(packed, NESTED, RESULT_ELEMENTS_MAX):
        raise ValueError(f"it holds more than {RESULT_ELEMENTS_MAX:,} values")


def _unpacked_plain(packed: bytes) -> Any:  # noqa: ANN401 - whatever fn returned
    return msgpack.unpackb(packed, strict_map_key=False, max_ext_len=0, ext_hook=_refuse_ext)


def _refuse_ext(number: int, _payload: bytes) -> None:
    # max_ext_len=0 lets those of no length pass.
    raise ValueError(f"an ext type {number} outside of a tagged result")


def _why_not(value: object, error: Exception) -> str:
    # Capped as a whole: the name of a class may be of any length, and the reason stands in the event.
    why = f"{a_or_an(class_name(value)[:200])} cannot be stored: {class_name(error):.200}: {printable(error, 200)}"
    return capped(why, OMITTED_CHARS_MAX)


def _unreadable(why: str) -> LogCorrupt:
    return LogCorrupt(f"A stored result cannot be as it was written ({why}). Run `walrun verify`. {RESTORE}")


def error_info(error: BaseException) -> ErrorInfo:
    """Return an exception as text, whatever its attributes do when they are read, cut to the limits."""
    try:
        lines = "".join(traceback.format_exception(error))
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # noqa: BLE001 - formatting calls the exception's own code
        lines = f"(the traceback cannot be shown: {class_name(broken)})"
    name, module = class_name(error, "__qualname__"), class_name(error, "__module__")
    return ErrorInfo(
        capped(name if module == "builtins" else f"{module}.{name}", ERROR_MESSAGE_CHARS_MAX),
        printable(error, ERROR_MESSAGE_CHARS_MAX),
        capped(lines, TRACEBACK_CHARS_MAX, keep_end=True),
    )


def class_name(value: object, attribute: str = "__name__") -> str:
    """Return the name of the class of *value*, or its qualified name or module, whatever a metaclass does."""
    name: object = type.__dict__[attribute].__get__(type(value))
    return name if isinstance(name, str) else "?"


def printable(value: object, limit_chars: int) -> str:
    """Return *value* as text that can be stored, whatever its ``__str__`` does."""
    try:
        # Joined: a subclass of str, whose methods may raise, becomes a plain one.
        text = "".join((str(value),))
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # noqa: BLE001 - __str__ may raise anything
        text = f"({a_or_an(class_name(value))} whose text cannot be had: {class_name(broken)})"
    return capped(text, limit_chars)


def capped(text: str, limit_chars: int, *, keep_end: bool = False) -> str:
    """Cut *text* to the limit, and make what UTF-8 cannot hold visible."""
    if len(text) > limit_chars:
        gone = len(text) - limit_chars
        mark = f"... ({gone:,} characters cut)"
        text = mark + text[-limit_chars:] if keep_end else text[:limit_chars] + mark
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
