"""A log that is not where it was last used: refused once, and then on record.

Imported by recovery. Invariant: no session begins on a copy before somebody said that it may. The original may go on
at the same time, or have gone on since; neither can be seen from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wal_runner.core.events import ItemInterrupted
from wal_runner.errors import ON_RESTORING, LogCopied
from wal_runner.log import host
from wal_runner.recovery.evidence import own_started, proven


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wal_runner.core.state import State
    from wal_runner.log.protocol import Turn


def accepted_copy(path: Path, turn: Turn, state: State, dead: Sequence[int], *, accept_copy: bool) -> str:
    """Return what goes on record about the place of the log: "" if it is where it was last used.

    Args:
        path: names the log in the message.
        turn: the turn in which the session is opened.
        state: the state as of *turn*.
        dead: the sessions that are open on record, and dead as far as can be seen here.
        accept_copy: whether the caller said that the log may be run here.

    Raises:
        LogCopied: the log was last used elsewhere, and *accept_copy* is false.

    """
    place = turn.copied_from()
    if not place:
        return ""
    if accept_copy:
        return f"copy of {place}, accepted by {host.user_name()}"
    raise LogCopied(
        f"{path} is not where this log was last used: it was copied, restored from a backup, or moved to another disk. "
        f"{_loss(turn, state, dead)} It cannot be seen from here whether this copy is older than the original, which "
        "then did items that are done again here, or whether the original still runs. Look at both, then go on here "
        f"once with `--accept-copy` behind the same command, or Runner(path, accept_copy=True). {ON_RESTORING}"
    )


def _loss(turn: Turn, state: State, dead: Sequence[int]) -> str:
    """Say what opening the log here, and not at its place, loses: the slots of its sessions prove nothing here."""
    if not dead:
        return "No session was open in it, so nothing that it knows is lost by the move."
    doubts = 0
    for number in dead:
        remains = turn.remains(number)
        facts = [proven(start_seq, remains.get(start_seq)) for start_seq in own_started(state, number)]
        doubts += sum(fact is None or isinstance(fact, ItemInterrupted) for fact in facts)
    if not doubts:
        return "Its last session had nothing running, so nothing that it knows is lost by the move."
    return (
        f"{doubts:,} {'start' if doubts == 1 else 'starts'} would be in doubt here. Where it was last used, its "
        "sessions may still know what became of them: open it there first if you can."
    )
