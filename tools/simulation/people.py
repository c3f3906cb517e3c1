"""What people, imports and ends of runs say to a log, all of which needs format 2.

Invariant: each is one turn that looks before it appends, as the commands for it will have to. While a process of
an older version runs, it is refused and nothing is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tools.simulation.model import ABANDONED, PENDING, SUCCEEDED, demand
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import (
    ItemAttested,
    ItemGivenUp,
    ItemHeld,
    KeyRuleSet,
    PauseSet,
    RunEnded,
    SessionReached,
    Status,
    TextSeen,
)
from wal_runner.errors import OlderVersionRunning
from wal_runner.log.results import encode_result
from wal_runner.recovery.formats import unended_sessions
from wal_runner.recovery.verdicts import find_items


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.simulation.process import Process
    from wal_runner.core.events import Event
    from wal_runner.log.protocol import Turn

BY: Final = "ann"
TAGGED: Final = ("sent", 7)
"""A result that only format 2 holds."""


def raise_format(process: Process) -> bool:
    """Raise the log to format 2 for what *process* is going to write; return whether that was granted."""
    return _append(process, lambda _turn: (), always=True)


def may_be_held(process: Process) -> list[str]:
    """Return the items whose last word was a verdict, as the model has them."""
    settled = {SUCCEEDED, PENDING, ABANDONED}
    items = process.world.model.items.items()
    return [item_id for item_id, known in items if known.by_verdict and known.status in settled]


def hold(process: Process, item_id: str) -> None:
    """Take the verdict on an item back, unless it is another item by now."""
    known = process.world.model.items[item_id]
    expected = (known.start_seq, known.status, known.generation)

    def make(turn: Turn) -> Sequence[Event]:
        item = find_items(process.writer, turn, [item_id])[item_id]
        if (item.start_seq, item.status.word, item.generation) != expected:
            return ()
        return [ItemHeld(item_id, item.start_seq, item.status, item.attempts, item.generation, BY, "a mistake")]

    _append(process, make)


def give_up(process: Process, item_id: str) -> None:
    """Give an item up if it failed, with an error that names a text where one was seen."""

    def make(turn: Turn) -> Sequence[Event]:
        item = find_items(process.writer, turn, [item_id])[item_id]
        if item.status is not Status.FAILED:
            return ()
        error = ErrorInfo("builtins.OSError", "no such mailbox", next(iter(process.writer.state.texts), ""))
        return [ItemGivenUp(item_id, item.start_seq, item.status, item.attempts, item.generation, BY, "", error)]

    _append(process, make)


def attest(process: Process, item_id: str, status: Status) -> None:
    """Import how an item ended elsewhere, unless the log knows it."""

    def make(turn: Turn) -> Sequence[Event]:
        if process.writer.state.row(item_id) is not None or turn.look_up([item_id]) != [None]:
            return ()
        result = encode_result(TAGGED)[0] if status is Status.SUCCEEDED else None
        error = ErrorInfo("builtins.OSError", "no route") if status is Status.FAILED else None
        # Without a rule the next run would set its own, and might name the imported items otherwise.
        rule = [] if process.writer.state.key_rule else [KeyRuleSet("item", BY, "set by the import")]
        return [*rule, ItemAttested(item_id, status, BY, "an older list", 7, result, error=error)]

    _append(process, make)


def pause(process: Process, *, paused: bool) -> None:
    """Pause the log, or let it go on."""
    _append(process, lambda _turn: [PauseSet(paused=paused, by=BY, note="the server is down" if paused else "")])


def see_text(process: Process, number: int) -> None:
    """Store a text that errors may name by *number*."""
    _append(process, lambda turn: [TextSeen(number, f"Traceback at {turn.end}")])


def reach(process: Process) -> None:
    """State that the session runs items elsewhere."""
    _append(process, lambda _turn: [SessionReached(process.number, "dask", "tcp://scheduler")])


def end_run(process: Process) -> None:
    """End the run of *process*, and record how it ended."""
    run = process.run
    assert run is not None
    source_ended = process.is_through
    process.end_run()
    because = "" if source_ended else "stopped"
    seen, pulled = run.report.seen, process.pulled
    not_started = max(0, pulled - seen)
    _append(process, lambda _turn: [RunEnded(process.number, "batch", source_ended, because, seen, not_started)])


def _append(process: Process, make: Callable[[Turn], Sequence[Event]], *, always: bool = False) -> bool:
    """Append what *make* returns, in format 2; return whether that was granted."""

    def decide(turn: Turn) -> Sequence[Event]:
        events = make(turn)
        if events or always:
            turn.require_format(2, unended_sessions(process.writer.state))
        return events

    try:
        process.writer.turn(decide)
    except OlderVersionRunning as older:
        demand(process.world.older_runs, f"session {older.session} stands in the way, and no older version runs")
        return False
    return True
