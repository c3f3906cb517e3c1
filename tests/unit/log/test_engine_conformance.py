"""What every engine must do: one suite for all of them, in the words of `wal_runner.log.protocol`."""
# ruff: noqa: PT012 - a turn is a block, and leaving it is what raises

import random

import pytest

from tests.support.examples import ERROR
from tests.support.histories import History
from wal_runner.core.arrays import events_of
from wal_runner.core.events import (
    ItemFailed,
    ItemInterrupted,
    ItemReleased,
    ItemStarted,
    ItemSucceeded,
    SessionOpened,
    Status,
)
from wal_runner.core.items import ItemState, item_row
from wal_runner.core.state import State, fold
from wal_runner.errors import (
    Compacted,
    LogBusy,
    LogClosed,
    LogCorrupt,
    LogReadOnly,
    LogReplaced,
    LogWentBack,
)
from wal_runner.log.codec import first_chain
from wal_runner.log.protocol import Liveness
from wal_runner.log.rows import encode_row, row_key, stored_checksum
from wal_runner.log.scratch import Remains


LONG = "long " * 200
DEAD = Liveness(alive=False, owner_alive=False)
ALIVE = Liveness(alive=True, owner_alive=True)
ORPHANED = Liveness(alive=True, owner_alive=False)


class Unwanted(Exception):
    """What breaks a turn off."""


def starts(*ids):
    return [ItemStarted(item_id) for item_id in ids]


def append(log, session, *events, after=None):
    with log.exclusive(0 if after is None else after) as turn:
        turn.append(session, events)
    return turn.appended


def all_records(log, after=0):
    return list(log.read(after, limit=10_000))


def events_in(records):
    return [array for record in records for array in record.arrays]


def session_of(log, last=0):
    with log.exclusive(0) as turn:
        session = turn.new_session(last)
        turn.append(session.number, [SessionOpened(session.number, "h", 1, "b", (), "/", "u", "0")])
    return session


def row(status=Status.SUCCEEDED, start_seq=1, **more):
    return item_row(ItemState(status, start_seq, **more))


def put(log, rows, seconds_max=1.0):
    with log.exclusive(0) as turn:
        return turn.put_rows(rows, seconds_max=seconds_max)


# --- Appending and reading ------------------------------------------------------------


def test_new_log_is_empty(bench):
    """A log that was just created holds nothing, and says so everywhere."""
    log = bench.open()

    assert [] == list(log.read(0, limit=10))
    assert (0, first_chain(bench.log_id)) == log.base()
    assert State() == log.snapshot()
    assert [None] == list(log.look_up(["a"]))
    assert ([], b"") == (list(log.scan(b"", limit=10)[0]), log.scan(b"", limit=10)[1])
    assert (0, 0) == log.row_sums()
    assert (0, 0) == (log.room().records, log.room().rows)
    assert first_chain(bench.log_id) == log.base_state().chain


def test_what_was_appended_is_read_by_the_next_process(bench):
    """Events come back in their order, with the session, the time, and the chain that ties them."""
    records = append(bench.open(), 3, *starts("a", "b"), ItemSucceeded(1, 5))
    [read] = all_records(bench.open())

    assert [read] == list(records)
    assert (1, 3, 3) == (read.first_seq, read.session, read.last_seq)
    assert ((4, "a"), (4, "b"), (5, 2, 5)) == read.arrays
    assert read.time_ns > 0


def test_records_are_gapless(bench):
    """However many events are appended at once, each has the next seq, and each record fits a page."""
    log = bench.open()
    append(log, 1, *starts(*(f"item-{n:05}" for n in range(3_000))))
    append(log, 1, *starts("last"))
    seq = 0
    for record in all_records(log):
        assert seq + 1 == record.first_seq
        seq = record.last_seq

    assert 3_001 == seq
    assert log.room().records == len(all_records(log)) > 10


def test_read_goes_on_from_any_record(bench):
    """A long read is made of pages, each beginning where the one before ended."""
    log = bench.open()
    append(log, 1, *starts(*(f"item-{n:05}" for n in range(1_000))))
    everything = all_records(log)
    paged, after = [], 0
    while page := list(log.read(after, limit=2)):
        assert len(page) <= 2
        paged += page
        after = page[-1].last_seq

    assert everything == paged


def test_large_event_stands_alone(bench):
    """An event is never split: a large one has a record of its own, between its neighbours."""
    log = bench.open()
    append(log, 1, ItemStarted("a"), ItemStarted("x" * 100_000), ItemStarted("b"))

    assert [1, 1, 1] == [len(record.arrays) for record in all_records(log)]
    assert "x" * 100_000 == all_records(log)[1].arrays[0][1]


def test_turn_has_caught_up(bench):
    """A turn begins with what was appended since the seq that was asked for."""
    log = bench.open()
    first, second = append(log, 1, *starts("a", "b")), append(log, 2, *starts("c"))
    log = bench.open()
    with log.exclusive(0) as turn:
        assert [*first, *second] == list(turn.records)
        assert 3 == turn.end
    with log.exclusive(2) as turn:
        assert list(second) == list(turn.records)
    with log.exclusive(3) as turn:
        assert [] == list(turn.records)


def test_turn_knows_what_it_appended(bench):
    """Within a turn the seqs go on, over several sessions, and the end moves."""
    log = bench.open()
    with log.exclusive(0) as turn:
        turn.append(1, starts("a", "b"))
        assert 2 == turn.end
        turn.append(2, [ItemReleased(1)])
        assert 3 == turn.end
        appended = list(turn.appended)

    assert [(1, 1), (3, 2)] == [(record.first_seq, record.session) for record in appended]
    assert appended == all_records(log)


def test_nothing_appended_is_nothing_written(bench):
    """A turn that only looks leaves the log as it was."""
    log = bench.open()
    append(log, 1, *starts("a"))
    with log.exclusive(1) as turn:
        turn.append(1, [])

    assert 1 == len(all_records(log))


@pytest.mark.parametrize("after", [4, 1_000])
def test_log_that_is_shorter_than_remembered_went_back(bench, after):
    """Who remembers an event that the log does not hold has a rewound log before them."""
    log = bench.open()
    append(log, 1, *starts("a", "b", "c"))

    with pytest.raises(LogWentBack):
        list(log.read(after, limit=1))
    with pytest.raises(LogWentBack), log.exclusive(after):
        pass


def test_seq_in_the_middle_of_a_record_is_refused(bench):
    """Nobody who read whole records asks for one; guessing would skip events or repeat them."""
    log = bench.open()
    append(log, 1, *starts("a", "b"))
    append(log, 1, *starts("c"))

    with pytest.raises(LogCorrupt):
        list(log.read(1, limit=10))


def test_seq_in_the_middle_of_the_last_record_is_refused(bench):
    """Nothing follows it, and its own second half was not read."""
    log = bench.open()
    append(log, 1, *starts("a", "b"))

    with pytest.raises(LogCorrupt):
        list(log.read(1, limit=10))
    with pytest.raises(LogCorrupt), log.exclusive(1):
        pass


# --- All or nothing ----------------------------------------------------------------------


def test_turn_that_breaks_off_leaves_nothing(bench):
    """An exception in the block undoes all of it: events, rows, snapshot, base, sessions."""
    log = bench.open()
    append(log, 1, *starts("a"))
    put(log, [("a", row(start_seq=1))])
    before = all_records(log), log.look_up(["a", "b"]), log.row_sums(), log.base(), log.snapshot()
    state = State()
    state.seq = 1
    with pytest.raises(Unwanted), log.exclusive(1) as turn:
        turn.append(1, starts("b"))
        turn.put_rows([("a", row(Status.FAILED)), ("b", row())], seconds_max=1.0)
        turn.put_snapshot(state)
        turn.set_snapshotter(9)
        turn.drop(1, records_max=10)
        born = turn.new_session(0)
        raise Unwanted

    assert before == (all_records(log), log.look_up(["a", "b"]), log.row_sums(), log.base(), log.snapshot())
    assert DEAD == log.liveness([born.number])[born.number]
    with log.exclusive(1) as turn:
        assert 0 == turn.snapshotter()


def test_log_goes_on_after_a_turn_that_broke_off(bench):
    """The seqs of what was not written are given again; the chain has no hole."""
    log = bench.open()
    append(log, 1, *starts("a"))
    with pytest.raises(Unwanted), log.exclusive(1) as turn:
        turn.append(1, starts("b"))
        raise Unwanted
    append(log, 1, *starts("c"), after=1)

    assert [(4, "a"), (4, "c")] == events_in(all_records(bench.open()))


def test_turn_inside_a_turn_is_busy(bench):
    """Nothing inside the gate may come back to it."""
    log = bench.open()
    with log.exclusive(0) as turn:
        turn.append(1, starts("a"))
        with pytest.raises(LogBusy), log.exclusive(0, wait_s=0):
            pass

    assert 1 == len(all_records(log))


# --- The snapshot table ------------------------------------------------------------------


def test_look_up_answers_in_order(bench):
    """Each id has its answer in its place: the row's bytes, None for one that is not there, twice if asked twice."""
    log = bench.open()
    rows = {"b": row(start_seq=2), "a": row(start_seq=1), LONG: row(Status.FAILED, 3, failed_seq=4, error=ERROR)}
    put(log, list(rows.items()))
    stored = {i: encode_row(row_key(i), i, value) for i, value in rows.items()}

    assert [stored["b"], None, stored[LONG], stored["a"], stored["b"]] == list(log.look_up(["b", "c", LONG, "a", "b"]))
    assert [] == list(log.look_up([]))


def test_turn_looks_up_what_it_put(bench):
    """A turn's own rows are there for it, and over older ones."""
    log = bench.open()
    put(log, [("a", row(start_seq=1)), ("b", row(start_seq=1))])
    with log.exclusive(0) as turn:
        turn.put_rows([("a", row(start_seq=7))], seconds_max=1.0)

        assert [encode_row(b"a", "a", row(start_seq=7)), encode_row(b"b", "b", row(start_seq=1))] == list(
            turn.look_up(["a", "b"])
        )


def test_short_rows_are_stored_as_long_ones(bench):
    """What saves memory in the fold makes no difference on disk."""
    log = bench.open()
    put(log, [("done", 5), ("started", -6)])

    assert [("done", (2, 5)), ("started", (1, 6))] == list(log.scan(b"", limit=10)[0])


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_scan_gives_every_row_once(bench, limit):
    """Pages of any size, one after the other, are the whole table in key order; its end is an empty page."""
    log = bench.open()
    ids = ["", "a", "a\0", "aa", "b", "é", "\U0001f600", LONG, LONG + "2"][1:]
    put(log, [(i, row(start_seq=n)) for n, i in enumerate(ids, 1)])
    found, after = [], b""
    while (page := log.scan(after, limit=limit))[0]:
        rows, after = page
        assert 1 <= len(rows) <= limit
        found += rows

    assert sorted(((i, row(start_seq=n)) for n, i in enumerate(ids, 1)), key=lambda pair: row_key(pair[0])) == found


def test_row_sums_count_and_add_up(bench):
    """Count and sum are those of the rows as they stand, whatever the order and however often they were put."""
    log = bench.open()
    put(log, [("a", row(start_seq=1)), ("b", row(start_seq=2)), (LONG, row(start_seq=3))])
    put(log, [("b", row(start_seq=9)), ("c", row(start_seq=4))])
    put(log, [("a", row(start_seq=1))])
    stored = log.look_up(["c", LONG, "b", "a"])

    assert (4, sum(stored_checksum(value) for value in stored) % 2**64) == log.row_sums()
    assert 4 == log.room().rows


def test_rows_are_put_for_a_while(bench):
    """A slice ends when its time is up: what was put is put and counted, the rest is the caller's."""
    log = bench.open()
    rows = [(f"item-{n:05}", n + 1) for n in range(5_000)]
    written = put(log, rows, seconds_max=0.0)

    assert 0 < written < 5_000
    assert written == log.row_sums()[0]
    assert rows[written - 1][0] == log.scan(row_key(rows[written - 2][0]), limit=10)[0][0][0]


def test_snapshot_is_the_state_without_items(bench):
    """What was put for a state comes back, open attempts included, at that state's seq."""
    log = bench.open()
    history = History()
    chance = random.Random(7)  # noqa: S311 - the same history each time
    while len(history.open) < 2 or not (history.cursors and history.texts and history.paused) or history.seq < 40:
        history.grow(chance.choice)
    with log.exclusive(0) as turn:
        turn.require_format(2, ())
    for record in history.records:
        append(log, record.session, *(event for _, event in events_of(record)), after=record.first_seq - 1)
    state = fold(log.read(0, limit=10_000))
    with log.exclusive(state.seq) as turn:
        turn.put_rows(list(state.items.items()), seconds_max=60.0)
        digest = turn.put_snapshot(state)

    assert state.without_items() == bench.open().snapshot()
    assert bench.open().row_sums()[1] == digest


def test_next_snapshot_replaces_the_open_attempts(bench):
    """Attempts that have ended since are gone from the snapshot, new ones are there."""
    log = bench.open()
    state = State()
    doubted = (1, 5, 1, 0, 4, 9, "why")
    for opened in ({1: ("a", *doubted), 2: ("b", 1, 5)}, {2: ("b", *doubted), 3: ("c", 1, 5)}, {}):
        state.open = opened
        state.counts |= {Status.STARTED: min(1, len(opened)), Status.IN_DOUBT: max(0, len(opened) - 1)}
        state.seq += 1
        state.chain = append(log, 1, *starts("x"))[-1].chain
        with log.exclusive(0) as turn:
            turn.put_snapshot(state)

        assert state == log.snapshot()


def test_snapshotter_is_remembered(bench):
    """Who writes a snapshot is known to the next process, until somebody says otherwise."""
    log = bench.open()
    for session in (7, 9, 0):
        with log.exclusive(0) as turn:
            turn.set_snapshotter(session)
            assert session == turn.snapshotter()
        log = bench.open()
        with log.exclusive(0) as turn:
            assert session == turn.snapshotter()


# --- Dropping ------------------------------------------------------------------------------


def dropped(log, until, records_max=10_000):
    with log.exclusive(log.base()[0]) as turn:
        return turn.drop(until, records_max=records_max)


def test_dropped_records_are_the_base(bench):
    """Dropping gives the seq and the hash that stand for what is gone; what follows still chains to it."""
    log = bench.open()
    for n in range(5):
        append(log, 1, *starts(f"a{n}", f"b{n}"))
    records = all_records(log)

    assert (6, records[2].chain) == dropped(log, 6)
    assert (6, records[2].chain) == bench.open().base()
    assert records[3:] == all_records(bench.open(), 6)


def test_what_lies_below_the_base_is_compacted(bench):
    """Who lags behind a compaction is told so, in reading and in a turn."""
    log = bench.open()
    for n in range(5):
        append(log, 1, *starts(f"a{n}"))
    dropped(log, 3)
    for after in (0, 1, 2):
        with pytest.raises(Compacted):
            list(log.read(after, limit=10))
        with pytest.raises(Compacted), log.exclusive(after):
            pass

    assert [4, 5] == [record.first_seq for record in log.read(3, limit=10)]


@pytest.mark.parametrize("records_max", [1, 2, 3])
def test_dropping_goes_by_a_few_records(bench, records_max):
    """The gate is free in between: each turn drops so many at most, and says how far it came."""
    log = bench.open()
    for n in range(5):
        append(log, 1, *starts(f"a{n}"))
    reached = []
    while not reached or reached[-1] < 4:
        reached.append(dropped(log, 4, records_max)[0])

    assert [min(4, n * records_max) for n in range(1, len(reached) + 1)] == reached
    assert [5] == [record.first_seq for record in log.read(4, limit=10)]


def test_record_that_reaches_beyond_is_kept(bench):
    """Only whole records are dropped."""
    log = bench.open()
    append(log, 1, *starts("a", "b"))
    append(log, 1, *starts("c", "d"))

    assert 2 == dropped(log, 3)[0]
    assert 2 == dropped(log, 3)[0]


def test_log_goes_on_when_everything_was_dropped(bench):
    """An empty log has an end all the same: its base."""
    log = bench.open()
    append(log, 1, *starts("a", "b"))
    dropped(log, 2)
    log = bench.open()
    append(log, 1, *starts("c"), after=2)

    assert [3] == [record.first_seq for record in bench.open().read(2, limit=10)]


def test_base_state_is_kept(bench):
    """What a replay begins with comes back whole, open attempts included."""
    log = bench.open()
    state = State()
    state.chain = append(log, 1, *starts("a"))[-1].chain
    state.seq, state.open, state.counts[Status.IN_DOUBT] = 1, {1: ("a", 1, 5, 1, 0, 4, 9, "session 1 died")}, 1
    with log.exclusive(0) as turn:
        turn.put_base_state(state)
    dropped(log, 1)

    assert state == bench.open().base_state()


def test_base_state_never_goes_back(bench):
    """Of two compactions that overlap the slower one comes with an older state; what it stands on may be dropped."""
    log = bench.open()
    older, newer = State(), State()
    for seq, state in ((1, older), (2, newer)):
        state.seq, state.chain = seq, append(log, 1, *starts(f"a{seq}"), after=seq - 1)[-1].chain
    for state in (newer, older):
        with log.exclusive(2) as turn:
            turn.put_base_state(state)

    assert newer == bench.open().base_state()


def test_snapshot_of_another_history_is_corrupt(bench):
    """A state that carries another hash than the log has at its seq, or stands for more, is never folded on."""
    log = bench.open()
    ends = [append(log, 1, *starts(f"a{seq}"), after=seq - 1)[-1] for seq in (1, 2)]
    state = State()
    for seq, chain in ((1, ends[1].chain), (2, ends[0].chain), (3, b"of no event")):
        state.seq, state.chain = seq, chain
        with log.exclusive(2) as turn:
            turn.put_snapshot(state)
            turn.put_base_state(state)

        for read in (log.snapshot, log.base_state):
            with pytest.raises(LogCorrupt, match="another history"):
                read()


def test_base_without_its_state_is_corrupt(bench):
    """Events that are gone with nothing to stand for them are never taken for none."""
    log = bench.open()
    append(log, 1, *starts("a"))
    dropped(log, 1)

    with pytest.raises(LogCorrupt, match="base"):
        log.base_state()


# --- Sessions -------------------------------------------------------------------------------


def test_session_numbers_are_never_used_again(bench):
    """Closed, died, or died between its files and its first commit: a number is gone for good."""
    log = bench.open()
    first, second = session_of(log, 0), session_of(log, 1)
    first.close()
    second.abandon()
    third = session_of(bench.open(), 2)
    bench.leave_files(7)
    fourth = session_of(bench.open(), 3)

    assert [1, 2, 3, 8] == [s.number for s in (first, second, third, fourth)]


def test_living_session_is_alive_to_everybody(bench):
    """The lock outlives the handle under which it was taken, and goes with its session."""
    session = session_of(bench.open())

    assert {1: ALIVE} == bench.open().liveness([1])
    session.close()
    assert {1: DEAD, 9: DEAD} == bench.open().liveness([1, 9])


def test_session_whose_process_died_is_dead(bench):
    """Nothing but the end of its process is needed, and a turn is told the same."""
    session_of(bench.open()).abandon()
    log = bench.open()
    with log.exclusive(1) as turn:
        assert {1: DEAD} == turn.liveness([1])

    assert {1: DEAD} == log.liveness([1])


def test_session_whose_command_runs_on_is_not_dead(bench):
    """Owner dead, effect still running: alive until that ends too."""
    end_effect = bench.leave_effect(session_of(bench.open()))

    assert {1: ORPHANED} == bench.open().liveness([1])
    end_effect()
    assert {1: DEAD} == bench.open().liveness([1])


def test_session_is_taken_in_the_turn_that_opens_it(bench):
    """From its files on it lives, to the turn itself and to the next process."""
    log = bench.open()
    with log.exclusive(0) as turn:
        session = turn.new_session(0)
        assert {1: ALIVE} == turn.liveness([1])
        assert ALIVE == bench.ask_the_kernel(session.number)
        turn.append(1, [SessionOpened(1, "h", 1, "b", (), "/", "u", "0")])

    assert {1: ALIVE} == bench.open().liveness([session.number])


def test_session_whose_files_were_deleted_appends_nothing(bench):
    """Others may hold it dead by now, so it stops."""
    log = bench.open()
    session_of(log)
    bench.remove_files(1)

    with pytest.raises(LogReplaced), log.exclusive(0):
        pass


# --- Slots ------------------------------------------------------------------------------------

LARGE = ItemSucceeded(40, 9, b"\xc4" + b"x" * 500)


def test_slots_tell_the_next_process(bench):
    """Armed, begun, ended each way, large and small: what stood in the slots is there after a crash."""
    log = bench.open()
    session = session_of(log)
    scratch = session.scratch
    # What has begun is durable: a slot that is ahead of its log would show that the log went back.
    append(log, 1, *(ItemStarted(f"item-{number}") for number in range(LARGE.start_seq)), after=1)
    outcomes = [
        ItemSucceeded(30, 5),
        ItemSucceeded(31, 5, b"\xa2ok"),
        ItemSucceeded(32, 5, None, "too large"),
        ItemFailed(33, 5, ERROR),
        ItemInterrupted(34, 5, "Ctrl-C"),
        LARGE,
    ]
    starts_of = [10, 20, *(outcome.start_seq for outcome in outcomes)]
    slots = scratch.take(len(starts_of))
    for slot, start_seq in zip(slots, starts_of, strict=True):
        scratch.arm(slot, start_seq)
    for slot, start_seq in zip(slots[1:], starts_of[1:], strict=True):
        scratch.begin(slot, start_seq)
    for slot, outcome in zip(slots[2:], outcomes, strict=True):
        scratch.finish(slot, outcome.start_seq, outcome)
    session.abandon()
    log = bench.open()
    with log.exclusive(1) as turn:
        remains = turn.remains(1)

    assert {
        10: Remains(begun=False),
        20: Remains(begun=True),
        **{outcome.start_seq: Remains(begun=True, outcome=outcome) for outcome in outcomes},
    } == remains
    assert {1: remains} == log.remains_of([1])


def test_slot_that_was_disarmed_says_nothing(bench):
    """A start that did not come about leaves no trace."""
    session = session_of(bench.open())
    slots = session.scratch.take(2)
    session.scratch.arm(slots[0], 10)
    session.scratch.disarm(slots)
    session.abandon()

    assert {1: {}} == bench.open().remains_of([1])


def test_slots_are_taken_and_given_back(bench):
    """The number of free slots says how many more starts there can be; none is given out twice."""
    scratch = session_of(bench.open()).scratch
    free = scratch.free_slots()
    slots = scratch.take(3)

    assert free - 3 == scratch.free_slots()
    assert 3 == len({*slots})
    scratch.free(slots[:2])
    scratch.disarm(slots[2:])
    assert free == scratch.free_slots()
    assert free == len({*scratch.take(free)})


def test_session_that_is_not_there_left_nothing(bench):
    """Silence about a start is doubt, not an error."""
    assert {5: {}} == bench.open().remains_of([5])


def test_retired_session_leaves_nothing(bench):
    """What stood for a dead session goes once its loss is durable, and not before."""
    session = session_of(bench.open())
    [slot] = session.scratch.take(1)
    session.scratch.arm(slot, 10)
    session.abandon()
    log = bench.open()
    with pytest.raises(Unwanted), log.exclusive(1) as turn:
        turn.retire([1])
        raise Unwanted
    assert {1: {10: Remains(begun=False)}} == log.remains_of([1])
    with log.exclusive(1) as turn:
        turn.retire([1])
        turn.append(2, starts("a"))

    assert {1: {}} == log.remains_of([1])


def test_room_can_be_reserved(bench):
    """With a disk that has room, reserving changes nothing that is read."""
    log = bench.open()
    with log.exclusive(0) as turn:
        turn.reserve(100)
        turn.append(1, starts("a"))

    assert [(4, "a")] == events_in(all_records(bench.open()))


# --- Refusals, rewriting and closing ----------------------------------------------------------


def test_reader_reads_and_never_writes(bench):
    """A handle for reading answers every question and refuses every change."""
    writer = bench.open()
    append(writer, 1, *starts("a"))
    put(writer, [("a", row())])
    records, rows = all_records(writer), writer.look_up(["a"])
    log = bench.open(read_only=True)

    assert log.read_only
    assert (records, rows) == (all_records(log), log.look_up(["a"]))
    assert (1, 1) == (log.room().records, log.row_sums()[0])
    with pytest.raises(LogReadOnly), log.exclusive(0):
        pass
    with pytest.raises(LogReadOnly):
        log.rewrite()


def test_rewriting_changes_nothing_that_is_read(bench):
    """Giving disk space back leaves events, rows, snapshot and base as they were, and the log goes on."""
    log = bench.open()
    for n in range(50):
        append(log, 1, *starts(*(f"item-{n}-{m}" for m in range(40))))
    put(log, [(f"item-{n}", n + 1) for n in range(500)])
    dropped(log, 1_000)
    before = all_records(log, 1_000), log.row_sums(), log.base(), log.scan(b"", limit=1_000)
    log.rewrite()

    assert before == (all_records(log, 1_000), log.row_sums(), log.base(), log.scan(b"", limit=1_000))
    append(log, 1, *starts("more"), after=2_000)
    assert (4, "more") == events_in(all_records(bench.open(), 1_000))[-1]


def test_log_is_not_rewritten_under_a_living_session(bench):
    """Whoever else runs on the log would go on writing where nobody sees it."""
    other = session_of(bench.open())
    log = bench.open()
    with pytest.raises(LogBusy, match="1"):
        log.rewrite()
    other.abandon()
    log.rewrite()


def test_own_session_does_not_stand_in_the_way_of_rewriting(bench):
    """A compaction runs in a session of its own."""
    log = bench.open()
    session_of(log)
    log.rewrite()
    append(log, 1, *starts("a"), after=1)

    assert 2 == len(all_records(log))


def test_closed_handle_refuses_everything(bench):
    """After `close` every question and every turn says that the log was closed; closing again is nothing."""
    log = bench.open()
    log.close()
    log.close()
    for ask in (
        lambda: list(log.read(0, limit=1)),
        lambda: log.look_up(["a"]),
        lambda: log.scan(b"", limit=1),
        log.snapshot,
        log.base,
        log.base_state,
        log.row_sums,
        log.room,
        log.rewrite,
        lambda: log.liveness([1]),
        lambda: log.remains_of([1]),
        lambda: log.exclusive(0).__enter__(),
    ):
        with pytest.raises(LogClosed):
            ask()


def test_session_whose_files_were_deleted_can_be_left(bench):
    """Nothing stands for it any more; to leave it is no error."""
    log = bench.open()
    session = session_of(log)
    bench.remove_files(session.number)
    session.abandon()

    assert {1: DEAD} == log.liveness([1])


def test_slots_of_a_closed_session_take_nothing(bench):
    """A worker that was left behind marks no slot of a session that ended."""
    session = session_of(bench.open())
    [slot] = session.scratch.take(1)
    session.scratch.close()

    with pytest.raises(LogClosed):
        session.scratch.arm(slot, 3)
    session.close()
