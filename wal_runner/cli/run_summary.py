"""What ``walrun run`` says before and after: where the log stands, how the run ended, what to do next.

Imported by ``walrun run`` only. Invariant: a command that is shown can be pasted as it stands.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wal_runner.cli.items import STDIN
from wal_runner.cli.next_steps import ACCEPT_COPY, resolve_commands
from wal_runner.cli.words import count_of, shell_word, shell_words, shown_id, visible
from wal_runner.core.events import Status
from wal_runner.errors import Interrupted, LogError
from wal_runner.recovery.deaths import HELD_FOR_DEATHS
from wal_runner.runner.report import CONNECTION, RESULT_REQUIRED


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wal_runner.cli.run_effect import Failures
    from wal_runner.runner.doubts import Doubt
    from wal_runner.runner.progress_meter import Total
    from wal_runner.runner.report import RunReport
    from wal_runner.runner.runner import Runner

ITEMS_SHOWN_MAX: Final = 3
MESSAGE_CHARS_MAX: Final = 160
SAVED_WORTH_SAYING_S: Final = 1.0

RESUME: Final = "--resume"
IDEMPOTENT: Final = "--idempotent"
DASHES: Final = "--"


@dataclass(frozen=True, slots=True)
class Rerun:
    """How to run the same again: *log* as it was given, the *command*, and whether it reads stdin and is idempotent."""

    log: str
    command: str
    reads_stdin: bool
    is_idempotent: bool = False

    @classmethod
    def of(cls, log: str, items_spec: str, given: Sequence[str]) -> Rerun:
        """Give the command that resumes: the *given* words with ``--resume``, so that it never creates a log."""
        words = list(given)
        at = words.index(DASHES) if DASHES in words else len(words)
        # Said once, for this place: pasted for ever, it would accept an old copy too.
        ours = [word for word in words[:at] if word != ACCEPT_COPY]
        if RESUME not in ours:
            ours.insert(0, RESUME)
        words = ours + words[at:]
        return cls(
            log,
            shell_words([*_program(), "run", *words]),
            reads_stdin=items_spec == STDIN,
            is_idempotent=IDEMPOTENT in ours,
        )

    @property
    def with_same_items(self) -> str:
        """Say what a shell cannot paste."""
        return ", with the same items on its stdin" if self.reads_stdin else ""


def greeting(runner: Runner) -> str:
    """Say which log it is, and how far it has come."""
    path = visible(runner.path)
    if runner.created:
        return f"new log {path}"
    counts = runner.counts()
    parts = [f"{counts[Status.SUCCEEDED]:,} done"]
    parts += [f"{counts[status]:,} {word}" for status, word in _OPEN if counts[status]]
    return f"resuming {path}: {', '.join(parts)}"


def summary(
    runner: Runner,
    report: RunReport,
    failures: Failures,
    rerun: Rerun,
    *,
    total: Total | None,
    error: BaseException | None,
) -> Iterator[str]:
    """Say how a run ended, and what to do next; nothing where an error came before it did anything."""
    interrupted = isinstance(error, Interrupted)
    if error is not None and not interrupted and not report.seen:
        return
    yield f"{_ending(error)} after {_span(report.elapsed)}: {_counts(report)}.{_saved(report)}"
    if report.doubt_bound:
        yield f"A power cut could have left at most {count_of(report.doubt_bound, 'item')} in doubt."
    yield from _omitted(report)
    yield from _without_connection(report, None if interrupted or report.totals.get(Status.FAILED.word) else rerun)
    yield from _failed(runner, report, failures, None if interrupted else rerun)
    yield from _in_doubt(runner, report, rerun)
    elsewhere = report.totals.get(Status.STARTED.word, 0)
    if elsewhere:
        yield f"{_items_are(elsewhere)} running in another session:"
        yield f"  {_pasteable(f'walrun status {shell_word(rerun.log)}')}"
    if report.totals.get(Status.IN_DOUBT.word) and not rerun.is_idempotent:
        yield "If running an item again is harmless, add --idempotent: lost replies are failures, doubts are run again."
    if interrupted:
        yield f"{_left(report, total)}Resume with this command{rerun.with_same_items}:"
        yield f"  {rerun.command}"
    elif error is None and report.ok:
        yield "Everything that this log has started is done."


def _omitted(report: RunReport) -> Iterator[str]:
    if report.first_omitted is None:
        return
    item_id, why = report.first_omitted
    yield f"{count_of(report.results_omitted, 'result')} could not be kept; the items have succeeded all the same."
    yield f"  {shown_id(item_id)}: {_first_line(why)}"
    if report.ended_because == RESULT_REQUIRED:
        yield "The run ended there, since --results required asks for every result. The next run goes on."


def _without_connection(report: RunReport, rerun: Rerun | None) -> Iterator[str]:
    if report.ended_because != CONNECTION:
        return
    yield "The connection was lost, and no worker could connect again within --connect-timeout. The last error:"
    yield f"  {_first_line(report.connect_error or '')}"
    yield "What had not begun was released. See that the server can be reached, then run the same again to go on."
    if rerun is not None:  # else it is shown further down
        yield f"The command{rerun.with_same_items}:"
        yield f"  {rerun.command}"


# --- What to do next -------------------------------------------------------------------------


def _failed(runner: Runner, report: RunReport, failures: Failures, rerun: Rerun | None) -> Iterator[str]:
    count = report.totals.get(Status.FAILED.word, 0)
    if not count:
        return
    them = "it" if count == 1 else "them"
    again = "." if rerun is None else f"{rerun.with_same_items}:"
    yield f"{_items_have(count)} failed. The next run tries {them} again{again}"
    if rerun is not None:
        yield f"  {rerun.command}"
    failed = [item_id for item_id in failures.messages if _is_failed(runner, item_id)]
    for item_id in failed[:ITEMS_SHOWN_MAX]:
        yield f"  {shown_id(item_id)}: {_first_line(failures.messages[item_id])}"


def _is_failed(runner: Runner, item_id: str) -> bool:
    try:
        return runner.status(item_id) is Status.FAILED
    except LogError:  # it may be what ended the run, and is told then
        return False


def _in_doubt(runner: Runner, report: RunReport, rerun: Rerun) -> Iterator[str]:
    count = report.totals.get(Status.IN_DOUBT.word, 0)
    if not count:
        return
    held = "It is" if count == 1 else "They are"
    yield f"{_items_are(count)} in doubt: the effect may have happened. {held} held until somebody finds out:"
    doubts = _doubts(runner)
    for doubt in doubts[:ITEMS_SHOWN_MAX]:
        yield f"  {shown_id(doubt.item_id)}: {_first_line(doubt.reason.removeprefix('OutcomeUnknown: '))}"
    if any(doubt.reason.startswith(HELD_FOR_DEATHS) for doubt in doubts):
        yield "An item that killed its process again and again is not redone. --did-not-happen lets it run again, its"
        yield "count of deaths at 0; a run with a larger --max-deaths does too."
    commands = [f"walrun inspect {shell_word(rerun.log)}"]
    for doubt in doubts[:1]:
        commands += resolve_commands(rerun.log, doubt.item_id, doubt.start_seq, doubt.attempt).values()
    for command in commands:
        yield f"  {_pasteable(command)}"


def _doubts(runner: Runner) -> list[Doubt]:
    try:
        return runner.in_doubt()
    except LogError:
        return []


def _left(report: RunReport, total: Total | None) -> str:
    left = None if total is None else max(0, total.items - report.seen) + report.released
    if left is None:
        return "The rest of the items is left. "
    about = "" if total is None or total.is_exact else "about "
    return f"{about}{_items_are(left)} left. ".capitalize() if left else "Nothing else is left. "


# --- Words -------------------------------------------------------------------------------------


_OPEN: Final = (
    (Status.FAILED, "failed"),
    (Status.IN_DOUBT, "in doubt"),
    (Status.PENDING, "pending"),
    (Status.ABANDONED, "abandoned"),
    (Status.STARTED, "running elsewhere"),
)


def _ending(error: BaseException | None) -> str:
    if error is None:
        return "Ended"
    return "Interrupted" if isinstance(error, Interrupted) else "Ended by an error"


def _counts(report: RunReport) -> str:
    counts = [
        (report.succeeded, "succeeded"),
        (report.failed, "failed"),
        (report.in_doubt, "in doubt"),
        (report.skipped, "done before"),
        (report.abandoned, "abandoned"),
        (report.elsewhere, "running elsewhere"),
        (report.released, "claimed and not begun"),
        (report.duplicates, "named twice"),
    ]
    return ", ".join(f"{count:,} {word}" for count, word in counts if count) or "no items"


def _saved(report: RunReport) -> str:
    if report.time_saved < SAVED_WORTH_SAYING_S:
        return ""
    return f" Not repeating what was done saved about {_span(report.time_saved)}."


def _span(seconds: float) -> str:
    """Write a length of time: ``4.2 s``, ``12 min 5 s``, ``3 h 20 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:,} h {minute} min" if hours else f"{minute} min {second} s"


def _items_are(count: int) -> str:
    return f"{count_of(count, 'item')} {'is' if count == 1 else 'are'}"


def _items_have(count: int) -> str:
    return f"{count_of(count, 'item')} {'has' if count == 1 else 'have'}"


def _first_line(text: str) -> str:
    return visible(text.strip().partition("\n")[0], MESSAGE_CHARS_MAX)


def _pasteable(command: str) -> str:
    """Write a command of ours as we were started: `walrun` may not be on the PATH."""
    return f"{shell_words(_program())}{command.removeprefix('walrun')}" if command.startswith("walrun ") else command


def _program() -> list[str]:
    """Give the words that started us, for a shell."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        return [sys.executable, "-m", "wal_runner"]
    found = shutil.which("walrun")
    if script.name != "walrun" or (found is not None and script.exists() and script.samefile(found)):
        return ["walrun"]
    return [sys.argv[0]]
