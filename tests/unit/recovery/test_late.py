"""Late outcomes: what a session that was declared lost knows after all, recorded by another."""

import os

import pytest

from tests.support.logs import ERROR, start, succeed
from wal_runner import Runner, Status
from wal_runner.core.events import ItemFailed, ItemInterrupted, ItemSucceeded, LateOutcome
from wal_runner.errors import LogReplaced
from wal_runner.recovery.late import record_late
from wal_runner.recovery.late_events import late_outcome
from wal_runner.recovery.recover import open_writer
from wal_runner.recovery.verifying import verify


@pytest.fixture
def path(tmp_path):
    return tmp_path / "emails.wal"


def found(path):
    """Give each item's status and result, and make sure that the log is sound."""
    assert [] == list(verify(path))
    with Runner.open_read(path) as view:
        return {item.item_id: (item.status, item.result) for item in view.items()}


def test_outcomes_become_late_ones():
    """Nothing that was known is left out; an interruption knows no more than the doubt."""
    assert LateOutcome("a", 4, 5, b"\xa2ok", "why") == late_outcome("a", ItemSucceeded(4, 5, b"\xa2ok", "why"))
    assert LateOutcome("a", 4, 5, error=ERROR) == late_outcome("a", ItemFailed(4, 5, ERROR))
    assert late_outcome("a", ItemInterrupted(4, 5, "Ctrl-C")) is None


def test_what_is_known_settles_the_doubts(path):
    """Each by its own; what nobody knows stays in doubt."""
    writer, _ = open_writer(path)
    for seq in start(writer, ["sent", "refused", "unknown"]).values():
        writer.session.scratch.begin(seq, seq)
    seqs = {attempt.item_id: seq for seq, attempt in writer.state.attempts()}
    known = {"sent": ItemSucceeded(seqs["sent"], 5, b"\xa2ok"), "refused": ItemFailed(seqs["refused"], 5, ERROR)}

    assert 2 == record_late(writer, known)
    assert writer.closed
    assert {
        "sent": (Status.SUCCEEDED, "ok"),
        "refused": (Status.FAILED, None),
        "unknown": (Status.IN_DOUBT, None),
    } == found(path)


def test_start_of_a_session_that_lives_is_left_alone(path):
    """A command holds the lock of a session whose process gave up: the item is started, and no outcome is late yet."""
    writer, _ = open_writer(path)
    [seq] = start(writer, ["sent"]).values()
    writer.session.scratch.begin(0, seq)
    inherited = os.dup(writer.session.descriptor)
    try:
        assert 0 == record_late(writer, {"sent": ItemSucceeded(seq, 5)})
        assert {"sent": (Status.STARTED, None)} == found(path)
    finally:
        os.close(inherited)


def test_start_of_something_else_is_left_alone(path):
    """In a log that was restored from a backup the same seq may be another item's start, or another session's."""
    first, _ = open_writer(path)
    [others] = start(first, ["others"]).values()
    first.session.scratch.begin(0, others)
    first.abandon()
    writer, _ = open_writer(path)
    [own] = start(writer, ["own"]).values()
    writer.session.scratch.begin(0, own)

    assert 0 == record_late(writer, {"others": ItemSucceeded(others, 5), "misnamed": ItemSucceeded(own, 5)})
    assert {"others": (Status.IN_DOUBT, None), "own": (Status.IN_DOUBT, None)} == found(path)


def test_another_log_in_its_place_is_left_alone(path, tmp_path):
    """Nothing is written to it, and who asked is told."""
    writer, _ = open_writer(path)
    [seq] = start(writer, ["a"]).values()
    path.rename(tmp_path / "moved.wal")
    other, _ = open_writer(path)
    succeed(other, ["b"])
    other.close()

    with pytest.raises(LogReplaced, match="another log by now"):
        record_late(writer, {"a": ItemSucceeded(seq, 5)})
    assert {"b": (Status.SUCCEEDED, None)} == found(path)


def test_nothing_known_writes_nothing(path):
    """And the session stays as it is."""
    writer, _ = open_writer(path)
    [seq] = start(writer, ["a"]).values()

    assert 0 == record_late(writer, {"a": ItemInterrupted(seq, 5, "Ctrl-C")})
    assert not writer.closed
    writer.close()
