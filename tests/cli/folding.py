"""Fold the lines of ``walrun replay --json``, as someone would who has only the reference.

Written apart from the package on purpose, so that the two can be compared.
"""

from __future__ import annotations

import copy
from typing import Any


STATUSES = ("pending", "started", "succeeded", "failed", "in_doubt", "abandoned")
SESSION_FIELDS = ("session", "host", "pid", "boot", "argv", "cwd", "user", "version")
AFTER_A_VERDICT = {"happened": "succeeded", "did_not_happen": "pending", "abandon": "abandoned"}


def fold(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Give what ``walrun status --json`` says, but for "now"."""
    status, opened = _beginning(lines)
    for line in lines:
        if line["type"] != "base":
            _apply(status, opened, line)
    status["items"] = sum(status["counts"].values())
    status["sessions"] = sorted(status["sessions"].values(), key=lambda session: session["session"])
    return status


def _beginning(lines: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    if lines and lines[0]["type"] == "base":
        status = copy.deepcopy(lines[0])
        del status["type"], status["ended_sessions"]
        opened = {item["start_seq"]: item for item in status.pop("open")}
        status["sessions"] = {session["session"]: session for session in status["sessions"]}
        return status, opened
    zeros = ("seq", "results_omitted", "conflicts", "timed", "elapsed_ns", "last_session", "snapshot_seq", "base_seq")
    status = {**dict.fromkeys(zeros, 0), "counts": dict.fromkeys(STATUSES, 0)}
    return {**status, "key_rule": None, "cursors": {}, "sessions": {}, "paused": None, "source_ends": {}}, {}


def _apply(  # noqa: C901, PLR0912, PLR0915 - one case an event
    status: dict[str, Any], opened: dict[int, dict[str, Any]], line: dict[str, Any]
) -> None:
    counts, sessions = status["counts"], status["sessions"]
    assert line["seq"] == status["seq"] + 1, "no event is left out"
    status["seq"] = line["seq"]
    match line["type"]:
        case "session_opened":
            session = {name: line[name] for name in (*SESSION_FIELDS, "accepted") if name in line}
            sessions[line["session"]] = {**session, "opened": line["time"], "ended": None, "ending": None}
            status["last_session"] = line["session"]
        case "session_closed":
            del sessions[line["closed_session"]]
        case "session_lost":
            del sessions[line["lost_session"]]
            for item in opened.values():
                if item["session"] == line["lost_session"] and item["status"] == "started":
                    _move(counts, item, "in_doubt")
        case "item_started":
            if line["before"] is not None:
                counts[line["before"]] -= 1
            counts["started"] += 1
            opened[line["seq"]] = {"item_id": line["item_id"], "session": line["session"], "status": "started"}
        case "item_reopened":
            counts[line["before"]] -= 1
            counts["pending"] += 1
        case "item_given_up":
            counts[line["before"]] -= 1
            counts["abandoned"] += 1
        case "item_held" | "item_attested":
            _doubt_or_attest(status, opened, line)
        case "item_interrupted":
            if line["start_seq"] not in opened:
                status["conflicts"] += 1
            elif opened[line["start_seq"]]["status"] == "started":
                _move(counts, opened[line["start_seq"]], "in_doubt")
        case "item_succeeded" | "item_failed" | "item_released" | "item_reconciled" | "late_outcome":
            _settle(status, opened, line)
        case "cursor_advanced":
            status["cursors"][line["source"]] = line["cursor"]
            if line["cursor"] is None:
                del status["cursors"][line["source"]]
        case "snapshot_taken":
            status["snapshot_seq"] = line["snapshot_seq"]
        case "log_compacted":
            status["base_seq"] = line["base_seq"]
        case "key_rule_set":
            status["key_rule"] = line["rule"]
        case "session_reached":
            reached = {"engine": line["engine"], "where": line["where"]}
            sessions[line["reaching_session"]].setdefault("reached", []).append(reached)
        case "text_seen":
            pass
        case "pause_set":
            pause = {"by": line["by"], "note": line["note"], "since": line["time"]}
            status["paused"] = pause if line["paused"] else None
        case "run_ended":
            status["source_ends"].pop(line["source"], None)
            if not line["source_ended"]:
                status["source_ends"][line["source"]] = {
                    "session": line["run_session"],
                    "because": line["because"] or None,
                    "seen": line["seen"],
                    "not_started": line["not_started"],
                    "ended": line["time"],
                }
        case unknown:
            raise AssertionError(f"{unknown} is no type of event")
    if line["session"] in sessions:
        sessions[line["session"]]["last"] = line["time"]


def _settle(status: dict[str, Any], opened: dict[int, dict[str, Any]], line: dict[str, Any]) -> None:
    item = opened.pop(line["start_seq"], None)
    if item is None:
        status["conflicts"] += 1
        return
    assert item["item_id"] == line["item_id"], "an outcome says whose it is"
    if line["type"] == "item_reconciled":
        becomes = AFTER_A_VERDICT[line["decision"]]
    elif line["type"] == "item_released":
        becomes = "pending"
    elif line.get("error"):
        becomes = "abandoned" if line.get("final") else "failed"
    else:
        becomes = "succeeded"
    _move(status["counts"], item, becomes)
    if line["type"] == "item_succeeded":
        status["timed"] += 1
        status["elapsed_ns"] += line["elapsed_ns"]
    if line.get("omitted") is not None:
        status["results_omitted"] += 1


def _doubt_or_attest(status: dict[str, Any], opened: dict[int, dict[str, Any]], line: dict[str, Any]) -> None:
    if line["type"] == "item_held":
        status["counts"][line["before"]] -= 1
        start_seq, becomes = line["start_seq"], "in_doubt"
    else:
        start_seq, becomes = line["seq"], line["status"]
        status["results_omitted"] += line["omitted"] is not None and becomes == "succeeded"
    status["counts"][becomes] += 1
    if becomes == "in_doubt":
        opened[start_seq] = {"item_id": line["item_id"], "session": line["session"], "status": "in_doubt"}


def _move(counts: dict[str, int], item: dict[str, Any], becomes: str) -> None:
    counts[item["status"]] -= 1
    counts[becomes] += 1
    item["status"] = becomes
