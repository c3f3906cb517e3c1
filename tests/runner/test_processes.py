"""Several processes over one log: they share the work, and what one leaves the others see."""

import signal
import threading
import time
from types import SimpleNamespace

import pytest

from tests.runner.driving import Effects, Script, numbers, serial, statuses, wait_until
from wal_runner import Runner, Status, Verdict
from wal_runner.core.events import LateOutcome
from wal_runner.errors import DiskFull, LogBusy, StorageFailed
from wal_runner.log.format import GATE_NAME
from wal_runner.log.gate import Gate
from wal_runner.runner.flusher import Flusher


IDS = [str(number) for number in range(400)]

SHARING = """
ledger = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
done = 0

def fn(item):
    global done
    done += 1
    os.write(ledger, (item + "\\n").encode())
    time.sleep(0.0005)

ids = [str(number) for number in range(400)]
with Runner(path) as runner:
    say("ready")
    hear()
    report = runner.run(ids, fn, **json.loads(sys.argv[3]))
say([done, report.succeeded, report.in_doubt, report.seen])
"""


def test_processes_share_the_work(path, tmp_path):
    """Each item is run by one of them, and each of them does some."""
    ledger = tmp_path / "ledger"
    arguments = (SHARING, path, ledger, '{"workers": 2}')
    with Script(*arguments) as one, Script(*arguments) as other:
        for script in (one, other):
            assert "ready" == script.hear()
        for script in (one, other):
            script.tell()
        reports = [script.hear() for script in (one, other)]
        codes = [script.end()[0] for script in (one, other)]

    assert sorted(IDS) == sorted(ledger.read_text().split())
    assert 400 == sum(done for done, *_ in reports)
    assert all(0 < done == succeeded < 400 for done, succeeded, _, _ in reports)
    assert [400, 400] == [seen for *_, seen in reports]
    assert [0, 0] == codes


HANGING = """
def fn(item):
    say(item)
    hear()

with Runner(path) as runner:
    report = runner.run(sys.argv[2].split(), fn)
    say([report.succeeded, report.skipped, report.elsewhere, report.in_doubt])
"""


def test_item_that_runs_elsewhere_is_left_alone(path):
    """It is counted, and not waited for."""
    with Script(HANGING, path, "a b") as other:
        assert "a" == other.hear()
        with Runner(path) as runner:
            effects = Effects()
            report = serial(runner, ["a", "b"], effects)
            exit_code = report.exit_code
            other.tell()
            assert [1, 1, 0, 0] == other.hear()

    assert ["b"] == effects
    assert {"seen": 2, "succeeded": 1, "elsewhere": 1} == numbers(report)
    assert 5 == exit_code


def test_killed_process_leaves_its_item_in_doubt_for_the_others(path):
    """A Runner that was open all the time sees the death at its next run."""
    with Runner(path) as runner, Script(HANGING, path, "a b") as other:
        assert "a" == other.hear()
        first = serial(runner, ["a"], Effects())
        other.kill()
        second = serial(runner, ["a", "b"], Effects())
        (doubt,) = runner.in_doubt()

    assert {"seen": 1, "elsewhere": 1} == numbers(first)
    assert {"seen": 2, "succeeded": 1, "in_doubt": 1} == numbers(second)
    assert ("a", other.process.pid) == (doubt.item_id, doubt.pid)


def test_death_during_a_run_is_seen_at_its_end(path):
    """What the dead one had begun is in doubt; what it had claimed and not begun is run by us."""
    windows = """
    def fn(item):
        if item == "40":
            say("hanging")
            hear()
    Runner(path).run([str(number) for number in range(400)], fn)
    """
    with Script(windows, path) as other:
        assert "hanging" == other.hear()
        with Runner(path) as runner:

            def claimed():
                runner.writer.catch_up()
                return {attempt.item_id for _, attempt in runner.writer.state.attempts()} - {"40"}

            # What it had ended before is durable soon.
            wait_until(lambda: min(map(int, claimed())) > 40)
            pending = claimed()

            def fn(item):
                if item == "last":
                    other.kill()

            effects = Effects()
            report = serial(runner, [*IDS, "last"], lambda item: (effects(item), fn(item))[0])

    assert pending
    assert pending < set(effects)
    assert ["40"] == [name for name in IDS if name not in effects and int(name) >= 40]
    assert (401, 1, 0) == (report.seen, report.in_doubt, report.elsewhere)


def test_stopped_process_is_not_robbed(path):
    """No clock decides: it is stopped and not dead, so its item is its own."""
    with Runner(path) as runner, Script(HANGING, path, "a") as other:
        assert "a" == other.hear()
        other.process.send_signal(signal.SIGSTOP)
        report = serial(runner, ["a"], Effects())
        other.process.send_signal(signal.SIGCONT)
        other.tell()
        said = other.hear()

    assert {"seen": 1, "elsewhere": 1} == numbers(report)
    assert [1, 0, 0, 0] == said


def test_failure_elsewhere_is_not_repeated_by_a_run_that_was_under_way(path):
    """Four processes over one list do not each repeat the same failing item."""
    code = """
    def source():
        yield "a"
        say("waiting")
        hear()
        yield "bad"
    with Runner(path) as runner:
        report = runner.run(source(), lambda item: 1)
        say([report.succeeded, report.failed])
    """
    with Script(code, path) as other, Runner(path) as runner:
        assert "waiting" == other.hear()
        serial(runner, ["bad"], Effects({"bad"}))
        other.tell()
        said = other.hear()
        effects = Effects()
        serial(runner, ["bad"], effects)

    assert [1, 1] == said
    assert ["bad"] == effects


def test_failure_elsewhere_is_tried_again_by_a_run_that_begins_later(path):
    """Also where this Runner was open all the time, and has not looked since."""
    with Runner(path) as runner:
        serial(runner, ["a"], Effects())
        code = """
        with Runner(path) as runner:
            runner.run(["bad"], lambda item: 1 / 0)
        """
        with Script(code, path) as other:
            assert 0 == other.end()[0]
        report = serial(runner, ["bad"], Effects())

    assert {"seen": 1, "succeeded": 1} == numbers(report)


def test_verdict_of_another_process_is_seen(path):
    """A doubt that was settled elsewhere is not held here."""
    with Runner(path) as runner:
        serial(runner, ["a", "b"], Effects({"a", "b"}, TimeoutError))
        code = """
        with Runner(path) as runner:
            runner.resolve("a", Verdict.did_not_happen())
            runner.resolve("b", Verdict.happened(7))
        """
        with Script(code, path) as other:
            assert 0 == other.end()[0]
        effects = Effects()
        report = serial(runner, ["a", "b"], effects)
        results = dict(runner.results())

    assert ["a"] == effects
    assert {"seen": 2, "succeeded": 1, "skipped": 1} == numbers(report)
    assert 7 == results["b"]


ROBBED = """
with Runner(path) as runner:
    def fn(item):
        say(item)
        hear()
        return "did " + item
    try:
        runner.run(["a", "b"], fn, max_in_doubt=1)
    except errors.LogError as error:
        say(type(error).__name__)
"""


def rob(other, path):
    """Delete the files of a session whose fn runs: it looks dead from now on."""
    assert "a" == other.hear()
    for file in (path / "sessions").glob("*"):
        file.unlink()


LATE = """
from wal_runner.core.events import ItemSucceeded

def fn(item):
    raise TimeoutError

runner = Runner(path)
runner.run(["a"], fn)
[doubt] = runner.in_doubt()
# As a thread leaves it that went on behind its run, and whose own commit failed.
runner.writer.own_starts.late[doubt.start_seq] = ("a", ItemSucceeded(doubt.start_seq, 5))
say("a")
hear()
try:
    runner.run(["b"], print)
except errors.LogError as error:
    say(type(error).__name__)
"""


def test_session_that_was_declared_lost_appends_nothing(path):
    """Its files were deleted by mistake; it is stopped rather than believed."""
    with Script(ROBBED, path) as other:
        rob(other, path)
        with Runner(path) as runner:
            runner.resolve("a", Verdict.did_not_happen())
            other.tell()
            assert other.hear() in {"LogReplaced", "SessionDeclaredLost"}
            effects = Effects()
            serial(runner, ["a", "b"], effects)
            found = statuses(runner)

    assert ["a", "b"] == effects
    assert {"a": Status.SUCCEEDED, "b": Status.SUCCEEDED} == found


@pytest.mark.parametrize(
    ("script", "result"), [(ROBBED, "did a"), (LATE, None)], ids=["of its run", "of an earlier run"]
)
def test_lost_session_records_late_what_it_knows(path, script, result):
    """The effect happened, and its process lives: the doubt is settled by it, in a session of its own."""
    with Script(script, path) as other:
        rob(other, path)
        with Runner(path) as runner:
            assert Status.IN_DOUBT is runner.status("a")
            other.tell()
            assert other.hear() in {"LogReplaced", "SessionDeclaredLost"}
            found, results = statuses(runner), dict(runner.results())
            last = runner.history("a")[-1].event

    assert {"a": Status.SUCCEEDED} == found
    assert {"a": result} == results
    assert isinstance(last, LateOutcome)


def test_run_waits_for_one_who_holds_the_gate(path, monkeypatch, caplog):
    """A verification of a large log holds it for longer than a turn waits; a run has time."""
    with Runner(path) as runner:
        gate = Gate(path / GATE_NAME, writable=True)
        really = runner.writer.turn
        monkeypatch.setattr(runner.writer, "turn", lambda decide, **more: really(decide, wait_s=0.05, **more))
        held = threading.Event()
        holder = threading.Thread(target=lambda: (gate.acquire(5), held.set(), time.sleep(0.4), gate.release()))
        effects = Effects()

        def fn(item):
            if item == "2":
                holder.start()
                assert held.wait(5)
            effects(item)

        report = serial(runner, ["1", "2", "3", "4"], fn, max_in_doubt=1)
        holder.join()
    gate.close()

    assert {"seen": 4, "succeeded": 4} == numbers(report)
    assert ["1", "2", "3", "4"] == effects
    assert 1 == len([record for record in caplog.records if "Waiting up to" in record.getMessage()])


def test_flusher_passes_over_a_gate_that_is_busy():
    """What is passing must not make a good run raise at its end; anything else must."""
    errors, looked = [LogBusy("held"), DiskFull("full")], threading.Event()

    def flush_if_old():
        if errors:
            raise errors.pop()
        looked.set()

    with Flusher(SimpleNamespace(flush_if_old=flush_if_old, break_off=lambda: None)) as flusher:
        assert looked.wait(10)
    flusher.check()

    looked.clear()
    errors.append(StorageFailed("broken"))
    with Flusher(SimpleNamespace(flush_if_old=flush_if_old, break_off=lambda: None)) as flusher:
        wait_until(lambda: not errors)
        assert not looked.wait(0.2)
    with pytest.raises(StorageFailed):
        flusher.check()


def test_flusher_looks_at_connections_after_an_error():
    """The end of the run waits for workers whose connections hang, and only that look replaces them."""
    looks, has_failed = [], threading.Event()

    def flush_if_old():
        has_failed.set()
        raise StorageFailed("broken")

    dispatcher = SimpleNamespace(flush_if_old=flush_if_old, break_off=lambda: None)
    with Flusher(dispatcher, lambda: looks.append(has_failed.is_set())) as flusher:
        wait_until(lambda: True in looks)
    with pytest.raises(StorageFailed):
        flusher.check()


def test_reader_follows_a_running_process(path):
    """`open_read` sees each commit of others, and holds nobody up."""
    with Script(HANGING, path, "a b c") as other:
        for item in ("a", "b", "c"):
            assert item == other.hear()
            with Runner.open_read(path) as view:
                assert Status.STARTED is view.status(item)
            other.tell()
        assert [3, 0, 0, 0] == other.hear()
        wait_until(lambda: other.process.poll() is not None)
    with Runner.open_read(path) as view:
        assert 3 == view.counts()[Status.SUCCEEDED]
