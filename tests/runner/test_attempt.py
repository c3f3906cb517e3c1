"""What fn can ask about itself, and what one item may leave behind for the next: nothing."""

import asyncio
import contextvars
import gc
import threading

import pytest

from tests.runner.driving import DRIVERS, Effects, named, serial
from wal_runner import Runner, Status, Verdict, current_attempt
from wal_runner.errors import ItemChanged
from wal_runner.runner.claims import _Hand


IDS = [f"item-{number}" for number in range(20)]

request_id = contextvars.ContextVar("request_id", default="none")


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_each_item_sees_its_own_attempt(runner, drive):
    """In each thread and coroutine, and down the stack of what fn calls."""
    seen = {}

    def fn(item):
        attempt = current_attempt()
        seen[item] = (attempt.item_id, attempt.number, attempt.start_seq, attempt.idempotency_key)

    drive(runner, IDS, fn)
    known = {item.item_id: item for item in runner.items()}

    assert {item: (item, 1, known[item].start_seq) for item in IDS} == {item: facts[:3] for item, facts in seen.items()}
    assert len(IDS) == len({facts[3] for facts in seen.values()})


def test_coroutines_that_take_turns_keep_their_attempts(runner):
    """Each has its own before and after every await, and so have the ones that it starts."""
    seen = []

    async def fn(item):
        for _ in range(3):
            await asyncio.sleep(0)
            inner = await asyncio.create_task(ask())
            seen.append((item, current_attempt().item_id, inner, await asyncio.to_thread(ask_now)))

    async def ask():
        return current_attempt().item_id

    def ask_now():
        return current_attempt().item_id

    asyncio.run(runner.run_async(IDS, fn, concurrency=7))

    assert 60 == len(seen)
    assert [] == [facts for facts in seen if len(set(facts)) > 1]


@pytest.mark.parametrize("drive", DRIVERS, ids=named)
def test_there_is_no_attempt_outside_of_fn(runner, drive):
    """Before, after, and in threads that fn knows nothing of: a LookupError that says so."""
    drive(runner, IDS, Effects())

    with pytest.raises(LookupError, match="No item is being run here"):
        current_attempt()


def test_threads_of_fn_have_no_attempt(runner):
    """A new thread has a context of its own, as everywhere in Python."""
    caught = []

    def ask():
        try:
            current_attempt()
        except LookupError as error:
            caught.append(error)

    def fn(_item):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    serial(runner, ["a"], fn)

    assert 1 == len(caught)


@pytest.mark.parametrize("drive", [drive for drive in DRIVERS if "claim" not in drive.__name__], ids=named)
def test_context_variables_do_not_leak_from_item_to_item(runner, drive):
    """What fn sets is gone with the item; a claim's body runs in the caller's own context."""
    seen = []

    def fn(item):
        seen.append(request_id.get())
        request_id.set(item)

    drive(runner, IDS, fn)

    assert ["none"] * len(IDS) == seen
    assert "none" == request_id.get()


def test_coroutine_keeps_its_context_while_it_waits(runner):
    """What it sets is there after each await, whatever the others set."""
    seen = []

    async def fn(item):
        assert "none" == request_id.get()
        request_id.set(item)
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append((item, request_id.get()))

    asyncio.run(runner.run_async(IDS, fn, concurrency=5))

    assert 60 == len(seen)
    assert [] == [pair for pair in seen if pair[0] != pair[1]]


@pytest.mark.parametrize("drive", [serial, DRIVERS[2]], ids=named)
def test_items_see_what_the_caller_has_set(runner, drive):
    """In the caller's thread and in its coroutines."""
    seen = []
    token = request_id.set("the caller's")
    try:
        drive(runner, IDS, lambda _: seen.append(request_id.get()))
    finally:
        request_id.reset(token)

    assert {"the caller's"} == set(seen)


def test_coroutine_may_use_what_asyncio_offers(runner):
    """Timeouts, groups and cancellation reach fn as they would anywhere."""
    seen = []

    async def fn(item):
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timeout")
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
        with pytest.raises(ExceptionGroup):
            await fail_in_a_group()
        return [item, *(part.result() for part in parts)]

    async def fail_in_a_group():
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.Event().wait()

    async def fail():
        raise ValueError

    report = asyncio.run(runner.run_async(IDS, fn, concurrency=5))

    assert len(IDS) == report.succeeded == len(seen)
    assert sorted((item, [item, 0, 1, 2]) for item in IDS) == sorted(runner.results())


def test_fn_may_return_any_awaitable(runner):
    """Not only a coroutine: a future, or an object that can be awaited."""

    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    class Caller:
        def __call__(self, item):
            return Awaitable() if item == "a" else asyncio.ensure_future(asyncio.sleep(0, "future"))

    asyncio.run(runner.run_async(["a", "b"], Caller()))

    assert [("a", "awaited"), ("b", "future")] == sorted(runner.results())


# --- Idempotency keys -----------------------------------------------------------------------------


def keys_of_runs(runner, *settle):
    """Run one item again and again, with what each step does in between; give the keys that fn saw."""
    keys = []

    def fn(_item):
        keys.append(current_attempt().idempotency_key)
        if len(keys) <= len(settle):
            raise settle[len(keys) - 1][0]

    for _, step in [*settle, (None, lambda _: None)]:
        serial(runner, ["a"], fn)
        step(runner)
    return keys


def test_redo_of_a_doubt_has_the_same_key(runner):
    """So that the outside world can tell that it is the same effect."""
    free = lambda runner: runner.resolve(*runner.in_doubt(), Verdict.did_not_happen())  # noqa: E731 - a step
    keys = keys_of_runs(runner, (TimeoutError, free), (TimeoutError, free))

    assert 3 == len(keys)
    assert 1 == len(set(keys))
    assert 64 == len(keys[0])


def test_next_try_of_a_failure_has_the_same_key(runner):
    """A failure is tried again as the same effect."""
    keys = keys_of_runs(runner, (ValueError, lambda _: None))

    assert 2 == len(keys)
    assert 1 == len(set(keys))


def test_retry_gives_a_new_key(runner):
    """Reopening an item, on record, asks for another effect."""
    again = lambda runner: runner.retry(["a"])  # noqa: E731 - a step
    keys = keys_of_runs(runner, (ValueError, again), (ValueError, again))

    assert 3 == len(keys) == len(set(keys))


def test_key_differs_between_items_and_between_logs(tmp_path):
    """The same item in tomorrow's log is another effect."""
    keys = []
    for name in ("today.wal", "tomorrow.wal"):
        with Runner(tmp_path / name) as runner:
            serial(runner, ["a", "b"], lambda _: keys.append(current_attempt().idempotency_key))

    assert 4 == len(set(keys))


def test_key_is_the_same_in_the_next_process(path):
    """It is made of what the log holds."""
    keys = []

    def fn(_item):
        keys.append(current_attempt().idempotency_key)
        raise ValueError

    for _ in range(2):
        with Runner(path) as runner:
            serial(runner, ["a"], fn)

    assert 2 == len(keys)
    assert 1 == len(set(keys))


@pytest.mark.parametrize("leaves", [False, True])
def test_claim_keeps_its_runner_open(path, leaves):
    """Nothing else may refer to it: a Runner that nothing refers to is closed."""
    done = []
    for attempt in Runner(path).claim(["a", "b"]):
        with attempt as item:
            gc.collect()
            done.append(item)
        if leaves:
            break

    gc.collect()
    with Runner(path) as runner:
        succeeded = [item.item_id for item in runner.items(Status.SUCCEEDED)]

    assert (["a"] if leaves else ["a", "b"]) == done == succeeded


def test_exception_between_two_steps_of_a_claim_ends_it(runner, monkeypatch):
    """The traceback keeps the loop's object, and with it the place of the run, as long as somebody looks at it."""

    def broken(_hand):
        raise KeyboardInterrupt

    claims = runner.claim(["a"])
    with monkeypatch.context() as patched:
        patched.setattr(_Hand, "give", broken)
        with pytest.raises(KeyboardInterrupt) as kept:
            next(claims)
    report = serial(runner, ["a"], lambda _: None)

    assert kept.tb is not None
    assert 1 == report.succeeded


def test_attempt_of_a_run_in_which_nothing_may_begin_says_why(runner):
    """Another task found that the source changes its items."""
    claims = runner.claim(["a"])
    attempt = next(claims)
    run = claims._hand.run
    run.feed.error = ItemChanged("the source changed an item")
    run.dispatcher.fence.closed = True

    with pytest.raises(ItemChanged, match="changed an item"), attempt:
        raise AssertionError("it was entered")


def test_claim_hands_nothing_out_once_nothing_may_begin(runner):
    """An attempt that could not be entered would be of no use, and its start would have to be released."""
    claims = runner.claim(["a", "b"], max_in_doubt=1)
    with next(claims):
        claims._hand.run.dispatcher.fence.closed = True

    assert next(claims, None) is None
    assert ["a"] == [item.item_id for item in runner.items()]
