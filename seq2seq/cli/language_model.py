"""Arguments of the commands that load a language model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seq2seq.cli.common import ArgumentParser
from seq2seq.cli.decode import placed
from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.language_model import LanguageModel
    from seq2seq.translate.translator import Translator

LM_WEIGHT = 0.2


def load(path: str, options: argparse.Namespace) -> LanguageModel:
    """The language model that the arguments name.

    Raises:
        UserError: for a checkpoint that is refused, or a device that is not there.
    """
    from seq2seq.language_model import LanguageModel

    with placed(options):
        return LanguageModel.from_checkpoint(path, device=options.device, threads=options.threads or None)


def add_fusion_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of shallow fusion with a language model."""
    parser.add_argument(
        "--lm", metavar="CKPT", help="a language model of the target language, with the translator's pieces"
    )
    parser.add_argument(
        "--lm-weight",
        type=float,
        metavar="W",
        help=f"factor on its log-probabilities before they are added (default: {LM_WEIGHT})",
    )
    parser.flags |= {"weight": "--lm-weight", "fusion with a language model": "--lm"}


def apply_fusion_arguments(options: argparse.Namespace, translator: Translator) -> Translator:
    """Fuse a translator with the language model of the arguments, if they name one.

    Raises:
        UserError: for a checkpoint that is refused, other pieces than the translator's, or a weight out of range.
    """
    if options.lm is None:
        if options.lm_weight is not None:
            raise UserError("--lm-weight is the weight of a language model; name one with --lm.")
        return translator
    weight = LM_WEIGHT if options.lm_weight is None else options.lm_weight
    return translator.fuse(load(options.lm, options), weight, name=options.lm)
