"""The checks of a simulation: what the log holds against what the model and the ledger say.

Invariant: they read the log as a process would, and write nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.simulation.model import ABANDONED, DOUBTED, SUCCEEDED, demand
from tools.simulation.world import INTERRUPTED, is_tagged
from wal_runner.core.items import item_of
from wal_runner.core.state_tables import NUMBERS
from wal_runner.log.memory_log import MemoryLog
from wal_runner.log.results import decode_result
from wal_runner.log.rows import decode_row, row_key
from wal_runner.recovery.loading import load
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.replay import replay_log
from wal_runner.recovery.verifying import _content_problems


if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.simulation.model import Model
    from tools.simulation.world import World
    from wal_runner.core.items import ItemState
    from wal_runner.core.state import State


def check_rows(world: World, state: State, whose: str) -> None:
    """Compare every item, as *state* and the rows have it, with the model (P4)."""
    world.checks += 1
    model = world.model
    demand(state.seq == model.seq, f"{whose} ends at {state.seq}, the log at {model.seq}")
    for item_id in world.items:
        row = state.row(item_id)
        if row is None:
            key = row_key(item_id)
            value = world.store.items.get(key)
            row = None if value is None else decode_row(key, value)[1]
        _check_item(world, item_id, row, whose)
    counts = {status.word: count for status, count in state.counts.items() if count}
    demand(counts == model.counts, f"{whose} counts {counts}, not {model.counts}")
    opened = {seq: (attempt.item_id, attempt.session) for seq, attempt in state.attempts()}
    demand(opened == model.open, f"{whose} has {opened} open, not {model.open}")
    demand(state.key_rule == model.key_rule, f"{whose} has the key rule {state.key_rule}, not {model.key_rule}")
    _check_what_was_said(state, model, whose)
    demand(state.cursors == model.cursors, f"{whose} has the cursors {state.cursors}, not {model.cursors}")


def _check_what_was_said(state: State, model: Model, whose: str) -> None:
    """Compare texts, pauses, ends of runs, and what sessions said of themselves."""
    paused = None if state.paused is None else (state.paused.by, state.paused.note)
    ends = {source: tuple(end[:4]) for source, end in state.source_ends.items()}
    said = {number: (info.accepted, info.reached) for number, info in state.sessions.items()}
    demand(state.texts == model.texts, f"{whose} has the texts {state.texts}, not {model.texts}")
    demand(paused == model.paused, f"{whose} is paused by {paused}, not {model.paused}")
    demand(ends == model.source_ends, f"{whose} has the ends {ends}, not {model.source_ends}")
    for number, told in said.items():
        true = model.said[number]
        demand(told == true, f"{whose} has {told} of session {number}, not {true}")


def _check_item(world: World, item_id: str, row: Any, whose: str) -> None:  # noqa: ANN401 - a row
    known = world.model.items.get(item_id)
    if row is None or known is None:
        demand(row is None and known is None, f"{whose} says {row} of {item_id}, not {known}")
        return
    item = item_of(row)
    told = (
        *(item.status.word, item.start_seq, item.attempts, item.generation, item.failed_seq),
        *(item.failures, item.deaths, item.not_before_ns),
    )
    true = (
        *(known.status, known.start_seq, known.attempts, known.generation, known.failed_seq),
        *(known.failures, known.deaths, known.not_before_ns),
    )
    demand(told == true, f"{whose} says {told} of {item_id}, not {true}")
    if known.status == SUCCEEDED:
        _check_result(world, item, item_id)


def _check_result(world: World, item: ItemState, item_id: str) -> None:
    effect = world.effects.get(item.start_seq)
    demand(effect is not None and effect.happened, f"{item_id} has succeeded, and nothing happened at {item.start_seq}")
    assert effect is not None
    if item.omitted is not None:  # whether it had to be was asked when it was written
        demand(is_tagged(effect.result), f"the result of {item_id}, {effect.result!r}, is omitted: {item.omitted}")
        return
    told = decode_result(item.result)
    demand(told == effect.result, f"the result of {item_id} is {told!r}, not {effect.result!r}")


def check_newcomer(world: World) -> None:
    """Compare what a new process would load, the snapshot and its tail, with the model."""
    log = MemoryLog(world.store, read_only=True)
    check_rows(world, load(log), "a newcomer")


def check_reader(world: World) -> None:
    """Compare what a reader is shown, of the items and of the dead, with the model."""
    between, world.between = world.between, None
    try:
        _check_reader(world)
    finally:
        world.between = between


def _check_reader(world: World) -> None:
    log = MemoryLog(world.store, read_only=True)
    view = LogView(log, load(log))
    shown = {item.item_id: item.status.word for item in view.items()}
    demand(shown == world.statuses(), f"a reader is shown {shown}, not {world.statuses()}")
    for report in view.sessions():
        fates = world.fates.get(report.info.number)
        if fates is None or report.info.number in world.lingering:
            continue
        doubted = sorted(seq for seq, _ in report.doubts)
        expected = sorted(seq for seq, fate in fates.items() if fate in {DOUBTED, INTERRUPTED})
        own = [seq for seq, (_, owner) in world.model.open.items() if owner == report.info.number]
        expected = sorted({*expected, *(seq for seq in own if seq not in fates)})
        number = report.info.number
        demand(doubted == expected, f"a reader is shown {doubted} in doubt by session {number}, not {expected}")


def check_replay(world: World, live: State | None = None) -> None:
    """Compare a replay with the model, and with the state of a living process to the last number."""
    full = replay_log(MemoryLog(world.store, read_only=True))
    if world.store.base()[0] == 0:
        check_rows(world, full, "a replay")
    newcomer = load(MemoryLog(world.store, read_only=True)) if live is None else live
    if not full.seq:
        return  # before the first event the one carries the hash of the log's id, and the other none
    for name in NUMBERS:
        told, replayed = getattr(newcomer, name), getattr(full, name)
        demand(told == replayed, f"{name} is {told!r} live and {replayed!r} replayed")


def check_sound(world: World) -> None:
    """Let the library verify the log, all but its pages."""
    problems = list(_content_problems(MemoryLog(world.store, read_only=True)))
    demand(not problems, f"verify finds {problems}")


def check_end(world: World, abandoned: Sequence[str] = ()) -> None:
    """Check that nothing was lost: every item of the batch has happened, once, and the log says so."""
    for item_id in world.items:
        known = world.model.items.get(item_id)
        status = None if known is None else known.status
        may_be_abandoned = item_id in abandoned or item_id in world.model.given_up
        expected = {SUCCEEDED, ABANDONED} if may_be_abandoned else {SUCCEEDED}
        demand(status in expected, f"{item_id} ended as {status}")
        if status == SUCCEEDED:
            assert known is not None
            happened = [
                seq
                for seq, effect in world.effects.items()
                if effect.happened and (effect.item_id, effect.generation) == (item_id, known.generation)
            ]
            once = len(happened) == 1 or (item_id, known.generation) in world.model.redone
            demand(once and happened, f"{item_id} happened at {happened} in its last generation")
