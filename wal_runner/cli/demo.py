"""``walrun demo``: the whole story on real processes, with a real ``kill -9``.

Invariant: what it claims at the end is read from the server's own ledger, not from the log.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from wal_runner.cli import demo_sender, demo_server
from wal_runner.cli.demo_sender import WORKERS, Service
from wal_runner.cli.exits import Exit
from wal_runner.cli.options import json_option
from wal_runner.cli.output import put, tell
from wal_runner.cli.words import count_of, shell_word
from wal_runner.errors import WalRunnerError


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ITEMS_DEFAULT: Final = 10_000
ITEMS_MIN: Final = 1_000
"""Of fewer too little is left behind the kill: the sender could be done before it comes."""
ITEMS_MAX: Final = 1_000_000

KILLED_AFTER: Final = 0.8
"""At this part of the items the sender is killed."""


INSPECTION_LINES_MAX: Final = 18

LOG_NAME: Final = "demo.wal"
COMPLAINTS_NAME: Final = "complaints"


class DemoFailed(WalRunnerError):
    """The demo could not tell its story, for a reason that has nothing to do with the log."""


@click.command("demo")
@click.option(
    "--items",
    "count",
    metavar="N",
    type=click.IntRange(ITEMS_MIN, ITEMS_MAX),
    default=ITEMS_DEFAULT,
    show_default=True,
    help="How many items.",
)
@click.option("--keep", is_flag=True, help="Keep the folder with the log, to look around in it.")
@json_option
def command(count: int, *, keep: bool, as_json: bool) -> Exit:
    """Kill a run at 80 %, run it again, and show that each item happened exactly once.

    Everything is real, and on this machine only: a server with a ledger of its own, a program that sends
    items to it, and a kill -9. Takes some seconds. Code 1 if the ledger shows anything else.

    \b
    Example:
      walrun demo
    """  # noqa: D301 - click reads the backslash
    story = _Story(_mute if as_json else tell)
    folder = Path(tempfile.mkdtemp(prefix="walrun-demo-"))
    try:
        numbers = story.happen(folder, count)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if keep:
        story.tell(f"\nThe log is kept: {shell_word(str(folder / LOG_NAME))}")
    if as_json:
        put({**numbers, "log": str(folder / LOG_NAME) if keep else None})
    return Exit.DONE if numbers["exactly_once"] else Exit.ERROR


def _mute(_text: str = "") -> None:
    """Tell nothing: the numbers are asked for, not the story."""


# --- The story -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Story:
    """What happens, one chapter after the other, and how it is told."""

    tell: Callable[[str], None]

    def happen(self, folder: Path, count: int) -> dict[str, Any]:
        """Let everything happen in *folder*; give the numbers."""
        began = time.monotonic()
        log = folder / LOG_NAME
        self.tell(f"{count:,} items, a kill -9 on the way, and each of them exactly once.")
        with ExitStack() as stack:
            server, port = stack.enter_context(_server(folder))
            world = stack.enter_context(closing(Service(port)))
            self._chapter("1. The outside world")
            self.tell(f"   A server on loopback (pid {server.pid}). Each request that it carries out is a line in its")
            self.tell("   own ledger; it would do the same thing twice without noticing.")

            killed_at = self._run_and_kill(folder, log, port, world, count)
            self._inspect(log)
            before = world.ledger()
            report = self._run_again(folder, log, port, count)
            after = world.ledger()
        happened = report["reconciled"]["happened"]
        numbers = {
            "items": count,
            "killed_at": killed_at,
            "happened_before_kill": before["lines"],
            "done_in_log": report["skipped"] - happened,
            "in_doubt": happened + report["reconciled"]["did_not_happen"],
            "in_doubt_happened": happened,
            "in_doubt_did_not_happen": report["reconciled"]["did_not_happen"],
            "executed_by_rerun": report["succeeded"],
            "ledger": after,
            "exactly_once": after == {"lines": count, "items": count, "more_than_once": 0} and report["ok"],
            "repeated_without_log": before["lines"],
            "repeated_with_done_list": happened,
            "seconds": round(time.monotonic() - began, 2),
        }
        self._conclude(numbers)
        return numbers

    def _chapter(self, title: str) -> None:
        self.tell("")
        self.tell(title)

    def _run_and_kill(self, folder: Path, log: Path, port: int, world: Service, count: int) -> int:
        wanted = int(count * KILLED_AFTER)
        with _sender(folder, log, port, count) as sender:
            self._chapter("2. A run dies")
            self.tell(f"   A program (pid {sender.pid}) sends {count:,} items to it, {WORKERS} at once:")
            self.tell(f"   runner.run(items, send, workers={WORKERS})")
            lines = 0
            while lines < wanted and sender.poll() is None:
                lines = world.wait_for(wanted)
            sender.send_signal(signal.SIGKILL)
            if sender.wait() != -signal.SIGKILL:
                raise DemoFailed(_what_went_wrong(folder, "The program ended before it could be killed"))
        self.tell(f"   The ledger has {lines:,} lines. kill -9 {sender.pid}")
        return lines

    def _inspect(self, log: Path) -> None:
        self._chapter("3. What the log knows")
        self.tell(f"   $ walrun inspect {shell_word(str(log))}")
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "wal_runner", "inspect", str(log)], capture_output=True, text=True, check=False
        )
        if done.returncode != Exit.DONE:
            raise DemoFailed(f"`walrun inspect` ended with code {done.returncode}: {done.stderr.strip()}")
        lines = done.stdout.splitlines()
        for line in lines[:INSPECTION_LINES_MAX]:
            self.tell(f"   | {line}".rstrip())
        if len(lines) > INSPECTION_LINES_MAX:
            self.tell(
                f"   | ... and {len(lines) - INSPECTION_LINES_MAX} more lines, with the commands that settle them"
            )

    def _run_again(self, folder: Path, log: Path, port: int, count: int) -> dict[str, Any]:
        self._chapter("4. The same program again")
        with _sender(folder, log, port, count) as sender:
            said, _ = sender.communicate()
        if sender.returncode != 0:
            raise DemoFailed(_what_went_wrong(folder, f"The second run ended with code {sender.returncode}"))
        report: dict[str, Any] = json.loads(said)
        found = report["reconciled"]
        doubts = found["happened"] + found["did_not_happen"]
        self.tell(
            f"   Its reconciler asks the server about the {count_of(doubts, 'item')} in doubt, by idempotency key:"
        )
        self.tell(f"   {found['happened']:,} had happened, {found['did_not_happen']:,} had not.")
        skipped, sent, seconds = report["skipped"], report["succeeded"], report["elapsed_s"]
        self.tell(f"   {skipped:,} are skipped, and {sent:,} are sent, in {seconds:.1f} s.")
        return report

    def _conclude(self, numbers: dict[str, Any]) -> None:
        ledger = numbers["ledger"]
        self._chapter("5. The server's own ledger")
        lines, items, repeated = ledger["lines"], ledger["items"], ledger["more_than_once"]
        self.tell(f"   {lines:,} lines, {items:,} items, {repeated:,} of them more than once.")
        if numbers["exactly_once"]:
            self.tell("   Each item happened exactly once.")
        else:
            self.tell(f"   THAT IS WRONG: each of the {numbers['items']:,} items should be there exactly once.")
        self.tell("")
        self.tell(f"   Without a log, the second run would have repeated {numbers['repeated_without_log']:,} items.")
        self.tell(
            f"   With a list of what is done, it would have repeated {numbers['repeated_with_done_list']:,}: "
            "those that had happened, and died before they were noted."
        )
        self.tell(f"   All of this took {numbers['seconds']:.1f} s.")


# --- The processes -----------------------------------------------------------------------------


@contextmanager
def _server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with _process(folder, demo_server.__name__) as server:
        assert server.stdout is not None, "it was asked for"
        port = server.stdout.readline()
        if not port:
            raise DemoFailed(_what_went_wrong(folder, "The server did not start"))
        yield server, int(port)


def _sender(folder: Path, log: Path, port: int, count: int) -> AbstractContextManager[subprocess.Popen[str]]:
    return _process(folder, demo_sender.__name__, str(log), str(port), str(count))


@contextmanager
def _process(folder: Path, module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run *module* in a process that ends with the block, and with us."""
    with (folder / COMPLAINTS_NAME).open("a") as complaints:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _what_went_wrong(folder: Path, what: str) -> str:
    complaints = (folder / COMPLAINTS_NAME).read_text(errors="replace").strip()
    last = complaints.rpartition("\n")[2] or "nothing"
    return f"{what}. It said last: {last}. Try again, perhaps with other --items."
