"""Kill batches at random for as long as you like, and check every promise after each death.

    .venv/bin/python tools/kill_torture.py --kills 1000
    .venv/bin/python tools/kill_torture.py --kills 1000 --window 256 --results small

Each log is run by one to four processes, some beside one that compacts, which are killed with SIGKILL: half
of them at some moment, half at a failpoint, some of these while they recover from the death before. Some are
first stopped with SIGSTOP for a while, and go on. Each process draws its driver, workers, window, results and
snapshots anew, and two of three run once or twice before on the same Runner, in runs whose end cannot be written.
Now and then another folder is put in the place of the log: the log itself, renamed and back; a copy, a clone of hard
links or an older backup, which must be refused until a person accepts it, once.
After each death the log is compared with a ledger of real effects; then the doubts are settled
by the ledger, or left for the next processes to hold, which go on until the batch is done and every item has
happened exactly once.

Prints the seed first and a JSON summary last. The seed repeats the choices, not the moments: after a broken
promise it exits with 1 and keeps the log. With ``--bug`` it exits with 1 where the planted fault was not found.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final


ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.crash.breaking import ERRORS, LOG_ERRORS  # noqa: E402 - the path is set above
from tests.crash.child import BUGS, DRIVERS, RESULTS, Plan  # noqa: E402 - the path is set above
from tests.crash.harness import check, finish, held, kill_at_random, settle  # noqa: E402
from tests.crash.ledger import Ledger  # noqa: E402
from tests.crash.nursery import Child  # noqa: E402 - the path is set above
from tests.crash.places import Places  # noqa: E402 - the path is set above
from tools.harness.console import existing_folder, in_order, minutes, output, positive  # noqa: E402
from wal_runner.log.format import SCRATCH_SLOTS  # noqa: E402


FAILPOINTS: Final = {
    # name: up to which hit it is worth waiting for
    "commit.before_begin": 40,
    "commit.before_commit": 40,
    "commit.after_commit": 40,
    "commit.after_head": 40,
    "run.before_effect": 2_000,
    "run.after_effect": 2_000,
    "snapshot.before_slice": 20,
    "snapshot.before_last_slice": 3,
    "session.after_file": 1,
    "session.before_commit": 1,
    "session.after_commit": 1,
    "recover.before_commit": 1,
    "recover.after_commit": 1,
    "close.before_commit": 1,
    "close.after_commit": 1,
}
WINDOWS: Final = (None, None, 1, 2, 16, 256)
CONCURRENT: Final = {"threads", "coroutines", "pages_async"}
PROCESSES_MAX: Final = 4
COMPACTION_SHARE: Final = 0.2
PAUSE_SHARE: Final = 0.2
PAUSE_SECONDS_MAX: Final = 0.1
"""Of a stop, and of the wait for it; less by far than anybody waits for a gate that a stopped process holds."""

HELD_SHARE: Final = 0.3
"""Doubts are left to the next processes so often, which must hold them."""

PLACE_SHARE: Final = 0.3
"""Share of the rounds after which another folder is put in the place of the log."""

BACKUP_SHARE: Final = 0.3

COMPACTION_FAILPOINTS: Final = (
    "",
    "compact.before_fold",
    "compact.before_drop",
    "compact.after_drop",
    "snapshot.before_last_slice",
    "commit.after_commit",
)
TURNS_MAX: Final = 12
"""A run that is to fail does so after so many transactions at most."""

ROUNDS_MAX: Final = 8
"""A log is killed so often, then finished: many logs see more than one that is killed for ever."""

SECONDS_MAX: Final = 0.05
"""A random death comes so long after the first effect at most; most batches take longer."""


@dataclass
class Tally:
    """What happened so far."""

    kills: int = 0
    pauses: int = 0
    logs: int = 0
    survived: int = 0
    effects: int = 0
    doubts: int = 0
    doubts_most: int = 0
    forgotten: int = 0
    """Effects that came again because an older backup was restored and accepted."""
    places: Counter[str] = field(default_factory=Counter)
    drivers: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def main() -> int:
    """Torture logs until there were enough kills, or a promise was broken."""
    options = _options()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    logging.disable(logging.WARNING)  # a run that ends with doubts says so, and here each does
    chance, tally, began = random.Random(seed), Tally(), time.monotonic()  # noqa: S311 - no secret
    folder = Path(tempfile.mkdtemp(prefix="kill-torture-", dir=options.dir))
    gives_up = began + 60 * options.minutes if options.minutes else None
    while not tally.problems and (tally.kills < options.kills if gives_up is None else time.monotonic() < gives_up):
        log = folder / str(tally.logs)
        log.mkdir()
        _torture_log(log, options, chance, tally)
        tally.logs += 1
        if not tally.problems:
            shutil.rmtree(log)
        if sys.stderr.isatty():
            print(f"\r{tally.kills:,} kills, {tally.logs:,} logs", end="", file=sys.stderr, flush=True)
    summary = {
        "seed": seed,
        "ok": not tally.problems,
        "bug": options.bug or None,
        "kills": tally.kills,
        "pauses": tally.pauses,
        "logs": tally.logs,
        "survived": tally.survived,
        "effects": tally.effects,
        "doubts": tally.doubts,
        "doubts_most_at_once": tally.doubts_most,
        "drivers": dict(tally.drivers),
        "places": dict(tally.places),
        "forgotten_by_restored_backups": tally.forgotten,
        "window": "by chance" if options.window is None else options.window or "adaptive",
        "results": options.results or "by chance",
        "seconds": round(time.monotonic() - began, 1),
        "kept": str(folder) if tally.problems else None,
        "problems": tally.problems[:20],
    }
    if not tally.problems:
        shutil.rmtree(folder)
    print(json.dumps(summary, indent=2))
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2) + "\n")
    if options.bug:
        was_found = "The planted fault was found." if tally.problems else "MISSED: the planted fault was not found."
        print(was_found, file=sys.stderr)
        return 0 if tally.problems else 1
    return 1 if tally.problems else 0


def _torture_log(folder: Path, options: argparse.Namespace, chance: random.Random, tally: Tally) -> None:
    """Kill processes over one log until its batch is done, then finish it."""
    plan = _plan(folder, options, chance)
    processes = chance.choice((1, 1, 2, PROCESSES_MAX))
    places = Places(plan, chance)
    carried = 0
    for _ in range(ROUNDS_MAX):
        doomed = [_doom(_plan(folder, options, chance), chance) for _ in range(processes)]
        if Path(plan.log).exists() and chance.random() < COMPACTION_SHARE:
            doomed.append(replace(doomed[0], act="compact", failpoint=chance.choice(COMPACTION_FAILPOINTS), hit=1))
        children = [Child(each) for each in doomed]
        for child in children:
            if chance.random() < PAUSE_SHARE:
                time.sleep(chance.uniform(0, PAUSE_SECONDS_MAX))
                tally.pauses += child.pause(chance.uniform(0, PAUSE_SECONDS_MAX))
        killed = [
            each
            for each, child in zip(doomed, children, strict=True)
            if kill_at_random(child, each, chance, SECONDS_MAX)
        ]
        tally.drivers.update(each.driver if each.act == "run" else each.act for each in killed)
        tally.kills += len(killed)
        tally.survived += len(doomed) - len(killed)
        if not Path(plan.log).exists():
            continue  # it died before there was a log
        running = sum(each.workers for each in killed if each.act == "run")
        doubts_max = _change_place(places, running + carried, tally)
        found = places.problems or check(plan, running_max=doubts_max)
        if found:
            tally.problems += found
            return
        is_held = chance.random() < HELD_SHARE
        doubts = held(plan) if is_held else settle(plan)
        tally.doubts += max(0, doubts - carried)
        tally.doubts_most = max(tally.doubts_most, doubts)
        carried = doubts if is_held else 0
        if len(killed) < processes or tally.kills >= options.kills:
            break
    tally.problems += finish(plan)
    tally.effects += sum(Ledger.read(plan.ledger).ends().values())


def _change_place(places: Places, running_max: int, tally: Tally) -> int:
    """Put another folder in the place of the log, or none; return how many items may be in doubt then."""
    if not places.are_known:
        tally.places["not known on this file system"] += 1
        return running_max
    doubts_max = running_max
    if places.chance.random() < PLACE_SHARE:
        on_record = held(places.plan)
        if on_record > running_max:
            places.problems.append(f"{on_record} are in doubt on record, and {running_max} could be running")
        changed = places.change()
        tally.places[changed.way] += 1
        tally.forgotten += changed.forgotten
        doubts_max = running_max if changed.doubts is None else changed.doubts
    if places.chance.random() < BACKUP_SHARE:
        places.back_up()
    return doubts_max


def _doom(plan: Plan, chance: random.Random) -> Plan:
    """Choose where the process dies, unless it is to die at some moment."""
    if chance.random() < 0.5:  # noqa: PLR2004 - half of them
        return plan
    name = chance.choice(list(FAILPOINTS))
    return replace(plan, failpoint=name, hit=chance.randint(1, FAILPOINTS[name]))


def _plan(folder: Path, options: argparse.Namespace, chance: random.Random) -> Plan:
    drivers = [driver for driver in DRIVERS if options.workers <= 1 or driver in CONCURRENT]
    driver = options.driver or chance.choice(drivers)
    return Plan(
        log=str(folder / "batch.wal"),
        ledger=str(folder / "ledger"),
        driver=driver,
        workers=options.workers or chance.choice((1, 4, 16)) if driver in CONCURRENT else 1,
        window=chance.choice(WINDOWS) if options.window is None else options.window or None,
        items=options.items,
        page_size=50,
        results=options.results or chance.choice(RESULTS),
        failing=50,
        tail=chance.choice((0, 500, 3_000)),
        breaks=_breaks(driver, chance),
        bug=options.bug,
    )


def _breaks(driver: str, chance: random.Random) -> tuple[tuple[str, int], ...]:
    """Choose the runs before the last one whose end cannot be written."""
    ways = LOG_ERRORS if driver in {"coroutines", "pages_async"} else tuple(ERRORS)
    return tuple((chance.choice(ways), chance.randint(2, TURNS_MAX)) for _ in range(chance.choice((0, 0, 1, 2))))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=positive, default=100, help="stop after so many (100)")
    parser.add_argument("--minutes", type=minutes, help="go on for so long instead")
    parser.add_argument("--seed", type=int, help="repeat the choices of an earlier run")
    parser.add_argument(
        "--window", type=_window, default=None, metavar="N|adaptive", help="max_in_doubt, or adaptive (by chance)"
    )
    parser.add_argument("--workers", type=int, default=0, help="threads or coroutines (1, 4 or 16, by chance)")
    parser.add_argument("--driver", choices=DRIVERS, help="one driver only (all)")
    parser.add_argument("--results", choices=RESULTS, help="what fn returns (by chance)")
    parser.add_argument("--items", type=positive, default=6_000, help="items a log (6000)")
    parser.add_argument("--bug", choices=BUGS, default="", help="plant a fault, to see that it is caught")
    parser.add_argument("--json", type=output, metavar="FILE", help="write the summary there too")
    parser.add_argument("--dir", type=existing_folder, help="where the logs are made (the system's temporary folder)")
    return parser.parse_args()


def _window(text: str) -> int | None:
    number = 0 if text == "adaptive" else positive(text)
    if number > SCRATCH_SLOTS:
        raise argparse.ArgumentTypeError(f"{number} is more than {SCRATCH_SLOTS}")
    return number


if __name__ == "__main__":
    sys.exit(in_order(main))
