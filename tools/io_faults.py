"""Let every call of a log's life fail that can, one at a time, and look what is left.

    .venv/bin/python tools/io_faults.py --life serial --all
    .venv/bin/python tools/io_faults.py --every 10
    .venv/bin/python tools/io_faults.py --life windows --way eio-once --call 63

In each life one call goes wrong: EIO or ENOSPC once or for ever, half a write, killed before, killed after. The
life goes on as far as the library lets it; then the log is opened without faults and compared with what it had
promised. `--control` plants a library that swallows such errors, which must be found.

Prints the seed first. Exits with 1 after a broken promise, and prints the command that shows it again.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING


ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.harness.console import CANNOT_RUN, existing_folder, in_order, minutes, output, positive  # noqa: E402 - the path is set above
from tools.harness.faults import WAYS, Case, Outcomes, count_calls, try_all  # noqa: E402
from tools.harness.interposer import Unavailable  # noqa: E402
from tools.harness.lives import LIVES  # noqa: E402
from tools.harness.memory import memory_folder  # noqa: E402
from tools.harness.nursery import Nursery  # noqa: E402
from tools.harness.planted import SWALLOWED  # noqa: E402


if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    asked = _parser().parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    folder = Path(tempfile.mkdtemp(prefix="io-faults-", dir=asked.dir))
    try:
        # Not before: whoever reads this may end the tool, and an exception before the try would leave the folder.
        print(f"seed {seed}", flush=True)
        return _show(asked, seed, folder)
    except Unavailable as error:
        print(f"This cannot run here: {error}", file=sys.stderr)
        return CANNOT_RUN
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--life", choices=sorted(LIVES), action="append", help="only this life; may be given again")
    parser.add_argument("--way", choices=list(WAYS), action="append", help="only this way; may be given again")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="every call")
    which.add_argument("--every", type=positive, default=8, metavar="N", help="every N-th call, begun by chance (8)")
    which.add_argument("--call", type=int, metavar="K", help="this call alone, from 0")
    parser.add_argument("--seed", type=int, help="what the lives are drawn from, and which calls")
    parser.add_argument("--processes", type=positive, default=2, help="how many lives at once (2)")
    parser.add_argument("--minutes", type=minutes, help="begin no more lives after so long")
    parser.add_argument("--control", action="store_true", help="plant a library that swallows errors")
    parser.add_argument("--dir", type=existing_folder, default=memory_folder(), help="where they live (in memory)")
    parser.add_argument("--json", type=output, metavar="FILE", help="write the figures there")
    return parser


def _show(asked: argparse.Namespace, seed: int, folder: Path) -> int:
    began = time.monotonic()
    total = Outcomes()
    lives = {}
    wanted = list(asked.life or LIVES)
    if asked.minutes:  # the time may not do for all
        random.Random(seed).shuffle(wanted)  # noqa: S311 - no secret
    for life in wanted:
        if asked.minutes and time.monotonic() - began > 60 * asked.minutes:
            break
        place = folder / life
        place.mkdir()
        cases = cases_of(life, seed, place, ways=asked.way, every=1 if asked.all else asked.every, call=asked.call)
        outcomes = try_all(cases, place, processes=asked.processes, planted=SWALLOWED if asked.control else "")
        total.add(outcomes)
        lives[life] = len(cases)
        shutil.rmtree(place)
        print(f"  {life}: {outcomes.cases.total():,} faults, {len(outcomes.violations)} broken promises", flush=True)
    seconds = time.monotonic() - began
    count = total.cases.total()
    print(f"{count:,} faults, {total.reached:,} reached, in {len(lives)} of {len(wanted)} lives, in {seconds:.0f} s")
    for name, times in total.raised.most_common():
        print(f"  {times:6,} {name}")
    for case, problems in total.violations[:10]:
        print(f"\n{case.life}, call {case.call} {case.way}:")
        for problem in problems:
            print(f"  {problem}")
        print(
            f"  Again: python tools/io_faults.py --seed {seed} --life {case.life} --way {case.way} --call {case.call}"
            + (" --control" if asked.control else "")
        )
    if asked.json:
        figures = {"seed": seed, "lives": lives, "ways": total.cases, "reached": total.reached, "raised": total.raised}
        asked.json.write_text(json.dumps({**figures, "violations": total.violations}, indent=2) + "\n")
    if asked.control:
        print("The planted fault was found." if total.violations else "MISSED: the planted fault was not found.")
        return 0 if total.violations else 1
    if not total.reached:
        print("No call was reached.", file=sys.stderr)
        return CANNOT_RUN
    return 1 if total.violations else 0


def cases_of(
    life: str, seed: int, folder: Path, *, ways: Sequence[str] | None = None, every: int = 1, call: int | None = None
) -> list[Case]:
    """Give a case for each way and every so-many-th call of *life*; begun where chance says."""
    if call is not None:
        calls: Sequence[int] = [call]
    else:
        with Nursery() as nursery:
            count = count_calls(nursery, folder, life, seed)
        calls = range(random.Random(f"{seed} {life}").randrange(min(every, count)), count, every)  # noqa: S311 - no secret
    return [Case(life, seed, way, number) for way in ways or WAYS for number in calls]


if __name__ == "__main__":
    sys.exit(in_order(main))
