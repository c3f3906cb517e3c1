"""What goes into an event from the user's side: results packed, exceptions as text, texts capped.

Imported by recovery, the runner and the command line. Invariant: nothing here raises for what a
user's object does; the effect has happened, and a value that cannot be stored must not look like a
failure.
"""

from __future__ import annotations

import traceback
from typing import Any, Final, cast

import msgpack

from wal_runner.core.events import ErrorInfo
from wal_runner.errors import LogCorrupt
from wal_runner.log.codec import UNPACK_ERRORS, unpack_bounded
from wal_runner.log.format import ERROR_MESSAGE_CHARS_MAX, RESULT_BYTES_MAX, TRACEBACK_CHARS_MAX


SURELY_READABLE: Final = {str, bytes, int, float, bool}
"""What msgpack packs of these it reads. It also packs what it does not read: maps whose keys are lists,
ext types, and more than 500 levels of nesting."""


def encode_result(value: object, limit_bytes: int = RESULT_BYTES_MAX) -> tuple[bytes | None, str | None]:
    """Pack what fn returned: (packed, None), or (None, why it is omitted). None packs to None.

    What is not surely readable is decoded once, so nobody finds a result in the log that cannot be read.
    """
    if value is None:
        return None, None
    try:
        packed = cast("bytes", msgpack.Packer().pack(value))
        if len(packed) > limit_bytes:
            return None, f"the result has {len(packed):,} bytes, over the limit of {limit_bytes:,}"
        if type(value) not in SURELY_READABLE:
            _unpacked(packed)
    except Exception as error:  # noqa: BLE001 - a __len__ or __iter__ of the user's may raise anything
        return None, f"a {type(value).__name__} cannot be stored: {type(error).__name__}: {printable(error, 200)}"
    return packed, None


def decode_result(packed: bytes | None) -> Any:  # noqa: ANN401 - whatever fn returned
    """Unpack a stored result. Tuples come back as lists; ext types are refused.

    Raise `LogCorrupt` for what `encode_result` gives for nothing: it may be large in memory, or no
    msgpack at all.
    """
    if packed is None:
        return None
    if len(packed) > RESULT_BYTES_MAX:
        raise _unreadable(f"it has {len(packed):,} bytes, over the limit of {RESULT_BYTES_MAX:,}")
    try:
        return _unpacked(packed)
    except UNPACK_ERRORS as error:
        raise _unreadable(f"{type(error).__name__}: {error}") from error


def _unpacked(packed: bytes) -> Any:  # noqa: ANN401 - whatever fn returned
    return unpack_bounded(packed, strict_map_key=False, max_ext_len=0)


def _unreadable(why: str) -> LogCorrupt:
    return LogCorrupt(
        f"A stored result cannot be as it was written ({why}). Run `walrun verify`; restore the log from a backup."
    )


def error_info(error: BaseException) -> ErrorInfo:
    """Describe an exception as text, whatever its ``__str__`` does, cut to the limits."""
    try:
        lines = "".join(traceback.format_exception(error))
    except Exception as broken:  # noqa: BLE001 - formatting calls the exception's own code
        lines = f"(the traceback cannot be shown: {type(broken).__name__})"
    name = type(error).__qualname__
    module = type(error).__module__
    return ErrorInfo(
        capped(name if module == "builtins" else f"{module}.{name}", ERROR_MESSAGE_CHARS_MAX),
        printable(error, ERROR_MESSAGE_CHARS_MAX),
        capped(lines, TRACEBACK_CHARS_MAX, keep_end=True),
    )


def printable(value: object, limit_chars: int) -> str:
    """Write *value* as text that can be stored, whatever its ``__str__`` does."""
    try:
        text = str(value)
    except Exception as broken:  # noqa: BLE001 - __str__ may raise anything
        text = f"(a {type(value).__name__} whose text cannot be had: {type(broken).__name__})"
    return capped(text, limit_chars)


def capped(text: str, limit_chars: int, *, keep_end: bool = False) -> str:
    """Cut *text* to the limit, and make what UTF-8 cannot hold visible."""
    if len(text) > limit_chars:
        gone = len(text) - limit_chars
        mark = f"... ({gone:,} characters cut)"
        text = mark + text[-limit_chars:] if keep_end else text[:limit_chars] + mark
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
