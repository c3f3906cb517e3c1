"""docs/reference/on-disk-format.md is true: its fields are the code's, its bytes are those that the package writes.

A `hex` block of the page holds examples, one a line: ``id: bytes  # words``. A line that begins with a
space continues the example before it, and ``78*256`` is a byte 256 times.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.support.disk_examples import EXAMPLES, IDENTITY, session_file_examples
from wal_runner.core.events import TYPE_NUMBERS
from wal_runner.core.items import ItemState, OpenAttempt


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "on-disk-format.md"
HEX_BLOCK = re.compile(r"^```hex\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT_BLOCK = re.compile(r"^```text\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
FIELDS = re.compile(r"^\| (?:(\d+) \| )?(\w+|open attempt) \| ([^|]*)\| ([^|]*)\|$", re.MULTILINE)


def test_examples_are_what_the_package_writes(tmp_path):
    """Each example of the page is built by the package, byte for byte, and none is missing."""
    written = {**EXAMPLES, **session_file_examples(tmp_path)}

    assert {name: content.hex(" ") for name, content in written.items()} == {
        name: content.hex(" ") for name, content in examples_in(PAGE.read_text()).items()
    }


def test_identity_is_what_the_package_writes():
    """The text of IDENTITY stands in the page as in the file."""
    [text] = TEXT_BLOCK.findall(PAGE.read_text())

    assert IDENTITY == text


def test_every_event_has_an_example():
    """No type of event is shown by its fields alone."""
    shown = {name.partition("-")[0] for name in examples_in(PAGE.read_text())}

    assert set() == {kind.__name__ for kind in TYPE_NUMBERS} - shown


def test_fields_are_those_of_the_code():
    """Each event, row and open attempt has the fields and the defaults that the page lists, in that order."""
    kinds: dict[str, Any] = {kind.__name__: kind for kind in TYPE_NUMBERS}
    kinds.update({"row": ItemState, "open attempt": OpenAttempt})
    listed = {name: fields_of(f"{one}, {two}") for _, name, one, two in FIELDS.findall(PAGE.read_text())}
    coded = {
        name: [
            (field, plain(kind._field_defaults[field]) if field in kind._field_defaults else ...)
            for field in kind._fields
        ]
        for name, kind in kinds.items()
    }

    assert coded == {name: listed.get(name) for name in kinds}


# --- Reading the page ---------------------------------------------------------------------


def examples_in(page: str) -> dict[str, bytes]:
    """Return the bytes of each example by its id."""
    examples: dict[str, str] = {}
    name = ""
    for block in HEX_BLOCK.findall(page):
        for line in block.splitlines():
            code, _, _words = line.partition("#")
            if not line.startswith(" "):
                name, _, code = code.partition(":")
                assert name not in examples, f"two examples are called {name}"
            examples[name] = examples.get(name, "") + code
    return {name: b"".join(map(run_of_bytes, code.split())) for name, code in examples.items()}


def run_of_bytes(word: str) -> bytes:
    """Return the bytes of one *word* of an example."""
    code, _, times = word.partition("*")
    return bytes.fromhex(code) * int(times or 1)


def fields_of(cells: str) -> list[tuple[str, object]]:
    """Return the names that *cells* list, each with its default, or ``...`` if it has none."""
    found = []
    for cell in cells.split(", "):
        name, mark, default = cell.strip().partition(" = ")
        if name:
            found.append((name, json.loads(default.replace("nil", "null")) if mark else ...))
    return found


def plain(default: object) -> object:
    """Return a default as the page writes it: empty bytes as an empty text."""
    return "" if default == b"" else default
