"""The command line of the corruption fuzzer: damage, look, print, write JSON.

Imported by ``tools/corruption.py``. Invariant: what is printed about a violation is enough to repeat it.
"""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import shlex
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tools.corrupting import at_rest, judging
from tools.corrupting.at_rest import AtRest, LargeLogs
from tools.corrupting.controls import CONTROLS, catch, clinic_for_controls
from tools.corrupting.folders import LOGS
from tools.corrupting.mutators import MUTATORS
from tools.corrupting.trials import LARGE, WAYS, Clinic, Trial
from tools.harness.console import INTERRUPTED, existing_folder, interrupted, minutes, not_negative, output, positive
from tools.harness.fanout import reports
from tools.harness.memory import memory_folder


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection

PROCESSES: Final = 2
SHOWN_MAX: Final = 20

FOUND_BY_VERIFY: Final = ("stale page",)
"""An older version of the same page is whole: in a file that nothing touched, only a walk of all finds it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the options say; give the exit code."""
    options = _options(arguments)
    logging.disable(logging.WARNING)  # that logs in memory do not survive a reboot is wanted here
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="corruption-", dir=options.dir) as made:
        home = Path(made)
        if options.trial is not None and options.large:
            return _repeat_large(home, seed, options)
        if options.trial is not None:
            return _repeat(home, seed, options)
        tally, is_interrupted = Tally(seed, options), False
        if options.controls:
            tally.try_controls(home)
        tally.began = time.monotonic()
        try:
            with _trials(home, seed, options) as trials:
                for trial in trials:
                    tally.count(trial)
            with _large_trials(home, seed, options) as large:
                for at_rest_trial in large:
                    tally.count_large(at_rest_trial)
        except KeyboardInterrupt:
            is_interrupted = True
            interrupted()
    summary = tally.summary()
    print(tally.table())
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps({name: value for name, value in summary.items() if name != "table"}, indent=2))
    if not summary["ok"]:
        return 1
    return INTERRUPTED if is_interrupted else 0


class Tally:
    """What came of the trials so far."""

    def __init__(self, seed: object, options: argparse.Namespace) -> None:
        self._seed = seed
        self._options = options
        self._words: dict[str, Counter[str]] = {}
        self._large: dict[int, Counter[str]] = {}
        self._ways: Counter[str] = Counter()
        self._violations: list[dict[str, object]] = []
        self._controls: dict[str, str] = {}
        self._memory = 0
        self._seconds = 0.0
        self.began = time.monotonic()

    def try_controls(self, home: Path) -> None:
        """Plant each bug, and note what caught it."""
        clinic = clinic_for_controls(home)
        for control in CONTROLS:
            caught = catch(control, clinic, self._seed)
            told = "NOT CAUGHT" if caught is None else f"{caught.verdict.word}: {caught.mutator}, {caught.did}"
            self._controls[control.name] = told
            print(f"control: {control.name}: {told}", flush=True)

    def count(self, trial: Trial) -> None:
        """Count *trial*, and print it where it is a violation."""
        self._words.setdefault(trial.mutator, Counter())[trial.verdict.word] += 1
        self._ways[trial.way] += 1
        self._memory = max(self._memory, trial.memory_bytes)
        self._seconds = max(self._seconds, trial.seconds)
        if not _is_violation(trial):
            return
        self._violations.append(
            {
                "trial": trial.number,
                "log": trial.log,
                "way": trial.way,
                "mutator": trial.mutator,
                "did": trial.did,
                "verdict": trial.verdict.word,
                "why": trial.verdict.why[-2_000:],
                "repeat": _command(self._seed, trial.number, self._options),
            }
        )
        if len(self._violations) <= SHOWN_MAX:
            print(json.dumps(self._violations[-1], indent=2), flush=True)

    def count_large(self, trial: AtRest) -> None:
        """Count a trial on a large log, and print it if it is a violation."""
        self._large.setdefault(trial.items, Counter())[trial.word] += 1
        if trial.word in judging.VIOLATIONS:
            self._violations.append(
                {**vars(trial), "why": trial.why[-2_000:], "repeat": _large_command(self._seed, trial)}
            )
            if len(self._violations) <= SHOWN_MAX:
                print(json.dumps(self._violations[-1], indent=2), flush=True)

    @property
    def trials(self) -> int:
        """Give how many there were."""
        return sum(words.total() for words in self._words.values())

    def summary(self) -> dict[str, Any]:
        """Give all of it, for JSON."""
        took = time.monotonic() - self.began
        totals: Counter[str] = sum(self._words.values(), Counter())
        return {
            "seed": self._seed,
            "ok": not self._violations and "NOT CAUGHT" not in self._controls.values(),
            "folders": self.trials,
            "seconds": round(took, 1),
            "folders_per_second": round(self.trials / took, 1),
            **{word: totals[word] for word in judging.VERDICTS},
            "ways": dict(self._ways),
            "large_logs": {str(items): dict(words) for items, words in self._large.items()},
            "memory_mib_max": self._memory >> 20,
            "seconds_max": round(self._seconds, 2),
            "controls": self._controls,
            "violations": self._violations[:SHOWN_MAX],
            "table": {name: dict(words) for name, words in sorted(self._words.items())},
        }

    def table(self) -> str:
        """Give the verdicts by mutator."""
        lines = [f"{'':26}" + "".join(f"{word:>15}" for word in judging.VERDICTS)]
        for name, words in sorted(self._words.items()):
            lines.append(f"{name:26}" + "".join(f"{words[word] or '':>15}" for word in judging.VERDICTS))
        return "\n".join(lines)


def _is_violation(trial: Trial) -> bool:
    return trial.verdict.word in judging.VIOLATIONS or _is_needless(trial)


def _is_needless(trial: Trial) -> bool:
    """Return whether an item was redone though only `verify` may find such damage in a large log."""
    return trial.verdict.redone and not (trial.way == LARGE and trial.mutator in FOUND_BY_VERIFY)


def _trials(home: Path, seed: object, options: argparse.Namespace) -> AbstractContextManager[Iterator[Trial]]:
    """Do the trials in some processes, and give each as it comes."""
    return reports(options.processes, partial(_work, home, seed, options))


def _work(home: Path, seed: object, options: argparse.Namespace, number: int, writer: Connection) -> None:
    ends_at = time.monotonic() + 60 * options.minutes if options.minutes else None
    place = home / str(number)
    place.mkdir()
    clinic = _clinic(place, options)
    while number < options.folders if ends_at is None else time.monotonic() < ends_at:
        writer.send(clinic.trial(seed, number, options.mutator, options.way))
        number += options.processes
    writer.close()


def _large_trials(home: Path, seed: object, options: argparse.Namespace) -> AbstractContextManager[Iterator[AtRest]]:
    """Build the large logs once, and damage copies of them in some processes."""
    built = home / "built"
    built.mkdir()
    for items in _counts(options):
        at_rest.build(built / str(items), items)
    return reports(options.processes, partial(_work_large, home, seed, options))


def _work_large(home: Path, seed: object, options: argparse.Namespace, number: int, writer: Connection) -> None:
    place = home / f"large-{number}"
    place.mkdir()
    counts = _counts(options)
    logs = LargeLogs(place, home / "built", tuple(counts))
    for items, count in counts.items():
        for trial in range(number, count, options.processes):
            writer.send(logs.trial(seed, trial, items))
    writer.close()


def _counts(options: argparse.Namespace) -> dict[int, int]:
    """Return how many trials there are for each size of a large log; those without any are left out."""
    counts = dict(zip(at_rest.SIZES, (options.at_rest, options.at_rest_million), strict=True))
    return {items: count for items, count in counts.items() if count}


def _repeat_large(home: Path, seed: object, options: argparse.Namespace) -> int:
    [items] = _counts(options)
    at_rest.build(home / str(items), items)
    trial = LargeLogs(home, home, (items,)).trial(seed, options.trial, items)
    print(f"{trial.mutator} ({trial.did}) in a log of {items:,} items, asked for {trial.order}")
    print(f"{trial.word} {trial.why}")
    return 1 if trial.word in judging.VIOLATIONS else 0


def _large_command(seed: object, trial: AtRest) -> str:
    sizes = {"--at-rest": at_rest.SIZES[0], "--at-rest-million": at_rest.SIZES[1]}
    words = ["python", "tools/corruption.py", "--seed", str(seed), "--trial", str(trial.number), "--large"]
    return shlex.join(
        [*words, *(word for name, items in sizes.items() for word in (name, str(int(items == trial.items))))]
    )


def _clinic(home: Path, options: argparse.Namespace) -> Clinic:
    return Clinic(home, logs=options.log or tuple(LOGS), ways=options.way)


def _repeat(home: Path, seed: object, options: argparse.Namespace) -> int:
    trial = _clinic(home, options).trial(seed, options.trial, options.mutator, options.way)
    print(f"{trial.mutator} ({trial.did}) in the log {trial.log!r}, {trial.way}")
    print(f"{trial.verdict.word} {trial.verdict.why}")
    return 1 if _is_violation(trial) else 0


def _command(seed: object, number: int, options: argparse.Namespace) -> str:
    words = ["python", "tools/corruption.py", "--seed", str(seed), "--trial", str(number)]
    for name in ("mutator", "log"):
        for value in getattr(options, name):
            words += [f"--{name}", value]
    if tuple(options.way) != WAYS:
        for way in options.way:
            words += ["--way", way]
    return shlex.join(words)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=positive, default=300, help="damage so many folders (300)")
    parser.add_argument("--minutes", type=minutes, help="go on for so long instead")
    parser.add_argument("--seed", help="repeat the choices of an earlier run")
    parser.add_argument("--trial", type=int, help="do this one trial of the seed, and tell about it")
    parser.add_argument("--large", action="store_true", help="with --trial: one of those on a large log")
    parser.add_argument(
        "--at-rest", type=not_negative, default=40, help="then damage a log of 40,000 items at rest so often (40)"
    )
    parser.add_argument(
        "--at-rest-million", type=not_negative, default=4, help="and one of 1,000,000 items so often (4)"
    )
    parser.add_argument("--mutator", action="append", default=[], choices=list(MUTATORS), help="only this (any)")
    parser.add_argument("--log", action="append", default=[], choices=list(LOGS), help="only this log (any)")
    parser.add_argument("--way", action="append", default=[], choices=WAYS, help="how the damage came (any)")
    parser.add_argument("--controls", action="store_true", help="first switch off each check, and see it caught")
    parser.add_argument("--processes", type=positive, default=PROCESSES, help=f"how many at once ({PROCESSES})")
    parser.add_argument("--json", type=output, help="write the figures there")
    parser.add_argument(
        "--dir",
        type=existing_folder,
        default=memory_folder(),
        help="where the logs are made (memory: it is quick)",
    )
    options = parser.parse_args(arguments)
    options.way = options.way or WAYS
    return options
