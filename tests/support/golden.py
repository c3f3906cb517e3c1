"""The golden logs, laid out as the folders that they were.

``v1`` holds one log, a file of it in each ``log-NAME.hex``. ``v2`` holds a log a feature, each in one file: lines of
``NAME hex``, which together are the compressed bytes of the log's file NAME.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest


GOLDEN = Path(__file__).parents[1] / "golden"
PAGE_BYTES = 4_096


def names() -> list[str]:
    """Return the names of all golden logs: ``v1``, and ``v2/FEATURE``."""
    return ["v1", *sorted(f"v2/{path.stem}" for path in (GOLDEN / "v2").glob("*.hex"))]


def files_of(name: str) -> dict[str, bytes]:
    """Return the files of the golden log *name*."""
    packed: dict[str, str] = {}
    if name == "v1":
        for path in (GOLDEN / name).glob("log-*.hex"):
            file_name = path.stem.removeprefix("log-")
            packed[".gitignore" if file_name == "gitignore" else file_name] = path.read_text()
    else:
        for line in (GOLDEN / f"{name}.hex").read_text().splitlines():
            file_name, _, code = line.partition(" ")
            packed[file_name] = packed.get(file_name, "") + code
    return {file_name: zlib.decompress(bytes.fromhex(code)) for file_name, code in packed.items()}


def lay_out(name: str, path: Path) -> Path:
    """Write the golden log *name* as the folder *path*, and return it; skip the test if LMDB cannot read it here."""
    if os.sysconf("SC_PAGE_SIZE") != PAGE_BYTES:
        pytest.skip(f"LMDB files have the page size of the machine that made them; the golden ones have {PAGE_BYTES}")
    path.mkdir(mode=0o700)
    for folder in ("sessions", "archive"):
        (path / folder).mkdir(mode=0o700)
    for file_name, content in files_of(name).items():
        (path / file_name).write_bytes(content)
    return path
