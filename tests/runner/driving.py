"""All ways to run a batch, under one signature, and small things that runner tests share."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wal_runner import Runner, RunReport, Status

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0

# --- Drivers ------------------------------------------------------------------------------


def serial(runner: Runner, items: Iterable, fn: Callable, **options) -> RunReport:
    return runner.run(items, fn, **options)


def threads(runner: Runner, items: Iterable, fn: Callable, **options) -> RunReport:
    return runner.run(items, fn, workers=4, **options)


def coroutines(runner: Runner, items: Iterable, fn: Callable, **options) -> RunReport:
    return asyncio.run(runner.run_async(items, as_coroutine_function(fn), concurrency=4, **options))


def coroutines_of_async_source(runner: Runner, items: Iterable, fn: Callable, **options) -> RunReport:
    async def source():
        for item in items:
            yield item

    return asyncio.run(runner.run_async(source(), as_coroutine_function(fn), concurrency=4, **options))


def claim(runner: Runner, items: Iterable, fn: Callable, **options) -> RunReport:
    with runner.claim(items, **options) as claims:
        for attempt in claims:
            with attempt as item:
                attempt.result = fn(item)
    return claims.report


def claim_async(runner: Runner, items: Iterable, fn: Callable, **options) -> RunReport:
    async def loop():
        with runner.claim(items, **options) as claims:
            async for attempt in claims:
                async with attempt as item:
                    attempt.result = fn(item)
        return claims.report

    return asyncio.run(loop())


def pages(runner: Runner, items: Iterable, fn: Callable, **options) -> RunReport:
    return runner.run_pages(page_fetcher(list(items)), fn, page_size=3, **options)


def pages_async(runner: Runner, items: Iterable, fn: Callable, **options) -> RunReport:
    fetch = page_fetcher(list(items))

    async def fetch_later(cursor, size):
        return fetch(cursor, size)

    return asyncio.run(
        runner.run_pages_async(fetch_later, as_coroutine_function(fn), page_size=3, concurrency=4, **options)
    )


DRIVERS = [serial, threads, coroutines, coroutines_of_async_source, claim, claim_async, pages, pages_async]


def as_coroutine_function(fn: Callable) -> Callable:
    async def call(item, *more):
        await asyncio.sleep(0)
        return fn(item, *more)

    return call


def page_fetcher(items: list) -> Callable:
    def fetch(cursor, size):
        first = cursor or 0
        following = first + size
        return items[first:following], following if following < len(items) else None

    return fetch


# --- Looking --------------------------------------------------------------------------------


def named(value: object) -> str:
    """Name a parameter of a test, the same in each process: addresses differ."""
    name = getattr(value, "__name__", None) if callable(value) else None
    return name if isinstance(name, str) else f"{value!r:.24}".partition(" at 0x")[0]


def statuses(runner: Runner) -> dict[str, Status]:
    """Give every item's status."""
    return {item.item_id: item.status for item in runner.items()}


def numbers(report: RunReport) -> dict[str, int]:
    """Give the counts of a report that are not 0."""
    names = ("seen", "succeeded", "failed", "skipped", "in_doubt", "abandoned", "elsewhere", "released", "duplicates")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


class Effects(list):
    """An fn that notes its items, fails at some, and gives a result."""

    def __init__(self, failing=(), error=ValueError):
        super().__init__()
        self.failing = failing
        self.error = error

    def __call__(self, item, *_worker_value):
        """Do what fn does."""
        self.append(item)
        if item in self.failing:
            raise self.error(f"no {item}")
        return {"did": item}


def wait_until(is_so: Callable[[], object], seconds: float = DEADLINE_S) -> None:
    """Look every millisecond whether it is so; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.001)


# --- Other processes --------------------------------------------------------------------------


class Script:
    """A program in a process of its own. It prints JSON lines, and reads lines when it waits for us."""

    def __init__(self, code: str, *arguments: object, prefix: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", PRELUDE + textwrap.dedent(code), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hear(self):
        """Give the next thing that it says."""
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.process.communicate(timeout=DEADLINE_S)[1]}"
        return json.loads(line)

    def tell(self, text: str = "") -> None:
        """Let it go on."""
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Wait for its end; give the exit code and what it wrote on stderr."""
        _, said = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, said

    def kill(self) -> None:
        """Kill it and wait for its end."""
        self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


PRELUDE = """
import asyncio, json, os, signal, sys, threading, time
from wal_runner import *
from wal_runner import errors

def say(thing):
    os.write(1, (json.dumps(thing) + "\\n").encode())

def hear():
    return sys.stdin.readline()

path = sys.argv[1]
"""
