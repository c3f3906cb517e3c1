"""Where lives are lived: a process with the interposer loaded, which forks one child for each life.

A new interpreter takes 200 ms to come up, a fork 2 ms, and the fault harness needs thousands. The nursery
has no threads and opens no log, so that a fork of it is as good as a new process. It speaks lines of
JSON on its standard streams: a life, then how it ended.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Self

from tools.harness import interposer
from tools.harness.interposer import Fault
from tools.harness.life import Life
from tools.harness.lives import LIVES
from tools.harness.planted import PLANTS
from tools.harness.small import make_small
from tools.harness.witness import mark, watch_commits


if TYPE_CHECKING:
    from types import TracebackType

ROOT: Final = Path(__file__).resolve().parents[2]

LIFE_SECONDS_MAX: Final = 60
"""A life that takes longer hangs; the kernel ends it, and so it is found."""


@dataclass(frozen=True)
class Order:
    """One life to be lived: which, where, with which seed; what is planted, and which call goes wrong."""

    life: str
    folder: str
    stream: str
    seed: int
    planted: str = ""
    call: int = -1
    fault: int = Fault.NONE
    error: int = 0
    barriers_only: bool = False
    forgiving: bool = False


class Nursery:
    """The other side of a nursery's standard streams. Use as a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.harness.nursery"],
            env={**os.environ, **interposer.environment(), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def live(self, order: Order) -> int:
        """Let a life be lived; give its exit code, negative where a signal ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the nursery died")
        return int(answer)

    def close(self) -> None:
        """End the nursery."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def said_by(order: Order) -> str:
    """Give what a life said on its standard streams."""
    return Path(order.stream + ".said").read_text(errors="replace")


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its other side
    for line in sys.stdin:
        order = Order(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            _be_the_child(order)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _be_the_child(order: Order) -> NoReturn:
    code = 1
    try:
        said = os.open(order.stream + ".said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        signal.alarm(LIFE_SECONDS_MAX)
        _live(order)
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must not return into the nursery's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        interposer.settle()
        os._exit(code)


def _live(order: Order) -> None:
    make_small()
    if order.planted:
        PLANTS[order.planted].in_life()
    watch_commits()
    chance = random.Random(f"{order.seed} {order.life}")  # noqa: S311 - no secret
    life = Life(Path(order.folder), chance, forgiving=order.forgiving)
    steps = LIVES[order.life](life)
    interposer.fail(order.call, Fault(order.fault), order.error, barriers_only=order.barriers_only)
    interposer.watch(life.folder, Path(order.stream))
    life.live(steps)
    mark("calls", interposer.calls())


if __name__ == "__main__":
    _serve()
