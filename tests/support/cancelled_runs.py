"""Asynchronous runs that are cancelled, and what of them goes on afterwards.

A case is made from a seed: what the source is, what fn does when it is cancelled, what per_worker awaits or loses,
and who cancels, when and how often. The law: when the run has returned or raised, nothing of fn runs but what was named
as left behind, nothing begins, and a second run with a truthful reconciler repeats no effect.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

import anyio

from wal_runner import Runner, Status, Verdict, current_attempt


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
    from pathlib import Path

    from wal_runner.runner.doubts import Doubt

ITEMS: Final = [f"i{number}" for number in range(8)]
SHORT_S: Final = 0.01
LONG_S: Final = 0.25
PATIENT_S: Final = 5.0

SOURCES: Final = ("list", "generator", "async", "slow to close", "slow pages", "swallows")
FNS: Final = ("sleeps", "cleans up", "swallows", "in a thread", "in a thread of anyio", "in an executor", "shields")
WORKERS: Final = ("none", "plain", "awaits", "awaits long", "loses", "loses long")
CONCURRENCY: Final = 3
CANCELS: Final = ("once", "twice", "often", "scope", "scopes", "timeout", "everything")


@dataclass(frozen=True)
class Case:
    """What is run, and how it is cancelled: at the *step*-th time that the run waits."""

    source: str = "list"
    fn: str = "sleeps"
    worker: str = "none"
    cancel: str = "once"
    step: int = 5
    cancel_wait: float = PATIENT_S

    @classmethod
    def of(cls, seed: int) -> Case:
        """Make the case of a seed."""
        chance = random.Random(seed)  # noqa: S311 - a seed names a case
        wait = chance.choice((0.0, 0.05, PATIENT_S, PATIENT_S))
        source, fn, worker, cancel = (chance.choice(names) for names in (SOURCES, FNS, WORKERS, CANCELS))
        if (fn, cancel) == ("in an executor", "everything"):
            cancel = "once"  # nothing ties that thread to its item once somebody else has cancelled the worker
        return cls(source, fn, worker, cancel, step=chance.randint(1, 12), cancel_wait=wait)


@dataclass
class Watch:
    """What fn does, and when."""

    begun: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    active: Counter[int] = field(default_factory=Counter)
    names: dict[int, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator[Callable[[], None]]:
        """Count the block as running for the item of the attempt; give what does its effect."""
        attempt = current_attempt()
        with self.lock:
            self.begun[attempt.item_id] += 1
            self.active[attempt.start_seq] += 1
            self.names[attempt.start_seq] = attempt.item_id
        try:
            yield lambda: self.effects.update([attempt.item_id])
        finally:
            with self.lock:
                self.active[attempt.start_seq] -= 1

    def at_work(self) -> set[str]:
        """Return the items whose fn runs now."""
        with self.lock:
            return {self.names[seq] for seq, count in self.active.items() if count}


def violations(case: Case, path: Path) -> list[str]:
    """Run *case* over a log at *path*; return what broke the law."""
    return asyncio.run(_violations(case, path))


async def _violations(case: Case, path: Path) -> list[str]:
    found: list[str] = []
    watch = Watch()
    with Runner(path) as runner:
        left = await _cancelled(case, runner, watch)
        at_work, begun = watch.at_work(), watch.begun.copy()
        if unnamed := at_work - set(left):
            found.append(f"still running and not named: {sorted(unnamed)}")
        found += [f"{name} was left behind and is not in doubt" for name in left if _status(runner, name) is not DOUBT]
        await asyncio.sleep(SHORT_S)
        if watch.begun != begun:
            found.append(f"begun after the end: {sorted((watch.begun - begun).elements())}")
        # What was left behind ends: the reconciler below knows what happened.
        while watch.at_work():  # noqa: ASYNC110 - threads are waited for, too
            await asyncio.sleep(SHORT_S)

        def ask(doubts: list[Doubt]) -> dict[str, Verdict]:
            return {
                doubt.item_id: Verdict.happened() if watch.effects[doubt.item_id] else Verdict.did_not_happen()
                for doubt in doubts
            }

        second = Case()
        report = await runner.run_async(ITEMS, _fn(second, watch), concurrency=3, reconcile=ask, signals=False)
        if not report.ok:
            found.append(f"the second run is not ok: {report}")
        twice = {name: count for name, count in watch.effects.items() if count != 1}
        if twice or len(watch.effects) != len(ITEMS):
            found.append(f"effects that did not happen once: {twice or ITEMS - watch.effects.keys()}")
    return found


DOUBT: Final = Status.IN_DOUBT


def _status(runner: Runner, name: str) -> Status:
    # One that was left behind may have ended since, and settled its doubt by what it found out.
    status = runner.status(name)
    late = runner.history(name)[-1].event
    return DOUBT if type(late).__name__ == "LateOutcome" else status


async def _cancelled(case: Case, runner: Runner, watch: Watch) -> list[str]:
    """Run, cancel, and return what was named as left behind."""
    told: list[str] = []
    run = asyncio.create_task(_run(case, runner, watch, told), name="the run")
    with suppress(asyncio.CancelledError, TimeoutError):
        await run
    return told


async def _run(case: Case, runner: Runner, watch: Watch, told: list[str]) -> None:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {
        "concurrency": CONCURRENCY,
        "per_worker": _per_worker(case.worker),
        "cancel_wait": case.cancel_wait,
    }
    options |= {"signals": False}
    with anyio.CancelScope() as outer, anyio.CancelScope() as inner:

        def cancel() -> None:
            match case.cancel:
                case "scope":
                    inner.cancel()
                case "scopes":
                    inner.cancel()
                    outer.cancel()
                case "everything":
                    for other in asyncio.all_tasks(loop) - {main}:
                        other.cancel()
                case _:
                    task.cancel()
                    for again in range({"twice": 1, "often": 9}.get(case.cancel, 0)):
                        loop.call_later(SHORT_S * again, task.cancel, f"again {again}")

        main = next(other for other in asyncio.all_tasks(loop) if other.get_name() != "the run")
        try:
            if case.source == "slow pages":
                coming = runner.run_pages_async(_fetch_page, _fn(case, watch), page_size=3, **options)
            else:
                coming = runner.run_async(SOURCE_OF[case.source](), _fn(case, watch), **options)
            async with asyncio.timeout(0.05 * case.step) if case.cancel == "timeout" else nullcontext():
                report = await _counted(coming, 10**9 if case.cancel == "timeout" else case.step, cancel)
            told += report.left_behind
        except BaseException as error:
            told += getattr(error, "left_behind", None) or getattr(error.__context__, "left_behind", [])
            raise


@coroutine
def _counted(coming: Coroutine[Any, Any, Any], step: int, cancel: Callable[[], None]) -> Generator[Any, Any, Any]:
    """Await *coming*; when it waits for the *step*-th time, *cancel*."""
    steps = 0
    send, value = coming.send, None
    try:
        while True:
            waits_for = send(value)
            steps += 1
            if steps == step:
                asyncio.get_running_loop().call_soon(cancel)
            try:
                value = yield waits_for
            except BaseException as error:  # noqa: BLE001 - passed on to the run
                send, value = coming.throw, error
            else:
                send = coming.send
    except StopIteration as end:
        return end.value


# --- What is run ----------------------------------------------------------------------------------


def _fn(case: Case, watch: Watch) -> Callable[..., Awaitable[None]]:  # noqa: C901 - a flat list of kinds
    def block(did: Callable[[], None]) -> None:
        time.sleep(LONG_S / 2)
        did()

    def in_thread() -> None:
        with watch.running() as did:
            block(did)

    async def to_the_end() -> None:
        with watch.running() as did:
            await asyncio.sleep(LONG_S / 2)
            did()

    async def fn(item: str, *_value: object) -> None:
        with watch.running() as did:
            await asyncio.sleep(SHORT_S * (int(item[1:]) % 3))
            if case.worker.startswith("loses") and int(item[1:]) % 2:
                raise BrokenPipeError("the connection is lost, and nothing was done")
            match case.fn:
                case "in a thread":
                    await asyncio.to_thread(in_thread)
                case "in a thread of anyio":
                    await anyio.to_thread.run_sync(in_thread)
                case "in an executor":
                    await _in_an_executor(watch, block)
                case "shields":
                    await asyncio.shield(to_the_end())
                case "swallows":
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(LONG_S)
                    await asyncio.sleep(LONG_S)
                    did()
                case "cleans up":
                    try:
                        await asyncio.sleep(LONG_S)
                        did()
                    finally:
                        await asyncio.sleep(5 * SHORT_S)
                case _:
                    await asyncio.sleep(SHORT_S)
                    did()

    return fn


async def _in_an_executor(watch: Watch, block: Callable[[Callable[[], None]], None]) -> None:
    """Work in a thread that has no context, so that only the awaited future leads to it."""
    attempt = current_attempt()

    def work() -> None:
        with watch.lock:
            watch.active[attempt.start_seq] += 1
        try:
            block(lambda: watch.effects.update([attempt.item_id]))
        finally:
            with watch.lock:
                watch.active[attempt.start_seq] -= 1

    await asyncio.get_running_loop().run_in_executor(None, work)


def _per_worker(kind: str) -> Callable[[], Any] | None:
    @asynccontextmanager
    async def awaits() -> AsyncIterator[str]:
        await asyncio.sleep(0)
        try:
            yield "value"
        finally:
            await asyncio.sleep(LONG_S if kind == "awaits long" else SHORT_S)

    entered: list[None] = []

    @asynccontextmanager
    async def loses() -> AsyncIterator[str]:
        entered.append(None)
        await asyncio.sleep(SHORT_S)
        if len(entered) > CONCURRENCY and len(entered) % 2:
            raise ConnectionRefusedError("not yet")
        try:
            yield "value"
        finally:
            await asyncio.sleep(LONG_S if kind == "loses long" else SHORT_S)

    if kind.startswith("loses"):
        return loses
    return {"none": None, "plain": nullcontext}.get(kind, awaits)


async def _finite() -> AsyncIterator[str]:
    for item in ITEMS:
        yield item


async def _slow_to_close() -> AsyncIterator[str]:
    try:
        for item in ITEMS:
            yield item
        await asyncio.Event().wait()  # a queue with nothing in it
    finally:
        await asyncio.sleep(LONG_S)


async def _swallows() -> AsyncIterator[str]:
    for item in ITEMS[:4]:
        yield item
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(LONG_S)
        yield ITEMS[4]


async def _fetch_page(cursor: int | None, size: int) -> tuple[list[str], int | None]:
    begin = cursor or 0
    try:
        await asyncio.sleep(SHORT_S)
    finally:
        await asyncio.sleep(SHORT_S)
    return ITEMS[begin : begin + size], begin + size if begin + size < len(ITEMS) else None


SOURCE_OF: Final[dict[str, Callable[[], Any]]] = {
    "list": lambda: list(ITEMS),
    "generator": lambda: iter(ITEMS),
    "async": _finite,
    "slow to close": _slow_to_close,
    "swallows": _swallows,
}
