"""Whether a log may be raised to a newer format: not while a session of an older version runs on it.

Imported by the engines, inside the log's transaction. Invariant: reads only. A process of an older
version would report what it cannot read as damage, and stop in the middle of its run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.core.versions import reads_format
from wal_runner.errors import LogTooNew, OlderVersionRunning
from wal_runner.log.format import FORMAT_VERSION
from wal_runner.version import __version__


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from wal_runner.core.items import SessionInfo
    from wal_runner.log.protocol import Liveness


def check_readable(path: Path, version: int) -> None:
    """Raise `LogTooNew` if *version*, the format of the log at *path*, is newer than this wal_runner reads."""
    if version > FORMAT_VERSION:
        raise LogTooNew(
            f"{path} was written in format {version}; this wal_runner reads up to {FORMAT_VERSION}. Use the "
            "version that wrote it, or a newer one."
        )


def check_no_older_session(
    path: Path,
    version: int,
    unended: Iterable[SessionInfo],
    *,
    own: Collection[int],
    liveness: Callable[[Iterable[int]], Mapping[int, Liveness]],
) -> None:
    """Raise `OlderVersionRunning` if a process of one of the sessions *unended* runs and cannot read format *version*.

    Args:
        path: names the log in the message.
        version: the format that the log is about to be raised to.
        unended: the sessions that have not ended on record.
        own: numbers of the sessions of this handle: they are of this version, whatever the record says.
        liveness: as `Turn.liveness`. A session whose process died does not count, recorded or not,
            even if a command that it started runs on: that command reads no log.

    """
    older = {
        info.number: info
        for info in unended
        if info.number not in own and not reads_format(info.version, version, own=__version__)
    }
    if not older:
        return
    for number, found in liveness(older).items():
        if found.owner_alive:
            info = older[number]
            raise OlderVersionRunning(
                f"Session {number} (pid {info.pid} on {info.host}, wal_runner {info.version or 'of no known version'}) "
                f"is running on {path} and cannot read what this needs. Wait until it has ended, or update it, then "
                "run the same again.",
                session=number,
                host=info.host,
                pid=info.pid,
            )
