"""The word of a recorded ``walrun run`` that names its log, and the log that it is to name now.

Imported by the next steps. Invariant: no command is shown that would run on another log than the one asked about.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click


if TYPE_CHECKING:
    from collections.abc import Sequence

_RUN: Final = "run"
_LOG: Final = "log"
_MARK: Final = "\0"
"""Put in the place of one word after the other: no argument of a process holds it."""


def with_log(words: Sequence[str], cwd: str, log: str) -> list[str] | None:
    """Return *words*, the arguments of a `walrun run` in folder *cwd*, so that they name *log*.

    They stay as they are if they name it already. None if this version cannot read them.
    """
    at = next((at for at in range(len(words)) if _log_in([*words[:at], _MARK, *words[at + 1 :]]) == _MARK), None)
    if at is None:
        return None
    if os.path.realpath(os.path.join(cwd, words[at])) == os.path.realpath(log):  # noqa: PTH118 - text, as recorded
        return list(words)
    given = log if cwd in {here(), ""} else os.path.abspath(log)  # noqa: PTH100
    return [*words[:at], f"./{given}" if given.startswith("-") else given, *words[at + 1 :]]


def here() -> str:
    """Return the current folder, or "" if it is gone."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def _log_in(words: Sequence[str]) -> object:
    """Return what `walrun run` with *words* takes for its log; None if it refuses them, or has no use for some."""
    context = click.get_current_context(silent=True)
    root = context.find_root().command if context is not None else None
    command = root.get_command(context, _RUN) if isinstance(root, click.Group) and context is not None else None
    if command is None:
        return None
    inner = click.Context(command, info_name=_RUN)
    try:
        found, unused, _ = command.make_parser(inner).parse_args(list(words))
    except click.UsageError:
        return None
    return None if unused else found.get(_LOG)
