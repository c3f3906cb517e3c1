"""Every client under every condition: what happened is never called a failure, and doubt has a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients import matrix, page
from tests.clients.conditions import Condition
from tests.clients.conftest import skip_or_fail


if TYPE_CHECKING:
    from tests.clients.case import Case


TRIES_MAX = 3
"""On a busy machine a client may see a closed connection later than usual, and say something else."""

CELLS = [
    pytest.param(
        case,
        condition,
        variant,
        id=f"{case.name}-{condition.name.lower()}{variant and '-' + variant}",
        marks=pytest.mark.xdist_group(case.server_name),
    )
    for case in matrix.cases()
    for condition in Condition
    if matrix.applies(case, condition)
    for variant in matrix.variants(case, condition)
]


@pytest.mark.filterwarnings("ignore")  # clients forget sockets when a connection breaks
@pytest.mark.parametrize(("case", "condition", "variant"), CELLS)
def test_verdict_is_true(case: Case, condition: Condition, variant: str) -> None:
    """The server's state and the verdict agree, and the page says the same."""
    if (missing := case.missing()) is not None:
        skip_or_fail(missing)
    expected = page.rows_of(page.PATH.read_text(), case)
    for _ in range(TRIES_MAX):
        try:
            with case.serving() as server:
                cell = matrix.run(case, server, condition, variant)
        except FileNotFoundError as error:
            skip_or_fail(str(error))
        # What would repeat an effect is never tried again: it is wrong if it comes once.
        assert not matrix.is_repeated(case, cell), matrix.describe(cell.error)
        wrong = matrix.complaints(case, cell)
        if not wrong and cell.parts in expected:
            break

    assert [] == wrong
    assert cell.parts in expected
