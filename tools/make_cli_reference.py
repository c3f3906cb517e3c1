"""Write docs/reference/cli.md from the commands' own help; ``--check`` says whether it is up to date.

python tools/make_cli_reference.py
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import click

from wal_runner.cli.main import walrun


PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
WIDTH = 100


def reference() -> str:
    """Give the page: the help of the group, then of each command."""
    parts = [
        "# Command line",
        "",
        "Written by `tools/make_cli_reference.py` from the commands' own help.",
        "",
    ]
    group = click.Context(walrun, info_name="walrun", terminal_width=WIDTH, max_content_width=WIDTH)
    parts += ["## walrun", "", "```text", walrun.get_help(group), "```", ""]
    for name in walrun.list_commands(group):
        command = walrun.get_command(group, name)
        assert command is not None, "the group lists its own commands"
        context = click.Context(command, info_name=name, parent=group, terminal_width=WIDTH, max_content_width=WIDTH)
        parts += [f"## walrun {name}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(line.rstrip() for line in "\n".join(parts).split("\n"))


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is not up to date")
    arguments = parser.parse_args()
    if arguments.check:
        if PAGE.read_text() == reference():
            return 0
        print(f"{PAGE} is not up to date. Run tools/make_cli_reference.py.", file=sys.stderr)
        return 1
    PAGE.write_text(reference())
    return 0


if __name__ == "__main__":
    sys.exit(main())
