"""Errors that are written for the user."""

import importlib.util

from seq2seq.terminal import printable


class UserError(Exception):
    """A mistake that the user can mend. The message is one line: *problem; remedy.*

    It names the value, the expected one, and the remedy. Text from files is escaped in it.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class Busy(UserError):
    """Another process is already doing this."""


def require(purpose: str, extra: str, *modules: str) -> None:
    """Refuse a purpose whose optional packages are not installed; the extras are in pyproject.toml.

    Raises:
        UserError: naming the missing modules and the extra that brings them.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(f"{purpose} needs {', '.join(missing)}, which {verb} not installed; pip install '.[{extra}]'.")
