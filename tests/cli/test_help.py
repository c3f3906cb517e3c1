"""Help that cannot rot: every command has it, and its examples are run."""

import os
import re
import shutil
import subprocess
import sys

import click
import pytest

from tests.cli.terminal import environment
from wal_runner.cli.exits import Exit
from wal_runner.cli.main import walrun


COMMANDS = sorted(walrun.commands)
# Their examples need minutes, or files of their own; tests of theirs run them.
RUN_ELSEWHERE = {"run", "demo"}


def help_of(name):
    """Give the help of a command, as it is printed."""
    return walrun.commands[name].get_help(click.Context(walrun.commands[name], info_name=f"walrun {name}"))


def examples_of(name):
    """Give the lines behind ``Example:``."""
    block = re.search(r"\n  Examples?:\n((?: {4}.*\n)+)", help_of(name))
    return [line.strip() for line in block[1].splitlines()] if block else []


def test_commands_are_the_documented_ones():
    """One file, one command; none is hidden."""
    assert ["compact", "demo", "inspect", "replay", "resolve", "retry", "run", "status", "verify"] == COMMANDS
    assert not any(command.hidden for command in walrun.commands.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    """One sentence in the imperative, an example, --json, and words for every option."""
    command = walrun.commands[name]
    sentence = command.help.splitlines()[0]

    assert sentence.endswith(".")
    assert sentence[0].isupper()
    assert not sentence.split()[0].endswith("s")
    assert examples_of(name)
    options = {word: option for option in command.params for word in option.opts if isinstance(option, click.Option)}
    assert "--json" in options
    assert all(option.help for option in options.values())


@pytest.mark.usefixtures("crashed")
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - RUN_ELSEWHERE))
def test_every_example_runs(name, tmp_path):
    """Pasted into a shell, next to a log, it works."""
    for example in examples_of(name):
        assert example.split()[:2] == ["walrun", name]
        paste(example, tmp_path)


def test_example_of_the_group_is_one_of_run():
    """The first example that anybody sees is one that the command's own help explains."""
    [example] = re.findall(r"\n      (walrun .*)\n", walrun.help.replace("\b", ""))

    assert example in examples_of("run")


def test_epilog_lists_the_exit_codes():
    """What ``walrun --help`` says of them is the enum."""
    listed = re.findall(r"^ *(\d+)  (.+)$", walrun.epilog, re.MULTILINE)

    assert [(str(code.value), code.meaning) for code in Exit] == listed


def paste(command, folder):
    """Run *command* in a shell that finds ``walrun``."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "walrun").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wal_runner "$@"\n')
    (programs / "walrun").chmod(0o755)
    subprocess.run(
        [shutil.which("bash"), "-c", command],
        cwd=folder,
        env=environment({"PATH": f"{programs}:{os.environ['PATH']}"}),
        check=True,
        timeout=60,
    )
