"""Golden logs: what was written by the first version is read by every one to come.

When one of these fails, the format has changed, and logs on disks cannot be read any more. Do not
change the files: make it a new format, and read both.
"""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.golden.expected import ITEMS, LONG_ID, RECORDS, ROWS
from tests.support.folded import loaded, replayed
from wal_runner.core.arrays import events_of
from wal_runner.core.events import (
    TYPE_NUMBERS,
    ItemFailed,
    ItemReconciled,
    ItemReopened,
    ItemStarted,
    SessionOpened,
    Status,
)
from wal_runner.core.items import ItemState, OpenAttempt
from wal_runner.core.state import fold
from wal_runner.log import opening
from wal_runner.log.codec import decode_record, encode_records, first_chain
from wal_runner.log.rows import decode_row, encode_row, row_key
from wal_runner.log.stored_state import decode_base_state, decode_snapshot
from wal_runner.recovery.recover import open_writer
from wal_runner.recovery.verifying import verify


FIELDS_ADDED = {SessionOpened: 1, ItemStarted: 6, ItemFailed: 3, ItemReconciled: 1, ItemReopened: 1}
FIELDS_OF_FORMAT_1 = {
    kind: len(kind._fields) - FIELDS_ADDED.get(kind, 0) for kind, number in TYPE_NUMBERS.items() if number <= 15
}
FOLDER = Path(__file__).parent / "v1"
LOG_ID = "00" * 16
ITEM_STATES = {item_id: ItemState(*item) for item_id, item in ITEMS.items()}
EXPECTED = [
    (first_seq + place, session, time_ns, event)
    for first_seq, session, time_ns, events in RECORDS
    for place, event in enumerate(events)
]


def lines(name):
    return [line.split() for line in (FOLDER / name).read_text().splitlines()]


def records():
    """Decode the stored records, each chained to the one before."""
    decoded, previous = [], first_chain(LOG_ID)
    for first_seq, value in lines("records.hex"):
        decoded.append(decode_record(int(first_seq), bytes.fromhex(value), previous))
        previous = decoded[-1].chain
    return decoded


# --- Records ---------------------------------------------------------------------------------


def test_golden_records_are_decoded():
    """Every event of every type comes back as it was, with its seq, its session and its time."""
    found = [(seq, record.session, record.time_ns, event) for record in records() for seq, event in events_of(record)]

    assert EXPECTED == found


def test_golden_records_hold_every_type():
    """No type of event is missing, and of each every field is seen away from its default."""
    events = [event for *_, event in EXPECTED]

    assert {kind for kind, number in TYPE_NUMBERS.items() if number <= 15} == {type(event) for event in events}
    for kind, fields in FIELDS_OF_FORMAT_1.items():
        for name, default in list(kind._field_defaults.items())[: fields - len(kind._fields) or None]:
            assert any(getattr(event, name) != default for event in events if type(event) is kind), (kind, name)


def test_golden_records_are_still_written_so():
    """What is written today is read by the version that wrote these: not a byte differs."""
    previous = first_chain(LOG_ID)
    for (first_seq, session, time_ns, events), (_, stored) in zip(RECORDS, lines("records.hex"), strict=True):
        [(record, value)] = encode_records(
            events, first_seq=first_seq, session=session, time_ns=time_ns, previous=previous
        )
        previous = record.chain

        assert stored == value.hex()


def test_golden_records_add_up():
    """Folded, they give the items that they gave then."""
    state = fold(records())

    assert ITEM_STATES == {item_id: state.item(item_id) for item_id, _ in state.touched()}
    assert {Status.PENDING: 1, Status.SUCCEEDED: 5, Status.FAILED: 1, Status.IN_DOUBT: 1, Status.ABANDONED: 1} == {
        status: count for status, count in state.counts.items() if count
    }
    assert {26: "session 1 died"} == {seq: attempt.reason for seq, attempt in state.attempts()}
    assert (1, 2, "field id", {}) == (state.conflicts, state.results_omitted, state.key_rule, state.cursors)
    assert ["lost", "closed"] == [info.ending for info in state.sessions.values()]


# --- Rows and snapshots --------------------------------------------------------------------------


def test_golden_rows_are_decoded_and_still_written_so():
    """A row of each shape, an id that goes by its hash among them."""
    stored = [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in lines("rows.hex")]

    assert ROWS == dict(decode_row(key, value) for key, value in stored)
    assert [(row_key(i), encode_row(row_key(i), i, row)) for i, row in ROWS.items()] == stored
    assert row_key(LONG_ID) in dict(stored)


def test_golden_snapshot_is_decoded():
    """What a snapshot holds beside its rows, and what a replay begins with, are the state that they were of."""
    stored = {key: bytes.fromhex(value) for key, value in lines("snapshot.hex")}
    opens = [(bytes.fromhex(key), value) for key, value in stored.items() if key not in {"snapshot", "base_state"}]
    state = fold(record for record in records() if record.last_seq <= 22).without_items()

    assert state == decode_snapshot(b"snapshot", stored["snapshot"], opens)
    assert state == decode_base_state(b"base_state", stored["base_state"])
    assert OpenAttempt("user-4", 1, RECORDS[4][2], 1, 0, Status.IN_DOUBT, RECORDS[5][2], "the reply was lost") == (
        state.attempt(17)
    )
    assert OpenAttempt("user-6", 1, RECORDS[4][2]) == state.attempt(19)


# --- A whole log ---------------------------------------------------------------------------------------


@pytest.fixture
def golden(tmp_path):
    """Lay out the golden log as the folder that it was."""
    if os.sysconf("SC_PAGE_SIZE") != 4_096:
        pytest.skip("LMDB files have the page size of the machine that made them; this one has 4,096")
    path = tmp_path / "golden.wal"
    path.mkdir(mode=0o700)
    for name in ("sessions", "archive"):
        (path / name).mkdir(mode=0o700)
    for stored in FOLDER.glob("log-*.hex"):
        name = stored.stem.removeprefix("log-")
        content = zlib.decompress(bytes.fromhex(stored.read_text()))
        (path / {"gitignore": ".gitignore"}.get(name, name)).write_bytes(content)
    return path


def test_golden_log_is_sound(golden):
    """Its folder is recognised, its pages, its chain and its rows are in order."""
    assert [] == list(verify(golden))


def test_golden_log_says_what_it_said(golden):
    """Snapshot and tail, and all events from the first: the items and the history of then."""
    log = opening.open_for_reading(golden)
    state, from_events = loaded(log), replayed(log)
    found = [(seq, record.session, event) for record in log.read(0, limit=100) for seq, event in events_of(record)]
    opening.close(log)

    assert ITEM_STATES == {item_id: state.item(item_id) for item_id, _ in state.touched()}
    assert state == from_events
    assert [(seq, session, event) for seq, session, _, event in EXPECTED] == found


def test_golden_log_goes_on(golden):
    """A session of today runs on it, and it is sound afterwards."""
    writer, created = open_writer(golden, must_exist=True)
    seq = writer.state.seq
    writer.take_snapshot()
    writer.close()

    assert (False, 38) == (created, seq - 1)
    assert [] == list(verify(golden))


# --- The generator ---------------------------------------------------------------------------------------


def test_golden_files_are_never_overwritten():
    """The tool that wrote them refuses, and says why."""
    before = {path: path.read_bytes() for path in FOLDER.iterdir()}
    refused = subprocess.run(
        [sys.executable, Path(__file__).parents[2] / "tools" / "make_golden.py"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == refused.returncode
    assert "never changed" in refused.stderr
    assert before == {path: path.read_bytes() for path in FOLDER.iterdir()}
