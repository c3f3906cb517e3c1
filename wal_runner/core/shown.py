"""Values from a log in messages, cut before they are spelled out.

Pure; imported by everything that names a wrong field. Invariant: the text is short and takes little memory to make,
whatever the value is: `repr` of a text of 64 MB may take ten times as much.
"""

from __future__ import annotations

from typing import Final


SHOWN_CHARS_MAX: Final = 50


def a_or_an(name: str) -> str:
    """Return *name* behind the article that it takes: "a dict", "an int"."""
    return f"{'an' if name[:1].lower() in 'aeio' and name else 'a'} {name}"


def shown(value: object) -> str:
    """Return *value* for a message: the beginning of a text, the size of a container."""
    if isinstance(value, str | bytes):
        return repr(value[:SHOWN_CHARS_MAX])[:SHOWN_CHARS_MAX]
    if isinstance(value, tuple | list | dict):
        return f"{a_or_an(type(value).__name__)} of {len(value)}"
    return repr(value)[:SHOWN_CHARS_MAX]
