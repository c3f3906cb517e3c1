"""The structure of data.mdb, checked in pure Python before LMDB is let near it.

Imported by the LMDB engine and by verification. LMDB answers a damaged page with SIGABRT or SIGBUS (measured), which
would take the caller down; everything here only reads.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from lmdb.verify import VerifyError
from lmdb.verify import verify as find_problems

from wal_runner.errors import RESTORE, LogCorrupt
from wal_runner.log import pages
from wal_runner.log.files import check_file, opened
from wal_runner.log.format import CHECK_ALWAYS_BYTES_MAX, DATA_NAME, GATE_NAME
from wal_runner.log.gate import Gate
from wal_runner.log.page_walk import WALK_ERRORS, Walked, walk
from wal_runner.log.protocol import GATE_WAIT_S


if TYPE_CHECKING:
    from pathlib import Path

    Unchanged = tuple[int, int, int, bytes]

WALKS_MAX: Final = 3
"""Walks outside the log lock of a file that is written meanwhile. The next one holds the lock."""


def structural_problems(folder: Path) -> list[str]:
    """Return what is wrong with the structure of the log in *folder*.

    The log lock is free during the walk, unless the log is written so often that no walk sees one state of it.
    """
    data = folder / DATA_NAME
    gate = Gate(folder / GATE_NAME, writable=False)
    try:
        for _ in range(WALKS_MAX):
            with gate.held(GATE_WAIT_S):
                before = _as_it_is(data)
            problems = problems_of(data)
            with gate.held(GATE_WAIT_S):
                if _as_it_is(data) == before:
                    return problems
        with gate.held(GATE_WAIT_S):
            return problems_of(data)
    finally:
        gate.close()


def raise_for_structure(data: Path, walked: Walked) -> None:
    """Raise `LogCorrupt` if the structure of *data* was found damaged. Rows are for the caller."""
    if walked.problem:
        raise LogCorrupt(f"{data} is damaged: {walked.problem}. Nothing was opened. {RESTORE}")


def is_always_checked(descriptor: int) -> bool:
    """Return whether the file is walked at each opening, whatever HEAD remembers of it.

    That is a file whose walk takes no time, and one that says that it uses more than there is: room would be made
    for it.
    """
    used = pages.used_bytes(descriptor)
    return used <= CHECK_ALWAYS_BYTES_MAX or used > os.fstat(descriptor).st_size


def as_it_is(descriptor: int) -> Unchanged:
    """Return what differs after any commit: inode, size and time of the file, and its meta pages."""
    found = os.fstat(descriptor)
    return found.st_ino, found.st_size, found.st_mtime_ns, os.pread(descriptor, 2 * pages.PAGE_BYTES_MAX, 0)


def problems_of(data: Path) -> list[str]:
    """Walk the pages of *data*, then let `lmdb.verify` do the same; return what is wrong with them."""
    check_file(data.parent, data.name)  # lmdb.verify opens it by its path, and would follow a link
    try:
        with opened(data.parent, data.name) as descriptor:
            problem = walk(descriptor).problem
        return [problem] if problem else [str(found) for found in find_problems(str(data), subdir=False)]
    except VerifyError as error:
        return [str(error)]
    except WALK_ERRORS as error:
        return [f"its pages cannot be walked ({type(error).__name__}: {error})"]


def _as_it_is(data: Path) -> Unchanged | None:
    try:
        with opened(data.parent, data.name) as descriptor:
            return as_it_is(descriptor)
    except OSError:
        return None  # the walk says why
