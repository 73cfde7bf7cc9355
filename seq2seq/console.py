"""The console on which people see tables and bars, and the bar that shows how far a command is with its lines."""

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
    """A console that no text from a file can steer."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text, lines=True), **options)


class NameColumn(TextColumn):
    """What a bar is of, such as a file's name: nothing in it is markup."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.description), style=self.style, justify=self.justify)


class _Speed(ProgressColumn):
    """Lines a second, once there is a figure."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.0f} lines/s")


def lines_bar(*, shown: bool = True) -> Progress:
    """A bar of lines, with a rate and the time left; none where it is not to be ``shown``, or stderr no terminal."""
    return Progress(
        NameColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not (shown and sys.stderr.isatty()),
    )
