"""A command line with places for the item: ``send --to {email} {}``.

Imported by the command's effect and the command line. Invariant: there is no shell and no
quoting. One argument of the template is one argument of the command, whatever the item holds.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wal_runner.errors import WalRunnerError, listed


# `${name}` is the shell's, and `{{name}}` some template language's: both are left alone.
_LEFT_ALONE: Final = r"\$\{[^\W\d]\w*\}|\{\{\w*\}\}"
_PLACE: Final = re.compile(rf"{_LEFT_ALONE}|\{{(?P<name>(?:[^\W\d]\w*)?)\}}")

FIELDS_SHOWN_MAX: Final = 10


class CommandTemplateInvalid(WalRunnerError):
    """The places of the command do not fit the item, or it is no command. Nothing ran."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the item goes (no name), or one field of it."""

    field: str


class CommandTemplate:
    """A command's arguments, in which ``{}`` is the item and ``{name}`` a field of it.

    Text goes in as it is, every other value as compact JSON. All other braces are left alone
    exactly: ``{print $1}``, ``{"a": 1}``, ``{ name }``, ``${name}``, ``{{name}}``, ``{1,2}``.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        if not argv or not argv[0]:
            raise CommandTemplateInvalid("There is no command to run. Write it after --, as in -- send {}.")
        self.argv: Final = tuple(argv)
        self._arguments = [_parts(argument) for argument in argv]
        self.fields: Final = tuple(_names(self._arguments))

    def check(self, sample_item: object) -> None:
        """Refuse a command that cannot work for items like *sample_item*, before any start.

        A ``{name}`` that is no field would fail each item in turn, as would a program that does
        not exist.
        """
        if isinstance(sample_item, Mapping):
            unknown = [name for name in self.fields if name not in sample_item]
            known = f"The fields are {listed([str(name) for name in sample_item], FIELDS_SHOWN_MAX)}"
        else:
            unknown = list(self.fields)
            known = "The items are not mappings, so {} is all there is"
        if unknown:
            places = ", ".join(f"{{{name}}}" for name in unknown)
            raise CommandTemplateInvalid(
                f"{places} of the command is no field of the first item. {known}. "
                f"If the braces are the command's own, put a space inside them: {{ {unknown[0]} }}."
            )
        program = self.argv[0]
        if self._arguments[0] == [program] and shutil.which(program) is None:
            raise CommandTemplateInvalid(
                f"{program} is no program that can be run. Check its spelling and PATH, and `chmod +x` it."
            )

    def fill(self, item: object) -> list[str]:
        """Return the command's arguments for *item*."""
        return [
            "".join(part if isinstance(part, str) else _text_at(part, item) for part in parts)
            for parts in self._arguments
        ]


def text_of(value: object, what: str = "The item") -> str:
    """Return *value* as a command can be given it: text as it is, other values as compact JSON.

    Raises `CommandTemplateInvalid` for what the operating system cannot hand over: a NUL, a
    lone surrogate, or a value that is not JSON.
    """
    if isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise CommandTemplateInvalid(
                f"{what} cannot be written as JSON: {error}. Nothing ran. Give text or JSON values."
            ) from error
    if "\0" in text:
        raise CommandTemplateInvalid(
            f"{what} holds a NUL character, which no argument or variable can. Nothing ran. Correct the item."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CommandTemplateInvalid(
            f"{what} holds a lone surrogate (character {error.start}). Nothing ran. Correct the item."
        ) from error
    return text


def _text_at(place: _Place, item: object) -> str:
    if not place.field:
        return text_of(item)
    if not isinstance(item, Mapping) or place.field not in item:
        raise CommandTemplateInvalid(
            f"The item has no field {place.field!r}, which the command needs. Nothing ran. Correct the item."
        )
    return text_of(item[place.field], f"The field {place.field!r} of the item")


def _parts(argument: str) -> list[str | _Place]:
    if "\0" in argument:
        raise CommandTemplateInvalid("An argument of the command holds a NUL character. Write it without.")
    parts: list[str | _Place] = []
    end = 0
    for match in _PLACE.finditer(argument):
        if match["name"] is None:  # one that is left alone
            continue
        if match.start() > end:
            parts.append(argument[end : match.start()])
        parts.append(_Place(match["name"]))
        end = match.end()
    if end < len(argument):
        parts.append(argument[end:])
    return parts


def _names(arguments: Sequence[Sequence[str | _Place]]) -> list[str]:
    names = [part.field for parts in arguments for part in parts if isinstance(part, _Place) and part.field]
    return list(dict.fromkeys(names))
