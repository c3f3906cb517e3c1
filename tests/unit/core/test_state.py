"""The fold: a state is what its events add up to, however they are cut, and by either way."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import events_at
from tests.support.histories import IDS, History, histories
from wal_runner.core.arrays import to_array
from wal_runner.core.events import (
    CursorAdvanced,
    ItemInterrupted,
    ItemReopened,
    ItemStarted,
    ItemSucceeded,
    KeyRuleSet,
    LateOutcome,
    LogCompacted,
    Record,
    SessionClosed,
    SessionLost,
    SessionOpened,
    SnapshotTaken,
    Status,
)
from wal_runner.core.state import SESSIONS_REMEMBERED_MAX, State, fold
from wal_runner.errors import LogCorrupt, LogTooNew


def opened(session):
    return SessionOpened(session, "host", 1, "boot", (), "/", "user", "0")


def record(seq, session, *events):
    return Record(seq, session, 10 * seq, tuple(to_array(n, event) for n, event in enumerate(events, seq)), b"chain")


def log_of(*events):
    """Give the records of a session 1 that appended *events*, one record each."""
    return [record(1, 1, opened(1)), *(record(seq, 1, event) for seq, event in enumerate(events, 2))]


# --- What events add up to -------------------------------------------------------------


@given(histories())
def test_fold_agrees_with_plain_dicts(history):
    """A history folds to what a model that knows no fold says of it."""
    state = fold(history.records)

    assert history.counts == state.counts
    assert {i: known.status for i, known in history.items.items()} == {i: Status(row[0]) for i, row in state.touched()}
    assert {i: (known.attempts, known.generation) for i, known in history.items.items()} == {
        i: (state.item(i).attempts, state.item(i).generation) for i in history.items
    }
    assert history.open == {seq: (attempt.item_id, attempt.session) for seq, attempt in state.attempts()}
    assert history.cursors == state.cursors
    assert history.conflicts == state.conflicts
    assert history.key_rule == state.key_rule
    assert (history.seq, history.chain, history.sessions) == (state.seq, state.chain, state.last_session)
    assert set(history.alive) == {number for number, info in state.sessions.items() if not info.ending}


@given(histories())
def test_cut_makes_no_difference(history):
    """fold(all) == fold(tail, fold(prefix)) wherever the cut is."""
    whole = fold(history.records)
    for cut in range(len(history.records) + 1):
        assert whole == fold(history.records[cut:], fold(history.records[:cut]))


@given(histories(), st.data())
def test_overlay_needs_no_look_up(history, data):
    """Folded from a state whose items are elsewhere, the tail gives the same, and the rows that changed."""
    cut = data.draw(st.integers(0, len(history.records)))
    prefix, whole = fold(history.records[:cut]), fold(history.records)
    overlay = fold(history.records[cut:], prefix.without_items())
    rows = {**dict(prefix.touched()), **dict(overlay.touched())}

    assert dict(whole.touched()) == rows
    assert whole == with_items(overlay, rows)


@given(histories(), st.data())
def test_freezing_changes_nothing_that_is_read(history, data):
    """A state that is frozen, thawed or let go of in the middle reads as one that never was."""
    cut = data.draw(st.integers(1, len(history.records)))
    state = fold(history.records[:cut])
    state.freeze()
    for entry in history.records[cut:]:
        state.apply(entry)
    whole = fold(history.records)

    assert whole == state
    assert [whole.row(i) for i in IDS] == [state.row(i) for i in IDS]
    state.thaw()
    assert whole == state
    assert [whole.row(i) for i in IDS] == [state.row(i) for i in IDS]


@given(histories())
def test_initial_state_is_left_as_it_is(history):
    """Folding from a state does not touch it."""
    initial = fold(history.records[:1])
    before = initial.copy()
    fold(history.records[1:], initial)

    assert before == initial


def with_items(state, rows):
    whole = state.copy()
    whole.items, whole.frozen = dict(rows), {}
    return whole


# --- The short way and the long way ------------------------------------------------------


def long_way(state, entry):
    """Fold *entry* as `State.apply` does, event by event and without its short cuts."""
    if entry.first_seq != state.seq + 1:
        raise LogCorrupt("events are missing")
    if entry.arrays[0][0] != 1:
        state._refuse_the_dead(entry.first_seq, entry.session)
    for seq, array in enumerate(entry.arrays, entry.first_seq):
        state._apply_event(seq, entry.session, entry.time_ns, array)
    state.seq, state.chain = entry.last_seq, entry.chain
    info = state.sessions.get(entry.session)
    if info is not None:
        state.sessions[entry.session] = info._replace(last_ns=entry.time_ns)


def outcome_of(apply, state, entry):
    try:
        apply(state, entry)
    except (LogCorrupt, LogTooNew) as error:
        return type(error)
    return state


@given(histories())
def test_short_cuts_say_the_same(history):
    """The inline path for the two commonest events folds each record as the long way does."""
    short, long = State(), State()
    for entry in history.records:
        short.apply(entry)
        long_way(long, entry)

        assert long == short


# Nearly right, or not at all: what a short cut could let through.
near_arrays = st.one_of(
    st.tuples(st.just(4), st.sampled_from(IDS)),
    st.tuples(st.just(4), st.sampled_from([*IDS, 1, None, b"a"]), st.sampled_from([1, 2, None])),
    st.tuples(st.just(5), st.integers(-2, 6), st.sampled_from([0, 7, -1, None, True, 1.5])),
    st.tuples(st.just(5), st.integers(-2, 6), st.just(7), st.sampled_from([None, b"r", "r", 1])),
    st.tuples(st.just(5), st.integers(-2, 6), st.just(7), st.just(None), st.sampled_from([None, "why"])),
    st.tuples(st.sampled_from([2, 3]), st.sampled_from([1, 2, 3])),
    st.tuples(st.integers(0, 20), st.integers(0, 6)),
)


@given(histories(15), st.data())
def test_short_cuts_refuse_the_same(history, data):
    """Events that no writer of ours made are folded, or refused, alike by both ways."""
    state = fold(history.records)
    arrays = data.draw(
        st.lists(
            near_arrays | events_at(history.seq).map(lambda e: to_array(history.seq + 1, e)), min_size=1, max_size=4
        )
    )
    session = data.draw(st.sampled_from([*history.alive, *history.dead, 1, 99]))
    entry = Record(state.seq + 1, session, 5, tuple(arrays), b"chain")

    assert outcome_of(long_way, state.copy(), entry) == outcome_of(State.apply, state.copy(), entry)


def test_session_that_ended_appends_nothing_more_in_the_same_record():
    """The short cut is not taken behind the end of the very session that appends."""
    state = fold(log_of())

    with pytest.raises(LogCorrupt, match="was not open"):
        state.apply(record(2, 1, SessionClosed(1), ItemStarted("a")))


# --- What is refused ---------------------------------------------------------------------


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_gap_or_repetition_is_corrupt(seq):
    """A record is folded only right behind the one before."""
    state = fold(log_of(ItemStarted("a")))

    with pytest.raises(LogCorrupt, match="events are missing"):
        state.apply(record(seq, 1, ItemStarted("b")))


def test_session_that_was_not_opened_appends_nothing():
    """Every record but an opening names a session that is open."""
    with pytest.raises(LogCorrupt, match="session 9"):
        fold([*log_of(), record(2, 9, ItemStarted("a"))])


@pytest.mark.parametrize("ending", [SessionClosed(1), SessionLost(1)], ids=["closed", "lost"])
def test_session_that_ended_appends_nothing(ending):
    """What a session that is over appends was never written by us: the writer refuses it."""
    with pytest.raises(LogCorrupt, match="session 1"):
        fold(
            [
                *log_of(),
                record(2, 2, opened(2)),
                record(3, 1 if "Closed" in repr(ending) else 2, ending),
                record(4, 1, ItemStarted("a")),
            ]
        )


@pytest.mark.parametrize("number", [1, 0])
def test_session_number_is_never_used_again(number):
    """An opening has a number above all before."""
    with pytest.raises(LogCorrupt, match="used before"):
        fold([*log_of(), record(2, number, opened(number))])


def test_opening_names_the_session_that_appends_it():
    """A session opens itself."""
    with pytest.raises(LogCorrupt):
        fold([record(1, 2, opened(1))])


def test_session_does_not_close_on_started_items():
    """An orderly end leaves nothing started: that is what makes it orderly."""
    with pytest.raises(LogCorrupt, match="left items started"):
        fold(log_of(ItemStarted("a"), SessionClosed(1)))


def test_session_ends_once():
    """A session that is over cannot be lost as well."""
    with pytest.raises(LogCorrupt, match="was not open"):
        fold([*log_of(), record(2, 2, opened(2)), record(3, 2, SessionLost(1)), record(4, 2, SessionLost(1))])


@pytest.mark.parametrize("before", [None, *Status])
def test_start_that_misremembers_is_corrupt(before):
    """A start tells the status before it; where the fold knows better, somebody lied."""
    state = fold(log_of(ItemStarted("a"), ItemSucceeded(2, 1)))

    with pytest.raises(LogCorrupt):
        state.apply(record(4, 1, ItemStarted("a", 2, 0, before)))


@pytest.mark.parametrize("told", [(3, 1, 1), (2, 2, 1), (2, 1, 2)])
def test_reopening_that_misremembers_is_corrupt(told):
    """So does a reopening: the item's last attempt, how many there were, and which generation is next."""
    start_seq, attempts, generation = told
    state = fold(log_of(ItemStarted("a"), ItemSucceeded(2, 1)))

    with pytest.raises(LogCorrupt, match="reopens attempt"):
        state.apply(record(4, 1, ItemReopened("a", start_seq, Status.SUCCEEDED, attempts, generation, "ann", "")))


def test_reopening_that_misremembers_the_status_is_corrupt():
    """It tells the status before it, as a start does."""
    state = fold(log_of(ItemStarted("a"), ItemSucceeded(2, 1)))

    with pytest.raises(LogCorrupt, match="reopens an item that is succeeded"):
        state.apply(record(4, 1, ItemReopened("a", 2, Status.FAILED, 1, 1, "ann", "")))


def test_reopening_of_what_has_not_ended_is_corrupt():
    """Where the item is in the snapshot's rows, the event's own word is checked."""
    state = fold(log_of(ItemStarted("a"))).without_items()

    with pytest.raises(LogCorrupt, match="reopens an item that is started"):
        state.apply(record(3, 1, ItemReopened("a", 2, Status.STARTED, 1, 1, "ann", "")))


@pytest.mark.parametrize(("place", "value"), [(1, "1"), (2, 1.5), (3, "result")])
def test_success_whose_fields_are_of_another_kind_is_corrupt(place, value):
    """The short cut takes only what it knows; the long way says what is wrong, and nothing was settled."""
    state = fold(log_of(ItemStarted("a")))
    array = [*record(3, 1, ItemSucceeded(2, 1, b"result")).arrays[0]]
    array[place] = value

    with pytest.raises(LogCorrupt):
        state.apply(Record(3, 1, 30, (tuple(array),), b"chain"))
    assert [2] == list(state.open)


def test_state_shows_where_it_is_and_equals_states_only():
    """A failing test says something that can be read."""
    state = fold(log_of(ItemStarted("a")))

    assert "State(seq=2, started 1)" == repr(state)
    assert "State(seq=0, empty)" == repr(State())
    assert state != 2


def test_late_outcome_of_another_item_is_corrupt():
    """A doubt is not settled by news that names another item."""
    state = fold(log_of(ItemStarted("a"), ItemInterrupted(2, 1, "Ctrl-C")))

    with pytest.raises(LogCorrupt, match="names item 'b'"):
        state.apply(record(4, 1, LateOutcome("b", 2, 1)))


# --- Sessions -------------------------------------------------------------------------------


def test_lost_session_doubts_its_started_items_only():
    """The crash report puts in doubt what its session had started, and nothing of anybody else."""
    state = fold(
        [
            *log_of(),
            record(2, 2, opened(2)),
            record(3, 1, ItemStarted("mine")),
            record(4, 2, ItemStarted("theirs")),
            record(5, 1, ItemStarted("done"), ItemSucceeded(5, 1)),
            record(7, 2, SessionLost(1)),
        ]
    )

    assert [Status.IN_DOUBT, Status.STARTED, Status.SUCCEEDED] == [
        state.item(i).status for i in ("mine", "theirs", "done")
    ]
    assert "session 1 died" == state.attempt(3).reason
    assert 70 == state.attempt(3).doubted_ns


def test_lost_session_keeps_the_time_at_which_it_lived():
    """What is recorded in its name after its death does not make it live longer."""
    state = fold([*log_of(), record(2, 2, opened(2)), record(3, 1, ItemStarted("a")), record(4, 2, SessionLost(1, 30))])

    assert 30 == state.sessions[1].last_ns
    assert 40 == state.sessions[1].ended_ns
    assert "lost" == state.sessions[1].ending


def test_ended_sessions_are_forgotten_in_the_end():
    """Memory holds a bounded number of sessions, the latest, and those that a doubt names."""
    records = [*log_of(ItemStarted("a")), record(3, 2, opened(2)), record(4, 2, SessionLost(1))]
    seq = 5
    for number in range(3, 3 + 2 * SESSIONS_REMEMBERED_MAX):
        records += [record(seq, number, opened(number)), record(seq + 1, number, SessionClosed(number))]
        seq += 2
    state = fold(records)

    assert SESSIONS_REMEMBERED_MAX == len(state.sessions)
    assert {1, 2} <= set(state.sessions), "a doubt names the first, and the second is open"
    assert max(state.sessions) == state.last_session == number


# --- The rest of the state ---------------------------------------------------------------------


def test_session_that_ends_beside_many_open_ones_is_forgotten_with_its_own_record():
    """Those that are open are all remembered, so the one that ended makes room; its record is folded all the same."""
    numbers = range(1, SESSIONS_REMEMBERED_MAX + 2)
    records = [record(number, number, opened(number)) for number in numbers]
    state = fold([*records, record(len(numbers) + 1, 1, SessionClosed(1))])

    assert len(numbers) + 1 == state.seq
    assert [*numbers[1:]] == sorted(state.sessions)


def test_cursor_is_kept_until_its_source_ends():
    """A cursor is the last one given, and gone when the source has ended."""
    state = fold(log_of(CursorAdvanced("a", b"1"), CursorAdvanced("b", b"2"), CursorAdvanced("a", None)))

    assert {"b": b"2"} == state.cursors


def test_bookkeeping_events_are_kept():
    """Key rule, snapshot and base are as the last event about each says."""
    state = fold(
        log_of(KeyRuleSet("id", "", ""), KeyRuleSet("content", "", ""), SnapshotTaken(3, 9), LogCompacted(3, b""))
    )

    assert ("content", 3, 3) == (state.key_rule, state.snapshot_seq, state.base_seq)


def test_results_and_times_are_summed():
    """Elapsed time is that of successes; a result that was omitted is counted."""
    state = fold(
        log_of(ItemStarted("a"), ItemSucceeded(2, 30, None, "too large"), ItemStarted("b"), ItemSucceeded(4, 12))
    )

    assert (42, 2, 1) == (state.elapsed_ns, state.timed, state.results_omitted)
    assert "too large" == state.item("a").omitted


def test_histories_reach_every_status():
    """The control of this file: its histories hold every status, a conflict and a lost session."""
    seen = set()
    for seed in range(200):
        chance = random.Random(seed)  # noqa: S311 - the same histories each time
        history = History()
        for _ in range(30):
            history.grow(chance.choice)
        seen |= {known.status for known in history.items.values()}
        seen |= {"conflict"} if history.conflicts else set()
        seen |= {"lost"} if history.dead else set()

    assert {*Status, "conflict", "lost"} == seen
