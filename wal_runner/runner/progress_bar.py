"""The bar that shows a run on a terminal.

Imported by the progress of a run, and only there where it is drawn: rich takes a while to import.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wal_runner.runner.progress_meter import counts, sentence


if TYPE_CHECKING:
    from wal_runner.runner.progress_meter import Sample

BAR_WIDTH: Final = 30

STYLES: Final = {"skipped": "dim", "failed": "red", "in doubt": "yellow"}


class Bar:
    """A bar, redrawn in place. What others write to the terminal meanwhile stands above it."""

    def __init__(self, console: Console, *, redirect_stdout: bool, redirect_stderr: bool) -> None:
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=redirect_stdout, redirect_stderr=redirect_stderr
        )
        with suppress(OSError, ValueError):
            self._live.start()
            # One who is killed cannot bring a hidden cursor back.
            console.show_cursor(show=True)

    @classmethod
    def on(cls, stream: TextIO, *, redirect_stdout: bool, redirect_stderr: bool) -> Bar | None:
        """Give a bar on *stream*, a terminal, or None if that can only write line after line.

        Redirect a standard stream that is a terminal too, so that it does not write into the bar.
        """
        console = Console(file=stream)
        if not console.is_terminal or console.is_dumb_terminal:
            return None
        return cls(console, redirect_stdout=redirect_stdout, redirect_stderr=redirect_stderr)

    def show(self, sample: Sample, now: float) -> None:  # noqa: ARG002 - drawn at each look
        """Draw the bar anew."""
        self._live.update(_drawn(sample), refresh=True)

    def say(self, text: str) -> None:
        """Write *text* above the bar."""
        self._live.console.print(text, markup=False, highlight=False)

    def finish(self, sample: Sample, now: float) -> None:
        """Leave the last numbers standing."""
        try:
            self.show(sample, now)
        finally:
            self._live.stop()


def _drawn(sample: Sample) -> Table:
    text = Text(sentence(sample._replace(skipped=0, failed=0, in_doubt=0)), no_wrap=True, overflow="ellipsis")
    for count, word in counts(sample):
        text.append(", ").append(f"{count:,} {word}", style=STYLES[word])
    total = None if sample.total is None else max(sample.total.items, sample.seen, 1)
    row = Table.grid(padding=(0, 1, 0, 0), expand=True)
    row.add_column(width=BAR_WIDTH)
    row.add_column(ratio=1, no_wrap=True)
    row.add_row(ProgressBar(total=total, completed=sample.seen, width=BAR_WIDTH, pulse=total is None), text)
    return row
