"""Positive controls: a fault is planted, and the search must find it.

Imported by `tools/powercut.py`. A harness that finds nothing has proved something only where it finds these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tools.harness.planted import PLANTS
from tools.harness.recording import is_failing, record
from tools.harness.search import Findings, Task, search


if TYPE_CHECKING:
    from pathlib import Path

    from tools.harness.nursery import Nursery

A_POINT: Final = 12

FAILING_LIVES: Final = 10
"""Which call fails is drawn by chance, and not each shows what the planted fault does."""

FAILING_A_POINT: Final = 40
FAILING_POINTS: Final = 30
"""What a failed call did is written over soon after it."""


def control(nursery: Nursery, name: str, seed: int, folder: Path, *, processes: int = 1) -> Findings:
    """Plant the fault *name*, and look at states until one shows it."""
    folder.mkdir()
    life = PLANTS[name].life
    fails = is_failing(life)
    seeds = range(seed, seed + (FAILING_LIVES if fails else 1))
    task = Task(
        [record(nursery, folder, life, number, planted=name) for number in seeds],
        str(seed),
        FAILING_A_POINT if fails else A_POINT,
        processes,
        float("inf"),
        planted=name,
        first_only=True,
        points_max=FAILING_POINTS if fails else None,
    )
    return search(task, folder)
