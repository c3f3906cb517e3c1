"""A live process of an older version: what it could not read is not written, and no outcome is lost."""

import signal
from datetime import UTC, datetime

import pytest

from tests.runner.driving import DRIVERS, Effects, Script, numbers, serial
from wal_runner import Runner, Status, Verdict
from wal_runner.errors import CommitUnknown, OlderVersionRunning
from wal_runner.log.lmdb_turn import LmdbTurn
from wal_runner.recovery.formats import unended_sessions
from wal_runner.runner import execution
from wal_runner.runner.dispatcher import Dispatcher
from wal_runner.runner.options import RunOptions
from wal_runner.runner.run import Run


WHEN = datetime(2026, 11, 28, 12, tzinfo=UTC)

TAGGED = b"\xd6\x01abcd"
"""A result as msgpack tags it; a reader of format 1 refuses it."""

OLDER = """
from wal_runner.recovery import recover
recover.__version__ = "0.1.0"

with Runner(path) as runner:
    runner.run(["theirs"], lambda item: item)
    say("open")
    hear()
say("closed")
"""

DYING = """
from wal_runner import failpoints
from wal_runner.runner import execution
execution.encode_result = lambda *_, **__: (bytes.fromhex("d60161626364"), None)

def fn(item):
    # The next commit carries the outcome of this item.
    failpoints.arm(sys.argv[2], lambda: os.kill(os.getpid(), signal.SIGKILL))
    return item

Runner(path).run(["a"], fn)
"""


@pytest.fixture
def tagged(monkeypatch):
    """Let every result be packed as a tagged one, but None."""
    really = execution.encode_result

    def encode(value, *more, **options):
        return really(value, *more, **options) if value is None else (TAGGED, None)

    monkeypatch.setattr(execution, "encode_result", encode)


def stored(runner):
    """Give what the log holds of each item: the packed result, and why it was left out."""
    state = runner.writer.state
    items = {item_id: state.item(item_id) for item_id, _ in state.touched()}
    return {item_id: (item.result, item.omitted) for item_id, item in items.items()}


def format_of_log(path):
    """Give the format that the log is in."""
    with Runner.open_read(path) as view:
        return view.log.format()


class Older:
    """A process of an older version that has the log open."""

    def __init__(self, path):
        self.script = Script(OLDER, path)

    def __enter__(self):
        self.script.__enter__()
        assert "open" == self.script.hear()
        return self

    def end(self):
        """Let it end in order."""
        self.script.tell()
        assert "closed" == self.script.hear()
        assert 0 == self.script.end()[0]

    def __exit__(self, *error):
        self.script.__exit__(*error)


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("driver", DRIVERS)
def test_result_is_left_out_while_an_older_process_runs(path, driver):
    """The run is ok, counts what was left out, and says why; once that process has ended, results are kept."""
    with Older(path) as older, Runner(path) as runner:
        first = driver(runner, ["a", "b"], lambda item: item)
        left_out = {item_id: stored(runner)[item_id] for item_id in "ab"}
        before = runner.writer.log.format()
        pid = older.script.process.pid
        older.end()
        second = driver(runner, ["c"], lambda item: item)
        kept = stored(runner)["c"]

    assert {"seen": 2, "succeeded": 2} == numbers(first)
    assert (True, 2, 1) == (first.ok, first.results_omitted, before)
    assert {None} == {result for result, _ in left_out.values()}
    assert all(
        f"older wal_runner is running on this log (session 1, pid {pid} on " in why for _, why in left_out.values()
    )
    assert (0, (TAGGED, None), 2) == (second.results_omitted, kept, format_of_log(path))


@pytest.mark.usefixtures("tagged")
def test_outcome_that_is_yielded_is_what_was_committed(path):
    """The result that fn returned is not in the log, so it is not yielded either."""
    with Older(path) as older, Runner(path) as runner:
        outcomes = list(runner.run_iter(["a", "b"], lambda item: item if item == "a" else None))
        older.end()

    assert [None, None] == [outcome.result for outcome in outcomes]
    assert [True, False] == ["session 1" in (outcome.omitted or "") for outcome in outcomes]
    assert {Status.SUCCEEDED} == {outcome.status for outcome in outcomes}


@pytest.mark.usefixtures("tagged")
def test_killed_older_process_is_no_obstacle(path):
    """Its death is not on record yet when the first result needs the format."""
    with Older(path) as older, Runner(path) as runner:

        def fn(item):
            older.script.kill()
            return item

        report = serial(runner, ["a"], fn)
        kept = stored(runner)["a"]

    assert (0, (TAGGED, None), 2) == (report.results_omitted, kept, format_of_log(path))


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("driver", DRIVERS)
def test_required_result_that_is_left_out_ends_the_run(path, driver):
    """The run learns of it with the commit, starts nothing more, and says why it ended; nothing is raised."""
    with Older(path) as older, Runner(path) as runner:
        report = driver(runner, [str(n) for n in range(500)], lambda item: item, results="required")
        older.end()

    assert ("result_required", 6, False) == (report.ended_because, report.exit_code, report.ok)
    assert report.succeeded == report.results_omitted < 500
    assert report.seen == report.succeeded + report.released


def test_larger_results_are_refused_before_the_first_start(path):
    """Asked for by an option, they could not be kept: nothing was started, and the caller may wait."""
    ran = []
    with Older(path) as older, Runner(path) as runner:
        with pytest.raises(OlderVersionRunning, match=r"wal_runner 0\.1\.0"):
            runner.run(["a"], ran.append, result_bytes_max=2 * 1024 * 1024)
        older.end()
        before = (list(ran), runner.status("a"), runner.writer.log.format())
        report = runner.run(["a"], ran.append, result_bytes_max=2 * 1024 * 1024)

    assert ([], Status.PENDING, 1) == before
    assert (1, ["a"], 2) == (report.succeeded, ran, format_of_log(path))


def test_feature_that_was_asked_for_is_refused(path):
    """Nothing is written: the caller may wait, and do the same again."""
    with Older(path) as older, Runner(path) as runner:
        writer = runner.writer

        def ask():
            writer.turn(lambda turn: turn.require_format(2, unended_sessions(writer.state)) or (), snapshot=False)

        with pytest.raises(OlderVersionRunning, match=r"Session 1 \(pid \d+ on .*, wal_runner 0\.1\.0\)") as raised:
            ask()
        before = writer.log.format()
        pid = older.script.process.pid
        older.end()
        ask()

    assert (1, pid) == (raised.value.session, raised.value.pid)
    assert (1, 2) == (before, format_of_log(path))


def test_verdict_with_a_tagged_result_is_refused(path):
    """The person may wait for the older process, or answer without the result; nothing was written."""
    with Older(path) as older, Runner(path) as runner:
        runner.run(["a"], Effects({"a"}, TimeoutError))
        with pytest.raises(OlderVersionRunning, match=r"wal_runner 0\.1\.0"):
            runner.resolve("a", Verdict.happened(WHEN))
        before = (runner.status("a"), runner.writer.log.format())
        older.end()
        runner.resolve("a", Verdict.happened(WHEN))
        results = dict(runner.results())

    assert (Status.IN_DOUBT, 1) == before
    assert WHEN == results["a"]


def test_reconciler_with_a_tagged_result_is_heard_with_a_warning(path, caplog):
    """Its verdict counts, without the result; the run goes on."""
    with Older(path), Runner(path) as runner:
        runner.run(["a"], Effects({"a"}, TimeoutError))
        report = runner.run(["a"], Effects(), reconcile=lambda _: {"a": Verdict.happened(WHEN)})

    assert (1, True) == (report.skipped, report.ok)
    assert "were not kept" in caplog.text


@pytest.mark.usefixtures("tagged")
def test_end_of_a_run_counts_what_was_left_out(path, monkeypatch):
    """What the last transaction settles is counted and yielded as the log holds it: without the result."""
    settled = []

    def keep(_dispatcher):
        if _dispatcher.fence.closed:
            return None  # the commit at the end of the run finds nothing: the slots have it
        return really(_dispatcher)

    really = Dispatcher.flush
    monkeypatch.setattr(Dispatcher, "flush", keep)
    with Older(path), Runner(path) as runner:
        run = Run(runner.writer, ["a"], lambda item: item, RunOptions(), deliver=settled.append)
        with run.running():
            [attempt] = run.dispatcher.advance(1)
            run.execution.run(attempt)

    assert [None] == [outcome.result for outcome in settled]
    assert (1, 1) == (run.report.succeeded, run.report.results_omitted)


# --- Commits that fail -------------------------------------------------------------------------------


@pytest.fixture
def failing_commit(monkeypatch):
    """Let the commit of the first ItemSucceeded raise `CommitUnknown`, written or not; then call a function."""
    really = LmdbTurn.commit

    def arm(*, written, then=lambda: None):
        left = [1]

        def commit(turn):
            outcomes = [array for record in turn.appended for array in record.arrays if array[0] == 5]
            if not outcomes or not left:
                return really(turn)
            left.clear()
            if written:
                really(turn)
            else:
                turn.abort()
            then()
            raise CommitUnknown("It may be on disk or not.")

        monkeypatch.setattr(LmdbTurn, "commit", commit)

    return arm


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("written", [False, True])
def test_unknown_commit_is_retried_with_its_format(path, failing_commit, written):
    """Whatever became of the first commit, the format and the result are there in the end."""
    failing_commit(written=written)
    with Runner(path) as runner:
        report = serial(runner, ["a"], lambda item: item)
        kept = stored(runner)["a"]

    assert (1, 0, (TAGGED, None)) == (report.succeeded, report.results_omitted, kept)
    assert 2 == format_of_log(path)


@pytest.mark.usefixtures("tagged")
def test_report_says_what_an_unknown_commit_wrote(path, failing_commit):
    """The older process ended in between, and the retry could keep the result; but it is written without it."""
    with Older(path) as older, Runner(path) as runner:
        failing_commit(written=True, then=older.script.kill)
        [outcome] = runner.run_iter(["a"], lambda item: item)
        kept = stored(runner)["a"]

    assert (None, outcome.omitted) == kept
    assert "older wal_runner" in outcome.omitted
    assert 1 == format_of_log(path)


@pytest.mark.usefixtures("tagged")
def test_unknown_commit_that_wrote_nothing_keeps_the_result(path, failing_commit):
    """The older process ended in between, so the retry may raise the format."""
    with Older(path) as older, Runner(path) as runner:
        failing_commit(written=False, then=older.script.kill)
        report = serial(runner, ["a"], lambda item: item)
        kept = stored(runner)["a"]

    assert (0, (TAGGED, None), 2) == (report.results_omitted, kept, format_of_log(path))


# --- Death around the commit that raises it ------------------------------------------------------------


@pytest.mark.crash
@pytest.mark.parametrize("failpoint", ["commit.before_commit", "commit.after_commit", "commit.after_head"])
def test_killed_commit_leaves_the_format_and_the_record_or_neither(path, failpoint):
    """SIGKILL just before the commit or just after it; the next opening finds the outcome in its slot."""
    with Script(DYING, path, failpoint) as script:
        code, said = script.end()
    with Runner.open_read(path) as view:
        on_disk = [array for record in view.log.read(0, limit=99) for array in record.arrays if array[0] == 5]
        found = (view.log.format(), len(on_disk))

    assert -signal.SIGKILL == code, said
    assert ((1, 0) if failpoint == "commit.before_commit" else (2, 1)) == found
    with Runner(path) as runner:
        assert {"a": (TAGGED, None)} == stored(runner)
    assert 2 == format_of_log(path)


# --- Nothing new, nothing changed -------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_log_without_anything_new_stays_in_format_1(path, driver):
    """It can be opened by the first version at any time."""
    with Runner(path) as runner:
        driver(runner, list("abc"), lambda item: {"did": [item, 1, None, b"\xd6"]})

    assert 1 == format_of_log(path)
    assert b"\nformat 1\n" in (path / "IDENTITY").read_bytes()


def test_scan_is_left_out_for_runs_without_tags(path, monkeypatch):
    """Thousands of outcomes a turn are not looked at for what no result of the run has."""
    monkeypatch.setattr("wal_runner.runner.plan.fit", None)
    with Runner(path) as runner:
        report = serial(runner, range(100), lambda item: {"did": item})

    assert 100 == report.succeeded
