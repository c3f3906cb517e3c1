"""What resolve and retry share: a session to write in, and the items afterwards.

Imported by resolve and retry. Invariant: all of a command's items are changed in one transaction, or
none, and the change is durable before anything is printed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from wal_runner.cli.as_json import Json, item_of
from wal_runner.recovery.reader import LogView
from wal_runner.recovery.recover import open_writer


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wal_runner.recovery.writer import LogWriter


@contextmanager
def writing(log: str, *, accept_copy: bool) -> Iterator[tuple[LogWriter, LogView]]:
    """Open the log for a session of our own; sessions that died are recorded thereby."""
    writer, _created = open_writer(log, must_exist=True, accept_copy=accept_copy)
    try:
        yield writer, LogView(writer.log, writer.state, live=writer)
    finally:
        writer.close()


def items_as_json(view: LogView, names: Sequence[str]) -> list[Json]:
    """Give the items as they are now."""
    return [item_of(item) for name in names if (item := view.item(name)) is not None]
