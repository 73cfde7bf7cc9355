"""Shared by all commands: logging, arguments and exit statuses."""

from __future__ import annotations

import argparse
import codecs
import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from seq2seq import __version__, stopping
from seq2seq.errors import UserError
from seq2seq.terminal import printable

if TYPE_CHECKING:
    from seq2seq.translate.translator import Translator

VERSION = f"seq2seq {__version__}"
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141
DEVICES = ("cpu", "cuda", "mps")
MOST_THREADS = 1024
SEARCH_ARGUMENTS = {"length_penalty": "beam", "coverage_penalty": "beam"}
SEARCH_ARGUMENTS |= dict.fromkeys(("temperature", "top_k", "top_p", "seed"), "sample")
DECODE_ARGUMENTS = (
    "batch_tokens",
    "max_source",
    "max_ratio",
    "max_extra",
    "search",
    "beam_size",
    "copy_unknown",
    "int8",
    "cuda_graphs",
    "shortlist",
    *SEARCH_ARGUMENTS,
)


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


def set_up() -> None:
    """Set up a command: threads, log and stdout. torch must not be imported before."""
    # OpenMP's threads spin for milliseconds while they wait for each other. If another process needs a core, two
    # threads are then up to a hundred times slower than one. A short spin avoids this, and costs idle machines nothing.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    log_to_stderr()
    if isinstance(sys.stdout, io.TextIOWrapper):  # write UTF-8 in every locale
        sys.stdout.reconfigure(encoding="utf-8", errors=BYTES)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def log_to_stderr() -> None:
    """Send the package's log lines to stderr; other packages' only from warnings on."""
    handler = _CurrentStderr()
    handler.setFormatter(_Printable("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("seq2seq").setLevel(logging.INFO)


class _Printable(logging.Formatter):
    """Escape control characters: a log line may hold text from any file."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True)


class ArgumentParser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line.

    It refuses an option that is given twice, where argparse would drop the first. Options of action ``extend`` collect.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.add_argument("--version", action="version", version=VERSION, help="print the version and exit")
        self.given: dict[str, str] = {}  # by destination, the option of the command line that set it
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


def exit_status(command: Callable[[], object], name: str) -> int:
    """Run a command and return its exit status.

    A `UserError`, or an output that cannot be written, is one line on stderr and status 2. Ctrl-C is status 130, and
    another handled signal 128 plus its number. If the reader of stdout has closed it (``| head``), the status is 141,
    without a message, as for other filters.
    """
    for missing, name_of, mode in ((sys.stdin, "stdin", "r"), (sys.stdout, "stdout", "w"), (sys.stderr, "stderr", "w")):
        if missing is None:  # closed by the caller: use the null device instead
            setattr(sys, name_of, open(os.devnull, mode, encoding="utf-8", errors=BYTES))  # noqa: SIM115 (for as long as we run)
    try:
        command()
        sys.stdout.flush()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
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
    models = [str(file) for path in checkpoints for file in files_of(path)]
    for path in paths:
        if path is not None and any(is_same_file(path, model) for model in models):
            raise UserError(f"{path} is a checkpoint and output; name another output.")


def files_of(path: str) -> list[Path]:
    """The files that a model is read from: the checkpoint that a path names, or those of an exported model.

    Raises:
        UserError: if there is no checkpoint.
    """
    from seq2seq.runtime import folder

    if folder.is_export(path):
        return folder.files_of(path)
    from seq2seq import checkpoint  # and with it torch, which an exported model does without

    return [checkpoint.find(path)]


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


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that decodes."""
    parser.add_argument(
        "checkpoint",
        nargs="+",
        metavar="CKPT",
        help="a .ckpt file, or the folder of a run, whose best one is taken; several make an ensemble; or the folder "
        "of one exported model",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: %(default)s)")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="torch's threads (default: one for a small network, else one for each core that may be used)",
    )
    parser.add_argument(
        "--int8",
        action=argparse.BooleanOptionalAction,
        help="on a CPU: weights of 8-bit integers, up to 1.6 times as fast",
    )
    parser.add_argument(
        "--cuda-graphs",
        action=argparse.BooleanOptionalAction,
        help="on a GPU: launch the decoder's step as a whole, recorded once for each shape",
    )
    parser.add_argument(
        "--shortlist",
        action=argparse.BooleanOptionalAction,
        help="on a CPU: choose from the pieces that training found for the source (trainer.shortlist)",
    )
    for flag, name, convert, meaning in (
        ("--batch-tokens", "batch_tokens", int, "most tokens in a batch"),
        ("--max-source", "max_source", int, "longest source in tokens; longer lines are cut, with a warning"),
        ("--max-ratio", "max_ratio", float, "most output tokens for each source token"),
        ("--max-extra", "max_extra", int, "output tokens allowed in addition to --max-ratio"),
    ):
        parser.add_argument(flag, dest=name, type=convert, metavar="N", help=f"{meaning} (default: the checkpoint's)")
    _add_search_arguments(parser)


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    search = parser.add_mutually_exclusive_group()
    search.add_argument("--greedy", dest="search", action="store_const", const="greedy", help="the likeliest token")
    search.add_argument("--beam", dest="beam_size", type=int, metavar="N", help="follow the N best beginnings")
    search.add_argument("--sample", dest="search", action="store_const", const="sample", help="sample tokens at random")
    for flag, name, convert, meaning in (
        ("--length-penalty", "length_penalty", float, "of a beam: 0 prefers short outputs, 1 about none"),
        ("--coverage-penalty", "coverage_penalty", float, "of a beam: cost of source words that got no attention"),
        ("--temperature", "temperature", float, "of sampling: below 1 likelier tokens, 0 is greedy"),
        ("--top-k", "top_k", int, "of sampling: draw from this many of the likeliest tokens"),
        ("--top-p", "top_p", float, "of sampling: draw from the fewest tokens whose probabilities sum to this"),
        ("--seed", "seed", int, "of sampling"),
    ):
        parser.add_argument(flag, dest=name, type=convert, metavar="X", help=f"{meaning} (default: the checkpoint's)")
    parser.add_argument(
        "--copy-unknown",
        action=argparse.BooleanOptionalAction,
        help="with attention: replace an unknown in the output by the most attended source word",
    )


def apply_model_arguments(options: argparse.Namespace) -> Translator:
    """The translator that the arguments describe.

    Raises:
        UserError: for a checkpoint that is refused, a device that is not there, or a value out of range.
    """
    paths = options.checkpoint if isinstance(options.checkpoint, list) else [options.checkpoint]
    translator = _exported(paths, options) or _trained(paths, options)
    translator = translator.with_options(**_decode_settings(options, translator.decode.search))
    if translator.decode.copy_unknown:
        translator.engine.require_attention(
            "--copy-unknown" if getattr(options, "copy_unknown", None) else "decode.copy_unknown"
        )
    if translator.decode.search == "beam" and translator.decode.coverage_penalty:
        translator.engine.require_attention("--coverage-penalty")
    return translator


def _exported(paths: Sequence[str], options: argparse.Namespace) -> Translator | None:
    """The translator of an exported folder, or None where no path is one."""
    from seq2seq.runtime.folder import is_export

    found = next(filter(is_export, paths), None)
    if found is None:
        return None
    if len(paths) > 1:
        raise UserError(f"{found} is an exported model, and an ensemble needs checkpoints; name one model.")
    if getattr(options, "lm", None) is not None:
        raise UserError(f"--lm needs a checkpoint, and {found} is an exported model; leave it out.")
    _check_placing(options)
    if options.device != "cpu":
        raise UserError(
            f"--device {options.device} is for checkpoints, and {found} is an exported model; leave it out."
        )
    from seq2seq.translate.translator import Translator

    return Translator.from_export(found, threads=options.threads or 1)


def _trained(paths: Sequence[str], options: argparse.Namespace) -> Translator:
    """The translator of checkpoints."""
    import torch

    from seq2seq.decoding.forms.available import FORMS
    from seq2seq.models.build import num_parameters
    from seq2seq.translate.translator import Translator

    forms = {name: getattr(options, name) for name in FORMS if getattr(options, name, None) is not None}
    with placed(options):
        threads = options.threads or None
        translator = Translator.from_checkpoints(paths, device=options.device, threads=threads, **forms)
    if not options.threads:
        torch.set_num_threads(_threads(sum(num_parameters(model) for model in translator.models)))
    return translator


def _check_placing(options: argparse.Namespace) -> None:
    """Refuse a number of threads out of range, or a device that is not known."""
    if not 0 <= options.threads <= MOST_THREADS:
        raise UserError(f"--threads {options.threads} is out of range; it must be in [0, {MOST_THREADS}].")
    if options.device.split(":")[0] not in DEVICES:
        raise UserError(f"--device {options.device} is not known; choose from {', '.join(DEVICES)}.")


@contextmanager
def placed(options: argparse.Namespace) -> Iterator[None]:
    """Set the threads for a block that loads a network, and report a missing device.

    Raises:
        UserError: for a number of threads out of range, a device that is not known or cannot be used, or a network that
            has no room there.
    """
    import torch

    from seq2seq.data.memory import is_out_of_memory

    _check_placing(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        yield
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is no such device
        reason = str(error).split("\n")[0]
        if is_out_of_memory(error):
            raise UserError(
                f"the network does not fit into the memory of {options.device}: {reason}; free some."
            ) from None
        raise UserError(f"--device {options.device} cannot be used: {reason}; use --device cpu.") from None


def _threads(parameters: int) -> int:
    """The number of threads: 1 for a small network, whose steps are too short to share.

    Otherwise it is torch's own number, but at most a container's share of the processors.
    """
    import torch

    from seq2seq.models.threads import SMALL

    if parameters < SMALL:
        return 1
    threads = torch.get_num_threads()
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        threads = max(1, min(threads, int(quota) // int(period)))  # no number where there is no bound
    return threads


def given_decode_arguments(options: argparse.Namespace) -> list[str]:
    """The names of the search arguments that are given."""
    return [name for name in DECODE_ARGUMENTS if getattr(options, name, None) is not None]


def _decode_settings(options: argparse.Namespace, search: str) -> dict[str, Any]:
    """The decoding settings that the arguments change.

    Raises:
        UserError: for an argument of another search.
    """
    changed = {name: getattr(options, name) for name in given_decode_arguments(options)}
    if "beam_size" in changed:
        changed["search"] = "beam"
    search = changed.get("search", search)
    for name, wanted in SEARCH_ARGUMENTS.items():
        if name in changed and search != wanted:
            flag = {"beam": "--beam N", "sample": "--sample"}[wanted]
            raise UserError(f"--{name.replace('_', '-')} is for another search than {search}; add {flag}.")
    return changed
