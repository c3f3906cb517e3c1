"""A run whose end could not be written, and then the same Runner again: nothing twice, nothing lost."""

import signal

import pytest

from tests.runner.driving import DRIVERS, Script, claim, named, numbers, serial, statuses
from wal_runner import Runner, Status
from wal_runner.errors import AttemptMisused, CommitUnknown, DiskFull, LogBusy, StorageFailed
from wal_runner.recovery.writer import LogWriter
from wal_runner.runner import dispatcher
from wal_runner.runner.options import RunOptions


ITEMS = ["a", "b", "c", "d", "e", "f"]


class Storage:
    """Lets every transaction of a writer fail while it is `broken`."""

    def __init__(self, monkeypatch, error):
        self.broken = False
        turn = LogWriter.turn

        def failing(writer, *arguments, **options):
            if self.broken:
                raise error("the disk said no")
            return turn(writer, *arguments, **options)

        monkeypatch.setattr(LogWriter, "turn", failing)
        monkeypatch.setattr(dispatcher, "DISK_FULL_WAIT_S", 0.0)
        monkeypatch.setattr(dispatcher, "GATE_BUSY_WAIT_S", 0.0)


@pytest.fixture(params=[DiskFull, LogBusy, StorageFailed, CommitUnknown])
def storage(request, monkeypatch):
    return Storage(monkeypatch, request.param)


def history(runner, item_id):
    return [type(entry.event).__name__ for entry in runner.history(item_id)]


@pytest.mark.parametrize("driver", DRIVERS, ids=named)
def test_next_run_repeats_nothing_after_an_unrecorded_end(runner, storage, driver):
    """Whatever error ended the run: what had run is taken from its slot, the rest runs once."""
    effects = []

    def fn(item):
        effects.append(item)
        storage.broken = storage.broken or item == "c"
        return item * 2

    with pytest.raises((DiskFull, LogBusy, StorageFailed, CommitUnknown)):
        driver(runner, ITEMS, fn)
    storage.broken = False
    report = driver(runner, ITEMS, effects.append)

    assert ITEMS == sorted(effects)
    assert dict.fromkeys(ITEMS, Status.SUCCEEDED) == statuses(runner)
    assert "cc" == dict(runner.results())["c"]
    assert (True, 0, 0, 6) == (report.ok, report.elsewhere, report.in_doubt, report.seen)


@pytest.mark.parametrize("result", [None, 7, "x" * 200_000], ids=["none", "in its slot", "beside it"])
def test_close_records_what_an_unrecorded_end_left(path, monkeypatch, result):
    """Closing instead of running again loses nothing either."""
    storage = Storage(monkeypatch, DiskFull)

    def fn(_item):
        storage.broken = True
        return result

    with Runner(path) as runner:
        with pytest.raises(DiskFull):
            serial(runner, ["a"], fn)
        storage.broken = False
    with Runner(path) as runner:
        assert {"a": Status.SUCCEEDED} == statuses(runner)


def test_start_without_any_outcome_is_in_doubt_in_the_next_run(runner, monkeypatch):
    """Its slot says begun, and nobody knows more: held, counted, and not ok."""
    storage = Storage(monkeypatch, DiskFull)

    def lost(_item):
        storage.broken = True

    run = runner._new_run(["a", "b"], lost, RunOptions(signals=False))
    monkeypatch.setattr(run.dispatcher, "finish", lambda *_: None)
    with pytest.raises(DiskFull):
        runner._run(run)
    storage.broken = False
    report = serial(runner, ["a", "b"], lambda _: None)

    assert {"seen": 2, "succeeded": 1, "in_doubt": 1} == numbers(report)
    assert not report.ok
    assert {"a": Status.IN_DOUBT, "b": Status.SUCCEEDED} == statuses(runner)


def test_slots_are_free_again_after_unrecorded_ends(runner, monkeypatch):
    """A Runner that lives on for weeks must not lose some with each full disk."""
    storage = Storage(monkeypatch, DiskFull)
    free = runner.writer.session.scratch.free_slots()
    for number in range(3):

        def fn(_item):
            storage.broken = True

        with pytest.raises(DiskFull):
            serial(runner, [f"{number}-{item}" for item in ITEMS], fn)
        storage.broken = False
    serial(runner, [], lambda _: None)

    assert free == runner.writer.session.scratch.free_slots()


# --- What may still begin -------------------------------------------------------------------------


@pytest.fixture
def run(runner):
    """Give a run that has started one item."""
    effects = []
    made = runner._new_run(["a"], effects.append, RunOptions(signals=False))
    made.begin()
    made.prepare()
    made.effects = effects
    made.started = made.dispatcher.advance(1)
    return made


def test_worker_that_is_late_does_not_begin_a_released_start(run):
    """It was stopped between its queue and its mark, and the run ended meanwhile."""
    run._leave_nothing_in_flight()
    run.execution.run(*run.started)

    assert [] == run.effects
    assert 1 == run.report.released


def test_worker_that_is_stopped_at_its_mark_does_not_begin(run):
    """The run ends between the last look and the store: the fence is looked at behind the mark."""
    mark = run.execution._begin

    def late_mark(slot, start_seq):
        run._leave_nothing_in_flight()
        mark(slot, start_seq)

    run.execution._begin = late_mark
    run.execution.run(*run.started)

    assert [] == run.effects
    assert 1 == run.report.released


def test_start_that_has_begun_is_not_released(runner, run):
    """A release asks the slot: whoever calls it may be wrong about what has begun."""
    run.dispatcher.begin(*run.started)
    run.dispatcher.release(run.started)
    run._leave_nothing_in_flight()

    assert {"a": Status.IN_DOUBT} == statuses(runner)
    assert (0, 1) == (run.report.released, run.report.in_doubt)


def test_start_of_an_earlier_run_is_not_adopted(runner, run):
    """Not in flight here, and ours: that proves nothing. Only a commit of this run of unknown result is adopted."""
    run.dispatcher.begin(*run.started)
    run.dispatcher.in_flight.clear()
    other = runner._new_run(["a"], run.effects.append, RunOptions(signals=False))
    other.prepare()

    assert [] == other.dispatcher.advance(1)
    assert 1 == other.report.elsewhere


def test_attempt_that_its_loop_could_not_give_back_is_refused(runner, monkeypatch):
    """The release failed, and the next run does the item; entering the old attempt would do it again."""
    storage = Storage(monkeypatch, DiskFull)
    claims = runner.claim(["a"])
    attempt = next(claims)
    storage.broken = True
    with pytest.raises(DiskFull):
        claims.close()
    storage.broken = False
    effects = []
    claim(runner, ["a"], effects.append)

    with pytest.raises(AttemptMisused, match="given back"), attempt:
        effects.append("again")
    assert ["a"] == effects


def test_claim_retries_what_failed_before_its_loop(runner):
    """A claim begins when its loop does, not when it is made."""
    claims = runner.claim(["a"])
    serial(runner, ["a"], lambda _: 1 / 0)
    for attempt in claims:
        with attempt:
            pass

    assert {"a": Status.SUCCEEDED} == statuses(runner)


LEFT_BEHIND = """
import ctypes
from wal_runner.recovery.writer import LogWriter

libc = ctypes.CDLL(None)
reading, writing = os.pipe()
broken = False
turn = LogWriter.turn
def failing(writer, *arguments, **options):
    if broken and threading.current_thread() is threading.main_thread():
        raise errors.DiskFull("full")
    return turn(writer, *arguments, **options)
LogWriter.turn = failing

def in_c(item):
    global broken
    broken = True
    say("in C")
    try:
        while libc.read(reading, ctypes.create_string_buffer(1), 1) != 1:
            pass
    except KeyboardInterrupt:
        pass
    return "sent"

runner = Runner(path)
try:
    runner.run(["old"], in_c, workers=2)
except Interrupted as error:
    say([error.report.in_doubt, error.report.ok])
broken = False
begun = []
report = runner.run(["old", "new"], begun.append)
say([report.in_doubt, report.succeeded, report.ok, begun])
os.write(writing, b"!")
while runner.status("old") is Status.IN_DOUBT:
    time.sleep(0.01)
say([runner.status("old").word, dict(runner.results())["old"]])
runner.close()
"""


def test_fn_that_outlives_an_unrecorded_end_is_in_doubt_then_settled(path):
    """The next run holds its item; when the fn returns after all, that settles the doubt."""
    with Script(LEFT_BEHIND, path) as script:
        assert "in C" == script.hear()
        script.process.send_signal(signal.SIGINT)
        script.process.send_signal(signal.SIGTERM)
        unrecorded = script.hear()
        held = script.hear()
        settled = script.hear()
        code, text = script.end()

    assert [1, False] == unrecorded
    assert [1, 1, False, ["new"]] == held
    assert ["succeeded", "sent"] == settled
    assert 0 == code, text
