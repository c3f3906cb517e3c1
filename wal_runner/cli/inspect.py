"""``walrun inspect``: who died, what was running, and what to do next."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from wal_runner.cli.findings import (
    Findings,
    OpenItem,
    becomes,
    find,
    find_open,
    findings_as_json,
    is_this_boot,
    is_this_host,
    item_as_json,
    word_of_proof,
)
from wal_runner.cli.next_steps import accepting, command_of, fits_a_command, resolve_commands
from wal_runner.cli.options import ids_of, json_option, log_argument
from wal_runner.cli.output import json_text, put, put_attempt, put_id, say, tell
from wal_runner.cli.status import doubts_coming, tell_steps
from wal_runner.cli.words import copy_note, count_of, moment, shell_word, shown_id, visible
from wal_runner.core.events import Status
from wal_runner.recovery.deaths import is_held, is_held_for_deaths
from wal_runner.recovery.reader import LogView


if TYPE_CHECKING:
    from collections.abc import Sequence

    from wal_runner.core.items import OpenAttempt
    from wal_runner.recovery.reader import Item, SessionReport

ITEMS_SHOWN_MAX: Final = 20
"""So many doubts, and so many running items, are shown; a screen is enough to know what happened."""

COMMANDS_SHOWN_MAX: Final = 3
"""Up to so many doubts each get their own commands."""

REASON_CHARS_MAX: Final = 100

QUIET_DEATHS_SHOWN_MAX: Final = 5
"""So many of the sessions that died and left nothing open are named."""


@click.command("inspect")
@log_argument
@click.argument("ids", metavar="[ID...|-]", nargs=-1)
@click.option("--ids", "only_ids", is_flag=True, help="Print the ids in doubt, one a line, for `walrun resolve LOG -`.")
@click.option(
    "--attempts", "only_attempts", is_flag=True, help="Print the attempts in doubt: SEQ, a tab, the id; for the same."
)
@json_option
def command(log: str, ids: tuple[str, ...], *, only_ids: bool, only_attempts: bool, as_json: bool) -> None:
    """Show which session died, what was running, and what to do next.

    Reads only; give ids to look at single items. A death that no run has recorded yet is shown as the
    next run will record it. At most 20 items are shown as text; the JSON has all.

    \b
    Example:
      walrun inspect emails.wal
    """  # noqa: D301 - click reads the backslash
    if only_ids and only_attempts:
        raise click.UsageError("Give --ids or --attempts, not both.")
    with LogView.open(log) as view:
        if ids:
            _inspect_items(view, log, ids_of(ids, sys.stdin.buffer), as_json=as_json)
            return
        found = find(view, log)
    if only_ids or only_attempts:
        _tell_ids(found.in_doubt, with_attempts=only_attempts)
    elif as_json:
        put(findings_as_json(found))
    else:
        _tell_all(found)


def _tell_all(found: Findings) -> None:
    counts = {status: count for status, count in found.counts.items() if count}
    if found.copied_from:
        tell(copy_note(doubts_coming(found.reports)))
    known = ", ".join(f"{count:,} {status.word.replace('_', ' ')}" for status, count in counts.items())
    tell(f"{visible(found.path)}: {known or 'nothing was started yet'}")
    quiet = [report for report in found.reports if report.died and report.recorded and not report.open]
    for report in found.reports:
        if report not in quiet:
            _tell_session(report, found.now_ns)
    _tell_quiet_deaths(quiet, found.now_ns)
    _tell_open("In doubt", found.in_doubt, found.now_ns, with_reason=True)
    _tell_open("Running", found.running, found.now_ns, with_reason=False)
    _tell_verdicts(found)
    others = [step for step in found.steps if step.command != f"walrun inspect {shell_word(found.log)}"]
    if others or not found.steps:
        tell_steps(others)


# --- Sessions --------------------------------------------------------------------------


def _tell_session(report: SessionReport, now_ns: int) -> None:
    info = report.info
    tell()
    tell(f"session {info.number}: {_fate(report)}")
    tell(f"  began        {moment(info.opened_ns, now_ns)}")
    tell(f"  last record  {moment(info.last_ns or info.opened_ns, now_ns)}")
    if report.recorded:
        tell(f"  ended        {moment(info.ended_ns, now_ns)}{', when its death was found' if report.died else ''}")
    tell(f"  process      pid {info.pid} of {visible(info.user)} on {visible(info.host)}, {where_of(report)}")
    tell(f"  command      {command_of(info)}")
    tell(f"  folder       {visible(info.cwd) or 'gone'}")
    for line in _work_of(report):
        tell(f"  {line}")


def _fate(report: SessionReport) -> str:
    if report.effect_running:
        return "owner dead, effect still running: a command that it started has not ended"
    if report.alive:
        return "alive"
    if not report.died:
        return "ended in order, and left items in doubt"
    return "died" if report.recorded else "died; no run has recorded it yet, the next one does"


def where_of(report: SessionReport) -> str:
    """Say on which boot of which host a session ran, as seen from here."""
    info = report.info
    boot = f"boot {visible(info.boot[:8]) or 'unknown'}"
    if not is_this_host(info):
        return f"{boot}: another host than this"
    return f"{boot}: {'this one' if is_this_boot(info) else 'an earlier one, the machine was restarted since'}"


def _work_of(report: SessionReport) -> list[str]:
    lines = []
    doubts = len(report.doubts)
    if doubts:
        lines.append(f"in doubt     {count_of(doubts, 'item')}")
    if report.alive and len(report.open) > doubts:
        lines.append(f"running      {count_of(len(report.open) - doubts, 'item')}")
    proven = [word_of_proof(event) for event in report.proven.values()]
    never_began = proven.count(Status.PENDING.word)
    ended = len(proven) - never_began - proven.count(Status.IN_DOUBT.word)
    if ended:
        lines.append(f"saved        {count_of(ended, 'outcome')} that it had not committed; the next run records them")
    if never_began:
        lines.append(f"never begun  {count_of(never_began, 'item')} that it had claimed; the next run runs them")
    return lines


def _tell_quiet_deaths(reports: Sequence[SessionReport], now_ns: int) -> None:
    if not reports:
        return
    tell()
    for report in reports[-QUIET_DEATHS_SHOWN_MAX:]:
        info = report.info
        tell(
            f"session {info.number} died too, last record {moment(info.last_ns, now_ns)}, pid {info.pid} on "
            f"{visible(info.host)}; nothing of it is open"
        )
    if len(reports) > QUIET_DEATHS_SHOWN_MAX:
        tell(f"{len(reports) - QUIET_DEATHS_SHOWN_MAX} earlier ones; all with --json")


# --- Items -----------------------------------------------------------------------------


def _tell_open(title: str, items: Sequence[OpenItem], now_ns: int, *, with_reason: bool) -> None:
    if not items:
        return
    shown = items[:ITEMS_SHOWN_MAX]
    wide = max(len(shown_id(item.attempt.item_id)) for item in shown)
    tell()
    tell(f"{title}:")
    for item in shown:
        attempt = item.attempt
        name = f"{shown_id(attempt.item_id):<{wide}}"
        why = visible(item.reason, REASON_CHARS_MAX) if with_reason else f"session {attempt.session}"
        when = f"{_since(attempt)} {moment(attempt.started_ns, now_ns)}"
        tell(f"  {name}  attempt {attempt.attempt}, {when}, {why}{_deaths(item)}")
    if len(items) > len(shown):
        only_ids = ", or only their ids with --ids, or --attempts" if with_reason else ""
        tell(f"  and {len(items) - len(shown):,} more; all with --json{only_ids}")


def _since(attempt: OpenAttempt) -> str:
    """Return what the time of an open attempt is that of: who holds an item begins its attempt anew."""
    return "held" if is_held(attempt) else "started"


def _deaths(item: OpenItem) -> str:
    """Return how many deaths were counted before this attempt; of an item that is held for them, what to do."""
    if is_held_for_deaths(item.attempt):
        return "; --did-not-happen lets it run again, its count at 0, and a run with a larger --max-deaths does too"
    deaths = item.attempt.deaths
    return f"; {count_of(deaths, 'death')} before" if deaths else ""


def _tell_verdicts(found: Findings) -> None:
    """Write the commands that settle doubts: for each while there are few, else for one and for many."""
    if not found.in_doubt:
        return
    tell()
    tell("Find out whether the effect happened (by the item's id, or its idempotency key), then say one of:")
    accept_copy = bool(found.copied_from)
    few = len(found.in_doubt) <= COMMANDS_SHOWN_MAX
    for item in found.in_doubt if few else found.in_doubt[:1]:
        _tell_commands(found.log, item, accept_copy=accept_copy)
    if not few:
        log = shell_word(found.log)
        tell("and so on for the others; for many at once, keep those lines of doubts.txt that the evidence is about:")
        tell(f"  walrun inspect {log} --attempts > doubts.txt")
        flag = accepting("--did-not-happen", accept_copy=accept_copy)
        tell(f"  walrun resolve {log} - {flag} < doubts.txt")


def _tell_commands(log: str, item: OpenItem, *, accept_copy: bool) -> None:
    item_id = item.attempt.item_id
    commands = resolve_commands(log, item_id, item.start_seq, item.attempt.attempt, accept_copy=accept_copy)
    for line in commands.values():
        tell(f"  {line}")
    if not commands:
        tell(f"  {shown_id(item_id)}: its id is not for a command line; pipe it, as in")
        flag = accepting("--did-not-happen", accept_copy=accept_copy)
        tell(f"  walrun inspect {shell_word(log)} --attempts | walrun resolve {shell_word(log)} - {flag}")


def _tell_ids(items: Sequence[OpenItem], *, with_attempts: bool) -> None:
    left_out = 0
    for item in items:
        item_id = item.attempt.item_id
        if with_attempts:
            put_attempt(item.start_seq, item_id)
        elif not put_id(item_id):
            left_out += 1
    if left_out:
        say(f"{count_of(left_out, 'id')} left out, with control characters. Use --attempts, which prints all.")


# --- Single items ------------------------------------------------------------------------


def _inspect_items(view: LogView, log: str, names: Sequence[str], *, as_json: bool) -> None:
    found = {name: view.item(name) for name in names}
    opened = find_open(view, names)
    now_ns = time.time_ns()
    accept_copy = bool(view.copied_from)
    if as_json:
        put(
            {
                "items": [
                    item_as_json(name, item, opened.get(name), log, now_ns, accept_copy=accept_copy)
                    for name, item in found.items()
                ]
            }
        )
        return
    for number, (name, item) in enumerate(found.items()):
        if number:
            tell()
        _tell_item(log, name, item, opened.get(name), now_ns, accept_copy=accept_copy)


def _tell_deaths(item: Item) -> None:
    if item.deaths:
        tell(f"  deaths           {item.deaths} of its process were counted while it was in flight")


def _tell_item(
    log: str, name: str, item: Item | None, opened: OpenItem | None, now_ns: int, *, accept_copy: bool
) -> None:
    if item is None:
        tell(f"{shown_id(name)}: pending, the log has never heard of it")
        return
    in_doubt = opened is not None and opened.start_seq in {start_seq for start_seq, _ in opened.report.doubts}
    status = Status.IN_DOUBT if in_doubt else item.status
    tell(f"{shown_id(name)}: {status.word.replace('_', ' ')}")
    tell(f"  attempts         {item.attempts}, generation {item.generation}, the last one is event {item.start_seq}")
    _tell_deaths(item)
    if opened is not None:
        info = opened.report.info
        tell(f"  {_since(opened.attempt):<17}{moment(opened.attempt.started_ns, now_ns)}")
        tell(f"  session          {info.number}, {_fate(opened.report)}; pid {info.pid} on {visible(info.host)}")
        tell(f"  idempotency key  {opened.key}")
    if in_doubt and opened is not None:
        tell(f"  why              {visible(opened.reason)}")
    elif opened is not None and (word := becomes(opened)) is not None:
        tell(f"  then             {word}, once the next run has recorded what its session left")
    if item.error is not None:
        tell(f"  error            {visible(f'{item.error.type}: {item.error.message}')}")
    if item.omitted is not None:
        tell(f"  result           omitted: {visible(item.omitted)}")
    elif item.result is not None:
        tell(f"  result           {visible(json_text(item.result))}")
    if fits_a_command(name):
        tell(f"  history          walrun replay {shell_word(log)} --item={shell_word(name)}")
    if in_doubt and opened is not None:
        _tell_commands(log, opened, accept_copy=accept_copy)
