"""The console for tables, and the progress bar of every command."""

from __future__ import annotations

import sys
from typing import Any

import rich.console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from seq2seq.terminal import printable


class Console(rich.console.Console):
    """A console on which text from a file cannot move the cursor or change colours."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text, lines=True), **options)


class _NameColumn(TextColumn):
    """A bar's description, such as a file's name, without markup."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.description), style=self.style, justify=self.justify)


class _LinesPerSecond(ProgressColumn):
    """Lines per second, once there is a figure."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.0f} lines/s")


def progress_bar(
    *columns: str | ProgressColumn, shown: bool = True, console: rich.console.Console | None = None, **options: Any
) -> Progress:
    """A progress bar on stderr; hidden if stderr is not a terminal.

    Args:
        columns: counts and a rate, shown between the bar and the time left.
        shown: whether to show it on a terminal.
        console: another console of stderr.
        options: further options of `rich.progress.Progress`.
    """
    return Progress(
        _NameColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
        transient=True,
        disable=not (shown and sys.stderr.isatty()),
        **options,
    )


def lines_bar(*, shown: bool = True) -> Progress:
    """A progress bar that counts lines; see `progress_bar`."""
    return progress_bar(MofNCompleteColumn(), _LinesPerSecond(), shown=shown)
