"""``seq2seq-translate CKPT [-i IN ...] [-o OUT]``: translate lines; see `translate_file`."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seq2seq.cli.common import (
    ArgumentParser,
    exit_status,
    is_same_file,
    refuse_overwriting,
    refuse_undecodable,
    set_up,
)
from seq2seq.cli.decode import add_model_arguments, apply_model_arguments
from seq2seq.cli.language_model import LM_WEIGHT, add_fusion_arguments, apply_fusion_arguments
from seq2seq.errors import UserError, require

if TYPE_CHECKING:
    from seq2seq.translate.files import FileReport
    from seq2seq.translate.outputs import Wanted
    from seq2seq.translate.translator import Translator

NAME = "seq2seq-translate"
STDIO = "-"
PACKED_ENDINGS = (".gz", ".bz2", ".xz")
PICTURES = 20  # most in a folder
FLAGS = {  # of parameters of `translate_file`, and of outputs of `Wanted`
    "resume": "--resume",
    "resume=True": "--resume",
    "num_best": "--n-best",
    "a file of alignments": "--alignments",
    "a picture of the attention": "--attention-plot",
}

log = logging.getLogger(f"seq2seq.{NAME}")  # also where this module is __main__


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = ArgumentParser(
        prog=NAME, description="Translate lines: one output line for each input line, a blank line for a blank line."
    )
    add_model_arguments(parser)
    _add_output_arguments(parser)
    add_fusion_arguments(parser)
    parser.add_argument(
        "-i",
        "--input",
        nargs="+",
        action="extend",
        metavar="IN",
        help=f"text, plain or packed (gz, xz, bz2, zst); {STDIO} is stdin (default: {STDIO})",
    )
    parser.add_argument(
        "-o", "--output", default=None, metavar="OUT", help="file, packed if named .gz, .bz2 or .xz (default: stdout)"
    )
    parser.add_argument("--suffix", metavar="EXT", help="write each input's translation beside it: a.txt to a.txt.EXT")
    parser.add_argument(
        "--window",
        type=int,
        default=4096,
        metavar="N",
        help="most lines read and sorted at a time (default: %(default)s)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse bytes that are not UTF-8, instead of replacing and counting"
    )
    parser.add_argument(
        "--shard",
        metavar="K/N",
        help="translate only the K-th of N blocks of lines; cat joins the blocks to the whole output",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume an interrupted output, with the same result; skip a finished one",
    )
    parser.flags |= FLAGS
    options = parser.parse_args(arguments)
    options.input = options.input or [STDIO]
    set_up(parser.flags)
    sys.exit(exit_status(lambda: _translate(options), NAME, parser.flags))


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--n-best", type=int, metavar="N", help="N translations of each line, each as: index ||| translation ||| score"
    )
    parser.add_argument(
        "--score",
        metavar="REF",
        help="translate nothing; print log-probability, mean per token, and score of each line's translation in REF",
    )
    prefix = parser.add_mutually_exclusive_group()
    prefix.add_argument("--prefix", metavar="TEXT", help="text that every translation begins with")
    prefix.add_argument("--prefix-file", metavar="FILE", help="a prefix for each input line, line for line")
    parser.add_argument(
        "--alignments",
        metavar="FILE",
        help="write word alignments: pairs of source and output words, from 0, such as 0-0 2-1",
    )
    parser.add_argument(
        "--attention-plot",
        metavar="PATH",
        help="draw the attention: of the first line into a .png, .svg or .pdf file, of the first lines into a folder",
    )
    parser.add_argument(
        "--plot-lines", type=int, metavar="N", help=f"most pictures in that folder (default: {PICTURES})"
    )


def _translate(options: argparse.Namespace) -> None:
    if options.window < 1:
        raise UserError(f"--window {options.window} is out of range; it must be at least 1.")
    shard = _shard(options.shard)
    jobs = _jobs(options, shard)
    if shard and STDIO in options.input:
        raise UserError("--shard needs a named input, because its lines are counted first; name one with -i.")
    if options.resume and any(STDIO in job for job in jobs):
        raise UserError(
            "--resume needs a named input and a named output (-i and -o, or --suffix), not stdin or stdout."
        )
    wanted = _wanted(options, jobs)
    outputs = [target for _, target in jobs if target != STDIO]
    models = options.checkpoint if options.lm is None else [*options.checkpoint, options.lm]
    refuse_overwriting([*outputs, options.alignments, options.attention_plot], models)
    made_with = _made_with(options) if outputs else {}
    translator = apply_fusion_arguments(options, apply_model_arguments(options))
    wanted.check(translator)
    for source, target in jobs:
        _translate_one(translator, source, target, options, shard=shard, made_with=made_with, wanted=wanted)


def _wanted(options: argparse.Namespace, jobs: Sequence[tuple[str, str]]) -> Wanted:
    """The outputs to write for each line.

    Raises:
        UserError: for values out of range, or flags that exclude each other.
    """
    for flag, value in (("--n-best", options.n_best), ("--plot-lines", options.plot_lines)):
        if value is not None and value < 1:
            raise UserError(f"{flag} {value} is out of range; it must be at least 1.")
    if options.prefix and ("\n" in options.prefix or "\r" in options.prefix):
        raise UserError(f"--prefix {options.prefix!r} has more than one line; give one, or a --prefix-file.")
    refuse_undecodable("--prefix", options.prefix or "")
    _check_files(options, jobs)
    if options.attention_plot is not None:
        require("--attention-plot", "compare", "matplotlib")
    if options.plot_lines is not None and options.attention_plot is None:
        raise UserError("--plot-lines has no effect without --attention-plot; leave it out.")
    searching = ("n_best", "prefix", "prefix_file", "copy_unknown", "max_ratio", "max_extra")
    stray = [f"--{name.replace('_', '-')}" for name in searching if getattr(options, name)]
    if options.score and stray:
        raise UserError(f"--score translates nothing; leave out {' and '.join(stray)}.")

    from seq2seq.translate.outputs import Wanted

    return Wanted(
        num_best=options.n_best or 0,
        references=options.score,
        prefix=options.prefix or "",
        prefixes=options.prefix_file,
        alignments=options.alignments,
        pictures=options.attention_plot,
        num_pictures=options.plot_lines or PICTURES,
    )


def _check_files(options: argparse.Namespace, jobs: Sequence[tuple[str, str]]) -> None:
    """Refuse a further file whose path another argument uses too."""
    read = {"--score": options.score, "--prefix-file": options.prefix_file}
    written = {"--alignments": options.alignments, "--attention-plot": options.attention_plot}
    given = {flag: path for flag, path in {**read, **written}.items() if path is not None}
    others = [path for job in jobs for path in job]
    for flag, path in given.items():
        if len(jobs) > 1:
            raise UserError(f"{flag} works with one input; translate the {len(jobs)} inputs one by one.")
        if flag in written and options.resume:
            raise UserError(f"{flag} cannot be resumed; leave out --resume.")
        clashes = (
            [*others, *(one for other, one in given.items() if other != flag)] if flag in written else [jobs[0][1]]
        )
        if any(is_same_file(path, one) or path == one for one in clashes):
            raise UserError(f"{flag} {path} is already another file of this command; name a different file.")


def _shard(words: str | None) -> tuple[int, int] | None:
    if words is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", words)
    shard = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= shard[0] <= shard[1]:
        raise UserError(f"--shard {words} is not a block of lines; write K/N, from 1/N to N/N.")
    return shard


def _jobs(options: argparse.Namespace, shard: tuple[int, int] | None) -> list[tuple[str, str]]:
    """The input and output of each file.

    Raises:
        UserError: if outputs are ambiguous, or one would overwrite an input.
    """
    inputs: list[str] = options.input
    if options.suffix is not None:
        jobs = [(path, _beside(path, options.suffix.lstrip("."), shard)) for path in inputs]
        if options.output:
            raise UserError("--output and --suffix both name the output; give one of them.")
        if STDIO in inputs:
            raise UserError("--suffix needs named inputs; name them with -i.")
    elif len(inputs) > 1:
        raise UserError(f"{len(inputs)} inputs need --suffix, which writes each translation beside its input.")
    else:
        jobs = [(inputs[0], options.output or STDIO)]
    for _, target in jobs:
        if target != STDIO and any(is_same_file(target, path) for path in inputs):
            raise UserError(f"{target} is both input and output; name another output.")
    return jobs


def _beside(path: str, suffix: str, shard: tuple[int, int] | None) -> str:
    """The path of an output: ``a.txt.de``, of a block ``a.txt.de.02-of-12``; ``.gz`` stays last."""
    if not suffix:
        raise UserError("--suffix is empty; give an ending for the names of the translations, such as de.")
    if not shard:
        return f"{path}.{suffix}"
    packed = next(filter(suffix.endswith, PACKED_ENDINGS), "")
    name = suffix.removesuffix(packed)
    k, n = shard
    return f"{path}.{name}.{k:0{len(str(n))}}-of-{n}{packed}"


def _made_with(options: argparse.Namespace) -> dict[str, str]:
    """What tells these checkpoints from others."""
    from seq2seq import checkpoint
    from seq2seq.files.lines import sha256_file

    paths = [checkpoint.find(path) for path in options.checkpoint]
    made_with = {f"the SHA-256 of checkpoint {i}": sha256_file(path) for i, path in enumerate(paths, start=1)}
    if options.lm is not None:
        made_with["the SHA-256 of --lm"] = sha256_file(checkpoint.find(options.lm))
        made_with["--lm-weight"] = repr(LM_WEIGHT if options.lm_weight is None else options.lm_weight)
    return made_with


def _translate_one(
    translator: Translator,
    source: str,
    target: str,
    options: argparse.Namespace,
    *,
    shard: tuple[int, int] | None,
    made_with: dict[str, str],
    wanted: Wanted,
) -> None:
    from seq2seq.translate.files import translate_file

    report = translate_file(
        translator,
        None if source == STDIO else source,
        None if target == STDIO else target,
        window=options.window,
        strict=options.strict,
        shard=shard,
        resume=options.resume,
        made_with=made_with,
        wanted=wanted,
    )
    if report.finished_already:
        log.info("%s is finished already, %d lines; without --resume it is made again", target, report.num_lines)
        return
    name = "stdin" if source == STDIO else source
    _say(name if shard is None else f"{name} {shard[0]}/{shard[1]}", report, translator.decode.max_source)


def _say(name: str, report: FileReport, max_source: int) -> None:
    notes = []
    if report.num_kept:
        notes.append(f"the first {report.num_kept} before")
    if report.num_cut:
        notes.append(f"{report.num_cut} cut to {max_source} tokens")
    if report.num_replaced:
        notes.append(f"{report.num_replaced} with bytes that are not UTF-8, replaced")
    extra = f" ({', '.join(notes)})" if notes else ""
    rate = (report.num_lines - report.num_kept) / report.seconds if report.seconds else 0.0
    log.info("%s: %d lines%s in %.1f s, %.0f a second", name, report.num_lines, extra, report.seconds, rate)


if __name__ == "__main__":
    main()
