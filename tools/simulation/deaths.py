"""What a simulated run may do with an item whose process died with it: the rules, from the words of the design.

Invariant: they go by the model and the world, and ask nothing of the code that they judge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.simulation.model import demand
from wal_runner.core.events import Decision


if TYPE_CHECKING:
    from tools.simulation.model import Answer, Death, Known, Model
    from tools.simulation.process import Process
    from tools.simulation.world import World


def check_suspects(model: Model, seq: int, process: Process, item_id: str, known: Known | None) -> None:
    """Check that an item with which processes died runs last, and that nothing runs beside it."""
    if process.max_deaths is None or process.paged or process.run is None:
        return
    beside = [model.open[start_seq][0] for start_seq in model.started_by(process.number)]
    suspects = [other for other in beside if model.items[other].deaths >= process.suspect_from]
    demand(not suspects, f"event {seq} starts {item_id} beside {suspects}, with which processes died")
    if known is not None and known.deaths >= process.suspect_from:
        demand(not beside, f"event {seq} starts {item_id}, with which processes died, beside {beside}")
        demand(process.run.feed.exhausted, f"event {seq} starts {item_id}, with which processes died, too early")


def check_count(world: World, process: Process, answer: Answer) -> None:
    """Check that an answer which is not a person's carries the count on, if the log can hold it."""
    deaths = 0 if world.older_runs and world.model.format == 1 else _counted(world, process, answer)
    told = answer.event.deaths
    demand(told == deaths, f"event {answer.seq} settles a doubt after {deaths} deaths, and says {told}")


def is_held(world: World, process: Process, answer: Answer) -> str:
    """Return whether the item that the answer would set free "must" or "may" be held in the same transaction.

    It must be if it was alone in its last death. If its neighbours have been settled since, it looks alone. A death
    that a reboot followed says nothing.
    """
    if not _counts(process, answer) or answer.death is None or process.max_deaths is None:
        return ""
    if _counted(world, process, answer) < process.max_deaths or not _is_of_this_boot(world, process, answer.death):
        return ""
    if answer.death.in_flight == 1 or process.paged:
        return "must"
    return "" if answer.beside else "may"


def _counted(world: World, process: Process, answer: Answer) -> int:
    if not _counts(process, answer) or answer.death is None:
        return answer.known.deaths
    return answer.known.deaths + _is_of_this_boot(world, process, answer.death)


def _is_of_this_boot(world: World, process: Process, death: Death) -> bool:
    return world.model.boots[death.session] == world.model.boots[process.number]


def _counts(process: Process, answer: Answer) -> bool:
    return process.max_deaths is not None and answer.event.decision is Decision.DID_NOT_HAPPEN
