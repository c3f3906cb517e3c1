"""What people do to a runner that it was not made for: an error that says so, and a log that is sound."""

import asyncio
import functools
import gc
import os
import signal
import threading

import pytest

from tests.runner.driving import DEADLINE_S, DRIVERS, Effects, Script, named, numbers, serial, statuses, wait_until
from wal_runner import Runner, Status
from wal_runner.core.events import KeyRuleSet
from wal_runner.errors import AttemptMisused, AttemptNotEntered, KeyRuleChanged, LogAlreadyOpen, LogClosed, RecursiveRun


IDS = [f"item-{number}" for number in range(10)]


# --- Functions ------------------------------------------------------------------------------


async def coroutine_function(_item):
    """Be what `run` must not be given."""


class CallableAsync:
    """An object that is called as a coroutine function."""

    async def __call__(self, _item):
        """Do nothing."""


@pytest.mark.parametrize("fn", [coroutine_function, CallableAsync()], ids=["function", "object"])
def test_coroutine_function_is_refused_by_run(runner, fn):
    """A TypeError that names `run_async`, before any start."""
    for call in (
        lambda: runner.run(IDS, fn),
        lambda: runner.run_iter(IDS, fn),
        lambda: runner.run_pages(lambda _cursor, _size: (IDS, None), fn),
    ):
        with pytest.raises(TypeError, match="Use run_async"):
            call()

    assert {} == statuses(runner)


def test_plain_function_is_refused_by_run_async(runner):
    """A TypeError that names `run`, before any start."""
    with pytest.raises(TypeError, match="Use run, or make it one"):
        asyncio.run(runner.run_async(IDS, lambda _: None))

    assert {} == statuses(runner)


def test_generator_function_is_refused(runner):
    """Calling it does nothing, so every item would count as done and nothing be done."""

    def generator(item):
        yield item

    async def asynchronous(item):
        yield item

    with pytest.raises(TypeError, match="generator function"):
        runner.run(IDS, generator)
    for fn in (generator, asynchronous):
        with pytest.raises(TypeError, match="generator function"):
            asyncio.run(runner.run_async(IDS, fn))

    assert {} == statuses(runner)


def test_swapped_arguments_are_refused(runner):
    """The message gives the order."""
    effects = Effects()
    with pytest.raises(TypeError, match=r"The order is run\(items, fn\)"):
        runner.run(effects.append, IDS)
    with pytest.raises(TypeError, match=r"The order is run\(items, fn\)"):
        runner.run_iter(effects.append, IDS)
    with pytest.raises(TypeError, match=r"The order is run_async\(items, fn\)"):
        asyncio.run(runner.run_async(coroutine_function, IDS))

    assert {} == statuses(runner)


def test_function_that_turns_out_to_be_plain_stops_the_run(runner):
    """It ran, so its item is done, and not run again; the mistake is raised."""
    effects = Effects()
    with pytest.raises(TypeError, match="Use run"):
        asyncio.run(runner.run_async(IDS, functools.partial(effects), concurrency=1))

    assert {IDS[0]: Status.SUCCEEDED} == {name: s for name, s in statuses(runner).items() if s is not Status.PENDING}
    assert IDS[:1] == effects


class Odd(BaseException):
    """Something that is not an Exception."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, Odd])
@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_base_exception_leaves_doubt_and_ends_the_run(runner, drive, error):
    """The function did not end by itself, so nobody knows; what else was begun is finished, the rest is pending."""
    ids = [str(number) for number in range(200)]
    effects = Effects({"7"}, error)
    with pytest.raises(error):
        drive(runner, ids, effects)
    found = statuses(runner)
    begun = set(effects)

    assert {"7": Status.IN_DOUBT} == {name: status for name, status in found.items() if status is Status.IN_DOUBT}
    assert begun - {"7"} == {name for name, status in found.items() if status is Status.SUCCEEDED}
    assert {Status.PENDING} >= {found[name] for name in found.keys() - begun}
    report = serial(runner, ids, effects)
    assert {"seen": 200, "succeeded": 200 - len(begun), "skipped": len(begun) - 1, "in_doubt": 1} == numbers(report)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_cancellation_that_fn_lets_out_is_a_doubt_of_that_item_only(runner, concurrency):
    """What fn waited for was cancelled; the run was not, and goes on."""

    async def fn(item):
        if item in IDS[:3]:
            raise asyncio.CancelledError

    report = asyncio.run(asyncio.wait_for(runner.run_async(IDS, fn, concurrency=concurrency), DEADLINE_S))

    assert {"seen": 10, "succeeded": 7, "in_doubt": 3} == numbers(report)


def test_worker_that_cancels_itself_ends_the_run(runner):
    """Rather than leave it waiting for workers that are gone."""

    async def fn(_item):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(asyncio.wait_for(runner.run_async(IDS, fn, concurrency=1), DEADLINE_S))

    assert 1 == runner.counts()[Status.IN_DOUBT]
    assert 0 == runner.counts()[Status.STARTED]


def test_cancelled_run_leaves_what_ran_in_doubt(runner):
    """And nothing else: what had not begun is pending."""
    begun = []

    async def fn(item):
        begun.append(item)
        await asyncio.Event().wait()

    async def cancel_it():
        run = asyncio.create_task(runner.run_async([str(n) for n in range(50)], fn, concurrency=3))
        await asyncio.to_thread(wait_until, lambda: len(begun) == 3)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(cancel_it())

    assert sorted(begun) == sorted(doubt.item_id for doubt in runner.in_doubt())
    assert 0 == runner.counts()[Status.STARTED]


# --- Recursion and sharing ---------------------------------------------------------------------


def test_run_inside_of_a_run_is_refused(runner):
    """The inner one is a mistake of fn, and so its failure; the outer one is named."""

    def fn(_item):
        runner.run(["inner"], print)

    report = serial(runner, ["outer"], fn)
    (failed,) = runner.items()

    assert {"seen": 1, "failed": 1} == numbers(report)
    assert failed.error.type.endswith("RecursiveRun")
    assert "driving.py:" in failed.error.message


def test_second_run_from_another_thread_is_refused(runner):
    """One run at a time, on one Runner."""
    go_on, running = threading.Event(), threading.Event()

    def fn(_item):
        running.set()
        assert go_on.wait(DEADLINE_S)

    thread = threading.Thread(target=runner.run, args=(["a"], fn))
    thread.start()
    assert running.wait(DEADLINE_S)
    try:
        with pytest.raises(RecursiveRun, match="in a run already"):
            runner.run(["b"], fn)
    finally:
        go_on.set()
        thread.join()

    assert {"a": Status.SUCCEEDED} == statuses(runner)


def test_looking_and_settling_inside_of_fn_is_fine(runner):
    """A function may ask for what the log knows, and reopen something else."""
    serial(runner, ["bad"], Effects({"bad"}))
    seen = []

    def fn(item):
        seen.append((runner.status(item), runner.counts()[Status.FAILED]))
        runner.retry(["bad"])

    serial(runner, ["a"], fn)

    assert [(Status.STARTED, 1)] == seen
    assert {"a": Status.SUCCEEDED, "bad": Status.PENDING} == statuses(runner)


def test_second_runner_in_one_process_is_refused(runner):
    """It is told where the first one is."""
    with pytest.raises(LogAlreadyOpen, match=r"open in this process already, opened at .*\.py:\d+"):
        Runner(runner.path)

    assert {"seen": 1, "succeeded": 1} == numbers(serial(runner, ["a"], Effects()))


def test_second_runner_is_refused_after_an_older_one_is_forgotten(path):
    """A Runner that was closed, and is collected later, does not take the next one's place along."""
    first = Runner(path)
    first.close()
    with Runner(path):
        del first
        gc.collect()

        with pytest.raises(LogAlreadyOpen, match="opened at"):
            Runner(path)


# --- Closing -----------------------------------------------------------------------------------


def test_closed_runner_refuses_to_run(path):
    """A clear error, and closing again does nothing."""
    runner = Runner(path)
    runner.close()
    runner.close()

    for call in (lambda: runner.run(["a"], print), runner.counts, lambda: runner.status("a"), runner.in_doubt):
        with pytest.raises(LogClosed):
            call()


def test_dropped_runner_closes_itself(path):
    """Nobody has to call close for the next one to open the log, with nothing lost."""
    runner = Runner(path)
    serial(runner, ["a"], Effects())
    del runner
    gc.collect()
    with Runner(path) as runner:
        endings = [info.ending for info in runner.writer.state.sessions.values()]

    assert ["closed", ""] == endings


@pytest.mark.parametrize("workers", [1, 4])
def test_runner_closed_in_the_middle_of_a_run_leaves_a_sound_log(path, workers):
    """What had ended is kept, what had not begun is released; the session is closed in order."""
    effects = Effects()
    ids = [str(number) for number in range(500)]
    with Runner(path) as runner:
        outcomes = runner.run_iter(ids, effects, workers=workers)
        for _ in range(60):
            next(outcomes)
    begun = len(effects)
    with pytest.raises(LogClosed):
        for _ in outcomes:
            pass
    with Runner(path) as runner:
        counts = runner.counts()
        report = serial(runner, ids, effects)

    assert begun == counts[Status.SUCCEEDED] + counts[Status.IN_DOUBT] + counts[Status.FAILED]
    assert counts[Status.IN_DOUBT] <= workers
    assert 0 == counts[Status.STARTED]
    assert 500 == report.seen
    assert 500 == len(set(effects)) == len(effects)


def test_runner_closed_by_fn_leaves_that_item_in_doubt(path):
    """It runs, so nobody knows; the caller is told that the log was closed."""
    runner = Runner(path)
    with pytest.raises(LogClosed):
        runner.run(IDS, lambda _: runner.close())
    with Runner(path) as again:
        (doubt,) = again.in_doubt()

    assert IDS[0] == doubt.item_id
    assert "closed while fn ran" in doubt.reason


def test_claims_that_are_left_end_with_their_runner(path):
    """As the docstring says: the end of the Runner ends them."""
    with Runner(path) as runner:
        claims = runner.claim([str(number) for number in range(500)])
        for number, attempt in enumerate(claims):
            with attempt:
                pass
            if number == 60:
                break
    claims.close()
    with Runner(path) as runner:
        counts = runner.counts()

    assert 61 == counts[Status.SUCCEEDED]
    assert 0 == counts[Status.STARTED] + counts[Status.IN_DOUBT]


# --- Claims ------------------------------------------------------------------------------------


def test_attempt_that_is_not_entered_stays_pending(runner):
    """The mistake is an error at the next turn of the loop."""
    with pytest.raises(AttemptNotEntered, match="'a'"):
        for _attempt in runner.claim(["a", "b"]):
            pass

    assert {"a": Status.PENDING} == {"a": runner.status("a")}
    assert {"seen": 2, "succeeded": 2} == numbers(serial(runner, ["a", "b"], Effects()))


def test_attempt_is_entered_once(runner):
    """A second `with` would be a second effect under one start."""
    for attempt in runner.claim(["a"]):
        with attempt:
            pass
        with pytest.raises(AttemptMisused, match="entered before"), attempt:
            pass

    assert {"a": Status.SUCCEEDED} == statuses(runner)


def test_attempt_of_a_loop_that_has_ended_is_refused(runner):
    """It was given back, so what its block does would be done again."""
    kept = next(runner.claim(["a"]))
    effects = Effects()
    with pytest.raises(AttemptMisused, match="given back"), kept as item:
        effects(item)
    report = serial(runner, ["a"], effects)

    assert ["a"] == effects
    assert {"seen": 1, "succeeded": 1} == numbers(report)


def test_attempt_may_be_failed_by_hand(runner):
    """With a reason, inside its block only."""
    for attempt in runner.claim(["a", "b"]):
        with pytest.raises(AttemptMisused):
            attempt.fail("too early")
        with attempt as item:
            if item == "a":
                attempt.fail("the mailbox is full")
        with pytest.raises(AttemptMisused):
            attempt.fail("too late")
    item = next(runner.items(Status.FAILED))

    assert {"a": Status.FAILED, "b": Status.SUCCEEDED} == statuses(runner)
    assert "the mailbox is full" == item.error.message


def test_error_in_the_block_is_swallowed_or_raised(runner):
    """It is recorded in both cases."""
    for attempt in runner.claim(["a"]):
        with attempt:
            raise ValueError("recorded")
    claims = runner.claim(["b"], on_error="raise")
    attempt = next(claims)
    with pytest.raises(ValueError, match="raised"), attempt:
        raise ValueError("raised")
    claims.close()

    assert {"a": Status.FAILED, "b": Status.FAILED} == statuses(runner)


def test_error_that_leaves_the_loop_ends_its_run(runner):
    """The outcome is durable, the rest is pending, and the Runner is free."""
    with pytest.raises(ValueError, match="raised"):
        drive_until_it_raises(runner)
    counts = runner.counts()

    assert 1 == counts[Status.FAILED]
    assert 0 == counts[Status.STARTED] + counts[Status.IN_DOUBT]
    assert {"seen": 10, "succeeded": 10} == numbers(serial(runner, IDS, Effects()))


def drive_until_it_raises(runner):
    for attempt in runner.claim(IDS, on_error="raise"):
        with attempt:
            raise ValueError("raised")


def test_break_inside_of_the_block_is_success(runner):
    """The block was left without an error."""
    for attempt in runner.claim(IDS):
        with attempt:
            break

    assert Status.SUCCEEDED is runner.status(IDS[0])
    assert 0 == runner.counts()[Status.STARTED] + runner.counts()[Status.IN_DOUBT]


def test_claims_are_a_context_manager(runner):
    """Leaving it gives back what was claimed and not entered."""
    with runner.claim(IDS) as claims:
        for attempt in claims:
            with attempt:
                pass
            break
    report = serial(runner, IDS, Effects())

    assert {"seen": 10, "succeeded": 9, "skipped": 1} == numbers(report)


# --- Forks -------------------------------------------------------------------------------------

FORKING = """
def fn(item):
    if item == "3":
        pid = os.fork()
        if pid == 0:
            return "in the child" * int(sys.argv[3])  # into the library, which is the parent's
        os.waitpid(pid, 0)
        say([name for name in os.listdir(path + "/sessions") if "large" in name])
    return "in the parent"

runner = Runner(path)
try:
    report = runner.run([str(n) for n in range(50)], fn, workers=int(sys.argv[2]))
    say(["parent", report.succeeded, report.in_doubt, dict(runner.results())["4"]])
    runner.close()
except errors.LogForked as error:
    say(["child", type(error).__name__])
"""


@pytest.mark.parametrize("times", [1, 1000], ids=["small", "large"])
@pytest.mark.parametrize("workers", [1, 4])
def test_forked_child_cannot_touch_its_parents_log(path, workers, times):
    """A child that returns into the library is refused there; the parent's run is unharmed."""
    with Script(FORKING, path, workers, times) as script:
        # With threads the fork has one thread, a worker, which just ends with the error.
        refused = script.hear() if workers == 1 else ["child", "LogForked"]
        written, summary = script.hear(), script.hear()
        code, _ = script.end()

    assert ["child", "LogForked"] == refused
    assert [] == written, "the child wrote its result into its parent's file"
    assert ["parent", 50, 0, "in the parent"] == summary
    assert 0 == code


def test_forked_child_that_exits_leaves_the_log_alone(path):
    """sys.exit runs what closes a Runner; in the child it closes nothing."""
    code = """
    with Runner(path) as runner:
        def fn(item):
            if item == "3":
                pid = os.fork()
                if pid == 0:
                    sys.exit(0)
                say(os.waitpid(pid, 0)[1])
        report = runner.run([str(n) for n in range(50)], fn)
    say([report.succeeded, report.in_doubt, os.listdir(path + "/sessions")])
    """
    with Script(code, path) as script:
        child, said = script.hear(), script.hear()
        code, text = script.end()

    assert (0, [50, 0, []]) == (child, said), text
    assert 0 == code


def test_forked_child_may_open_the_log_itself(path):
    """With a Runner of its own, as another process."""
    code = """
    runner = Runner(path)
    runner.run(["a"], print)
    pid = os.fork()
    if pid == 0:
        try:
            runner.status("a")
        except errors.LogForked:
            with Runner(path) as own:
                own.run(["b"], lambda item: "in the child")
        os._exit(0)
    os.waitpid(pid, 0)
    say(sorted(runner.results()))
    runner.close()
    """
    with Script(code.replace("print", "lambda item: 'in the parent'"), path) as script:
        said = script.hear()

    assert [["a", "in the parent"], ["b", "in the child"]] == said


def test_children_of_fn_do_not_keep_the_session_alive(path):
    """A plain subprocess inherits no descriptor of ours, so that a death is seen at once."""
    code = """
    import subprocess
    def fn(item):
        say(subprocess.Popen(["sleep", "1000"], close_fds=False, stdout=subprocess.DEVNULL).pid)
        hear()
    Runner(path).run(["a"], fn)
    """
    with Script(code, path) as script:
        pid = script.hear()
        script.process.kill()
        script.process.wait(DEADLINE_S)
        try:
            with Runner(path) as runner:
                doubts = [doubt.item_id for doubt in runner.in_doubt()]
        finally:
            os.kill(pid, signal.SIGKILL)

    assert ["a"] == doubts


def test_rule_that_another_run_sets_meanwhile_is_noticed(path):
    """A run that has checked its key and is still reading its source starts nothing under another rule."""
    people = [{"id": n, "email": f"u{n}@example.org"} for n in range(5)]
    done: list[object] = []

    def slow_source():
        # Another process, so to speak: the rule is changed while this run reads its first item.
        writer = runner.writer
        writer.append([KeyRuleSet("field:id", "run", "no item had been named")])
        yield from people

    with Runner(path) as runner, pytest.raises(KeyRuleChanged):
        runner.run(slow_source(), done.append, key="email")

    assert [] == done
