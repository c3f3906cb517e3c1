"""``walrun replay``: the history of a log, or the state at any point of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wal_runner.cli.as_json import Json, event_of, item_of, state_of
from wal_runner.cli.event_text import event_line
from wal_runner.cli.naming import Names
from wal_runner.cli.options import json_option, log_argument, point_in_time
from wal_runner.cli.output import put, say, tell
from wal_runner.cli.words import count_of, moment, shown_id
from wal_runner.core.events import Status
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.replay import base_state, entries, item_at, numbers_at


if TYPE_CHECKING:
    from wal_runner.core.state import State
    from wal_runner.recovery.reader import Item
    from wal_runner.recovery.replay import Until


@click.command("replay")
@log_argument
@click.option("--item", "item_id", metavar="ID", help="Only the events of this item.")
@click.option(
    "--until",
    metavar="SEQ|TIME",
    callback=point_in_time,
    help="Up to this event, or to the end of the day, minute or second that TIME names (local time without a zone).",
)
@click.option("--state", "as_state", is_flag=True, help="Not the events but what they add up to.")
@json_option
def command(log: str, *, item_id: str | None, until: Until, as_state: bool, as_json: bool) -> None:
    """Tell the history of a log, or of one item, up to any point.

    Reads only, a page at a time. After a compaction the history begins at its base: the first line
    of the JSON is then of type "base" and holds the state that the events behind it add to.

    \b
    Example:
      walrun replay emails.wal --item user-17
    """  # noqa: D301 - click reads the backslash
    with LogView.open(log) as view:
        name = None if item_id is None else view.id_of(item_id)
        if as_state and name is not None:
            _put_item(name, item_at(view, name, until), as_json=as_json)
        elif as_state:
            _put_state(numbers_at(view.log, until), as_json=as_json)
        else:
            _put_events(view, name, until, as_json=as_json)


def _put_events(view: LogView, wanted: str | None, until: Until, *, as_json: bool) -> None:
    base = base_state(view.log, until)
    names = Names(base, wanted)
    if base.seq and as_json:
        put({"type": "base", **state_of(base)})
    elif base.seq:
        tell(f"The events up to {base.seq:,} were compacted. Before the first line: {_numbers(base)}.")
    found = False
    for entry in entries(view.log, until, after=base.seq):
        item_id = names.of(entry)
        if wanted is not None and item_id != wanted:
            continue
        found = True
        if as_json:
            put(event_of(entry, item_id))
        else:
            tell(event_line(entry, item_id))
    if wanted is not None and not found:
        say(f"The log holds no event of {shown_id(wanted)}{' up to then' if until is not None else ''}.")


def _put_state(state: State, *, as_json: bool) -> None:
    if as_json:
        put({"type": "state", **state_of(state)})
        return
    last_ns = max((max(info.last_ns, info.ended_ns) for info in state.sessions.values()), default=0)
    tell(f"after event {state.seq:,}{f', {moment(last_ns)}' if last_ns else ''}: {_numbers(state)}")
    for start_seq, attempt in sorted(state.attempts()):
        tell(
            f"  {shown_id(attempt.item_id)}: {attempt.status.word.replace('_', ' ')}, attempt {attempt.attempt} by "
            f"session {attempt.session}, event {start_seq:,}, started {moment(attempt.started_ns)}"
        )


def _put_item(name: str, item: Item | None, *, as_json: bool) -> None:
    shown: Json = {"item_id": name, "status": Status.PENDING.word, "attempts": 0} if item is None else item_of(item)
    if as_json:
        put({"type": "item", **shown})
    elif item is None:
        tell(f"{shown_id(name)}: pending, not heard of by then")
    else:
        tell(f"{shown_id(name)}: {item.status.word.replace('_', ' ')} after {count_of(item.attempts, 'attempt')}")


def _numbers(state: State) -> str:
    parts = [f"{count:,} {status.word.replace('_', ' ')}" for status, count in state.counts.items() if count]
    return ", ".join(parts) or "nothing started"
