"""Positive controls: checks of the library switched off, each of which the trials must notice.

Invariant: a control plants its bug in the child that looks at a log and nowhere else, and is caught when a
trial that is well without it gives a wrong answer, or a signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tools.corrupting.judging import SIGNAL, VERIFY_ONLY, VIOLATIONS
from tools.corrupting.trials import COPIED, LARGE, Clinic
from wal_runner.log import codec, lmdb_data, lmdb_rows, rows
from wal_runner.log.lmdb_data import DataFile
from wal_runner.log.page_guard import PageGuard
from wal_runner.log.pages import PageFile
from wal_runner.recovery import verifying


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tools.corrupting.trials import Trial

TRIALS_MAX: Final = 400
"""So many trials a control may take until it is caught."""


@dataclass(frozen=True)
class Control:
    """A bug, the damage that shows it, the verdicts that count as caught, and how the damage came."""

    name: str
    plant: Callable[[], None]
    mutators: Sequence[str]
    caught_by: Sequence[str] = VIOLATIONS
    way: str = COPIED


def _chain_unchecked() -> None:
    _set(lmdb_data, "decode_record", lambda seq, value, _previous: codec.decode_record(seq, value, None))


def _rows_unchecked() -> None:
    _set(rows, "unseal", lambda _key, value: value[: -rows.CRC_BYTES])
    for module in (rows, lmdb_rows):
        _set(module, "check_all", lambda _keys, _values: None)
    _set(DataFile, "check_rows", lambda *_: None)


def _structure_unchecked() -> None:
    _set(lmdb_data, "raise_for_structure", lambda *_: None)
    _set(PageGuard, "begin", lambda _guard: None)
    _set(verifying, "structural_problems", lambda _folder: [])


def _head_unread() -> None:
    _set(DataFile, "_check_witness", lambda *_: None)


def _rows_not_summed() -> None:
    _set(DataFile, "check_rows", lambda *_: None)


def _bounds_unchecked() -> None:
    """Believe that a page holds the keys that its parent says."""
    rows_of, nodes_of = PageFile.sealed_rows, PageFile.nodes
    _set(PageFile, "sealed_rows", lambda file, page, number, *_: rows_of(file, page, number, None, None))
    _set(
        PageFile,
        "nodes",
        lambda file, page, number, _least, _beyond, order=None: nodes_of(file, page, number, None, None, order),
    )
    _set(PageFile, "check_ends", lambda *_, **__: None)


def _misses_unproven() -> None:
    """Check the rows that are found, and believe LMDB where it finds none: as before page checks."""
    for name in ("check_keys", "check_gap"):
        _set(PageGuard, name, lambda *_: None)
    _set(PageGuard, "rows_of", lambda *_: None)


def _pages_unchecked() -> None:
    """Let LMDB near pages that nobody has looked at."""
    _misses_unproven()
    for name in ("check_from", "check_around", "_check_last"):
        _set(PageGuard, name, lambda *_, **__: None)
    _set(PageGuard, "_check_all", lambda *_, **__: [])


_SEEN_BY_VERIFY: Final = (VERIFY_ONLY, *VIOLATIONS)
"""A full verify adds the rows up by itself, and still finds what is wrong then."""

CONTROLS: Final = (
    Control("the chain is not checked", _chain_unchecked, ("bit in a value",)),
    Control("the rows' checksums are not checked", _rows_unchecked, ("bit in a value",), _SEEN_BY_VERIFY),
    Control(
        "the structure is not checked", _structure_unchecked, ("zeroed page", "cut into the used pages"), (SIGNAL,)
    ),
    Control("HEAD is not compared", _head_unread, ("older data", "older meta page")),
    Control("the rows are not summed up", _rows_not_summed, ("bit in a leaf", "stale page"), _SEEN_BY_VERIFY),
    Control("page bounds are not checked", _bounds_unchecked, ("bit in a branch",)),
    Control("misses are not proven", _misses_unproven, ("bit in a leaf",), _SEEN_BY_VERIFY, LARGE),
    Control("page bounds are not checked on the way", _bounds_unchecked, ("bit in a branch",), _SEEN_BY_VERIFY, LARGE),
    Control(
        "LMDB is let near unchecked pages",
        _pages_unchecked,
        ("bit in a page header", "zeroed page", "bit in a leaf"),
        (SIGNAL,),
        LARGE,
    ),
)


def clinic_for_controls(home: Path) -> Clinic:
    """Return the logs that controls are tried on: copies, which each opening walks, and large ones."""
    return Clinic(home, logs=("snapshot", "results", "compacted"), ways=(COPIED, LARGE))


def catch(control: Control, clinic: Clinic, seed: object) -> Trial | None:
    """Try until *control* is caught, and give the trial that did; None where nothing noticed."""
    clinic.plant = control.plant
    for number in range(TRIALS_MAX):
        trial = clinic.trial(seed, number, control.mutators, (control.way,))
        if trial.verdict.word in control.caught_by:
            return trial
    return None


def _set(owner: Any, name: str, stand_in: object) -> None:  # noqa: ANN401 - a module or a class
    assert hasattr(owner, name), f"there is no {name} to switch off"
    setattr(owner, name, stand_in)
