"""One example of each structure on disk, written by the package: what on-disk-format.md shows."""

from __future__ import annotations

import os
import tempfile
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgpack

from wal_runner.core import events as ev
from wal_runner.core import places
from wal_runner.core.arrays import to_array
from wal_runner.core.error_info import ErrorInfo
from wal_runner.core.events import Decision, Status
from wal_runner.core.items import ItemState, OpenAttempt, attempt_row, item_row
from wal_runner.core.state import fold
from wal_runner.log import format as disk
from wal_runner.log import rows, stored_state
from wal_runner.log.codec import encode_records, first_chain
from wal_runner.log.folder import Identity, _identity_text
from wal_runner.log.head import HEAD_BYTES, Witness, boot_mark, write_head
from wal_runner.log.results import encode_result
from wal_runner.log.scratch import _FIRST_SLOT_AT, _SLOT, SCRATCH_BYTES, SCRATCH_SLOT_BYTES, Scratch


if TYPE_CHECKING:
    from wal_runner.core.events import Event, Record

LOG_ID = "0" * 32
T = 1_764_633_600_000_000_000
SEQ = 9
START = 7
BOOT = "b0071d"
LONG_ID = "x" * 256
ERROR = ErrorInfo("OSError", "no route", "")
OPENED = ev.SessionOpened(1, "h", 42, BOOT, ("walrun",), "/", "u", "0.1.0")

EVENTS: dict[str, Event] = {
    "SessionOpened": OPENED,
    "SessionClosed": ev.SessionClosed(1),
    "SessionLost": ev.SessionLost(1, T),
    "ItemStarted": ev.ItemStarted("a"),
    "ItemStarted-again": ev.ItemStarted("a", 2, 0, Status.FAILED),
    "ItemSucceeded": ev.ItemSucceeded(START, 300),
    "ItemSucceeded-with-result": ev.ItemSucceeded(START, 300, b"\xa2ok"),
    "ItemFailed": ev.ItemFailed(START, 300, ERROR),
    "ItemInterrupted": ev.ItemInterrupted(START, 300, "Ctrl-C"),
    "ItemReleased": ev.ItemReleased(START),
    "ItemReconciled": ev.ItemReconciled(START, Decision.HAPPENED, "ann", "seen"),
    "ItemReopened": ev.ItemReopened("a", START, Status.SUCCEEDED, 1, 1, "ann", "again"),
    "LateOutcome": ev.LateOutcome("a", START, 300),
    "CursorAdvanced": ev.CursorAdvanced("pages", b"\xa2p2"),
    "SnapshotTaken": ev.SnapshotTaken(8, 3_735_928_559),
    "LogCompacted": ev.LogCompacted(8, bytes(range(16))),
    "KeyRuleSet": ev.KeyRuleSet("field id", "ann", ""),
}
"""Each as event 9 of its log; the attempt that it speaks of began with event 7."""

EVENTS_OF_FORMAT_2: dict[str, Event] = {
    "SessionOpened-accepted": OPENED._replace(accepted="taken over"),
    "ItemStarted-counted": ev.ItemStarted("a", 3, 0, Status.FAILED, failures=2, deaths=1),
    "ItemStarted-places": ev.ItemStarted("a", 1, 0, None, 0, 0, (("pay", 8, True, None, None),), b"d", 1, b"\xa1p"),
    "ItemFailed-not-before": ev.ItemFailed(START, 300, ERROR, 1, T),
    "ItemFailed-final": ev.ItemFailed(START, 300, ERROR, 2, final=True),
    "ItemFailed-text": ev.ItemFailed(START, 300, ERROR._replace(traceback=1)),
    "ItemReconciled-deaths": ev.ItemReconciled(START, Decision.DID_NOT_HAPPEN, "policy", "", deaths=1),
    "ItemReopened-effects": ev.ItemReopened("a", START, Status.FAILED, 1, 1, "ann", "", ()),
    "ItemAttested": ev.ItemAttested("a", Status.SUCCEEDED, "ann", "joblog"),
    "EffectStarted": places.EffectStarted(START, "pay"),
    "EffectSucceeded": places.EffectSucceeded(SEQ - 1, 300),
    "EffectFailed": places.EffectFailed(SEQ - 1, 300),
    "FunctionSeen": places.FunctionSeen(1, "mail.send", "4f2a"),
    "SessionReached": ev.SessionReached(1, "dask", "tcp://h"),
    "TextSeen": ev.TextSeen(1, "Traceback"),
    "PauseSet": ev.PauseSet(paused=True, by="ann", note=""),
    "RunEnded": ev.RunEnded(1, "s", source_ended=False, because="halt", seen=63, not_started=2),
    "ItemHeld": ev.ItemHeld("a", START, Status.SUCCEEDED, 1, 0, "ann", "no"),
    "ItemForgotten": places.ItemForgotten(bytes(range(16)), "ann", ""),
    "ItemGivenUp": ev.ItemGivenUp("a", START, Status.FAILED, 1, 0, "ann", "no"),
}

RESULTS: dict[str, object] = {
    "tag-datetime": datetime(2026, 11, 28, 3, 5, 59, 7, timezone(timedelta(hours=1))),
    "tag-date": date(2026, 11, 28),
    "tag-time": time(3, 5, 59, 7),
    "tag-timedelta": timedelta(days=-1, seconds=2, microseconds=3),
    "tag-decimal": Decimal("1.50"),
    "tag-uuid": UUID(int=1),
    "tag-set": {1, 2},
    "tag-frozenset": frozenset({1, 2}),
    "tag-tuple": (1, "a"),
    "tag-path": Path("a/b"),
    "tag-int": 2**64,
    "tag-complex": 1 + 2j,
    "tag-named": HTTPStatus.OK,
}

HISTORY: list[Event] = [OPENED, ev.ItemStarted("a"), ev.ItemStarted("b"), ev.ItemSucceeded(2, 300)]


def history() -> list[tuple[Record, bytes]]:
    """Return a record in which session 1 opens, starts two items and finishes one."""
    return encode_records(HISTORY, first_seq=1, session=1, time_ns=T, previous=first_chain(LOG_ID))


def packed(array: object) -> bytes:
    """Return *array* as msgpack."""
    return bytes(msgpack.packb(array))


def _record() -> bytes:
    [(_, value)] = encode_records(
        [ev.ItemStarted("a"), ev.ItemSucceeded(1, 300)],
        first_seq=1,
        session=1,
        time_ns=T,
        previous=first_chain(LOG_ID),
    )
    return value


def _row(item_id: str, item: ItemState) -> bytes:
    key = rows.row_key(item_id)
    return rows.encode_row(key, item_id, item_row(item))


def _meta(key: bytes, body: object) -> bytes:
    return rows.pack(key, body)


def _head() -> bytes:
    with tempfile.TemporaryFile() as file:
        write_head(file.fileno(), Witness(2, bytes(range(16)), 77, 65_536, T, boot_mark("")))
        return os.pread(file.fileno(), HEAD_BYTES, 0)


def _format_2() -> dict[str, bytes]:
    key = START.to_bytes(8, "big")
    events = [*HISTORY, *(EVENTS_OF_FORMAT_2[name] for name in ("TextSeen", "PauseSet", "RunEnded"))]
    state = fold(record for record, _ in encode_records(events, first_seq=1, session=1, time_ns=T, previous=b""))
    attempt = OpenAttempt("a", 1, T, failures=2, deaths=1)
    failed = ItemState(Status.FAILED, START, 1, 0, SEQ, None, None, ERROR, failures=1, not_before_ns=T)
    return {
        **{name: packed(to_array(SEQ, event)) for name, event in EVENTS_OF_FORMAT_2.items()},
        "row-counted": _row("a", failed),
        "open-attempt-counted": stored_state.encode_open(key, attempt_row(attempt)),
        "meta-format-2": _meta(disk.META_FORMAT, 2),
        "meta-snapshot-2": stored_state.encode_snapshot(disk.META_SNAPSHOT, state),
        **{name: encode_result(value)[0] or b"" for name, value in RESULTS.items()},
    }


STATE = fold(record for record, _ in history())

IDENTITY = _identity_text(Identity(1, LOG_ID, 4_096)).decode()

EXAMPLES: dict[str, bytes] = {
    "record": _record(),
    **{name: packed(to_array(SEQ, event)) for name, event in EVENTS.items()},
    "row": _row("a", ItemState(Status.SUCCEEDED, START)),
    "row-failed": _row("a", ItemState(Status.FAILED, START, 2, 0, SEQ, None, None, ERROR)),
    "row-long-id": _row(LONG_ID, ItemState(Status.SUCCEEDED, START)),
    "open-attempt": stored_state.encode_open(START.to_bytes(8, "big"), attempt_row(OpenAttempt("a", 1, T))),
    "open-attempt-in-doubt": stored_state.encode_open(
        START.to_bytes(8, "big"), attempt_row(OpenAttempt("a", 1, T, 1, 0, Status.IN_DOUBT, T, "Ctrl-C"))
    ),
    "meta-log_id": LOG_ID.encode(),
    "meta-format": _meta(disk.META_FORMAT, 1),
    "meta-base": _meta(disk.META_BASE, (0, first_chain(LOG_ID))),
    "meta-rows": _meta(disk.META_ROWS, (1, 3_735_928_559)),
    "meta-snapshotter": _meta(disk.META_SNAPSHOTTER, 1),
    "meta-snapshot": stored_state.encode_snapshot(disk.META_SNAPSHOT, STATE),
    "meta-base_state": stored_state.encode_base_state(disk.META_BASE_STATE, STATE),
    "head": _head(),
    **_format_2(),
}


def session_file_examples(folder: Path) -> dict[str, bytes]:
    """Return the slots of a session file, written in *folder*, and its header with device and inode blanked."""
    path, beside = folder / "1", folder / "1.large"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    slots = Scratch(descriptor, beside, log_id=LOG_ID, session=1, boot=BOOT, shared=False)
    outcomes: dict[str, Any] = {
        "slot-succeeded": ev.ItemSucceeded(START, 300),
        "slot-succeeded-inline": ev.ItemSucceeded(START, 300, b"\xa2ok"),
        "slot-event-inline": ev.ItemFailed(START, 300, ERROR),
        "slot-event-beside": ev.ItemFailed(START, 300, ErrorInfo("OSError", "n" * 120, "")),
    }
    names = ["slot-armed", "slot-begun", *outcomes]
    for slot in slots.take(len(names)):
        slots.arm(slot, START)
        if slot:
            slots.begin(slot, START)
        if names[slot] in outcomes:
            slots.finish(slot, START, outcomes[names[slot]])
    slots.close()
    content = os.pread(descriptor, SCRATCH_BYTES, 0)
    os.close(descriptor)
    found = {
        name: content[start : start + SCRATCH_SLOT_BYTES].rstrip(b"\0").ljust(_SLOT.size, b"\0")
        for name, start in zip(names, range(_FIRST_SLOT_AT, len(content), SCRATCH_SLOT_BYTES), strict=False)
    }
    return {"slot-header": content[: 8 + 16 + 16 + 8], **found, "large-file": beside.read_bytes()}
