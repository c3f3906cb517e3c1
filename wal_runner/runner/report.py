"""The report of a run: what it met, what it did, and whether that is all.

Imported by the dispatcher, which counts, and by whoever ran something. Invariant: ``seen`` is the
sum of its parts, and every part is durable by the time that it is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from wal_runner.core.events import Status
from wal_runner.errors import RunIncomplete


EXIT_DONE = 0
EXIT_SOME_FAILED = 3
EXIT_SOME_IN_DOUBT = 4
EXIT_ELSEWHERE = 5
EXIT_ENDED_EARLY = 6
EXIT_INTERRUPTED = 130

CONNECTION = "connection"
"""*ended_because* of a run in which no worker could connect again for `connect_timeout` seconds."""

RESULT_REQUIRED = "result_required"
"""*ended_because* of a run with ``results="required"`` after a result that could not be kept."""


@dataclass(slots=True)
class RunReport:
    """The numbers of one run, by items of its source.

    *skipped* were done before, *elsewhere* are being run by another session, *released* were
    claimed and never begun, *in_doubt* are those that this run met or made. *elapsed* is the time
    of the run in seconds, *time_saved* what the skipped would have taken, by the mean of all that
    succeeded.
    *totals* are the counts of the whole log at the end, by status word. *doubt_bound* is how many
    starts without a durable outcome there were at most: what a power cut could have left in doubt.
    *first_omitted* is the first item whose result could not be kept, and why. *ended_because* says why
    the run ended before its source did ("result_required", "connection"), or is None. *connect_error* is, in words, the
    last error of connecting again, if the run ended for it.
    *left_behind* names the items whose fn still ran when the run ended: it was cancelled, or interrupted a second
    time, and did not end. They are in doubt.
    """

    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    in_doubt: int = 0
    abandoned: int = 0
    elsewhere: int = 0
    released: int = 0
    duplicates: int = 0
    results_omitted: int = 0
    first_omitted: tuple[str, str] | None = None
    conflicts: int = 0
    elapsed: float = 0.0
    time_saved: float = 0.0
    doubt_bound: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    ended_because: str | None = None
    connect_error: str | None = None
    left_behind: list[str] = field(default_factory=list)
    left_in_threads: bool = field(default=False, repr=False, compare=False)
    """Whether those were left behind on worker threads, which cannot be cancelled. Not part of the JSON."""

    @property
    def seen(self) -> int:
        """Give how many items of the source were met: the sum of all that became of them."""
        return (
            self.succeeded
            + self.failed
            + self.skipped
            + self.in_doubt
            + self.abandoned
            + self.elsewhere
            + self.released
            + self.duplicates
        )

    @property
    def executed(self) -> int:
        """Give how many items this run ran to an end."""
        return self.succeeded + self.failed

    @property
    def ok(self) -> bool:
        """Say whether everything in the log is done, and nothing that was met is open."""
        open_items = sum(self.totals.get(status.word, 0) for status in _NOT_DONE)
        ended_early = self.interrupted or self.ended_because is not None
        return not (open_items or self.failed or self.in_doubt or self.elsewhere or self.released or ended_early)

    @property
    def exit_code(self) -> int:
        """Give the exit code of ``walrun run``: doubt beats an early end, that beats failure, failure "elsewhere".

        A run that was stopped has met a part of its items only; its code says that and nothing else.
        """
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.in_doubt or self.totals.get(Status.IN_DOUBT.word):
            return EXIT_SOME_IN_DOUBT
        if self.ended_because is not None:
            return EXIT_ENDED_EARLY
        if self.failed or self.totals.get(Status.FAILED.word):
            return EXIT_SOME_FAILED
        if self.elsewhere or self.totals.get(Status.STARTED.word):
            return EXIT_ELSEWHERE
        return EXIT_DONE

    def check(self) -> None:
        """Raise `RunIncomplete` unless everything in the log is done."""
        if self.ok:
            return
        if self.interrupted:
            raise RunIncomplete("The run was stopped before it had met all of its items. Run the same again to go on.")
        if self.ended_because == RESULT_REQUIRED and self.first_omitted is not None:
            item_id, why = self.first_omitted
            raise RunIncomplete(
                f"The run ended early, because results are required and that of {item_id!r} could not be kept: {why}. "
                "That item has succeeded, and the next run skips it. Let fn return something that can be kept, then "
                "run the same again to go on; runner.retry([id], succeeded=True) runs that item again, and repeats its "
                "effect."
            )
        if self.ended_because == CONNECTION:
            raise RunIncomplete(
                "The run ended early, because the connection was lost, and no worker could connect again within "
                f"connect_timeout. The last error: {self.connect_error}. What had not begun was released. See that the "
                f"server can be reached. {self._doubts_first()}Run the same again to go on."
            )
        left = ", ".join(
            f"{self.totals[status.word]:,} {status.word.replace('_', ' ')}"
            for status in _NOT_DONE
            if self.totals.get(status.word)
        )
        raise RunIncomplete(
            f"Not everything is done: {left or 'items were released or are running elsewhere'}. Look with "
            "`walrun inspect`, settle what is in doubt with `walrun resolve`, then run again."
        )

    def _doubts_first(self) -> str:
        count = self.totals.get(Status.IN_DOUBT.word, 0)
        if not count:
            return ""
        items = "1 item is" if count == 1 else f"{count:,} items are"
        return f"{items} in doubt: settle that with `walrun resolve`. "

    def as_dict(self) -> dict[str, Any]:
        """Give the report as JSON has it; the names are a contract."""
        return {
            "seen": self.seen,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "skipped": self.skipped,
            "in_doubt": self.in_doubt,
            "abandoned": self.abandoned,
            "elsewhere": self.elsewhere,
            "released": self.released,
            "duplicates": self.duplicates,
            "results_omitted": self.results_omitted,
            "first_omitted": None
            if self.first_omitted is None
            else {"item_id": self.first_omitted[0], "reason": self.first_omitted[1]},
            "conflicts": self.conflicts,
            "elapsed_s": round(self.elapsed, 3),
            "time_saved_s": round(self.time_saved, 3),
            "doubt_bound": self.doubt_bound,
            "totals": dict(self.totals),
            "interrupted": self.interrupted,
            "ended_because": self.ended_because,
            "connect_error": self.connect_error,
            "left_behind": list(self.left_behind),
            "ok": self.ok,
            "exit_code": self.exit_code,
        }


_NOT_DONE = (Status.IN_DOUBT, Status.FAILED, Status.STARTED, Status.PENDING)
