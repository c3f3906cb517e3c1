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
from wal_runner.core.events import TYPE_NUMBERS
from wal_runner.log.results import decode_plain, decode_result


if TYPE_CHECKING:
    from wal_runner.core.error_info import ErrorInfo
    from wal_runner.core.items import OpenAttempt, Pause, SessionInfo, SourceEnd
    from wal_runner.core.places import Effects
    from wal_runner.core.state import State
    from wal_runner.recovery.reader import HistoryEntry, Item

Json = dict[str, Any]

EVENT_WORDS: Final[dict[type, str]] = {
    kind: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in TYPE_NUMBERS
}
"""``ItemStarted`` is spelled ``item_started``, and so on."""


@lru_cache(maxsize=16)
def iso(time_ns: int) -> str | None:
    """Write a time as UTC to the microsecond; None for a time that is not known, or that no calendar has."""
    if not time_ns:
        return None
    seconds, rest = divmod(time_ns, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // 1000:06d}Z"


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
        "paused": None if state.paused is None else _pause(state.paused),
        "source_ends": {source: _source_end(end) for source, end in sorted(state.source_ends.items())},
    }


def _pause(pause: Pause) -> Json:
    return {"by": pause.by, "note": pause.note, "since": iso(pause.since_ns)}


def _source_end(end: SourceEnd) -> Json:
    return {
        "session": end.session,
        "because": end.because or None,
        "seen": end.seen,
        "not_started": end.not_started,
        "ended": iso(end.ended_ns),
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
        **({"accepted": info.accepted} if info.accepted else {}),
        **({"reached": [{"engine": engine, "where": where} for engine, where in info.reached]} if info.reached else {}),
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
        **_counted(attempt.failures, attempt.deaths),
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
        **_counted(item.failures, item.deaths),
        **({"not_before": iso(item.not_before_ns)} if item.not_before_ns else {}),
    }


def _counted(failures: int, deaths: int) -> Json:
    """Return the counts that are not 0: most logs never count, and their lines stay as they were."""
    return {word: count for word, count in (("failures", failures), ("deaths", deaths)) if count}


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
    for (word, write, omit), value in zip(_SHAPES[kind], entry.event, strict=True):
        if value != omit:
            shown[word] = value if write is None else write(value)
    return shown


def _word(value: Any) -> str | None:  # noqa: ANN401 - a Status or a Decision
    return None if value is None else value.word


def _error(value: ErrorInfo | None) -> Json | None:
    return None if value is None else value._asdict()


def _effects(value: Effects | None) -> list[Json] | None:
    if value is None:
        return None
    return [
        {"name": name, "seq": seq, "done": done, "result": decode_result(result), "omitted": omitted}
        for name, seq, done, result, omitted in value
    ]


def _cursor(packed: bytes | None) -> Any:  # noqa: ANN401 - whatever fetch_page returned
    return None if packed is None else decode_plain(packed)


_FIELDS: Final[dict[tuple[type | None, str], tuple[str, Any]]] = {
    (None, "before"): ("before", _word),
    (None, "status"): ("status", _word),
    (None, "effects"): ("effects", _effects),
    (None, "payload"): ("payload", decode_result),
    (None, "item_hash"): ("item_hash", bytes.hex),
    (None, "not_before_ns"): ("not_before", iso),
    (None, "happened_ns"): ("happened", iso),
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
    (ev.SessionReached, "session"): ("reaching_session", None),
    (ev.RunEnded, "session"): ("run_session", None),
    (ev.ItemStarted, "digest"): ("digest", bytes.hex),
    (ev.SnapshotTaken, "seq"): ("snapshot_seq", None),
}

_SINCE_FORMAT_2: Final = {
    (ev.SessionOpened, "accepted"),
    *((ev.ItemStarted, name) for name in ("failures", "deaths", "effects", "digest", "function", "payload")),
    *((ev.ItemFailed, name) for name in ("failures", "not_before_ns", "final")),
    (ev.ItemReconciled, "deaths"),
    (ev.ItemReopened, "effects"),
}
"""Fields that format 1 did not have. They are shown only if they are set, so that its lines stay as they were."""

_ALWAYS: Final = object()


def _shape_of(kind: type, name: str) -> tuple[str, Any, object]:
    word, write = _FIELDS.get((kind, name)) or _FIELDS.get((None, name)) or (name, None)
    return word, write, cast("Any", kind)._field_defaults[name] if (kind, name) in _SINCE_FORMAT_2 else _ALWAYS


_SHAPES: Final[dict[type, list[tuple[str, Any, object]]]] = {
    kind: [_shape_of(kind, name) for name in cast("Any", kind)._fields] for kind in TYPE_NUMBERS
}
"""For each event its fields in order: name, how it is written (None: as it is), and the value that is left out."""
