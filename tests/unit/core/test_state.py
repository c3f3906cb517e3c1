"""The fold: a state is what its events add up to, however they are cut, and by either way."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import FULL, SEQ, events_at
from tests.support.histories import IDS, History, histories
from wal_runner.core.arrays import to_array
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import (
    CursorAdvanced,
    Decision,
    ItemAttested,
    ItemFailed,
    ItemGivenUp,
    ItemHeld,
    ItemInterrupted,
    ItemReconciled,
    ItemReleased,
    ItemReopened,
    ItemStarted,
    ItemSucceeded,
    KeyRuleSet,
    LateOutcome,
    LogCompacted,
    PauseSet,
    Record,
    RunEnded,
    SessionClosed,
    SessionLost,
    SessionOpened,
    SessionReached,
    SnapshotTaken,
    Status,
    TextSeen,
)
from wal_runner.core.items import OpenAttempt, Pause, SourceEnd
from wal_runner.core.places import PLACES
from wal_runner.core.state import State, fold
from wal_runner.core.state_sessions import SESSIONS_REMEMBERED_MAX, TEXTS_CHARS_MAX, TEXTS_MAX
from wal_runner.core.state_tables import NUMBERS, StateTables
from wal_runner.errors import LogCorrupt, LogTooNew


ERROR = ErrorInfo("builtins.OSError", "no route", "Traceback")


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
    assert {i: (known.failures, known.deaths) for i, known in history.items.items()} == {
        i: (state.item(i).failures, state.item(i).deaths) for i in history.items
    }
    assert (history.texts, history.paused) == (state.texts, None if state.paused is None else state.paused.by)
    assert history.source_ends == {source: end.not_started for source, end in state.source_ends.items()}
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
    st.tuples(
        *(st.just(4), st.sampled_from(IDS), st.sampled_from([1, 2, True]), st.sampled_from([0, 1, -1, False])),
        *(st.sampled_from([None, 0, 3, 2, False, 3.0, Status.FAILED]), st.sampled_from([0, 2, True, "1"])),
        *(st.sampled_from([0, 1, None, -1]), st.sampled_from([None, (), 1]), st.sampled_from([b"", b"d", ""])),
    ).flatmap(lambda array: st.integers(2, len(array)).map(lambda size: array[:size])),
    st.tuples(st.just(5), st.integers(-2, 6), st.sampled_from([0, 7, -1, None, True, 1.5])),
    st.tuples(st.just(5), st.integers(-2, 6), st.just(7), st.sampled_from([None, b"r", "r", 1])),
    st.tuples(st.just(5), st.integers(-2, 6), st.just(7), st.just(None), st.sampled_from([None, "why"])),
    st.tuples(st.sampled_from([2, 3]), st.sampled_from([1, 2, 3])),
    st.tuples(st.integers(0, 30), st.integers(0, 6)),
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


OVER = {"reopened": (ItemReopened, 1), "held": (ItemHeld, 0), "given up": (ItemGivenUp, 0)}
"""What names an attempt that is over, and by how much it raises the generation."""


def about_what_is_over(word, start_seq, before, attempts, generation):
    kind, step = OVER[word]
    return kind("a", start_seq, before, attempts, generation + step, "ann", "")


def state_before(word):
    """Give a state whose item "a" may be reopened, held or given up: attempt 2, generation 0."""
    ended = ItemFailed(2, 1, ERROR) if word == "given up" else ItemSucceeded(2, 1)
    return fold(log_of(ItemStarted("a"), ended))


@pytest.mark.parametrize("word", OVER)
@pytest.mark.parametrize("told", [(3, 1, 0), (2, 2, 0), (2, 1, 1)])
def test_change_that_misremembers_the_attempt_is_corrupt(word, told):
    """A reopening names the item's last attempt, how many there were, and the generation; so do its kin."""
    state = state_before(word)
    start_seq, attempts, generation = told

    with pytest.raises(LogCorrupt, match=f"what is {word} is attempt"):
        state.apply(record(4, 1, about_what_is_over(word, start_seq, state.item("a").status, attempts, generation)))


@pytest.mark.parametrize("word", OVER)
def test_change_that_misremembers_the_status_is_corrupt(word):
    """It states the status before it, as a start does."""
    state = state_before(word)

    with pytest.raises(LogCorrupt, match=f"is not {word} as abandoned"):
        state.apply(record(4, 1, about_what_is_over(word, 2, Status.ABANDONED, 1, 0)))


@pytest.mark.parametrize("word", OVER)
def test_change_of_what_has_not_ended_is_corrupt(word):
    """If the item is in the snapshot's rows, the status that the event states is checked."""
    state = fold(log_of(ItemStarted("a"))).without_items()

    with pytest.raises(LogCorrupt, match=f"an item that is started cannot be {word}"):
        state.apply(record(3, 1, about_what_is_over(word, 2, Status.STARTED, 1, 0)))


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


# --- Since format 2 ------------------------------------------------------------------------


def test_counts_are_copied_and_never_counted():
    """Failures and deaths stand in the events; an event that states none leaves the row without any."""
    start = ItemStarted("a", 4, 0, None, 2, 1)
    events = {
        "counted": ItemFailed(2, 1, ERROR, 3, 99),
        "not counted": ItemFailed(2, 1, ERROR),
        "for good": ItemFailed(2, 1, ERROR, 3, final=True),
        "released": ItemReleased(2),
        "succeeded": ItemSucceeded(2, 1),
        "with a result": ItemSucceeded(2, 1, b"r"),
    }
    items = {what: fold(log_of(start, event)).item("a") for what, event in events.items()}

    assert {
        "counted": (Status.FAILED, 3, 1, 99),
        "not counted": (Status.FAILED, 0, 1, 0),
        "for good": (Status.ABANDONED, 3, 1, 0),
        "released": (Status.PENDING, 2, 1, 0),
        "succeeded": (Status.SUCCEEDED, 2, 1, 0),
        "with a result": (Status.SUCCEEDED, 2, 1, 0),
    } == {what: (item.status, item.failures, item.deaths, item.not_before_ns) for what, item in items.items()}


@pytest.mark.parametrize("deaths", [0, 2])
def test_verdict_states_what_is_left_of_the_deaths(deaths):
    """A person's verdict resets the count and a policy's does not: the event states which, the row copies it."""
    doubted = [ItemStarted("a", 1, 0, None, 0, 2), ItemInterrupted(2, 1, "Ctrl-C")]
    verdict = ItemReconciled(2, Decision.DID_NOT_HAPPEN, "ann", "", deaths=deaths)

    assert deaths == fold(log_of(*doubted, verdict)).item("a").deaths


def test_lost_session_keeps_the_counts_of_its_starts():
    """A death leaves the counts that the start carried, in the row and in the open attempt."""
    state = fold(log_of(ItemStarted("a", 1, 0, None, 2, 1)))
    state.apply(record(3, 2, opened(2), SessionLost(1)))

    assert (2, 1) == (state.item("a").failures, state.item("a").deaths)
    assert (2, 1) == (state.attempt(2).failures, state.attempt(2).deaths)


def test_held_item_is_in_doubt_again_with_its_start():
    """A verdict that is taken back opens the same attempt, in the name of the session that took it back."""
    doubted = [ItemStarted("a"), ItemInterrupted(2, 1, "Ctrl-C"), ItemReconciled(2, Decision.HAPPENED, "ann", "")]
    state = fold(log_of(*doubted))
    state.apply(record(5, 2, opened(2), ItemHeld("a", 2, Status.SUCCEEDED, 1, 0, "bob", "another order")))

    assert Status.IN_DOUBT is state.item("a").status
    assert OpenAttempt("a", 2, 50, 1, 0, Status.IN_DOUBT, 50, "held by bob: another order") == state.attempt(2)
    state.apply(record(7, 2, ItemReconciled(2, Decision.DID_NOT_HAPPEN, "bob", "")))
    assert (Status.PENDING, 2) == (state.item("a").status, state.item("a").start_seq)


def test_attempt_that_is_open_cannot_be_held():
    """A row that is not in the overlay cannot hide that the attempt which is to be held is open."""
    state = fold(log_of(ItemStarted("a"))).without_items()

    with pytest.raises(LogCorrupt, match="holds attempt 2, which is open"):
        state.apply(record(3, 1, ItemHeld("a", 2, Status.PENDING, 1, 0, "ann", "")))


def test_attested_doubt_is_answered_like_any_other():
    """An import's own seq names the attempt; a verdict on it settles the item."""
    doubt = ItemAttested("a", Status.IN_DOUBT, "ann", "joblog", 7, error=ERROR)
    state = fold(log_of(doubt))

    assert OpenAttempt("a", 1, 7, 0, 0, Status.IN_DOUBT, 20, "attested by ann: joblog") == state.attempt(2)
    state.apply(record(3, 1, ItemReconciled(2, Decision.HAPPENED, "ann", "", b"r")))
    assert (Status.SUCCEEDED, b"r", 0) == (state.item("a").status, state.item("a").result, state.item("a").attempts)


def test_attested_result_that_is_omitted_is_counted():
    """An import counts as a run does."""
    state = fold(log_of(ItemAttested("a", Status.SUCCEEDED, "ann", "", omitted="too large")))

    assert (1, "too large") == (state.results_omitted, state.item("a").omitted)


def test_text_that_an_error_names_is_found():
    """An error names its traceback by number; the text is the last one of that number."""
    state = fold(log_of(TextSeen(3, "old"), TextSeen(3, "Traceback"), ItemStarted("a")))
    state.apply(record(5, 1, ItemFailed(4, 1, ERROR._replace(traceback=3))))

    assert ERROR == state.with_text(state.item("a").error)
    assert ERROR == state.with_text(ERROR)
    assert state.with_text(None) is None


def test_error_that_names_no_text_is_corrupt():
    """A traceback of another failure is never shown in the place of one that is missing."""
    with pytest.raises(LogCorrupt, match="names text 4"):
        fold(log_of(TextSeen(3, "x"), ItemStarted("a"), ItemFailed(3, 1, ERROR._replace(traceback=4))))


@pytest.mark.parametrize(("count", "size"), [(TEXTS_MAX + 1, 1), (2, TEXTS_CHARS_MAX // 2 + 1)])
def test_texts_beyond_the_bounds_are_corrupt(count, size):
    """Texts are held in memory and stored with each snapshot, so a log cannot hold many of them."""
    events = [TextSeen(number, "x" * size) for number in range(count)]

    assert count - 1 == len(fold(log_of(*events[:-1])).texts)
    with pytest.raises(LogCorrupt, match="more than 256 texts"):
        fold(log_of(*events))


def test_pause_stands_until_it_is_taken_back():
    """The state says who paused the log, why and since when."""
    paused = PauseSet(paused=True, by="ann", note="the server is down")

    assert Pause("ann", "the server is down", 20) == fold(log_of(paused)).paused
    assert fold(log_of(paused, PauseSet(paused=False, by="bob", note=""))).paused is None


def test_source_that_ended_takes_its_early_end_back():
    """The last early end of each source is kept, until a run reaches the end of that source."""
    halted = RunEnded(1, "pages", source_ended=False, because="halt", seen=63, not_started=2)
    other = RunEnded(1, "list", source_ended=False, because="", seen=1, not_started=0)
    ended = RunEnded(1, "pages", source_ended=True, because="", seen=300, not_started=0)

    assert {"pages": SourceEnd(1, "halt", 63, 2, 20)} == fold(log_of(halted)).source_ends
    assert {"list": SourceEnd(1, "", 1, 0, 30)} == fold(log_of(halted, other, ended)).source_ends


def test_run_of_a_session_that_never_was_is_corrupt():
    """The end of a run names a session of this log."""
    with pytest.raises(LogCorrupt, match="was never opened"):
        fold(log_of(RunEnded(2, "s", source_ended=False, because="", seen=0, not_started=0)))


def test_session_states_where_it_runs_items():
    """Each place is kept once; a session that is not open reaches nothing."""
    reached = [SessionReached(1, "dask", "a"), SessionReached(1, "dask", "b"), SessionReached(1, "dask", "a")]

    assert (("dask", "a"), ("dask", "b")) == fold(log_of(*reached)).sessions[1].reached
    with pytest.raises(LogCorrupt, match="was not open"):
        fold(log_of(SessionReached(2, "dask", "a")))


@pytest.mark.parametrize("kind", sorted(PLACES, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_event_that_is_only_a_place_is_too_new(kind):
    """An event without a meaning in this version is refused, and no meaning is guessed."""
    with pytest.raises(LogTooNew, match=kind.__name__):
        fold([*log_of(ItemStarted("a")), Record(3, 1, 30, (to_array(SEQ, FULL[kind]),))])


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (ItemStarted("a", effects=()), "effects"),
        (ItemStarted("a", digest=b"d"), "digest"),
        (ItemStarted("a", function=1), "function"),
        (ItemStarted("a", payload=b"p"), "payload"),
        (ItemReopened("b", 2, Status.SUCCEEDED, 1, 1, "ann", "", ()), "effects"),
    ],
)
def test_field_that_is_only_a_place_is_too_new(event, name):
    """So is a field: a start with a digest is not folded as one without."""
    with pytest.raises(LogTooNew, match=f"{type(event).__name__} with {name}"):
        fold(log_of(event))


@pytest.mark.parametrize("name", sorted(set(StateTables.__slots__) - {"items", "frozen", "frozen_seq"}))
def test_states_are_compared_by_every_number(name):
    """Two states of which one says another thing differ; the checks of the tools go by the same names."""
    state, other = State(), State()
    setattr(other, name, "another")

    assert name in NUMBERS
    assert state != other
