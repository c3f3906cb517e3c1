"""Lives of a Runner that an exception breaks into at one line: what the line sweep tries, and how it judges.

Imported by tools/line_sweep.py and its tests. Invariant: a trial runs in a process of its own, which is killed if it
hangs; the exception is raised once, in the main thread, at the given pass of the given line.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import wal_runner
from wal_runner import Runner, Verdict
from wal_runner.errors import LogClosed, RecursiveRun
from wal_runner.log.format import GATE_NAME
from wal_runner.runner.claims import Claims


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from wal_runner.runner.doubts import Doubt

DRIVERS: Final = ("serial", "threads", "async", "claim")
WAIT_S: Final = 5.0
"""Maximum time for a step after the interrupt. A longer one looks like a hang after Ctrl-C."""

_TRIAL_S: Final = 8.0
_ITEMS: Final = [f"i{number}" for number in range(50)]
_FAILING: Final = "i7"
_PACKAGE: Final = str(Path(wal_runner.__file__).parent) + os.sep


class Place(NamedTuple):
    """Where the exception is raised: the *nth* pass of a line, counted from 1."""

    file: str
    line: int
    nth: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.nth}"

    @classmethod
    def parsed(cls, text: str) -> Place:
        """Read FILE:LINE:PASS."""
        file, line, nth = text.rsplit(":", 2)
        return cls(file, int(line), int(nth))


class Found(NamedTuple):
    """What one trial showed: whether the place was reached, and what is broken."""

    reached: bool
    faults: list[str]


class Interrupted(KeyboardInterrupt):
    """The exception that is raised at a line, as Ctrl-C or an alarm's handler raises one."""


class Tracer:
    """Counts the lines that the package executes in this thread; raises at *place* if one is given."""

    def __init__(self, place: Place | None) -> None:
        self.passes: Counter[tuple[str, int]] = Counter()
        self._place = place
        self.hit = False

    def start(self) -> None:
        """Trace every frame that is entered from now on."""
        sys.settrace(self._enter)

    def stop(self) -> None:
        """Trace nothing more."""
        sys.settrace(None)

    def _enter(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGE):
            return None
        file, passes, place = name[len(_PACKAGE) :], self.passes, self._place
        if place is not None and place.file != file:
            return None

        def at_line(frame: FrameType, event: str, _arg: object) -> Callable[..., Any]:
            if event == "line":
                passes[file, frame.f_lineno] += 1
                if place is not None and place.line == frame.f_lineno and passes[file, place.line] == place.nth:
                    self.hit = True
                    sys.settrace(None)
                    raise Interrupted
            return at_line

        return at_line


class Life:
    """One log, its effects, and a Runner on it."""

    def __init__(self, folder: Path, driver: str) -> None:
        self.path = folder / "batch.wal"
        self.driver = driver
        self.effects: Counter[str] = Counter()
        self.runner: Runner | None = None

    def begin(self) -> None:
        """Open, run and close: what an exception is raised in."""
        self.runner = Runner(self.path)
        self.run()
        self.runner.close()

    def run(self) -> None:
        """Run the items once."""
        assert self.runner is not None, "it was opened"
        options: dict[str, Any] = {"reconcile": self._reconcile, "signals": False}
        if self.driver == "async":
            asyncio.run(self.runner.run_async(_ITEMS, self._effect_async, concurrency=8, **options))
        elif self.driver == "claim":
            for attempt in self.runner.claim(_ITEMS, **options):
                with attempt as item:
                    self._effect(item)
        else:
            self.runner.run(_ITEMS, self._effect, workers=4 if self.driver == "threads" else 1, **options)

    def _effect(self, item: str) -> object:
        self.effects[item] += 1
        return {"of": item} if item.endswith("3") else None

    async def _effect_async(self, item: str) -> object:
        await asyncio.sleep(0)
        return self._effect(item)

    def _reconcile(self, doubts: Sequence[Doubt]) -> dict[str, Verdict]:
        happened, not_happened = Verdict.happened(), Verdict.did_not_happen()
        return {doubt.item_id: happened if self.effects[doubt.item_id] else not_happened for doubt in doubts}

    # --- After the interrupt -----------------------------------------------------------

    def go_on(self) -> Iterator[str]:
        """Use the Runner again, close it, open the log again; yield what is broken."""
        if self._is_locked():
            yield "another process cannot use the log before the next step"
        if self.runner is not None:
            try:
                yield from _step("the next run", self.run)
            finally:
                yield from _step("closing", self.runner.close)
        yield from _step("opening again", self._open)
        yield from _step("the last run", self.run)
        if self.runner is not None:
            yield from _step("the last closing", self.runner.close)
        twice = sorted(item for item, count in self.effects.items() if count > 1)
        lost = sorted(set(_ITEMS) - self.effects.keys())
        if twice:
            yield f"effects twice: {', '.join(twice)}"
        if lost:
            yield f"effects lost: {', '.join(lost)}"

    def _open(self) -> None:
        self.runner = Runner(self.path)

    def _is_locked(self) -> bool:
        """Return whether the log lock is held, as another process would find."""
        with suppress(FileNotFoundError), (self.path / GATE_NAME).open() as gate:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _step(name: str, do: Callable[[], object]) -> Iterator[str]:
    began = time.monotonic()
    try:
        do()
    except (LogClosed, RecursiveRun) as error:
        # A Runner that an interrupted close has ended is to be opened again; so is one whose claim was left by its
        # caller, as a loop is whose body raises.
        is_left = isinstance(error, LogClosed) or _struck_before_the_claim()
        if name != "the next run" or not is_left:
            yield f"{name}: {type(error).__name__}: {str(error)[:150]}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, the Runner does not work
        yield f"{name}: {type(error).__name__}: {str(error)[:150]}"
        if os.environ.get("LINE_SWEEP_TRACEBACK"):
            yield traceback.format_exc()
    if time.monotonic() - began > WAIT_S:
        yield f"{name} took {time.monotonic() - began:.1f} s"


def _struck_before_the_claim() -> bool:
    """Return whether the exception struck in ``__next__`` itself: before its first line it was still its caller's."""
    error = getattr(sys, "last_value", None)
    codes = [] if error is None else [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [code for code in codes if code.co_filename.startswith(_PACKAGE)]
    return bool(ours) and ours[-1] is Claims.__next__.__code__


def passes_of(driver: str) -> Counter[tuple[str, int]]:
    """Return how often each line of the package is passed by a life that nothing breaks into."""
    with tempfile.TemporaryDirectory(prefix="sweep-", dir=_memory()) as folder:
        tracer = Tracer(None)
        life = Life(Path(folder), driver)
        tracer.start()
        try:
            life.begin()
        finally:
            tracer.stop()
        return tracer.passes


def places_in(passes: Counter[tuple[str, int]]) -> list[Place]:
    """Return the places of a sweep: each line at its first, second, middle and last pass."""
    return [
        Place(file, line, nth)
        for (file, line), count in sorted(passes.items())
        for nth in sorted({1, min(2, count), (count + 1) // 2, count})
    ]


def sample_of(places: Sequence[Place], size: int) -> list[Place]:
    """Return *size* of *places*, evenly spaced."""
    if size >= len(places):
        return list(places)
    return [places[index * len(places) // size] for index in range(size)]


def trial(driver: str, place: Place, plant: Callable[[], object] | None = None) -> Found:
    """Raise at *place* in a process of its own; return what came of it. *plant* breaks the package there."""
    folder = Path(tempfile.mkdtemp(prefix="sweep-", dir=_memory()))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            _child(driver, place, folder, writer, plant)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        lines = _read(reader)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        shutil.rmtree(folder, ignore_errors=True)
    faults = [line for line in lines if line not in {"reached", "done"}]
    if "done" not in lines:
        faults.append(f"it hung for {_TRIAL_S:g} s, or its process ended")
    return Found("reached" in lines, faults)


def _child(driver: str, place: Place, folder: Path, writer: int, plant: Callable[[], object] | None) -> None:
    def say(text: str) -> None:
        os.write(writer, f"{text}\n".encode())

    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # asyncio writes of tasks that were interrupted
    if plant is not None:
        plant()
    life = Life(folder, driver)
    tracer = Tracer(place)
    began = time.monotonic()
    tracer.start()
    try:
        life.begin()
    except Interrupted as error:
        sys.last_value = error  # as a notebook keeps it, with the frames of its traceback
    except BaseException as error:  # noqa: BLE001 - it is reported
        tracer.stop()
        say(f"instead of the interrupt: {type(error).__name__}: {str(error)[:150]}")
    tracer.stop()
    if tracer.hit:
        say("reached")
    if time.monotonic() - began > WAIT_S:
        say(f"the interrupted life took {time.monotonic() - began:.1f} s to end")
    for fault in life.go_on():
        say(fault)
    say("done")


def _read(reader: int) -> list[str]:
    deadline, text = time.monotonic() + _TRIAL_S, b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reader], [], [], left)[0]:
            break
        read = os.read(reader, 65536)
        if not read:
            break
        text += read
    return text.decode(errors="replace").splitlines()


def _memory() -> str | None:
    """Return a folder in memory if there is one: thousands of logs are synced."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - folders of our own in it
