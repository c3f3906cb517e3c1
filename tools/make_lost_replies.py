"""Write docs/reference/lost-replies.md: every client under every condition, by the real clients and servers.

    python tools/make_lost_replies.py                 # write the page
    python tools/make_lost_replies.py --show redis    # print the cells of the cases whose name holds "redis"
    python tools/make_lost_replies.py --json NAME     # print the cells of the case NAME as JSON

Needs the extra `clients` and the servers; see docs/contributing.md. Takes some minutes. tests/clients checks each row
of the page against what happens.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final


ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.clients import matrix, page  # noqa: E402
from tests.clients.case import NotTried  # noqa: E402
from tests.clients.conditions import Condition  # noqa: E402
from wal_runner.core.error_evidence import name_of_class, row_for  # noqa: E402


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.case import Case

WORKERS: Final = 4
"""Cells wait more than they work, so more than the machine has cores."""

NOT_INSTALLED: Final = 2
"""Exit code if a package of the case is missing."""

CELL_SECONDS_MAX: Final = 30
"""Maximum time for one cell of `--json`, which takes a few seconds; an old version may wait without end."""


class CellTookTooLong(BaseException):
    """Raised by an alarm in the middle of a cell."""


def conditions_of(case: Case) -> list[tuple[Condition, str]]:
    """Return the conditions that make sense for *case*, each with its variants."""
    return [
        (condition, variant)
        for condition in Condition
        if matrix.applies(case, condition)
        for variant in matrix.variants(case, condition)
    ]


def cells_of(case: Case) -> Iterator[tuple[matrix.Cell, float]]:
    """Yield each cell of *case*, and the seconds that it took."""
    with case.serving() as server:
        for condition, variant in conditions_of(case):
            began = time.monotonic()
            yield matrix.run(case, server, condition, variant), time.monotonic() - began


def show(case: Case) -> int:
    """Print the cells of *case*; return how many are wrong."""
    wrong = 0
    print(f"## {case.name}: {case.versions()}")
    for cell, took in cells_of(case):
        print(f"{took:4.1f} s {' | '.join(cell.parts)} | {matrix.describe(cell.error)!r:.300}")
        for complaint in matrix.complaints(case, cell):
            wrong += 1
            print(f"       WRONG: {complaint.partition(':')[0]}{_hint(cell)}")
    return wrong


def _hint(cell: matrix.Cell) -> str:
    if cell.error is None or row_for(cell.error) is not None:
        return ""
    return f" (no row applies to {name_of_class(type(cell.error))})"


def print_json(case: Case) -> None:
    """Print what the page would say of *case*, the versions, what is wrong, and the conditions that could not be tried.

    A cell that fails or takes too long, as may be with an old version, does not end the others.
    """
    cells: list[matrix.Cell] = []
    not_tried: dict[str, str] = {}
    signal.signal(signal.SIGALRM, _raise_that_it_took_too_long)
    with case.serving() as server:
        for condition, variant in conditions_of(case):
            what = condition.value + (f": {variant}" if variant else "")
            try:
                # Again and again: closing such a client may wait without end, too.
                signal.setitimer(signal.ITIMER_REAL, CELL_SECONDS_MAX, CELL_SECONDS_MAX / 10)
                cells.append(matrix.run(case, server, condition, variant))
            except CellTookTooLong:
                not_tried[what] = "the client waits without end"
            except (NotTried, Exception) as raised:  # noqa: BLE001 - an old version may fail in any way
                not_tried[what] = str(raised) or type(raised).__name__
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    shown = {
        "versions": case.versions(),
        "rows": [cell.parts for cell in cells],
        "wrong": [complaint for cell in cells for complaint in matrix.complaints(case, cell)],
        "repeated": [" ".join(cell.parts) for cell in cells if matrix.is_repeated(case, cell)],
        "not_tried": not_tried,
    }
    print(json.dumps(shown))


def _raise_that_it_took_too_long(*_: object) -> None:
    raise CellTookTooLong


def section_of(name: str) -> tuple[str, list[str]]:
    """Return the page's section about the case called *name*, and what is wrong with its cells."""
    case = next(case for case in matrix.cases() if case.name == name)
    try:
        cells = [cell for cell, _ in cells_of(case)]
    except Exception as error:
        error.add_note(f"while {name} was tried")
        raise
    wrong = [complaint for cell in cells for complaint in matrix.complaints(case, cell)]
    return page.section(case, cells), wrong


def main() -> int:
    """Show cells, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", metavar="NAME", help="print the cells of the cases whose name holds NAME")
    parser.add_argument("--json", metavar="NAME", help="print the cells of the case NAME as JSON")
    given = parser.parse_args()
    if given.json is not None:
        case = next(case for case in matrix.cases() if case.name == given.json)
        if (missing := case.missing()) is not None:
            print(f"{missing} is not installed", file=sys.stderr)
            return NOT_INSTALLED
        print_json(case)
        return 0
    if given.show is not None:
        shown = [case for case in matrix.cases() if given.show in case.name]
        if not shown:
            known = ", ".join(case.name for case in matrix.cases())
            print(f"No case has {given.show!r} in its name. There are: {known}.", file=sys.stderr)
            return 2
        for case in shown:
            if (missing := case.missing()) is not None:
                print(f"{case.name}: {missing} is not installed", file=sys.stderr)
                return NOT_INSTALLED
        return 1 if sum(show(case) for case in shown) else 0
    names = [case.name for case in matrix.cases()]
    # Not forked: gRPC and librdkafka have threads.
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        answers = list(pool.map(section_of, names))
    wrong = [complaint for _, complaints in answers for complaint in complaints]
    for complaint in wrong:
        print(complaint, file=sys.stderr)
    text = page.whole([section for section, _ in answers], dt.datetime.now(tz=dt.UTC).date())
    page.PATH.write_text(text)
    print(f"{page.PATH.relative_to(ROOT)}: {len(names)} clients")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
