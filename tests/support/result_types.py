"""Types and values that a result may have, for the tests of tags and of the runner."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import math
import pathlib
import uuid
import zoneinfo
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pydantic


class Colour(enum.Enum):
    """Members with values of two types."""

    RED = "r"
    GREEN = (0, 255, 0)


class Level(enum.IntEnum):
    """An int with a name."""

    LOW = 1


class Word(enum.StrEnum):
    """A text with a name."""

    YES = "yes"


class Right(enum.Flag):
    """Members that combine."""

    READ = 1
    WRITE = 2


@dataclass
class Point:
    """A dataclass with a default."""

    x: int
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """A dataclass that can be hashed, of values with tags."""

    number: str
    at: dt.datetime
    points: tuple[Point, ...] = ()
    colour: Colour = Colour.RED
    total: decimal.Decimal = field(default=decimal.Decimal(0), compare=False)


@dataclass
class Counted:
    """Its __init__ does not take all of its fields, and does not keep what it takes."""

    given: int
    doubled: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.given += 1
        self.doubled = self.given * 2


class Pair(NamedTuple):
    """A NamedTuple with a default."""

    left: int
    right: Any = None


class Address(pydantic.BaseModel):
    """A model."""

    street: str
    since: dt.date


class Person(pydantic.BaseModel):
    """A model of models, with an alias."""

    name: str = pydantic.Field(alias="fullName")
    addresses: list[Address] = []
    favourite: Colour = Colour.GREEN


class Names(pydantic.RootModel[list[str]]):
    """A model that is a list."""


class MyDict(dict):
    """A dict of a kind."""


class MyStr(str):
    """A str of a kind."""

    __slots__ = ()


class MyInt(int):
    """An int of a kind."""


class MyList(list):
    """A list of a kind."""


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))
ODD = dt.timezone(-dt.timedelta(hours=1, seconds=1, microseconds=1))
POINT = Point(1, 2.5)
ADDRESS = {"street": "s", "since": dt.date(2026, 1, 1)}
CLASSES = [
    *(Colour, Level, Word, Right, Point, Receipt, Counted, Pair, Address, Person, Names),
    *(np.ndarray, np.float64, np.int32, np.bool_, np.datetime64, np.longdouble, np.str_),
]

SAME = {
    "None": None,
    "text": "sent é",
    "bytes": b"\0\xff",
    "int": -(2**63),
    "float": -0.0,
    "bool": True,
    "list": [1, [2, []]],
    "dict": {"a": {1: None, b"b": 2.5, None: True, 1.5: []}},
    "naive datetime": dt.datetime(2026, 11, 27, 12, 30, 15, 123456),  # noqa: DTZ001
    "datetime with fold": dt.datetime(2024, 10, 27, 2, 30, fold=1),  # noqa: DTZ001
    "UTC": dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    "fixed offset": dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=EAST),
    "offset of microseconds": dt.datetime(2026, 1, 1, tzinfo=ODD),
    "zone, summer": dt.datetime(2026, 7, 1, 12, tzinfo=BERLIN),
    "zone, fold 0": dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
    "zone, fold 1": dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
    "date": dt.date(1, 1, 1),
    "time": dt.time(23, 59, 59, 999999),
    "time with offset": dt.time(1, 2, fold=1, tzinfo=EAST),
    "time with zone": dt.time(1, 2, tzinfo=BERLIN),
    "timedelta": dt.timedelta(days=-3, microseconds=1),
    "longest timedelta": dt.timedelta.max,
    "Decimal": decimal.Decimal("1.50"),
    "Decimal, minus zero": decimal.Decimal("-0E+3"),
    "Decimal, large exponent": decimal.Decimal("1E-10000"),
    "Decimal, 1,000 digits": decimal.Decimal("9" * 1000),
    "Decimal, infinite": decimal.Decimal("-Infinity"),
    "UUID": uuid.UUID(int=2**127 + 5),
    "set": {1, "a", (2, 3)},
    "empty set": set(),
    "frozenset of frozensets": frozenset([frozenset(), frozenset([1])]),
    "tuple": (1, (2, [3, (4,)])),
    "empty tuple": (),
    "dict keyed by tuples": {(1, 2): "cell", (): None},
    "dict keyed by dates": {dt.date(2026, 1, 1): 1, uuid.UUID(int=7): 2, decimal.Decimal("1.5"): 3, 2**70: 4},
    "Path": pathlib.Path("/srv/a b"),
    "Path that is not UTF-8": pathlib.Path("caf\udce9"),
    "PurePosixPath": pathlib.PurePosixPath("a/b"),
    "PureWindowsPath": pathlib.PureWindowsPath("C:/a"),
    "int beyond 64 bits": 2**64,
    "negative int beyond 64 bits": -(2**63) - 1,
    "largest int": 2**8191 - 1,
    "complex": complex(math.inf, -0.0),
    "60 tuples deep": eval("(" * 60 + ")" * 60, {}) or [],  # noqa: S307 - a literal
    "rows": [{"id": i, "at": dt.date(2026, 1, 1 + i), "tags": {"a", i}} for i in range(20)],
}
"""Come back equal, and of the same type."""

PLAIN = {
    "OrderedDict": (collections.OrderedDict(b=1, a=(2,)), {"b": 1, "a": (2,)}),
    "defaultdict": (collections.defaultdict(list, a=[1]), {"a": [1]}),
    "Counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "subclass of dict": (MyDict(a={1}), {"a": {1}}),
    "subclass of str": (MyStr("a"), "a"),
    "subclass of int": ([MyInt(5), MyInt(2**70)], [5, 2**70]),
    "subclass of list": (MyList([1]), [1]),
    "bytearray": ((bytearray(b"a"), memoryview(b"b")), (b"a", b"b")),
}
"""Come back as the plain type that they are a kind of."""

NAMED = {
    "Enum": (Colour.RED, "Colour", {"name": "RED", "value": "r"}),
    "Enum with a tuple": (Colour.GREEN, "Colour", {"name": "GREEN", "value": (0, 255, 0)}),
    "IntEnum": (Level.LOW, "Level", {"name": "LOW", "value": 1}),
    "StrEnum": (Word.YES, "Word", {"name": "YES", "value": "yes"}),
    "flags": (Right.READ | Right.WRITE, "Right", {"name": "READ|WRITE", "value": 3}),
    "dataclass": (POINT, "Point", {"x": 1, "y": 2.5}),
    "dataclass without init": (Counted(1), "Counted", {"given": 2, "doubled": 4}),
    "NamedTuple": (Pair(1, dt.date(2026, 1, 1)), "Pair", {"left": 1, "right": dt.date(2026, 1, 1)}),
    "pydantic model": (
        Address(street="s", since="2026-01-01"),
        "Address",
        {"street": "s", "since": dt.date(2026, 1, 1)},
    ),
    "pydantic root model": (Names(["a"]), "Names", {"root": ["a"]}),
    "numpy float": (np.float64(1.5), "numpy.float64", {"dtype": "<f8", "value": 1.5}),
    "numpy int": (np.int32(-7), "numpy.int32", {"dtype": "<i4", "value": -7}),
    "numpy bool": (np.bool_(1), f"numpy.{np.bool_.__name__}", {"dtype": "|b1", "value": True}),
    "numpy text": (np.str_("a"), "numpy.str_", {"dtype": "<U1", "value": "a"}),
    "numpy datetime": (
        np.datetime64("2026-01-01", "ns"),
        "numpy.datetime64",
        {"dtype": "<M8[ns]", "data": np.datetime64("2026-01-01", "ns").tobytes()},
    ),
}
"""Come back as StoredValue with this class name and these fields, or as they were if the class is given."""

NESTED = {
    "dataclass of everything": Receipt(
        "7", SAME["zone, fold 1"], (POINT, Point(3)), Colour.GREEN, decimal.Decimal("1.5")
    ),
    "model of models": Person(fullName="a", addresses=[Address(street="s", since="2026-01-01")]),
    "array": np.arange(6, dtype="<f4").reshape(2, 3),
    "array of text": np.array([["a", "bcd"]]),
    "empty array": np.zeros((0, 3)),
    "array of no dimension": np.array(5),
    "list of named": [Colour.RED, {"p": POINT}, (Pair(1, Pair(2)), Level.LOW)],
    "set of named": {Colour.RED, Pair(1, 2)},
    "dict keyed by named": {Colour.RED: 1, Level.LOW: 2},
}
"""Come back equal if their classes are given."""


def name_of(cls: str) -> str:
    """Return the stored name of a class of this file, or of numpy's."""
    return cls if "." in cls else f"{__name__}.{cls}"
