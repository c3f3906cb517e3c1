"""Where this process runs: the host, its boot, and when the process began.

Imported by the engines and by recovery. Invariant: an answer that cannot be had is "", which
equals no other answer when boots are compared.
"""

from __future__ import annotations

import functools
import getpass
import os
import platform
import re
import subprocess
import sys
from pathlib import Path


_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_TIME_FIELD = 19  # of /proc/PID/stat behind the command's name; see proc(5)


@functools.cache
def boot_id() -> str:
    """Name the boot of this machine: it differs after every restart."""
    if sys.platform == "darwin":  # pragma: no cover - macOS
        found = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False
        )
        return found.stdout.strip().lower()
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def host_name() -> str:
    """Give the name of this host."""
    return platform.node()


def user_name() -> str:
    """Give the name of the user, or the number where there is no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def process_started(pid: int) -> str:
    """Say when process *pid* began, in clock ticks since boot; tells a pid from its reuse."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = re.split(r"\s+", stat.rpartition(")")[2].strip())
    return fields[_START_TIME_FIELD] if len(fields) > _START_TIME_FIELD else ""
