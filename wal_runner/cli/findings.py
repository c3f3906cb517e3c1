"""What `walrun inspect` finds in a log, and its JSON.

Imported by inspect. Invariant: a session's death that no run has recorded yet is shown as what the next
run will record of it, marked as such; nothing is written.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wal_runner.cli.as_json import EVENT_WORDS, Json, attempt_of, iso, item_of, session_of
from wal_runner.cli.next_steps import Step, next_steps, resolve_commands
from wal_runner.core.events import ItemFailed, ItemInterrupted, ItemSucceeded, Status
from wal_runner.core.identity import idempotency_key
from wal_runner.core.items import reason_of_death
from wal_runner.log import host


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wal_runner.core.events import Event
    from wal_runner.core.items import OpenAttempt, SessionInfo
    from wal_runner.recovery.reader import Item, LogView, SessionReport


@dataclass(frozen=True, slots=True)
class OpenItem:
    """An item that is running or in doubt, by its open attempt. *recorded*: the log itself says that it is in doubt."""

    start_seq: int
    attempt: OpenAttempt
    report: SessionReport
    key: str

    @property
    def recorded(self) -> bool:
        """Say whether the doubt is on record."""
        return self.attempt.status is Status.IN_DOUBT

    @property
    def reason(self) -> str:
        """Say why it is in doubt."""
        proven = self.report.proven.get(self.start_seq)
        if isinstance(proven, ItemInterrupted):
            return proven.reason
        return self.attempt.reason or reason_of_death(self.attempt.session)


@dataclass(frozen=True, slots=True)
class Findings:
    """A log as an engineer needs it after a crash."""

    log: str
    path: str
    log_id: str
    copied_from: str
    seq: int
    now_ns: int
    counts: Mapping[Status, int]
    reports: Sequence[SessionReport]
    in_doubt: Sequence[OpenItem]
    running: Sequence[OpenItem]
    steps: Sequence[Step]


def find(view: LogView, log: str) -> Findings:
    """Look at everything; *log* is the path as the commands to paste shall have it."""
    reports = view.sessions()
    state = view.state()
    in_doubt, running = [], []
    for report in reports:
        doubts = report.doubts
        held = {start_seq for start_seq, _ in doubts}
        in_doubt += [open_item(view, report, *pair) for pair in doubts]
        if report.alive:
            running += [open_item(view, report, *pair) for pair in report.open if pair[0] not in held]
    return Findings(
        log=log,
        path=view.path,
        log_id=view.log_id,
        copied_from=view.copied_from,
        seq=state.seq,
        now_ns=time.time_ns(),
        counts=dict(state.counts),
        reports=reports,
        in_doubt=in_doubt,
        running=running,
        steps=next_steps(log, state.counts, reports, state.sessions.values(), accept_copy=bool(view.copied_from)),
    )


def open_item(view: LogView, report: SessionReport, start_seq: int, attempt: OpenAttempt) -> OpenItem:
    """Put an open attempt together with what is known of its session."""
    return OpenItem(start_seq, attempt, report, idempotency_key(view.log_id, attempt.item_id, attempt.generation))


def is_this_host(info: SessionInfo) -> bool:
    """Say whether a session ran on this host."""
    return info.host == host.host_name()


def is_this_boot(info: SessionInfo) -> bool:
    """Say whether this machine has not been restarted since the session began."""
    return bool(info.boot) and info.boot == host.boot_id()


def becomes(item: OpenItem) -> str | None:
    """Give the status that the next run will record of a dead session's item; None where nothing is due."""
    if item.recorded or not item.report.died:
        return None
    proven = item.report.proven.get(item.start_seq)
    return Status.IN_DOUBT.word if proven is None else word_of_proof(proven)


def word_of_proof(event: Event) -> str:
    """Name the status that a dead session's slot proves."""
    match event:
        case ItemSucceeded():
            return Status.SUCCEEDED.word
        case ItemFailed():
            return Status.FAILED.word
        case ItemInterrupted():
            return Status.IN_DOUBT.word
        case _:
            return Status.PENDING.word


# --- JSON ------------------------------------------------------------------------------


def findings_as_json(found: Findings) -> Json:
    """Give everything, however much it is."""
    return {
        "path": found.path,
        "log_id": found.log_id,
        "copied_from": found.copied_from,
        "seq": found.seq,
        "time": iso(found.now_ns),
        "host": host.host_name(),
        "boot": host.boot_id(),
        "counts": {status.word: count for status, count in found.counts.items()},
        "sessions": [_session_as_json(report) for report in found.reports],
        "in_doubt": [
            doubt_as_json(item, found.log, found.now_ns, accept_copy=bool(found.copied_from)) for item in found.in_doubt
        ],
        "running": [
            {**_open_as_json(item, found.now_ns), "effect_running": item.report.effect_running}
            for item in found.running
        ],
        "next": [{"why": step.why, "command": step.command} for step in found.steps],
    }


def doubt_as_json(item: OpenItem, log: str, now_ns: int, *, accept_copy: bool) -> Json:
    """Return a doubt, with the commands that settle it."""
    return {
        **_open_as_json(item, now_ns),
        "status": Status.IN_DOUBT.word,
        "reason": item.reason,
        "recorded": item.recorded,
        "next": resolve_commands(
            log, item.attempt.item_id, item.start_seq, item.attempt.attempt, accept_copy=accept_copy
        ),
    }


def item_as_json(
    name: str, item: Item | None, opened: OpenItem | None, log: str, now_ns: int, *, accept_copy: bool
) -> Json:
    """Return one item that was asked for; "known" is false if it is not in the log."""
    if item is None:
        return {"item_id": name, "status": Status.PENDING.word, "attempts": 0, "known": False}
    shown = {**item_of(item), "known": True}
    if opened is None:
        return shown
    in_doubt = opened.start_seq in {start_seq for start_seq, _ in opened.report.doubts}
    more = doubt_as_json(opened, log, now_ns, accept_copy=accept_copy) if in_doubt else _open_as_json(opened, now_ns)
    return {
        **shown,
        **more,
        "died": opened.report.died,
        "effect_running": opened.report.effect_running,
        "becomes": becomes(opened),
    }


def _open_as_json(item: OpenItem, now_ns: int) -> Json:
    info = item.report.info
    return {
        **attempt_of(item.start_seq, item.attempt),
        "age_s": round((now_ns - item.attempt.started_ns) / 1e9, 3),
        "idempotency_key": item.key,
        "host": info.host,
        "pid": info.pid,
    }


def _session_as_json(report: SessionReport) -> Json:
    return {
        **session_of(report.info),
        "this_host": is_this_host(report.info),
        "this_boot": is_this_boot(report.info),
        "alive": report.alive,
        "effect_running": report.effect_running,
        "died": report.died,
        "recorded": report.recorded,
        "open": len(report.open),
        "in_doubt": len(report.doubts),
        "proven": [
            {
                "start_seq": start_seq,
                "item_id": attempt.item_id,
                "status": word_of_proof(report.proven[start_seq]),
                "by": EVENT_WORDS[type(report.proven[start_seq])],
            }
            for start_seq, attempt in report.open
            if start_seq in report.proven
        ],
    }


def find_open(view: LogView, names: Iterable[str]) -> dict[str, OpenItem]:
    """Give those of *names* that have an open attempt."""
    wanted = set(names)
    return {
        attempt.item_id: open_item(view, report, start_seq, attempt)
        for report in view.sessions()
        for start_seq, attempt in report.open
        if attempt.item_id in wanted
    }
