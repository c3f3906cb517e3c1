"""``walrun retry``: let items run once more, on record."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from wal_runner.cli.options import accept_copy_option, by_option, ids_of, json_option, log_argument, note_option
from wal_runner.cli.output import put, tell
from wal_runner.cli.settling import items_as_json, writing
from wal_runner.cli.words import count_of
from wal_runner.core.events import Status
from wal_runner.errors import VerdictRefused
from wal_runner.log import host
from wal_runner.recovery import verdicts


if TYPE_CHECKING:
    from wal_runner.recovery.reader import LogView
    from wal_runner.recovery.writer import LogWriter

TRIES_MAX: Final = 3
"""Another session may start a failed item between the listing and the reopening; then we list again."""


@click.command("retry")
@log_argument
@click.argument("ids", metavar="[ID...|-]", nargs=-1)
@click.option("--all-failed", is_flag=True, help="Reopen every item that has failed.")
@click.option("--succeeded", is_flag=True, help="Allow items that have succeeded; their effect is repeated.")
@note_option
@by_option
@accept_copy_option
@json_option
def command(
    log: str,
    ids: tuple[str, ...],
    *,
    all_failed: bool,
    succeeded: bool,
    note: str,
    by: str | None,
    accept_copy: bool,
    as_json: bool,
) -> None:
    """Reopen failed or abandoned items for the next run.

    They get a new idempotency key. The next run tries failed items again without this, under the key that
    they had; retry is for those whose key must change, and for items that were abandoned. All of the
    items are reopened, or none, durably. With - the ids are read from stdin, one a line.

    \b
    Example:
      walrun retry emails.wal --all-failed --note "the mail server is back"
    """  # noqa: D301 - click reads the backslash
    if bool(ids) == all_failed:
        raise click.UsageError("Name the items, give - to read their ids from stdin, or say --all-failed.")
    names = ids_of(ids, sys.stdin.buffer)
    with writing(log, accept_copy=accept_copy) as (writer, view):
        by = by or host.user_name()
        if all_failed:
            names = _reopen_failed(writer, view, by=by, note=note)
        else:
            verdicts.reopen(writer, names, by=by, note=note, succeeded=succeeded)
        if as_json:
            put({"reopened": len(names), "items": items_as_json(view, names)})
    if not as_json:
        tell(f"{count_of(len(names), 'item')} reopened, each with a new idempotency key. The next run runs them.")


def _reopen_failed(writer: LogWriter, view: LogView, *, by: str, note: str) -> list[str]:
    tries = 0
    while True:
        tries += 1
        names = [item.item_id for item in view.items(Status.FAILED)]
        try:
            verdicts.reopen(writer, names, by=by, note=note)
        except VerdictRefused:
            if tries == TRIES_MAX:
                raise
        else:
            return names
