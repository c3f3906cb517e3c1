"""Signals in programs that handle them too, that run an event loop, or that use another one."""

import signal
import textwrap

import pytest
import trio

from tests.runner.driving import Script
from wal_runner import Runner, Status


RUNS = """
ids = [str(number) for number in range(2000)]
called = []

def mine(number, _frame):
    called.append(number)

def kill_at_20(item):
    if item == "20":
        os.kill(os.getpid(), signal.SIGTERM)
    return item

async def kill_later(item):
    kill_at_20(item)
    await asyncio.sleep(0.001)

def serial(runner):
    runner.run(ids, kill_at_20)

def threads(runner):
    runner.run(ids, kill_at_20, workers=3)

def coroutines(runner):
    asyncio.run(runner.run_async(ids, kill_later, concurrency=3))

def async_claim(runner):
    async def loop():
        async for attempt in runner.claim(ids):
            async with attempt as item:
                await kill_later(item)
    asyncio.run(loop())

def counts(runner):
    found = runner.counts()
    return [found[Status.SUCCEEDED] > 20, found[Status.IN_DOUBT], found[Status.STARTED]]
"""

NAMES = ["serial", "threads", "coroutines", "async_claim"]


def said_by(code, path, *arguments, times=1):
    """Run a program; return what it says."""
    with Script(RUNS + textwrap.dedent(code), path, *arguments) as script:
        said = [script.hear() for _ in range(times)]
        assert 0 == script.end()[0]
    return said


# --- Handlers of the program ------------------------------------------------------------------------


@pytest.mark.parametrize("drive", NAMES)
def test_handler_of_the_program_is_called_and_restored(path, drive):
    """The run stops in order as well."""
    code = """
    signal.signal(signal.SIGTERM, mine)
    with Runner(path) as runner:
        try:
            globals()[sys.argv[2]](runner)
        except Interrupted as error:
            say([called, signal.getsignal(signal.SIGTERM) is mine, error.report.interrupted, counts(runner)])
    """

    assert [[[signal.SIGTERM], True, True, [True, 0, 0]]] == said_by(code, path, drive)


@pytest.mark.parametrize("drive", NAMES)
def test_what_the_handler_raises_is_raised_at_the_end(path, drive):
    """`sys.exit` in a handler is usual, and must not strike into the middle of fn or of a commit."""
    code = """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    with Runner(path) as runner:
        try:
            globals()[sys.argv[2]](runner)
        except SystemExit as error:
            say([error.code, counts(runner)])
    """

    assert [[7, [True, 0, 0]]] == said_by(code, path, drive)


BACKGROUND = """
async def main():
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    def ask(*_):
        called.append("asked")
        loop.call_soon_threadsafe(stop.set)
    if sys.argv[2] == "of the loop":
        loop.add_signal_handler(signal.SIGTERM, ask)
    else:
        signal.signal(signal.SIGTERM, ask)
    before = signal.getsignal(signal.SIGTERM)
    with Runner(path) as runner:
        background = asyncio.create_task(runner.run_async(ids, kill_later, concurrency=3))
        await asyncio.wait_for(stop.wait(), 10)
        report = await background
        say([called, report.interrupted, report.ok, signal.getsignal(signal.SIGTERM) is before, counts(runner)])
        os.kill(os.getpid(), signal.SIGTERM)
        while len(called) < 2:
            await asyncio.sleep(0.001)
asyncio.run(main())
say("ended in order")
"""


@pytest.mark.parametrize("handler", ["of the loop", "of the process"])
def test_background_task_gets_its_report(path, handler):
    """The program's handler was called, nothing is raised into the loop, and afterwards all is as it was."""
    said = said_by(BACKGROUND, path, handler, times=2)

    assert [[["asked"], True, False, True, [True, 0, 0]], "ended in order"] == said


def test_background_stop_raises_the_error_of_the_source(path):
    """The source's error is raised, or named as the cause, also if the run was stopped."""
    code = """
    failed = threading.Event()
    def source():
        yield "a"
        failed.set()
        raise ValueError("the source broke")
    async def fn(item):
        while not failed.is_set():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
    async def main():
        with Runner(path) as runner:
            background = asyncio.create_task(runner.run_async(source(), fn, concurrency=3))
            await asyncio.wait([background])
            say([repr(background.exception()), runner.status("a").word])
    asyncio.run(main())
    """

    assert [["ValueError('the source broke')", "succeeded"]] == said_by(code, path)


def test_stop_names_the_error_of_the_source_as_its_cause(path):
    """The main task gets `Interrupted`, with what else went wrong."""
    code = """
    def source():
        yield "a"
        raise ValueError("the source broke")
    with Runner(path) as runner:
        try:
            runner.run(source(), lambda _: os.kill(os.getpid(), signal.SIGTERM), workers=2)
        except Interrupted as error:
            say(repr(error.__cause__))
    """

    assert ["ValueError('the source broke')"] == said_by(code, path)


def test_background_claim_just_ends(path):
    """Its report says that it was interrupted."""
    code = """
    async def loop(claims):
        async for attempt in claims:
            async with attempt as item:
                await kill_later(item)

    async def main():
        signal.signal(signal.SIGTERM, mine)
        with Runner(path) as runner:
            claims = runner.claim(ids)
            await asyncio.create_task(loop(claims))
            say([called, claims.report.interrupted, signal.getsignal(signal.SIGTERM) is mine, counts(runner)])
    asyncio.run(main())
    """

    assert [[[signal.SIGTERM], True, True, [True, 0, 0]]] == said_by(code, path)


def test_thread_that_a_second_signal_does_not_end_is_named(path):
    """In the report, on the exception and in a note of it: it may go on for as long as it likes."""
    code = """
    import ctypes
    from wal_runner.runner import threads

    threads.URGENT_WAIT_S = 0.1

    def in_c(item):
        say("in C")
        ctypes.CDLL(None).usleep(600_000)

    with Runner(path) as runner:
        try:
            runner.run(["slow"], in_c, workers=2)
        except Interrupted as error:
            say([error.report.left_behind, error.left_behind, "'slow'" in error.__notes__[0]])
        os._exit(0)
    """
    with Script(RUNS + textwrap.dedent(code), path) as script:
        assert "in C" == script.hear()
        script.process.send_signal(signal.SIGINT)
        script.process.send_signal(signal.SIGTERM)
        said = script.hear()

    assert [["slow"], ["slow"], True] == said


# --- The loop form under asyncio --------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_async_claim_stops_in_order(path, number):
    """What runs finishes, `Interrupted` is raised, and the handlers are given back."""
    code = """
    async def loop(runner):
        async for attempt in runner.claim(ids):
            async with attempt as item:
                if item == "5":
                    os.kill(os.getpid(), int(sys.argv[2]))
                await asyncio.sleep(0.01)

    with Runner(path) as runner:
        try:
            asyncio.run(loop(runner))
        except Interrupted as error:
            handlers = [signal.getsignal(signal.SIGINT) is signal.default_int_handler]
            handlers.append(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
            say([error.report.succeeded, error.report.in_doubt, error.signal_number, handlers])
    """

    assert [[6, 0, number, [True, True]]] == said_by(code, path, int(number))


def test_second_signal_cancels_the_body_of_an_async_claim(path):
    """Other tasks of the loop are left alone; the item is in doubt."""
    code = """
    others = []

    async def other():
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            others.append(type(error).__name__)

    async def loop(runner):
        beside = asyncio.create_task(other())
        async for attempt in runner.claim(ids):
            async with attempt as item:
                if item == "5":
                    os.kill(os.getpid(), signal.SIGINT)
                    os.kill(os.getpid(), signal.SIGTERM)
                    await asyncio.Event().wait()

    with Runner(path) as runner:
        try:
            asyncio.run(loop(runner))
        except KeyboardInterrupt as error:
            say([type(error).__name__, others])
    """

    assert [["KeyboardInterrupt", ["CancelledError"]]] == said_by(code, path)
    with Runner(path) as runner:
        assert ["5"] == [doubt.item_id for doubt in runner.in_doubt()]


def test_claim_that_is_forgotten_leaves_no_deaf_process(path):
    """Whichever thread drops it: a signal does again what it did before."""
    code = """
    import gc
    async def loop(runner):
        async for attempt in runner.claim(ids):
            async with attempt as item:
                break
    with Runner(path) as runner:
        asyncio.run(loop(runner))
        gc.collect()
        say("forgotten")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    """
    with Script(RUNS + textwrap.dedent(code), path) as script:
        assert "forgotten" == script.hear()
        code, _ = script.end()

    assert -signal.SIGTERM == code


# --- Another event loop ---------------------------------------------------------------------------------


async def _run(runner):
    await runner.run_async(["a"], trio.sleep)


async def _pages(runner):
    await runner.run_pages_async(trio.sleep, trio.sleep)


async def _claim(runner):
    async for _attempt in runner.claim(["a"]):
        raise AssertionError("nothing is handed out")


@pytest.mark.parametrize("drive", [_run, _pages, _claim])
def test_trio_is_refused_first(runner, drive):
    """By an error that says what to do instead, before anything begins; the Runner goes on."""
    with pytest.raises(RuntimeError, match=r"asyncio only.*trio\.to_thread"):
        trio.run(drive, runner)

    assert Status.PENDING is runner.status("a")
    assert runner.run(["a"], str).ok


def test_run_in_a_thread_of_trio_works(path):
    """As the error advises."""

    async def fn(item):
        return item

    async def main():
        import asyncio  # noqa: PLC0415 - the other event loop

        with Runner(path) as runner:
            return await trio.to_thread.run_sync(lambda: asyncio.run(runner.run_async(["a"], fn)))

    assert trio.run(main).ok
