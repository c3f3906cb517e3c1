"""An event as a line for people: every type, whole and safe to show."""

import pytest

from wal_runner.cli.as_json import EVENT_WORDS, event_of
from wal_runner.cli.event_text import event_line
from wal_runner.cli.output import json_text
from wal_runner.core import events as ev
from wal_runner.core.events import Decision, ErrorInfo, Status
from wal_runner.recovery.reader import HistoryEntry


NASTY = "\x1b[2J\nbell\x07"
ERROR = ErrorInfo("ValueError", NASTY, NASTY)
RESULT = b"\x93\x01\xc0\xa4\x1b[2J"  # [1, None, "\x1b[2J"]

EVENTS = [
    ev.SessionOpened(7, NASTY, 12, "boot", (NASTY,), NASTY, NASTY, "1"),
    ev.SessionClosed(7),
    ev.SessionLost(3, 1_795_556_221_000_000_000),
    ev.SessionLost(3),
    ev.ItemStarted("a"),
    ev.ItemStarted(NASTY, 2, 1, Status.FAILED),
    ev.ItemSucceeded(4, 1_500),
    ev.ItemSucceeded(4, 1_500, RESULT),
    ev.ItemSucceeded(4, 1_500, None, NASTY),
    ev.ItemFailed(4, 1_500, ERROR),
    ev.ItemInterrupted(4, 1_500, NASTY, ERROR),
    ev.ItemReleased(4),
    ev.ItemReconciled(4, Decision.HAPPENED, NASTY, NASTY, RESULT),
    ev.ItemReconciled(4, Decision.DID_NOT_HAPPEN, "ada", ""),
    ev.ItemReopened("a", 4, Status.ABANDONED, 3, 2, NASTY, NASTY),
    ev.LateOutcome("a", 4, 1_500, RESULT),
    ev.LateOutcome("a", 4, 1_500, error=ERROR),
    ev.CursorAdvanced(NASTY, RESULT),
    ev.CursorAdvanced("pages", None),
    ev.SnapshotTaken(4, 1 << 63),
    ev.LogCompacted(4, b"\xff\x00"),
    ev.KeyRuleSet(NASTY, NASTY, NASTY),
]
NAMES = [f"{number} {EVENT_WORDS[type(event)]}" for number, event in enumerate(EVENTS)]


def entry(event):
    """Put *event* into a log."""
    return HistoryEntry(1_234, 1_795_556_221_123_456_789, 7, event)


def test_examples_are_of_every_type():
    """None is left out."""
    assert set(EVENT_WORDS) == {type(event) for event in EVENTS}


@pytest.mark.parametrize("event", EVENTS, ids=NAMES)
def test_every_event_is_one_line_that_prints(event):
    """In the order seq, time, session, what; whatever somebody put into it."""
    line = event_line(entry(event), NASTY)

    assert line.isprintable()
    assert line.startswith("    1,234  20")
    assert f"session 7    {EVENT_WORDS[type(event)]}" in line


@pytest.mark.parametrize("event", EVENTS, ids=NAMES)
def test_every_event_is_an_object_of_json(event):
    """Its own fields are all there, beside those of its record, and none hides another."""
    shown = event_of(entry(event), None)

    assert ("2026-11-24T21:37:01.123456Z", 1_234, 7) == (shown["time"], shown["seq"], shown["session"])
    # A session's opening names the session that the record names.
    assert 4 + len(event) - isinstance(event, ev.SessionOpened) == len(shown)
    assert json_text(shown)
