"""Deaths are counted by the log alone, and judged by one table."""

import pytest

from tests.support.folded import live, replayed
from tests.support.logs import start
from wal_runner.core.events import Decision, ItemInterrupted, ItemReconciled, ItemStarted, Status
from wal_runner.core.items import item_of, long_row
from wal_runner.log.format import NOTE_CHARS_MAX
from wal_runner.recovery import recover
from wal_runner.recovery.deaths import HELD_BY, DeathLimit, Judged, is_held_for_deaths
from wal_runner.recovery.recover import begin_session
from wal_runner.recovery.verdicts import Verdict, resolve


NO = Decision.DID_NOT_HAPPEN


def known(writer, item_id="a"):
    return item_of(long_row(writer.state.row(item_id)))


def die(bench, ids="a", deaths=0):
    """Let a session start *ids*, new or in doubt, with *deaths* as their count, and die."""
    writer = begin_session(bench.open())
    new = [item_id for item_id in ids if writer.state.row(item_id) is None]
    if new:
        start(writer, new)
    if deaths:
        writer.require_format(2)
    for item_id in set(ids) - set(new):
        item = known(writer, item_id)
        redo = ItemReconciled(item.start_seq, NO, "policy: idempotent", "", deaths=deaths)
        writer.append([redo, ItemStarted(item_id, item.attempts + 1, 0, Status.PENDING, 0, deaths)])
    writer.abandon()


def settle(writer, limit, item_id="a", decision=NO, by="reconcile: look"):
    """Let a reconciler answer about an item, and return the events."""
    found = []

    def decide(turn):
        item = known(writer, item_id)
        answer = ItemReconciled(item.start_seq, decision, by, "")
        found[:] = limit.settle(turn, item_id, item, limit.judge(item), answer)
        return list(found)

    writer.turn(decide)
    return found


@pytest.mark.parametrize("keeps_order", [False, True], ids=["any order", "in order"])
@pytest.mark.parametrize("others", ["", "b", "bc"], ids=["alone", "beside one", "beside two"])
@pytest.mark.parametrize("max_deaths", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_judgement_of_every_case(bench, before, max_deaths, others, keeps_order):
    """A suspect has two deaths; held is who has enough of them, and was alone in the last or keeps its order."""
    die(bench, "a" + others)
    if before:
        die(bench, "a" + others, before)
    writer = begin_session(bench.open())
    judged = DeathLimit(writer, max_deaths, keeps_order=keeps_order).judge(known(writer))
    writer.close()

    if max_deaths is None:
        assert Judged(before) == judged
        return
    assert before + 1 == judged.deaths
    assert (not others) == judged.was_alone
    assert (before + 1 >= min(2, max_deaths)) == judged.is_suspect
    assert (before + 1 >= max_deaths and (not others or keeps_order)) == judged.is_held


@pytest.mark.parametrize(("boot", "counted"), [("another", 0), ("", 0)])
def test_restart_is_not_counted(bench, monkeypatch, boot, counted):
    """Only a death on the boot of the session that looks counts, and an unknown boot equals no other."""
    die(bench)
    opened = recover._session_opened
    monkeypatch.setattr(recover, "_session_opened", lambda *more: opened(*more)._replace(boot=boot))
    writer = begin_session(bench.open())
    if not boot:
        writer.abandon()
        die(bench)
        writer = begin_session(bench.open())

    assert counted == DeathLimit(writer).judge(known(writer)).deaths
    writer.close()


@pytest.mark.parametrize("keeps_order", [False, True], ids=["any order", "in order"])
def test_restart_holds_nothing(bench, monkeypatch, keeps_order):
    """Enough deaths were counted, with others in flight; the restart that ended the attempt alone says nothing."""
    die(bench)
    die(bench, deaths=3)
    opened = recover._session_opened
    monkeypatch.setattr(recover, "_session_opened", lambda *more: opened(*more)._replace(boot="another"))
    writer = begin_session(bench.open())
    judged = DeathLimit(writer, keeps_order=keeps_order).judge(known(writer))
    writer.close()

    assert Judged(3, is_suspect=True) == judged


def test_interruption_in_a_living_session_is_not_a_death(bench):
    """A doubt that stood when its session died was not in flight."""
    writer = begin_session(bench.open())
    seqs = start(writer, "ab")
    writer.append([ItemInterrupted(seqs["a"], 5, "Ctrl-C")])
    writer.abandon()
    writer = begin_session(bench.open())
    limit = DeathLimit(writer)

    assert (0, 1) == (limit.judge(known(writer, "a")).deaths, limit.judge(known(writer, "b")).deaths)
    assert limit.judge(known(writer, "b")).was_alone
    writer.close()


def test_neighbours_that_this_run_settled_were_in_flight_too(bench):
    """The first of two doubts of a death is settled; the second one was not alone in it."""
    die(bench, "ab")
    writer = begin_session(bench.open())
    limit = DeathLimit(writer, 1)

    assert [1] == [event.deaths for event in settle(writer, limit, "a")]
    assert [1] == [event.deaths for event in settle(writer, limit, "b")]
    writer.close()


def test_hold_is_the_answer_taken_back(bench):
    """What is held is in doubt by the same start, for the reason, and the fold of the log says so."""
    die(bench)
    writer = begin_session(bench.open())
    before = known(writer).start_seq
    answer, held = settle(writer, DeathLimit(writer, 1))
    attempt = live(writer).attempt(before)

    assert (before, 1, before, 1) == (answer.start_seq, answer.deaths, held.start_seq, held.deaths)
    assert f"held by {HELD_BY}: in flight in 1 death, alone in the last (session 1, pid " in attempt.reason
    assert (Status.IN_DOUBT, before, 1) == (known(writer).status, known(writer).start_seq, known(writer).deaths)
    assert is_held_for_deaths(attempt)
    assert live(writer) == replayed(writer.log)
    assert [] == settle(writer, DeathLimit(writer, 1))
    writer.close()


def test_larger_bound_lets_a_held_item_run(bench):
    """What one run holds another run may redo, with its deaths."""
    die(bench)
    writer = begin_session(bench.open())
    settle(writer, DeathLimit(writer, 1))

    assert [1] == [event.deaths for event in settle(writer, DeathLimit(writer, 2))]
    assert Status.PENDING is known(writer).status
    writer.close()


@pytest.mark.parametrize("decision", [Decision.HAPPENED, Decision.ABANDON])
def test_other_answers_count_nothing(bench, decision):
    """Evidence that ends the item is taken as it is, and a log of format 1 stays one."""
    die(bench)
    writer = begin_session(bench.open())

    assert [0] == [event.deaths for event in settle(writer, DeathLimit(writer, 1), decision=decision)]
    assert 1 == writer.log.format()
    writer.close()


def test_policy_keeps_and_a_person_resets(bench):
    """The answer of a reconciler leaves the deaths on record; that of a person leaves none."""
    die(bench, "ab")
    writer = begin_session(bench.open())
    starts = {item_id: known(writer, item_id).start_seq for item_id in "ab"}
    kept = {"a": Verdict.did_not_happen()}
    resolve(writer, kept, by="reconcile: look", starts=starts, deaths=DeathLimit(writer))
    resolve(writer, {"b": Verdict.did_not_happen()}, by="ann", starts=starts)

    assert (1, 0) == (known(writer, "a").deaths, known(writer, "b").deaths)
    assert 2 == writer.log.format()
    writer.close()


def test_reason_fits_into_a_note(bench, monkeypatch):
    """The name of a host is as long as it likes."""
    opened = recover._session_opened
    monkeypatch.setattr(recover, "_session_opened", lambda *more: opened(*more)._replace(host="h" * 4000))
    die(bench)
    writer = begin_session(bench.open())
    _, held = settle(writer, DeathLimit(writer, 1))

    assert held.note.endswith("characters cut)")
    assert NOTE_CHARS_MAX + 40 > len(held.note)
    assert live(writer) == replayed(writer.log)
    writer.close()
