"""What a command writes: data to stdout, talk to stderr.

Imported by the commands. Invariant: JSON is one value a line, valid UTF-8, whatever is in it.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

import click

from wal_runner.log.named_values import StoredValue


def tell(text: str = "") -> None:
    """Write a line of the answer, for people."""
    click.echo(text)


def say(text: str) -> None:
    """Write a line that is not part of the answer."""
    click.echo(text, err=True)


def put(value: object) -> None:
    """Write *value* as one line of JSON. Lines are buffered; `main` flushes them."""
    sys.stdout.buffer.write(json_text(value).encode("utf-8", "backslashreplace") + b"\n")


def json_text(value: object) -> str:
    """Give *value* as JSON on one line; see `speakable` for what JSON cannot say."""
    try:
        try:
            return _ENCODER.encode(value)
        except (TypeError, ValueError):
            return _ENCODER.encode(speakable(value))
    except RecursionError:
        # msgpack nests deeper than Python's encoder; a result like this must not end the command.
        return _ENCODER.encode({"not_shown": "nested too deeply for JSON"})


def speakable(value: Any) -> Any:  # noqa: ANN401, C901, PLR0911 - any stored value; one case a kind
    """Return *value* as JSON can say it; ``docs/reference/json-output.md`` lists how each type is written."""
    if isinstance(value, dict):
        return {_speakable_key(key): speakable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [speakable(part) for part in value]
    if isinstance(value, (set, frozenset)):
        # Sorted, because the order in a set is another in each process.
        return sorted((speakable(part) for part in value), key=json_text)
    if isinstance(value, StoredValue):
        return {"type": value.type, "fields": speakable(value.fields)}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, timedelta):
        return {"seconds": value.total_seconds()}
    if isinstance(value, (date, time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, (Decimal, UUID, complex)):
        return str(value)
    return value


def _speakable_key(key: object) -> object:
    if isinstance(key, bytes):
        return f"base64:{base64.b64encode(key).decode()}"
    if isinstance(key, float) and not math.isfinite(key):
        return str(key)
    if key is None or isinstance(key, (str, int, float)):
        return key
    shown = speakable(key)
    return shown if isinstance(shown, str) else json_text(shown)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False)
