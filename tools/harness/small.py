"""The library with small numbers: a log of fifty items then meets what one of millions does.

Imported by the lives and by the judge; both must agree, for the slots' file is read as large as it was
written. Nothing but sizes, waits, and questions to the system that are slow and always answered the same.
"""

from __future__ import annotations

from typing import Final

from tools.harness.replacing import be_at_home_anywhere, put
from wal_runner.log import folder, host, lmdb_data, lmdb_sessions, opening, room, scratch
from wal_runner.log import format as on_disk
from wal_runner.recovery import snapshots, writer
from wal_runner.runner import dispatcher


SLOTS: Final = 63
"""With the header two pages of slots, which a power cut may treat one by one."""

SLICE_ROWS: Final = 9


def make_small() -> None:
    """Shrink rooms, slots and waits in this process."""
    put(scratch, SCRATCH_SLOTS=SLOTS, SCRATCH_BYTES=(SLOTS + 1) * on_disk.SCRATCH_SLOT_BYTES)
    put(
        room,
        ROOM_FLOOR_BYTES=24 * 1024,
        ROOM_AN_ITEM_BYTES=512,
        GROWTH_BYTES_MIN=8 * 1024,
        GROWTH_BYTES_MAX=16 * 1024,
    )
    put(dispatcher, DISK_FULL_WAIT_S=0.05, DISK_FULL_POLL_S=0.01)
    put(host, user_name=lambda: "someone", host_name=lambda: "here", process_started=lambda _pid: "1")
    put(folder, check_file_system=lambda _folder: None)
    put(opening, check_file_system=lambda _folder: None, _caller=lambda: "opened by a life")
    # A state after a power cut is laid out in another folder. It must not look like a copy: power cuts never ask.
    be_at_home_anywhere()
    put(lmdb_sessions, is_mappable=lambda _folder: True)


def set_boot(boot: str) -> None:
    """Let this process run on the boot named *boot*."""
    for module in (lmdb_data, lmdb_sessions, host):
        put(module, boot_id=lambda: boot)


def snapshot_every(events: int) -> None:
    """Let a snapshot be due after so many events, and at closing, and be written in slices of a few rows."""
    put(snapshots, TAIL_EVENTS_MAX=events, SLICE_ROWS_MAX=SLICE_ROWS)
    put(writer, TAIL_EVENTS_AT_CLOSE=events)
