"""How far a run is: its rate, the time left, and the words for it.

Imported by the progress of a run. Invariant: the rate and the time left are of items that were
executed. After a resume thousands of items are skipped in no time, and counting them would promise an
end that does not come.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple


if TYPE_CHECKING:
    from wal_runner.runner.renewal import Reconnecting
    from wal_runner.runner.report import RunReport

RATE_SECONDS: Final = 30.0
"""The rate is that of the last so many seconds, so that it follows a service that becomes slow..."""

RATE_ITEMS_MIN: Final = 10
"""...or of the last so many items, where those took longer."""

RATE_WHOLE_FROM: Final = 100
"""From here on a rate is written without a fraction."""


class Total(NamedTuple):
    """How many items there are in all; an estimate unless *is_exact*."""

    items: int
    is_exact: bool = True


class Sample(NamedTuple):
    """Where a run stands. *rate* is in executed items a second; *left_s* may be unknown, or nothing be left."""

    seen: int
    total: Total | None
    skipped: int
    failed: int
    in_doubt: int
    rate: float
    left_s: float | None
    reconnecting: Reconnecting | None = None


class Meter:
    """Turns counters and times into a rate and the time left."""

    def __init__(self, now: float) -> None:
        self._looks: deque[tuple[float, int]] = deque([(now, 0)])
        self._skipped = 0

    def read(
        self, report: RunReport, total: Total | None, now: float, reconnecting: Reconnecting | None = None
    ) -> Sample:
        """Return where the run stands *now*, in seconds of any clock that never goes back."""
        if not report.executed and report.skipped != self._skipped:
            self._looks.clear()  # skipping is not work, and its time is none either
        self._skipped = report.skipped
        rate = self._rate(report.executed, now)
        seen = report.seen
        left = max(0, total.items - seen) if total is not None else None
        return Sample(
            seen=seen,
            total=total,
            skipped=report.skipped,
            failed=report.failed,
            in_doubt=report.in_doubt,
            rate=rate,
            left_s=left / rate if left and rate else None,
            reconnecting=reconnecting,
        )

    def _rate(self, executed: int, now: float) -> float:
        looks = self._looks
        looks.append((now, executed))
        if len(looks) > 2 and looks[-3][1] == executed:  # noqa: PLR2004 - of a standstill both ends are enough
            del looks[-2]
        while len(looks) > 1 and looks[1][0] <= now - RATE_SECONDS and looks[1][1] <= executed - RATE_ITEMS_MIN:
            looks.popleft()
        since, before = looks[0]
        return (executed - before) / (now - since) if now > since else 0.0


# --- Words ---------------------------------------------------------------------------------


def sentence(sample: Sample) -> str:
    """Write where a run stands: ``8,412 of 10,000, 35.1/s, 0:45 left, 8,000 skipped``."""
    if sample.total is None:
        parts = [f"{sample.seen:,} items"]
    else:
        total = f"{'' if sample.total.is_exact else 'about '}{sample.total.items:,}"
        parts = [f"{sample.seen:,} of {total}"]
    if sample.rate:
        parts.append(_rate_in_words(sample.rate))
    if sample.left_s is not None:
        parts.append(f"{_clock_time(sample.left_s)} left")
    if sample.reconnecting is not None:
        count, workers, seconds = sample.reconnecting
        parts.append(f"{count:,} of {workers:,} workers reconnecting, {seconds:.0f} s")
    return ", ".join(parts + [f"{count:,} {word}" for count, word in counts(sample)])


def counts(sample: Sample) -> list[tuple[int, str]]:
    """Give the counts that are shown beside the position, those that are not 0."""
    found = [(sample.skipped, "skipped"), (sample.failed, "failed"), (sample.in_doubt, "in doubt")]
    return [(count, word) for count, word in found if count]


def _rate_in_words(rate: float) -> str:
    for unit, seconds in (("s", 1), ("min", 60)):
        if rate * seconds >= 1:
            digits = 0 if rate * seconds >= RATE_WHOLE_FROM else 1
            return f"{rate * seconds:,.{digits}f}/{unit}"
    return f"{rate * 3600:.1f}/h"


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{days} d {clock}" if days else clock
