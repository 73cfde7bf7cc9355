"""The one error a user is meant to read."""

import importlib.util

from seq2seq.terminal import printable


class UserError(ValueError):
    """A mistake the user can mend: its message is one line that names the thing, what was wanted, what came and the way
    out.

    What files and text bring into the message is escaped, so that it can be shown as it is.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class Busy(UserError):
    """Another process is at it."""


def require(purpose: str, extra: str, *modules: str) -> None:
    """Refuse a purpose whose optional packages are not installed; the extras are in pyproject.toml.

    Raises:
        UserError: naming the missing modules and the extra that brings them.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(f"{purpose} needs {', '.join(missing)}, which {verb} not installed; pip install '.[{extra}]'.")
