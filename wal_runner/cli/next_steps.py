"""What to do next with a log, as commands to paste.

Imported by status, inspect and the commands that settle something. Invariant: a command that is shown
can be pasted as it stands; where the log does not know enough to write one, words say what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from wal_runner.cli.log_word import here, with_log
from wal_runner.cli.words import count_of, is_argument, listing, shell_word, shell_words, visible
from wal_runner.core.events import Decision, Status
from wal_runner.log.format import ARGV_CHARS_MAX, ARGV_MAX


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wal_runner.core.items import SessionInfo
    from wal_runner.recovery.reader import SessionReport

ARGUMENT_CHARS_MAX: Final = 4_000
"""A longer id is not written into a command; it is piped."""

RUN: Final = "run"
RESUME: Final = "--resume"
ACCEPT_COPY: Final = "--accept-copy"


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do: why, and the command, if there is one that can be written."""

    why: str
    command: str | None = None


def next_steps(
    log: str,
    counts: Mapping[Status, int],
    reports: Sequence[SessionReport],
    sessions: Iterable[SessionInfo],
    *,
    accept_copy: bool = False,
) -> list[Step]:
    """Return what to do next, the most urgent first; empty if everything in the log is done.

    With *accept_copy* the log is a copy, and commands that write to it say that it may be used.
    """
    steps = []
    again = rerun(sessions, log, accept_copy=accept_copy)
    dead = [report.info.number for report in reports if report.died and not report.recorded]
    doubts = sum(len(report.doubts) for report in reports)
    if doubts:
        held = "it is" if doubts == 1 else "they are"
        why = f"{count_of(doubts, 'item')} in doubt: {held} held until somebody finds out what happened, and says so."
        steps.append(Step(why, f"walrun inspect {shell_word(log)}"))
    if dead:
        why = f"Session {listing(dead)} died, and no run has recorded it yet. The next run does. {again.why}"
        steps.append(Step(why, again.command))
    for report in reports:
        if report.effect_running:
            steps.append(
                Step(
                    f"The process of session {report.info.number} is dead, and a command that it started still runs. "
                    "Wait until that has ended, or end it; then run again."
                )
            )
        elif report.alive and report.open:
            steps.append(Step(f"Session {report.info.number} is running {count_of(len(report.open), 'item')}. Let it."))
    left = [(counts[Status.FAILED], "failed"), (counts[Status.PENDING], "pending")]
    if not dead and any(count for count, _ in left):
        what = " and ".join(f"{count_of(count, 'item')} {word}" for count, word in left if count)
        steps.append(Step(f"{what}. The next run runs them. {again.why}", again.command))
    return steps


def rerun(sessions: Iterable[SessionInfo], log: str, *, accept_copy: bool = False) -> Step:
    """Return how to run again on *log*, as the last session that ran something was run; a copy with --accept-copy.

    That session may have run on another log, of which this one is a copy, or that was renamed since.
    """
    for info in sorted(sessions, reverse=True):
        argv = info.argv
        if not argv:
            continue
        whole = len(argv) < ARGV_MAX and all(len(part) <= ARGV_CHARS_MAX for part in argv)
        if not _is_walrun(argv):
            copied = " Let it open the log with accept_copy=True, once." if accept_copy else ""
            return Step(f"Run your program again: session {info.number} was {_described(info)}.{copied}")
        if argv[1:2] == (RUN,):
            if not whole:
                return Step(f"Run the same again: session {info.number} was {_described(info)}, and more.")
            ours, theirs = _split(argv[2:])
            # What was accepted then was another place.
            on_log = with_log([word for word in ours if word != ACCEPT_COPY], info.cwd, log)
            piped = " with the same items on its stdin" if "-" in ours else ""
            # A run that must find its log never begins a new one, where all would be done again.
            resume = [] if RESUME in ours else [RESUME]
            accept = [ACCEPT_COPY] if accept_copy else []
            words = ["walrun", *argv[1:2], *resume, *accept, *(on_log or ()), *theirs]
            if on_log is None or not all(map(is_argument, [info.cwd, *words])):
                # Words that this version does not read, or with which no process was started.
                return Step(f"Run the same again, on {visible(log)}: session {info.number} was {_described(info)}.")
            return Step(f"Run the same again{piped}:", _in_folder(info.cwd, shell_words(words)))
    return Step("Run the same again.")


def resolve_commands(
    log: str, item_id: str, start_seq: int, number: int, *, accept_copy: bool = False
) -> dict[str, str]:
    """Return the commands that settle a doubt, by the verdict's word; none if no command can name the id.

    They name the attempt *start_seq* if it is not the item's first, *number* 1: the id alone would be refused. With
    *accept_copy* they say that the log, which is a copy, may be used.
    """
    if not fits_a_command(item_id):
        return {}
    attempt = start_seq if number > 1 else None
    return {
        decision.word: _resolve_command(log, item_id, attempt, decision, accept_copy=accept_copy)
        for decision in Decision
    }


def accepting(flag: str, *, accept_copy: bool) -> str:
    """Return *flag*, behind --accept-copy if the log is a copy."""
    return f"{ACCEPT_COPY} {flag}" if accept_copy else flag


def fits_a_command(item_id: str) -> bool:
    """Return whether a command can be shown that names the item."""
    return len(item_id) <= ARGUMENT_CHARS_MAX and is_argument(item_id)


def _resolve_command(log: str, item_id: str, attempt: int | None, decision: Decision, *, accept_copy: bool) -> str:
    flag = accepting(f"--{decision.word.replace('_', '-')}", accept_copy=accept_copy)
    if item_id == "-":
        line = "echo -" if attempt is None else f"printf '{attempt}\\t-\\n'"
        return f"{line} | walrun resolve {shell_word(log)} - {flag}"
    if attempt is not None:
        flag = f"--attempt {attempt} {flag}"
    if item_id.startswith("-"):
        return f"walrun resolve {shell_word(log)} {flag} -- {shell_word(item_id)}"
    return f"walrun resolve {shell_word(log)} {shell_word(item_id)} {flag}"


def command_of(info: SessionInfo) -> str:
    """Write what a session was, for people."""
    argv = ["walrun", *info.argv[1:]] if _is_walrun(info.argv) else info.argv
    return visible(" ".join(shell_word(word) if is_argument(word) else repr(word) for word in argv)) or "unknown"


def _described(info: SessionInfo) -> str:
    return f"`{command_of(info)}` in {visible(info.cwd) or 'a folder that was gone'}"


def _split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Part what is for ``walrun run`` from the command that it runs."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at:]


def _is_walrun(argv: Sequence[str]) -> bool:
    program = PurePath(argv[0]) if argv else PurePath()
    return program.name == "walrun" or program.parts[-2:] == ("wal_runner", "__main__.py")


def _in_folder(cwd: str, command: str) -> str:
    return command if cwd in {here(), ""} else f"cd {shell_word(cwd)} && {command}"
