"""Arguments and options that several commands share, and how they are read.

Imported by the commands. Invariant: what cannot be understood is a usage error before the log is
opened.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from wal_runner.cli.output import JSON_MARK
from wal_runner.core.identity import item_id as id_text
from wal_runner.errors import ItemIdInvalid


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STDIN: Final = "-"

_ATTEMPT: Final = re.compile(r"([0-9]{1,20})\t")

log_argument = click.argument("log", metavar="LOG")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one value a line.")
accept_copy_option = click.option(
    "--accept-copy",
    is_flag=True,
    help="Go on with a log that was copied, restored or moved to another disk; on record.",
)
ids_argument = click.argument("ids", metavar="ID...|-", nargs=-1)
note_option = click.option("--note", default="", metavar="TEXT", help="Why; it stays on record.")
by_option = click.option("--by", metavar="NAME", help="Who says so, on record; your user name unless given.")


def attempts_of(given: Sequence[str], stdin: BinaryIO) -> dict[str, int | None]:
    """Return the ids that were named, each with the attempt that its line on *stdin* names, or None.

    A line is an id, or an attempt's SEQ, a tab and the id, as ``walrun inspect --attempts`` prints it. Only there
    an id may be a JSON string; one that begins with a quotation mark has to be.
    """
    if STDIN not in given:
        return dict.fromkeys(ids_of(given, stdin))
    if len(given) > 1:
        raise click.UsageError("Give ids, or - to read them from stdin, not both.")
    found: dict[str, int | None] = {}
    for line in _lines(stdin):
        attempt = _ATTEMPT.match(line)
        seq, name = (int(attempt[1]), _named(line[attempt.end() :])) if attempt is not None else (None, line)
        try:
            name = id_text(name)
        except ItemIdInvalid as error:
            raise click.UsageError(str(error)) from None
        known = found.get(name)
        if None not in {known, seq} and known != seq:
            raise click.UsageError(f"Two attempts of {name!r} are named, {known} and {seq}. Only one can be in doubt.")
        found[name] = known if seq is None else seq
    return found


def _named(word: str) -> str:
    """Return the id that `wal_runner.cli.output.put_attempt` wrote."""
    if not word.startswith(JSON_MARK):
        return word
    try:
        return str(json.loads(word))
    except (ValueError, RecursionError):
        raise click.UsageError(
            f"{word!r} behind a SEQ and a tab begins with a quotation mark and is not a JSON string. Give the line as "
            "`walrun inspect --attempts` prints it."
        ) from None


def ids_of(given: Sequence[str], stdin: BinaryIO) -> list[str]:
    """Give the ids that were named, once each; ``-`` reads them from *stdin*, one a line."""
    if STDIN in given:
        if len(given) > 1:
            raise click.UsageError("Give ids, or - to read them from stdin, not both.")
        given = list(_lines(stdin))
    try:
        return list(dict.fromkeys(id_text(item_id) for item_id in given))
    except ItemIdInvalid as error:
        raise click.UsageError(str(error)) from None


def _lines(stdin: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(stdin, 1):
        try:
            text = line.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise click.UsageError(f"Line {number} of stdin is not UTF-8, so it is no id.") from None
        if text:
            yield text


def point_in_time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | datetime | None:
    """Read a seq, or a time up to the end of the day, minute or second that it names.

    A callback of click. Gives an int for a seq, and a datetime with its zone for a time.
    """
    if value is None:
        return None
    if re.fullmatch(r"[0-9]+", value):
        return int(value)
    try:
        return _end_of_named(value)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is neither a seq nor a time. Give a number, or a time like 2026-11-24T21:37:01 (local time) "
            "or 2026-11-24T20:37:01Z.",
            ctx,
            param,
        ) from None


def _end_of_named(text: str) -> datetime:
    named = datetime.fromisoformat(text)
    _, has_time, clock = text.replace(" ", "T").partition("T")
    if not has_time:
        unit = timedelta(days=1)
    elif re.fullmatch(r"\d\d:\d\d", re.split(r"[Zz+-]", clock)[0]):
        unit = timedelta(minutes=1)
    elif named.microsecond or "." in clock:
        unit = timedelta(microseconds=1)
    else:
        unit = timedelta(seconds=1)
    # Added before the zone, so that the day of a clock change is as long as it was.
    end = named + unit
    return (end if end.tzinfo is not None else end.astimezone()) - timedelta(microseconds=1)
