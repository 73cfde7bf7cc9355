"""The one error a user is meant to read."""

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
