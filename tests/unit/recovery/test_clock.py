"""Clocks that stand where no record can: what is committed under one can be read again."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import SEQ, TYPES, events_at
from wal_runner import Runner, Status
from wal_runner.cli.as_json import iso
from wal_runner.cli.words import local_time
from wal_runner.core.arrays import from_array, to_array
from wal_runner.core.events import ItemInterrupted, PauseSet, SessionLost
from wal_runner.errors import EventInvalid, LogCorrupt
from wal_runner.log.codec import TIME_NS_MAX, decode_record, encode_records
from wal_runner.recovery.verifying import verify


CRASH = """
import os, sys
from wal_runner.log.lmdb_log import LmdbLog

LmdbLog.__init__.__kwdefaults__["clock_ns"] = lambda: int(sys.argv[2])
from wal_runner import Runner

Runner(sys.argv[1]).run(["a", "dies"], lambda item: item == "dies" and os._exit(9), max_in_doubt=1)
"""

STRANGE = [-1, -(2**62), 2**63, 2**70]


@pytest.mark.crash
@pytest.mark.parametrize("now_ns", STRANGE)
def test_session_that_dies_under_a_strange_clock_is_recorded(tmp_path, now_ns):
    """Its loss is committed, and the log is read again by everybody."""
    log = tmp_path / "l.wal"
    assert 9 == subprocess.run([sys.executable, "-c", CRASH, log, str(now_ns)], check=False).returncode

    with Runner(log) as runner:
        assert {"a": Status.SUCCEEDED, "dies": Status.IN_DOUBT} == {
            item.item_id: item.status for item in runner.items()
        }
    with Runner.open_read(log) as view:
        assert Status.SUCCEEDED is view.status("a")
        assert ["item_started", "item_succeeded"] == [words(entry.event) for entry in view.history("a")]
    assert [] == list(verify(log))


def words(event):
    return {"ItemStarted": "item_started", "ItemSucceeded": "item_succeeded"}[type(event).__name__]


@pytest.mark.parametrize("time_ns", STRANGE)
def test_record_holds_the_nearest_time_that_it_can(time_ns):
    """A clock may stand anywhere; what is stored can be packed, read and shown."""
    [(record, value)] = encode_records(
        [PauseSet(paused=False, by="", note="")], first_seq=1, session=1, time_ns=time_ns, previous=b""
    )

    assert record == decode_record(1, value, b"")
    assert (0 if time_ns < 0 else TIME_NS_MAX) == record.time_ns
    assert iso(TIME_NS_MAX).startswith("2262-04-11")


@pytest.mark.parametrize("time_ns", [-(2**62), 2**63 - 1, 2**70])
def test_time_of_an_older_log_is_shown_somehow(time_ns):
    """Version 0.1.0 stored what its clock said; reading it never fails."""
    assert iso(time_ns) is None or iso(time_ns).endswith("Z")
    assert local_time(time_ns)


@pytest.mark.parametrize(
    "event", [SessionLost(1, -1), SessionLost(1, 2**64), SessionLost(-1), ItemInterrupted(SEQ + 1, 1, "why")]
)
def test_event_that_no_reader_accepts_is_not_written(event):
    """The writer asks the reader first: a commit that cannot be read back would end the log for everybody."""
    with pytest.raises(EventInvalid, match=type(event).__name__):
        encode_records([event], first_seq=SEQ, session=1, time_ns=0, previous=b"")


@given(st.data(), st.sampled_from(TYPES))
def test_event_that_is_encoded_is_decoded(data, kind):
    """Whatever is in the fields, an event is refused before it is stored, or read back as it was."""
    event = data.draw(events_at(SEQ, [kind]))
    for place, value in data.draw(
        st.dictionaries(st.integers(0, len(event) - 1), st.integers(-2, 2**65), max_size=1)
    ).items():
        event = kind(*event[:place], value, *event[place + 1 :])
    try:
        array = to_array(SEQ, event)
        back = from_array(SEQ, array)
    except (EventInvalid, LogCorrupt):
        return

    assert event == back
