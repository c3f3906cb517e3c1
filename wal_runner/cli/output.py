"""What a command writes: data to stdout, messages to stderr. Nothing else in the command line prints.

Imported by the commands. Invariant: whatever stands in a log, an argument or an error, no byte that a terminal acts on
is written except line ends (and the tab of `put_attempt`). JSON is one value a line, valid UTF-8. What a command of
the user's writes is passed on as it is; that is `wal_runner.runner.command_output`.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import sys
import threading
import traceback
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import click

from wal_runner.cli.words import harmless_lines, is_harmless, one_line
from wal_runner.log.named_values import StoredValue


if TYPE_CHECKING:
    from types import TracebackType

JSON_MARK: Final = '"'
"""Begins an id that is written as a JSON string; an id that begins with it is written so too."""


def tell(text: str = "") -> None:
    """Write a line of the answer, for people."""
    click.echo(harmless_lines(text))


def say(text: str) -> None:
    """Write a line that is not part of the answer."""
    click.echo(harmless_lines(text), err=True)


def say_error(text: str) -> None:
    """Write an error, on one line: text of a log that stands in it must not look like a line of ours."""
    say(f"Error: {one_line(text)}")


def say_click_error(error: click.ClickException) -> None:
    """Write an error as click does, with its message on one line: it repeats arguments."""
    shown = io.StringIO()
    message = one_line(error.format_message())
    plain = (
        click.UsageError(message, error.ctx) if isinstance(error, click.UsageError) else click.ClickException(message)
    )
    plain.show(shown)
    say(shown.getvalue().removesuffix("\n"))


def guard() -> None:
    """Make Python print through this module too: tracebacks, and log records that no handler takes."""
    # An id may hold what the terminal's encoding cannot; it is shown escaped, and the command goes on.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = _say_traceback
    threading.excepthook = _say_thread_traceback
    # Not a handler of the logger: a program called by --call that sets up logging would print everything twice.
    logging.lastResort = _LastResort(logging.WARNING)


class _LastResort(logging.Handler):
    """Writes records that no handler takes, as the standard library's own does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*."""
        try:
            say(one_line(record.getMessage()))
            if record.exc_info and record.exc_info[1] is not None:
                _say_traceback(*record.exc_info)
        except Exception:  # noqa: BLE001 - as every handler: logging never ends a program
            self.handleError(record)


def _say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    say("".join(traceback.format_exception(kind, error, trace)).removesuffix("\n"))


def _say_thread_traceback(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        say(one_line(f"Exception in thread {failed.thread.name if failed.thread is not None else 'unknown'}:"))
        _say_traceback(failed.exc_type, failed.exc_value, failed.exc_traceback)


def put(value: object) -> None:
    """Write *value* as one line of JSON. Lines are buffered; `main` flushes them."""
    sys.stdout.buffer.write(f"{json_text(value)}\n".encode())


def put_id(item_id: str) -> bool:
    """Write an id as a line for ``walrun resolve LOG -``; return False instead if it holds controls."""
    if not is_harmless(item_id):
        return False
    sys.stdout.buffer.write(f"{item_id}\n".encode())
    return True


def put_attempt(start_seq: int, item_id: str) -> None:
    """Write an attempt as a line for ``walrun resolve LOG -``: its seq, a tab and the id.

    An id that holds controls, or begins with a quotation mark, is written as a JSON string.
    """
    plain = is_harmless(item_id) and not item_id.startswith(JSON_MARK)
    sys.stdout.buffer.write(f"{start_seq}\t{item_id if plain else json_text(item_id)}\n".encode())


def json_text(value: object) -> str:
    """Return *value* as JSON on one line; see `speakable` for types that JSON does not have.

    What does not print is escaped: JSON itself would leave DEL, C1 and marks of direction as they are.
    """
    text = _encoded(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _encoded(value: object) -> str:
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
