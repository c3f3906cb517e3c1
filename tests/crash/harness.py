"""Kill a batch, reopen its log, and compare what the log says with what the world has seen.

Used by the crash tests and by ``tools/kill_torture.py``. `check` gives every broken promise as a
sentence, none where all is well; that it is not blind is tested by planted bugs.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.crash.child import Effects, Plan, result_of, verdict
from tests.crash.ledger import AttemptSeen, Ledger
from tests.crash.nursery import Child
from wal_runner import Runner, Status, replay
from wal_runner.core.arrays import events_of
from wal_runner.core.events import ItemReconciled, ItemStarted
from wal_runner.core.state_tables import NUMBERS
from wal_runner.recovery.loading import records_after
from wal_runner.recovery.verifying import verify


if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from wal_runner import Doubt, Item, Verdict

CHILD_SECONDS_MAX = 60.0


# --- Deaths ----------------------------------------------------------------------------


def die(plan: Plan) -> None:
    """Perform *plan* in a child that kills itself at the plan's failpoint; fail where it lives on."""
    assert -signal.SIGKILL == Child(plan).death(), f"{plan.failpoint} was not reached {plan.hit} times"


def kill_at_random(child: Child, plan: Plan, chance: random.Random, seconds_max: float) -> bool:
    """Kill *child* at some moment after its first effect; say whether it was killed, and had not ended before."""
    ledger = Path(plan.ledger)
    size = ledger.stat().st_size if ledger.exists() else 0
    wait_until(lambda: child.ends_within(0) or (ledger.exists() and ledger.stat().st_size > size))
    if not child.ends_within(chance.uniform(0, seconds_max)):
        child.kill()
    return child.death() != 0


def wait_until(is_so: Callable[[], object], seconds: float = CHILD_SECONDS_MAX) -> None:
    """Look every millisecond whether it is so; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.001)


# --- What is checked ----------------------------------------------------------------------


def check(plan: Plan, *, running_max: int) -> list[str]:
    """Reopen the log after deaths and give every broken promise; *running_max* fns ran at most."""
    world = Ledger.read(plan.ledger)
    with Runner(plan.log, must_exist=True) as runner:
        told = Told.by(runner)
        problems = [
            *_unfounded_effects(told, world),
            *_repeated_effects(world),
            *_wrong_items(runner, plan.ids, told, world),
            *_too_many_doubts(runner, running_max),
            *_verdicts_of_nobody(told),
            *fold_differences(runner),
        ]
    return problems + [f"verify: {problem}" for problem in verify(plan.log)]


def settle(plan: Plan) -> int:
    """Settle the doubts by the ledger, and give how many there were."""
    world, effects = Ledger.read(plan.ledger), Effects(plan)
    with Runner(plan.log, must_exist=True) as runner:
        doubts = runner.in_doubt()
        for doubt in doubts:
            runner.resolve(doubt, verdict(world, doubt))
            effects.note("verdict", doubt.item_id, doubt.start_seq)
    effects.close()
    return len(doubts)


def held(plan: Plan) -> int:
    """Leave the doubts for the next processes, which must hold them, and give how many there are."""
    with Runner.open_read(plan.log) as view:
        return sum(1 for _ in view.items(Status.IN_DOUBT))


def finish(plan: Plan) -> list[str]:
    """Settle the doubts by the ledger, run what is left, and give every broken promise."""
    effects = Effects(plan)

    def look(doubts: Sequence[Doubt]) -> Mapping[str, Verdict]:
        world = Ledger.read(plan.ledger)
        return {doubt.item_id: verdict(world, doubt) for doubt in doubts}

    with Runner(plan.log, must_exist=True) as runner:
        # Twice, because some items fail at their first attempt.
        for _ in range(2):
            runner.run(plan.ids, effects.apply, reconcile=look, signals=False)
        found = {item.item_id: (item.status, item.result) for item in runner.items()}
    effects.close()
    world = Ledger.read(plan.ledger)
    ends, kinds = world.ends(), world.kinds()
    problems = [f"{item_id} happened {ends.get(item_id, 0)} times" for item_id in plan.ids if ends.get(item_id) != 1]
    for item_id, kind in kinds.items():
        if found.get(item_id) != (Status.SUCCEEDED, result_of(item_id, kind)):
            problems.append(f"{item_id} ended as {found.get(item_id)}")
    return problems + [f"verify: {problem}" for problem in verify(plan.log)]


def fold_differences(runner: Runner) -> list[str]:
    """Give where the live state, the rows included, differs from a replay of the whole log (P4)."""
    live, full = runner.writer.state, replay(runner.path)
    runner.counts()  # catches up
    differences = [
        f"{name} is {getattr(live, name)!r} live and {getattr(full, name)!r} replayed"
        for name in NUMBERS
        if getattr(live, name) != getattr(full, name)
    ]
    rows = {item.item_id: item for item in runner.items()}
    for item_id, row in full.touched():
        shown, replayed = rows.get(item_id), full.item(item_id)
        assert replayed is not None, row
        if shown is None or (shown.status, shown.start_seq, shown.attempts) != (
            replayed.status,
            replayed.start_seq,
            replayed.attempts,
        ):
            differences.append(f"{item_id} is {shown} live and {replayed} replayed")
    if not full.base_seq and len(rows) != len(dict(full.touched())):
        differences.append(f"{len(rows)} items live, {len(dict(full.touched()))} replayed")
    return differences


@dataclass(frozen=True)
class Told:
    """What the records of a log tell beside its items: the starts, and the starts that a verdict settled."""

    base: int
    starts: dict[int, str]
    settled: set[int]
    policies: list[int]
    """Verdicts that a run gave by itself: each needs a run that was told that a redo is harmless, and none is here."""

    @classmethod
    def by(cls, runner: Runner) -> Told:
        """Read the records that the log still holds."""
        log = runner.writer.log
        base = log.base()[0]
        events = [pair for record in records_after(log, base) for pair in events_of(record)]
        return cls(
            base,
            {seq: event.item_id for seq, event in events if isinstance(event, ItemStarted)},
            {event.start_seq for _, event in events if isinstance(event, ItemReconciled)},
            [seq for seq, event in events if isinstance(event, ItemReconciled) and event.by.startswith("policy")],
        )


def _unfounded_effects(told: Told, world: Ledger) -> Iterator[str]:
    """P1: no effect without a start on disk."""
    for seen in world.attempts.values():
        if seen.start_seq > told.base and told.starts.get(seen.start_seq) != seen.item_id:
            yield f"{seen.item_id} began as {seen.start_seq}, which is no start of it in the log"


def _verdicts_of_nobody(told: Told) -> Iterator[str]:
    """P2: what is in doubt never runs again without a verdict that somebody gave."""
    for seq in told.policies:
        yield f"event {seq} lets a doubt be redone by policy, and no run was told that it may"


def _repeated_effects(world: Ledger) -> Iterator[str]:
    """P2: what has happened is never begun again."""
    for item_id, attempts in world.by_item.items():
        happened = [index for index, seen in enumerate(attempts) if "end" in seen.words]
        if len(happened) > 1 or (happened and happened[0] != len(attempts) - 1):
            yield f"{item_id} was run again after it had happened: {attempts}"


def _wrong_items(runner: Runner, ids: Sequence[str], told: Told, world: Ledger) -> Iterator[str]:
    """P3 and P6: each item is what the world has seen of it."""
    items = {item.item_id: item for item in runner.items()}
    for item_id in ids:
        item, attempts = items.get(item_id), world.by_item.get(item_id, [])
        why = _why_wrong(item, attempts[-1] if attempts else None, told.settled | world.settled)
        if why:
            yield f"{item_id} {why}: the log has {item}, the world saw {attempts}"


def _why_wrong(item: Item | None, seen: AttemptSeen | None, settled: set[int]) -> str:
    why = ""
    if item is None:
        why = "is lost" if seen is not None else ""
    elif seen is None or item.start_seq > seen.start_seq:
        # Its fn was marked as begun, and had not come to its first line; or it was released.
        why = "" if item.status in {Status.PENDING, Status.IN_DOUBT} else "has not begun"
    elif item.start_seq < seen.start_seq:
        why = "began again unknown to the log"
    elif seen.start_seq in settled or item.status is Status.IN_DOUBT:
        why = ""
    elif seen.words == ["begin"]:
        why = "was running and is not in doubt"
    elif seen.words[-1] == "end":
        why = "" if _is_done(seen, item) else "has happened, with a result"
    elif not _is_refused(seen.item_id, item):
        why = "has failed, with an error"
    return why


def _is_done(seen: AttemptSeen, item: Item) -> bool:
    wanted = result_of(seen.item_id, seen.results)
    return item.status is Status.SUCCEEDED and item.result == wanted and not item.omitted


def _is_refused(item_id: str, item: Item) -> bool:
    error = item.error
    return (
        item.status is Status.FAILED
        and error is not None
        and error.type.endswith("Refused")
        and error.message.startswith(f"{item_id}: ")
        and "_refuse" in str(error.traceback)
    )


def _too_many_doubts(runner: Runner, running_max: int) -> Iterator[str]:
    """P6: never more in doubt than fns that were running."""
    doubts = [doubt.item_id for doubt in runner.in_doubt()]
    if len(doubts) > running_max:
        yield f"{len(doubts)} are in doubt, and {running_max} could be running: {doubts}"
