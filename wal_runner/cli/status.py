"""``walrun status``: the numbers of a log, who runs on it, and what to do next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from wal_runner.cli.as_json import Json, iso, status_of
from wal_runner.cli.next_steps import Step, next_steps
from wal_runner.cli.options import json_option, log_argument
from wal_runner.cli.output import put, tell
from wal_runner.cli.words import copy_note, count_of, duration, listing, moment, size, visible
from wal_runner.core.events import Status
from wal_runner.recovery.deaths import is_held_for_deaths
from wal_runner.recovery.reader import LogView


if TYPE_CHECKING:
    from collections.abc import Sequence

    from wal_runner.core.state import State
    from wal_runner.log.protocol import Room
    from wal_runner.recovery.reader import SessionReport


@click.command("status")
@log_argument
@json_option
def command(log: str, *, as_json: bool) -> None:
    """Show how far a log has come, who runs on it, and what to do.

    Reads only. A session that died and that no run has recorded yet is shown apart from the counts.
    In the JSON, everything but "now" is what folding `walrun replay --json` gives.

    \b
    Example:
      walrun status emails.wal
    """  # noqa: D301 - click reads the backslash
    with LogView.open(log) as view:
        reports = view.sessions()
        state, room = view.state(), view.log.room()
        steps = next_steps(log, state.counts, reports, state.sessions.values(), accept_copy=bool(view.copied_from))
        if as_json:
            put({**status_of(state), "now": _now(view, state, room, reports, steps)})
        else:
            if view.copied_from:
                tell(copy_note(doubts_coming(reports)))
            _tell_all(view, state, room, reports, steps)


def _now(view: LogView, state: State, room: Room, reports: Sequence[SessionReport], steps: Sequence[Step]) -> Json:
    """Return what is not in the fold, and may be otherwise a moment later."""
    return {
        "path": view.path,
        "log_id": view.log_id,
        "format": view.log.format(),
        "copied_from": view.copied_from,
        "time": iso(time.time_ns()),
        "file_bytes": room.file_bytes,
        "used_bytes": room.used_bytes,
        "alive": [
            {"session": report.info.number, "running": len(report.open), "effect_running": report.effect_running}
            for report in reports
            if report.alive
        ],
        "dead_sessions": [report.info.number for report in reports if _is_news(report)],
        "doubts_coming": doubts_coming(reports),
        "held_for_deaths": _held_for_deaths(state),
        "next": [{"why": step.why, "command": step.command} for step in steps],
    }


def _tell_all(view: LogView, state: State, room: Room, reports: Sequence[SessionReport], steps: Sequence[Step]) -> None:
    counts = state.counts
    tell(f"{visible(view.path)}: {count_of(sum(counts.values()), 'item')}")
    tell()
    for status, count in counts.items():
        if count:
            tell(f"{count:>12,}  {status.word.replace('_', ' ')}{_remark(status, state)}")
    tell()
    last_ns = max((info.last_ns for info in state.sessions.values()), default=0)
    tell(f"events       {state.seq:,}{f', the last one {moment(last_ns)}' if last_ns else ''}")
    if state.base_seq:
        tell(f"compacted    up to event {state.base_seq:,}")
    tell(f"file         {size(room.file_bytes)}, in log format {view.log.format()}")
    if state.key_rule is not None:
        tell(f"key rule     {visible(state.key_rule)}")
    if state.timed:
        tell(f"an item      {duration(state.elapsed_ns // state.timed)}, by the mean of those that succeeded")
    if state.conflicts:
        tell(f"conflicts    {count_of(state.conflicts, 'outcome')} came after another one stood, and changed nothing")
    _tell_sessions(reports)
    without = counts[Status.STARTED]
    tell(
        f"doubt bound  {count_of(without, 'start')} {'has' if without == 1 else 'have'} no outcome now"
        f"{': so many could a power cut leave in doubt' if without else ', so a power cut leaves nothing in doubt'}"
    )
    tell_steps(steps)


def tell_steps(steps: Sequence[Step]) -> None:
    """Write what to do next."""
    tell()
    if not steps:
        tell("Everything that this log has started is done.")
    for step in steps:
        tell(step.why)
        if step.command is not None:
            tell(f"  {step.command}")


def _tell_sessions(reports: Sequence[SessionReport]) -> None:
    for report in reports:
        if report.alive:
            info = report.info
            what = "owner dead, effect still running" if report.effect_running else "alive"
            work = f"{count_of(len(report.open), 'item')} running"
            where = f"pid {info.pid} on {visible(info.host)}"
            tell(f"session {info.number:<4} {what}: {where} since {moment(info.opened_ns)}, {work}")
    news = [report for report in reports if _is_news(report)]
    if news:
        tell(
            f"dead session: {listing([report.info.number for report in news])}, not recorded by a run yet; "
            f"{count_of(doubts_coming(reports), 'item')} of the started will be in doubt"
        )


def doubts_coming(reports: Sequence[SessionReport]) -> int:
    """Count what is started, and will be in doubt once the deaths are recorded."""
    return sum(
        attempt.status is Status.STARTED for report in reports if _is_news(report) for _, attempt in report.doubts
    )


def _held_for_deaths(state: State) -> int:
    return sum(is_held_for_deaths(attempt) for _, attempt in state.attempts(Status.IN_DOUBT))


def _is_news(report: SessionReport) -> bool:
    return report.died and not report.recorded


def _remark(status: Status, state: State) -> str:
    if status is Status.SUCCEEDED and state.results_omitted:
        return f" ({count_of(state.results_omitted, 'result')} omitted so far)"
    if status is Status.IN_DOUBT and (held := _held_for_deaths(state)):
        return f" ({held:,} held because their process died with them repeatedly)"
    return ""
