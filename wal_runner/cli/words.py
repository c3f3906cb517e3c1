"""How times, sizes, counts and ids are written for people, and words for their shell.

Imported by the commands. Invariant: what is shown holds no control character, whatever stands in the
log: an id must not move the cursor of whoever looks at it.
"""

from __future__ import annotations

import re
import shlex
import time
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Iterable

ID_CHARS_MAX: Final = 60
TEXT_CHARS_MAX: Final = 200

# C0, DEL and C1; marks, embeddings and isolates that turn the direction of text; line ends of Unicode; surrogates.
_HARMFUL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_SECOND: Final = 1_000_000_000
_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_DURATIONS: Final = (("s", _SECOND), ("ms", 1_000_000), ("us", 1_000))
_SIZES: Final = ("bytes", "KB", "MB", "GB", "TB")
_SIZE_STEP: Final = 1000


def moment(time_ns: int, now_ns: int | None = None) -> str:
    """Write a time as local time with its zone, and how long ago that was."""
    return f"{local_time(time_ns)} ({ago(time_ns, now_ns)})"


@lru_cache(maxsize=16)
def local_time(time_ns: int, timespec: str = "seconds") -> str:
    """Write a time as local time with its zone; ``--until`` reads it back.

    A time that no calendar has is written as the number that it is.
    """
    seconds, rest = divmod(time_ns, _SECOND)
    try:
        local = datetime.fromtimestamp(seconds).astimezone().replace(microsecond=rest // 1000)
    except (ValueError, OverflowError, OSError):
        return f"{time_ns} ns since 1970"
    return local.isoformat(sep=" ", timespec=timespec)


def ago(time_ns: int, now_ns: int | None = None) -> str:
    """Write how long ago a time was."""
    seconds = ((time.time_ns() if now_ns is None else now_ns) - time_ns) // _SECOND
    if seconds < 0:
        return "in the future, by this clock"
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{count_of(seconds // length, unit)} ago"
    return "just now"


def duration(elapsed_ns: int) -> str:
    """Write a length of time with three digits that count."""
    for unit, length in _DURATIONS:
        if elapsed_ns >= length:
            value = elapsed_ns / length
            return f"{value:.3g} {unit}" if value < _SIZE_STEP else f"{value:,.0f} {unit}"
    return f"{elapsed_ns} ns"


def size(count: int) -> str:
    """Write a number of bytes."""
    value, step = float(count), 0
    while value >= _SIZE_STEP and step < len(_SIZES) - 1:
        value, step = value / _SIZE_STEP, step + 1
    return f"{value:.1f} {_SIZES[step]}" if step else count_of(count, "byte")


def copy_note(without_outcome: int) -> str:
    """Write what a reader must know first of a log that is not where it was last used."""
    return (
        "COPY: this log was last used elsewhere: it was copied, restored, or moved to another disk. Running it here "
        f"asks for --accept-copy; {count_of(without_outcome, 'start')} without an outcome would be in doubt."
    )


def count_of(count: int, noun: str) -> str:
    """Write a number with its noun: ``1 item``, ``2,000 items``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listing(numbers: list[int]) -> str:
    """Write numbers of sessions: ``3``, ``3 and 4``, ``3, 4 and 5``."""
    words = [str(number) for number in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def visible(text: str, limit: int = TEXT_CHARS_MAX) -> str:
    """Write *text* on one line, cut to *limit*, with everything that does not print escaped."""
    return one_line(text if len(text) <= limit else f"{text[: limit - 3]}...")


def one_line(text: str) -> str:
    """Write *text* whole, on one line, with everything that does not print escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def harmless_lines(text: str) -> str:
    """Write *text* with everything that does not print escaped, except its line ends."""
    return text if text.isprintable() else "\n".join(map(one_line, text.split("\n")))


def is_harmless(text: str) -> bool:
    """Return whether *text* can be written to a terminal as it is: no control or mark of direction in it.

    Less strict than `str.isprintable`: joiners of emoji and spaces of all widths are text.
    """
    return _HARMFUL.search(text) is None


def shown_id(item_id: str) -> str:
    """Write an item id, cut where it is long."""
    return visible(item_id, ID_CHARS_MAX)


def shell_word(text: str) -> str:
    """Write *text* so that a shell reads it back, control characters too.

    Raises ValueError if no argument of a program can be this text; see `is_argument`.
    """
    if not is_argument(text):
        raise ValueError(f"no argument of a program is {text!r}")
    if text.isprintable():
        return shlex.quote(text)
    inside = "".join(c if c.isprintable() and c not in "\\'" else _shell_escaped(c) for c in text)
    return f"$'{inside}'"


def shell_words(words: Iterable[str]) -> str:
    """Write a command that a shell reads back as *words*. Raises ValueError as `shell_word` does."""
    return " ".join(map(shell_word, words))


def is_argument(text: str) -> bool:
    """Return whether *text* can be an argument of a program: a NUL or half of a character cannot be passed on."""
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _shell_escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    # Octal of the UTF-8 bytes: three digits, so that what follows is never read as a part of it.
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
