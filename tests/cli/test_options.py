"""What several commands read alike: points in time, and ids."""

import io
import time
from datetime import UTC, datetime, timedelta, timezone

import click
import pytest

from wal_runner.cli.options import ids_of, point_in_time


EAST = timezone(timedelta(hours=5, minutes=30))


@pytest.fixture(autouse=True)
def local_time_of_delhi(monkeypatch):
    """Make local time half an hour off from everybody else's."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def point(text):
    """Read *text* as ``--until`` does."""
    return point_in_time(click.Context(click.Command("x")), click.Option(["--until"]), text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("20261124", 20_261_124),
        ("2026-11-24T21:37:01.5Z", datetime(2026, 11, 24, 21, 37, 1, 500_000, UTC)),
        ("2026-11-24T21:37:01.000000+00:00", datetime(2026, 11, 24, 21, 37, 1, 0, UTC)),
        ("2026-11-24T21:37:01Z", datetime(2026, 11, 24, 21, 37, 1, 999_999, UTC)),
        ("2026-11-24 21:37:01+01:00", datetime(2026, 11, 24, 20, 37, 1, 999_999, UTC)),
        ("2026-11-24T21:37Z", datetime(2026, 11, 24, 21, 37, 59, 999_999, UTC)),
        ("2026-11-24T21:37-01:00", datetime(2026, 11, 24, 22, 37, 59, 999_999, UTC)),
        ("2026-11-24T21:37:01", datetime(2026, 11, 24, 21, 37, 1, 999_999, EAST)),
        ("2026-11-24 21:37", datetime(2026, 11, 24, 21, 37, 59, 999_999, EAST)),
        ("2026-11-24", datetime(2026, 11, 24, 23, 59, 59, 999_999, EAST)),
    ],
)
def test_point_in_time_is_the_end_of_what_was_named(text, expected):
    """Digits are a seq; a time covers the day, minute or second that it names, in local time unless it has a zone."""
    found = point(text)

    assert expected == found
    assert isinstance(found, int) or found.tzinfo is not None


@pytest.mark.parametrize("text", ["", "noon", "-1", "1.5", "2026-13-01", "9999-12-31", "²"])
def test_what_is_no_point_in_time_is_refused(text):
    """The message shows what would have been one."""
    with pytest.raises(click.BadParameter, match="neither a seq nor a time"):
        point(text)


def test_no_point_is_the_end():
    """Without --until everything is shown."""
    assert point(None) is None


def test_ids_are_read_from_the_command_line_or_stdin():
    """Once each, in their order; an id from the command line may have any blanks in it."""
    assert ["b", " a\n"] == ids_of(["b", " a\n", "b"], io.BytesIO(b"unread"))
    assert ["b", " a "] == ids_of(["-"], io.BytesIO(b"b\r\n\n a \nb"))
    assert [] == ids_of(["-"], io.BytesIO(b""))


@pytest.mark.parametrize("given", [["a", "-"], [""], ["\udcff"]], ids=["both", "empty", "no text"])
def test_what_is_no_id_is_a_usage_error(given):
    """Before anything is opened."""
    with pytest.raises(click.UsageError):
        ids_of(given, io.BytesIO(b"a\n"))
