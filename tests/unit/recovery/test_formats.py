"""Outcomes are never refused for their format: they raise the log to it, or lose only their result."""

import pytest

from tests.support import damage
from tests.support.logs import start, succeed
from tests.unit.recovery.test_recover import die, running
from wal_runner.core.arrays import events_of, to_array
from wal_runner.core.events import (
    Decision,
    ItemInterrupted,
    ItemReconciled,
    ItemStarted,
    ItemSucceeded,
    LateOutcome,
    SessionOpened,
    Status,
)
from wal_runner.core.formats import needs_format_2
from wal_runner.errors import CommitUnknown, DiskFull
from wal_runner.log.format import META_FORMAT
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_store import Fault, MemoryStore
from wal_runner.log.rows import pack
from wal_runner.recovery import recover, verdicts, verifying
from wal_runner.recovery.recover import begin_session, bury_the_dead, open_writer
from wal_runner.recovery.verdicts import Verdict, resolve
from wal_runner.recovery.verifying import _content_problems, verify


TAGGED = b"\xd6\x01abcd"
WHY = "an older wal_runner is running on this log (session 1, pid 42 on mailer-1)"


@pytest.fixture(autouse=True)
def verdicts_may_be_tagged(monkeypatch):
    """Let the result "tagged" of a verdict be packed as a tagged result."""
    really = verdicts.encode_result

    def encode(value, *more, **options):
        return (TAGGED, None) if value == "tagged" else really(value, *more, **options)

    monkeypatch.setattr(verdicts, "encode_result", encode)


@pytest.fixture
def store():
    """Give the store of a new log in memory, which asserts that no event is above the log's format."""
    return MemoryStore()


class Older:
    """A live session of an older version on *store*."""

    def __init__(self, store, monkeypatch, version="0.1.0"):
        with monkeypatch.context() as patch:
            patch.setattr(recover, "__version__", version)
            patch.setattr(recover.os, "getpid", lambda: 42)
            patch.setattr(recover.host, "host_name", lambda: "mailer-1")
            self.writer = begin_session(MemoryLog(store))

    def end(self):
        """End it; its end is not on record."""
        self.writer.session.abandon()
        self.writer.log.close()


@pytest.fixture
def older(store, monkeypatch):
    """Give a live session of an older version: session 1."""
    return Older(store, monkeypatch)


def events_in(store, kind):
    """Give the events of *kind* that the log holds."""
    log = MemoryLog(store)
    return [event for record in log.read(0, limit=999) for _, event in events_of(record) if isinstance(event, kind)]


def format_in(store):
    """Give the format that the log is in."""
    return MemoryLog(store).format()


def doubt(writer, item_id="a"):
    """Leave an item in doubt; give its start."""
    start_seq = start(writer, [item_id])[item_id]
    writer.append([ItemInterrupted(start_seq, 5, "Ctrl-C")])
    return start_seq


# --- The writer ---------------------------------------------------------------------------


def test_plain_results_leave_the_log_as_it_is(store):
    """A log that uses nothing new stays in format 1."""
    writer = begin_session(MemoryLog(store))
    succeed(writer, ["a", "b"], b"\xa2ok")
    writer.close()

    assert 1 == format_in(store)


def test_tagged_result_raises_the_format(store):
    """The first one does it, in its own turn."""
    writer = begin_session(MemoryLog(store))
    succeed(writer, ["a"], TAGGED)

    assert (2, [TAGGED]) == (format_in(store), [event.result for event in events_in(store, ItemSucceeded)])


@pytest.mark.usefixtures("older")
@pytest.mark.parametrize("as_arrays", [False, True], ids=["events", "arrays"])
def test_result_is_left_out_under_an_older_process(store, as_arrays):
    """The item has succeeded, with the reason; plain results beside it are kept."""
    writer = begin_session(MemoryLog(store))
    seqs = start(writer, ["a", "b", "c"])
    events = [
        ItemSucceeded(seqs[item_id], 5, packed)
        for item_id, packed in zip("abc", (b"\x01", TAGGED, b"\x02"), strict=True)
    ]
    first_seq = writer.state.seq + 1
    writer.append([to_array(seq, event) if as_arrays else event for seq, event in enumerate(events, first_seq)])
    kept = events_in(store, ItemSucceeded)

    assert [b"\x01", None, b"\x02"] == [event.result for event in kept]
    assert [None, None] == [kept[0].omitted, kept[2].omitted]
    assert kept[1].omitted.startswith(WHY)
    assert kept[1].omitted.endswith("could not read this result, so it was not kept")
    assert (1, 1) == (format_in(store), writer.state.results_omitted)


def test_result_is_kept_once_the_older_process_is_gone(store, older):
    """Whether its end is on record does not matter."""
    writer = begin_session(MemoryLog(store))
    succeed(writer, ["a"], TAGGED)
    older.end()
    succeed(writer, ["b"], TAGGED)

    assert [None, TAGGED] == [event.result for event in events_in(store, ItemSucceeded)]
    assert 2 == format_in(store)


@pytest.mark.parametrize(("fault", "error"), [(Fault.NOT_WRITTEN, CommitUnknown), (Fault.DISK_FULL, DiskFull)])
def test_failed_commit_raises_nothing(store, fault, error):
    """The format is undone with the turn, and the retry raises it again."""
    writer = begin_session(MemoryLog(store))
    [start_seq] = start(writer, ["a"]).values()
    faults = iter([fault])
    store.hook = lambda moment: next(faults, None) if moment == "commit" else None
    with pytest.raises(error):
        writer.append([ItemSucceeded(start_seq, 5, TAGGED)])

    assert (1, []) == (format_in(store), events_in(store, ItemSucceeded))
    writer.append([ItemSucceeded(start_seq, 5, TAGGED)])
    assert (2, 1) == (format_in(store), len(events_in(store, ItemSucceeded)))


def test_commit_that_was_written_after_all_has_raised_it(store):
    """The format and the record are there both."""
    writer = begin_session(MemoryLog(store))
    [start_seq] = start(writer, ["a"]).values()
    faults = iter([Fault.WRITTEN])
    store.hook = lambda moment: next(faults, None) if moment == "commit" else None
    with pytest.raises(CommitUnknown):
        writer.append([ItemSucceeded(start_seq, 5, TAGGED)])
    writer.catch_up()

    assert (2, Status.SUCCEEDED) == (format_in(store), writer.state.item("a").status)


# --- All other ways in which outcomes reach the log ------------------------------------------------


def succeeded_with_tag(start_seq):
    """Make the outcome that a slot holds."""
    return ItemSucceeded(start_seq, 5, TAGGED)


@pytest.mark.parametrize("under_older", [False, True])
def test_slots_of_the_dead_are_fitted_at_an_opening(store, monkeypatch, under_older):
    """Recovery appends what they prove in the dead session's name."""
    other = Older(store, monkeypatch, "0.1.0" if under_older else "0.2.0")
    writer = begin_session(MemoryLog(store))
    running(writer, "a", succeeded_with_tag)
    die(writer)
    begin_session(MemoryLog(store))
    [event] = events_in(store, ItemSucceeded)

    assert (None if under_older else TAGGED, under_older) == (event.result, event.omitted is not None)
    assert (1 if under_older else 2) == format_in(store)
    other.end()


@pytest.mark.parametrize("under_older", [False, True])
def test_slots_of_the_dead_are_fitted_in_a_session(store, monkeypatch, under_older):
    """A death that is found while we run is recorded by the same rule."""
    other = Older(store, monkeypatch, "0.1.0" if under_older else "0.2.0")
    writer, survivor = begin_session(MemoryLog(store)), begin_session(MemoryLog(store))
    writer.catch_up()
    running(writer, "a", succeeded_with_tag)
    die(writer)
    bury_the_dead(survivor)
    [event] = events_in(store, ItemSucceeded)

    assert (None if under_older else TAGGED) == event.result
    other.end()


@pytest.mark.parametrize("under_older", [False, True])
def test_last_words_are_fitted(store, monkeypatch, under_older):
    """What a session's own slots hold when it is closed is an outcome like any other."""
    other = Older(store, monkeypatch, "0.1.0" if under_older else "0.2.0")
    writer = begin_session(MemoryLog(store))
    running(writer, "a", succeeded_with_tag)
    writer.close()
    [event] = events_in(store, ItemSucceeded)

    assert (None if under_older else TAGGED) == event.result
    other.end()


@pytest.mark.parametrize("under_older", [False, True])
def test_verdicts_are_fitted(store, monkeypatch, under_older):
    """A reconciler's answer is not lost, only the result that came with it."""
    other = Older(store, monkeypatch, "0.1.0" if under_older else "0.2.0")
    writer = begin_session(MemoryLog(store))
    starts = {"a": doubt(writer)}
    resolve(writer, {"a": Verdict.happened("tagged")}, by="look", starts=starts, skip_others=True)
    [event] = events_in(store, ItemReconciled)

    assert (Decision.HAPPENED, None if under_older else TAGGED) == (event.decision, event.result)
    assert under_older == (event.omitted is not None)
    other.end()


@pytest.mark.parametrize("under_older", [False, True])
def test_late_outcomes_are_fitted(store, monkeypatch, under_older):
    """They settle the doubt, with or without their result."""
    other = Older(store, monkeypatch, "0.1.0" if under_older else "0.2.0")
    writer = begin_session(MemoryLog(store))
    start_seq = doubt(writer)
    writer.append([LateOutcome("a", start_seq, 5, TAGGED)])
    [event] = events_in(store, LateOutcome)

    assert (None if under_older else TAGGED) == event.result
    assert Status.SUCCEEDED is writer.state.item("a").status
    other.end()


def test_every_record_fits_its_format_on_disk(bench):
    """What the memory engine asserts, checked on both engines from what is stored."""
    writer = begin_session(bench.open())
    succeed(writer, ["a"], TAGGED)
    writer.append([ItemStarted("b")])
    stored = [event for record in writer.log.read(0, limit=99) for _, event in events_of(record)]

    assert any(isinstance(event, SessionOpened) for event in stored)
    assert [True] == [needs_format_2(event.result) for event in stored if isinstance(event, ItemSucceeded)]
    assert 2 == writer.log.format()
    writer.abandon()


# --- Verification -----------------------------------------------------------------------------------


def test_event_above_the_format_of_its_log_is_a_problem(tmp_path):
    """An older version would open such a log, and call the event damaged; its seq is named."""
    path = tmp_path / "emails.wal"
    writer, _ = open_writer(path)
    succeed(writer, ["plain"], b"\xa2ok")
    succeed(writer, ["tagged"], TAGGED)
    seq = writer.state.seq
    succeed(writer, ["more"], TAGGED)
    writer.close()
    sound = list(verify(path))
    damage.put_meta(path, META_FORMAT, pack(META_FORMAT, 1))
    [problem] = verify(path)

    assert [] == sound
    assert ("format", seq) == (problem.part, problem.seq)
    assert f"Event {seq} needs format 2, and the log says that it is in format 1" in problem.text


def test_log_that_is_raised_during_verification_is_sound(monkeypatch):
    """The format is read after the records: it is raised in the commit that writes what needs it."""
    store = MemoryStore()
    writer = begin_session(MemoryLog(store))
    really = verifying.fold_all

    def fold_all(log, after=b""):
        succeed(writer, ["tagged"], TAGGED)
        return really(log, after)

    monkeypatch.setattr(verifying, "fold_all", fold_all)

    assert [] == list(_content_problems(MemoryLog(store)))
    assert 2 == format_in(store)
