"""Progress: honest numbers, a bar on a terminal, a line a minute elsewhere, and no harm to the run."""

import io
import logging
import subprocess
import sys
import threading

import pytest

from tests.cli.terminal import environment
from wal_runner import Runner
from wal_runner.runner import progress, progress_bar
from wal_runner.runner.progress import STOPPING, STOPPING_NOW, Progress
from wal_runner.runner.progress_meter import RATE_SECONDS, Meter, Sample, Total, sentence
from wal_runner.runner.renewal import Reconnecting
from wal_runner.runner.report import RunReport
from wal_runner.runner.stopping import Stopping


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        """Say so."""
        return True


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        """Give the time that was set."""
        return self.now


class FakeRun:
    """A run of which a test sets the numbers."""

    def __init__(self, source=()):
        self.source = source
        self.stopping = Stopping()
        self.report = RunReport()
        self.waiting = None

    def reconnecting(self):
        """Return what the test set."""
        return self.waiting


@pytest.fixture
def clock():
    """Give a clock that stands still until it is set."""
    return Clock()


# --- Numbers -----------------------------------------------------------------------------


def test_skipped_items_count_in_no_rate():
    """After a resume 8,000 items are skipped at once; only what is executed says how long the rest takes."""
    meter = Meter(0.0)
    meter.read(RunReport(skipped=8_000), Total(10_000), 5.0)
    sample = meter.read(RunReport(skipped=8_000, succeeded=30, failed=10), Total(10_000), 9.0)

    assert 10.0 == sample.rate
    assert 196.0 == sample.left_s


def test_rate_is_that_of_the_last_half_minute():
    """A service that has become slow is seen, however quick it was for an hour."""
    meter = Meter(0.0)
    for second in range(3_601):
        meter.read(RunReport(succeeded=100 * second), None, float(second))
    for second in range(3_601, 3_661):
        sample = meter.read(RunReport(succeeded=360_000 + second - 3_600), None, float(second))

    assert 1.0 == sample.rate


def test_standstill_is_seen():
    """When nothing ends any more the rate goes towards nothing, and does not stay what it was."""
    meter = Meter(0.0)
    rates = [meter.read(RunReport(succeeded=1_000), None, float(second)).rate for second in (10, 100, 1_000, 10_000)]

    assert sorted(rates, reverse=True) == rates
    assert rates[-1] < 1.0


def test_slow_items_have_a_rate():
    """Two items an hour are a rate too, though none ends in most half minutes."""
    meter = Meter(0.0)
    for second in range(0, 7_200, 10):
        sample = meter.read(RunReport(succeeded=second // 1_800), Total(10), float(second))
        assert sample.rate <= 2 / 3_600

    assert "1.5/h" in sentence(sample)


def test_meter_remembers_little():
    """A run of days does not make the meter grow: not by working, and not by standing still."""
    meter = Meter(0.0)
    for look in range(100_000):
        meter.read(RunReport(succeeded=look // 2 if look < 50_000 else 25_000), None, look / 4)
        assert len(meter._looks) < 10 * RATE_SECONDS


def test_nothing_is_promised_where_nothing_is_known():
    """No total, or nothing executed yet: then no time is left to tell."""
    assert Meter(0.0).read(RunReport(succeeded=5), None, 1.0).left_s is None
    assert Meter(0.0).read(RunReport(skipped=5), Total(10), 1.0).left_s is None


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (Sample(0, None, 0, 0, 0, 0.0, None), "0 items"),
        (
            Sample(8_412, Total(10_000), 8_000, 2, 1, 35.06, 45.3),
            "8,412 of 10,000, 35.1/s, 0:45 left, 8,000 skipped, 2 failed, 1 in doubt",
        ),
        (Sample(5, Total(900, is_exact=False), 0, 0, 0, 1234.5, 3_725.0), "5 of about 900, 1,234/s, 1:02:05 left"),
        (
            Sample(5, Total(9), 0, 2, 0, 0.0, None, Reconnecting(2, 4, 12.4)),
            "5 of 9, 2 of 4 workers reconnecting, 12 s, 2 failed",
        ),
        (Sample(5, Total(9), 0, 0, 0, 0.5, 200_000.0), "5 of 9, 30.0/min, 2 d 7:33:20 left"),
        (Sample(9, Total(9), 0, 0, 0, 0.01, None), "9 of 9, 36.0/h"),
    ],
)
def test_numbers_are_put_into_words(sample, expected):
    """One line says it all."""
    assert expected == sentence(sample)


# --- A pipe ------------------------------------------------------------------------------


def test_short_run_in_a_pipe_says_nothing(clock):
    """Cron mails whatever is written; a run of less than a minute writes nothing."""
    stream, run = io.StringIO(), FakeRun([1, 2])
    with watched(run, stream, clock) as watch:
        clock.now += 59
        watch.look()

    assert "" == stream.getvalue()


def test_long_run_in_a_pipe_says_a_line_a_minute(clock):
    """The first after a minute, one each minute, and how it ended."""
    stream, run = io.StringIO(), FakeRun(range(600))
    with watched(run, stream, clock) as watch:
        for second in range(1, 151):
            clock.now += 1
            run.report.succeeded = 2 * second
            watch.look()
        run.report.succeeded = 600

    assert ["120 of 600, 2.0/s, 4:00 left", "240 of 600, 2.0/s, 3:00 left"] == stream.getvalue().splitlines()[:2]
    assert "600 of 600" in stream.getvalue().splitlines()[2]
    assert 3 == len(stream.getvalue().splitlines())


def test_machine_that_slept_has_no_lines_to_catch_up_with(clock):
    """After a night of sleep there is one line, not five hundred."""
    stream, run = io.StringIO(), FakeRun()
    with watched(run, stream, clock) as watch:
        clock.now += 30_000
        watch.look()
        watch.look()

        assert 1 == len(stream.getvalue().splitlines())


def test_being_asked_to_stop_is_told_at_once(clock):
    """Whoever pressed Ctrl-C sees that it was heard, what happens now, and what a second one does."""
    stream, run = io.StringIO(), FakeRun()
    with watched(run, stream, clock) as watch:
        for _ in range(2):
            run.stopping.ask()
            watch.look()
            watch.look()

    assert [STOPPING, STOPPING_NOW] == stream.getvalue().splitlines()


# --- A terminal ----------------------------------------------------------------------------


@pytest.fixture
def _colours(monkeypatch):
    """Set up a terminal that rich knows."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.usefixtures("_colours")
def test_terminal_has_a_bar(clock):
    """It is drawn at each look, in place, and its last state is left standing."""
    stream, run = Terminal(), FakeRun(range(100))
    with watched(run, stream, clock) as watch:
        clock.now += 1
        run.report.succeeded, run.report.skipped, run.report.failed = 10, 40, 2
        watch.look()
        drawn = stream.getvalue()
        run.report.succeeded = 58
        watch.look()

    assert "━" in drawn
    assert "52 of 100, 12.0/s, 0:04 left" in drawn
    assert "40 skipped" in drawn
    assert "2 failed" in drawn
    assert "100 of 100" in stream.getvalue()


@pytest.mark.usefixtures("_colours")
def test_bar_shows_workers_that_reconnect(clock):
    """As long as they do."""
    stream, run = Terminal(), FakeRun(range(100))
    with watched(run, stream, clock) as watch:
        run.waiting = Reconnecting(2, 4, 12.4)
        watch.look()
        shown = stream.getvalue()
        run.waiting = None
        watch.look()

    assert "2 of 4 workers reconnecting, 12 s" in shown
    assert "reconnecting" not in stream.getvalue()[len(shown) :]


@pytest.mark.usefixtures("_colours")
def test_cursor_is_never_left_hidden(clock):
    """A run that is killed cannot bring it back, so it is not hidden while the bar is drawn."""
    stream = Terminal()
    with watched(FakeRun(), stream, clock) as watch:
        watch.look()

        assert stream.getvalue().rfind("\x1b[?25h") > stream.getvalue().rfind("\x1b[?25l")


@pytest.mark.usefixtures("_colours")
def test_what_others_write_stands_above_the_bar(clock, monkeypatch):
    """A message of fn's does not tear the bar apart, and a stdout that is a file is not touched."""
    stream, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", file)
    with watched(FakeRun(), stream, clock) as watch:
        watch.look()
        sys.stderr.write("careful\n")
        sys.stdout.write("data\n")

    assert "careful" in stream.getvalue()
    assert "data\n" == file.getvalue()
    assert sys.stderr is stream


def test_dumb_terminal_gets_lines(clock, monkeypatch):
    """One that cannot move its cursor is written to line after line."""
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with watched(FakeRun(), stream, clock) as watch:
        clock.now += 61
        watch.look()

    assert "0 of 0\n0 of 0\n" == stream.getvalue()


# --- In a run --------------------------------------------------------------------------------


def test_run_is_sampled_by_a_thread_beside_it(tmp_path, monkeypatch):
    """While fn runs, the thread looks; when the run has ended, so has the thread."""
    monkeypatch.setattr(progress, "SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    said = threading.Event()

    class Pipe(io.StringIO):
        def flush(self):
            said.set()

    stream = Pipe()
    with Runner(tmp_path / "a.wal") as runner:
        report = runner.run(["a", "b"], lambda _item: said.wait(60), progress=Progress(stream=stream))

    assert 2 == report.succeeded
    assert "of 2" in stream.getvalue()
    assert [] == [thread for thread in threading.enumerate() if thread.name == "wal_runner progress"]


def test_loop_form_is_watched_too(tmp_path):
    """`claim` takes progress as `run` does."""
    watch = Progress(stream=io.StringIO())
    with Runner(tmp_path / "a.wal") as runner:
        for attempt in runner.claim(["a", "b"], progress=watch):
            with attempt:
                pass

    assert 2 == watch.report.succeeded


def test_stream_that_broke_does_not_break_the_run(tmp_path, monkeypatch):
    """The reader of the pipe has gone; the run goes on to its end."""
    monkeypatch.setattr(progress, "SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    tried = threading.Event()

    class Broken(io.StringIO):
        def write(self, _text):
            tried.set()
            raise BrokenPipeError

    with Runner(tmp_path / "a.wal") as runner:
        report = runner.run(["a", "b"], lambda _item: tried.wait(60), progress=Progress(stream=Broken()))

    assert report.ok


@pytest.mark.usefixtures("_colours")
def test_drawing_that_fails_does_not_break_the_run(tmp_path, monkeypatch):
    """A fault of ours, or of rich's, in the bar costs the bar only."""
    monkeypatch.setattr(progress_bar, "_drawn", lambda _sample: 1 / 0)
    with Runner(tmp_path / "a.wal") as runner:
        report = runner.run(["a", "b"], lambda _item: None, progress=Progress(stream=Terminal()))

    assert report.ok


def test_no_stderr_is_no_harm(tmp_path, monkeypatch):
    """A service without a console has none."""
    monkeypatch.setattr(sys, "stderr", None)
    with Runner(tmp_path / "a.wal") as runner:
        report = runner.run(["a"], lambda _item: None, progress=True)

    assert report.ok


def test_nothing_is_written_unless_it_is_asked_for(tmp_path, capsys):
    """The library does not print."""
    with Runner(tmp_path / "a.wal") as runner:
        runner.run(["a"], lambda _item: None)
        runner.run(["a"], lambda _item: None, progress=True)

    assert ("", "") == tuple(capsys.readouterr())


def test_report_is_at_hand_when_the_run_raises(tmp_path, caplog):
    """Whoever made the Progress finds the numbers in it, whatever ended the run."""
    caplog.set_level(logging.CRITICAL)
    watch = Progress()

    def source():
        yield "a"
        raise OSError("the source is gone")

    with Runner(tmp_path / "a.wal") as runner, pytest.raises(OSError, match="the source is gone"):
        runner.run(source(), lambda _item: None, progress=watch)

    assert 1 == watch.report.succeeded


def test_rich_is_imported_for_a_bar_only():
    """It takes longer to import than many a run takes."""
    program = "import sys, wal_runner, wal_runner.cli.main; sys.exit('rich' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], env=environment(), check=False)

    assert 0 == ended.returncode


def test_interrupting_in_its_own_way_raises_nothing_in_fn():
    """Where fn knows how to end what it does, a second Ctrl-C calls that, and fn's own outcome is waited for."""
    calls = []
    stopping = Stopping(lambda: calls.append("end"))
    stopping.in_fn = True
    stopping.ask()
    stopping.ask()

    assert ["end"] == calls
    assert stopping.is_asked
    assert not stopping.is_urgent


def watched(run, stream, clock):
    """Watch *run* without a thread: the test looks by itself."""
    return _Looking(run, stream, clock)


class _Looking:
    def __init__(self, run, stream, clock):
        display = progress._display_for(stream, clock())
        self._watch = progress._Watch(run, display, Meter(clock()), clock, progress._length_of(run.source))

    def __enter__(self):
        return self._watch

    def __exit__(self, *_):
        self._watch.finish()
