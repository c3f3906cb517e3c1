"""Outcomes whose results need a newer log format: they raise the log to it, or are stored without the result.

Imported by the writer, by recovery and by the runner. Invariant: an outcome is never refused for its
format. Its effect has happened, and only the result may be lost to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from wal_runner.core.formats import needs_format_2, result_of, without_result
from wal_runner.errors import OlderVersionRunning


if TYPE_CHECKING:
    from collections.abc import Sequence

    from wal_runner.core.items import SessionInfo
    from wal_runner.core.state import State
    from wal_runner.log.protocol import Turn

AnyEvent = TypeVar("AnyEvent")

FORMAT_OF_TAGS: Final = 2
FORMAT_OF_LARGE_RESULTS: Final = 2
"""Results above 1 MiB."""


def fit(turn: Turn, state: State, events: Sequence[AnyEvent]) -> Sequence[AnyEvent]:
    """Return *events* as this turn may append them, in their order.

    If one of them carries a result that only format 2 holds, the log is raised to format 2 in this
    turn. While a process of an older version runs on the log, each such result is left out
    instead, with that as the reason.

    Args:
        turn: the turn that is going to append the events.
        state: the state of the log, caught up with *turn*.
        events: events or their arrays, of any type.

    """
    if not any(map(_is_tagged, events)):
        return events
    try:
        turn.require_format(FORMAT_OF_TAGS, unended_sessions(state))
    except OlderVersionRunning as older:
        why = (
            f"an older wal_runner is running on this log (session {older.session}, pid {older.pid} on {older.host}) "
            "and could not read this result, so it was not kept"
        )
        return [without_result(event, why) if _is_tagged(event) else event for event in events]
    return events


def unended_sessions(state: State) -> list[SessionInfo]:
    """Return the sessions that have not ended on record; their processes may be dead."""
    return [info for info in state.sessions.values() if not info.ending]


def _is_tagged(event: Any) -> bool:  # noqa: ANN401 - an event or its array
    result = result_of(event)
    return result is not None and needs_format_2(result)
