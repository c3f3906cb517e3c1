"""A program that closes descriptors which are not its own: a typed error at once, and its files are left alone."""

import json
import subprocess
import sys
import time

import pytest

from wal_runner import Runner
from wal_runner.recovery.verifying import verify


WAIT_S_MAX = 5.0

PROGRAM = """
import json, logging, os, sys
from pathlib import Path
from wal_runner import Runner
from wal_runner.errors import WalRunnerError
from wal_runner.log import lmdb_sessions
logging.disable(logging.CRITICAL)
log, ending, how, mapped = sys.argv[1:]
if mapped == "written":
    lmdb_sessions.is_mappable = lambda folder: False
precious = Path(log).with_name("precious")
precious.write_bytes(b"precious" * 100_000)
effects, taken, errors = [], [], []

def ours():
    found = []
    for name in os.listdir("/dev/fd"):
        try:
            if os.readlink(f"/dev/fd/{name}").endswith(ending):
                found.append(int(name))
        except OSError:
            pass
    return found

def fn(item):
    effects.append(item)
    if item == "i3":
        taken.extend(ours())
        for descriptor in taken:
            os.close(descriptor)
        if how == "reuse":
            mine = os.open(precious, os.O_RDWR)
            for descriptor in taken:
                if descriptor != mine:
                    os.dup2(mine, descriptor)
    return "x" * 300

runner = Runner(log)
for step in (lambda: runner.run([f"i{n}" for n in range(8)], fn, max_in_doubt=1), runner.close):
    try:
        step()
    except WalRunnerError as error:
        errors.append(f"{type(error).__name__}: {error}")
inode = precious.stat().st_ino
still_open = [os.fstat(descriptor).st_ino == inode for descriptor in taken] if how == "reuse" else []
print(json.dumps({
    "effects": effects, "taken": len(taken), "errors": errors, "still_open": all(still_open),
    "intact": precious.read_bytes() == b"precious" * 100_000,
}))
os._exit(0)
"""


def run_and_close(log, ending, how, mapped="mapped"):
    """Run a program that closes the descriptors of files that end in *ending*; return what it says, and its time."""
    began = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, log, ending, how, mapped],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return json.loads(child.stdout), time.monotonic() - began


@pytest.mark.parametrize("mapped", ["mapped", "written"])
@pytest.mark.parametrize("how", ["close", "reuse"])
@pytest.mark.parametrize(
    ("ending", "count"), [("/GATE", 1), ("/HEAD", 1), ("/data.mdb", 3), ("/sessions/1", 1), ("/1.owner", 1)]
)
def test_closed_descriptor_is_a_typed_error_at_once(tmp_path, ending, count, how, mapped):
    """The run ends without a wait, nothing is written into or closed under the program, and nothing runs twice."""
    log = tmp_path / "emails.wal"
    said, took_s = run_and_close(log, ending, how, mapped)

    assert count <= said["taken"]
    assert said["errors"][0].startswith("LogReplaced: Descriptor ")
    assert took_s < WAIT_S_MAX
    assert (True, True) == (said["intact"], said["still_open"])
    assert ["i0", "i1", "i2", "i3"] == said["effects"]
    assert [] == list(verify(log))
    with Runner(log) as runner:
        again = []
        runner.run([f"i{n}" for n in range(8)], again.append)
    assert not set(again) & {"i0", "i1", "i2"}
    assert "i3" not in again or "i3" not in said["effects"]
