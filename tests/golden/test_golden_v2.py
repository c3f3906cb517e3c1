"""Golden logs of format 2: what the version that introduced a feature wrote is read by every one to come.

When one of these fails, logs on disks cannot be read any more. Do not change the files: raise
`FORMAT_VERSION`, and read both.
"""

import re
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from tests.golden.expected_v2 import LOGS, PLACES, T0
from tests.golden.results_v2 import PACKED, VALUES
from tests.support import golden as stored
from tests.support.folded import loaded, replayed, stored_rows
from wal_runner.core.arrays import events_of
from wal_runner.core.events import TYPE_NUMBERS
from wal_runner.core.state import fold
from wal_runner.errors import LogTooNew
from wal_runner.log import opening
from wal_runner.log.codec import decode_record, encode_records, first_chain
from wal_runner.log.format import META_FORMAT
from wal_runner.log.results import decode_result
from wal_runner.log.rows import decode_row, encode_row, unpack_number
from wal_runner.recovery.recover import open_writer
from wal_runner.recovery.verifying import verify


FOLDER = stored.GOLDEN / "v2"
SINCE_FORMAT_2 = {kind for kind, number in TYPE_NUMBERS.items() if number > 15}


@pytest.fixture(params=sorted(LOGS))
def name(request):
    """Name a golden log."""
    return request.param


@pytest.fixture
def golden(name, tmp_path):
    """Lay out the golden log as the folder that it was."""
    return stored.lay_out(f"v2/{name}", tmp_path / "golden.wal")


def table(path, name):
    """Read a sub-database of the log at *path*, as it is stored."""
    options = {"subdir": False, "readonly": True, "lock": False, "max_dbs": 8}
    with lmdb.open(str(path / "data.mdb"), **options) as env, env.begin() as txn:
        return dict(txn.cursor(env.open_db(name, txn, create=False)))


# --- The logs --------------------------------------------------------------------------


def test_log_of_format_2_is_sound(golden):
    """Its folder is recognised, its pages, its chain and its rows are in order, and it is in format 2."""
    assert [] == list(verify(golden))
    assert 2 == unpack_number(META_FORMAT, table(golden, b"meta")[META_FORMAT])


def test_log_of_format_2_says_what_it_said(name, golden):
    """Snapshot and tail, and all events from the first, are the history and the items of then."""
    log = opening.open_for_reading(golden)
    state, from_events = loaded(log), replayed(log)
    found = [
        (record.first_seq, record.session, record.time_ns, [event for _, event in events_of(record)])
        for record in log.read(0, limit=100)
    ]
    opening.close(log)

    assert LOGS[name].stored() == found
    assert LOGS[name].items == {item_id: state.item(item_id) for item_id, _ in state.touched()}
    assert state == from_events
    assert LOGS[name].says == {path: reached(state, path) for path in LOGS[name].says}


def test_log_of_format_2_is_still_written_so(name, golden):
    """Not a byte of a record or of a row differs from what is written today."""
    log_id = next(line for line in (golden / "IDENTITY").read_text().splitlines() if line.startswith("log_id "))
    previous, written = first_chain(log_id.removeprefix("log_id ")), {}
    for first_seq, session, time_ns, events in LOGS[name].stored():
        for record, value in encode_records(
            events, first_seq=first_seq, session=session, time_ns=time_ns, previous=previous
        ):
            written[record.first_seq.to_bytes(8, "big")] = value
            previous = record.chain
    rows = table(golden, b"items")

    assert written == table(golden, b"log")
    assert rows == {key: encode_row(key, *decode_row(key, value)) for key, value in rows.items()}


def test_log_of_format_2_goes_on(name, golden):
    """A session of today runs on it and writes a snapshot; the items are the same, and it is sound afterwards."""
    writer, created = open_writer(golden, must_exist=True)
    writer.take_snapshot()
    writer.close()
    log = opening.open_for_reading(golden)
    rows = stored_rows(log)
    opening.close(log)

    assert not created
    assert set(LOGS[name].items) == set(rows)
    assert [] == list(verify(golden))


@pytest.mark.parametrize("tag", sorted(VALUES))
def test_tagged_result_comes_back(tag):
    """The bytes that were stored then stand for the value that was returned then."""
    found = decode_result(PACKED[tag])

    assert (type(VALUES[tag]), VALUES[tag]) == (type(found), found)


def test_golden_logs_hold_every_event_of_format_2():
    """No type of event is missing, and of each every field is seen away from its default."""
    events = [event for log in LOGS.values() for _, events in log.records for event in events]
    events += [event for record in PLACES for event in record]

    assert set() == SINCE_FORMAT_2 - {type(event) for event in events}
    for kind in TYPE_NUMBERS:
        for name in FIELDS_ADDED.get(kind.__name__, ()):
            default = kind._field_defaults[name]
            assert any(getattr(event, name) != default for event in events if type(event) is kind), (kind, name)


FIELDS_ADDED = {
    "SessionOpened": ["accepted"],
    "ItemStarted": ["failures", "deaths", "effects", "digest", "function", "payload"],
    "ItemFailed": ["failures", "not_before_ns", "final"],
    "ItemReconciled": ["deaths"],
    "ItemReopened": ["effects"],
}


# --- What has a place only -----------------------------------------------------------------


def test_places_are_decoded_and_still_written_so():
    """What has no meaning yet keeps its bytes, so that a later version gives a meaning to these."""
    lines = [line.split() for line in (FOLDER / "places.records").read_text().splitlines()]
    found, written = [], []
    for seq, code in lines:
        record = decode_record(int(seq), bytes.fromhex(code), first_chain("00" * 16))
        found.append([event for _, event in events_of(record)])
        [(_, value)] = encode_records(
            found[-1], first_seq=int(seq), session=1, time_ns=T0, previous=first_chain("00" * 16)
        )
        written.append([seq, value.hex()])

    assert PLACES == found
    assert lines == written


@pytest.mark.parametrize("events", PLACES, ids=[f"{type(event).__name__}-{n}" for n, [event] in enumerate(PLACES)])
def test_place_is_refused_by_the_fold(events):
    """A meaning is not guessed: the log is too new, and not corrupt."""
    opened, paused = LOGS["paused"].records[0][1]
    before = [opened, *[paused] * 8]
    records = encode_records([*before, *events], first_seq=1, session=1, time_ns=T0, previous=first_chain("00" * 16))

    with pytest.raises(LogTooNew):
        fold(record for record, _ in records)


# --- The generator ---------------------------------------------------------------------------


def test_golden_files_of_format_2_are_never_overwritten():
    """The tool that wrote them refuses, and says why."""
    before = {path: path.read_bytes() for path in FOLDER.iterdir()}
    tool = Path(__file__).parents[2] / "tools" / "make_golden.py"
    refused = subprocess.run([sys.executable, tool], capture_output=True, text=True, check=False)

    assert 1 == refused.returncode
    assert "never changed" in refused.stderr
    assert before == {path: path.read_bytes() for path in FOLDER.iterdir()}


def reached(state, path):
    """Return what *path* names in *state*: ``paused``, ``sessions[1].accepted``."""
    name, key, field = re.fullmatch(r"(\w+)(?:\[(\d+)\]\.(\w+))?", path).groups()
    if key is None:
        return getattr(state, name)
    found = state.attempt(int(key)) if name == "open" else getattr(state, name)[int(key)]
    return getattr(found, field)
