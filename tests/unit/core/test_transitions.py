"""What may happen to an item: every cell of the table, and the fold that obeys it."""

import pytest

from wal_runner.core.arrays import to_array
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import (
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
    LateOutcome,
    Record,
    SessionLost,
    SessionOpened,
    Status,
)
from wal_runner.core.state import State, fold
from wal_runner.core.transitions import CONFLICT, OUTCOMES, TRANSITIONS, Attempt, Happening, transition
from wal_runner.errors import LogCorrupt


# Written from the design, by hand, and not from the table in the code. A dot is illegal.
WRITTEN_DOWN = {
    Attempt.CURRENT: """
        event                   PENDING  STARTED    SUCCEEDED  FAILED   IN_DOUBT   ABANDONED
        STARTED                 STARTED  .          .          STARTED  .          .
        SUCCEEDED               .        SUCCEEDED  .          .        SUCCEEDED  .
        FAILED                  .        FAILED     .          .        FAILED     .
        FAILED_FINALLY          .        ABANDONED  .          .        ABANDONED  .
        INTERRUPTED             .        IN_DOUBT   .          .        IN_DOUBT   .
        RELEASED                .        PENDING    .          .        .          .
        VERDICT_HAPPENED        .        .          .          .        SUCCEEDED  .
        VERDICT_DID_NOT_HAPPEN  .        .          .          .        PENDING    .
        VERDICT_ABANDON         .        .          .          .        ABANDONED  .
        REOPENED                .        .          .          .        .          .
        HELD                    .        .          .          .        .          .
        GIVEN_UP                .        .          .          .        .          .
        ATTESTED_SUCCEEDED      .        .          .          .        .          .
        ATTESTED_FAILED         .        .          .          .        .          .
        ATTESTED_IN_DOUBT       .        .          .          .        .          .
        LATE_SUCCESS            .        .          .          .        SUCCEEDED  .
        LATE_FAILURE            .        .          .          .        FAILED     .
        SESSION_LOST            .        IN_DOUBT   .          .        IN_DOUBT   .
    """,
    Attempt.STALE: """
        event                   PENDING   STARTED   SUCCEEDED  FAILED    IN_DOUBT  ABANDONED
        STARTED                 .         .         .          .         .         .
        SUCCEEDED               CONFLICT  CONFLICT  CONFLICT   CONFLICT  CONFLICT  CONFLICT
        FAILED                  CONFLICT  CONFLICT  CONFLICT   CONFLICT  CONFLICT  CONFLICT
        FAILED_FINALLY          CONFLICT  CONFLICT  CONFLICT   CONFLICT  CONFLICT  CONFLICT
        INTERRUPTED             CONFLICT  CONFLICT  CONFLICT   CONFLICT  CONFLICT  CONFLICT
        RELEASED                .         .         .          .         .         .
        VERDICT_HAPPENED        .         .         .          .         .         .
        VERDICT_DID_NOT_HAPPEN  .         .         .          .         .         .
        VERDICT_ABANDON         .         .         .          .         .         .
        REOPENED                .         .         PENDING    PENDING   .         PENDING
        HELD                    IN_DOUBT  .         IN_DOUBT   .         .         IN_DOUBT
        GIVEN_UP                .         .         .          ABANDONED .         .
        ATTESTED_SUCCEEDED      SUCCEEDED .         .          .         .         .
        ATTESTED_FAILED         FAILED    .         .          .         .         .
        ATTESTED_IN_DOUBT       IN_DOUBT  .         .          .         .         .
        LATE_SUCCESS            CONFLICT  CONFLICT  CONFLICT   CONFLICT  CONFLICT  CONFLICT
        LATE_FAILURE            CONFLICT  CONFLICT  CONFLICT   CONFLICT  CONFLICT  CONFLICT
        SESSION_LOST            .         .         .          .         .         .
    """,
}


def parse(attempt, grid):
    header, *rows = (line.split() for line in grid.split("\n") if line.strip())
    answers = {".": None, "CONFLICT": CONFLICT, **Status.__members__}
    return {
        (Status[status], Happening[happening], attempt): answers[cell]
        for happening, *cells in rows
        for status, cell in zip(header[1:], cells, strict=True)
    }


EXPECTED = {cell: answer for attempt, grid in WRITTEN_DOWN.items() for cell, answer in parse(attempt, grid).items()}
CELLS = [(status, happening, attempt) for status in Status for happening in Happening for attempt in Attempt]


def name_of(value):
    return value.name.lower()


def test_every_cell_is_written_down():
    """No pair of status and event was forgotten, when the grid was written or since."""
    assert set(CELLS) == set(EXPECTED)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "-".join(map(name_of, cell)))
def test_table_answers_as_written_down(cell):
    """Each cell of the code's table gives the next status, a conflict, or nothing: illegal."""
    assert EXPECTED[cell] == transition(*cell)


def test_table_holds_no_illegal_cell():
    """What is illegal is not in the table, rather than there as None."""
    assert {cell for cell, answer in EXPECTED.items() if answer is not None} == set(TRANSITIONS)


def test_outcomes_are_what_may_come_late():
    """Exactly the outcomes are conflicts when their attempt is over; any other stale event is a fault."""
    assert {cell[1] for cell, answer in EXPECTED.items() if answer is CONFLICT} == set(OUTCOMES)


# --- The fold obeys the table ----------------------------------------------------------

MINE = 1
OTHER = 2
ERROR = ErrorInfo("builtins.OSError", "no route")

TO_STATUS = {
    Status.STARTED: lambda _start: [],
    Status.PENDING: lambda start: [ItemReleased(start)],
    Status.SUCCEEDED: lambda start: [ItemSucceeded(start, 1)],
    Status.FAILED: lambda start: [ItemFailed(start, 1, ERROR)],
    Status.IN_DOUBT: lambda start: [ItemInterrupted(start, 1, "Ctrl-C")],
    Status.ABANDONED: lambda start: [
        ItemInterrupted(start, 1, "Ctrl-C"),
        ItemReconciled(start, Decision.ABANDON, "ann", ""),
    ],
}
OPENED = [SessionOpened(number, "host", 1, "boot", (), "/", "user", "0") for number in (MINE, OTHER)]


def record(state, session, events):
    seq = state.seq + 1
    return Record(seq, session, 10 * seq, tuple(to_array(n, event) for n, event in enumerate(events, seq)))


def state_with_item(status):
    """Give a state in which "a" has an attempt that is over, and then one that led to *status*."""
    state = State()
    for session, opened in zip((MINE, OTHER), OPENED, strict=True):
        state.apply(record(state, session, [opened]))
    state.apply(record(state, MINE, [ItemStarted("a"), ItemFailed(3, 1, ERROR)]))
    state.apply(record(state, MINE, [ItemStarted("a", 2, 0, Status.FAILED)]))
    events = TO_STATUS[status](5)
    if events:
        state.apply(record(state, MINE, events))
    assert state.item("a").status is status
    return state


def event_of(happening, status, start_seq):  # noqa: C901, PLR0911, PLR0912 - one line a happening
    match happening:
        case Happening.STARTED:
            return ItemStarted("a", 3, 0, status)
        case Happening.SUCCEEDED:
            return ItemSucceeded(start_seq, 1)
        case Happening.FAILED:
            return ItemFailed(start_seq, 1, ERROR)
        case Happening.FAILED_FINALLY:
            return ItemFailed(start_seq, 1, ERROR, final=True)
        case Happening.INTERRUPTED:
            return ItemInterrupted(start_seq, 1, "Ctrl-C")
        case Happening.RELEASED:
            return ItemReleased(start_seq)
        case Happening.VERDICT_HAPPENED:
            return ItemReconciled(start_seq, Decision.HAPPENED, "ann", "")
        case Happening.VERDICT_DID_NOT_HAPPEN:
            return ItemReconciled(start_seq, Decision.DID_NOT_HAPPEN, "ann", "")
        case Happening.VERDICT_ABANDON:
            return ItemReconciled(start_seq, Decision.ABANDON, "ann", "")
        case Happening.REOPENED:
            return ItemReopened("a", 5, status, 2, 1, "ann", "")  # it always names the last
        case Happening.HELD:
            return ItemHeld("a", 5, status, 2, 0, "ann", "")
        case Happening.GIVEN_UP:
            return ItemGivenUp("a", 5, status, 2, 0, "ann", "", ERROR)
        case Happening.LATE_SUCCESS:
            return LateOutcome("a", start_seq, 1)
        case Happening.LATE_FAILURE:
            return LateOutcome("a", start_seq, 1, error=ERROR)
        case Happening.SESSION_LOST:
            return SessionLost(MINE)


# Item "a" has attempt 3, which is over, and attempt 5, which is over too unless it is started or in doubt.
OPEN = {Status.STARTED, Status.IN_DOUBT}
ATTESTED = {
    Happening.ATTESTED_SUCCEEDED: Status.SUCCEEDED,
    Happening.ATTESTED_FAILED: Status.FAILED,
    Happening.ATTESTED_IN_DOUBT: Status.IN_DOUBT,
}
SPOKEN_OF_AN_ATTEMPT = [h for h in Happening if h not in {Happening.STARTED, Happening.SESSION_LOST, *ATTESTED}]


@pytest.mark.parametrize("status", Status, ids=name_of)
@pytest.mark.parametrize("happening", SPOKEN_OF_AN_ATTEMPT, ids=name_of)
@pytest.mark.parametrize("start_seq", [3, 5])
def test_fold_does_what_the_table_says(status, happening, start_seq):
    """An event moves the item as its cell says, is counted as a conflict, or is refused as corrupt."""
    attempt = Attempt.CURRENT if start_seq == 5 and status in OPEN else Attempt.STALE
    answer = EXPECTED[status, happening, attempt]
    before = state_with_item(status)
    news = record(before, MINE, [event_of(happening, status, start_seq)])

    if answer is None:
        with pytest.raises(LogCorrupt):
            before.apply(news)
    else:
        after = fold([news], before)
        now = status if answer is CONFLICT else answer

        assert now is after.item("a").status
        assert {now: 1} == {key: count for key, count in after.counts.items() if count}
        assert (answer is CONFLICT) == after.conflicts
        assert (now in OPEN) == (5 in after.open)


@pytest.mark.parametrize("status", Status, ids=name_of)
@pytest.mark.parametrize("happening", ATTESTED, ids=name_of)
def test_attestation_needs_an_unknown_item(status, happening):
    """An import states an item that the log does not know; one that it knows is refused, pending or not."""
    state = state_with_item(status)
    with pytest.raises(LogCorrupt, match="knows"):
        state.copy().apply(record(state, MINE, [ItemAttested("a", ATTESTED[happening], "ann", "")]))
    seq = state.seq + 1
    after = fold([record(state, MINE, [ItemAttested("b", ATTESTED[happening], "ann", "")])], state)

    assert EXPECTED[Status.PENDING, happening, Attempt.STALE] is after.item("b").status
    assert (seq, 0) == (after.item("b").start_seq, after.item("b").attempts)
    assert (happening is Happening.ATTESTED_IN_DOUBT) == (seq in after.open)


@pytest.mark.parametrize("status", [Status.PENDING, Status.STARTED, Status.ABANDONED], ids=name_of)
def test_attestation_of_another_status_is_corrupt(status):
    """An import knows of successes, failures and doubts; nothing else ended elsewhere."""
    state = state_with_item(Status.FAILED)

    with pytest.raises(LogCorrupt, match="attests"):
        state.apply(record(state, MINE, [ItemAttested("b", status, "ann", "")]))


@pytest.mark.parametrize("status", Status, ids=name_of)
def test_start_does_what_the_table_says(status):
    """Only what is pending or failed may start; a start of anything else is refused as corrupt."""
    state = state_with_item(status)
    start = record(state, OTHER, [ItemStarted("a", 3, 0, status)])
    if EXPECTED[status, Happening.STARTED, Attempt.CURRENT] is None:
        with pytest.raises(LogCorrupt):
            state.apply(start)
    else:
        state.apply(start)

        assert Status.STARTED is state.item("a").status
        assert start.first_seq == state.item("a").start_seq


@pytest.mark.parametrize("status", Status, ids=name_of)
def test_session_lost_does_what_the_table_says(status):
    """A session's death puts what it had started in doubt, and leaves everything else as it was."""
    state = state_with_item(status)
    state.apply(record(state, OTHER, [SessionLost(MINE)]))
    expected = EXPECTED[status, Happening.SESSION_LOST, Attempt.CURRENT] or status

    assert expected is state.item("a").status


@pytest.mark.parametrize(
    "event",
    [ItemSucceeded(5, 1), ItemFailed(5, 1, ERROR), ItemInterrupted(5, 1, "Ctrl-C"), ItemReleased(5)],
    ids=lambda event: type(event).__name__,
)
def test_outcome_of_another_sessions_attempt_is_corrupt(event):
    """Only the session that started an attempt can say how it ended; verdicts and late news are others'."""
    state = state_with_item(Status.STARTED)

    with pytest.raises(LogCorrupt, match="session 2"):
        state.apply(record(state, OTHER, [event]))
