"""Positive controls: checks of the library switched off, each of which the trials must notice.

Invariant: a control plants its bug in the child that looks at a log and nowhere else, and is caught when a
trial that is well without it gives a wrong answer, or a signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tools.corrupting.judging import SIGNAL, VERIFY_ONLY, VIOLATIONS
from tools.corrupting.trials import COPIED, Clinic
from wal_runner.log import codec, lmdb_data, rows, structure
from wal_runner.log.lmdb_data import DataFile
from wal_runner.recovery import verifying


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tools.corrupting.trials import Trial

TRIALS_MAX: Final = 400
"""So many trials a control may take until it is caught."""


@dataclass(frozen=True)
class Control:
    """A bug, the damage that shows it, and the verdicts that count as caught."""

    name: str
    plant: Callable[[], None]
    mutators: Sequence[str]
    caught_by: Sequence[str] = VIOLATIONS


def _chain_unchecked() -> None:
    _set(lmdb_data, "decode_record", lambda seq, value, _previous: codec.decode_record(seq, value, None))


def _rows_unchecked() -> None:
    _set(rows, "unseal", lambda _key, value: value[: -rows.CRC_BYTES])
    for module in (rows, lmdb_data):
        _set(module, "check_all", lambda _keys, _values: None)


def _structure_unchecked() -> None:
    _set(lmdb_data, "check_structure", lambda _data: None)
    _set(verifying, "structural_problems", lambda _folder: [])


def _head_unread() -> None:
    _set(DataFile, "_check_witness", lambda *_: None)


def _rows_not_summed() -> None:
    _set(DataFile, "check_rows", lambda *_: None)


def _branches_unchecked() -> None:
    _set(structure, "misleading_branches", lambda _data: ())


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
    Control("branch pages are believed", _branches_unchecked, ("bit in a branch",)),
)


def clinic_for_controls(home: Path) -> Clinic:
    """Give the logs that controls are tried on: copies, so that every opening checks all that it can."""
    return Clinic(home, logs=("snapshot", "results", "compacted"), ways=(COPIED,))


def catch(control: Control, clinic: Clinic, seed: object) -> Trial | None:
    """Try until *control* is caught, and give the trial that did; None where nothing noticed."""
    clinic.plant = control.plant
    for number in range(TRIALS_MAX):
        trial = clinic.trial(seed, number, control.mutators, (COPIED,))
        if trial.verdict.word in control.caught_by:
            return trial
    return None


def _set(owner: Any, name: str, stand_in: object) -> None:  # noqa: ANN401 - a module or a class
    assert hasattr(owner, name), f"there is no {name} to switch off"
    setattr(owner, name, stand_in)
