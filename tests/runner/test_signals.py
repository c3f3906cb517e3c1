"""Ctrl-C and SIGTERM: once ends the run in order, twice ends what runs. In a process of its own."""

import signal

import pytest

from tests.runner.driving import Script
from wal_runner import Runner, Status


DRIVERS = """
ids = [str(number) for number in range(200)]

def serial(runner, fn, **options):
    runner.run(ids, fn, **options)

def threads(runner, fn, **options):
    runner.run(ids, fn, workers=3, **options)

def coroutines(runner, fn, **options):
    async def later(item):
        if item == "5" and fn.__name__ == "hang":
            say("running")
            await asyncio.Event().wait()
        await asyncio.to_thread(fn, item)
    asyncio.run(runner.run_async(ids, later, concurrency=3, **options))

def iterated(runner, fn, **options):
    for _ in runner.run_iter(ids, fn, **options):
        pass

def claim(runner, fn, **options):
    for attempt in runner.claim(ids, **options):
        with attempt as item:
            fn(item)

def pages(runner, fn, **options):
    runner.run_pages(lambda cursor, size: (ids, None), fn, **options)
"""

NAMES = ["serial", "threads", "coroutines", "iterated", "claim", "pages"]

ONCE = (
    DRIVERS
    + """
go_on = threading.Event()
begun = []

def fn(item):
    begun.append(item)
    if item == "5":
        say("running")
        go_on.wait(30)

def listen():
    hear()
    go_on.set()

threading.Thread(target=listen, daemon=True).start()
with Runner(path) as runner:
    try:
        globals()[sys.argv[2]](runner, fn)
    except Interrupted as error:
        report = error.report
        say([report.succeeded, report.in_doubt, report.interrupted, error.signal_number, sorted(begun), str(error)])
    else:
        say("it went on")
    say([signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGTERM) == 0])
"""
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
@pytest.mark.parametrize("driver", NAMES)
def test_signal_lets_what_runs_finish_and_starts_nothing_more(path, driver, number):
    """The run ends with `Interrupted`, which carries the report; the handlers are given back."""
    with Script(ONCE, path, driver) as script:
        assert "running" == script.hear()
        script.process.send_signal(number)
        script.tell()
        succeeded, in_doubt, interrupted, said_number, begun, text = script.hear()
        handlers = script.hear()
        code, _ = script.end()
    with Runner(path) as runner:
        counts = runner.counts()

    assert (0, True, number) == (in_doubt, interrupted, said_number)
    assert len(begun) == succeeded == counts[Status.SUCCEEDED] < 200
    assert 0 == counts[Status.STARTED] + counts[Status.IN_DOUBT]
    assert "Run the same again" in text
    assert [True, True] == handlers
    assert 0 == code


TWICE = (
    DRIVERS
    + """
def hang(item):
    if item == "5":
        say("running")
        while True:
            time.sleep(0.01)

with Runner(path) as runner:
    try:
        globals()[sys.argv[2]](runner, hang)
    except KeyboardInterrupt as error:
        say(getattr(error, "report", None) and error.report.in_doubt)
os._exit(0)  # a thread of fn may still be there
"""
)


@pytest.mark.parametrize("driver", NAMES)
def test_second_signal_ends_what_runs(path, driver):
    """Where fn hangs the first signal waits for it, the second one breaks into it; its item is in doubt."""
    with Script(TWICE, path, driver) as script:
        assert "running" == script.hear()
        script.process.send_signal(signal.SIGINT)
        script.tell()
        script.process.send_signal(signal.SIGTERM)  # another signal, so that the two cannot be merged
        in_doubt = script.hear()
        code, said = script.end()
    with Runner(path) as runner:
        doubts = [doubt.item_id for doubt in runner.in_doubt()]
        counts = runner.counts()

    # Of three at a time, others may be in the middle of their fn when the second signal comes.
    assert "5" in doubts
    assert len(doubts) <= (3 if driver in {"threads", "coroutines"} else 1)
    # The body of a claim is the caller's own code: there it is a plain KeyboardInterrupt.
    assert (None if driver == "claim" else len(doubts)) == in_doubt
    assert 0 == counts[Status.STARTED]
    assert 0 == code, said


def test_caller_who_knows_nothing_of_interrupted_stops_too(path):
    """It is a KeyboardInterrupt, which nobody catches by mistake."""
    code = """
    def fn(item):
        say("running")
        os.kill(os.getpid(), signal.SIGINT)
    Runner(path).run(["a", "b"], fn)
    say("it went on")
    """
    with Script(code, path) as script:
        assert "running" == script.hear()
        exit_code, said = script.end()
    with Runner(path) as runner:
        status = runner.status("a")

    assert 1 == exit_code
    assert "Interrupted" in said.splitlines()[-1]
    assert Status.SUCCEEDED is status


def test_signal_breaks_into_a_source_that_blocks(path):
    """The source is not waited for; what it gave before is done."""
    code = """
    def source():
        yield "a"
        say("blocked")
        threading.Event().wait()
    try:
        Runner(path).run(source(), print)
    except Interrupted as error:
        say(error.report.succeeded)
    """
    with Script(code.replace("print", "lambda item: None"), path) as script:
        assert "blocked" == script.hear()
        script.process.send_signal(signal.SIGTERM)
        succeeded = script.hear()
        code, _ = script.end()

    assert (1, 0) == (succeeded, code)


def test_signal_does_not_break_into_coroutines_while_their_source_is_read(path):
    """The source of an asynchronous run is read in a thread: the signal is none of the event loop's."""
    code = """
    def source():
        yield "a"
        say("reading")
        hear()
        yield "b"

    async def fn(item):
        await asyncio.sleep(0.05)

    with Runner(path) as runner:
        try:
            asyncio.run(runner.run_async(source(), fn, concurrency=1))
        except Interrupted as error:
            say([error.report.succeeded, error.report.in_doubt, error.report.released])
    """
    with Script(code, path) as script:
        assert "reading" == script.hear()
        script.process.send_signal(signal.SIGINT)
        script.tell()
        said = script.hear()
        code, _ = script.end()

    assert [1, 0, 1] == said
    assert 0 == code


def test_signals_may_be_left_alone(path):
    """With signals=False the caller's handlers stay, and what they raise ends the run."""
    code = """
    def fn(item):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    with Runner(path) as runner:
        try:
            runner.run(["a", "b"], fn, signals=False)
        except KeyboardInterrupt as error:
            say(type(error).__name__)
        say([doubt.item_id for doubt in runner.in_doubt()])
    """
    with Script(code, path) as script:
        said = [script.hear(), script.hear()]

    assert ["KeyboardInterrupt", ["a"]] == said


def test_run_in_a_thread_leaves_signals_alone(path):
    """Only the main thread can take them over."""
    code = """
    before = signal.getsignal(signal.SIGINT)
    def fn(item):
        say(signal.getsignal(signal.SIGINT) is before)
    with Runner(path) as runner:
        thread = threading.Thread(target=runner.run, args=(["a"], fn))
        thread.start()
        thread.join()
    """
    with Script(code, path) as script:
        assert script.hear()
        assert 0 == script.end()[0]


def test_interrupted_run_goes_on_where_it_was(path):
    """The same call again does the rest, and nothing twice."""
    code = """
    begun = []
    def fn(item):
        begun.append(item)
        if len(begun) == 30:
            os.kill(os.getpid(), signal.SIGINT)
    with Runner(path) as runner:
        ids = [str(number) for number in range(100)]
        try:
            runner.run(ids, fn)
        except Interrupted:
            pass
        report = runner.run(ids, fn)
    say([len(begun), len(set(begun)), report.ok])
    """
    with Script(code, path) as script:
        assert [100, 100, True] == script.hear()


def test_runs_that_interleave_give_the_signals_back(tmp_path):
    """Whichever ends last does; a handler left behind would make the process deaf to Ctrl-C."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Runner(tmp_path / "a.wal") as a, Runner(tmp_path / "b.wal") as b:
        first, second = a.run_iter(range(3), str), b.run_iter(range(9), str)
        for _ in zip(first, second, strict=False):
            assert before[0] is not signal.getsignal(signal.SIGINT)
        # The first has ended; the second goes on, and is still asked.
        assert before[0] is not signal.getsignal(signal.SIGINT)
        assert [str(number) for number in range(3, 9)] == [outcome.result for outcome in second]

    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_handler_set_during_a_run_is_kept(tmp_path):
    """It is the caller's; the end of the run takes back only what is ours."""

    def mine(_number, _frame):
        pass

    before = signal.getsignal(signal.SIGINT)
    try:
        with Runner(tmp_path / "a.wal") as runner:
            runner.run(["a"], lambda _: signal.signal(signal.SIGINT, mine) and None)
        assert mine is signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_signal_stops_all_runs_that_interleave(tmp_path):
    """One Ctrl-C means the whole process."""
    code = """
    a, b = Runner(path + "/a.wal"), Runner(path + "/b.wal")
    ended = []
    first, second = a.run_iter(range(99), str), b.run_iter(range(99), str)
    next(first), next(second)
    os.kill(os.getpid(), signal.SIGINT)
    for outcomes in (first, second):
        try:
            list(outcomes)
        except Interrupted:
            ended.append("interrupted")
    say(ended)
    """
    with Script(code, tmp_path) as script:
        assert ["interrupted", "interrupted"] == script.hear()


def test_run_that_ended_in_another_thread_leaves_no_deaf_process(tmp_path):
    """Only the main thread may give signals back; until it runs something, they do what they did before."""
    code = """
    with Runner(path + "/a.wal") as runner:
        outcomes = runner.run_iter(range(9), str)
        next(outcomes)
        thread = threading.Thread(target=outcomes.close)
        thread.start()
        thread.join()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
        say("deaf")
    except KeyboardInterrupt as error:
        say(type(error).__name__)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    """
    with Script(code, tmp_path) as script:
        assert "KeyboardInterrupt" == script.hear()
        assert -signal.SIGTERM == script.end()[0]


LEFT_BEHIND = """
import ctypes
from wal_runner.runner import threads

threads.URGENT_WAIT_S = 0.1
libc = ctypes.CDLL(None)

def in_c(item):
    say("in C")
    try:
        libc.usleep(600_000)
    except KeyboardInterrupt:
        pass  # it comes when C has returned: too late to be of use
    return "sent"

runner = Runner(path)
try:
    runner.run(["old"], in_c, workers=2)
except KeyboardInterrupt:
    say(runner.status("old").word)
"""


def test_worker_that_was_left_behind_settles_its_doubt(path):
    """What it found out stands behind the doubt, as a late outcome; nothing is guessed, nothing lost."""
    code = (
        LEFT_BEHIND
        + """
while runner.status("old") is Status.IN_DOUBT:
    time.sleep(0.01)
say([runner.status("old").word, list(runner.results()), type(runner.history("old")[-1].event).__name__])
"""
    )
    with Script(code, path) as script:
        assert "in C" == script.hear()
        script.process.send_signal(signal.SIGINT)
        script.process.send_signal(signal.SIGTERM)
        assert "in_doubt" == script.hear()
        said = script.hear()

    assert ["succeeded", [["old", "sent"]], "LateOutcome"] == said


def test_thread_that_was_left_behind_is_told_what_helps(path):
    """Waiting longer for a cancellation is for coroutines: nothing cancels a thread."""
    code = LEFT_BEHIND.replace(
        "except KeyboardInterrupt:\n    say(runner.status",
        "except KeyboardInterrupt as error:\n    say(error.__notes__[0] or runner.status",
    )
    with Script(code, path) as script:
        assert "in C" == script.hear()
        script.process.send_signal(signal.SIGINT)
        script.process.send_signal(signal.SIGTERM)
        said = script.hear()

    assert "give what fn waits for a timeout" in said
    assert "cancel_wait" not in said


def test_worker_that_was_left_behind_keeps_its_slot(path):
    """It may write there at any time; a start that took the slot over would be read by what it wrote."""
    code = (
        LEFT_BEHIND
        + """
free = runner.writer.session.scratch._free
while 0 in free and free[2] != 0:  # a slot comes round after 4,096 items; here at once
    free.rotate(1)
def fn(item):
    if item == "slow":
        while runner.status("old") is Status.IN_DOUBT:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)
runner.run(["quick", "slow", "never begun"], fn)
"""
    )
    with Script(code, path) as script:
        assert "in C" == script.hear()
        script.process.send_signal(signal.SIGINT)
        script.process.send_signal(signal.SIGTERM)
        assert "in_doubt" == script.hear()
        assert -signal.SIGKILL == script.end()[0]
    with Runner(path) as runner:
        found = {item.item_id: item.status.word for item in runner.items()}

    assert {"old": "succeeded", "quick": "succeeded", "slow": "in_doubt", "never begun": "pending"} == found
