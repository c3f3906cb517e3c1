"""Values made by hand, sealed as ours are, that would take a hundred times their bytes in memory."""

import subprocess
import sys
import tracemalloc

import msgpack
import pytest

from tests.damage import dialect
from tools.corrupting import bombs
from wal_runner.errors import LogCorrupt
from wal_runner.log import codec
from wal_runner.log.format import META_BASE_STATE, META_SNAPSHOT
from wal_runner.log.results import decode_result
from wal_runner.log.rows import decode_row, seal, unpack


KEY = b"key"
CLAIMS = b"\xdd\x00\x00\xbf\xff" * 9_830
"""Headers, one inside the other, that each claim as many elements as there are bytes: 48 KB."""

ZEROS = b"\xdd\x03\x80\x00\x00" + bytes(0x380_0000)
"""An array of 59 million numbers. In a file with holes it takes 4 KB of disk."""

BODIES = {
    "nested claims": CLAIMS,
    "claims of a megabyte": b"\xdd\x00\x0f\xff\xff" * 200_000,
    "zeros": b"\xdd\x00\x08\x00\x00" + bytes(0x8_0000),
    "empty arrays": b"\xdd\x00\x08\x00\x00" + b"\x90" * 0x8_0000,
    "arrays of one": b"\xdd\x00\x04\x00\x00" + b"\x91\x00" * 0x4_0000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_sealed_bomb_is_refused_with_bounded_memory(body, monkeypatch):
    """Its checksum fits; what it claims or holds is counted before memory is taken for it."""
    monkeypatch.setattr(codec, "STATE_ELEMENTS_MAX", 1 << 15)
    value = seal(KEY, body)
    tracemalloc.start()
    try:
        with pytest.raises(LogCorrupt):
            unpack(KEY, value)
        with pytest.raises(LogCorrupt):
            decode_row(KEY, value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3 * len(value) + 1_000_000


def test_result_that_claims_a_million_elements_is_refused():
    """A result is at most a megabyte, and its headers may claim no more than it holds."""
    tracemalloc.start()
    try:
        with pytest.raises(LogCorrupt):
            decode_result(b"\xdd\x00\x0f\xff\xff" * 200_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8_000_000


def test_state_of_many_sessions_is_read():
    """The bound is on elements for their bytes: a long life of a log is no bomb."""
    body = [[number, "host", 4_321, "boot " * 7, ["walrun", "run"], "/srv/mail"] for number in range(100_000)]

    assert 100_000 == len(unpack(KEY, seal(KEY, msgpack.packb(body))))


# Its own peak: what a child's ru_maxrss says includes the memory of the process that began it.
MEASURED = """
import atexit, pathlib, re, runpy, sys

def tell():
    status = pathlib.Path("/proc/self/status").read_text()
    peak.write_text(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])

peak = pathlib.Path(sys.argv.pop(1))
atexit.register(tell)
runpy.run_module("wal_runner", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("key", [META_SNAPSHOT, META_BASE_STATE], ids=["snapshot", "base state"])
@pytest.mark.parametrize("command", ["status", "verify", "replay"])
def test_bomb_in_a_log_does_not_take_the_readers_memory(tmp_path, command, key):
    """Each command ends with its own error or code, in a few hundred megabytes."""
    path = tmp_path / "emails.wal"
    dialect.make(path)
    bombs.put_meta(path, key, ZEROS)
    peak = tmp_path / "peak"
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, str(peak), command, str(path)], capture_output=True, check=False
    )

    assert b"Traceback" not in ended.stderr
    assert ended.returncode >= 0
    assert int(peak.read_text()) < 350 * 1024
