"""JSON that is valid whatever stands in the log."""

import datetime as dt
import json
import math
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from wal_runner.cli.output import json_text
from wal_runner.log.named_values import StoredValue


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, None, True, "ü"]}, '{"a":[1,null,true,"ü"]}'),
        ({"a": b"\x00\xff"}, '{"a":{"base64":"AP8="}}'),
        ([math.nan, math.inf, -math.inf], '[{"float":"nan"},{"float":"inf"},{"float":"-inf"}]'),
        ({1: "a", None: "b", b"c": "d"}, '{"1":"a","null":"b","base64:Yw==":"d"}'),
        ({math.nan: 1}, '{"nan":1}'),
        ("a\nb\x1b", '"a\\nb\\u001b"'),
        ((1, {"b", "a"}, frozenset([2])), '[1,["a","b"],[2]]'),
        ({"at": dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC)}, '{"at":"2026-01-02T03:00:00+00:00"}'),
        ([dt.date(2026, 1, 2), dt.time(3, 4), dt.timedelta(seconds=1.5)], '["2026-01-02","03:04:00",{"seconds":1.5}]'),
        ([Decimal("1.50"), UUID(int=1)], '["1.50","00000000-0000-0000-0000-000000000001"]'),
        ([Path("a/b"), Path("caf\udce9"), 1j], '["a/b","caf\\\\udce9","1j"]'),
        (StoredValue("m.Point", {"x": {1}}), '{"type":"m.Point","fields":{"x":[1]}}'),
        ({(1, "a"): 1, dt.date(2026, 1, 2): 2}, '{"[1,\\"a\\"]":1,"2026-01-02":2}'),
        (2**70, "1180591620717411303424"),
    ],
)
def test_whatever_a_result_holds_is_valid_json(value, expected):
    """Msgpack says more than JSON does: bytes, NaN, and keys that are no text have a shape of their own."""
    text = json_text(value)

    assert expected == text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert "\n" not in text


def test_result_that_json_cannot_nest_is_said_so():
    """Msgpack takes 500 levels, which are too many for Python's encoder; the other items are still shown."""
    value = [b"x"]
    for _ in range(500):
        value = [value]

    assert '{"not_shown":"nested too deeply for JSON"}' == json_text(value)
