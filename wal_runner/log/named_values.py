"""Values of classes: what is stored of them, and how they come back.

Imported by `wal_runner.log.tags`. Invariant: a class is called only if the caller named that class;
the name in the log selects from the caller's classes and is never imported. Third-party packages are
recognised by what `sys.modules` holds, so nothing is imported for them.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, Flag
from typing import TYPE_CHECKING, Any, Final


if TYPE_CHECKING:
    from collections.abc import Mapping

TYPE_NAME_CHARS_MAX: Final = 1_000

_DTYPE: Final = re.compile(r"[<>|=]?[?biufcmMSU]\d*(\[\w{1,16}\])?")
"""Types whose elements are their bytes. Python objects and structures are not among them."""

_PLAIN_KINDS: Final = frozenset("biufcSU")


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value whose class was not given in ``result_types``: the name of its class, and its fields.

    *type* is ``module.qualified_name``. *fields* maps the names of a dataclass, a NamedTuple or a
    pydantic model to their values; an Enum has ``name`` and ``value``, a numpy array ``dtype``,
    ``shape`` and ``data``, a numpy scalar ``dtype`` and ``value`` (or ``data``, its bytes).
    """

    type: str
    fields: dict[str, Any]

    def __hash__(self) -> int:
        # Needed where the value was a key or a member of a set. Fields that cannot be hashed are left out.
        return hash((self.type, *(_hash(item) for item in sorted(self.fields.items(), key=_first))))


def _first(item: tuple[str, Any]) -> str:
    return item[0]


def _hash(value: object) -> int:
    try:
        return hash(value)
    except TypeError:
        return 0


def type_name(cls: type) -> str:
    """Return the name under which values of *cls* are stored."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    if len(name) > TYPE_NAME_CHARS_MAX:
        raise ValueError(
            f"the name of its class has {len(name):,} characters, over the limit of {TYPE_NAME_CHARS_MAX:,}"
        )
    return name


def classes_by_name(classes: Iterable[type]) -> dict[str, type]:
    """Return the classes of a ``result_types=``, by the names under which their values are stored.

    Raise TypeError for what is not a class whose values are stored by name, ValueError for two
    classes of one name.
    """
    if isinstance(classes, (str, type)) or not isinstance(classes, Iterable):
        raise TypeError(f"result_types={classes!r:.80} is not a sequence of classes. Write [YourClass].")
    found: dict[str, type] = {}
    for cls in classes:
        if not isinstance(cls, type) or not _is_named(cls):
            raise TypeError(
                f"result_types holds {cls!r:.80}, whose values are not stored by name. Give Enum classes, dataclasses, "
                "NamedTuples, pydantic models, or numpy's scalar types and ndarray."
            )
        if found.setdefault(type_name(cls), cls) is not cls:
            raise ValueError(f"result_types holds two classes of the name {type_name(cls)}. Give one of them.")
    return found


def _is_named(cls: type) -> bool:
    return (
        issubclass(cls, Enum)
        or dataclasses.is_dataclass(cls)
        or _is_named_tuple(cls)
        or _is_model(cls)
        or _numpy_kind(cls) is not None
    )


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def _is_model(cls: type) -> bool:
    return hasattr(cls, "model_fields") and hasattr(cls, "model_dump") and hasattr(cls, "model_validate")


def _numpy_kind(cls: type) -> str | None:
    numpy = sys.modules.get("numpy")
    for name in ("generic", "ndarray"):
        base = getattr(numpy, name, None)
        if isinstance(base, type) and issubclass(cls, base):
            return name
    return None


# --- What is stored ------------------------------------------------------------------------


def fields_of(value: Any, limit_bytes: int) -> tuple[str, dict[str, Any]] | None:  # noqa: ANN401
    """Return the class's name and the fields of *value*; None for a value that is not stored by name.

    Raise whatever the value's own code raises, and TypeError or ValueError for a value that would
    come back as something else.
    """
    cls = type(value)
    if cls is StoredValue:
        return value.type, value.fields
    if not _is_named(cls):
        return None
    kind = _numpy_kind(cls)
    if isinstance(value, Enum):
        fields = {"name": value.name, "value": value._value_}
    elif kind == "generic":
        fields = _fields_of_scalar(value)
    elif kind == "ndarray":
        fields = _fields_of_array(value, limit_bytes)
    elif dataclasses.is_dataclass(cls):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif _is_named_tuple(cls):
        fields = dict(zip(value._fields, tuple.__iter__(value), strict=True))
    else:
        fields = _fields_of_model(value)
    return type_name(cls), fields


def _fields_of_scalar(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a numpy scalar
    dtype = _checked_dtype(value.dtype)
    plain = value.item()
    if value.dtype.kind in _PLAIN_KINDS and type(plain) is not type(value):
        return {"dtype": dtype, "value": plain}
    # A datetime64 has a unit, which the number does not say; a longdouble has no plain value.
    return {"dtype": dtype, "data": value.tobytes()}


def _fields_of_array(value: Any, limit_bytes: int) -> dict[str, Any]:  # noqa: ANN401 - a numpy array
    if type_name(type(value)) != "numpy.ndarray":
        raise TypeError("subclasses of numpy.ndarray hold more than their data; return numpy.asarray(it)")
    if value.nbytes > limit_bytes:
        raise ValueError(f"an array of {value.nbytes:,} bytes is over the limit of {limit_bytes:,}")
    return {"dtype": _checked_dtype(value.dtype), "shape": list(value.shape), "data": value.tobytes()}


def _checked_dtype(dtype: Any) -> str:  # noqa: ANN401 - a numpy dtype
    text = str(dtype.str)
    if dtype.fields is not None or not _DTYPE.fullmatch(text):
        raise TypeError(f"numpy values of type {dtype!s:.80} hold more than bytes; return a list or a dict of them")
    return text


def _fields_of_model(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a pydantic model
    dumped = value.model_dump(warnings=False)
    if getattr(type(value), "__pydantic_root_model__", False):
        return {"root": dumped}
    computed = getattr(type(value), "model_computed_fields", {})
    return {name: field for name, field in dumped.items() if name not in computed}


# --- What comes back -------------------------------------------------------------------------


def rebuilt(name: str, fields: dict[str, Any], classes: Mapping[str, type]) -> Any:  # noqa: ANN401
    """Return the value as an instance of the caller's class of that *name*, else as `StoredValue`.

    A class that changed since and does not take these fields is no error: the fields come back.
    """
    cls = classes.get(name)
    if cls is not None:
        # The class's own code may raise anything.
        with suppress(Exception):
            return _build(cls, fields)
    return StoredValue(name, fields)


def _build(cls: Any, fields: dict[str, Any]) -> Any:  # noqa: ANN401, PLR0911 - one case a kind of class
    kind = _numpy_kind(cls)
    if issubclass(cls, Enum):
        return _build_member(cls, fields)
    if kind == "generic":
        return _build_scalar(cls, fields)
    if kind == "ndarray":
        return _build_array(fields)
    if dataclasses.is_dataclass(cls):
        return _build_dataclass(cls, fields)
    if _is_named_tuple(cls):
        if fields.keys() == set(cls._fields):
            return tuple.__new__(cls, [fields[name] for name in cls._fields])
        return cls(**fields)
    return _build_model(cls, fields)


def _build_member(cls: type[Enum], fields: dict[str, Any]) -> Enum:
    member = cls.__members__.get(fields["name"])
    if member is None and issubclass(cls, Flag):
        member = cls(fields["value"])  # several flags at once are not in __members__
    if member is None or member._value_ != fields["value"]:
        raise ValueError("this member is not what it was")
    return member


def _build_dataclass(cls: Any, fields: dict[str, Any]) -> Any:  # noqa: ANN401
    known = dataclasses.fields(cls)
    if not fields.keys() <= {field.name for field in known}:
        raise ValueError("a stored field is gone from the class")
    made = cls(**{field.name: fields[field.name] for field in known if field.init and field.name in fields})
    for name, value in fields.items():
        # Also where __init__ set it: a __post_init__ that rounds or adds must not do so twice.
        object.__setattr__(made, name, value)
    return made


def _build_model(cls: Any, fields: dict[str, Any]) -> Any:  # noqa: ANN401
    given = fields["root"] if getattr(cls, "__pydantic_root_model__", False) else fields
    for options in ({}, {"by_name": True, "by_alias": True}):  # older versions take no options
        with suppress(Exception):
            made = cls.model_validate(given, **options)
            if _fields_of_model(made) == fields:
                return made
    raise ValueError("the model does not take these fields")


def _build_scalar(cls: Any, fields: dict[str, Any]) -> Any:  # noqa: ANN401
    if "value" in fields:
        return cls(fields["value"])
    (scalar,) = _from_bytes(fields["dtype"], fields["data"])
    if type(scalar) is not cls:
        raise ValueError("the scalar is of another type")
    return scalar


def _build_array(fields: dict[str, Any]) -> Any:  # noqa: ANN401
    flat = _from_bytes(fields["dtype"], fields["data"])
    if math.prod(fields["shape"]) != flat.size:
        raise ValueError("the shape does not fit the data")
    return flat.reshape(fields["shape"])


def _from_bytes(dtype: str, data: bytes) -> Any:  # noqa: ANN401 - a numpy array
    if not _DTYPE.fullmatch(dtype):
        raise ValueError("not a type of plain elements")
    # A copy, because frombuffer() makes arrays that cannot be written to.
    return sys.modules["numpy"].frombuffer(data, dtype).copy()
