"""A reconciler is asked about every doubt, before the first start and at the end, and believed."""

import pytest

from tests.runner.driving import DRIVERS, Effects, named, numbers, serial, statuses
from wal_runner import Runner, Status, Verdict, current_attempt


def leave_in_doubt(runner, *ids):
    """Run items whose reply is lost."""
    serial(runner, ids, Effects(set(ids), TimeoutError))


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_verdicts_of_the_start_hold_for_this_run(runner, drive):
    """What happened is skipped, what did not happen runs now, what has no evidence stays in doubt."""
    leave_in_doubt(runner, "happened", "did not", "unknown", "given up")
    asked = []

    def look(doubts):
        asked.append([doubt.item_id for doubt in doubts])
        return {
            doubt.item_id: verdict
            for doubt in doubts
            if (
                verdict := {
                    "happened": Verdict.happened({"seen": 1}),
                    "did not": Verdict.did_not_happen(),
                    "given up": Verdict.abandon(),
                }.get(doubt.item_id)
            )
        }

    effects = Effects()
    report = drive(runner, ["happened", "did not", "unknown", "given up", "new"], effects, reconcile=look)

    assert ["happened", "did not", "unknown", "given up"] == asked[0]
    assert ["did not", "new"] == sorted(effects)
    assert {"seen": 5, "succeeded": 2, "skipped": 1, "in_doubt": 1, "abandoned": 1} == numbers(report)
    assert {
        "happened": Status.SUCCEEDED,
        "did not": Status.SUCCEEDED,
        "unknown": Status.IN_DOUBT,
        "given up": Status.ABANDONED,
        "new": Status.SUCCEEDED,
    } == statuses(runner)
    assert ("happened", {"seen": 1}) in list(runner.results())


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_doubt_of_this_run_that_did_not_happen_runs_in_this_run(runner, drive):
    """At the end the reconciler is asked again; what it frees and is at hand runs at once."""
    effects = Effects({"lost"}, TimeoutError)

    def look(doubts):
        effects.failing = ()
        return {doubt.item_id: Verdict.did_not_happen() for doubt in doubts}

    report = drive(runner, ["a", "lost", "b"], effects, reconcile=look)

    assert 2 == effects.count("lost")
    assert {"seen": 3, "succeeded": 3} == numbers(report)
    assert report.ok


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_doubt_of_this_run_that_happened_counts_as_succeeded(runner, drive):
    """The verdict settles it, and fn is not called again."""
    effects = Effects({"lost"}, TimeoutError)

    def look(doubts):
        return {doubt.item_id: Verdict.happened() for doubt in doubts}

    report = drive(runner, ["a", "lost"], effects, reconcile=look)

    assert 1 == effects.count("lost")
    assert {"seen": 2, "succeeded": 2} == numbers(report)


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_older_doubt_that_is_freed_at_the_end_runs_in_this_run(runner, drive):
    """The run keeps the item that it met in doubt, as the source yielded it, and counts a repetition of it."""
    letters = [{"id": name} for name in ("lost", "a", "lost", "b")]
    drive(runner, letters[:1], Effects([letters[0]], TimeoutError), key="id")
    asked = []

    def look(doubts):
        asked.append([doubt.item_id for doubt in doubts])
        return {} if len(asked) == 1 else {"lost": Verdict.did_not_happen()}

    effects = Effects()
    report = drive(runner, letters, effects, key="id", reconcile=look)

    assert [["lost"], ["lost"]] == asked
    assert letters[:1] == effects[-1:]
    assert ["a", "b", "lost"] == sorted(letter["id"] for letter in effects)
    assert {"seen": 4, "succeeded": 3, "duplicates": 1} == numbers(report)


def test_item_that_never_happens_does_not_run_for_ever(runner):
    """A reconciler that frees the same item again and again is asked so often and no more."""
    effects = Effects({"lost"}, TimeoutError)

    def look(doubts):
        return {doubt.item_id: Verdict.did_not_happen() for doubt in doubts}

    report = serial(runner, ["lost"], effects, reconcile=look)

    assert ["lost"] * 3 == effects
    assert {"seen": 1, "in_doubt": 1} == numbers(report)


def test_doubts_that_are_not_at_hand_are_asked_about_too(runner):
    """Every doubt of the log is; what the source does not give stays pending after a verdict."""
    leave_in_doubt(runner, "elsewhere")
    report = serial(runner, ["a"], Effects(), reconcile=lambda _: {"elsewhere": Verdict.did_not_happen()})

    assert {"seen": 1, "succeeded": 1} == numbers(report)
    assert {"a": Status.SUCCEEDED, "elsewhere": Status.PENDING} == statuses(runner)
    assert not report.ok


def test_doubt_tells_what_to_ask_for(runner):
    """The reconciler sees the key under which the outside world may know the attempt."""
    keys = []

    def fn(_item):
        keys.append(current_attempt().idempotency_key)
        raise TimeoutError("no answer")

    seen = []

    def look(doubts):
        seen.extend(doubts)
        return {}

    serial(runner, ["a"], fn)
    serial(runner, ["a"], fn, reconcile=look)
    doubt = seen[0]

    assert keys == [doubt.idempotency_key]
    assert ("a", 1, "TimeoutError: no answer") == (doubt.item_id, doubt.attempt, doubt.reason)
    assert doubt.started_ns <= doubt.doubted_ns


def test_nobody_is_asked_when_nothing_is_in_doubt(runner):
    """A reconciler that opens a connection is not called for nothing."""

    def look(doubts):
        raise AssertionError(doubts)

    assert serial(runner, ["a"], Effects(), reconcile=look).ok


def test_verdicts_say_whose_they_are(runner):
    """The log keeps the name of the reconciler, and the note of the verdict."""
    leave_in_doubt(runner, "a")

    def look_in_outbox(_doubts):
        return {"a": Verdict.happened(note="found in the outbox")}

    serial(runner, ["a"], Effects(), reconcile=look_in_outbox)
    event = runner.history("a")[-1].event

    assert "reconcile: " == event.by[:11]
    assert event.by.endswith("look_in_outbox")
    assert "found in the outbox" == event.note


def test_verdict_on_something_that_is_not_in_doubt_is_left_out(runner, caplog):
    """Evidence on other items changes nothing, and is warned about: an id may be misspelt."""
    leave_in_doubt(runner, "a")
    serial(runner, ["done"], Effects())
    serial(runner, [], Effects(), reconcile=lambda _: {"done": Verdict.abandon(), "never": Verdict.abandon()})

    assert {"a": Status.IN_DOUBT, "done": Status.SUCCEEDED} == statuses(runner)
    assert "change nothing: 'done', 'never'" in caplog.text


@pytest.mark.parametrize(
    "junk", [None, [], "a", {"a": True}, {"a": "happened"}, {1: Verdict.happened()}, {"a": Verdict}], ids=named
)
def test_junk_is_a_type_error_before_any_start(runner, junk):
    """An answer that is no dict of verdicts settles nothing, and nothing runs on it."""
    leave_in_doubt(runner, "a")
    effects = Effects()
    with pytest.raises(TypeError, match="dict from item id to Verdict"):
        serial(runner, ["a", "b"], effects, reconcile=lambda _: junk)

    assert [] == effects
    assert {"a": Status.IN_DOUBT} == statuses(runner)


def test_junk_at_the_end_is_a_type_error_and_loses_nothing(runner):
    """What ran is recorded before the mistake is raised."""
    effects = Effects({"lost"}, TimeoutError)
    with pytest.raises(TypeError, match="dict from item id to Verdict"):
        serial(runner, ["a", "lost"], effects, reconcile=lambda _: None)

    assert {"a": Status.SUCCEEDED, "lost": Status.IN_DOUBT} == statuses(runner)


def test_error_of_the_reconciler_is_raised(runner):
    """It is the caller's own, and nothing is started without its answer."""
    leave_in_doubt(runner, "a")
    effects = Effects()

    def look(_doubts):
        raise ConnectionRefusedError("the outbox is down")

    with pytest.raises(ConnectionRefusedError, match="outbox"):
        serial(runner, ["a", "b"], effects, reconcile=look)

    assert [] == effects
    assert {"a": Status.IN_DOUBT} == statuses(runner)


def test_doubts_of_a_dead_run_are_asked_about(path):
    """The next process asks about what the last one left."""
    with Runner(path) as runner:
        leave_in_doubt(runner, "a")
    with Runner(path) as runner:
        report = serial(runner, ["a"], Effects(), reconcile=lambda _: {"a": Verdict.did_not_happen()})

    assert {"seen": 1, "succeeded": 1} == numbers(report)


def test_doubt_whose_item_fn_has_changed_is_left_to_the_next_run(runner):
    """The object is not what its id names any more; the report says what the log does."""

    def fn(item):
        item.pop("id")
        raise TimeoutError

    def look(doubts):
        return {doubt.item_id: Verdict.did_not_happen() for doubt in doubts}

    report = runner.run([{"id": "a"}], fn, key="id", reconcile=look)

    assert {"seen": 1, "released": 1} == numbers(report)
    assert {"a": Status.PENDING} == statuses(runner)
