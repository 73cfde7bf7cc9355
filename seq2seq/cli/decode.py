"""The arguments of commands that decode: checkpoints, where to compute, and a flag for each key of ``decode``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.cli.common import ArgumentParser
from seq2seq.cli.flags import add_key
from seq2seq.config.schema import DecodeConfig
from seq2seq.decoding.base import check_attention
from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.translate.translator import Translator

DEVICES = ("cpu", "cuda", "mps")
MOST_THREADS = 1024
BEAM, SEARCH = "beam_size", "search"  # keys whose flags are not named after them
SETTINGS = ("beam", *(one.name for one in dataclasses.fields(DecodeConfig) if one.name != BEAM))


def add_model_arguments(parser: ArgumentParser) -> None:
    """The arguments of every command that decodes."""
    parser.add_argument(
        "checkpoint",
        nargs="+",
        metavar="CKPT",
        help="a .ckpt file, or the folder of a run, whose best one is taken; several make an ensemble; or the folder "
        "of one exported model",
    )
    add_device_arguments(parser)
    searches = parser.add_mutually_exclusive_group()
    for one in dataclasses.fields(DecodeConfig):
        if one.name == SEARCH:
            searches.add_argument(
                "--greedy", dest=SEARCH, action="store_const", const="greedy", help="take the likeliest token"
            )
            searches.add_argument(
                "--sample", dest=SEARCH, action="store_const", const="sample", help="sample tokens at random"
            )
        else:
            container, flag = (searches, "--beam") if one.name == BEAM else (parser, "")
            parser.flags |= add_key(container, f"decode.{one.name}", flag=flag, shown="the checkpoint's")
    ways = {"greedy": "--greedy", "beam": "--beam N", "sample": "--sample"}
    parser.flags |= {f"decode.{SEARCH}={name}": flag for name, flag in ways.items()}


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for device and threads."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: %(default)s)")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="torch's threads (default: one for a small network, else one for each core that may be used)",
    )


def apply_model_arguments(options: argparse.Namespace) -> Translator:
    """Load the translator that the arguments describe. Where a command lacks an argument, the checkpoint's value holds.

    Raises:
        UserError: for a checkpoint that is refused, a device that is not there, or settings that are out of range or do
            not go together.
    """
    paths = options.checkpoint if isinstance(options.checkpoint, list) else [options.checkpoint]
    given = {name: getattr(options, name, None) for name in SETTINGS}
    changes = {name: value for name, value in given.items() if value is not None}
    translator = _exported(paths, options, changes) or _trained(paths, options, changes)
    check_attention(translator.engine, translator.decode)
    return translator


def _exported(paths: Sequence[str], options: argparse.Namespace, changes: Mapping[str, Any]) -> Translator | None:
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

    return Translator.from_export(found, threads=options.threads or 1, **changes)


def _trained(paths: Sequence[str], options: argparse.Namespace, changes: Mapping[str, Any]) -> Translator:
    """The translator of checkpoints."""
    import torch

    from seq2seq.models.build import num_parameters
    from seq2seq.translate.translator import Translator

    with placed(options):
        threads = options.threads or None
        translator = Translator.from_checkpoint(*paths, device=options.device, threads=threads, **changes)
    if not options.threads:
        torch.set_num_threads(_threads(sum(num_parameters(model) for model in translator.engine.models)))
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
