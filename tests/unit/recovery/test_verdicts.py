"""Verdicts and reopenings: on record, all or none, and only about what they are about."""

import pytest

from tests.support.folded import live, replayed
from tests.support.logs import fill, start, succeed
from wal_runner.core.arrays import events_of
from wal_runner.core.events import Decision, ItemInterrupted, ItemReconciled, ItemReopened, Status
from wal_runner.errors import ItemUnknown, VerdictRefused
from wal_runner.log.format import NOTE_CHARS_MAX
from wal_runner.recovery.recover import begin_session
from wal_runner.recovery.verdicts import Verdict, reopen, resolve


@pytest.fixture(params=["tail", "snapshot"])
def writer(request, bench):
    """Give a log with items in each status, and some in doubt, in memory or only in the snapshot's rows."""
    made = begin_session(bench.open())
    fill(made)
    seqs = start(made, ["doubted too", "abandoned"])
    made.append([ItemInterrupted(seq, 5, "Ctrl-C") for seq in seqs.values()])
    resolve(made, {"abandoned": Verdict.abandon()}, by="ann")
    if request.param == "snapshot":
        made.take_snapshot()
    yield made
    made.close()


def statuses(writer, *ids):
    state = live(writer)
    return [state.item(item_id).status if state.item(item_id) else None for item_id in ids]


def last_events(writer, count):
    records = list(writer.log.read(0, limit=10_000))
    return [event for record in records for _, event in events_of(record)][-count:]


# --- Verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "status", "result"),
    [
        (Verdict.happened(), Status.SUCCEEDED, None),
        (Verdict.happened({"id": 7}), Status.SUCCEEDED, b"\x81\xa2id\x07"),
        (Verdict.did_not_happen(), Status.PENDING, None),
        (Verdict.abandon(), Status.ABANDONED, None),
    ],
)
def test_verdict_settles_a_doubt(writer, verdict, status, result):
    """Each verdict makes of a doubt what it says, with the result that was found."""
    assert 1 == resolve(writer, {"doubted": verdict}, by="ann")
    assert [status] == statuses(writer, "doubted")
    assert result == live(writer).item("doubted").result
    assert live(writer) == replayed(writer.log)


def test_verdict_is_on_record(writer):
    """Who said it and why stands in the log; the verdict's own note wins over the call's."""
    start_seq = live(writer).item("doubted").start_seq
    resolve(writer, {"doubted": Verdict.happened("sent", note="in the outbox")}, by="ann", note="all of them")
    [event] = last_events(writer, 1)

    assert ItemReconciled(start_seq, Decision.HAPPENED, "ann", "in the outbox", b"\xa4sent") == event


@pytest.mark.parametrize(("result", "why"), [({object()}, "of type set"), ("x" * 2_000_000, "over the limit of")])
def test_result_that_cannot_be_stored_is_refused(writer, result, why):
    """A person can give another result, or none; an item that has succeeded without it cannot be answered again."""
    with pytest.raises(VerdictRefused, match=why):
        resolve(writer, {"doubted": Verdict.happened(result)}, by="ann")

    assert [Status.IN_DOUBT] == statuses(writer, "doubted")


def test_reconciler_without_storable_result_settles_with_a_warning(writer, caplog):
    """Its evidence counts all the same: a run must not end for it."""
    starts = {"doubted": live(writer).item("doubted").start_seq}
    resolve(writer, {"doubted": Verdict.happened({object()})}, by="look", starts=starts, skip_others=True)

    assert [Status.SUCCEEDED] == statuses(writer, "doubted")
    assert "The results of 1 verdicts by look were not kept" in caplog.text


def test_long_notes_are_cut(writer):
    """Whatever a person pastes, the event stays small, and is text."""
    resolve(writer, {"doubted": Verdict.abandon(note="x" * 1_000_000)}, by="\ud800" * 10)
    [event] = last_events(writer, 1)

    assert NOTE_CHARS_MAX <= len(event.note) < NOTE_CHARS_MAX + 50
    assert event.by.encode()


@pytest.mark.parametrize("item_id", ["done-3", "failed", "open", "abandoned"])
def test_verdict_about_what_is_not_in_doubt_is_refused(writer, item_id):
    """All or none: the doubt beside it stays, and nothing is written."""
    before = writer.state.seq
    with pytest.raises(VerdictRefused, match="not in doubt"):
        resolve(writer, {"doubted": Verdict.happened(), item_id: Verdict.happened()}, by="ann")

    assert before == live(writer).seq
    assert [Status.IN_DOUBT] == statuses(writer, "doubted")


def test_verdict_about_an_unknown_item_is_refused(writer):
    """A mistyped id writes nothing."""
    with pytest.raises(ItemUnknown, match="no item 'nobody'"):
        resolve(writer, {"doubted": Verdict.happened(), "nobody": Verdict.happened()}, by="ann")

    assert [Status.IN_DOUBT] == statuses(writer, "doubted")


def test_verdict_names_the_start_that_it_is_about(writer):
    """Evidence that took a while to collect settles only the very doubt that it was collected for."""
    starts = {i: live(writer).item(i).start_seq for i in ("doubted", "doubted too", "done-3")}
    starts["doubted too"] -= 1
    verdicts = {item_id: Verdict.happened() for item_id in starts}

    assert 1 == resolve(writer, verdicts, by="a reconciler", starts=starts, skip_others=True)
    assert [Status.SUCCEEDED, Status.IN_DOUBT, Status.SUCCEEDED] == statuses(writer, *starts)


def test_evidence_about_no_start_settles_nothing(writer):
    """An item that was not in doubt when the evidence was collected is not settled by it."""
    assert 0 == resolve(writer, {"doubted": Verdict.happened()}, by="a reconciler", starts={}, skip_others=True)
    assert [Status.IN_DOUBT] == statuses(writer, "doubted")


def test_no_verdicts_write_nothing(writer):
    """A reconciler that has evidence on none."""
    before = writer.state.seq

    assert 0 == resolve(writer, {}, by="ann")
    assert before == live(writer).seq


# --- Reopenings -------------------------------------------------------------------------------------


def test_reopened_item_is_pending_in_the_next_generation(writer):
    """It may run again, with a new idempotency key; how often it was tried is not forgotten."""
    before = live(writer).item("failed")
    assert 2 == reopen(writer, ["failed", "abandoned", "failed"], by="ann", note="fixed the address")
    item = live(writer).item("failed")

    assert (Status.PENDING, before.attempts, before.generation + 1) == (item.status, item.attempts, item.generation)
    assert [Status.PENDING] == statuses(writer, "abandoned")
    assert (
        ItemReopened("failed", before.start_seq, Status.FAILED, 1, 1, "ann", "fixed the address")
        == (last_events(writer, 2)[0])
    )
    assert live(writer) == replayed(writer.log)


def test_item_that_succeeded_is_reopened_on_request_only(writer):
    """Its effect would be repeated, so that is asked for by name."""
    with pytest.raises(VerdictRefused, match="succeeded=True"):
        reopen(writer, ["failed", "done-3"], by="ann")
    assert [Status.FAILED, Status.SUCCEEDED] == statuses(writer, "failed", "done-3")
    reopen(writer, ["failed", "done-3"], by="ann", succeeded=True)

    assert [Status.PENDING, Status.PENDING] == statuses(writer, "failed", "done-3")


@pytest.mark.parametrize(("item_id", "why"), [("doubted", "in doubt"), ("open", "started")])
def test_item_that_is_not_over_is_not_reopened(writer, item_id, why):
    """A doubt is settled first; what runs, runs."""
    before = writer.state.seq
    with pytest.raises(VerdictRefused, match=why):
        reopen(writer, ["failed", item_id], by="ann", succeeded=True)

    assert before == live(writer).seq


def test_pending_item_is_not_reopened(writer):
    """There is nothing to reopen twice."""
    reopen(writer, ["failed"], by="ann")
    with pytest.raises(VerdictRefused, match="pending"):
        reopen(writer, ["failed"], by="ann")


def test_unknown_item_is_not_reopened(writer):
    """A mistyped id writes nothing."""
    with pytest.raises(ItemUnknown):
        reopen(writer, ["failed", "nobody"], by="ann")

    assert [Status.FAILED] == statuses(writer, "failed")


def test_rows_of_a_snapshot_are_overruled_by_what_came_since(writer):
    """An item that stands in the rows as it was is judged by what it is."""
    reopen(writer, ["failed"], by="ann")
    succeed_again = live(writer).item("failed")
    succeed(writer, ["new"])

    assert Status.PENDING is succeed_again.status
    with pytest.raises(VerdictRefused):
        resolve(writer, {"failed": Verdict.happened()}, by="ann")
