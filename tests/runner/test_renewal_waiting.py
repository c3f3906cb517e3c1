"""A run that waits for its server: the time it waits, what it says meanwhile, and how it stops."""

import logging
import threading
import time

import pytest

from tests.runner.driving import numbers
from tests.runner.line_server import linked
from tests.runner.renewing import (
    BAD,
    DRIVERS,
    IDS,
    WORKERS,
    at,
    coroutines,
    counting,
    default_of,
    iterated,
    serial,
    threads,
)
from wal_runner import Runner, Status, Verdict
from wal_runner.runner import renewal
from wal_runner.runner.run import Run


# --- While some workers wait ---------------------------------------------------------------------


@pytest.mark.parametrize("driver", [threads, coroutines])
def test_run_that_is_done_does_not_wait_for_connections(runner, server, driver):
    """Workers that still reconnect stop at once when the others have done all items."""
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
    """Outcomes of items done before the connection was lost are written and yielded before the wait."""
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
    """Items that a reconciler reopens at the end run on new connections; a refused one is tried again."""
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


# --- No worker can connect -----------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_run_ends_if_nobody_can_connect(path, server, driver):
    """The run ends in order after connect_timeout: items not started are released for the next run."""
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
    """connect_timeout ends the run although no attempt returns; threads that hang are left behind."""
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
    """The run ends only if no worker has a connection for connect_timeout."""

    def connect_later(number):
        if WORKERS[driver] < number <= WORKERS[driver] + 3:
            raise ConnectionRefusedError("not yet")

    report = driver(
        runner, server, at(BAD, server.restart), counting(default_of(driver), connect_later), connect_timeout=20
    )

    assert report.ended_because is None
    assert len(IDS) == report.succeeded + report.in_doubt


# --- Warnings and progress -----------------------------------------------------------------------


@pytest.mark.parametrize("driver", [serial, threads, coroutines])
def test_outage_is_warned_of_once_and_so_is_its_end(runner, server, driver, caplog):
    """Two warnings are logged, however many workers reconnect and however often."""
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
    """A run reports how many of its workers wait, and for how long; at its end, that none does."""
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
