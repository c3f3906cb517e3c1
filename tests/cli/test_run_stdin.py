"""``walrun run --items -``: items that come when they come, from a producer that takes its time."""

import io
import os

import pytest

from tests.cli.stage import Stage
from wal_runner.cli.items import open_items
from wal_runner.cli.items_stdin import PatientInput
from wal_runner.recovery.verifying import verify


@pytest.mark.parametrize("workers", [1, 3])
def test_items_at_hand_are_not_held_for_the_next_one(tmp_path, workers):
    """A burst of items, then nothing for an hour: all of them run now, however many were pulled together."""
    items = "abcdefghijklmnop"
    with Stage(tmp_path, items) as stage:
        stage.let(items)
        shell = stage.walrun(
            "run", "a.wal", "--items", "-", "-j", str(workers), "--", "sh", "-c", Stage.SCRIPT, "sh", "{}"
        )
        shell.process.stdin.write("".join(f"{item}\n" for item in items))
        shell.process.stdin.flush()
        began = stage.hear(len(items))
        shell.process.stdin.close()
        shell.process.stdin = None
        ended = shell.end()

        assert set(items) == set(began)
        assert 0 == ended.code
        assert list(items) == sorted(stage.ledger)
    assert [] == list(verify(stage.log))


@pytest.fixture
def pipe():
    """Give the input that reads a pipe, and the pipe's other end."""
    ours, theirs = os.pipe()
    with open(ours, "rb", buffering=0) as reading, open(theirs, "wb", buffering=0) as writing:  # noqa: PTH123 - descriptors
        yield PatientInput(reading.fileno()), writing


def test_it_knows_whether_a_line_is_there(pipe):
    """What is buffered counts, and so does what the pipe still holds; a part of a line is none."""
    given, writing = pipe
    answers = [given.would_block()]
    writing.write(b"a\nb\n")
    for _ in range(2):
        answers.append(given.would_block())
        given.readline()
    answers.append(given.would_block())
    writing.write(b"part")
    answers.append(given.would_block())

    assert [True, False, False, True, True] == answers


def test_end_of_input_is_no_line(pipe):
    """At the end nothing more comes, and reading says so."""
    given, writing = pipe
    writing.write(b"last")
    writing.close()

    assert given.would_block()
    assert [b"last", b""] == [given.readline(), given.readline()]


def test_long_lines_come_whole(pipe):
    """A line that is longer than the buffer is read on until its end, or up to what was asked for."""
    given, writing = pipe
    writing.write(b"x" * 20_000 + b"\ny\n")

    assert b"x" * 100 == given.readline(100)
    assert 19_901 == len(given.readline())
    assert b"y\n" == given.readline()


def test_stdin_without_a_descriptor_is_read_too():
    """A stream in memory stands in for it in other programs' tests."""
    found = open_items("-", io.BytesIO(b"a\nb\n"))

    assert ["a", "b"] == list(found)
    assert found.would_block is None
