"""``walrun verify``: whether a log is as it was written."""

from __future__ import annotations

import click

from wal_runner.cli.exits import Exit
from wal_runner.cli.options import json_option, log_argument
from wal_runner.cli.output import put, say, tell
from wal_runner.cli.words import copy_note, count_of, visible
from wal_runner.core.events import Status
from wal_runner.errors import RESTORE
from wal_runner.recovery import verifying
from wal_runner.recovery.reader import LogView


@click.command("verify")
@log_argument
@json_option
def command(log: str, *, as_json: bool) -> Exit:
    """Check every page, event and row of a log, and name each problem.

    Reads all of it and writes nothing. Ends with code 12 where there is a problem. The JSON is one line
    a problem, and a last line that sums up.

    \b
    Example:
      walrun verify emails.wal
    """  # noqa: D301 - click reads the backslash
    problems = 0
    for problem in verifying.verify(log):
        problems += 1
        if as_json:
            put({"type": "problem", "part": problem.part, "text": problem.text, "seq": problem.seq})
        else:
            tell(f"{problem.part}: {visible(problem.text, 2_000)}")
    if problems:
        if as_json:
            put({"type": "summary", "sound": False, "problems": problems})
        else:
            say(f"{count_of(problems, 'problem')}. Run nothing on this log. {RESTORE}")
        return Exit.CORRUPT
    with LogView.open(log) as view:
        state, base_seq = view.state(), view.log.base()[0]
        copied_from = view.copied_from
    events, items = state.seq - base_seq, sum(state.counts.values())
    if as_json:
        put(
            {
                "type": "summary",
                "sound": True,
                "problems": 0,
                "events": events,
                "items": items,
                "copied_from": copied_from,
            }
        )
    else:
        tell(f"sound: {count_of(events, 'event')}, {count_of(items, 'item')}")
        if copied_from:
            say(copy_note(state.counts[Status.STARTED]))
    return Exit.DONE
