"""What a run can be told, checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wal_runner.core.lost_reply import lost_reply, unknown_when
from wal_runner.core.window import WINDOW_MAX
from wal_runner.log.format import RESULT_BYTES_FORMAT_MAX, RESULT_BYTES_MAX, SCRATCH_SLOTS
from wal_runner.recovery.deaths import MAX_DEATHS
from wal_runner.runner.renewal import CONNECT_TIMEOUT_S, renew_when


if TYPE_CHECKING:
    from collections.abc import Callable

    from wal_runner.core.lost_reply import Setting
    from wal_runner.runner.doubts import Reconciler
    from wal_runner.runner.progress import Progress
    from wal_runner.runner.renewal import Renew

WORKERS_MAX = 1024
MAX_DEATHS_MAX = 1000
ON_DUPLICATE = ("skip", "error")
RESULTS = ("optional", "required")
CANCEL_WAIT_S = 10.0
"""Time to wait for coroutines that were cancelled, by default. Those that go on are left behind, and in doubt."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run; see `Runner.run` for what each means."""

    key: object = None
    workers: int = 1
    outcome_unknown: Setting = lost_reply
    reconcile: Reconciler | None = None
    idempotent: bool = False
    max_deaths: int | None = MAX_DEATHS
    per_worker: Callable[[], Any] | None = None
    renew: Renew = None
    connect_timeout: float = CONNECT_TIMEOUT_S
    max_in_doubt: int | None = None
    on_duplicate: str = "skip"
    signals: bool = True
    progress: bool | Progress = False
    results: str = "optional"
    result_bytes_max: int = RESULT_BYTES_MAX
    cancel_wait: float = CANCEL_WAIT_S
    # Not in the public API; the command line needs them.
    interrupt: Callable[[], None] | None = None
    """Ends what fn is doing; see `Stopping`."""
    would_block: Callable[[], bool] | None = None
    """Says that the source has nothing now: what was pulled is then run, and not held for what comes next."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, before anything starts."""
        _check_count("workers", self.workers, WORKERS_MAX)
        if self.max_in_doubt is not None:
            _check_count("max_in_doubt", self.max_in_doubt, SCRATCH_SLOTS)
        if self.max_deaths is not None:
            _check_count("max_deaths", self.max_deaths, MAX_DEATHS_MAX, "; None counts no deaths")
        if self.on_duplicate not in ON_DUPLICATE:
            raise ValueError(f'on_duplicate={self.on_duplicate!r} is unknown. Give "skip" or "error".')
        if self.results not in RESULTS:
            raise ValueError(f'results={self.results!r} is unknown. Give "optional" or "required".')
        _check_count("result_bytes_max", self.result_bytes_max, RESULT_BYTES_FORMAT_MAX)
        if self.per_worker is not None and not callable(self.per_worker):
            raise TypeError("per_worker is called once a worker and gives a context manager; give a function.")
        if self.reconcile is not None and not callable(self.reconcile):
            raise TypeError("reconcile is called with a list of doubts; give a function.")
        renew_when(self.renew)
        _check_seconds("cancel_wait", self.cancel_wait)
        if not self.cancel_wait >= 0:
            raise ValueError(f"cancel_wait={self.cancel_wait} is out of range. Give 0 or more seconds.")
        _check_seconds("connect_timeout", self.connect_timeout)
        if not self.connect_timeout > 0:
            raise ValueError(f"connect_timeout={self.connect_timeout} is out of range. Give more than 0 seconds.")
        unknown_when(self.outcome_unknown)

    @property
    def results_required(self) -> bool:
        """Say whether an item whose result cannot be kept ends the run."""
        return self.results == "required"

    @property
    def window_max(self) -> int:
        """Give the largest window."""
        return min(self.in_doubt_max, WINDOW_MAX)

    @property
    def in_doubt_max(self) -> int:
        """Give how many starts may be without a durable outcome."""
        return SCRATCH_SLOTS if self.max_in_doubt is None else self.max_in_doubt


def _check_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r} is not a number of seconds.")


def _check_count(name: str, value: object, most: int, also: str = "") -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is no whole number.")
    if not 1 <= value <= most:
        raise ValueError(f"{name}={value} is out of range. Give 1 to {most:,}{also}.")
