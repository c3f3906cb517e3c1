"""The payloads of the tags that hold no other value: dates, numbers, paths, UUIDs.

Imported by `wal_runner.log.tags`. Invariant: ``unpack_x(pack_x(value))`` equals *value* and is of its
type; a payload of a wrong length, or out of its bound, is a ValueError. Numbers are big-endian.
"""

from __future__ import annotations

import re
import struct
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final
from uuid import UUID

from wal_runner.core.shown import a_or_an


INTEGER_BYTES_MAX: Final = 1024
"""Fewer digits than the 4,300 that Python turns into text."""

_INTEGER_BYTES_MIN: Final = 9

DECIMAL_DIGITS_MAX: Final = 1_000
DECIMAL_EXPONENT_MAX: Final = 10_000
"""int() of a Decimal takes memory by its exponent: that of ``1E+999999999`` is a gigabyte."""

DECIMAL_BYTES_MAX: Final = DECIMAL_DIGITS_MAX + 16

PATH_BYTES_MAX: Final = 32 * 1024

ZONE_BYTES_MAX: Final = 255

_DATE: Final = struct.Struct(">HBB")
_DATETIME: Final = struct.Struct(">HBBBBBIB")
_TIME: Final = struct.Struct(">BBBIB")
_OFFSET: Final = struct.Struct(">q")
_TIMEDELTA: Final = struct.Struct(">iII")
_COMPLEX: Final = struct.Struct(">dd")

_NO_OFFSET: Final = -(2**63)
"""A time of day in a zone has no offset: that depends on the day."""

_MICROSECOND: Final = timedelta(microseconds=1)
_SECONDS_A_DAY: Final = 86_400
_MICROSECONDS: Final = 1_000_000
_DECIMAL: Final = re.compile(rb"-?(?:\d+(?:\.\d+)?(?:E[+-]\d{1,5})?|Infinity|s?NaN\d*)")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}")

_CONCRETE: Final = 0
_POSIX: Final = 1
_WINDOWS: Final = 2
_PATHS: Final[dict[int, type[PurePath]]] = {_CONCRETE: Path, _POSIX: PurePosixPath, _WINDOWS: PureWindowsPath}


def _fields(layout: struct.Struct, payload: bytes) -> tuple[Any, ...]:
    if len(payload) != layout.size:
        raise ValueError(f"a payload of {len(payload):,} bytes; {layout.size} are right")
    return layout.unpack(payload)


# --- Dates and times -----------------------------------------------------------------------


def pack_datetime(value: datetime) -> bytes:
    """Pack year, month, day, hour, minute, second, microsecond, fold; then the zone, if it has one."""
    body = _DATETIME.pack(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold
    )
    return body + _pack_zone(value.tzinfo, value.utcoffset())


def unpack_datetime(payload: bytes) -> datetime:
    """Read what `pack_datetime` packed."""
    year, month, day, *clock, fold = _fields(_DATETIME, payload[: _DATETIME.size])
    zone = _unpack_zone(payload[_DATETIME.size :])
    return datetime.combine(date(year, month, day), _time(clock, fold), zone)


def pack_date(value: date) -> bytes:
    """Pack year, month and day."""
    return _DATE.pack(value.year, value.month, value.day)


def unpack_date(payload: bytes) -> date:
    """Read what `pack_date` packed."""
    return date(*_fields(_DATE, payload))


def pack_time(value: time) -> bytes:
    """Pack hour, minute, second, microsecond, fold; then the zone, if it has one."""
    body = _TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)
    return body + _pack_zone(value.tzinfo, value.utcoffset())


def unpack_time(payload: bytes) -> time:
    """Read what `pack_time` packed."""
    *clock, fold = _fields(_TIME, payload[: _TIME.size])
    return _time(clock, fold).replace(tzinfo=_unpack_zone(payload[_TIME.size :]))


def _time(clock: list[int], fold: int) -> time:
    hour, minute, second, microsecond = clock
    return time(hour, minute, second, microsecond, fold=fold)


def pack_timedelta(value: timedelta) -> bytes:
    """Pack days, seconds and microseconds, as Python keeps them."""
    return _TIMEDELTA.pack(value.days, value.seconds, value.microseconds)


def unpack_timedelta(payload: bytes) -> timedelta:
    """Read what `pack_timedelta` packed."""
    days, seconds, microseconds = _fields(_TIMEDELTA, payload)
    if seconds >= _SECONDS_A_DAY or microseconds >= _MICROSECONDS:
        raise ValueError("a duration with seconds or microseconds out of range")
    return timedelta(days, seconds, microseconds)


def _pack_zone(zone: tzinfo | None, offset: timedelta | None) -> bytes:
    """Pack the offset in microseconds, then the key of a ZoneInfo; nothing if there is no zone."""
    if zone is None:
        return b""
    key = zone.key if isinstance(zone, zoneinfo.ZoneInfo) else None
    named = b"" if key is None or len(key) > ZONE_BYTES_MAX or not _ZONE.fullmatch(key) else key.encode("ascii")
    if offset is None and not named:
        raise TypeError(f"the offset of its time zone, {a_or_an(type(zone).__name__[:80])}, is not known")
    return _OFFSET.pack(_NO_OFFSET if offset is None else offset // _MICROSECOND) + named


def _unpack_zone(payload: bytes) -> tzinfo | None:
    """Return the zone; for one that this machine does not know, its offset at that moment."""
    if not payload:
        return None
    (offset,) = _fields(_OFFSET, payload[: _OFFSET.size])
    key = payload[_OFFSET.size :].decode("ascii")
    if len(key) > ZONE_BYTES_MAX or (key and not _ZONE.fullmatch(key)) or (not key and offset == _NO_OFFSET):
        raise ValueError("a time zone that is neither an offset nor a key")
    fixed = None if offset == _NO_OFFSET else _fixed(offset)
    return (_zone_of(key) if key else None) or fixed


def _fixed(offset: int) -> timezone:
    return timezone(timedelta(microseconds=offset)) if offset else UTC


@lru_cache(maxsize=1024)
def _zone_of(key: str) -> tzinfo | None:
    # ZoneInfo() imports a module that it names after the key, unless it finds a file of the system's. So the key
    # must be one of the known zones before it is given.
    try:
        if any((Path(folder) / key).is_file() for folder in zoneinfo.TZPATH) or key in zoneinfo.available_timezones():
            return zoneinfo.ZoneInfo(key)
    except (OSError, ValueError, LookupError, ImportError):
        return None
    return None


# --- Numbers ---------------------------------------------------------------------------------


def pack_integer(value: int) -> bytes:
    """Pack an int beyond 64 bits as two's complement, in as few bytes as it takes."""
    size = value.bit_length() // 8 + 1
    if size > INTEGER_BYTES_MAX:
        raise ValueError(f"an int of {value.bit_length():,} bits is over the limit of {INTEGER_BYTES_MAX * 8 - 1:,}")
    return value.to_bytes(size, "big", signed=True)


def unpack_integer(payload: bytes) -> int:
    """Read what `pack_integer` packed."""
    if not _INTEGER_BYTES_MIN <= len(payload) <= INTEGER_BYTES_MAX:
        raise ValueError(f"an int of {len(payload):,} bytes; {_INTEGER_BYTES_MIN} to {INTEGER_BYTES_MAX:,} are right")
    return int.from_bytes(payload, "big", signed=True)


def pack_decimal(value: Decimal) -> bytes:
    """Pack a Decimal as its text, which says its digits and its exponent exactly."""
    _, digits, exponent = value.as_tuple()
    _check_decimal(len(digits), exponent)
    # A context may ask for a small "e".
    return (str(value).replace("e", "E") if value.is_finite() else str(value)).encode("ascii")


def unpack_decimal(payload: bytes) -> Decimal:
    """Read what `pack_decimal` packed."""
    if len(payload) > DECIMAL_BYTES_MAX or not _DECIMAL.fullmatch(payload):
        raise ValueError("a Decimal that is not the text of one")
    value = Decimal(payload.decode("ascii"))
    _, digits, exponent = value.as_tuple()
    _check_decimal(len(digits), exponent)
    return value


def _check_decimal(digits: int, exponent: int | str) -> None:
    if digits > DECIMAL_DIGITS_MAX:
        raise ValueError(f"a Decimal of {digits:,} digits is over the limit of {DECIMAL_DIGITS_MAX:,}")
    if isinstance(exponent, int) and abs(exponent) > DECIMAL_EXPONENT_MAX:
        raise ValueError(f"a Decimal with the exponent {exponent:,} is over the limit of {DECIMAL_EXPONENT_MAX:,}")


def pack_complex(value: complex) -> bytes:
    """Pack the real and the imaginary part."""
    return _COMPLEX.pack(value.real, value.imag)


def unpack_complex(payload: bytes) -> complex:
    """Read what `pack_complex` packed."""
    return complex(*_fields(_COMPLEX, payload))


# --- The rest --------------------------------------------------------------------------------


def pack_uuid(value: UUID) -> bytes:
    """Pack the 16 bytes of a UUID."""
    return value.bytes


def unpack_uuid(payload: bytes) -> UUID:
    """Read what `pack_uuid` packed."""
    return UUID(bytes=payload)


def pack_path(value: PurePath) -> bytes:
    """Pack the kind of path, and its text as the file system has it."""
    kind = _CONCRETE if isinstance(value, Path) else _WINDOWS if isinstance(value, PureWindowsPath) else _POSIX
    text = str(value).encode("utf-8", "surrogateescape")
    if len(text) > PATH_BYTES_MAX:
        raise ValueError(f"a path of {len(text):,} bytes is over the limit of {PATH_BYTES_MAX:,}")
    return bytes((kind,)) + text


def unpack_path(payload: bytes) -> PurePath:
    """Read what `pack_path` packed."""
    kind = _PATHS.get(payload[0]) if 1 <= len(payload) <= PATH_BYTES_MAX + 1 else None
    if kind is None:
        raise ValueError("a path that is not a kind and a text")
    return kind(payload[1:].decode("utf-8", "surrogateescape"))
