"""JSON that is valid whatever stands in the log."""

import json
import math

import pytest

from wal_runner.cli.output import json_text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, None, True, "ü"]}, '{"a":[1,null,true,"ü"]}'),
        ({"a": b"\x00\xff"}, '{"a":{"base64":"AP8="}}'),
        ([math.nan, math.inf, -math.inf], '[{"float":"nan"},{"float":"inf"},{"float":"-inf"}]'),
        ({1: "a", None: "b", b"c": "d"}, '{"1":"a","null":"b","base64:Yw==":"d"}'),
        ({math.nan: 1}, '{"nan":1}'),
        ("a\nb\x1b", '"a\\nb\\u001b"'),
    ],
)
def test_whatever_a_result_holds_is_valid_json(value, expected):
    """Msgpack says more than JSON does: bytes, NaN, and keys that are no text have a shape of their own."""
    text = json_text(value)

    assert expected == text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert "\n" not in text
