"""Run one command for an item, without a shell: the effect of ``walrun run LOG -- CMD {}``.

Imported by the command line. Invariant: a command counts as failed only if it never began or
ended by itself with an exit code. However else it ends (a signal, a timeout, an interruption,
a lost exit code), its effect may have happened, and `OutcomeUnknown` is raised.

Each command is handled by the one thread that started it. `interrupt_all` only sets a flag, so
a signal handler may call it, and nobody signals a pid that has become another's.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from wal_runner.errors import OutcomeUnknown, WalRunnerError
from wal_runner.runner.command_output import Capture, Passage, Pipes, Tail
from wal_runner.runner.command_template import CommandTemplate, CommandTemplateInvalid, text_of


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CommandEffect", "CommandFailed", "CommandTemplate", "CommandTemplateInvalid"]

OUTPUT_BYTES_MAX_DEFAULT: Final = 64 * 1024
STDERR_TAIL_BYTES: Final = 4 * 1024

# How long a command that is told to end (SIGTERM) has before it is made to (SIGKILL).
TERMINATE_GRACE_S: Final = 2.0
# How long the kernel has to end a killed process; one that waits for a dead disk takes longer.
KILL_WAIT_S_MAX: Final = 5.0
# How long output is waited for after the command ended: a process that it left behind in the
# background may hold the pipes open for ever.
DRAIN_S_MAX: Final = 1.0
# How often a command with open pipes is asked whether it has ended, ran too long or is interrupted.
CHECK_INTERVAL_S: Final = 0.1
# With its pipes closed a command is about to end: it is asked at once, then less and less often.
PAUSE_S_MIN: Final = 0.0002
PAUSE_S_MAX: Final = 0.05

# In place of an exit code that someone else collected. No process ends with it.
EXIT_CODE_LOST: Final = 1 << 16
# Shells report a command killed by signal n as exit code 128 + n.
SHELL_SIGNAL_BASE: Final = 128


class CommandFailed(WalRunnerError):
    """The command ended with an exit code, or never began (*exit_code* is None then)."""

    def __init__(self, message: str, *, exit_code: int | None = None, stderr_tail: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail


class CommandEffect:
    """Run *template* for an item, and return what it wrote to its standard output.

    The command gets WALRUN_ITEM, WALRUN_ITEM_ID, WALRUN_IDEMPOTENCY_KEY and WALRUN_ATTEMPT in its
    environment and nothing on its standard input, and runs in a session of its own: Ctrl-C on
    the terminal reaches walrun only. It inherits *pass_fds* and the lock of its item, so that
    nobody takes our session for dead while the command still runs. Its standard error is passed on to
    ours as it comes, and with *echo* its standard output too. May be called by many threads.
    """

    def __init__(
        self,
        template: CommandTemplate,
        *,
        timeout_s: float | None = None,
        in_doubt_exits: frozenset[int] = frozenset(),
        pass_fds: tuple[int, ...] = (),
        output_bytes_max: int = OUTPUT_BYTES_MAX_DEFAULT,
        echo: bool = False,
    ) -> None:
        self.template: Final = template
        self._timeout_s = timeout_s
        self._in_doubt_exits = in_doubt_exits
        self._pass_fds = pass_fds
        self._output_bytes_max = output_bytes_max
        self._echo = echo
        self._interrupted = False

    def __call__(
        self, item: object, item_id: str, attempt_number: int, idempotency_key: str, *, lock: int | None = None
    ) -> str | None:
        """Run the command to its end, and return its output, or None if it wrote nothing.

        *lock* is the descriptor of the item's lock, which the command inherits.

        Raises `OutcomeUnknown` if its effect may have happened, `CommandFailed` if it says that it
        failed or could not be started, and `CommandTemplateInvalid` if the item does not fit it.
        """
        argv = self.template.fill(item)
        environment = {
            **os.environ,
            "WALRUN_ITEM": text_of(item),
            "WALRUN_ITEM_ID": text_of(item_id, "The item's id"),
            "WALRUN_IDEMPOTENCY_KEY": idempotency_key,
            "WALRUN_ATTEMPT": str(attempt_number),
        }
        if self._interrupted:
            raise CommandFailed(f"{argv[0]} never began, because the run was interrupted. Run it again.")

        output = Capture(self._output_bytes_max)
        last_words = Tail(STDERR_TAIL_BYTES)
        passages = [Passage(lambda: sys.stderr), Passage(lambda: sys.stdout)]
        pipes = Pipes()
        process = _start(argv, environment, self._pass_fds if lock is None else (*self._pass_fds, lock))
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            pipes.add(process.stdout, output, *passages[1:] if self._echo else ())
            pipes.add(process.stderr, last_words, passages[0])
            stopped_because = self._attend(process, pipes)
        finally:
            # Also when an exception (a KeyboardInterrupt) came while we waited.
            if process.returncode is None:
                _stop(process, pipes)
            _drain(pipes)
            pipes.close()
            for passage in passages:
                passage.finish()
        self._judge(argv[0], process.returncode, stopped_because, last_words.text())
        return output.text()

    def interrupt_all(self) -> None:
        """Terminate the commands that run, and start no more. May be called by a signal handler.

        Each of them raises `OutcomeUnknown` in the thread that runs it, after a short grace.
        """
        self._interrupted = True

    def _attend(self, process: subprocess.Popen[bytes], pipes: Pipes) -> str | None:
        """Wait until *process* has ended, or return why it must be stopped."""
        deadline = time.monotonic() + self._timeout_s if self._timeout_s is not None else None
        pause_s = PAUSE_S_MIN
        while not _has_ended(process):
            if self._interrupted:
                return "was interrupted"
            left_s = deadline - time.monotonic() if deadline is not None else CHECK_INTERVAL_S
            if left_s <= 0:
                return f"ran longer than {self._timeout_s:g} s and was terminated"
            if pipes.open:
                pipes.wait(min(CHECK_INTERVAL_S, left_s))
            else:
                pipes.wait(min(pause_s, left_s))
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
        return None

    def _judge(self, program: str, exit_code: int | None, stopped_because: str | None, last_words: str) -> None:
        """Raise what the end of the command means, unless it means success."""
        said = f" It said: {last_words}" if last_words else ""
        if exit_code is None:
            doubt: str | None = f"{stopped_because or 'was interrupted'}, but cannot be killed: it is still running"
        elif stopped_because is not None:
            doubt = stopped_because
        elif exit_code == EXIT_CODE_LOST:
            doubt = "ended, and its exit code was lost: this process ignores SIGCHLD or collects all children"
        elif exit_code < 0:
            doubt = f"was killed by {_signal_name(-exit_code)}"
        elif exit_code in self._in_doubt_exits:
            doubt = f"ended with exit code {exit_code}, which was declared to mean in doubt"
        else:
            doubt = None
        if doubt is not None:
            raise OutcomeUnknown(
                f"{program} {doubt}.{said}\nIts effect may have happened: look, then say so with `walrun resolve`."
            )
        assert exit_code is not None
        if exit_code != 0:
            raise CommandFailed(
                f"{program} ended with exit code {exit_code}.{said}\n{_advice_on(exit_code)}",
                exit_code=exit_code,
                stderr_tail=last_words,
            )


# --- Starting ------------------------------------------------------------------------


def _start(argv: Sequence[str], environment: Mapping[str, str], pass_fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start the command, or raise `CommandFailed`: then it never began."""
    # A KeyboardInterrupt inside Popen leaves a command that we have no handle of. It goes on by
    # itself and holds its item's lock, so its session is not taken for dead before it ends.
    try:
        return subprocess.Popen(  # noqa: S603 - running what the caller asks for is the purpose; no shell
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(_why_not_started(argv, error)) from error
    except ValueError as error:  # text that the locale's encoding cannot write
        raise CommandFailed(f"{argv[0]} never began: {error}. Run walrun in a UTF-8 locale.") from error


def _why_not_started(argv: Sequence[str], error: OSError) -> str:
    program = argv[0]
    match error.errno:
        case errno.E2BIG:
            return (
                f"{program} never began: the item is too large for arguments and environment "
                f"({sum(map(len, argv)):,} characters of arguments). Put it into a file that the item names."
            )
        case errno.ENOENT:
            return (
                f"{program} never began: it was not found, or the interpreter in its first line was not. "
                "Check its spelling and PATH."
            )
        case errno.EACCES:
            return f"{program} never began: it is not executable. Check it, and `chmod +x` it."
        case errno.ENOEXEC:
            return f"{program} never began: it is no program. A script needs a first line like #!/bin/sh."
        case _:
            return f"{program} never began: {error.strerror}. Check the limits of this machine, and run again."


# --- Ending ------------------------------------------------------------------------


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Collect the exit code of *process* if it has ended; after that its pid may be another's."""
    # Popen.poll() says 0, a success, when somebody else has collected the code.
    if process.returncode is None:
        try:
            pid, status = os.waitpid(process.pid, os.WNOHANG)
        except ChildProcessError:
            process.returncode = EXIT_CODE_LOST
        else:
            process.returncode = os.waitstatus_to_exitcode(status) if pid else None
    return process.returncode is not None


def _would_end(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether *process* has ended, and leave its exit code, which keeps its pid from reuse."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13: wait the whole grace
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _stop(process: subprocess.Popen[bytes], pipes: Pipes) -> None:
    """Terminate *process* and its group: at first politely, then by SIGKILL."""
    _signal_group(process, signal.SIGTERM)
    grace_ends = time.monotonic() + TERMINATE_GRACE_S
    while (pipes.open or not _would_end(process)) and time.monotonic() < grace_ends:
        pipes.wait(min(PAUSE_S_MAX, grace_ends - time.monotonic()))
    # Also when the command has ended: what it started may not have. Its exit code was not yet
    # collected, so the group's number cannot be another's.
    _signal_group(process, signal.SIGKILL)
    gives_up = time.monotonic() + KILL_WAIT_S_MAX
    while not _has_ended(process) and time.monotonic() < gives_up:
        pipes.wait(PAUSE_S_MIN)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # all gone, or run as somebody else
        os.killpg(process.pid, number)


def _drain(pipes: Pipes) -> None:
    gives_up = time.monotonic() + DRAIN_S_MAX
    while pipes.open and time.monotonic() < gives_up:
        pipes.wait(gives_up - time.monotonic())


# --- Words for messages ----------------------------------------------------------------


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _advice_on(exit_code: int) -> str:
    if exit_code - SHELL_SIGNAL_BASE in signal.valid_signals():
        name = _signal_name(exit_code - SHELL_SIGNAL_BASE)
        return (
            f"A shell says {exit_code} when what it ran was killed by {name}; "
            f"if that leaves the effect in doubt, give --in-doubt-exit {exit_code}."
        )
    return "It is tried again by the next run."
