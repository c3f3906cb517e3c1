"""``walrun run --in-doubt-exit``: the names of programs beside numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.terminal import walrun
from wal_runner import Runner


if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("script", "expected"), [("exit 52", 4), ("exit 99", 4), ("exit 7", 3)])
def test_code_of_a_preset_is_in_doubt_and_held(tmp_path: Path, script: str, expected: int) -> None:
    """52 is curl's, 99 was named, and 7 is a failure that the next run tries again."""
    words = ("run", "a.wal", "--items", "-", "--in-doubt-exit", "curl,99", "--")
    first, second = (
        walrun(*words, "sh", "-c", f"echo run >> ran; {script}", cwd=tmp_path, stdin="a\n") for _ in range(2)
    )

    assert (expected, expected) == (first.code, second.code)
    with Runner.open_read(tmp_path / "a.wal") as view:
        assert [{4: "in_doubt", 3: "failed"}[expected]] == [item.status.word for item in view.items()]
    assert {4: 1, 3: 2}[expected] == (tmp_path / "ran").read_text().count("run")


def test_unknown_preset_is_a_usage_error(tmp_path: Path) -> None:
    """The message lists the known ones, and no log is made."""
    ended = walrun("run", "a.wal", "--items", "-", "--in-doubt-exit", "wget", "--", "true", cwd=tmp_path, stdin="a\n")

    assert 2 == ended.code
    assert "'wget' is neither an exit code nor a preset." in ended.err
    assert "The presets are aws, curl, psql, rsync, sendmail, ssh." in ended.err
    assert [] == list(tmp_path.iterdir())
