"""Renewed connections: a worker whose connection is lost connects again before its next item."""

import asyncio
import contextvars
import gc
import logging
import math
import threading
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import pytest

from tests.runner.driving import numbers, page_fetcher, statuses
from tests.runner.line_server import LineServer, linked, linked_async
from wal_runner import Runner, Status, Verdict
from wal_runner.runner import renewal
from wal_runner.runner.run import Run


IDS = [str(number) for number in range(300)]
BAD = "100"


@pytest.fixture
def server():
    """Give a server that runs."""
    with LineServer() as started:
        yield started


# --- Drivers: each calls `before(item)`, then sends the item over its connection --------------


def serial(runner, server, before, connect=linked, workers=1, **options):
    def fn(item, link):
        before(item)
        link.send(item)

    return runner.run(IDS, fn, workers=workers, per_worker=lambda: connect(server.port), **options)


def threads(runner, server, before, connect=linked, **options):
    return serial(runner, server, before, connect, workers=4, **options)


def iterated(runner, server, before, connect=linked, **options):
    def fn(item, link):
        before(item)
        link.send(item)

    options |= {"per_worker": lambda: connect(server.port)}
    for _ in runner.run_iter(IDS, fn, **options):
        pass
    return runner.run([], fn, **options)


def pages(runner, server, before, connect=linked, **options):
    def fn(item, link):
        before(item)
        link.send(item)

    return runner.run_pages(page_fetcher(IDS), fn, workers=4, per_worker=lambda: connect(server.port), **options)


def coroutines(runner, server, before, connect=linked_async, **options):
    async def fn(item, link):
        before(item)
        await link.send(item)

    return asyncio.run(runner.run_async(IDS, fn, concurrency=4, per_worker=lambda: connect(server.port), **options))


def pages_of_coroutines(runner, server, before, connect=linked_async, **options):
    async def fn(item, link):
        before(item)
        await link.send(item)

    fetch = page_fetcher(IDS)

    async def fetch_page(cursor, size):
        return fetch(cursor, size)

    options |= {"concurrency": 4, "per_worker": lambda: connect(server.port)}
    return asyncio.run(runner.run_pages_async(fetch_page, fn, **options))


def coroutines_with_sync_contexts(runner, server, before, connect=linked, **options):
    async def fn(item, link):
        before(item)
        await asyncio.sleep(0)
        link.send(item)

    return asyncio.run(runner.run_async(IDS, fn, concurrency=4, per_worker=lambda: connect(server.port), **options))


WORKERS = {
    serial: 1,
    iterated: 1,
    threads: 4,
    pages: 4,
    coroutines: 4,
    coroutines_with_sync_contexts: 4,
    pages_of_coroutines: 4,
}
DRIVERS = list(WORKERS)
WITH_REPORT = [driver for driver in DRIVERS if driver is not iterated]
SYNC = [serial, threads]


def counting(connect, on_attempt):
    """Return *connect* that calls *on_attempt* with the number of the attempt first."""
    attempts = []

    def counted(port):
        attempts.append(None)
        on_attempt(len(attempts))
        return connect(port)

    return counted


def default_of(driver):
    """Return what connects in *driver*."""
    return linked_async if driver in {coroutines, pages_of_coroutines} else linked


def at(name, act):
    """Return a function of an item that acts at one of them."""
    return lambda item: act() if item == name else None


# --- What it costs ------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_restarted_server_costs_one_item_a_worker(runner, server, driver):
    """Each worker loses what it had in flight, at most, and everything else is done by the same run."""
    driver(runner, server, at(BAD, server.restart))
    counts = runner.counts()

    assert 1 <= counts[Status.IN_DOUBT] <= WORKERS[driver]
    assert len(IDS) - counts[Status.IN_DOUBT] == counts[Status.SUCCEEDED]
    assert len(set(server.lines)) == len(server.lines)


@pytest.mark.parametrize("driver", DRIVERS)
def test_server_that_is_down_costs_no_further_item(runner, server, driver):
    """While connecting fails nothing is begun; the items wait for the server."""
    down = []

    def stop():
        down.append(len(counted))
        server.stop()

    counted = []

    def count(number):
        counted.append(number)
        if down and number == down[0] + 6:
            server.start()

    driver(runner, server, at(BAD, stop), counting(default_of(driver), count))
    counts = runner.counts()

    assert len(counted) >= WORKERS[driver] + 6
    assert 1 <= counts[Status.IN_DOUBT] <= WORKERS[driver]
    assert len(IDS) - counts[Status.IN_DOUBT] == counts[Status.SUCCEEDED]


@pytest.mark.parametrize("driver", [serial, coroutines_with_sync_contexts, threads])
def test_context_is_left_with_the_error_and_in_order(runner, server, driver):
    """As a `with` does: a transaction is rolled back, not committed; then the new one is entered."""
    events = []

    @contextmanager
    def connect(port):
        events.append("enter")
        with linked(port) as link:
            try:
                yield link
            except ConnectionResetError:
                events.append("rollback")
                raise
            else:
                events.append("commit")

    driver(runner, server, at(BAD, server.restart), connect)

    # A worker that loses its connection with its last item does not make another one.
    assert 1 <= events.count("commit") <= WORKERS[driver]
    assert events.count("enter") == events.count("commit") + events.count("rollback")
    assert events.count("rollback") >= 1


def test_last_item_needs_no_new_connection(runner, server):
    """A server that is gone does not hold up a run that has nothing left to do."""
    began = time.monotonic()
    report = serial(runner, server, at(IDS[-1], server.stop))

    assert {"seen": 300, "succeeded": 299, "in_doubt": 1} == numbers(report)
    assert report.ended_because is None
    assert time.monotonic() - began < renewal.CONNECT_TIMEOUT_S / 2


@pytest.mark.parametrize("driver", [threads, coroutines])
def test_run_that_is_done_does_not_wait_for_connections(runner, server, driver):
    """Workers that still reconnect go home at once when the others have done everything."""
    lost = threading.Event()

    def connect_others(number):
        if number > WORKERS[driver]:
            lost.set()
            raise ConnectionRefusedError("one too many")

    def fail_once(item):
        if item == BAD:
            raise BrokenPipeError("this connection only")

    began = time.monotonic()
    report = driver(runner, server, fail_once, counting(default_of(driver), connect_others))

    assert lost.is_set()
    assert {"seen": 300, "succeeded": 299, "in_doubt": 1} == numbers(report)
    assert time.monotonic() - began < renewal.CONNECT_TIMEOUT_S / 2


def test_outcomes_are_durable_while_a_serial_run_waits(runner, server):
    """And yielded: what was done before the connection was lost is not held back by the wait."""
    seen, counts = [], []

    def look(number):
        if number == 4:
            with Runner.open_read(runner.path) as view:
                counts.append(view.counts()[Status.SUCCEEDED])
            counts.append(len(seen))
            server.start()

    def fn(item, link):
        if item == BAD:
            server.stop()
        link.send(item)

    connect = counting(linked, look)
    for outcome in runner.run_iter(IDS, fn, per_worker=lambda: connect(server.port)):
        seen.append(outcome.item_id)  # noqa: PERF401 - one by one, since the server looks at it

    assert [100, 101] == counts
    assert 300 == len(seen)


@pytest.mark.parametrize("driver", [serial, threads, coroutines])
def test_later_round_waits_for_the_server(runner, server, driver):
    """What a reconciler sets free at the end runs on connections of its own; there were some before."""
    attempts, tried = [], []

    def refuse_twice(number):
        attempts.append(number)
        if WORKERS[driver] < number <= WORKERS[driver] + 2:
            raise ConnectionRefusedError("not yet")

    def lose_once(item):
        if item == BAD and not tried:
            tried.append(item)
            raise TimeoutError("no answer")

    def ask(doubts):
        return {doubt.item_id: Verdict.did_not_happen() for doubt in doubts}

    connect = counting(default_of(driver), refuse_twice)
    report = driver(runner, server, lose_once, connect, reconcile=ask, renew=False)

    assert report.ok
    assert len(attempts) > WORKERS[driver] + 2


# --- The end: nobody can connect -----------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_run_ends_if_nobody_can_connect(path, server, driver):
    """In order, after connect_timeout: what was not begun is released, and the next run goes on."""
    with Runner(path) as runner:
        if driver is iterated:
            outcomes = runner.run_iter(
                IDS,
                lambda item, link: (at(BAD, server.stop)(item), link.send(item)),
                per_worker=lambda: linked(server.port),
                connect_timeout=0.3,
                outcome_unknown=(),
            )
            assert 101 == len([outcome for outcome in outcomes if outcome.status is not Status.PENDING])
        else:
            report = driver(runner, server, at(BAD, server.stop), connect_timeout=0.3, outcome_unknown=())
            counts = runner.counts()

            assert ("connection", 6, False) == (report.ended_because, report.exit_code, report.ok)
            assert report.connect_error.startswith("ConnectionRefusedError: ")
            assert 1 <= report.failed <= WORKERS[driver]
            assert 0 == counts[Status.STARTED] + counts[Status.IN_DOUBT]
            with pytest.raises(
                Exception, match=r"connect again within connect_timeout.*ConnectionRefused.*Run the same"
            ):
                report.check()
    server.start()
    with Runner(path) as runner:
        done = serial(runner, server, lambda _: None)

        assert done.ok
        assert set(IDS) == set(server.lines)


def test_run_ends_while_connecting_hangs(runner, server, monkeypatch):
    """The time counts although no attempt returns; the threads that hang are left behind."""
    monkeypatch.setattr(renewal, "LEAVE_S", 0.2)
    go_on = threading.Event()

    def hang(number):
        if number > 4:
            go_on.wait(20)

    try:
        report = threads(runner, server, at(BAD, server.stop), counting(linked, hang), connect_timeout=0.3)
    finally:
        go_on.set()

    assert ("connection", "an attempt to connect did not return") == (report.ended_because, report.connect_error)


@pytest.mark.parametrize("driver", [serial, threads, coroutines])
def test_one_working_connection_keeps_the_run_going(runner, server, driver):
    """Only if no worker has one for that long does the run end."""

    def connect_later(number):
        if WORKERS[driver] < number <= WORKERS[driver] + 3:
            raise ConnectionRefusedError("not yet")

    report = driver(
        runner, server, at(BAD, server.restart), counting(default_of(driver), connect_later), connect_timeout=20
    )

    assert report.ended_because is None
    assert len(IDS) == report.succeeded + report.in_doubt


# --- What is raised --------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", WITH_REPORT)
def test_first_attempt_to_connect_raises_at_once(runner, server, driver):
    """A wrong address is a mistake, not an outage."""
    server.stop()
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        driver(runner, server, lambda _: None)

    assert time.monotonic() - began < 10


@pytest.mark.parametrize("driver", WITH_REPORT)
def test_other_error_of_connecting_again_raises_at_once(runner, server, driver):
    """A password that was changed meanwhile: no number of attempts helps."""

    def refuse(number):
        if number > WORKERS[driver]:
            raise ValueError("wrong password")

    with pytest.raises(ValueError, match="wrong password"):
        driver(runner, server, at(BAD, server.restart), counting(default_of(driver), refuse))

    assert 0 == runner.counts()[Status.STARTED]


@pytest.mark.parametrize("driver", SYNC)
@pytest.mark.parametrize("error", [ConnectionResetError, ValueError])
def test_error_of_leaving_ends_the_run_unless_it_is_the_connections(runner, server, driver, error):
    """The goodbye to a dead server fails, too; a bug in the exit is a bug."""
    left = []

    @contextmanager
    def connect(port):
        with linked(port) as link:
            try:
                yield link
            finally:
                left.append(None)
                if len(left) == 1:
                    raise error("on the way out")

    with ExitStack() as stack:
        if error is ValueError:
            stack.enter_context(pytest.raises(ValueError, match="on the way out"))
        report = driver(runner, server, at(BAD, server.restart), connect)

        assert len(IDS) == report.succeeded + report.in_doubt


# --- Contexts that hang -------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", SYNC)
def test_exit_that_hangs_is_left_behind(runner, server, driver, monkeypatch, caplog):
    """The worker connects again all the same, and the run ends."""
    monkeypatch.setattr(renewal, "LEAVE_S", 0.2)
    go_on = threading.Event()

    @contextmanager
    def connect(port):
        with linked(port) as link:
            try:
                yield link
            except OSError:
                go_on.wait(20)
                raise

    try:
        report = driver(runner, server, at(BAD, server.restart), connect)
    finally:
        go_on.set()

    assert len(IDS) == report.succeeded + report.in_doubt
    assert 1 <= report.in_doubt <= WORKERS[driver]
    assert "Leaving the context of a lost connection takes more than 0.2 s" in caplog.text


@pytest.mark.parametrize("swallows", [False, True])
def test_asynchronous_exit_that_hangs_is_cancelled(runner, server, swallows, monkeypatch, caplog):
    """And left behind if it goes on even then."""
    monkeypatch.setattr(renewal, "LEAVE_S", 0.1)
    cancelled = []

    async def main():
        go_on = asyncio.Event()

        @asynccontextmanager
        async def connect():
            async with linked_async(server.port) as link:
                try:
                    yield link
                except OSError:
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        cancelled.append(None)
                        if swallows:
                            await go_on.wait()
                        raise

        async def fn(item, link):
            at(BAD, server.restart)(item)
            await link.send(item)

        report = await runner.run_async(IDS, fn, concurrency=4, per_worker=connect)
        go_on.set()
        return report

    report = asyncio.run(main())

    assert 1 <= len(cancelled) == report.in_doubt <= 4
    assert len(IDS) == report.succeeded + report.in_doubt
    assert swallows == ("was cancelled after 0.1 s, and goes on" in caplog.text)


def test_replacing_coroutine_sees_no_variables_of_the_other(runner, server, monkeypatch):
    """Each worker has a copy of the caller's context variables, and not of another worker's."""
    monkeypatch.setattr(renewal, "LEAVE_S", 0.1)
    variable = contextvars.ContextVar("variable", default="the caller's")
    seen = []

    async def main():
        go_on = asyncio.Event()

        @asynccontextmanager
        async def connect():
            seen.append(variable.get())
            variable.set("the worker's")
            async with linked_async(server.port) as link:
                try:
                    yield link
                except OSError:
                    with suppress(asyncio.CancelledError):
                        await go_on.wait()
                    await go_on.wait()
                    raise

        async def fn(item, link):
            at(BAD, server.restart)(item)
            await link.send(item)

        await runner.run_async(IDS, fn, concurrency=2, per_worker=connect)
        go_on.set()

    asyncio.run(main())

    assert len(seen) > 2
    assert {"the caller's"} == set(seen)


def test_exit_that_awaits_a_task_it_cancelled_ends_no_run(runner, server):
    """The cancellation that it raises is that task's, and not the run's."""

    @asynccontextmanager
    async def connect(port):
        async with linked_async(port) as link:
            reader = asyncio.create_task(asyncio.Event().wait())
            await asyncio.sleep(0)
            try:
                yield link
            finally:
                reader.cancel()
                await reader

    report = coroutines(runner, server, at(BAD, server.restart), connect)

    assert len(IDS) == report.succeeded + report.in_doubt
    assert 1 <= report.in_doubt <= 4


def test_context_of_a_coroutine_is_left_by_its_task(runner, server):
    """A task group or a cancel scope in it could not be left by another one."""
    tasks = []

    @asynccontextmanager
    async def connect():
        async with asyncio.TaskGroup(), linked_async(server.port) as link:
            entered = asyncio.current_task()
            try:
                yield link
            except OSError:
                tasks.append(entered is asyncio.current_task())

    async def fn(item, link):
        at(BAD, server.restart)(item)
        await link.send(item)

    report = asyncio.run(runner.run_async(IDS, fn, concurrency=4, per_worker=connect))

    assert [True] * report.in_doubt == tasks


def test_context_of_a_thread_is_left_by_that_thread(runner, server):
    """What it holds may belong to the thread, such as a connection of sqlite3."""
    own = []

    @contextmanager
    def connect():
        entered = threading.get_ident()
        with linked(server.port) as link:
            try:
                yield link
            finally:
                own.append(entered == threading.get_ident())

    def fn(item, link):
        at(BAD, server.restart)(item)
        link.send(item)

    runner.run(IDS, fn, workers=4, per_worker=connect)

    assert len(own) > 4
    assert all(own)


# --- renew= ----------------------------------------------------------------------------------------------


class Numbered:
    """Counts the contexts, each of which is a number."""

    def __init__(self):
        self.entered = 0

    @contextmanager
    def __call__(self):
        """Enter one."""
        self.entered += 1
        yield self.entered


DECIDED = [
    (None, ValueError, 1),
    (None, BrokenPipeError, 4),
    (True, ValueError, 4),
    (False, BrokenPipeError, 1),
    (lambda error: isinstance(error, ValueError), ValueError, 4),
    (lambda error: isinstance(error, ValueError), BrokenPipeError, 1),
]


@pytest.mark.parametrize(("renew", "error", "contexts"), DECIDED)
@pytest.mark.parametrize("is_async", [False, True])
def test_renew_says_after_which_errors(runner, renew, error, contexts, is_async):
    """None: if the table calls the connection unusable; True: after each; False: never; or a function."""
    numbered = Numbered()

    def fn(item, _number):
        if item in {"1", "3", "7"}:
            raise error("no")

    async def fn_async(item, number):
        await asyncio.sleep(0)
        fn(item, number)

    options = {"per_worker": numbered, "renew": renew}
    if is_async:
        asyncio.run(runner.run_async(IDS, fn_async, concurrency=1, **options))
    else:
        runner.run(IDS, fn, **options)

    assert contexts == numbered.entered


def test_cancellation_inside_fn_counts_as_an_exception(runner):
    """Something that fn awaited was cancelled; with renew=True its connection is replaced as well."""
    numbered = Numbered()

    async def fn(item, _number):
        if item == BAD:
            raise asyncio.CancelledError

    report = asyncio.run(runner.run_async(IDS, fn, concurrency=1, per_worker=numbered, renew=True))

    assert {"seen": 300, "succeeded": 299, "in_doubt": 1} == numbers(report)
    assert 2 == numbered.entered


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    ("renew", "raised", "says"),
    [(lambda _error: None, TypeError, "renew=.* answered None"), (lambda _error: 1 / 0, ZeroDivisionError, "division")],
)
def test_renew_that_misbehaves_ends_the_run(runner, workers, renew, raised, says):
    """It is a mistake of the program, and each error would show it; the item's outcome is on record."""

    def fn(item, _number):
        if item == BAD:
            raise ValueError("no")

    with pytest.raises(raised, match=says):
        runner.run(IDS, fn, workers=workers, per_worker=Numbered(), renew=renew)

    assert Status.FAILED is runner.status(BAD)
    assert 0 == runner.counts()[Status.STARTED]


async def later(_error):
    """Be a coroutine function, whose answer is always true."""


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"renew": 1}, TypeError),
        ({"renew": "always"}, TypeError),
        ({"renew": OSError}, TypeError),
        ({"renew": later}, TypeError),
        ({"connect_timeout": 0}, ValueError),
        ({"connect_timeout": math.nan}, ValueError),
        ({"connect_timeout": "60"}, TypeError),
        ({"connect_timeout": True}, TypeError),
    ],
)
def test_options_that_make_no_sense_are_refused(runner, options, error):
    """Before anything starts."""
    with pytest.raises(error, match=next(iter(options))):
        runner.run(IDS, lambda _item, _link: None, per_worker=Numbered(), **options)

    assert {} == statuses(runner)


# --- What is said -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", [serial, threads, coroutines])
def test_outage_is_warned_of_once_and_so_is_its_end(runner, server, driver, caplog):
    """However many workers reconnect, and however often."""
    caplog.set_level(logging.WARNING)
    before = WORKERS[driver]

    def count(number):
        if number == before + 5:
            server.start()

    driver(runner, server, at(BAD, server.stop), counting(default_of(driver), count))
    said = [record.getMessage() for record in caplog.records if "onnection" in record.getMessage()]

    assert 1 == sum("A worker lost its connection" in text for text in said)
    assert 1 == sum("The connection is back" in text for text in said)


@pytest.mark.parametrize("driver", [serial, threads, coroutines])
def test_progress_counts_the_workers_that_reconnect(runner, server, driver, monkeypatch):
    """A real run says how many of its workers wait, and for how long; and when it ends nobody does."""
    runs, seen = [], []
    monkeypatch.setattr(Run, "prepare", lambda run, prepare=Run.prepare: (runs.append(run), prepare(run)))
    before = WORKERS[driver]

    def look(number):
        if number > before:
            seen.append(runs[0].reconnecting())
        if number == before + 8:
            server.start()

    driver(runner, server, at(BAD, server.stop), counting(default_of(driver), look))

    assert before == max(waiting for waiting, _, _ in seen)
    assert {before} == {workers for _, workers, _ in seen}
    assert sorted(seconds for *_, seconds in seen) == [seconds for *_, seconds in seen]
    assert runs[0].reconnecting() is None


@pytest.mark.parametrize("workers", [1, 4])
def test_error_of_fn_does_not_outlive_its_context(runner, workers):
    """Or the frames of fn would stay in memory while the worker reconnects."""
    alive, seen = [], []

    class Big:
        def __init__(self):
            alive.append(None)

        def __del__(self):
            alive.pop()

    @contextmanager
    def connect():
        gc.collect()
        seen.append(len(alive))
        yield

    def fn(item, _connection):
        _big = Big() if item == BAD else None
        if item == BAD:
            raise BrokenPipeError("no")

    runner.run(IDS, fn, workers=workers, per_worker=connect)

    assert [0] * (workers + 1) == seen
