"""Translate in a process, then in processes forked from it: ``python -m tests.forked FORM``; see test_translate.py."""

from __future__ import annotations

import multiprocessing
import sys
from typing import NamedTuple

import torch

from seq2seq.config.schema import DecodeConfig, ModelConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.decoding.engine import Engine
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.language_model import LanguageModel
from seq2seq.models.build import build_language_model, build_seq2seq, num_parameters
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.translate.translator import Translator
from tests.conftest import LINES


class Form(NamedTuple):
    """A network, and how it is used."""

    width: int
    int8: bool = False
    shortlist: bool = False


FORMS = {"small": Form(64), "large": Form(400), "int8": Form(400, int8=True), "shortlist": Form(400, shortlist=True)}
SECONDS = 60


def made(form: Form) -> tuple[Translator, LanguageModel]:
    tokenizer = Pieces(train(LINES, type="char", vocab_size=0))
    settings = ModelConfig(hidden_size=form.width, embedding_size=form.width)
    torch.manual_seed(0)
    model = build_seq2seq(settings, len(tokenizer), len(tokenizer))
    assert (num_parameters(model) > 500_000) == (form.width > 64)
    size = len(tokenizer)
    shortlist = None
    if form.shortlist:
        everything = torch.full((size, 1), -1).int(), torch.arange(size).int(), torch.tensor(size).int()
        shortlist = Shortlist(*everything)
    decode = DecodeConfig(max_extra=4, int8=form.int8, shortlist=form.shortlist)
    translator = Translator(
        Engine([model], shortlist=shortlist, trained=True), Tokenizers(tokenizer, tokenizer), decode
    )
    return translator, LanguageModel(build_language_model(settings, len(tokenizer)), tokenizer)


def work(*_: object) -> tuple[list[str], list[float]]:
    """What two models, which a forked process has from its parent, say in words and in numbers."""
    translator, language_model = things
    lines = LINES * 20
    texts = [*translator.translate(lines), *language_model.generate(3, max_length=9)]
    log_probs = [one.log_prob for one in translator.score(lines, lines)] + language_model.log_probs(lines)
    return texts, [*log_probs, translator.nll(lines, lines)[0], language_model.score(lines).nll]


def same(found: tuple[list[str], list[float]], wanted: tuple[list[str], list[float]]) -> bool:
    return found[0] == wanted[0] and bool(torch.tensor(found[1]).allclose(torch.tensor(wanted[1])))


def main() -> None:
    wanted = work()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(work, range(2)).get(SECONDS)
    assert all(same(one, wanted) for one in found)
    assert torch.get_num_threads() == 2
    assert same(work(), wanted)
    print("the same")


if __name__ == "__main__":
    torch.set_num_threads(2)
    things = made(FORMS[sys.argv[1]])
    main()
