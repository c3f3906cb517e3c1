"""What a process of its own asks of a damaged log: everything that a user would, and then a run.

Imported by the trials and called in a forked child. Invariant: an answer is either what the library
said or the error that it raised, by stage; nothing is judged here.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any, TypedDict

from wal_runner import Runner, replay
from wal_runner.core.state_tables import NUMBERS
from wal_runner.errors import WalRunnerError
from wal_runner.recovery.verifying import verify


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wal_runner.recovery.reader import LogView

STAGES = ("read", "replay", "verify", "run", "after")

_NUMBERS: list[str] = sorted(set(NUMBERS) - {"elapsed_ns", "timed"})


class Answer(TypedDict, total=False):
    """What one stage gave: a *value*, or the *error* that it raised and whether that is one of ours."""

    value: Any
    error: str
    text: str
    is_ours: bool
    called: list[str]


def examine(folder: Path, items: Sequence[str], asked: Sequence[str], *, again: bool = True) -> dict[str, Answer]:
    """Read, replay, verify and run the log in *folder*, and verify it *again*.

    *asked* are items to be looked up one by one.
    """
    logging.disable(logging.CRITICAL)
    answers = {
        "read": _answer(lambda: _read(folder, asked)),
        "replay": _answer(lambda: _replay(folder)),
        "verify": _answer(lambda: [(problem.part, problem.text) for problem in verify(folder)]),
    }
    called: list[str] = []
    answers["run"] = _answer(lambda: _run(folder, items, called))
    answers["run"]["called"] = called
    if again and "value" in answers["run"]:
        # What ran on a log that seemed sound must leave one that is.
        answers["after"] = _answer(lambda: [(problem.part, problem.text) for problem in verify(folder)])
    return answers


def _answer(ask: Callable[[], Any]) -> Answer:
    try:
        return {"value": ask()}
    except Exception as error:  # noqa: BLE001 - whatever comes is an answer
        is_ours = isinstance(error, WalRunnerError)
        text = str(error) if is_ours else traceback.format_exc()
        return {"error": type(error).__name__, "text": text, "is_ours": is_ours}


def _read(folder: Path, asked: Sequence[str]) -> dict[str, Any]:
    with Runner.open_read(folder) as view:
        return {
            **_shown(view),
            "asked": {item_id: view.status(item_id).word for item_id in asked},
            "sessions": {
                report.info.number: (
                    report.alive,
                    report.recorded,
                    [(start_seq, attempt.item_id, attempt.status.word) for start_seq, attempt in report.open],
                    {start_seq: type(event).__name__ for start_seq, event in report.proven.items()},
                )
                for report in view.sessions()
            },
        }


def _replay(folder: Path) -> dict[str, Any]:
    state = replay(folder)
    numbers = {name: repr(getattr(state, name)) for name in _NUMBERS}
    return numbers | {"items": {item_id: repr(row) for item_id, row in state.touched()}}


def _run(folder: Path, items: Sequence[str], called: list[str]) -> dict[str, Any]:
    def fn(item: str) -> object:
        called.append(item)
        return {"now": item}

    # It was laid out anew, which is a copy.
    with Runner(folder, must_exist=True, accept_copy=True) as runner:
        report = runner.run(items, fn, signals=False).as_dict()
        for name in ("elapsed_s", "time_saved_s", "doubt_bound"):
            del report[name]
        return {"report": report, **_shown(runner, frozenset(called))}


def _shown(view: LogView | Runner, timed: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Show every item; of those in *timed* the start_seq is left out, for windows are as quick as they are."""
    rows = [
        (
            *(item.item_id, item.status.word, item.attempts, item.generation),
            *(0 if item.item_id in timed else item.start_seq, item.result, item.omitted, item.error),
        )
        for item in view.items()
    ]
    return {
        "items": {row[0]: row[1:] for row in rows},
        "order": [row[0] for row in rows],
        "counts": dict(view.counts()),
    }
