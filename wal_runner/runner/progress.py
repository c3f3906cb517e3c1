"""Progress of a run: a bar on a terminal, a line a minute elsewhere.

Imported by the runner and the command line. Invariant: a run pays nothing for being watched, and never
fails for it: a thread beside it samples the report's counters, and what cannot be shown is left out.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from wal_runner.runner.progress_meter import Meter, Total, sentence


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wal_runner.runner.progress_meter import Sample
    from wal_runner.runner.renewal import Reconnecting
    from wal_runner.runner.report import RunReport
    from wal_runner.runner.stopping import Stopping

SAMPLE_SECONDS: Final = 0.25
LINE_SECONDS: Final = 60.0

STOPPING: Final = (
    "Stopping: nothing more is started, and what runs is finished first. Ask again (Ctrl-C) to interrupt it; "
    "that leaves it in doubt."
)
STOPPING_NOW: Final = "Interrupting what runs; it will be in doubt."


class Watched(Protocol):
    """What a run must tell to be watched."""

    stopping: Stopping

    @property
    def source(self) -> object:
        """Give the source; its length is the total, if it has one."""

    @property
    def report(self) -> RunReport:
        """Give the numbers so far."""

    def reconnecting(self) -> Reconnecting | None:
        """Return how many workers reconnect; None if none does."""


class Progress:
    """Shows how a run goes; `Runner.run` makes one for ``progress=True``.

    *total* says how many items there are, where the source itself has no length. *report* is that of
    the run that is watched, or was.
    """

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        total: Callable[[], Total | None] | None = None,
    ) -> None:
        self.report: RunReport | None = None
        self._stream = stream
        self._clock = clock
        self._total = total
        self._ended = threading.Event()

    @classmethod
    @contextmanager
    def of(cls, run: Watched, *, enabled: bool | Progress) -> Iterator[None]:
        """Watch *run* inside the block if *enabled*, which may be a Progress made before."""
        if not enabled:
            yield
            return
        progress = enabled if isinstance(enabled, Progress) else cls()
        with progress.watching(run):
            yield

    @contextmanager
    def watching(self, run: Watched) -> Iterator[None]:
        """Show how *run* goes while the block runs."""
        self.report = run.report
        stream = self._stream if self._stream is not None else sys.stderr
        if stream is None:  # a service without a console
            yield
            return
        total = self._total or _length_of(run.source)
        watch = _Watch(run, _display_for(stream, self._clock()), Meter(self._clock()), self._clock, total)
        self._ended.clear()
        thread = threading.Thread(target=self._watch, args=(watch,), name="wal_runner progress", daemon=True)
        with suppress(RuntimeError):  # no more threads can be started: the run goes on unwatched
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            if thread.ident is not None:
                thread.join()
            watch.finish()

    def _watch(self, watch: _Watch) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            watch.look()


# --- Showing it -----------------------------------------------------------------------------


class _Watch:
    """One run that is being watched: asked how it goes, and shown."""

    def __init__(
        self,
        run: Watched,
        display: _Display,
        meter: Meter,
        clock: Callable[[], float],
        total: Callable[[], Total | None],
    ) -> None:
        self._run = run
        self._display = display
        self._meter = meter
        self._clock = clock
        self._total = total
        self._asked = 0

    def look(self) -> None:
        """Sample the run, and show what is to be shown now."""
        # The terminal or the pipe may go away at any time, or drawing have a fault; the run goes on.
        with suppress(Exception):
            times = self._run.stopping.times
            if times > self._asked:
                self._asked = times
                self._display.say(STOPPING if times == 1 else STOPPING_NOW)
            self._display.show(self._sample(), self._clock())

    def finish(self) -> None:
        """Show how it ended."""
        with suppress(Exception):
            self._display.finish(self._sample(), self._clock())

    def _sample(self) -> Sample:
        return self._meter.read(self._run.report, self._total(), self._clock(), self._run.reconnecting())


class _Display(Protocol):
    """Where a run is shown."""

    def show(self, sample: Sample, now: float) -> None:
        """Show where the run stands."""

    def say(self, text: str) -> None:
        """Show a message."""

    def finish(self, sample: Sample, now: float) -> None:
        """Show where it ended."""


class _Lines:
    """A line a minute, for cron and nohup; a run of less than a minute says nothing."""

    def __init__(self, stream: TextIO, began: float) -> None:
        self._stream = stream
        self._due = began + LINE_SECONDS
        self._has_said = False

    def show(self, sample: Sample, now: float) -> None:
        """Write a line, if a minute is over."""
        if now >= self._due:
            # From now, not from when it was due: after a machine's sleep there are no lines to catch up with.
            self._due = now + LINE_SECONDS
            self._has_said = True
            self.say(sentence(sample))

    def say(self, text: str) -> None:
        """Write *text* as a line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def finish(self, sample: Sample, now: float) -> None:
        """Write the last numbers, if there were others before."""
        if self._has_said:
            self._due = now
            self.show(sample, now)


def _display_for(stream: TextIO, now: float) -> _Display:
    if _is_terminal(stream):
        from wal_runner.runner.progress_bar import Bar  # noqa: PLC0415 - rich is imported where it is used only

        # Not one that goes to a file or a pipe: that is data.
        bar = Bar.on(stream, redirect_stdout=_is_terminal(sys.stdout), redirect_stderr=_is_terminal(sys.stderr))
        if bar is not None:
            return bar
    return _Lines(stream, now)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _length_of(source: object) -> Callable[[], Total | None]:
    try:
        total = Total(len(source))  # type: ignore[arg-type] # a source without a length is a TypeError
    except Exception:  # noqa: BLE001 - __len__ is the user's, and the bar can do without
        return lambda: None
    return lambda: total
