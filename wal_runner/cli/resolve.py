"""``walrun resolve``: settle doubts by evidence, on record."""

from __future__ import annotations

import json
import sys
from typing import Any, Final, NoReturn

import click

from wal_runner.cli.options import (
    STDIN,
    accept_copy_option,
    attempts_of,
    by_option,
    ids_argument,
    json_option,
    log_argument,
    note_option,
)
from wal_runner.cli.output import put, tell
from wal_runner.cli.settling import items_as_json, writing
from wal_runner.cli.words import count_of
from wal_runner.core.events import Decision
from wal_runner.log import host
from wal_runner.recovery import verdicts
from wal_runner.recovery.verdicts import Verdict


_BECOMES: Final = {
    Decision.HAPPENED: "succeeded, and will not be run again",
    Decision.DID_NOT_HAPPEN: "pending: the next run runs it, with the same idempotency key",
    Decision.ABANDON: "abandoned, and will not be run again unless `walrun retry` says so",
}


@click.command("resolve")
@log_argument
@ids_argument
@click.option("--happened", is_flag=True, help="The effect happened: the item has succeeded.")
@click.option("--did-not-happen", is_flag=True, help="It did not: the item runs again.")
@click.option("--abandon", is_flag=True, help="Nobody will find out: it is not run again.")
@click.option("--attempt", "start_seq", type=int, metavar="SEQ", help="With one id: the attempt that you looked at.")
@click.option("--result", "result_json", metavar="JSON", help="With --happened: what fn would have returned.")
@note_option
@by_option
@accept_copy_option
@json_option
def command(
    log: str,
    ids: tuple[str, ...],
    *,
    happened: bool,
    did_not_happen: bool,
    abandon: bool,
    start_seq: int | None,
    result_json: str | None,
    note: str,
    by: str | None,
    accept_copy: bool,
    as_json: bool,
) -> None:
    """Settle items in doubt by what the outside world says, on record.

    All of the items are settled, or none, durably. With - they are read from stdin, one a line: ids, or
    attempts as `walrun inspect --attempts` prints them. An answer is about one attempt: an item that was
    started more than once needs its attempt named. Put -- in front of ids that begin with a dash.

    \b
    Example:
      walrun resolve emails.wal user-17 --happened --note "it is in the outbox"
    """  # noqa: D301 - click reads the backslash
    said = {Decision.HAPPENED: happened, Decision.DID_NOT_HAPPEN: did_not_happen, Decision.ABANDON: abandon}
    decisions = [decision for decision, given in said.items() if given]
    if len(decisions) != 1:
        raise click.UsageError("Say one thing of what happened: --happened, --did-not-happen or --abandon.")
    if not ids:
        raise click.UsageError("Name the items, or give - to read their ids from stdin.")
    verdict = _verdict(decisions[0], result_json)
    if start_seq is not None and (len(ids) > 1 or STDIN in ids):
        raise click.UsageError("--attempt goes with one id. For several, pipe `walrun inspect --attempts` lines to -.")
    attempts = attempts_of(ids, sys.stdin.buffer)
    names = list(attempts)
    starts = {name: seq for name, named in attempts.items() if (seq := start_seq or named) is not None}
    with writing(log, accept_copy=accept_copy) as (writer, view):
        settled = verdicts.resolve(
            writer, dict.fromkeys(names, verdict), by=by or host.user_name(), note=note, starts=starts
        )
        if as_json:
            items = items_as_json(view, names)
            put({"resolved": settled, "decision": verdict.decision.word, "items": items})
    if not as_json:
        word = verdict.decision.word.replace("_", " ")
        tell(f"{count_of(settled, 'item')} settled as {word}: {_BECOMES[verdict.decision]}.")


def _verdict(decision: Decision, result_json: str | None) -> Verdict:
    if result_json is None:
        return Verdict(decision)
    if decision is not Decision.HAPPENED:
        raise click.UsageError("--result goes with --happened only: nothing else has a result.")
    try:
        result: Any = json.loads(result_json, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(
            f"--result is no JSON value: {error}. Quote text twice, as in --result '\"ok\"'."
        ) from None
    return Verdict.happened(result)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not part of JSON")
