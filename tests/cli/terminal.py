"""An operator's terminal: ``walrun`` in a process of its own, and logs to use it on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parents[2]

# Twenty emails, one commit each, so that the log is the same every time. user-12 fails, user-15 loses its reply,
# and the process dies inside user-17: 15 succeeded, 1 failed, 1 in doubt, 1 started.
CRASHING_PROGRAM = """
import os, sys
from wal_runner import OutcomeUnknown, Runner

def send(user):
    number = int(user.split("-")[1])
    if number == 12:
        raise ValueError("no such address")
    if number == 15:
        raise OutcomeUnknown("gateway timed out")
    if number == 17:
        os.kill(os.getpid(), 9)
    return {"sent": number} if number < 5 else None

Runner(sys.argv[1]).run([f"user-{number}" for number in range(20)], send, max_in_doubt=1)
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Give the one line of JSON that was written."""
        [line] = self.json_lines
        return line

    @property
    def json_lines(self) -> list[Any]:
        """Give every line of JSON that was written."""
        return [json.loads(line, parse_constant=_refuse) for line in self.out.splitlines()]


def walrun(*arguments: object, **how: Any) -> Ended:
    """Run ``walrun`` to its end."""
    return python("-m", "wal_runner", *arguments, **how)


def python(
    *arguments: object,
    stdin: str | bytes = b"",
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    **how: Any,
) -> Ended:
    """Run Python with the package at hand to its end."""
    ended = subprocess.run(
        [sys.executable, *map(str, arguments)],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        cwd=cwd,
        env=environment(env),
        timeout=60,
        check=False,
        **how,
    )
    out, err = (stream.decode("utf-8", "surrogateescape") for stream in (ended.stdout, ended.stderr))
    return Ended(ended.returncode, out, err)


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """Give an environment in which Python finds the package."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **(more or {})}


def crash(log: Path, program: str = CRASHING_PROGRAM, *arguments: object) -> None:
    """Run *program* on *log*; it has to kill itself."""
    ended = python("-c", program, log, *arguments)

    assert -9 == ended.code, ended.err


def files_of(log: Path) -> dict[str, tuple[int, bytes]]:
    """Give every file of *log* with its time of change and its content."""
    return {
        str(path.relative_to(log)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(log.rglob("*"))
        if path.is_file()
    }


def flip_bits(log: Path, needle: bytes) -> None:
    """Turn a bit wherever data.mdb holds *needle*: pages that are free by now hold it too."""
    data = log / "data.mdb"
    content = data.read_bytes()
    assert needle in content
    data.write_bytes(content.replace(needle, bytes([needle[0] ^ 1]) + needle[1:]))


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not part of JSON")
