"""The command line of the benchmarks: choose, run, print, write JSON.

Imported by ``tools/bench.py``. Invariant: one benchmark that crashes does not take the others with it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tools.benchmarks import machine, report, speed, standing
from tools.benchmarks.measuring import Bench, Figure, Settings


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BENCHMARKS: Final[dict[str, Callable[[Bench], None]]] = {
    "serial": speed.serial,
    "rivals": speed.rivals,
    "strict": speed.strict,
    "cpu": speed.cpu,
    "threads": speed.threads,
    "replay": standing.replay,
    "startup": standing.startup,
    "disk": standing.disk,
    "gate": standing.gate,
}

RIVALS_ADVICE: Final = "pip install 'wal-runner[bench]' brings the rivals; those that are missing are skipped."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, or all; give the exit code."""
    options = _parser().parse_args(arguments)
    if options.list:
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:8}  {_summary(benchmark)}")
        return 0
    with tempfile.TemporaryDirectory(prefix="wal-runner-bench-", dir=options.dir) as made:
        folder = Path(made)
        cache = options.cache or folder
        cache.mkdir(parents=True, exist_ok=True)
        settings = Settings(
            rounds=options.rounds,
            items=options.items,
            startup_items=options.startup_items,
            tail_events=options.tail_events,
            slow_disk_ms=options.slow_disk_ms,
            folder=folder,
            cache=cache,
        )
        return _perform(options, settings)


def _perform(options: argparse.Namespace, settings: Settings) -> int:
    began = time.monotonic()
    found: dict[str, Any] = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv[1:],
        "machine": machine.facts(settings.folder),
        "versions": machine.versions(),
        "settings": {
            "rounds": settings.rounds,
            "items": settings.items,
            "startup_items": settings.startup_items,
            "tail_events": settings.tail_events,
            "slow_disk_ms": settings.slow_disk_ms,
        },
        "benchmarks": {},
    }
    _introduce(found)
    asked: list[Figure] = []
    crashed = []
    for name in options.names or BENCHMARKS:
        bench = Bench(name, settings)
        trace = _measure(bench)
        if trace:
            crashed.append(name)
        else:
            asked += [figure for figure in bench.figures if figure.must]
        found["benchmarks"][name] = {**report.as_json(bench), "crashed": trace}
        found["seconds"] = round(time.monotonic() - began, 1)
        if options.json:  # after each, because the next may take long, and be interrupted
            found["machine_after"] = machine.facts(settings.folder)
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(f"\n## What the design asks for\n\n{report.figures(asked)}\n")
    print(f"{found['seconds']:,.0f} s. {settings.rounds} rounds; ratios are of runs of the same round.")
    if crashed:
        print(f"Crashed: {', '.join(crashed)}.", file=sys.stderr)
    missed = any(figure.reached is False for figure in asked)
    return 1 if crashed or (options.check and missed) else 0


def _measure(bench: Bench) -> str:
    """Run one benchmark and print its tables; give the traceback where it crashed, else ""."""
    benchmark = BENCHMARKS[bench.name]
    print(f"\n## {bench.name}: {_summary(benchmark)}\n", flush=True)
    try:
        benchmark(bench)
    except Exception:  # noqa: BLE001 - the other benchmarks are still worth running
        trace = traceback.format_exc()
        print(trace, file=sys.stderr)
        return trace
    finally:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
    if ran := report.cases(bench):
        print(f"{ran}\n")
    print(report.figures(bench.figures), flush=True)
    return ""


def _introduce(found: dict[str, Any]) -> None:
    facts = found["machine"]
    print(
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory_bytes'] / 2**30:.0f} GiB, {facts['system']}; "
        f"{facts['file_system'] or 'unknown file system'}, {facts['sync_us']:g} us to sync 100 bytes; "
        f"load {facts['load'][0]:g}."
    )
    print(", ".join(f"{name} {version}" for name, version in found["versions"].items()) + ".")
    if facts["file_system"] in machine.NO_DISK:
        print(f"This is {facts['file_system']}, no disk: barriers cost nothing here. Give --dir on a real one.")


def _summary(benchmark: Callable[[Bench], None]) -> str:
    return (benchmark.__doc__ or "").strip().splitlines()[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/bench.py", description=__doc__, epilog=RIVALS_ADVICE)
    parser.add_argument("names", nargs="*", metavar="NAME", type=_name, help="see --list; all without one")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--rounds", type=_positive, default=5, help="how often each case runs (5)")
    parser.add_argument("--items", type=_positive, default=300_000, help="no case runs more (300,000)")
    parser.add_argument("--startup-items", type=_positive, default=1_000_000, help="items done in the standing log")
    parser.add_argument("--tail-events", type=_positive, default=100_000, help="events behind its snapshot")
    parser.add_argument("--slow-disk-ms", type=_delays, default=(1.0, 5.0), help='ms added to a barrier ("1,5")')
    parser.add_argument("--dir", type=Path, help="where logs are written: the disk to be measured (the temp folder)")
    parser.add_argument("--cache", type=Path, help="where the standing log is kept for the next call")
    parser.add_argument("--json", type=Path, help="write everything, raw figures included, to this file")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    return parser


def _name(text: str) -> str:
    if text not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"there is no {text!r}; there are {', '.join(BENCHMARKS)}")
    return text


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("give at least 1")
    return value


def _delays(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part)
    except ValueError:
        raise argparse.ArgumentTypeError('give milliseconds, as in "1,5", or "" for none') from None
