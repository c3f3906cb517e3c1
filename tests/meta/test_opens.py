"""The files of a log are opened in one place, `wal_runner.log.files`, which follows no links and waits for no FIFO."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = Path(__file__).parents[2] / "wal_runner" / "log"
THE_PLACE = "files.py"

# What opens, lists or deletes by a path. A method of this name counts whatever it is called on.
BY_PATH = {
    *("open", "read_bytes", "read_text", "write_bytes", "write_text", "touch"),
    *("listdir", "scandir", "iterdir", "glob", "rglob", "unlink", "remove", "rmdir", "rmtree", "chmod", "chown"),
}
# The engine's own methods, and names that are something else.
NOT_A_FILE = {"self.open", "self._data.open", "session_files.remove"}

# None of these is a file of a log but the folder that is built aside, and data.mdb, which LMDB opens by itself
# between two checks. This list only gets shorter.
ALLOWED = {
    "env.py: lmdb.open",
    "filesystems.py: MOUNTINFO.read_bytes",
    "folder.py: folder.chmod",
    "folder.py: shutil.rmtree",
    "gate.py: Path.read_bytes",
    "gate.py: _LOCKS.read_text",
    "host.py: Path.read_text",
    "host.py: _BOOT_ID.read_text",
}


def opens(name: str, text: str) -> Iterator[str]:
    """Yield each call in *text* that opens, lists or deletes by a path."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id == "open":
            yield f"{name}: open"
        elif isinstance(called, ast.Attribute) and called.attr in BY_PATH:
            of = called.value.func if isinstance(called.value, ast.Call) else called.value
            spelled = f"{ast.unparse(of)}.{called.attr}"
            if spelled not in NOT_A_FILE:
                yield f"{name}: {spelled}"


def test_files_of_a_log_are_opened_in_one_place() -> None:
    """No other module opens, lists or deletes by a path; what is allowed is still needed."""
    found = {one for path in LOG.glob("*.py") if path.name != THE_PLACE for one in opens(path.name, path.read_text())}

    assert ALLOWED == found


@pytest.mark.parametrize(
    "planted",
    [
        "open(path)",
        "os.open(path, os.O_RDONLY)",
        "path.open('rb')",
        "(folder / NAME).open()",
        "path.read_bytes()",
        "os.listdir(folder)",
        "path.unlink()",
    ],
)
def test_planted_open_is_caught(planted: str) -> None:
    """Each way of opening a file is seen."""
    assert 1 == len(list(opens("planted.py", planted)))
