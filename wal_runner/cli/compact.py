"""``walrun compact``: fold what can be folded, and give its disk space back."""

from __future__ import annotations

from dataclasses import asdict

import click

from wal_runner.cli.options import accept_copy_option, json_option, log_argument
from wal_runner.cli.output import put, tell
from wal_runner.cli.words import count_of, size, visible
from wal_runner.recovery import compact


@click.command("compact")
@log_argument
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@accept_copy_option
@json_option
def command(log: str, *, dry_run: bool, accept_copy: bool, as_json: bool) -> None:
    """Fold the history of a log away, and give its disk space back.

    Items that are done are never forgotten, and what is in doubt keeps its start, its session and its reason.
    The events that are dropped can be replayed no more. While another session runs, the file keeps its
    size, and its free pages are used again.

    \b
    Example:
      walrun compact emails.wal --dry-run
    """  # noqa: D301 - click reads the backslash
    did = compact.plan(log) if dry_run else compact.compact(log, accept_copy=accept_copy)
    if as_json:
        put({**asdict(did), "dry_run": dry_run})
        return
    would = "would be " if dry_run else ""
    tell(f"{visible(did.path)}: {count_of(did.events_dropped, 'event')} {would}dropped, up to event {did.base_seq:,}")
    tell(f"kept: {count_of(did.items, 'item')}, {did.in_doubt_kept:,} of them in doubt")
    if did.space_kept_because:
        tell(f"The file keeps its size of {size(did.bytes_before)}. {visible(did.space_kept_because)}")
    else:
        tell(f"size: {size(did.bytes_before)} -> {'about ' if dry_run else ''}{size(did.bytes_after)}")
