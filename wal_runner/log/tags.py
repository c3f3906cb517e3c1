"""Result tags: how Python values that msgpack lacks stand in a result.

Imported by `wal_runner.log.results`. Invariant: a tagged result comes back equal and of the same
type, or it is not stored; and bytes that no encoder of ours makes raise a typed error in bounded
memory, without importing or calling anything that they name.

A result with a tag anywhere is one ext of type `TAGGED`; its payload is the msgpack of the value, in
which the inner tags stand as ext types 1 to 14. So the first byte says whether a result has tags.
The payload of a container (set, frozenset, tuple, named value) is msgpack again.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import msgpack

from wal_runner.core.shown import a_or_an
from wal_runner.errors import LogTooNew
from wal_runner.log.format import RESULT_BYTES_FORMAT_MAX, RESULT_ELEMENTS_MAX
from wal_runner.log.msgpack_walk import ext_header, refuse_timestamps
from wal_runner.log.named_values import TYPE_NAME_CHARS_MAX, fields_of, rebuilt
from wal_runner.log.scalars import (
    pack_complex,
    pack_date,
    pack_datetime,
    pack_decimal,
    pack_integer,
    pack_path,
    pack_time,
    pack_timedelta,
    pack_uuid,
    unpack_complex,
    unpack_date,
    unpack_datetime,
    unpack_decimal,
    unpack_integer,
    unpack_path,
    unpack_time,
    unpack_timedelta,
    unpack_uuid,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DATETIME: Final = 1
DATE: Final = 2
TIME: Final = 3
TIMEDELTA: Final = 4
DECIMAL: Final = 5
UUID_TAG: Final = 6
SET: Final = 7
FROZENSET: Final = 8
TUPLE: Final = 9
PATH: Final = 10
INTEGER: Final = 11
COMPLEX: Final = 12
NAMED: Final = 13
FREE: Final = range(14, 15)
"""Numbers that a later version may use."""

TAGGED: Final = 15
"""The ext type of a whole result that holds tags; never inside one."""

NESTED: Final = frozenset((SET, FROZENSET, TUPLE, NAMED, TAGGED))
"""Tags whose payload is msgpack."""

TAG_DEPTH_MAX: Final = 64
"""Containers with a tag inside of each other. Each takes a call of the unpacker inside the other's."""

DEPTH_MAX: Final = 256
"""Containers inside of each other in a tagged result, lists and dicts too."""

NESTED_BYTES_MAX: Final = 4 * RESULT_BYTES_FORMAT_MAX
"""Sum of the payloads of all containers with a tag. An inner one is copied once for each around it, so 64
levels around 32 MiB would take 2 GiB."""

_UNPACKB_DEPTH_MAX: Final = 2
"""unpackb() takes 41 KB of the C stack a call; deeper levels use an Unpacker, which is on the heap. A thread
with a small stack would end the process by SIGSEGV."""

_Packer: Final = msgpack.Packer
_INTEGERS: Final = range(-(2**63), 2**64)
_PLAIN: Final = frozenset((NoneType, bool, float, str, bytes, bytearray, memoryview))
_PAIR: Final = 2

_SCALARS: Final[dict[type, tuple[int, Callable[[Any], bytes], Callable[[bytes], Any]]]] = {
    datetime: (DATETIME, pack_datetime, unpack_datetime),
    date: (DATE, pack_date, unpack_date),
    time: (TIME, pack_time, unpack_time),
    timedelta: (TIMEDELTA, pack_timedelta, unpack_timedelta),
    Decimal: (DECIMAL, pack_decimal, unpack_decimal),
    UUID: (UUID_TAG, pack_uuid, unpack_uuid),
    PurePath: (PATH, pack_path, unpack_path),
    complex: (COMPLEX, pack_complex, unpack_complex),
}
_EXACT: Final = {
    **{kind: found for kind, found in _SCALARS.items() if kind is not PurePath},
    type(Path()): _SCALARS[PurePath],
    PurePosixPath: _SCALARS[PurePath],
    PureWindowsPath: _SCALARS[PurePath],
}
_UNPACK: Final = {
    **{number: unpack for number, _, unpack in _SCALARS.values()},
    INTEGER: unpack_integer,
}
_CONTAINERS: Final[dict[int, Callable[[list[Any]], Any]]] = {SET: set, FROZENSET: frozenset, TUPLE: tuple}

_BASES: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda value: b"".join((value,))),
    # OrderedDict keeps an order of its own, which dict.copy() does not know.
    (dict, lambda value: dict(value.items())),
    (list, list.copy),
    (tuple, lambda value: tuple.__getitem__(value, slice(None))),
    (set, set.copy),
    (frozenset, frozenset),
)
"""Subclasses of plain types come back as the plain type; what makes it of one."""


class TooLarge(ValueError):
    """The value is over the limit of bytes."""


def encode_tagged(value: object, limit_bytes: int) -> bytes:
    """Pack *value* with tags; without any tag in it, as plain msgpack.

    Raise TypeError, ValueError, or whatever the value's own code raises, for a value that would not
    come back as it is.
    """
    encoder = _Encoder(limit_bytes)
    packed = _pack(encoder.converted(value, 0))
    return _pack(_ext(TAGGED, packed)) if encoder.tags else packed


def decode_tagged(packed: bytes, classes: Mapping[str, type]) -> Any:  # noqa: ANN401 - whatever fn returned
    """Unpack what `encode_tagged` packed with tags.

    Raise one of `wal_runner.log.codec.UNPACK_ERRORS`, struct.error or ArithmeticError for damage, and
    `LogTooNew` for a tag of a later version.
    """
    number, size, start = ext_header(packed)
    if len(packed) != start + size or number != TAGGED:
        raise ValueError("an ext type that is not a whole tagged result")
    refuse_timestamps(packed, NESTED)
    return _Decoder(classes).unpack(memoryview(packed)[start:])


def _pack(value: object) -> bytes:
    return _Packer(strict_types=True).pack(value)  # type: ignore[no-any-return]


def _ext(number: int, payload: bytes) -> Any:  # noqa: ANN401
    # As its constructor makes it, in a third of the time.
    return tuple.__new__(msgpack.ExtType, (number, payload))


class _Encoder:
    """Turns one value into what msgpack packs: plain values, and ExtTypes made here.

    In Python rather than by ``default=``: there, each container with a tag would put another 500
    levels of the packer on the C stack.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.tags = 0
        self._limit_bytes = limit_bytes
        self._elements_left = RESULT_ELEMENTS_MAX
        self._bytes_left = NESTED_BYTES_MAX
        self._tag_depth = 0

    def converted(self, value: Any, depth: int) -> Any:  # noqa: ANN401, PLR0911 - one case a kind
        """Return *value* with its tags made."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is int:
            return value if value in _INTEGERS else self._tag(INTEGER, pack_integer(value))
        if kind is list or kind is dict:
            self._enter(len(value), depth)
            if kind is list:
                return [self.converted(part, depth + 1) for part in value]
            return self._dict(value, depth)
        if kind is tuple or kind is set or kind is frozenset:
            return self._container(kind, value, depth)
        if kind in _EXACT:
            number, pack, _ = _EXACT[kind]
            return self._tag(number, pack(value))
        if kind is msgpack.ExtType:
            raise TypeError("ext types are not stored")  # it is a NamedTuple as well
        named = fields_of(value, self._limit_bytes)
        if named is not None:
            return self._named(*named, depth)
        return self._subclass(value, depth)

    def _dict(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        made = {self.converted(key, depth + 1): self.converted(part, depth + 1) for key, part in value.items()}
        if len(made) != len(value):
            raise ValueError("two keys of a dict would be the same when read")
        return made

    def _container(self, kind: type, value: Iterable[Any], depth: int) -> Any:  # noqa: ANN401
        self._tag_depth += 1
        parts = list(value)
        self._enter(len(parts), depth)
        converted = [self.converted(part, depth + 1) for part in parts]
        self._tag_depth -= 1
        if kind is tuple:
            return self._tag(TUPLE, self._nested(_pack(converted)))
        # Sorted: the order in a set changes from process to process.
        packed = sorted({_pack(part) for part in converted})
        if len(packed) != len(parts):
            raise ValueError("two members of a set would be the same when read")
        payload = cast("bytes", msgpack.Packer().pack_array_header(len(packed))) + b"".join(packed)
        return self._tag(SET if kind is set else FROZENSET, self._nested(payload))

    def _named(self, name: str, fields: dict[str, Any], depth: int) -> Any:  # noqa: ANN401
        self._tag_depth += 1
        self._enter(len(fields), depth)
        made = {field: self.converted(part, depth + 1) for field, part in fields.items()}
        self._tag_depth -= 1
        if not all(type(field) is str for field in made):
            raise TypeError("the names of its fields are not text")
        return self._tag(NAMED, self._nested(_pack([name, made])))

    def _subclass(self, value: Any, depth: int) -> Any:  # noqa: ANN401
        for base, plain in _BASES:
            if isinstance(value, base):
                return self.converted(plain(value), depth)
        for base, (number, pack, unpack) in _SCALARS.items():
            if isinstance(value, base):
                payload = pack(value)
                # A pandas.Timestamp is a datetime, and has nanoseconds. Not !=, which a class may not have defined.
                if not unpack(payload) == value:
                    raise TypeError(
                        f"{a_or_an(type(value).__name__[:80])} is more than the {base.__name__} that would be read"
                    )
                return self._tag(number, payload)
        raise TypeError(f"can not serialize '{type(value).__name__:.200}' object")

    def _enter(self, elements: int, depth: int) -> None:
        self._elements_left -= elements
        if self._elements_left < 0:
            raise ValueError(f"it holds more than {RESULT_ELEMENTS_MAX:,} values")
        if depth >= DEPTH_MAX or self._tag_depth >= TAG_DEPTH_MAX:
            raise ValueError("it is nested too deeply, or holds itself")

    def _nested(self, payload: bytes) -> bytes:
        self._bytes_left -= len(payload)
        if self._bytes_left < 0:
            raise ValueError("it is nested too deeply for its size")
        return payload

    def _tag(self, number: int, payload: bytes) -> Any:  # noqa: ANN401 - msgpack has no types
        if len(payload) > self._limit_bytes:
            raise TooLarge
        self.tags += 1
        return _ext(number, payload)


class _Decoder:
    """Unpacks one result; it is msgpack's ``ext_hook``."""

    def __init__(self, classes: Mapping[str, type]) -> None:
        self._classes = classes
        self._depth = 0
        self._bytes_left = NESTED_BYTES_MAX

    def unpack(self, payload: bytes | memoryview) -> Any:  # noqa: ANN401 - whatever fn returned
        """Unpack *payload*, and the tags in it."""
        if self._depth > TAG_DEPTH_MAX:
            raise ValueError(f"more than {TAG_DEPTH_MAX} tags inside of each other")
        self._bytes_left -= len(payload)
        if self._bytes_left < 0:
            raise ValueError("nested too deeply for its size")
        self._depth += 1
        if self._depth <= _UNPACKB_DEPTH_MAX:
            value = msgpack.unpackb(payload, strict_map_key=False, ext_hook=self._tag)
        else:
            size = len(payload)
            unpacker = msgpack.Unpacker(
                strict_map_key=False, ext_hook=self._tag, max_buffer_size=max(size, 1), read_size=1
            )
            unpacker.feed(payload)
            value = unpacker.unpack()
            if unpacker.tell() != size:
                raise ValueError("bytes behind the value")
        self._depth -= 1
        return value

    def _tag(self, number: int, payload: bytes) -> Any:  # noqa: ANN401
        unpack = _UNPACK.get(number)
        if unpack is not None:
            return unpack(payload)
        make = _CONTAINERS.get(number)
        if make is not None:
            parts = self.unpack(payload)
            if type(parts) is not list:
                raise ValueError("a container that is not an array")
            made = make(parts)
            if len(made) != len(parts):
                raise ValueError("a set with a member twice")
            return made
        if number == NAMED:
            return self._named(self.unpack(payload))
        if number in FREE:
            raise LogTooNew(
                f"A stored result has a tag of type {number}, which this version does not know: it was written by a "
                "newer version of wal_runner. Use that one."
            )
        raise ValueError(f"an ext type {number}, which is not a result tag")

    def _named(self, parts: Any) -> Any:  # noqa: ANN401
        if type(parts) is not list or len(parts) != _PAIR:
            raise ValueError("a named value that is not a name and its fields")
        name, fields = parts
        if type(name) is not str or len(name) > TYPE_NAME_CHARS_MAX:
            raise ValueError("a named value without a name")
        if type(fields) is not dict or not all(type(field) is str for field in fields):
            raise ValueError("a named value without fields")
        return rebuilt(name, fields, self._classes)
