"""What is taken from the real code while it is simulated: its clocks, its host, and sizes that are too large.

Invariant: everything is put back, and what is put in its place is a constant or asks the world.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from tools.simulation.world import Tripwire, World
from wal_runner import failpoints
from wal_runner.core import state_sessions
from wal_runner.core.arrays import STARTED, from_array
from wal_runner.core.events import ItemStarted, SessionOpened
from wal_runner.errors import LogTooNew
from wal_runner.log import codec, memory_store
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.memory_turn import MemoryTurn
from wal_runner.recovery import compact, loading, recover, snapshots, writer
from wal_runner.runner import dispatcher, feed, run
from wal_runner.version import __version__


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from wal_runner.core.events import Event, EventArray
    from wal_runner.core.items import SessionInfo

Patch = tuple[Any, str, object]

OLDER_VERSION: Final = "0.1.0"
"""A version of wal_runner that reads format 1 only."""


@dataclass(frozen=True)
class Sizes:
    """How large things are in a simulation, so that short histories reach what long ones do."""

    tail_events: int = 12
    record_bytes: int = 64
    slots: int = 8
    sessions_remembered: int = 3
    records_a_page: int = 3
    pull: int = 3


@contextmanager
def simulated(world: World, sizes: Sizes) -> Iterator[None]:
    """Run the real code in *world* for the length of a block."""
    time = SimpleNamespace(
        perf_counter=lambda: world.now_s,
        monotonic=lambda: world.now_s,
        thread_time=lambda: world.now_s,
        perf_counter_ns=world.tell_ns,
        sleep=lambda seconds: _sleep(world, seconds),
    )
    inside = MemoryLog._inside  # noqa: SLF001 - the way in for all that touches the log

    def passed(log: MemoryLog) -> AbstractContextManager[None]:
        world.pass_the_gate()
        return inside(log)

    patches: list[Patch] = [
        (MemoryLog, "_inside", passed),
        *((module, "time", time) for module in (dispatcher, feed, run, writer)),
        (failpoints, "_armed", Tripwire(world)),
        (recover, "_session_opened", partial(_session_opened, world)),
        (MemoryTurn, "require_format", _required_by(world)),
        (MemoryTurn, "append", _append_by(world)),
        (snapshots, "TAIL_EVENTS_MAX", sizes.tail_events),
        (snapshots, "TAIL_EVENTS_MIN", 1 << 60),
        (writer, "TAIL_EVENTS_AT_CLOSE", sizes.tail_events // 2),
        (compact, "RECORDS_A_TURN", 2),
        (loading, "READ_RECORDS_MAX", sizes.records_a_page),
        (codec, "RECORD_BYTES_MAX", sizes.record_bytes),
        (memory_store, "SCRATCH_SLOTS", sizes.slots),
        (state_sessions, "SESSIONS_REMEMBERED_MAX", sizes.sessions_remembered),
        (feed, "PULL_MAX", sizes.pull),
        (feed, "LOOK_AHEAD_MIN", 2),
        (dispatcher, "DISK_FULL_WAIT_S", 0.6),
    ]
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with patched(patches):
            yield
    finally:
        logging.disable(before)


@contextmanager
def patched(patches: list[Patch]) -> Iterator[None]:
    """Set each attribute, and put it back."""
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in patches]
    try:
        for owner, name, stand_in in patches:
            setattr(owner, name, stand_in)
        yield
    finally:
        for owner, name, original in reversed(before):
            setattr(owner, name, original)


def _sleep(world: World, seconds: float) -> None:
    world.now_s += seconds


def _session_opened(world: World, number: int, _accepted: str) -> SessionOpened:
    is_older = world.acting[-1].is_older if world.acting else False
    if is_older and world.model.format > 1:
        raise LogTooNew("This process reads format 1, and the log is in format 2.")
    version = OLDER_VERSION if is_older else __version__
    accepted = "copy of /srv/mail.wal, accepted by ann" if world.model.format > 1 and number % 3 == 0 else ""
    return SessionOpened(
        number,
        "mailer",
        4_321,
        f"boot-{world.boot}",
        ("walrun", "run"),
        "/srv",
        "mail",
        version,
        "99",
        accepted=accepted,
    )


def _required_by(world: World) -> Callable[[MemoryTurn, int, Iterable[SessionInfo]], None]:
    """Return `MemoryTurn.require_format` as a process of either version has it."""
    require = MemoryTurn.require_format

    def required(turn: MemoryTurn, version: int, unended: Iterable[SessionInfo]) -> None:
        if world.acting and world.acting[-1].is_older:
            raise LogTooNew("This process reads format 1, and a slot holds what needs format 2.")
        require(turn, version, unended)

    return required


def _append_by(world: World) -> Callable[[MemoryTurn, int, Sequence[Event | EventArray]], None]:
    """Return `MemoryTurn.append` as a process has it whose runs count failures: each start says what failed before."""
    append = MemoryTurn.append

    def counted(turn: MemoryTurn, session: int, events: Sequence[Event | EventArray]) -> None:
        if world.acting and world.acting[-1].is_counting:
            events = [_with_failures(world, turn.end, event) for event in events]
        append(turn, session, events)

    return counted


def _with_failures(world: World, end: int, event: Event | EventArray) -> Event | EventArray:
    """Return a start with the failures that the item had, as the model has them; or with some that were not counted."""
    if type(event) is tuple and event[0] == STARTED:
        event = from_array(end, event)
    if not isinstance(event, ItemStarted):
        return event
    known = world.model.items.get(event.item_id)
    return event._replace(failures=known.failures if known is not None and known.failures else end % 4)
