"""What a command writes: data to stdout, talk to stderr.

Imported by the commands. Invariant: JSON is one value a line, valid UTF-8, whatever is in it.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from typing import Any, Final

import click


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
        return _ENCODER.encode(value)
    except (TypeError, ValueError):
        return _ENCODER.encode(speakable(value))


def speakable(value: Any) -> Any:  # noqa: ANN401 - any value of msgpack
    """Give *value* as JSON can say it: bytes as ``{"base64": ...}``, NaN and infinity as ``{"float": ...}``."""
    if isinstance(value, dict):
        return {_speakable_key(key): speakable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [speakable(part) for part in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _speakable_key(key: object) -> object:
    if isinstance(key, bytes):
        return f"base64:{base64.b64encode(key).decode()}"
    if isinstance(key, float) and not math.isfinite(key):
        return str(key)
    return key


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False)
