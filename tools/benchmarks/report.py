"""What is printed, and the JSON: figures as tables that a Markdown page takes as they are."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from tools.benchmarks.measuring import Figure


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.benchmarks.measuring import Bench

REACHED: Final = {True: "yes", False: "**no**", None: ""}
LARGE: Final = 1000.0
SMALL: Final = 10.0
TINY: Final = 0.1


def cases(bench: Bench) -> str:
    """Give the table of what ran: items, items a second, CPU an item."""
    rows = []
    for case, results in bench.rounds_of.items():
        timed = [
            result for result in results if result.get("items") and "wall_s" in result and "barriers" not in result
        ]
        if timed:
            cpu_us = [result["cpu_s"] / result["items"] * 1e6 for result in timed]
            rate = Figure(case, "", bench.rates(case)) if len(timed) == len(results) else None
            rows.append(
                (case, f"{timed[0]['items']:,}", spread(rate) if rate else "", spread(Figure(case, "", tuple(cpu_us))))
            )
    rows += [(case, "", f"skipped: {reason}", "") for case, reason in bench.skipped.items()]
    return table(("case", "items", "items/s, median [min..max]", "CPU us an item"), rows) if rows else ""


def figures(lines: Iterable[Figure]) -> str:
    """Give the table of what is asked, what was measured, and whether that reaches it."""
    rows = [
        (
            figure.path,
            f"{figure.must} {number(figure.target)} {figure.unit}".strip() if figure.must else "",
            f"{spread(figure)} {figure.unit}".strip() if figure.values else f"not measured ({figure.note})",
            REACHED[figure.reached],
        )
        for figure in lines
    ]
    return table(("path", "target", "measured, median [min..max]", "reached"), rows)


def spread(figure: Figure) -> str:
    """Give a median with its least and its greatest value."""
    if len(figure.values) == 1:
        return number(figure.median)
    return f"{number(figure.median)} [{number(min(figure.values))}..{number(max(figure.values))}]"


def number(value: float) -> str:
    """Give a number with as many digits as it deserves."""
    if value == round(value) or abs(value) >= LARGE:
        return f"{value:,.0f}"
    if abs(value) >= SMALL:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= TINY else f"{value:.1g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a Markdown table whose columns stand below each other."""
    cells = [tuple(head), *(tuple(cell.replace("\n", " ").replace("|", "/") for cell in row) for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def as_json(bench: Bench) -> dict[str, Any]:
    """Give all that a sub-benchmark found, the raw figures of each run included."""
    return {
        "runs": bench.runs,
        "skipped": bench.skipped,
        "figures": [
            {
                **asdict(figure),
                "median": figure.median if figure.values else None,
                "min": min(figure.values, default=None),
                "max": max(figure.values, default=None),
                "reached": figure.reached,
            }
            for figure in bench.figures
        ],
    }
