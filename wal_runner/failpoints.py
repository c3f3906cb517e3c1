"""Named crash points: no-ops unless a test arms them.

Anything may import this module; it imports nothing of the package. A failpoint is the only
test hook in product code. The environment variable ``WALRUN_FAILPOINT`` arms one in a child
process: ``name=kill`` (SIGKILL), ``name=raise``, each with an optional ``:n`` for the n-th hit.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = (
    "create.before_build",
    "create.after_build",
    "create.before_rename",
    "create.after_rename",
    "session.after_file",
    "session.before_commit",
    "session.after_commit",
    "recover.before_commit",
    "recover.after_commit",
    "commit.before_begin",
    "commit.before_commit",
    "commit.after_commit",
    "commit.after_head",
    "run.before_effect",
    "run.after_effect",
    "run.before_yield",
    "snapshot.before_slice",
    "snapshot.before_last_slice",
    "resolve.before_commit",
    "resolve.after_commit",
    "compact.before_fold",
    "compact.before_drop",
    "compact.after_drop",
    "compact.before_copy",
    "compact.after_copy",
    "compact.before_swap",
    "compact.after_swap",
    "close.before_commit",
    "close.after_commit",
)

VARIABLE = "WALRUN_FAILPOINT"


class FailpointReached(Exception):
    """Raised by a failpoint that was armed with ``raise``."""


def arm(name: str, action: Callable[[], None], *, hit: int = 1) -> None:
    """Call *action* when the failpoint *name* is reached for the *hit*-th time."""
    if name not in NAMES:
        raise ValueError(f"There is no failpoint {name!r}. The names are in failpoints.NAMES.")
    if hit < 1:
        raise ValueError(f"A failpoint is reached for the first time at hit 1, not {hit}.")
    _armed[name] = (action, hit)


def disarm() -> None:
    """Make every failpoint a no-op again."""
    _armed.clear()


def failpoint(name: str) -> None:
    """Do nothing, unless *name* is armed."""
    if not _armed or name not in _armed:
        return
    action, hit = _armed[name]
    if hit > 1:
        _armed[name] = (action, hit - 1)
        return
    del _armed[name]
    action()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise() -> None:
    raise FailpointReached


_ACTIONS: dict[str, Callable[[], None]] = {"kill": _kill, "raise": _raise}
_armed: dict[str, tuple[Callable[[], None], int]] = {}


def _arm_from_environment(setting: str) -> None:
    name, _, what = setting.partition("=")
    action, _, hit = what.partition(":")
    if action not in _ACTIONS:
        raise ValueError(f"A failpoint cannot {action!r}. It can {', '.join(_ACTIONS)}.")
    arm(name, _ACTIONS[action], hit=int(hit or 1))


if os.environ.get(VARIABLE):
    _arm_from_environment(os.environ[VARIABLE])
