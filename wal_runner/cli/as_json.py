"""The shapes of the JSON that commands print. Their names are a contract; see the reference.

Imported by the commands. Invariant: what `status_of` gives is the fold of the log and of nothing else, so
folding ``walrun replay --json`` gives the same. What is not in the log stands under ``now``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from wal_runner.core import events as ev
from wal_runner.core.events import TYPE_NUMBERS, ErrorInfo
from wal_runner.log.results import decode_plain, decode_result


if TYPE_CHECKING:
    from wal_runner.core.items import OpenAttempt, SessionInfo
    from wal_runner.core.state import State
    from wal_runner.recovery.reader import HistoryEntry, Item

Json = dict[str, Any]

EVENT_WORDS: Final[dict[type, str]] = {
    kind: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in TYPE_NUMBERS
}
"""``ItemStarted`` is spelled ``item_started``, and so on."""


@lru_cache(maxsize=16)
def iso(time_ns: int) -> str | None:
    """Write a time as UTC to the microsecond; None for a time that is not known."""
    if not time_ns:
        return None
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // 1000:06d}Z"


# --- The state -------------------------------------------------------------------------


def status_of(state: State) -> Json:
    """Give the numbers of a log, which do not grow with it: what ``walrun status --json`` says of the fold."""
    return {
        "seq": state.seq,
        "key_rule": state.key_rule,
        "items": sum(state.counts.values()),
        "counts": {status.word: count for status, count in state.counts.items()},
        "results_omitted": state.results_omitted,
        "conflicts": state.conflicts,
        "timed": state.timed,
        "elapsed_ns": state.elapsed_ns,
        "cursors": {source: decode_plain(cursor) for source, cursor in sorted(state.cursors.items())},
        "last_session": state.last_session,
        "sessions": [session_of(info) for _, info in sorted(state.sessions.items()) if not info.ending],
        "snapshot_seq": state.snapshot_seq,
        "base_seq": state.base_seq,
    }


def state_of(state: State) -> Json:
    """Give `status_of`, with the open attempts and the sessions that ended and are remembered."""
    return {
        **status_of(state),
        "open": [attempt_of(start_seq, attempt) for start_seq, attempt in sorted(state.attempts())],
        "ended_sessions": [session_of(info) for _, info in sorted(state.sessions.items()) if info.ending],
    }


def session_of(info: SessionInfo) -> Json:
    """Give a session; *last* is the time of its last record, *ending* "closed", "lost" or None."""
    return {
        "session": info.number,
        "host": info.host,
        "pid": info.pid,
        "boot": info.boot,
        "argv": list(info.argv),
        "cwd": info.cwd,
        "user": info.user,
        "version": info.version,
        "opened": iso(info.opened_ns),
        "last": iso(info.last_ns),
        "ended": iso(info.ended_ns),
        "ending": info.ending or None,
    }


def attempt_of(start_seq: int, attempt: OpenAttempt) -> Json:
    """Give an item whose attempt is open: started, or in doubt."""
    return {
        "item_id": attempt.item_id,
        "status": attempt.status.word,
        "attempts": attempt.attempt,
        "generation": attempt.generation,
        "start_seq": start_seq,
        "session": attempt.session,
        "started": iso(attempt.started_ns),
        "doubted": iso(attempt.doubted_ns),
        "reason": attempt.reason or None,
    }


def item_of(item: Item) -> Json:
    """Give an item."""
    return {
        "item_id": item.item_id,
        "status": item.status.word,
        "attempts": item.attempts,
        "generation": item.generation,
        "start_seq": item.start_seq,
        "result": item.result,
        "omitted": item.omitted,
        "error": None if item.error is None else item.error._asdict(),
    }


# --- Events ----------------------------------------------------------------------------


def event_of(entry: HistoryEntry, item_id: str | None) -> Json:
    """Give an event; *item_id* is whom it speaks of, where it only names the start."""
    kind = type(entry.event)
    shown: Json = {
        "seq": entry.seq,
        "time": iso(entry.time_ns),
        "session": entry.session,
        "type": EVENT_WORDS[kind],
    }
    if item_id is not None:
        shown["item_id"] = item_id
    for (word, write), value in zip(_SHAPES[kind], entry.event, strict=True):
        shown[word] = value if write is None else write(value)
    return shown


def _word(value: Any) -> str | None:  # noqa: ANN401 - a Status or a Decision
    return None if value is None else value.word


def _error(value: ErrorInfo | None) -> Json | None:
    return None if value is None else value._asdict()


def _cursor(packed: bytes | None) -> Any:  # noqa: ANN401 - whatever fetch_page returned
    return None if packed is None else decode_plain(packed)


_FIELDS: Final[dict[tuple[type | None, str], tuple[str, Any]]] = {
    (None, "before"): ("before", _word),
    (None, "decision"): ("decision", _word),
    (None, "error"): ("error", _error),
    (None, "result"): ("result", decode_result),
    (None, "cursor"): ("cursor", _cursor),
    (None, "base_hash"): ("base_hash", bytes.hex),
    # 64 bits are more than a number of JSON holds everywhere.
    (None, "digest"): ("digest", "{:016x}".format),
    # These have a name that the record's header took.
    (ev.SessionClosed, "session"): ("closed_session", None),
    (ev.SessionLost, "session"): ("lost_session", None),
    (ev.SessionLost, "last_ns"): ("last", iso),
    (ev.SnapshotTaken, "seq"): ("snapshot_seq", None),
}

# For each event its fields in order: what they are called, and how they are written (None: as they are).
_SHAPES: Final[dict[type, list[tuple[str, Any]]]] = {
    kind: [_FIELDS.get((kind, name)) or _FIELDS.get((None, name)) or (name, None) for name in cast("Any", kind)._fields]
    for kind in TYPE_NUMBERS
}
