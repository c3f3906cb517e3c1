"""Read the items of ``walrun run --items``: .jsonl, .csv, .txt, or standard input.

Imported by the command line only. Invariant: the source is read line by line as the run goes
on, so ten million items take the memory of one; and a line that cannot be read is named, not
skipped, because a skipped line is an item that is lost without a word.
"""

from __future__ import annotations

import csv
import json
import os
import stat
from contextlib import closing
from itertools import chain, islice
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

import click

from wal_runner.cli.items_stdin import PatientInput
from wal_runner.errors import WalRunnerError, listed
from wal_runner.runner.progress_meter import Total


if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

STDIN: Final = "-"
STDIN_NAME: Final = "<stdin>"
STDIN_FORMAT: Final = "txt"

# A file without line ends would otherwise be read whole.
LINE_BYTES_MAX: Final = 64 * 1024 * 1024

UTF8_MARK: Final = "\ufeff"
FIELDS_SHOWN_MAX: Final = 10


class ItemsUnreadable(WalRunnerError):
    """The file of items cannot be read, or a line of it is not what its format says."""


class Items:
    """The items of one source, one by one as they are asked for; the first can be looked at before."""

    def __init__(self, items: Generator[object], lines: _Lines, size_bytes: int | None = None) -> None:
        self.name: Final = lines.name
        self.would_block: Callable[[], bool] | None = None
        """Says that no item is there now, where that can be: a file always has them."""
        self._source = items
        self._first: list[object] = []
        self._items: Iterator[object] = items
        self._lines = lines
        self._size_bytes = size_bytes

    def __iter__(self) -> Iterator[object]:
        # Nothing of ours around it: a rerun skips a million items a second.
        return self._items

    def __next__(self) -> object:
        return next(self._items)

    def peek(self) -> list[object]:
        """Return the first item alone in a list, and do not lose it; an empty list if there is none.

        For the time before any is asked for.
        """
        if not self._first:
            self._first = list(islice(self._source, 1))
            self._items = chain(self._first, self._source)
        return self._first

    def total(self) -> Total | None:
        """Say how many items there are, by the part of the file that was read; None if nobody knows."""
        lines = self._lines
        if lines.ended or lines.position == self._size_bytes:
            return Total(lines.items)
        if self._size_bytes is None or not lines.position:
            return None
        return Total(round(lines.items * max(1.0, self._size_bytes / lines.position)), is_exact=False)

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._source.close()


def open_items(spec: str, stdin: BinaryIO, items_format: str | None = None) -> Items:
    """Open *spec* now, and return its items one by one as they are asked for.

    *spec* is a path, or ``-`` for *stdin*, which is not closed. *items_format* is "jsonl", "csv"
    or "txt"; None goes by the file's suffix, and takes "txt" for standard input. An item is a
    str (txt), a dict of str (csv), or any JSON value (jsonl). Raises `click.UsageError` here for
    a format that it does not know, and `ItemsUnreadable` here if the file cannot be opened, or
    out of the iterator, naming the line, if a line cannot be read.
    """
    read = _READERS[_format_of(spec, items_format)]
    if spec == STDIN:
        return _items_of_stdin(stdin, read)
    try:
        file = open(spec, "rb")  # noqa: SIM115, PTH123 - _read_and_close closes it
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or str(error)
        raise ItemsUnreadable(f"{spec}: {why}. Check the path given as --items.") from error
    lines = _Lines(file, spec)
    return Items(_read_and_close(file, read(lines)), lines, _size_of(file))


def known_fields(first_item: object) -> tuple[str, ...]:
    """Return the names of the fields of an item, in its order; none for text and other values."""
    return tuple(first_item) if isinstance(first_item, dict) else ()


# --- Formats ------------------------------------------------------------------------


def _read_text(lines: _Lines) -> Generator[object]:
    for line in lines:
        item = line.removesuffix("\n").removesuffix("\r")
        if item.strip():
            lines.items += 1
            yield item


def _read_json_lines(lines: _Lines) -> Generator[object]:
    for line in lines:
        if not line.strip():
            continue
        try:
            item = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ItemsUnreadable(
                f"{lines.where()} is no JSON value: {error}. Each line of .jsonl is one whole JSON value."
            ) from error
        lines.items += 1
        yield item


def _read_csv(lines: _Lines) -> Generator[object]:
    # strict: without it, csv reads on through a stray quote and joins rows in silence.
    rows = csv.reader(lines, strict=True)
    header: list[str] = []
    while True:
        first_line = lines.number + 1  # a quoted field may span lines; the row is where it begins
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise ItemsUnreadable(
                f"{lines.where(first_line)} is no CSV row: {error}. "
                "Quote the fields that hold quotes or line ends, or give the items as .jsonl."
            ) from error
        if row is None:
            break
        if not row:  # a blank line
            continue
        if not header:
            header = _checked_header(row, lines.where(first_line))
        elif len(row) == len(header):
            lines.items += 1
            yield dict(zip(header, row, strict=True))
        else:
            raise ItemsUnreadable(
                f"{lines.where(first_line)} has {len(row)} fields, and the header has {len(header)} "
                f"({listed(header, FIELDS_SHOWN_MAX)}). Quote fields that hold commas, and give them all."
            )
    if not header:
        # An export that failed leaves an empty file; "no items, all done" would hide it.
        raise ItemsUnreadable(
            f"{lines.name} is empty: it has no header row. Check that it was written whole; "
            "the first line of a .csv names the fields."
        )


_READERS: Final[dict[str, Callable[[_Lines], Generator[object]]]] = {
    "jsonl": _read_json_lines,
    "csv": _read_csv,
    "txt": _read_text,
}

FORMATS: Final = tuple(_READERS)


# --- Helpers ------------------------------------------------------------------------


class _Lines:
    """The lines of a binary file as text, each with its line end, counted and bounded."""

    def __init__(self, file: BinaryIO | PatientInput, name: str) -> None:
        self.name = name
        self.number = 0  # of the line that was returned last
        self.position = 0  # in bytes, behind that line
        self.items = 0  # that were made of the lines so far; counted by the reader
        self.ended = False
        self._file = file

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = self._file.readline(LINE_BYTES_MAX + 1)
        except OSError as error:
            raise ItemsUnreadable(
                f"{self.name}: {error.strerror or error} after line {self.number}. Check its source; "
                "what was read so far is in the log, so the same command goes on from there."
            ) from error
        if not line:
            self.ended = True
            raise StopIteration
        self.number += 1
        self.position += len(line)
        if len(line) > LINE_BYTES_MAX:
            raise ItemsUnreadable(
                f"{self.where()} is longer than {LINE_BYTES_MAX:,} bytes. Write one item a line, "
                "and put large contents into files that the items name."
            )
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise ItemsUnreadable(
                f"{self.where()} is not UTF-8 (byte {error.start + 1} of the line). "
                "Convert it, for instance with `iconv -f UTF-16 -t UTF-8` or `iconv -f LATIN1 -t UTF-8`."
            ) from error
        # Spreadsheets put a byte order mark first; left in, it would be part of an id.
        return text.removeprefix(UTF8_MARK) if self.number == 1 else text

    def where(self, number: int | None = None) -> str:
        """Name the line *number*, or the one that was returned last, as editors do."""
        return f"{self.name}:{self.number if number is None else number}"


def _items_of_stdin(stdin: BinaryIO, read: Callable[[_Lines], Generator[object]]) -> Items:
    try:
        patient = PatientInput(stdin.fileno())
    except OSError:  # no descriptor is behind it
        lines = _Lines(stdin, STDIN_NAME)
        return Items(read(lines), lines)
    lines = _Lines(patient, STDIN_NAME)
    items = Items(read(lines), lines)
    items.would_block = patient.would_block
    return items


def _read_and_close(file: BinaryIO, items: Generator[object]) -> Generator[object]:
    with closing(file):
        yield from items


def _size_of(file: BinaryIO) -> int | None:
    """Return the size of a regular file; a pipe or a device has none."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _format_of(spec: str, items_format: str | None) -> str:
    if items_format is None:
        suffix = PurePath(spec).suffix.lower().removeprefix(".")
        items_format = STDIN_FORMAT if spec == STDIN else suffix
        if items_format not in _READERS:
            raise click.UsageError(
                f"--items {spec}: the name does not end in .jsonl, .csv or .txt. "
                "Rename the file, or say what is in it with --items-format jsonl, csv or txt."
            )
    elif items_format not in _READERS:
        raise click.UsageError(f"--items-format {items_format} is unknown. Give jsonl, csv or txt.")
    return items_format


def _checked_header(names: list[str], where: str) -> list[str]:
    if "" in names:
        raise ItemsUnreadable(
            f"{where}: field {names.index('') + 1} of the header row has no name. Name every field once."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ItemsUnreadable(
            f"{where}: the header row names {listed(twice, FIELDS_SHOWN_MAX)} twice. Name every field once."
        )
    return names


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not part of JSON")
