"""Items of the command line: every line is an item or an error that names it."""

import io
import json
import os
from pathlib import Path

import click
import pytest

from wal_runner.cli import items
from wal_runner.cli.items import ItemsUnreadable, known_fields, open_items


NO_STDIN = io.BytesIO()


def read_file(folder, name, content, items_format=None):
    """Return all items of a file of *content*."""
    path = folder / name
    path.write_bytes(content)
    return list(open_items(str(path), NO_STDIN, items_format))


def read_stdin(content, items_format=None):
    """Return all items of a standard input of *content*."""
    return list(open_items("-", io.BytesIO(content), items_format))


def open_files():
    """Return how many descriptors this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


# --- What is read --------------------------------------------------------------------


def test_text_is_an_item_a_line(tmp_path):
    """Line ends and blank lines are no items; other blanks belong to the item."""
    found = read_file(tmp_path, "a.txt", "\ufeffone\r\n\n  \n two \n{3}\nvier ü".encode())

    assert ["one", " two ", "{3}", "vier ü"] == found


def test_json_lines_are_an_item_a_line(tmp_path):
    """A line is any JSON value, and blank lines are skipped."""
    found = read_file(tmp_path, "a.JSONL", b'\xef\xbb\xbf{"id": 1, "x": [null]}\r\n\n"two"\n3\n')

    assert [{"id": 1, "x": [None]}, "two", 3] == found


def test_csv_rows_are_dicts_of_text(tmp_path):
    """A row is a dict by the header's names; quoted fields may hold commas and line ends."""
    found = read_file(tmp_path, "a.csv", b'\xef\xbb\xbfid,name\r\n1,"Smith, Ann"\r\n\r\n2,"two\nlines"\r\n3,\r\n')

    assert [
        {"id": "1", "name": "Smith, Ann"},
        {"id": "2", "name": "two\nlines"},
        {"id": "3", "name": ""},
    ] == found


def test_standard_input_is_text_unless_said_otherwise():
    """A pipe has no suffix, so a format may be given."""
    assert ["a,b", "1,2"] == read_stdin(b"a,b\n1,2\n")
    assert [{"a": "1", "b": "2"}] == read_stdin(b"a,b\n1,2\n", "csv")
    assert [{"a": 1}] == read_stdin(b'{"a": 1}', "jsonl")


def test_standard_input_stays_open():
    """What is not ours is not closed."""
    stdin = io.BytesIO(b"a\n")

    assert ["a"] == list(open_items("-", stdin))
    assert not stdin.closed


def test_a_format_goes_before_the_suffix(tmp_path):
    """A file that is misnamed, or has no suffix, can be read all the same."""
    assert [1] == read_file(tmp_path, "a.txt", b"1\n", "jsonl")
    assert ["1"] == read_file(tmp_path, "a", b"1\n", "txt")


@pytest.mark.parametrize("items_format", ["txt", "jsonl"])
def test_no_lines_are_no_items(items_format):
    """An empty file of lines is an empty batch."""
    assert [] == read_stdin(b"", items_format)


def test_a_header_alone_is_no_items():
    """A CSV file with a header only is an empty batch."""
    assert [] == read_stdin(b"id,name\n", "csv")


@pytest.mark.parametrize(
    ("items_format", "lines", "expected"),
    [
        ("txt", [b"one\n", b"two\n"], "one"),
        ("jsonl", [b'"one"\n', b'"two"\n'], "one"),
        ("csv", [b"id\none\n", b"two\n"], {"id": "one"}),
    ],
)
def test_an_item_is_read_when_it_is_asked_for(items_format, lines, expected):
    """The first item of a slow pipe is there before the second is written."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=0) as stdin, os.fdopen(write_end, "wb", buffering=0) as writer:
        found = open_items("-", stdin, items_format)
        writer.write(lines[0])

        assert expected == next(found)  # would wait for ever if it read ahead
        writer.write(lines[1])
        next(found)


def test_a_file_is_closed_at_its_end_and_when_given_up(tmp_path):
    """A run that stops early leaves no file open."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\nb\n")
    before = open_files()
    list(open_items(str(path), NO_STDIN))
    given_up = open_items(str(path), NO_STDIN)
    next(given_up)
    given_up.close()

    assert before == open_files()


# --- What is refused --------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["items.xlsx", "items", "csv", ".csv", "/dev/fd/63"])
def test_an_unknown_suffix_is_a_usage_error(spec):
    """The error says both ways out."""
    with pytest.raises(click.UsageError, match=r"does not end in .* --items-format jsonl, csv or txt"):
        open_items(spec, NO_STDIN)


def test_an_unknown_format_is_a_usage_error():
    """A mistyped format is refused before the file is opened."""
    with pytest.raises(click.UsageError, match="--items-format yaml is unknown"):
        open_items("items.txt", NO_STDIN, "yaml")


def test_a_missing_file_is_said_at_once(tmp_path):
    """The error comes from opening, before a run has begun."""
    path = tmp_path / "missing.txt"
    with pytest.raises(ItemsUnreadable, match=r"missing\.txt: No such file or directory\. Check the path"):
        open_items(str(path), NO_STDIN)


def test_a_folder_or_an_impossible_path_is_no_file(tmp_path):
    """Whatever cannot be opened is said in the same words."""
    folder = tmp_path / "folder.txt"
    folder.mkdir()
    with pytest.raises(ItemsUnreadable, match="Is a directory"):
        open_items(str(folder), NO_STDIN)
    with pytest.raises(ItemsUnreadable, match="null byte"):
        open_items("a\0.txt", NO_STDIN)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"good\nb\xffd\n", "a.txt:2 is not UTF-8 (byte 2 of the line)"),
        ("a.jsonl", b'"good"\n\n"b\xffd"\n', "a.jsonl:3 is not UTF-8"),
        ("a.csv", b"id\n1\n\xff\n", "a.csv:3 is not UTF-8"),
        ("a.txt", "good\n".encode("utf-16"), "a.txt:1 is not UTF-8"),
        ("a.jsonl", b'{"id": 1}\n{"id": 2\n', "a.jsonl:2 is no JSON value: Expecting"),
        ("a.jsonl", b"{} {}\n", "a.jsonl:1 is no JSON value: Extra data"),
        ("a.jsonl", b"[NaN]\n", "a.jsonl:1 is no JSON value: NaN is not part of JSON"),
        ("a.jsonl", b"[" * 100_000 + b"\n", "a.jsonl:1 is no JSON value: maximum recursion"),
        ("a.jsonl", b"9" * 5000 + b"\n", "a.jsonl:1 is no JSON value: Exceeds"),
        ("a.csv", b"id,name\n1,Ann\n2\n", "a.csv:3 has 1 fields, and the header has 2 (id, name)"),
        ("a.csv", b"id,name\n1,Ann,x\n", "a.csv:2 has 3 fields"),
        ("a.csv", b'id,name\n1,"two\nlines"\n\n2\n', "a.csv:5 has 1 fields"),
        ("a.csv", b'id,name\n1,Ann\n2,"open\n3,Bob\n', "a.csv:3 is no CSV row"),
        ("a.csv", b'id,name\n1,"Ann"x\n', "a.csv:2 is no CSV row"),
        ("a.csv", b"id\n" + b"x" * 200_000, "a.csv:2 is no CSV row: field larger than field limit"),
        ("a.csv", b"id\r1\r", "a.csv:1 is no CSV row"),
        ("a.csv", b"id,,name\n", "a.csv:1: field 2 of the header row has no name"),
        ("a.csv", b"\nid,name,id\n", "a.csv:2: the header row names id twice"),
        ("a.csv", b"", "a.csv is empty: it has no header row"),
        ("a.csv", b"\n\n", "a.csv is empty: it has no header row"),
    ],
)
def test_a_bad_line_is_named(tmp_path, name, content, said):
    """The error names the file and the line where an editor would find it, and ends with advice."""
    with pytest.raises(ItemsUnreadable) as refusal:
        read_file(tmp_path, name, content)

    assert f"{tmp_path}/{said}" in str(refusal.value)
    assert str(refusal.value).endswith(".")


def test_items_before_a_bad_line_are_given():
    """A bad line stops the source at that line and not before."""
    found = open_items("-", io.BytesIO(b'1\n2\n{"id"\n'), "jsonl")

    assert [1, 2] == [next(found), next(found)]
    with pytest.raises(ItemsUnreadable, match="<stdin>:3 is no JSON value"):
        next(found)


def test_a_line_without_end_is_not_read_whole(monkeypatch):
    """A file that is no text file is refused before it fills the memory."""
    monkeypatch.setattr(items, "LINE_BYTES_MAX", 10)

    assert ["0123456789"[:9]] == read_stdin(b"012345678\n")
    with pytest.raises(ItemsUnreadable, match="<stdin>:2 is longer than 10 bytes"):
        read_stdin(b"a\n0123456789\n")


def test_a_disk_that_fails_midway_is_said():
    """An I/O error says how far the reading came."""

    class FailingDisk(io.BytesIO):
        def readline(self, size=-1):
            line = super().readline(size)
            if not line:
                raise OSError(5, "Input/output error")
            return line

    with pytest.raises(ItemsUnreadable, match=r"<stdin>: Input/output error after line 2\."):
        list(open_items("-", FailingDisk(b"a\nb\n")))


# --- Looking ahead -----------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a\n", b"a\nb\nc\n"])
def test_first_item_can_be_looked_at_and_is_not_lost(content):
    """A run looks at it before it starts anything, and then gets it, as often as it looked."""
    found = open_items("-", io.BytesIO(content))
    peeked = [found.peek(), found.peek()]
    items = list(found)

    assert [items[:1]] * 2 == peeked
    assert content.decode().split() == items


def test_none_is_an_item_like_any_other():
    """A JSON null that is looked at is not taken for the end."""
    found = open_items("-", io.BytesIO(b"null\n1\n"), "jsonl")

    assert [None] == found.peek()
    assert [None, 1] == list(found)


def test_total_is_estimated_by_the_part_of_the_file_that_was_read(tmp_path):
    """Nothing is known before the first line, then about how many there are, and at the end exactly."""
    path = tmp_path / "a.csv"
    path.write_text("id\n" + "".join(f"{number:04}\n" for number in range(1000)))
    found = open_items(str(path), NO_STDIN)
    totals = [found.total()]
    for _ in range(500):
        next(found)
    totals.append(found.total())
    list(found)
    totals.append(found.total())

    assert None is totals[0]
    assert not totals[1].is_exact
    assert 990 <= totals[1].items <= 1010
    assert (1000, True) == totals[2]


def test_total_of_a_pipe_is_known_at_its_end():
    """Standard input has no size."""
    found = open_items("-", io.BytesIO(b"a\nb\n"))
    next(found)
    before = found.total()
    list(found)

    assert None is before
    assert (2, True) == found.total()


# --- Fields ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first_item", "expected"),
    [({"id": "1", "name": "Ann"}, ("id", "name")), ({}, ()), ("text", ()), (5, ()), (["a"], ()), (None, ())],
)
def test_only_a_dict_has_fields(first_item, expected):
    """Rows and JSON objects have fields; text and other values have none."""
    assert expected == known_fields(first_item)


def test_every_json_value_comes_back():
    """What was written with json.dumps is read again exactly."""
    written = [{"a": [1, 2.5, None, True, "ü\u2028\n"]}, "", 0, [], False, None]
    content = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in written).encode()

    assert written == read_stdin(content, "jsonl")
