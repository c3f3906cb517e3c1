"""A full disk: nothing more is started, what ran is written, and the run goes on when there is space.

The limit on file sizes stands in for the disk everywhere; where mounts are allowed, a small tmpfs too.
"""

import os
import shutil
import signal
import subprocess

import pytest

from tests.runner.driving import Script, numbers, serial, statuses
from wal_runner import Runner, Status


LIMITED = """
import logging, resource
from wal_runner.runner import dispatcher

ids = [str(number) for number in range(150)]
begun = []
full = threading.Event()
data = path + "/data.mdb"

def fn(item):
    begun.append(item)
    return item + "x" * 3_000

class Watch(logging.Handler):
    def emit(self, record):
        if "Waiting up to" in record.getMessage():
            full.set()

logging.getLogger("wal_runner").addHandler(Watch())

def limit(more):
    size = os.stat(data).st_size + more if more is not None else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def run(runner, driver):
    if driver == "serial":
        return runner.run(ids, fn)
    if driver == "threads":
        return runner.run(ids, fn, workers=4)
    async def later(item):
        return fn(item)
    return asyncio.run(runner.run_async(ids, later, concurrency=4))

def succeeded():
    with Runner.open_read(path) as view:
        return view.counts()[Status.SUCCEEDED]
"""


@pytest.mark.parametrize("driver", ["serial", "threads", "coroutines"])
def test_run_waits_for_space_and_goes_on(path, driver):
    """While the disk is full no fn begins, and every outcome so far is durable."""
    code = """
    def free():
        assert full.wait(30)
        while succeeded() < len(begun):
            time.sleep(0.001)
        say([len(begun), succeeded()])
        limit(None)

    with Runner(path) as runner:
        limit(300_000)
        threading.Thread(target=free).start()
        report = run(runner, sys.argv[2])
    say([report.succeeded, report.in_doubt, len(begun), len(set(begun))])
    """
    with Script(LIMITED + unindented(code), path, driver) as script:
        begun, durable = script.hear()
        said = script.hear()
        code, _ = script.end()

    assert 0 < begun == durable < 150
    assert [150, 0, 150, 150] == said
    assert 0 == code


@pytest.mark.parametrize("driver", ["serial", "threads", "coroutines"])
def test_run_that_waits_in_vain_ends_with_disk_full(path, driver):
    """What ran is on disk; the same again, with space, does the rest."""
    code = """
    dispatcher.DISK_FULL_WAIT_S = 0.3
    with Runner(path) as runner:
        limit(300_000)
        try:
            run(runner, sys.argv[2])
        except errors.DiskFull as error:
            say([len(begun), succeeded(), str(error)])
    """
    with Script(LIMITED + unindented(code), path, driver) as script:
        begun, durable, text = script.hear()
        code, _ = script.end()
    with Runner(path) as runner:
        counts = runner.counts()
        report = serial(runner, [str(number) for number in range(150)], lambda _: None)

    assert 0 == code
    assert "Free some space" in text
    assert 0 < begun == durable == counts[Status.SUCCEEDED]
    assert 0 == counts[Status.STARTED] + counts[Status.IN_DOUBT]
    assert {"seen": 150, "succeeded": 150 - begun, "skipped": begun} == numbers(report)


def test_signal_ends_the_wait_for_space(path):
    """Ctrl-C is not kept waiting for the disk."""
    code = """
    with Runner(path) as runner:
        limit(300_000)
        threading.Thread(target=lambda: full.wait(30) and say("full")).start()
        try:
            runner.run(ids, fn)
        except (errors.DiskFull, Interrupted):
            say("ended")
    """
    with Script(LIMITED + unindented(code), path) as script:
        assert "full" == script.hear()
        script.process.send_signal(signal.SIGINT)
        assert "ended" == script.hear()
        assert 0 == script.end()[0]


def test_no_session_begins_without_room_for_its_slots(path):
    """A store into a slot must never fail, so its room comes first; nothing was written."""
    code = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        Runner(path)
    except errors.DiskFull as error:
        say(str(error))
    """
    with Runner(path) as runner:
        serial(runner, ["a"], lambda _: None)
    with Script(LIMITED + unindented(code), path) as script:
        assert "Free some space" in script.hear()
        assert 0 == script.end()[0]
    with Runner(path) as runner:
        assert {"a": Status.SUCCEEDED} == statuses(runner)


# --- A real file system ------------------------------------------------------------------------


def mounting(folder, size):
    """Give a command that has a tmpfs of its own at *folder*; skip where that is not allowed."""
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = f"mount -t tmpfs -o size={size} tmpfs '{folder}' && "
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    if subprocess.run([*unshare, "sh", "-c", mount + "true"], check=False).returncode:
        pytest.skip("no mounts here")
    return [*unshare, "sh", "-c", mount + 'exec "$0" "$@"']


def test_full_file_system_is_waited_for(tmp_path):
    """On a tmpfs of 4 MB that another file fills up: the same, and no signal kills the process."""
    code = """
    import errno
    filler = sys.argv[2]

    def fill():
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC

    def fn(item):
        begun.append(item)
        time.sleep(0.002)  # else the rest is started ahead, and needs no more room than it has
        if item == "20":
            fill()
        return "x" * 3_000

    def free():
        assert full.wait(30)
        while succeeded() < len(begun):
            time.sleep(0.001)
        say([len(begun), succeeded()])
        os.unlink(filler)

    threading.Thread(target=free).start()
    with Runner(path) as runner:
        report = run(runner, sys.argv[3])
        say([report.succeeded, report.in_doubt, len(begun), len(set(begun))])
    """
    for driver in ("serial", "threads"):
        prefix = mounting(tmp_path, "4m")
        with Script(
            LIMITED + unindented(code), tmp_path / "batch.wal", tmp_path / "filler", driver, prefix=prefix
        ) as script:
            begun, durable = script.hear()
            said = script.hear()
            code_, text = script.end()

        assert 0 < begun == durable < 150
        assert [150, 0, 150, 150] == said
        assert 0 == code_, text


def test_read_only_file_system_can_be_read(tmp_path):
    """A Runner is refused with advice; a reader, a replay and a look-up work."""
    code = """
    import subprocess
    with Runner(path) as runner:
        runner.run(["a"], lambda item: 1)
    subprocess.run(["mount", "-o", "remount,ro", os.path.dirname(path)], check=True)
    try:
        Runner(path)
    except errors.LogReadOnly as error:
        say(str(error))
    with Runner.open_read(path) as view:
        say([view.status("a").word, replay(path).counts[Status.SUCCEEDED], list(view.results())])
    """
    with Script(unindented(code), tmp_path / "batch.wal", prefix=mounting(tmp_path, "4m")) as script:
        refusal = script.hear()
        seen = script.hear()
        code, text = script.end()

    assert "Read the log" in refusal
    assert ["succeeded", 1, [["a", 1]]] == seen
    assert 0 == code, text


def unindented(code):
    """Take the indentation of a test off."""
    return "\n".join(line.removeprefix("    ") for line in code.splitlines())
