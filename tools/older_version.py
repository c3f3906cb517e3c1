"""Hold this version against an older checkout: what each writes, and what the older one does with it.

    git worktree add ../older c6f6f6e
    python tools/older_version.py --tree ../older

Three checks, each in child processes that import the package from one tree or the other:

1. The older tree refuses each golden log of format 2 with `LogTooNew`, for reading and for running.
2. A log that uses nothing new is byte for byte what the older tree writes: the same run (crash, recovery, failures,
   doubts, verdicts, a retry, a compaction) with the same clock, log id, pid, host and version, compared file by
   file. Keys of meta that are new on purpose are named by --new-meta; then the tables stand for data.mdb.
3. The older tree opens that log as this one wrote it, runs more items on it, and finds it sound.

Exit code 0 if all hold, 1 if one does not, with a line for each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import lmdb


ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.support import golden  # noqa: E402 - found by the line above


CHILD_SECONDS_MAX = 120
CRASHED = 9

CHILD = """
import json, os, secrets, sys, time, traceback

mode, path = sys.argv[1:]
sys.argv = ["older_version"]
NOW = 1_764_633_600
# Clocks that stand: trees may ask them more or less often, and must still write the same.
time.time_ns = lambda: NOW * 10**9
time.perf_counter = lambda: 0.0
time.perf_counter_ns = lambda: 0
os.getpid = lambda: 4321
secrets.token_hex = lambda size=32: "5a" * size
# A traceback names files and lines of the package itself.
traceback.format_exception = lambda error, *more, **options: [f"Traceback: {error}\\n"]

import wal_runner.version
wal_runner.version.__version__ = "0.1.0"
try:
    from wal_runner.host import identity as host
except ImportError:
    from wal_runner.log import host
host.host_name = lambda: "mailer-1"
host.user_name = lambda: "mail"
host.boot_id = lambda: "b0071d"
host.process_started = lambda pid: "987654"

import wal_runner
from wal_runner import OutcomeUnknown, Runner, Verdict, WalRunnerError, replay

def fn(item):
    n = int(item.removeprefix("user-"))
    if mode == "crash" and n == 7:
        os._exit(9)
    if n % 10 == 3:
        raise ValueError("no such mailbox")
    if n % 10 == 4:
        raise OutcomeUnknown("the reply was lost")
    return {"n": n, "text": "x" * (n % 40) * 50} if n % 2 else None

def run(first, last):
    with Runner(path) as runner:
        runner.run([f"user-{n}" for n in range(first, last)], fn)
        return runner

if mode == "crash":
    run(1, 50)
elif mode == "go-on":
    run(1, 200)
    with Runner(path) as runner:
        doubts = sorted(doubt.item_id for doubt in runner.in_doubt())
        runner.resolve(doubts[0], Verdict.happened("sent"), note="seen", by="ann")
        runner.resolve(doubts[1], Verdict.did_not_happen(), note="not seen", by="ann")
        runner.resolve(doubts[2], Verdict.abandon(), note="", by="ann")
        runner.retry(["user-13"], note="again", by="ann")
    run(1, 220)
elif mode == "compact":
    from wal_runner.recovery.compact import compact
    compact(path)
elif mode == "more":
    run(200, 240)
elif mode == "open":
    answers = []
    for what in (lambda: replay(path), lambda: Runner.open_read(path).counts(), lambda: Runner(path).close()):
        try:
            what()
            answers.append("opened")
        except WalRunnerError as error:
            answers.append(type(error).__name__)
    print(json.dumps(answers))
"""


def main() -> int:
    """Run the checks; return 0 if all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, required=True, help="the older checkout")
    parser.add_argument(
        "--new-meta", nargs="*", default=[], metavar="KEY", help="keys of meta that a log of today has in addition"
    )
    options = parser.parse_args()
    tree = options.tree.resolve()
    if not (tree / "wal_runner" / "__init__.py").exists():
        parser.error(f"{tree} holds no wal_runner. Make a checkout: git worktree add {tree} COMMIT")
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for check in (refusals(tree, Path(folder)), differences(tree, Path(folder), set(options.new_meta))):
            problems += check
    print("\n".join(problems) or "all holds")
    return 1 if problems else 0


def refusals(tree: Path, folder: Path) -> list[str]:
    """Return what is wrong with the older tree's answers about the golden logs of format 2."""
    names = [name for name in golden.names() if name.startswith("v2/")]
    problems = [] if names else ["there are no golden logs of format 2"]
    for name in names:
        path = golden.lay_out(name, folder / name.replace("/", "-"))
        answers = json.loads(child(tree, "open", path) or '["no answer"]')
        if set(answers) != {"LogTooNew"}:
            problems.append(f"{name}: the older version answers {', '.join(answers)} where LogTooNew belongs")
    print(f"{len(names)} golden logs of format 2 were shown to the older version")
    return problems


def differences(tree: Path, folder: Path, new_meta: set[str]) -> list[str]:
    """Return what differs between the same run by both trees, and whether the older one goes on with today's log."""
    problems = []
    older, today = folder / "older.wal", folder / "today.wal"
    for mode in ("crash", "go-on", "compact"):
        # In the same place one after the other: the log's path stands in nothing, the working directory does.
        for source, path in ((tree, older), (ROOT, today)):
            child(source, mode, path, ends=CRASHED if mode == "crash" else 0)
        written, written_today = content_of(older, new_meta), content_of(today, new_meta)
        wrong = [name for name, content in written.items() if content != written_today[name]]
        problems += [f"after {mode}: {name} differs" for name in wrong]
        print(f"after {mode}: {len(written) - len(wrong)} of {len(written)} parts are the same")
    child(tree, "more", today)
    sound = subprocess.run(
        [sys.executable, "-m", "wal_runner", "verify", str(today)],
        env=environment(tree),
        capture_output=True,
        text=True,
        check=False,
        timeout=CHILD_SECONDS_MAX,
    )
    if sound.returncode:
        problems.append(f"the older version went on with today's log, and then: {sound.stdout}{sound.stderr}")
    print("the older version went on with today's log")
    return problems


def content_of(path: Path, new_meta: set[str]) -> dict[str, object]:
    """Return what is compared of the log at *path*, by its part."""
    content: dict[str, object] = {"IDENTITY": (path / "IDENTITY").read_bytes()}
    content["HEAD, seq and chain"] = (path / "HEAD").read_bytes()[:28]
    content["names in sessions"] = sorted(file.name for file in (path / "sessions").iterdir())
    if not new_meta:
        content["data.mdb"] = (path / "data.mdb").read_bytes()
    env = lmdb.open(str(path / "data.mdb"), subdir=False, readonly=True, lock=False, max_dbs=8)
    with env, env.begin() as txn:
        for name in ("log", "items", "open", "meta"):
            rows = dict(txn.cursor(env.open_db(name.encode(), txn, create=False)))
            content[name] = {key: value for key, value in rows.items() if key.decode("latin-1") not in new_meta}
    return content


def environment(tree: Path) -> dict[str, str]:
    """Return an environment in which children import the package from *tree*."""
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}


def child(tree: Path, mode: str, path: Path, *, ends: int = 0) -> str:
    """Run `CHILD` in the package of *tree*, in the log's folder, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, mode, str(path)],
        cwd=path.parent,
        env=environment(tree),
        capture_output=True,
        text=True,
        check=False,
        timeout=CHILD_SECONDS_MAX,
    )
    if done.returncode != ends:
        raise SystemExit(f"{tree}, {mode}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
