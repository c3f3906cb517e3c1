"""What runs in a process that is going to be killed: a batch whose effects go to a ledger.

`perform` is called in a fork of the nursery. The ledger is a file opened with O_APPEND, one write a
line: it is the outside world, which no crash takes back.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tests.crash.breaking import breaking
from tests.crash.ledger import Ledger
from wal_runner import Runner, Verdict, current_attempt, failpoints
from wal_runner.core import arrays, decide
from wal_runner.core.events import ItemReleased, ItemSucceeded
from wal_runner.errors import LogError
from wal_runner.log import lmdb_log, lmdb_turn, scratch
from wal_runner.recovery import snapshots, unrecorded
from wal_runner.recovery.compact import compact
from wal_runner.recovery.evidence import own_started
from wal_runner.runner import feed


if TYPE_CHECKING:
    from collections.abc import Callable

    from wal_runner import Doubt

LARGE_TEXT = "large result, " * 400
"""Over 4 KB: it does not fit a scratch slot by far."""

LONG_MESSAGE = "the mail server refused it; " * 20


@dataclass(frozen=True)
class Plan:
    """What a child is to do, and where it dies.

    *act*: "run" the batch, or "compact", "resolve" or just "open" the log. *window* is
    ``max_in_doubt``, None for the adaptive one. *results* is "none", "small" or "large". Every
    *failing*-th item fails at its first attempt. With *tail* a snapshot is due after so many events.
    *failpoint* (and *hit*) is where the process kills itself. Before its last run it runs once for each of
    *breaks*, a way of `breaking` and after how many transactions, on the same Runner. *bug* plants a fault of the
    library, for the checker to catch. To "ask" is to open the log and to write the error into the `refusal_file`;
    *accept_copy* is what a person answers.
    """

    log: str
    ledger: str
    act: str = "run"
    driver: str = "serial"
    workers: int = 1
    window: int | None = None
    items: int = 60
    page_size: int = 10
    results: str = "small"
    failing: int = 7
    tail: int = 0
    failpoint: str = ""
    hit: int = 1
    breaks: tuple[tuple[str, int], ...] = ()
    bug: str = ""
    accept_copy: bool = False

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Write it for the command line of the child."""
        return json.dumps(asdict(self))

    @property
    def ids(self) -> list[str]:
        """Give the ids of the batch."""
        return [f"item-{number:05}" for number in range(self.items)]

    def fails(self, item_id: str) -> bool:
        """Say whether the item fails at its first attempt."""
        return self.failing > 0 and int(item_id[5:]) % self.failing == self.failing - 1


RESULTS = ("none", "small", "large")


def result_of(item_id: str, kind: str) -> object:
    """Give what fn returns for the item, where its results are of *kind*."""
    return {"none": None, "small": {"sent": item_id}, "large": [item_id, LARGE_TEXT]}[kind]


class Refused(Exception):
    """What a failing item raises."""


# --- The outside world --------------------------------------------------------------------


class Effects:
    """The effects of one process: each is noted in the ledger before it begins and once it has happened."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ledger = os.open(plan.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self) -> None:
        """Let go of the ledger."""
        os.close(self._ledger)

    def note(self, word: str, *fields: object) -> None:
        """Write one line, whole, whatever happens next."""
        line = " ".join(map(str, (word, *fields))) + "\n"
        os.write(self._ledger, line.encode())

    def apply(self, item: str) -> object:
        """Do what fn does for *item*."""
        attempt = current_attempt()
        self.note("begin", item, attempt.start_seq)
        self._refuse(item, attempt.number, attempt.start_seq)
        return self._end(item, attempt.start_seq)

    async def apply_slowly(self, item: str) -> object:
        """Do the same, and let others run in the middle of it."""
        attempt = current_attempt()
        self.note("begin", item, attempt.start_seq)
        await asyncio.sleep(0)
        self._refuse(item, attempt.number, attempt.start_seq)
        return self._end(item, attempt.start_seq)

    def _end(self, item: str, start_seq: int) -> object:
        self.note("end", item, start_seq, self._plan.results)
        return result_of(item, self._plan.results)

    def _refuse(self, item: str, number: int, start_seq: int) -> None:
        if self._plan.fails(item) and number == 1:
            self.note("fail", item, start_seq)
            raise Refused(f"{item}: {LONG_MESSAGE}")


# --- What the child does ------------------------------------------------------------------


def perform(plan: Plan) -> None:
    """Do what *plan* says, or die on the way."""
    if plan.tail:
        _snapshot_every(plan.tail)
    if plan.bug:
        BUGS[plan.bug](plan)
    if plan.failpoint:
        failpoints.arm(plan.failpoint, _kill, hit=plan.hit)
    if plan.act == "compact":
        compact(plan.log)
        return
    if plan.act == "ask":
        refusal_file(plan).write_text(_refusal(plan))
        return
    effects = Effects(plan)
    with Runner(plan.log, accept_copy=plan.accept_copy) as runner:
        if plan.act == "run":
            for way, after in plan.breaks:
                with breaking(way, after):
                    _RUN[plan.driver](runner, plan, effects, max_in_doubt=plan.window, signals=False)
            _RUN[plan.driver](runner, plan, effects, max_in_doubt=plan.window, signals=False)
        elif plan.act == "resolve":
            world = Ledger.read(plan.ledger)
            for doubt in runner.in_doubt():
                runner.resolve(doubt, verdict(world, doubt))


def refusal_file(plan: Plan) -> Path:
    """Return the file into which "ask" writes by which error the log was refused: nothing if it was not."""
    return Path(f"{plan.ledger}.refusal")


def _refusal(plan: Plan) -> str:
    try:
        Runner(plan.log, must_exist=True).close()
    except LogError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _run_serial(runner: Runner, plan: Plan, effects: Effects, **options: Any) -> None:
    runner.run(plan.ids, effects.apply, **options)


def _run_threads(runner: Runner, plan: Plan, effects: Effects, **options: Any) -> None:
    runner.run(plan.ids, effects.apply, workers=plan.workers, **options)


def _run_iter(runner: Runner, plan: Plan, effects: Effects, **options: Any) -> None:
    for _ in runner.run_iter(plan.ids, effects.apply, **options):
        pass


def _run_coroutines(runner: Runner, plan: Plan, effects: Effects, **options: Any) -> None:
    asyncio.run(runner.run_async(plan.ids, effects.apply_slowly, concurrency=plan.workers, **options))


def _run_claim(runner: Runner, plan: Plan, effects: Effects, **options: Any) -> None:
    for attempt in runner.claim(plan.ids, **options):
        with attempt as item:
            attempt.result = effects.apply(item)


def _run_pages(runner: Runner, plan: Plan, effects: Effects, **options: Any) -> None:
    runner.run_pages(_fetcher(plan, effects), effects.apply, page_size=plan.page_size, **options)


def _run_pages_async(runner: Runner, plan: Plan, effects: Effects, **options: Any) -> None:
    fetch = _fetcher(plan, effects)

    async def fetch_later(cursor: int | None, size: int) -> tuple[list[str], int | None]:
        return fetch(cursor, size)

    options |= {"page_size": plan.page_size, "concurrency": plan.workers}
    asyncio.run(runner.run_pages_async(fetch_later, effects.apply_slowly, **options))


_RUN: dict[str, Callable[..., None]] = {
    "serial": _run_serial,
    "threads": _run_threads,
    "coroutines": _run_coroutines,
    "claim": _run_claim,
    "iter": _run_iter,
    "pages": _run_pages,
    "pages_async": _run_pages_async,
}
DRIVERS = tuple(_RUN)


def verdict(world: Ledger, doubt: Doubt) -> Verdict:
    """Settle a doubt by the ledger: the effect happened where its end is noted."""
    seen = world.attempts.get(doubt.start_seq)  # none: fn was called, and had not come to its first line
    if seen is not None and "end" in seen.words:
        return Verdict.happened(result_of(doubt.item_id, seen.results))
    return Verdict.did_not_happen()


def _fetcher(plan: Plan, effects: Effects) -> Callable[[int | None, int], tuple[list[str], int | None]]:
    def fetch(cursor: int | None, size: int) -> tuple[list[str], int | None]:
        first = cursor or 0
        effects.note("fetch", first)
        following = first + size
        return plan.ids[first:following], following if following < plan.items else None

    return fetch


def _snapshot_every(events: int) -> None:
    # Final in the package; here a log of some hundred events must see what one of millions sees.
    for name, value in (("TAIL_EVENTS_MAX", events), ("TAIL_EVENTS_AT_CLOSE", events), ("SLICE_ROWS_MAX", 32)):
        setattr(snapshots, name, value)


def _kill() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL cannot be survived")


# --- Planted bugs: each breaks a promise, and the checker must see it ------------------------


def _begin_unmarked(_plan: Plan) -> None:
    """Let fn run without the slot saying so: its item would be released, and run twice."""

    def begin(self: scratch.Scratch, slot: int, start_seq: int) -> None:
        del self, slot, start_seq

    scratch.Scratch.begin = begin  # type: ignore[method-assign]


def _outcome_unmarked(_plan: Plan) -> None:
    """Keep no outcome in the slots: a crash would put the whole window in doubt."""

    def finish(self: scratch.Scratch, slot: int, start_seq: int, event: Any) -> None:
        del self, slot, start_seq, event

    scratch.Scratch.finish = finish  # type: ignore[method-assign]


def _success_too_early(_plan: Plan) -> None:
    """Call an item done as soon as its fn begins: a crash would lose it."""

    def begin(self: scratch.Scratch, slot: int, start_seq: int) -> None:
        self.finish(slot, start_seq, ItemSucceeded(start_seq, 0))

    scratch.Scratch.begin = begin  # type: ignore[method-assign]


def _result_lost(_plan: Plan) -> None:
    """Keep that an item succeeded, and not what it gave."""
    finish = scratch.Scratch.finish

    def without_result(self: scratch.Scratch, slot: int, start_seq: int, event: Any) -> None:
        finish(self, slot, start_seq, event._replace(result=None) if isinstance(event, ItemSucceeded) else event)

    scratch.Scratch.finish = without_result  # type: ignore[method-assign]


def _effect_before_start(plan: Plan) -> None:
    """Let effects happen before their starts are durable: a crash would leave no trace of them."""
    effects = Effects(plan)
    commit = lmdb_turn.LmdbTurn.commit

    def commit_late(self: lmdb_turn.LmdbTurn) -> None:
        for record in self.appended:
            for start_seq, array in enumerate(record.arrays, record.first_seq):
                if array[0] == arrays.STARTED:
                    effects.note("begin", array[1], start_seq)
        commit(self)

    lmdb_turn.LmdbTurn.commit = commit_late  # type: ignore[method-assign]


def _doubts_redone(_plan: Plan) -> None:
    """Redo what is in doubt, as a run does that was told that this is harmless."""

    def careless(item: Any, **options: Any) -> Any:
        return decide.course(item, **options | {"idempotent": True})

    feed.course = careless  # type: ignore[attr-defined]


def _release_unrecorded(_plan: Plan) -> None:
    """Take what an earlier run could not record for what never began."""

    def settlements(state: Any, session: int, *_: Any) -> tuple[dict[int, ItemReleased], set[int]]:
        return {start_seq: ItemReleased(start_seq) for start_seq in own_started(state, session)}, set()

    unrecorded.settlements = settlements  # type: ignore[assignment, attr-defined]


def _place_not_compared(_plan: Plan) -> None:
    """Run a copy without asking: what the original did since would be repeated in silence."""
    for module in (lmdb_log, lmdb_turn):
        module.copied_from = lambda *_: ""  # type: ignore[attr-defined]


def _place_not_kept(_plan: Plan) -> None:
    """Forget that a copy was accepted: people would write the answer into their programs for good."""
    keep_place = lmdb_turn.LmdbTurn.keep_place

    def keep_first(self: lmdb_turn.LmdbTurn) -> None:
        if self._stored_place() is None:
            keep_place(self)

    lmdb_turn.LmdbTurn.keep_place = keep_first  # type: ignore[method-assign]


def _links_not_counted(_plan: Plan) -> None:
    """Run a log whose GATE has a second name: each folder would take the other one's sessions for dead."""
    fstat = os.fstat

    def single(fd: int) -> os.stat_result:
        found = fstat(fd)
        names = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
        return os.stat_result([*found[:3], 1, *found[4:]], names)

    os.fstat = single


BUGS: dict[str, Callable[[Plan], None]] = {
    "doubts redone": _doubts_redone,
    "begin unmarked": _begin_unmarked,
    "outcome unmarked": _outcome_unmarked,
    "success too early": _success_too_early,
    "result lost": _result_lost,
    "effect before start": _effect_before_start,
    "release unrecorded": _release_unrecorded,
    "place not compared": _place_not_compared,
    "place not kept": _place_not_kept,
    "links not counted": _links_not_counted,
}
