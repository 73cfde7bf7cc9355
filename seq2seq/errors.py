"""The one error a user is meant to read."""


class UserError(ValueError):
    """A mistake the user can mend: its message is one line that names the thing, what was wanted, what came and the way
    out.
    """


class Busy(UserError):
    """Another process is at it."""
