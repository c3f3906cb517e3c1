"""A process that gets a signal, or is killed, while it reconnects. The server runs in the test's process."""

import os
import signal

import pytest

from tests.runner.driving import Script
from wal_runner import Runner, Status


RECONNECTING = """
from tests.runner.line_server import linked, linked_async
from wal_runner.runner import renewal

def say_when_it_waits():
    while not any(is_pausing(frame) for frame in sys._current_frames().values()):
        time.sleep(0.001)  # poll the stacks: the wait has no event for its start
    say("reconnecting")

def is_pausing(frame):
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return "wait" in names and "pause" in names

is_patient = sys.argv[4:] == ["patient"]
if is_patient:
    renewal.BACKOFF_FIRST_S = renewal.BACKOFF_MAX_S = 120
    threading.Thread(target=say_when_it_waits, daemon=True).start()

port, driver = int(sys.argv[2]), sys.argv[3]
ids = [str(number) for number in range(300)]
attempts = []

def count():
    attempts.append(None)
    if not is_patient and len(attempts) == (2 if driver == "serial" else 5) + 2:
        say("reconnecting")

def connect():
    count()
    return linked(port)

def connect_async():
    count()
    return linked_async(port)

def fn(item, link):
    if item == "100":
        say("stop the server")
        hear()
    link.send(item)

async def afn(item, link):
    if item == "100":
        say("stop the server")
        hear()
    await link.send(item)

with Runner(path) as runner:
    try:
        if driver == "coroutines":
            asyncio.run(runner.run_async(ids, afn, concurrency=4, per_worker=connect_async))
        elif driver == "iterated":
            list(runner.run_iter(ids, fn, workers=4, per_worker=connect))
        else:
            runner.run(ids, fn, workers=1 if driver == "serial" else 4, per_worker=connect)
    except Interrupted as error:
        report = error.report
        say([report.succeeded, report.in_doubt, report.interrupted])
"""


def begin(script, server):
    """Stop *server* when the program asks for it, and wait until the program reconnects."""
    assert "stop the server" == script.hear()
    server.stop()
    script.tell()
    assert "reconnecting" == script.hear()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
@pytest.mark.parametrize("driver", ["serial", "threads", "coroutines", "iterated"])
def test_signal_ends_the_wait_for_a_connection(path, server, driver, number):
    """The run ends in order: items in flight when the server went down are in doubt, the others pending."""
    with Script(RECONNECTING, path, server.port, driver) as script:
        begin(script, server)
        script.process.send_signal(number)
        succeeded, in_doubt, interrupted = script.hear()
        code, said = script.end()
    with Runner(path) as runner:
        counts = runner.counts()

    assert (0, True) == (code, interrupted), said
    assert (succeeded, in_doubt) == (counts[Status.SUCCEEDED], counts[Status.IN_DOUBT])
    assert 1 <= in_doubt <= (1 if driver == "serial" else 4)
    assert 0 == counts[Status.STARTED]


@pytest.mark.parametrize("driver", ["serial", "threads"])
def test_signal_is_not_noticed_at_the_next_attempt_only(path, server, driver):
    """The signal is noticed at once, however long the pause between two attempts is."""
    with Script(RECONNECTING, path, server.port, driver, "patient") as script:
        begin(script, server)
        script.process.send_signal(signal.SIGINT)
        _succeeded, _in_doubt, interrupted = script.hear()
        code, said = script.end()  # within a deadline

    assert (0, True) == (code, interrupted), said


@pytest.mark.parametrize("driver", ["serial", "threads", "coroutines"])
def test_death_while_reconnecting_leaves_no_false_doubt(path, server, driver):
    """Items that were started ahead are released: their slots prove that they never began."""
    with Script(RECONNECTING, path, server.port, driver) as script:
        begin(script, server)
        os.kill(script.process.pid, signal.SIGKILL)
        script.process.wait(30)
    with Runner(path) as runner:
        counts = runner.counts()

        assert 1 <= counts[Status.IN_DOUBT] <= (1 if driver == "serial" else 4)
        assert 0 == counts[Status.STARTED] + counts[Status.FAILED]
        server.start()
        done = runner.run([str(number) for number in range(300)], server.lines.append)

    assert 300 == done.succeeded + done.skipped + done.in_doubt
    assert len(set(server.lines)) == len(server.lines)


HANGING = """
from contextlib import contextmanager

@contextmanager
def connect():
    attempts.append(None)
    if len(attempts) > 1:
        say("connecting")
        threading.Event().wait()
    yield

attempts = []

def fn(item, _link):
    if item == "5":
        raise BrokenPipeError

with Runner(path) as runner:
    try:
        runner.run([str(number) for number in range(50)], fn, per_worker=connect)
    except Interrupted as error:
        say([error.report.in_doubt, error.report.released])
"""


def test_second_signal_breaks_into_a_connect_that_hangs(path):
    """The first signal of a serial run waits for connect(), as for fn; the second one interrupts it."""
    with Script(HANGING, path) as script:
        assert "connecting" == script.hear()
        script.process.send_signal(signal.SIGINT)
        script.process.send_signal(signal.SIGTERM)
        in_doubt, _released = script.hear()
        code, said = script.end()
    with Runner(path) as runner:
        counts = runner.counts()

    assert (0, 1, 1) == (code, in_doubt, counts[Status.IN_DOUBT]), said
    assert 0 == counts[Status.STARTED]
