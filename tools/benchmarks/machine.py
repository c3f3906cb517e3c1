"""The machine and the versions: what a reader needs to know to judge a figure."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Final


PACKAGES: Final = ("wal-runner", "lmdb", "msgpack", "dbos", "joblib", "persist-queue", "huey", "redis")
SYNCS: Final = 200
NO_DISK: Final = {"tmpfs", "ramfs"}


def facts(folder: Path) -> dict[str, Any]:
    """Give what is worth knowing of this machine; *folder* is on the disk that is measured."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "file_system": file_system(folder),
        "sync_us": round(sync_us(folder), 1),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Give the version of everything measured that is installed."""
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def sync_us(folder: Path) -> float:
    """Give how long it takes to append 100 bytes and have them on disk: the median, in microseconds."""
    sync = getattr(os, "fdatasync", os.fsync)
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(100))
            sync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


def file_system(folder: Path) -> str:
    """Give the type of the file system that *folder* is on, "" where the system does not tell."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    resolved = folder.resolve()
    # The last of the longest: a mount point can be mounted over.
    best, found = -1, ""
    for line in mounts:
        _device, place, kind, *_ = line.split()
        point = Path(place.replace("\\040", " "))
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), kind
    return found


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
