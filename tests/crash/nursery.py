"""Where children come from: a process that has imported everything, and forks one for each plan.

A new interpreter takes 200 ms to come up, a fork 2 ms, and the crash tests need hundreds. The nursery
has no threads and opens no log, so that a fork of it is as good as a new process. It speaks lines on
its standard streams: ``start PLAN`` is answered by a pid, ``wait PID`` by an exit code.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from tests.crash.child import Plan, perform


ROOT = Path(__file__).parents[2]


class Child:
    """A process that performs a plan; it dies by itself at a failpoint, or when it is told to."""

    def __init__(self, plan: Plan) -> None:
        self._said = Path(_said_file(plan))
        self._pid = int(_nursery().ask(f"start {plan.to_json()}"))
        self._descriptor = os.pidfd_open(self._pid)
        self._code: int | None = None

    def ends_within(self, seconds: float) -> bool:
        """Say whether the child has ended, after waiting for it for so long at most."""
        return self._code is not None or bool(select.select([self._descriptor], [], [], seconds)[0])

    def kill(self) -> None:
        """Kill it, as the kernel does when memory runs out."""
        signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def pause(self, seconds: float) -> bool:
        """Stop it for so long, as a debugger or a frozen container does, and let it go on; say whether it lived."""
        if self.ends_within(0):
            return False
        signal.pidfd_send_signal(self._descriptor, signal.SIGSTOP)
        time.sleep(seconds)
        signal.pidfd_send_signal(self._descriptor, signal.SIGCONT)
        return True

    def death(self) -> int:
        """Wait for its end and give the exit code, -9 where it was killed; raise where it failed."""
        if self._code is None:
            self._code = int(_nursery().ask(f"wait {self._pid}"))
            os.close(self._descriptor)
        if self._code not in {0, -signal.SIGKILL}:
            raise AssertionError(f"The child failed with {self._code}:\n{self._said.read_text()}")
        return self._code


class _Nursery:
    """The other side of the nursery's standard streams."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ask(self, request: str) -> str:
        """Send one line, and give the line that comes back."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@functools.cache
def _nursery() -> _Nursery:
    return _Nursery()  # it ends when we do: its standard input is closed then


def _said_file(plan: Plan) -> str:
    return f"{plan.ledger}.said"


def _serve() -> None:
    for line in sys.stdin:
        request, _, argument = line.rstrip("\n").partition(" ")
        if request == "start":
            plan = Plan.from_json(argument)
            answer = os.fork() or _be_the_child(plan)
        else:
            _, status = os.waitpid(int(argument), 0)
            answer = os.waitstatus_to_exitcode(status)
        print(answer, flush=True)  # noqa: T201 - it is what standard output is for


def _be_the_child(plan: Plan) -> NoReturn:
    code = 1
    try:
        said = os.open(_said_file(plan), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        perform(plan)
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must not return into the nursery's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
