"""The oracle of the harness, held against another one that was written apart from it."""

from hypothesis import given

from tests.support.histories import LOG_ID, histories
from tools.harness.history import Fate, History, Number, Stored, Told
from wal_runner import Status
from wal_runner.log.codec import first_chain


SESSION_1 = (Number.SESSION_OPENED, 1)


def commit(history, previous, first_seq, *arrays, session=1):
    """Attempt one more commit of *history*; give its hash."""
    chain = previous[:8] + first_seq.to_bytes(8, "big")
    history.attempted(previous, [Stored(first_seq, session, chain, arrays)])
    return chain


@given(histories())
def test_oracle_agrees_with_the_dicts_of_the_histories(history):
    """Fates, doubts, outcomes and cursors are what the other oracle says, after any history."""
    records = [Stored(r.first_seq, r.session, r.chain, r.arrays) for r in history.records]
    told = Told(first_chain(LOG_ID)).followed_by(records)

    assert {item_id: known.status for item_id, known in history.items.items()} == {
        item_id: fate.status for item_id, fate in told.fates.items()
    }
    assert {start: (item_id, owner) for start, (item_id, owner) in history.open.items()} == {
        start: (started.item_id, started.session) for start, started in told.open.items()
    }
    assert set(history.alive) == told.sessions
    assert history.cursors == told.cursors
    assert (history.seq, history.chain) == (told.seq, told.chain)


def test_log_may_end_with_each_commit_that_was_attempted_and_nowhere_else():
    """An empty log is one of them; half a commit is none."""
    history = History()
    start = first_chain(LOG_ID)
    first = commit(history, start, 1, SESSION_1, (Number.STARTED, "a"))
    second = commit(history, first, 3, (Number.SUCCEEDED, 1, 7, b"\x01"))

    assert {} == history.at(0, start, LOG_ID).fates
    assert {"a": Fate(Status.STARTED)} == history.at(2, first, LOG_ID).fates
    assert {"a": Fate(Status.SUCCEEDED, b"\x01")} == history.at(3, second, LOG_ID).fates
    assert history.at(1, b"?" * 16, LOG_ID) is None


def test_two_attempts_at_one_seq_are_two_histories():
    """A commit that failed and the one that came after it begin at the same event."""
    history = History()
    opened = commit(history, first_chain(LOG_ID), 1, SESSION_1)
    failed = b"failed".ljust(16)
    history.attempted(opened, [Stored(2, 1, failed, ((Number.STARTED, "a"),))])
    landed = commit(history, opened, 2, (Number.STARTED, "b"))

    assert {"a"} == set(history.at(2, failed, LOG_ID).fates)
    assert {"b"} == set(history.at(2, landed, LOG_ID).fates)


def test_death_is_told_apart_from_an_interruption():
    """Only what a death left in doubt counts against the fns that ran then."""
    history = History()
    chain = commit(history, first_chain(LOG_ID), 1, SESSION_1, (Number.STARTED, "a"), (Number.STARTED, "b"))
    chain = commit(history, chain, 4, (Number.INTERRUPTED, 2, 5, "why"))
    chain = commit(history, chain, 5, (Number.SESSION_OPENED, 2), (Number.SESSION_LOST, 1), session=2)
    told = history.at(6, chain, LOG_ID)

    assert {2: "a", 3: "b"} == {start: started.item_id for start, started in told.open.items()}
    assert {3: 1} == told.lost
