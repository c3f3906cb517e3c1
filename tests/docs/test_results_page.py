"""docs/reference/results.md says how each type comes back; each row of its tables is tried."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections import OrderedDict, defaultdict
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest

from tests.support.result_types import BERLIN, CLASSES, Address, Colour, Pair, Point
from wal_runner import StoredValue
from wal_runner.log import scalars, tags
from wal_runner.log.format import RESULT_BYTES_FORMAT_MAX, RESULT_BYTES_MAX, RESULT_ELEMENTS_MAX
from wal_runner.log.named_values import classes_by_name
from wal_runner.log.results import decode_result, encode_result


PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "results.md").read_text()

# For each row of the first table: values, and what comes back of them where it is not the same.
ROWS: dict[str, list[object]] = {
    "`None`, `bool`, `int`, `float`, `str`, `bytes`": [None, True, 2**64 - 1, 1.5, "a", b"a"],
    "`list`, `dict`": [[1, []], {(1, 2): 1, dt.date(2026, 1, 1): 2}],
    "`tuple`, `set`, `frozenset`": [(1, ()), {1}, frozenset([1])],
    "`datetime`, `date`, `time`, `timedelta`": [
        *(dt.datetime(2026, 1, 1, tzinfo=BERLIN), dt.date(2026, 1, 1), dt.time(1), dt.timedelta(1))
    ],
    "`Decimal`, `complex`": [Decimal("-Infinity"), Decimal("9" * 1000), Decimal("1E+10000"), 1j],
    "`int` beyond 64 bits": [2**64, 1 - 2**8191],
    "`UUID`, `Path`, `PurePosixPath`, `PureWindowsPath`": [
        *(uuid.UUID(int=1), Path("a"), PurePosixPath("a"), PureWindowsPath("a"))
    ],
}
CHANGED: dict[str, list[tuple[object, object]]] = {
    "`bytearray`, `memoryview`": [(bytearray(b"a"), b"a"), (memoryview(b"a"), b"a")],
    "subclass of a plain type (`OrderedDict`, `defaultdict`)": [
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list), {}),
    ],
}
NAMED: dict[str, list[object]] = {
    "Enum, dataclass, NamedTuple, pydantic model": [
        *(Colour.RED, Point(1), Pair(1), Address(street="a", since="2026-01-01"))
    ],
    "numpy scalar or array": [np.float64(1), np.array(1)],
}


def rows_of(title: str) -> dict[str, str]:
    """Return the first two columns of the table under *title*."""
    part = PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    table = [[cell.strip() for cell in line.split("|")[1:3]] for line in part.splitlines() if line.startswith("|")]
    return dict(table[2:])


def test_table_has_the_rows_that_are_tried() -> None:
    """No type is promised that nobody tried."""
    assert rows_of("What comes back").keys() == {*ROWS, *CHANGED, *NAMED, "anything else"}


@pytest.mark.parametrize("row", ROWS)
def test_row_that_says_the_same_is_true(row: str) -> None:
    """Equal, and of the same type."""
    for value in ROWS[row]:
        again = decode_result(encode_result(value)[0])

        assert (value, type(value)) == (again, type(again))
    assert rows_of("What comes back")[row].startswith("the same")


@pytest.mark.parametrize("row", CHANGED)
def test_row_that_names_another_type_is_true(row: str) -> None:
    """Equal to the plain type, and of it."""
    for value, plain in CHANGED[row]:
        again = decode_result(encode_result(value)[0])

        assert (plain, type(plain)) == (again, type(again))


@pytest.mark.parametrize("row", NAMED)
def test_row_of_classes_is_true(row: str) -> None:
    """StoredValue, or the class if it is given."""
    for value in NAMED[row]:
        packed, _ = encode_result(value)

        assert isinstance(decode_result(packed), StoredValue)
        assert isinstance(decode_result(packed, classes_by_name(CLASSES)), type(value))
    assert "StoredValue" in rows_of("What comes back")[row]


def test_limits_on_the_page_are_those_of_the_code() -> None:
    """A number on the page is a number in the code."""
    numbers = set(re.findall(r"\d[\d,]*", PAGE))

    assert numbers >= {f"{limit:,}" for limit in (scalars.DECIMAL_DIGITS_MAX, scalars.DECIMAL_EXPONENT_MAX)}
    assert numbers >= {f"{limit:,}" for limit in (RESULT_ELEMENTS_MAX, tags.DEPTH_MAX, tags.TAG_DEPTH_MAX)}
    assert f"{scalars.INTEGER_BYTES_MAX * 8 - 1:,}" in numbers
    assert (1 << 20, 32 << 20) == (RESULT_BYTES_MAX, RESULT_BYTES_FORMAT_MAX)
