"""Is that the truth? What a damaged log answered, held against what the undamaged one says.

Invariant: an answer is the truth or an error of ours; whatever else comes is a violation, and there is
no third thing but doubt where only a damaged slot knew better.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tools.corrupting.examining import STAGES
from tools.corrupting.mutators import DOUBT, NO_REDO


if TYPE_CHECKING:
    from tools.corrupting.examining import Answer
    from tools.corrupting.nursery import End

TRUE: Final = "true"
TYPED: Final = "typed error"
VERIFY_ONLY: Final = "verify only"
"""A wrong answer that `verify` finds, of the kind that the docs name."""
WRONG: Final = "wrong"
SIGNAL: Final = "signal"
UNTYPED: Final = "untyped error"
UNBOUNDED: Final = "unbounded"

VERDICTS: Final = (TRUE, TYPED, VERIFY_ONLY, WRONG, SIGNAL, UNTYPED, UNBOUNDED)
VIOLATIONS: Final = (WRONG, SIGNAL, UNTYPED, UNBOUNDED)

MEMORY_BYTES_MAX: Final = 640 << 20
"""More than this, for a log of some hundred kilobytes or a bomb of 20 MB, is not bounded."""

TIME_IS_UP: Final = {signal.SIGALRM, signal.SIGXCPU}

Answers = dict[str, "Answer"]


@dataclass(frozen=True)
class Verdict:
    """What came of one trial, and why it is not well where it is not."""

    word: str
    why: str = ""
    redone: bool = False


def judge(end: End, truth: Answers, expects: str) -> Verdict:
    """Give the verdict on a trial."""
    if end.signal:
        word = UNBOUNDED if end.signal in TIME_IS_UP else SIGNAL
        return Verdict(word, f"signal {end.signal} after {end.seconds:.1f} s")
    if end.value is None:
        return Verdict(UNBOUNDED, f"the process ended with {end.code}, out of memory")
    answers: Answers = end.value
    if end.memory_bytes > MEMORY_BYTES_MAX:
        return Verdict(UNBOUNDED, f"{end.memory_bytes >> 20} MiB of memory")
    untyped = [f"{stage}: {answers[stage]['text']}" for stage in STAGES if _is_untyped(answers.get(stage))]
    if untyped:
        return Verdict(UNTYPED, untyped[0])
    redone = sorted(set(answers["run"]["called"]) - set(truth["run"]["called"]))
    repeated = len(answers["run"]["called"]) - len(set(answers["run"]["called"]))
    wrong = [f"run: {redone or repeated} redone"] if redone or repeated else []
    if expects != NO_REDO:
        wrong += [
            f"{stage}: {difference}"
            for stage in ("read", "replay", "run")
            if "value" in answers[stage]
            and (difference := _difference(answers[stage]["value"], truth[stage]["value"], stage, expects, truth))
        ]
        wrong += _after(answers)
    if wrong:
        found = answers["verify"].get("value") or "error" in answers["verify"]
        return Verdict(VERIFY_ONLY if found else WRONG, "; ".join(wrong), redone=bool(redone or repeated))
    is_typed = any("error" in answers[stage] for stage in STAGES if stage in answers)
    return Verdict(TYPED if is_typed or answers["verify"].get("value") else TRUE)


def _is_untyped(answer: Answer | None) -> bool:
    return answer is not None and "error" in answer and not answer["is_ours"]


def _after(answers: Answers) -> list[str]:
    """Say what is wrong with a log that was sound, after a run on it that went well."""
    if "after" not in answers or "value" not in answers["verify"] or answers["verify"]["value"]:
        return []
    problems = answers["after"].get("value") or answers["after"].get("text")
    return [f"after: {problems}"] if problems else []


def _difference(told: Any, true: Any, stage: str, expects: str, truth: Answers) -> str:  # noqa: ANN401
    """Say where an answer differs from the truth; "" where it does not."""
    if told == true:
        return ""
    if expects == DOUBT:
        if stage == "run":
            return _beyond_doubt(told["items"], truth)
        if stage == "read":
            told, true = _without_proofs(told), _without_proofs(true)
            if told == true:
                return ""
    for name, value in true.items():
        if told.get(name) != value:
            return f"{name}: {_first(told.get(name), value)}"
    return f"it tells of {sorted(told.keys() - true.keys())} too"


def _beyond_doubt(told: dict[str, Any], truth: Answers) -> str:
    """Say where an item is neither what it should be nor in doubt that only a slot could have settled."""
    was_started = {item_id for item_id, row in truth["read"]["value"]["items"].items() if row[0] == "started"}
    for item_id, row in truth["run"]["value"]["items"].items():
        found = told.get(item_id)
        # The seqs behind one that is missing move up.
        if found is None or (
            _timeless(found) != _timeless(row) and not (item_id in was_started and found[0] == "in_doubt")
        ):
            return f"{item_id[-12:]}: {found!r:.90} instead of {row!r:.90}"
    return ""


def _without_proofs(told: dict[str, Any]) -> dict[str, Any]:
    """Leave out what slots prove; that what they prove is right shows once it is recorded."""
    return told | {"sessions": {number: facts[:-1] for number, facts in told["sessions"].items()}}


def _timeless(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give a row without its start_seq."""
    return (*row[:3], *row[4:])


def _first(told: Any, true: Any) -> str:  # noqa: ANN401
    if isinstance(true, dict) and isinstance(told, dict):
        for key, value in true.items():
            if told.get(key) != value:
                return f"{str(key)[-12:]}: {told.get(key)!r:.90} instead of {value!r:.90}"
        return f"{sorted(map(str, told.keys() - true.keys()))[:3]} too much"
    return f"{told!r:.90} instead of {true!r:.90}"
