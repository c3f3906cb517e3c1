"""The pages of data.mdb, walked in pure Python before LMDB is let at them.

Imported by the LMDB engine and by verification. LMDB answers a damaged page with SIGABRT or SIGBUS
(measured), which would take the caller down; the walk only reads.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lmdb.verify import VerifyError
from lmdb.verify import verify as find_problems

from wal_runner.errors import RESTORE, LogCorrupt
from wal_runner.log.branches import misleading_branches, used_bytes
from wal_runner.log.files import check_file
from wal_runner.log.format import CHECK_ALWAYS_BYTES_MAX, DATA_NAME, GATE_NAME
from wal_runner.log.gate import Gate
from wal_runner.log.protocol import GATE_WAIT_S


if TYPE_CHECKING:
    from pathlib import Path


def structural_problems(folder: Path) -> list[str]:
    """Give what is wrong with the structure of the log in *folder*, under its gate."""
    gate = Gate(folder / GATE_NAME, writable=False)
    try:
        with gate.held(GATE_WAIT_S):
            return problems_of(folder / DATA_NAME)
    finally:
        gate.close()


def check_structure(data: Path) -> None:
    """Raise `LogCorrupt` where *data* has structural problems. Call inside the gate."""
    problems = problems_of(data)
    if problems:
        raise LogCorrupt(f"{data} is damaged: {problems[0]} ({len(problems)} problems). Nothing was opened. {RESTORE}")


def is_always_checked(data: Path) -> bool:
    """Say whether *data* is checked at each opening, whatever HEAD remembers of it.

    It is where that takes no time; and where it says that it uses more than there is, for which room would be made.
    """
    used = used_bytes(data)
    return used <= CHECK_ALWAYS_BYTES_MAX or used > data.stat().st_size


def problems_of(data: Path) -> list[str]:
    """Walk the pages of *data*; give what is wrong with them."""
    check_file(data.parent, data.name)  # lmdb.verify opens it by its path, and would follow a link
    try:
        problems = [str(problem) for problem in find_problems(str(data), subdir=False)]
        return problems or list(misleading_branches(data))
    except VerifyError as error:
        return [str(error)]
    except (OSError, ValueError, IndexError, RecursionError, OverflowError, MemoryError, struct.error) as error:
        return [f"its pages cannot be walked ({type(error).__name__}: {error})"]
