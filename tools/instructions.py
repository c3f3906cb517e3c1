#!/usr/bin/env python3
"""Count the CPU instructions that an item costs, in this tree or in several.

    .venv/bin/python tools/instructions.py
    .venv/bin/python tools/instructions.py --tree ../before --tree . --most 1

Each task runs twice under cachegrind, with two numbers of items; the difference, divided, is the cost of an item. Where
objects lie in memory changes a count a little, so the figure is the median of several layouts. All trees are compared
with the first one. Prints a Markdown table to stdout. Exits with 1 if a tree costs more than --most allows, and with 2
if nothing could be counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final


ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.benchmarks import report  # noqa: E402 - the path is set above
from tools.benchmarks.counting import Cost, Tree, WrongTree  # noqa: E402
from tools.benchmarks.measuring import ChildFailed  # noqa: E402
from tools.benchmarks.task import Unavailable  # noqa: E402
from tools.benchmarks.task_counted import WORKS  # noqa: E402
from tools.harness.console import CANNOT_RUN, in_order, output, positive  # noqa: E402
from tools.harness.memory import memory_folder  # noqa: E402


if TYPE_CHECKING:
    from collections.abc import Sequence

ITEMS: Final = (12_000, 22_000)
"""Both long enough that the window has grown and that the log ends with a snapshot, and short of a second snapshot.

Both logs are too large to be walked at each opening (`structure.CHECK_ALWAYS_BYTES_MAX`): a walk of the shorter log
alone would be taken off the cost of an item.
"""

LAYOUTS: Final = 3
"""The fewest whose median is not moved by one layout that costs more or less than the rest."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Count what the command line names; return the exit code."""
    asked = _parser().parse_args(arguments)
    few, many = asked.items
    if few >= many:
        _parser().error(f"--items {few} {many}: the second number must be the larger one")
    trees = asked.tree or [ROOT]
    if asked.most is not None and len(trees) == 1:
        _parser().error("--most compares trees: name two, the one to compare with first")
    try:
        costs = _count(trees, asked.names or list(WORKS), (few, many), asked.layouts)
    except (Unavailable, ChildFailed, WrongTree) as reason:
        print(f"Nothing was compared. {reason}", file=sys.stderr)
        return CANNOT_RUN
    print(table(costs))
    if asked.json:
        asked.json.write_text(json.dumps(as_json(costs), indent=1) + "\n")
    for row in costs:
        if len({cost.commits for cost in row}) > 1:
            print(f"{row[0].work}: the trees differ in commits, which is part of the ratio.", file=sys.stderr)
    return 0 if asked.most is None else _judged(costs, asked.most)


def _count(paths: Sequence[Path], names: Sequence[str], items: tuple[int, int], layouts: int) -> list[tuple[Cost, ...]]:
    """Return the costs, a row for each kind of work with a cost for each tree."""
    with tempfile.TemporaryDirectory(prefix="wal-runner-counts-", dir=memory_folder()) as made:
        trees = [Tree(path, Path(made) / str(number)) for number, path in enumerate(paths)]
        rows = []
        for name in names:
            print(f"{name}: {WORKS[name].summary}", file=sys.stderr)
            rows.append(tuple(tree.cost(name, items, layouts) for tree in trees))
    return rows


def ratios(row: Sequence[Cost]) -> list[float]:
    """Return the instructions of each further tree as a multiple of the first tree's."""
    return [cost.an_item / row[0].an_item for cost in row[1:]]


def exceeding(rows: Sequence[Sequence[Cost]], percent: float) -> list[str]:
    """Return a line for each kind of work in which a tree costs over *percent* more than the first one."""
    return [
        f"{cost.work}: {cost.tree} takes {100 * (ratio - 1):.2f} % more instructions an item than {row[0].tree}"
        for row in rows
        for cost, ratio in zip(row[1:], ratios(row), strict=True)
        if ratio > 1 + percent / 100
    ]


def _judged(rows: Sequence[Sequence[Cost]], percent: float) -> int:
    found = exceeding(rows, percent)
    for line in found:
        print(f"{line}; {percent:g} % are allowed.", file=sys.stderr)
    return 1 if found else 0


def table(rows: Sequence[Sequence[Cost]]) -> str:
    """Return the Markdown table: instructions an item in each tree, and the ratios to the first."""
    others = range(2, len(rows[0]) + 1)
    head = ["task", *(cost.tree for cost in rows[0]), *(f"ratio {number}:1" for number in others), "commits"]
    lines = [
        [
            row[0].work,
            *(f"{cost.an_item:,.1f}" for cost in row),
            *(f"{ratio:.4f}" for ratio in ratios(row)),
            " / ".join(str(count) for count in dict.fromkeys(cost.commits for cost in row)),
        ]
        for row in rows
    ]
    return report.table(head, lines)


def as_json(rows: Sequence[Sequence[Cost]]) -> list[dict[str, object]]:
    """Return the costs with the raw counts, in the order of the table."""
    return [
        {**asdict(cost), "instructions_an_item": cost.an_item, "ratio": cost.an_item / row[0].an_item}
        for row in rows
        for cost in row
    ]


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {work.name:15} {work.summary}" for work in WORKS.values())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"tasks:\n{listing}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="TASK", type=_name, help="see below; all without one")
    parser.add_argument("--tree", type=_tree, action="append", help="a checkout; may be given again (this one)")
    parser.add_argument(
        "--items", type=positive, nargs=2, default=ITEMS, metavar="N", help="the two lengths of a run (2000 12000)"
    )
    parser.add_argument("--layouts", type=positive, default=LAYOUTS, help=f"layouts of the memory ({LAYOUTS})")
    parser.add_argument("--most", type=_percent, metavar="PERCENT", help="exit with 1 if a tree costs more than this")
    parser.add_argument("--json", type=output, metavar="FILE", help="write the raw counts there too")
    return parser


def _name(text: str) -> str:
    if text not in WORKS:
        raise argparse.ArgumentTypeError(f"there is no task {text!r}; there are {', '.join(WORKS)}")
    return text


def _tree(text: str) -> Path:
    if not (Path(text) / "wal_runner" / "__init__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a checkout: it has no wal_runner package")
    return Path(text)


def _percent(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a percentage of zero or more")
    return value


if __name__ == "__main__":
    sys.exit(in_order(main))
