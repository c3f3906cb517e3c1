"""``walrun run``: run a command, or a function, for each item that is not done.

Invariant: what can be seen to be wrong from the command line and the first item is a usage error, and
nothing was started, or created, for it.
"""

from __future__ import annotations

import asyncio
import io
import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from wal_runner.cli.exit_presets import PRESETS, exit_codes_of
from wal_runner.cli.exits import Exit, exit_of
from wal_runner.cli.items import FORMATS, Items, known_fields, open_items
from wal_runner.cli.options import accept_copy_option, json_option, log_argument
from wal_runner.cli.output import put, say
from wal_runner.cli.run_effect import CommandOptions, Failures, function_named, plan_of_command, plan_of_function
from wal_runner.cli.run_summary import Rerun, greeting, summary
from wal_runner.core.identity import by_content, key_rule
from wal_runner.errors import Interrupted, ItemIdInvalid, listed
from wal_runner.log.format import RESULT_BYTES_FORMAT_MAX, RESULT_BYTES_MAX, SCRATCH_SLOTS
from wal_runner.recovery.deaths import MAX_DEATHS
from wal_runner.runner.options import MAX_DEATHS_MAX, RESULTS, WORKERS_MAX, RunOptions
from wal_runner.runner.progress import Progress
from wal_runner.runner.renewal import CONNECT_TIMEOUT_S
from wal_runner.runner.run import ENDED_NOT_OK, RESULTS_OMITTED
from wal_runner.runner.run import logger as run_logger
from wal_runner.runner.runner import Runner


if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

    from wal_runner.cli.run_effect import Plan
    from wal_runner.runner.report import RunReport

DASHES: Final = "--"
GIVEN: Final = f"{__name__}.given"
"""Where the words of the command line stand in click's context, as they were given."""

BY_CONTENT: Final = "content"
LOST: Final = "lost"
RENEW: Final[dict[str, bool | None]] = {LOST: None, "always": True, "never": False}
"""What ``--renew`` takes, and what that is as ``renew=``."""

FIELDS_SHOWN_MAX: Final = 10


class _RunCommand(click.Command):
    """A command that leaves everything behind the first ``--`` alone: it is another program's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse our own words only, and keep all of them for the command that resumes."""
        ctx.meta[GIVEN] = tuple(args)
        if DASHES in args:
            return super().parse_args(ctx, args[: args.index(DASHES)])
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            hint = "The words of the command to run stand behind --, as in `-- ./send {}`."
            raise click.UsageError(f"{error.format_message()} {hint}", ctx) from error

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Give the usage line its end."""
        return [*super().collect_usage_pieces(ctx), "(-- CMD {} {field}... | --call MODULE:FUNCTION)"]


def _exit_codes(ctx: click.Context, param: click.Parameter, value: str | None) -> frozenset[int]:
    """Read ``28,52`` or ``curl,99``. A callback of click."""
    try:
        return frozenset() if value is None else exit_codes_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _seconds(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse what is no time to wait. A callback of click."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value!r} is no time to wait. Give seconds, more than 0.", ctx, param)
    return value


@click.command("run", cls=_RunCommand)
@log_argument
@click.option("--items", "items_spec", metavar="FILE|-", required=True, help="A .jsonl, .csv or .txt file; - is stdin.")
@click.option("--items-format", type=click.Choice(FORMATS), help="Unless the name of the file says it; stdin is txt.")
@click.option("--key", metavar="FIELD", help="What names an item: a field, several with commas, or `content`.")
@click.option(
    "-j",
    "--workers",
    metavar="N",
    type=click.IntRange(1, WORKERS_MAX),
    default=1,
    show_default=True,
    help="So many at once.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="S",
    type=float,
    callback=_seconds,
    help="End a command after so many seconds: in doubt.",
)
@click.option("--idempotent", is_flag=True, help="A redo is harmless: what is in doubt is run again.")
@click.option(
    "--max-deaths",
    metavar="N",
    type=click.IntRange(0, MAX_DEATHS_MAX),
    default=MAX_DEATHS,
    show_default=True,
    help="Hold an item in doubt after N deaths of walrun while it ran, the last time alone; 0: never.",
)
@click.option(
    "--in-doubt-exit",
    "in_doubt_exits",
    metavar="CODES",
    callback=_exit_codes,
    help=f"Exit codes that mean in doubt (28,52), or programs whose codes are known: {', '.join(PRESETS)}.",
)
@click.option(
    "--max-in-doubt",
    metavar="N",
    type=click.IntRange(1, SCRATCH_SLOTS),
    help="What a power cut may leave in doubt, at most.",
)
@click.option(
    "--results",
    type=click.Choice(RESULTS),
    default=RESULTS[0],
    show_default=True,
    help="required: end the run after a result that cannot be kept, with code 6.",
)
@click.option(
    "--result-bytes-max",
    metavar="N",
    type=click.IntRange(1, RESULT_BYTES_FORMAT_MAX),
    help="With --call: keep results of up to N bytes (1 MiB; at most 32 MiB).",
)
@click.option("--resume", "must_exist", is_flag=True, help="Never create a log: code 10 where there is none.")
@accept_copy_option
@click.option("--print", "echo", is_flag=True, help="Pass the output of the commands on to stdout.")
@click.option("--call", "function_name", metavar="MODULE:FUNCTION", help="Call a function instead of a command.")
@click.option(
    "--per-worker",
    "per_worker_name",
    metavar="MODULE:FUNCTION",
    help="With --call: makes a context manager for each worker, such as a connection; the function gets its value.",
)
@click.option(
    "--renew",
    type=click.Choice(tuple(RENEW)),
    help="Connect again before the next item: if the connection is lost (without this option), after any error, never.",
)
@click.option(
    "--connect-timeout",
    "connect_timeout_s",
    metavar="S",
    type=float,
    callback=_seconds,
    help="End the run, with code 6, when no worker could connect again for S seconds (60).",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    log: str,
    *,
    items_spec: str,
    items_format: str | None,
    key: str | None,
    workers: int,
    timeout_s: float | None,
    idempotent: bool,
    max_deaths: int,
    in_doubt_exits: frozenset[int],
    max_in_doubt: int | None,
    results: str,
    result_bytes_max: int | None,
    must_exist: bool,
    accept_copy: bool,
    echo: bool,
    function_name: str | None,
    per_worker_name: str | None,
    renew: str | None,
    connect_timeout_s: float | None,
    as_json: bool,
) -> int:
    """Run a command, or a function, for each item that is not done; create the log, or resume it.

    In the command, {} is the item and {name} a field of it; there is no shell. It finds WALRUN_ITEM,
    WALRUN_ITEM_ID, WALRUN_IDEMPOTENCY_KEY and WALRUN_ATTEMPT in its environment, and what it writes to
    stdout is kept as the result (of more than 64 KiB the beginning, and how much was cut). Exit code 0
    means done, another one failed: the next run tries it again. Killed by a signal, or timed out: in
    doubt, and held until `walrun resolve`.

    Ctrl-C, or SIGTERM, once: start nothing more, and finish what runs. Twice: interrupt it.

    \b
    Examples:
      walrun run emails.wal --items emails.csv --key id -- ./send {id} {address}
      printf 'a\\nb\\n' | walrun run letters.wal --items - -j 4 --print -- echo {}
      walrun run prices.wal --items prices.jsonl --key sku --call shop:update_price
    """  # noqa: D301 - click reads the backslashes
    given = ctx.meta[GIVEN]
    argv = given[given.index(DASHES) + 1 :] if DASHES in given else ()
    _check_together(
        argv,
        function_name,
        timeout_s,
        in_doubt_exits,
        result_bytes_max=result_bytes_max,
        echo=echo,
        as_json=as_json,
    )
    _check_connection_options(function_name, per_worker_name, is_given=(renew or connect_timeout_s) is not None)
    options = CommandOptions(timeout_s=timeout_s, in_doubt_exits=in_doubt_exits, echo=echo)
    # A module that cannot be imported is told at once, not when the first line comes out of a pipe.
    function = None if function_name is None else function_named(function_name)
    per_worker = None if per_worker_name is None else function_named(per_worker_name, "--per-worker")
    rule = _key_of(key)
    items = open_items(items_spec, _stdin(), items_format)
    first = items.peek()
    for item in first:
        _check_key(key, rule, item)
    plan = plan_of_command(argv, first, options) if function is None else plan_of_function(function)
    run_logger.logger.addFilter(_is_news)
    with Runner(log, must_exist=must_exist, accept_copy=accept_copy) as runner:
        say(greeting(runner))
        settings = RunOptions(
            key=rule,
            workers=workers,
            idempotent=idempotent,
            max_deaths=max_deaths or None,
            max_in_doubt=max_in_doubt,
            per_worker=per_worker,
            renew=RENEW[renew or LOST],
            connect_timeout=connect_timeout_s or CONNECT_TIMEOUT_S,
            results=results,
            result_bytes_max=result_bytes_max or RESULT_BYTES_MAX,
            progress=Progress(total=items.total),
            would_block=items.would_block,
        )
        return _run(runner, items, plan, settings, Rerun.of(log, items_spec, given), as_json=as_json)


# --- Checks before anything is started -----------------------------------------------------


def _check_together(
    argv: Sequence[str],
    function_name: str | None,
    timeout_s: float | None,
    in_doubt_exits: frozenset[int],
    *,
    result_bytes_max: int | None,
    echo: bool,
    as_json: bool,
) -> None:
    if function_name is not None and argv:
        raise click.UsageError("Give a command behind --, or --call, not both.")
    if function_name is None and not argv:
        raise click.UsageError("Say what to run: a command behind --, as in `-- ./send {}`, or --call module:function.")
    if function_name is None and result_bytes_max is not None:
        raise click.UsageError("--result-bytes-max is for --call; of what a command prints, 64 KiB are kept.")
    if function_name is not None and (timeout_s is not None or in_doubt_exits or echo):
        raise click.UsageError("--timeout, --in-doubt-exit and --print are for commands; --call has none.")
    if echo and as_json:
        raise click.UsageError("--print and --json both write to stdout. Give one; results are kept in the log.")


def _check_connection_options(function_name: str | None, per_worker_name: str | None, *, is_given: bool) -> None:
    if function_name is None and per_worker_name is not None:
        raise click.UsageError("--per-worker is for --call; each command makes its own connection.")
    if per_worker_name is None and is_given:
        raise click.UsageError("--renew and --connect-timeout are for --per-worker; give that, too.")


def _stdin() -> BinaryIO:
    # None where whoever started us closed it.
    return sys.stdin.buffer if sys.stdin is not None else io.BytesIO()


def _key_of(text: str | None) -> Any:  # noqa: ANN401 - whatever `Runner.run` takes as key
    if text is None:
        return None
    if text == BY_CONTENT:
        return by_content
    names = text.split(",")
    if "" in names:
        raise click.UsageError(
            f"--key {text!r} has an empty name in it. Give a field, several with commas, or content."
        )
    return names[0] if len(names) == 1 else tuple(names)


def _check_key(text: str | None, key: Any, item: object) -> None:  # noqa: ANN401
    """Refuse a key that names nothing in the first item: it would in no other."""
    fields = known_fields(item)
    shown = listed(fields, FIELDS_SHOWN_MAX)
    if text is None and fields:
        raise click.UsageError(f"Say what names an item: --key with one of its fields ({shown}), or --key content.")
    if text is not None and key is not by_content:
        if not fields:
            raise click.UsageError(f"--key {text}: the items have no fields. Leave it out, or give --key content.")
        missing = [name for name in text.split(",") if name not in fields]
        if missing:
            raise click.UsageError(f"--key {text}: the first item has no field {missing[0]!r}. It has: {shown}.")
    try:
        key_rule(key).id_of(item)
    except ItemIdInvalid as error:
        raise click.UsageError(f"The first item cannot be named. {error}") from error


# --- The run --------------------------------------------------------------------------------


def _run(runner: Runner, items: Items, plan: Plan, settings: RunOptions, rerun: Rerun, *, as_json: bool) -> int:
    """Run everything, say how it ended, and give the exit code. Raise what ended it early."""
    failures = Failures()
    assert isinstance(settings.progress, Progress), "the report of a run that an error ends is in it"
    error: BaseException | None = None
    try:
        report = _perform(runner, items, plan, settings, failures)
    except Interrupted as interrupted:
        assert settings.progress.report is not None, "the run began"
        report, error = settings.progress.report, interrupted
    except BaseException as raised:
        if settings.progress.report is None:
            raise
        report, error = settings.progress.report, raised
    code = int(exit_of(error)) if error is not None else report.exit_code
    for line in summary(runner, report, failures, rerun, total=items.total(), error=error):
        say(line)
    if as_json:
        put(_as_json(runner, report, code, error))
    if error is not None and not isinstance(error, Interrupted):
        raise error
    return code


def _perform(runner: Runner, items: Items, plan: Plan, settings: RunOptions, failures: Failures) -> RunReport:
    effect = plan.make(runner, failures)
    if not plan.is_async:
        return runner.run_with(items, effect.fn, replace(settings, interrupt=effect.interrupt))
    return asyncio.run(
        runner.run_async(
            items,
            effect.fn,
            concurrency=settings.workers,
            key=settings.key,
            idempotent=settings.idempotent,
            max_deaths=settings.max_deaths,
            max_in_doubt=settings.max_in_doubt,
            per_worker=settings.per_worker,
            renew=settings.renew,
            connect_timeout=settings.connect_timeout,
            results=settings.results,
            result_bytes_max=settings.result_bytes_max,
            progress=settings.progress,
            would_block=settings.would_block,
        )
    )


def _as_json(runner: Runner, report: RunReport, code: int, error: BaseException | None) -> dict[str, Any]:
    shown = {"log": runner.path, **report.as_dict(), "exit_code": code}
    if error is not None and code != Exit.INTERRUPTED:
        shown |= {"error": str(error) or type(error).__name__, "ok": False}
    return shown


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out the library's warnings at the end of a run: our summary says it better."""
    return record.msg not in {ENDED_NOT_OK, RESULTS_OMITTED}
