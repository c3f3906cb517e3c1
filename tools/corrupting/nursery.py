"""Children that look at damaged logs: forked, bounded in memory and time, and asked by a pipe.

Invariant: whatever a child does, its end is described, and the server that forked it goes on.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import pickle
import resource
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tools.harness.replacing import be_at_home_anywhere
from wal_runner.log import host


if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY_BYTES_MAX: Final = 3 << 29
"""Address space that a child may take beside what it inherited, 1.5 GiB: the map of data.mdb is halved to fit in."""

SECONDS_MAX: Final = 10
"""Seconds of processor time; on a busy machine a child may wait for long and have done nothing."""

PATIENCE_S: Final = 60
"""Seconds in all."""

_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class End:
    """How a child ended: *value* where it gave one, else the *signal* or exit *code* that ended it.

    *seconds* is the processor's time that it took, *memory_bytes* what its peak had more than this process when it was
    forked.
    """

    value: Any
    signal: int
    code: int
    seconds: float
    memory_bytes: int


def ask(question: Callable[[], Any], *, seconds_max: int = SECONDS_MAX) -> End:
    """Call *question* in a child that may take *seconds_max* of processor time, and tell how that ended."""
    reading, writing = os.pipe()
    inherited = _memory()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.close(reading)
            _bound(inherited, seconds_max)
            be_at_home_anywhere()
            packed = pickle.dumps(question())
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(packed)
            code = 0
        except MemoryError:
            code = 71
        finally:
            os._exit(code)
    os.close(writing)
    content = bytearray()
    while chunk := os.read(reading, _CHUNK):
        content += chunk
    os.close(reading)
    _, status, usage = os.wait4(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    return End(
        value=pickle.loads(bytes(content)) if ended == 0 else None,  # noqa: S301 - our own child wrote it
        signal=max(0, -ended),
        code=max(0, ended),
        seconds=usage.ru_utime + usage.ru_stime,
        memory_bytes=max(0, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) - inherited.resident),
    )


def settle_down() -> None:
    """Make forks cheap: what a child would import is here, and nothing here is looked at by the collector."""
    host.host_name(), host.user_name(), host.boot_id()
    traceback.extract_stack()
    gc.collect()
    gc.freeze()


class _Memory(NamedTuple):
    """What a process takes, in bytes. A forked child shares it, and the system counts it as the child's too."""

    address_space: int
    resident: int


def _memory() -> _Memory:
    """Return what this process takes; zeros if /proc does not say it (macOS)."""
    try:
        text = Path("/proc/self/statm").read_text(encoding="ascii")
    except FileNotFoundError:
        return _Memory(0, 0)
    address_space, resident, *_ = (int(pages) * resource.getpagesize() for pages in text.split())
    return _Memory(address_space, resident)


def _bound(inherited: _Memory, seconds_max: int) -> None:
    """Bound what this process may take; SIGXCPU or SIGALRM end one that takes too long."""
    address_space_max = inherited.address_space + MEMORY_BYTES_MAX
    resource.setrlimit(resource.RLIMIT_AS, (address_space_max, address_space_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds_max, seconds_max + 1))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(PATIENCE_S + 5 * seconds_max)
    # What LMDB says before it aborts is not ours, nor where Python stands then.
    faulthandler.disable()
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)
