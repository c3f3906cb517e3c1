"""An event as a line for people.

Imported by replay. Invariant: one event, one line, in the order seq, time, session, what, whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, assert_never

from wal_runner.cli.as_json import EVENT_WORDS
from wal_runner.cli.output import json_text
from wal_runner.cli.words import count_of, duration, local_time, shown_id, visible
from wal_runner.core import events as ev
from wal_runner.core import places
from wal_runner.log.results import decode_result


if TYPE_CHECKING:
    from wal_runner.core.error_info import ErrorInfo
    from wal_runner.core.events import Event
    from wal_runner.recovery.reader import HistoryEntry

EventOfFormat2: TypeAlias = (
    ev.ItemAttested
    | places.EffectStarted
    | places.EffectSucceeded
    | places.EffectFailed
    | places.FunctionSeen
    | ev.SessionReached
    | ev.TextSeen
    | ev.PauseSet
    | ev.RunEnded
    | ev.ItemHeld
    | places.ItemForgotten
    | ev.ItemGivenUp
)

WORD_WIDTH = max(len(word) for word in EVENT_WORDS.values())


def event_line(entry: HistoryEntry, item_id: str | None) -> str:
    """Write an event; *item_id* is whom it speaks of, if that is known."""
    whom = "" if item_id is None else f"{shown_id(item_id)}  "
    word = EVENT_WORDS[type(entry.event)]
    line = (
        f"{entry.seq:>9,}  {local_time(entry.time_ns, 'milliseconds')}  session {entry.session:<3}  "
        f"{word:<{WORD_WIDTH}}  {whom}{_details(entry.event)}"
    )
    return line.rstrip()


def _details(event: Event) -> str:  # noqa: C901, PLR0911, PLR0912 - one case an event
    match event:
        case ev.SessionOpened():
            argv = visible(" ".join(event.argv))
            accepted = f" ({visible(event.accepted)})" if event.accepted else ""
            place = f"{visible(event.user)} on {visible(event.host)}"
            return f"pid {event.pid} of {place}: {argv} in {visible(event.cwd)}{accepted}"
        case ev.SessionClosed():
            return ""
        case ev.SessionLost():
            heard = f", last heard of {local_time(event.last_ns)}" if event.last_ns else ""
            return f"session {event.session} died{heard}"
        case ev.ItemStarted():
            before = "" if event.before is None else f", before that {event.before.word.replace('_', ' ')}"
            return f"attempt {event.attempt}{_generation(event.generation)}{before}{_counts(event)}"
        case ev.ItemSucceeded():
            return f"in {duration(event.elapsed_ns)}{_result(event.result, event.omitted)}"
        case ev.ItemFailed():
            return f"in {duration(event.elapsed_ns)}{_error(event.error)}{_after_failure(event)}"
        case ev.ItemInterrupted():
            return f"after {duration(event.elapsed_ns)}: {visible(event.reason)}{_error(event.error)}"
        case ev.ItemReleased():
            return "claimed, and never begun"
        case ev.ItemReconciled():
            decision = event.decision.word.replace("_", " ") + _deaths(event.deaths)
            return f"{decision}, {_said(event.by, event.note)}{_result(event.result, event.omitted)}"
        case ev.ItemReopened():
            before = event.before.word.replace("_", " ")
            return f"before that {before}{_generation(event.generation)}, {_said(event.by, event.note)}"
        case ev.LateOutcome():
            outcome = _result(event.result, event.omitted) if event.error is None else _error(event.error)
            return f"of event {event.start_seq:,}, in {duration(event.elapsed_ns)}{outcome}"
        case ev.CursorAdvanced():
            place = "ended" if event.cursor is None else f"is at {_brief(event.cursor)}"
            return f"{visible(event.source)} {place}"
        case ev.SnapshotTaken():
            return f"up to event {event.seq:,}"
        case ev.LogCompacted():
            return f"{count_of(event.base_seq, 'event')} folded and dropped"
        case ev.KeyRuleSet():
            return f"{visible(event.rule)}, {_said(event.by, event.note)}"
        case _:
            return _details_of_format_2(event)


def _details_of_format_2(event: EventOfFormat2) -> str:  # noqa: C901, PLR0911 - one case an event
    match event:
        case ev.ItemAttested():
            status = event.status.word.replace("_", " ")
            outcome = _result(event.result, event.omitted) if event.error is None else _error(event.error)
            when = f" at {local_time(event.happened_ns)}" if event.happened_ns else ""
            return f"{status}{when}, {_said(event.by, event.note)}{outcome}"
        case ev.ItemHeld() | ev.ItemGivenUp():
            before = event.before.word.replace("_", " ")
            error = _error(event.error) if isinstance(event, ev.ItemGivenUp) else ""
            deaths = _deaths(event.deaths) if isinstance(event, ev.ItemHeld) else ""
            return f"before that {before}{deaths}, {_said(event.by, event.note)}{error}"
        case places.ItemForgotten():
            return f"{event.item_hash.hex()}, {_said(event.by, event.note)}"
        case places.EffectStarted():
            return f"of event {event.start_seq:,}: {visible(event.name)}"
        case places.EffectSucceeded():
            took = duration(event.elapsed_ns)
            return f"of event {event.effect_seq:,}, in {took}{_result(event.result, event.omitted)}"
        case places.EffectFailed():
            return f"of event {event.effect_seq:,}, in {duration(event.elapsed_ns)}{_error(event.error)}"
        case places.FunctionSeen():
            return f"number {event.number}: {visible(event.name)} {visible(event.version)}"
        case ev.SessionReached():
            return f"session {event.session} runs items by {visible(event.engine)} at {visible(event.where)}"
        case ev.TextSeen():
            return f"number {event.number}, {count_of(len(event.text), 'character')}"
        case ev.PauseSet():
            return f"{'paused' if event.paused else 'goes on'}, {_said(event.by, event.note)}"
        case ev.RunEnded():
            ended = (
                "its source ended" if event.source_ended else f"before its source did ({event.because or 'unknown'})"
            )
            seen = f"{count_of(event.seen, 'item')} seen, {event.not_started:,} not started"
            return f"{visible(event.source)} of session {event.session}: {visible(ended)}, {seen}"
        case _:
            assert_never(event)


def _counts(event: ev.ItemStarted) -> str:
    failures = f", after {count_of(event.failures, 'failure')}" if event.failures else ""
    return failures + _deaths(event.deaths)


def _deaths(count: int) -> str:
    return f", after {count_of(count, 'death')} of its process" if count else ""


def _after_failure(event: ev.ItemFailed) -> str:
    count = f", {count_of(event.failures, 'failure')} so far" if event.failures else ""
    wait = f", not before {local_time(event.not_before_ns)}" if event.not_before_ns else ""
    return f"{count}{wait}{', given up' if event.final else ''}"


def _generation(generation: int) -> str:
    return f", generation {generation}" if generation else ""


def _said(by: str, note: str) -> str:
    return f"by {visible(by)}: {visible(note)}" if note else f"by {visible(by)}"


def _result(packed: bytes | None, omitted: str | None) -> str:
    if omitted is not None:
        return f", result omitted: {visible(omitted)}"
    return "" if packed is None else f", result {_brief(packed)}"


def _error(error: ErrorInfo | None) -> str:
    return "" if error is None else f", {visible(f'{error.type}: {error.message}')}"


def _brief(packed: bytes) -> str:
    return visible(json_text(decode_result(packed)))
