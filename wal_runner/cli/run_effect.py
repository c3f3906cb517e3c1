"""What ``walrun run`` does with an item: a command, or a function of the user's.

Imported by ``walrun run`` only. Invariant: a plan is made before the log is opened, so that what cannot
work for any item is a usage error; its effect is made for an open log.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import click

from wal_runner.errors import LogError
from wal_runner.log.results import printable
from wal_runner.runner.attempt import current_attempt
from wal_runner.runner.command import CommandEffect, CommandFailed, CommandTemplate, CommandTemplateInvalid
from wal_runner.runner.execution import name_of
from wal_runner.runner.returned import is_lazy_function


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wal_runner.log.protocol import Session
    from wal_runner.runner.runner import Runner

FAILURES_KEPT_MAX: Final = 100
MESSAGE_CHARS_MAX: Final = 500


class Effect(NamedTuple):
    """What is called for each item, and what ends all that it is doing, where there is such a thing."""

    fn: Callable[..., Any]
    interrupt: Callable[[], None] | None = None


class Plan(Protocol):
    """What is to be done with each item."""

    @property
    def is_async(self) -> bool:
        """Say whether the effect is a coroutine function."""

    def make(self, runner: Runner, failures: Failures) -> Effect:
        """Give the effect, for the log of *runner*; what it raises is noted in *failures*."""


class Failures:
    """What the first items that did not succeed said, for the summary: item id -> message."""

    def __init__(self) -> None:
        self.messages: dict[str, str] = {}

    def note(self, item_id: str, error: Exception) -> None:
        """Remember *error*, if there are not many already. Any thread may call it."""
        if len(self.messages) < FAILURES_KEPT_MAX:
            self.messages[item_id] = printable(error, MESSAGE_CHARS_MAX) or type(error).__name__


# --- Commands ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """How commands are run; see `CommandEffect`."""

    timeout_s: float | None
    in_doubt_exits: frozenset[int]
    echo: bool


@dataclass(frozen=True, slots=True)
class _CommandPlan:
    template: CommandTemplate
    options: CommandOptions
    is_async: bool = False

    def make(self, runner: Runner, failures: Failures) -> Effect:
        session = runner.writer.session
        effect = CommandEffect(
            self.template,
            timeout_s=self.options.timeout_s,
            in_doubt_exits=self.options.in_doubt_exits,
            echo=self.options.echo,
        )

        def run_command(item: object) -> str | None:
            attempt = current_attempt()
            try:
                with _lock_of(session, attempt.slot) as lock:
                    return effect(item, attempt.item_id, attempt.number, attempt.idempotency_key, lock=lock)
            except Exception as error:
                failures.note(attempt.item_id, error)
                raise

        return Effect(run_command, effect.interrupt_all)


@contextmanager
def _lock_of(session: Session, slot: int) -> Iterator[int | None]:
    """Hold the lock that the command of one item inherits. Raise `CommandFailed` if there can be none."""
    with ExitStack() as held:
        try:
            lock = held.enter_context(session.item_locked(slot))
        except LogError as error:
            raise CommandFailed(f"The command never began, because its lock could not be made. {error}") from error
        yield lock


def plan_of_command(argv: Sequence[str], first: Sequence[object], options: CommandOptions) -> Plan:
    """Plan to run *argv*. It is a usage error where it does not fit the *first* item, if there is one."""
    try:
        template = CommandTemplate(argv)
        for item in first:
            template.check(item)
    except CommandTemplateInvalid as error:
        raise click.UsageError(str(error)) from error
    return _CommandPlan(template, options)


# --- Functions -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _FunctionPlan:
    function: Callable[..., Any]
    is_async: bool

    def make(self, runner: Runner, failures: Failures) -> Effect:  # noqa: ARG002 - for commands
        function = self.function

        # Not wraps(): a wrapper of a coroutine function would look like one, and a partial has no name.
        def call(item: object, *worker_value: object) -> Any:  # noqa: ANN401 - whatever it returns
            try:
                return function(item, *worker_value)
            except Exception as error:
                failures.note(current_attempt().item_id, error)
                raise

        async def call_async(item: object, *worker_value: object) -> Any:  # noqa: ANN401 - whatever it returns
            try:
                return await function(item, *worker_value)
            except Exception as error:
                failures.note(current_attempt().item_id, error)
                raise

        made = call_async if self.is_async else call
        made.__qualname__ = name_of(function)  # what an error of the run calls it
        return Effect(made)


def plan_of_function(function: Callable[..., Any]) -> Plan:
    """Return the plan to call *function*, or to await it if it is a coroutine function.

    It is a usage error if calling it runs nothing: a generator function, or what wraps one.
    """
    if is_lazy_function(function):
        raise click.UsageError(
            f"--call: {name_of(function)} is a generator function, or wraps one: calling it runs nothing of it. Take "
            "its yield out, or name a function that runs it to its end."
        )
    called = (
        function if inspect.isroutine(function) or isinstance(function, functools.partial) else type(function).__call__
    )
    return _FunctionPlan(function, inspect.iscoroutinefunction(called))


def function_named(name: str, option: str = "--call") -> Callable[..., Any]:
    """Import ``module:function``, the value of *option*, from the working folder or from where Python finds modules.

    A name that does not exist is a usage error. What a module raises by itself goes to the caller.
    """
    module_name, _, path = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise click.UsageError(f"{option} {name}: give module:function, as in {option} shop.prices:update.")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and misses another one
        raise click.UsageError(
            f"{option} {name}: there is no module {error.name}, neither in {folder} nor where Python looks for modules."
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise click.UsageError(f"{option} {name}: {getattr(found, '__name__', module_name)} has no {part}.")
        found = getattr(found, part)
    if not callable(found):
        raise click.UsageError(f"{option} {name}: a value of type {type(found).__name__} cannot be called.")
    return found  # type: ignore[no-any-return] # callable, and more nobody knows
