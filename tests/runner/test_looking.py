"""What a Runner tells of its log, and what it settles on request."""

import pytest

from tests.runner.driving import Effects, named, numbers, serial, statuses
from wal_runner import Runner, Status, Verdict, replay
from wal_runner.errors import ItemIdInvalid, ItemUnknown, LogReadOnly, VerdictRefused


@pytest.fixture(params=[False, True], ids=["tail", "snapshot"])
def mixed(path, request):
    """Give a Runner on a log with an item of each kind, told by its tail or by its snapshot."""
    with Runner(path) as runner:
        serial(runner, ["done", "failed"], Effects({"failed"}))
        lost = ["in doubt", "abandoned", "pending"]
        serial(runner, lost, Effects(set(lost), TimeoutError))
        runner.resolve("abandoned", Verdict.abandon(), by="ann", note="nobody will find out")
        runner.resolve("pending", Verdict.did_not_happen())
        if request.param:
            runner.writer.take_snapshot()
    with Runner(path) as runner:
        yield runner


def test_items_come_in_id_order_with_all_that_is_known(mixed):
    """Every item that the log knows, or those of one status."""
    assert {
        "abandoned": Status.ABANDONED,
        "done": Status.SUCCEEDED,
        "failed": Status.FAILED,
        "in doubt": Status.IN_DOUBT,
        "pending": Status.PENDING,
    } == statuses(mixed)
    assert sorted(statuses(mixed)) == list(statuses(mixed))
    assert ["failed"] == [item.item_id for item in mixed.items(Status.FAILED)]
    assert {"did": "done"} == next(mixed.items(Status.SUCCEEDED)).result
    assert "no failed" == next(mixed.items(Status.FAILED)).error.message


def test_status_of_one_item(mixed):
    """PENDING where the log has never heard of it; an id that is none is refused."""
    assert Status.SUCCEEDED is mixed.status("done")
    assert Status.PENDING is mixed.status("never seen")
    with pytest.raises(ItemIdInvalid):
        mixed.status(None)


def test_counts_are_of_the_whole_log(mixed):
    """One item in each status but STARTED."""
    assert {status: int(status is not Status.STARTED) for status in Status} == dict(mixed.counts())


def test_results_are_of_what_succeeded(mixed):
    """Pairs of id and result; a verdict's result among them."""
    mixed.resolve("in doubt", Verdict.happened(["seen", 1]))

    assert [("done", {"did": "done"}), ("in doubt", ["seen", 1])] == list(mixed.results())


def test_in_doubt_tells_who_ran_it_and_why(mixed):
    """Enough to look for the effect in the outside world."""
    (doubt,) = mixed.in_doubt()

    assert ("in doubt", "TimeoutError: no in doubt", 1) == (doubt.item_id, doubt.reason, doubt.attempt)
    assert (1, 64) == (doubt.session, len(doubt.idempotency_key))
    assert doubt.host
    assert doubt.pid


def test_history_is_every_event_of_one_item(mixed):
    """In order, with seq, session and time."""
    history = mixed.history("abandoned")

    assert ["ItemStarted", "ItemInterrupted", "ItemReconciled"] == [type(entry.event).__name__ for entry in history]
    assert sorted(entry.seq for entry in history) == [entry.seq for entry in history]
    assert ("ann", "nobody will find out") == (history[-1].event.by, history[-1].event.note)
    assert [] == mixed.history("never seen")


def test_open_read_tells_the_same_and_writes_nothing(mixed):
    """A reader in the same process shares the log that is open."""
    with Runner.open_read(mixed.path) as view:
        assert statuses(mixed) == {item.item_id: item.status for item in view.items()}
        assert dict(mixed.counts()) == dict(view.counts())
        assert list(mixed.results()) == list(view.results())
        assert mixed.history("failed") == view.history("failed")


def test_replay_gives_the_state(mixed):
    """The fold of all events is what the Runner knows."""
    state = replay(mixed.path)

    assert dict(mixed.counts()) == state.counts


# --- Settling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict.happened(5), Status.SUCCEEDED),
        (Verdict.did_not_happen(), Status.PENDING),
        (Verdict.abandon(), Status.ABANDONED),
    ],
    ids=lambda value: getattr(value, "word", None) or value.decision.word,
)
def test_verdict_settles_a_doubt(mixed, verdict, status):
    """Durably, and for the next run."""
    mixed.resolve("in doubt", verdict)
    effects = Effects()
    serial(mixed, ["in doubt"], effects)

    assert status is (Status.PENDING if effects else mixed.status("in doubt"))
    assert [] == mixed.in_doubt()


@pytest.mark.parametrize("item_id", ["done", "failed", "abandoned", "pending"])
def test_verdict_on_what_is_not_in_doubt_is_refused(mixed, item_id):
    """Nothing is written."""
    before = replay(mixed.path)
    with pytest.raises(VerdictRefused, match="not in doubt"):
        mixed.resolve(item_id, Verdict.happened())

    assert before == replay(mixed.path)


def test_verdict_on_an_unknown_item_is_refused(mixed):
    """A mistyped id settles nothing."""
    with pytest.raises(ItemUnknown, match="never seen"):
        mixed.resolve("never seen", Verdict.happened())


@pytest.fixture
def doubt_after_doubt(runner):
    """Give a Runner whose item "a" is in doubt again, and the doubt that somebody settled before."""
    run_into_doubt = Effects(failing="a", error=TimeoutError)
    serial(runner, ["a"], run_into_doubt)
    [older] = runner.in_doubt()
    runner.resolve(older, Verdict.did_not_happen())
    serial(runner, ["a"], run_into_doubt)
    runner.older = older
    return runner


def test_answer_to_an_older_doubt_settles_nothing(doubt_after_doubt):
    """It is about an attempt that is over; applied to the new one, it could repeat that one's effect."""
    with pytest.raises(VerdictRefused, match="in doubt is a later one"):
        doubt_after_doubt.resolve(doubt_after_doubt.older, Verdict.did_not_happen())
    with pytest.raises(VerdictRefused, match="was started 2 times"):
        doubt_after_doubt.resolve("a", Verdict.did_not_happen())
    with pytest.raises(VerdictRefused, match="in doubt is a later one"):
        doubt_after_doubt.resolve("a", Verdict.did_not_happen(), start_seq=doubt_after_doubt.older.start_seq)

    assert Status.IN_DOUBT is doubt_after_doubt.status("a")


@pytest.mark.parametrize("by_doubt", [True, False])
def test_attempt_is_named_by_its_doubt_or_its_start(doubt_after_doubt, by_doubt):
    """Either says which attempt was looked at."""
    [doubt] = doubt_after_doubt.in_doubt()
    if by_doubt:
        doubt_after_doubt.resolve(doubt, Verdict.happened())
    else:
        doubt_after_doubt.resolve("a", Verdict.happened(), start_seq=doubt.start_seq)

    assert Status.SUCCEEDED is doubt_after_doubt.status("a")
    with pytest.raises(ValueError, match="Pass one of the two"):
        doubt_after_doubt.resolve(doubt, Verdict.happened(), start_seq=1)


def test_retry_reopens_failed_and_abandoned_items(mixed):
    """They are pending again in the next generation, and the next run does them."""
    count = mixed.retry(["failed", "abandoned"], note="fixed", by="ann")
    effects = Effects()
    report = serial(mixed, ["failed", "abandoned", "done"], effects)

    assert 2 == count
    assert ["failed", "abandoned"] == effects
    assert {"seen": 3, "succeeded": 2, "skipped": 1} == numbers(report)
    assert {1} == {item.generation for item in mixed.items() if item.item_id in {"failed", "abandoned"}}


def test_retry_of_what_succeeded_must_be_asked_for(mixed):
    """It repeats an effect, so it takes succeeded=True, and goes on record."""
    with pytest.raises(VerdictRefused, match="has succeeded"):
        mixed.retry(["failed", "done"])
    assert Status.FAILED is mixed.status("failed"), "all or none"
    mixed.retry(["done"], succeeded=True, by="ann", note="the mail came back")
    effects = Effects()
    serial(mixed, ["done"], effects)

    assert ["done"] == effects
    assert "the mail came back" == mixed.history("done")[-3].event.note


@pytest.mark.parametrize("item_id", ["in doubt", "pending"])
def test_retry_of_what_is_open_is_refused(mixed, item_id):
    """A doubt is settled first; what is pending just runs."""
    with pytest.raises(VerdictRefused):
        mixed.retry([item_id])


@pytest.mark.parametrize("ids", [["never seen"], [None], [1.5]], ids=named)
def test_retry_of_what_is_no_item_is_refused(mixed, ids):
    """Nothing is written."""
    with pytest.raises((ItemUnknown, ItemIdInvalid)):
        mixed.retry(ids)


def test_reader_settles_nothing(mixed):
    """A handle from `open_read` has no such methods."""
    with Runner.open_read(mixed.path) as view:
        assert not hasattr(view, "resolve")
        assert not hasattr(view, "retry")


def test_log_opened_for_reading_cannot_be_written(path):
    """Not even by going around the methods."""
    Runner(path).close()
    with Runner.open_read(path) as view, pytest.raises(LogReadOnly), view.log.exclusive(0):
        pass


def test_retry_of_one_text_is_refused(runner):
    """A text is iterable, and its letters are no ids: nothing is reopened."""
    with pytest.raises(TypeError, match="Write it in a list"):
        runner.retry("ab")
