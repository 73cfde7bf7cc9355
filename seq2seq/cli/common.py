"""Shared by all commands: logging, arguments and exit statuses."""

from __future__ import annotations

import argparse
import codecs
import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from seq2seq import __version__, stopping
from seq2seq.cli.flags import Flags, with_flags
from seq2seq.errors import UserError
from seq2seq.terminal import printable

VERSION = f"seq2seq {__version__}"
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141
NO_FLAGS: Flags = {}
BYTES = "seq2seq.bytes"  # error handler of stdout for characters that UTF-8 lacks


def _as_bytes(error: UnicodeError) -> tuple[bytes, int]:
    """Encode surrogates as the bytes that they stand for, and escape other characters.

    Python keeps the bytes of a path that is not UTF-8 as surrogates (``os.fsdecode``).
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    words = error.object[error.start : error.end]
    known = (bytes([ord(one) - 0xDC00]) if "\udc80" <= one <= "\udcff" else ascii(one)[1:-1].encode() for one in words)
    return b"".join(known), error.end


codecs.register_error(BYTES, _as_bytes)


def set_up(flags: Flags = NO_FLAGS) -> None:
    """Set up a command: threads, log and stdout. torch must not be imported before.

    Args:
        flags: the command's, for log lines.
    """
    # OpenMP's threads spin for milliseconds while they wait for each other. If another process needs a core, two
    # threads are then up to a hundred times slower than one. A short spin avoids this, and costs idle machines nothing.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    log_to_stderr(flags)
    if isinstance(sys.stdout, io.TextIOWrapper):  # write UTF-8 in every locale
        sys.stdout.reconfigure(encoding="utf-8", errors=BYTES)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def log_to_stderr(flags: Flags = NO_FLAGS) -> None:
    """Send the package's log lines to stderr, `with_flags`; other packages' only from warnings on."""
    handler = _CurrentStderr()
    handler.setFormatter(_Printable(flags))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("seq2seq").setLevel(logging.INFO)


class _Printable(logging.Formatter):
    """Escape control characters: a log line may hold text from any file."""

    def __init__(self, flags: Flags) -> None:
        super().__init__("%(message)s")
        self.flags = flags

    def format(self, record: logging.LogRecord) -> str:
        return printable(with_flags(super().format(record), self.flags), lines=True)


class ArgumentParser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line.

    It refuses an option that is given twice, where argparse would drop the first. Options of action ``extend`` collect.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.add_argument("--version", action="version", version=VERSION, help="print the version and exit")
        self.given: dict[str, str] = {}  # by destination, the option of the command line that set it
        self.flags: dict[str, str] = {}  # of keys and parameters, by their names in messages; see `with_flags`
        for name in (None, "store", "store_const", "store_true", "store_false", argparse.BooleanOptionalAction):
            self.register("action", name, _once(self._registry_get("action", name, name)))

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        self.given.clear()
        return super().parse_known_args(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        message = printable(" ".join(message.split()))
        self.exit(EXIT_USER_ERROR, f"{self.prog}: {message}; see {self.prog} --help.\n")


def _once(action: type[argparse.Action]) -> type[argparse.Action]:
    """Make an action refuse an option whose destination is set already."""

    def call(self: argparse.Action, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        if option is not None and self.dest in parser.given:
            before = parser.given[self.dest]
            same = option == before or not isinstance(self, argparse.BooleanOptionalAction)
            twice, against = f"{before} is given twice; give it once", f"{before} and {option} exclude each other"
            parser.error(twice if same else f"{against}; give one of them")
        if option is not None:
            parser.given[self.dest] = option
        action.__call__(self, parser, namespace, values, option)

    return type(f"Once{action.__name__}", (action,), {"__call__": call})


class _CurrentStderr(logging.StreamHandler):
    """A handler that writes to the current ``sys.stderr``, which a progress bar may replace."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def exit_status(command: Callable[[], object], name: str, flags: Flags = NO_FLAGS) -> int:
    """Run a command and return its exit status.

    A `UserError`, or an output that cannot be written, is one line on stderr and status 2. Ctrl-C is status 130, and
    another handled signal 128 plus its number. If the reader of stdout has closed it (``| head``), the status is 141,
    without a message, as for other filters.

    Args:
        flags: the command's, for the line; see `with_flags`.
    """
    for missing, name_of, mode in ((sys.stdin, "stdin", "r"), (sys.stdout, "stdout", "w"), (sys.stderr, "stderr", "w")):
        if missing is None:  # closed by the caller: use the null device instead
            setattr(sys, name_of, open(os.devnull, mode, encoding="utf-8", errors=BYTES))  # noqa: SIM115 (for as long as we run)
    try:
        command()
        sys.stdout.flush()
    except UserError as error:
        print(f"{name}: {with_flags(str(error), flags)}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except stopping.Stopped as stopped:
        print(f"{name}: stopped by {stopping.name(stopped.number)}; the same command resumes", file=sys.stderr)
        return stopping.exit_status(stopped.number)
    except BrokenPipeError:
        _give_up_stdout()
        return EXIT_CLOSED_PIPE
    except OSError as error:  # errors of other files are a UserError already; this is stdout
        if error.errno == errno.ENAMETOOLONG and error.filename:  # or a name that could not even be looked for
            from seq2seq.files.writing import too_long

            print(f"{name}: {printable(too_long(os.fsdecode(error.filename)))}", file=sys.stderr)
            return EXIT_USER_ERROR
        reason = printable(error.strerror or error)
        print(f"{name}: cannot write: {reason}; check the free space.", file=sys.stderr)
        _give_up_stdout()
        return EXIT_USER_ERROR
    return 0


def _give_up_stdout() -> None:
    """Keep Python from writing to stdout again, and failing, during shutdown."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_same_file(one: str, other: str) -> bool:
    """Whether two paths name the same file, even if it does not exist yet."""
    there = os.path.exists(one) and os.path.exists(other)
    return os.path.samefile(one, other) if there else os.path.realpath(one) == os.path.realpath(other)


def refuse_overwriting(paths: Iterable[str | None], checkpoints: Iterable[str]) -> None:
    """Refuse an output that would overwrite a checkpoint, named by its file or its run.

    Raises:
        UserError: for such an output, or for a missing checkpoint.
    """
    from seq2seq import checkpoint

    models = [str(checkpoint.find(path)) for path in checkpoints]
    for path in paths:
        if path is not None and any(is_same_file(path, model) for model in models):
            raise UserError(f"{path} is a checkpoint and output; name another output.")


def refuse_undecodable(flag: str, words: str) -> None:
    """Refuse words of the command line that are not UTF-8.

    Raises:
        UserError: if there are any.
    """
    try:
        words.encode()
    except UnicodeEncodeError:
        raise UserError(f"{flag} is not UTF-8; write it in a terminal that has UTF-8, or convert it first.") from None


def conf_dir() -> Path:
    """The folder of the configs: in the installed package, or ``conf/`` of a checkout.

    Raises:
        UserError: if they are in neither place.
    """
    package = Path(__file__).resolve().parent.parent
    candidates = [package / "conf", package.parent / "conf"]
    for path in candidates:
        if (path / "train.yaml").is_file():
            return path
    raise UserError(f"there is no train.yaml in {' or '.join(map(str, candidates))}; install seq2seq again.")
