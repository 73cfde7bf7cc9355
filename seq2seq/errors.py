"""Errors that are written for the user."""

from seq2seq.terminal import printable


class UserError(ValueError):
    """A mistake that the user can mend. The message is one line: *problem; remedy.*

    It names the thing, what was wanted, what came and the way out. Text from files is escaped in it.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class Busy(UserError):
    """Another process is already doing this."""
