"""An event as a line for people: every type, whole and safe to show."""

import pytest

from wal_runner.cli.as_json import EVENT_WORDS, event_of
from wal_runner.cli.event_text import event_line
from wal_runner.cli.output import json_text
from wal_runner.core import events as ev
from wal_runner.core import places
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import Decision, Status
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
    ev.SessionOpened(7, "host", 12, "boot", (), "/", "ada", "1", accepted=NASTY),
    ev.ItemStarted("a", 2, 1, Status.FAILED, 1, 1, ((NASTY, 3, True, RESULT, NASTY),), b"\x00", 1, RESULT),
    ev.ItemFailed(4, 1_500, ERROR._replace(traceback=3), 2, 1_795_556_221_000_000_000, final=True),
    ev.ItemReconciled(4, Decision.ABANDON, NASTY, NASTY, deaths=2),
    ev.ItemReopened("a", 4, Status.ABANDONED, 3, 2, NASTY, NASTY, ()),
    ev.ItemAttested(NASTY, Status.SUCCEEDED, NASTY, NASTY, 1_795_556_221_000_000_000, RESULT),
    ev.ItemAttested("a", Status.FAILED, NASTY, NASTY, error=ERROR),
    places.EffectStarted(4, NASTY),
    places.EffectSucceeded(4, 1_500, RESULT),
    places.EffectFailed(4, 1_500, ERROR),
    places.FunctionSeen(1, NASTY, NASTY),
    ev.SessionReached(7, NASTY, NASTY),
    ev.TextSeen(3, NASTY),
    ev.PauseSet(paused=True, by=NASTY, note=NASTY),
    ev.PauseSet(paused=False, by="ada", note=""),
    ev.RunEnded(7, NASTY, source_ended=False, because=NASTY, seen=63, not_started=2),
    ev.RunEnded(7, "pages", source_ended=True, because="", seen=300, not_started=0),
    ev.ItemHeld("a", 4, Status.SUCCEEDED, 3, 2, NASTY, NASTY, 1),
    places.ItemForgotten(b"\x00\xff", NASTY, NASTY),
    ev.ItemGivenUp("a", 4, Status.FAILED, 3, 2, NASTY, NASTY, ERROR),
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


ADDED = {ev.SessionOpened: 1, ev.ItemStarted: 6, ev.ItemFailed: 3, ev.ItemReconciled: 1, ev.ItemReopened: 1}


def added_fields(event):
    """Give the fields of *event* that format 1 did not have, each with its value."""
    count = ADDED.get(type(event), 0)
    return list(zip(event._fields, event, strict=True))[len(event) - count :]


@pytest.mark.parametrize("event", EVENTS, ids=NAMES)
def test_every_event_is_an_object_of_json(event):
    """Its own fields are all there, beside those of its record, and none hides another."""
    shown = event_of(entry(event), None)

    assert ("2026-11-24T21:37:01.123456Z", 1_234, 7) == (shown["time"], shown["seq"], shown["session"])
    # A session's opening names the session that the record names. Fields of format 2 on events of
    # format 1 are shown only if they are set.
    unset = sum(value == event._field_defaults[name] for name, value in added_fields(event))
    assert 4 + len(event) - unset - isinstance(event, ev.SessionOpened) == len(shown)
    assert json_text(shown)
