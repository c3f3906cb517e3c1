"""The text of docs/reference/lost-replies.md, made of the cells of the matrix.

Imported by the tool that writes the page and by the test that compares it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.clients.conditions import Condition


if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from tests.clients import matrix
    from tests.clients.case import Case

ROOT: Final = Path(__file__).parents[2]
PATH: Final = ROOT / "docs" / "reference" / "lost-replies.md"
HEAD: Final = Path(__file__).parent / "page_head.md"
"""What stands above the table, written by hand."""

NOTES: Final = Path(__file__).parent / "notes"
"""Notes on each client's own retries; those that begin with zz_ stand at the end of the page."""

COLUMNS: Final = "| what goes wrong | happened | the item is | error | connection |\n|---|---|---|---|---|"


def section(case: Case, cells: Sequence[matrix.Cell]) -> str:
    """Return what the page says about one client."""
    lines = [title(case), "", f"{case.versions() or 'Python itself'}. {case.server_name}.", "", COLUMNS]
    lines.extend(row(cell) for cell in cells)
    though = "the request is safe" if case.is_safe else "nothing happened"
    notes = [f"- {condition.value}: in doubt, though {though}: {why}." for condition, why in case.needless.items()]
    notes += [f"- {condition.value}: not tried: {why}." for condition, why in case.skipped.items()]
    notes += [f"- {condition.value}: not tried: the client speaks no HTTP." for condition in _not_http(case)]
    return "\n".join([*lines, "", *notes, ""])


def title(case: Case) -> str:
    """Return the heading of a client's section."""
    return f"### {case.name}"


def row(cell: matrix.Cell) -> str:
    """Return the row of the page for *cell*."""
    error = "" if cell.error is None else f"`{type(cell.error).__name__}`"
    what, happened, verdict, connection = cell.parts
    return f"| {what} | {happened} | {verdict} | {error} | {connection} |"


def whole(sections: Sequence[str], measured: dt.date) -> str:
    """Return the whole page."""
    head = HEAD.read_text().replace("{date}", f"{measured:%-d %B %Y}").replace("{notes}", _notes())
    assert "{notes}" not in head, "the head has a place for the notes"
    ends = [path.read_text().rstrip() + "\n" for path in sorted(NOTES.glob("zz_*.md"))]
    return "\n".join([head.rstrip(), "", *sections, *ends]).rstrip() + "\n"


def _notes() -> str:
    """Return what users of each client must know, written by hand, one client after the other."""
    paths = [path for path in sorted(NOTES.glob("*.md")) if not path.name.startswith("zz_")]
    return "\n\n".join(path.read_text().strip() for path in paths)


def rows_of(text: str, case: Case) -> list[tuple[str, str, str, str]]:
    """Return what *text*, the page, says of each condition of *case*: without the error's name, which may vary."""
    tables = text.partition("\n## The tables\n")[2]  # the notes have headings of the same name
    found = tables.partition(f"\n{title(case)}\n")[2].partition("\n### ")[0]
    cells = [line.strip("| ").split(" | ") for line in found.splitlines() if line.startswith("| ")]
    return [tuple(part.strip() for part in (*parts[:3], (parts + [""] * 5)[4])) for parts in cells[1:]]  # type: ignore[misc]


def _not_http(case: Case) -> list[Condition]:
    return [] if case.gateway_answers or Condition.GATEWAY in case.skipped else [Condition.GATEWAY]
