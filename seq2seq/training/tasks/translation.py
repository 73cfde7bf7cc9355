"""The task of translating: a `Seq2Seq` is trained on pairs of lines, and scored by BLEU."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from seq2seq import checkpoint, metrics
from seq2seq.config.schema import Config, ModelConfig
from seq2seq.data.arrays import Tokenizers, encode_corpus, train_tokenizers
from seq2seq.data.batches import Batch, collate
from seq2seq.data.memory import Shape, enough_memory, out_of_memory
from seq2seq.data.sources.base import Source
from seq2seq.decoding.engine import Engine
from seq2seq.decoding.forms.available import check_form
from seq2seq.decoding.forms.products import require_int8
from seq2seq.decoding.shortlist import learn
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import evaluate, show_samples
from seq2seq.evaluation.probe import probe
from seq2seq.files.lines import read_lines
from seq2seq.files.writing import write_lines
from seq2seq.metrics import bleu, scorer
from seq2seq.models.build import build_seq2seq, num_parameters, widened
from seq2seq.models.cells.stack import spectral_radius
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.results.scores import Scores, TranslationScores
from seq2seq.runs import (
    CHECKPOINTS,
    HYPOTHESES,
    PROBE,
    REFERENCES,
    SOURCES,
)
from seq2seq.terminal import show
from seq2seq.tokens.base import UNK
from seq2seq.training.data import TranslationData, check_source, load_like, reads_text
from seq2seq.training.tasks.base import Built, LitModel, num_batches, scoring_device, sizes_that_fit, step_counts
from seq2seq.training.warm_start import warm_start
from seq2seq.translate.translator import Translator

log = logging.getLogger(__name__)


class LitTranslator(LitModel):
    """Train a `Seq2Seq`, and translate the validation set greedily.

    Args:
        valid_src, valid_tgt: the lines of the validation text.
        source: of the network; None for the text of ``tokenizers``.
        num_steps, steps_per_epoch: as for `LitModel`.
    """

    model: Seq2Seq

    def __init__(
        self,
        config: Config,
        model: Seq2Seq,
        tokenizers: Tokenizers,
        *,
        valid_src: Sequence[str],
        valid_tgt: Sequence[str],
        num_steps: int,
        steps_per_epoch: int,
        source: Source | None = None,
    ) -> None:
        super().__init__(config, model, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
        # A shortlist is learnt after training. A CUDA graph would keep reading memory that the weights have left.
        # 8-bit weights need the CPU, where the test set is translated if decode.int8 is set.
        int8 = config.decode.int8 and config.trainer.accelerator == "cpu"
        decode = dataclasses.replace(config.decode, search="greedy", shortlist=False, cuda_graphs=False, int8=int8)
        engine = Engine([model], source=source)
        self.translator = Translator(engine, tokenizers, decode, source=source)  # type: ignore[arg-type]
        self.valid_src, self.valid_tgt = valid_src, valid_tgt
        self.hypotheses: list[str] = []  # of the last validation
        self._valid_nll, self._valid_tokens = 0.0, 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.model.loss(
            batch.src,
            batch.src_lengths,
            batch.tgt_in,
            batch.tgt_out,
            label_smoothing=self.config.optim.label_smoothing,
            r_drop=self.config.optim.r_drop,
        )
        return self._counted(loss, batch)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._valid_nll, self._valid_tokens = 0.0, 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        remedy = f"make decode.batch_tokens (now {self.config.decode.batch_tokens}) smaller"
        with enough_memory(batch.shape, remedy, single="shorten the longest lines of the validation set"):
            self._valid_nll += self.model.loss(batch.src, batch.src_lengths, batch.tgt_in, batch.tgt_out).item()
        self._valid_tokens += batch.num_tokens

    def on_validation_epoch_end(self) -> None:
        """Compute perplexity and BLEU over the texts of all processes."""
        rank, world_size = self.global_rank, self.trainer.world_size
        mine = self.translator.translate(self.valid_src[rank::world_size])
        parts = self._gather((self._valid_nll, self._valid_tokens, mine, self.train_loss, self.train_tokens))
        nll, num_tokens = sum(part[0] for part in parts), sum(part[1] for part in parts)
        self.hypotheses = [""] * len(self.valid_src)
        for other, part in enumerate(parts):
            self.hypotheses[other::world_size] = part[2]
        train_tokens = sum(part[4] for part in parts)
        self._validated(
            {
                "train/loss": sum(part[3] for part in parts) / train_tokens if train_tokens else math.nan,
                "valid/loss": nll / num_tokens,
                "valid/perplexity": metrics.perplexity(nll, num_tokens),
                **self._scores(),
                **self.norms.figures(),
                "encoder/spectral_radius": spectral_radius(cast(nn.Module, self.model.encoder)),
                "decoder/spectral_radius": spectral_radius(self.model.decoder),
            }
        )

    def _scores(self) -> dict[str, float]:
        """Score the translations of the validation set."""
        return {
            "valid/bleu": metrics.bleu(self.hypotheses, self.valid_tgt, tokenizer=self.config.metrics.tokenizer).value,
            "valid/chrf": metrics.chrf(self.hypotheses, self.valid_tgt).value,
            "valid/exact_match": metrics.exact_match(self.hypotheses, self.valid_tgt),
        }

    def summary(self) -> str:
        figures = self.valid_figures
        return (
            f"perplexity {figures['valid/perplexity']:.2f}  BLEU {figures['valid/bleu']:.2f}  "
            f"exact {figures['valid/exact_match']:.2f} %"
        )

    def samples(self, count: int) -> str:
        """Return the first translations of the last validation."""
        return show_samples(self.valid_src[:count], self.valid_tgt[:count], self.hypotheses[:count])

    def smallest_loss(self) -> Tensor:
        source = self.translator.source
        return smallest_loss(self.model) if source.is_text else smallest_loss(self.model, source, self.valid_src[0])

    def section(self) -> dict[str, Any]:
        config, translator = self.config, self.translator
        options: dict[str, Any] = {"metrics": config.metrics, "source": translator.source}
        return checkpoint.section(config.model, config.decode, translator.tokenizers, **options)

    def _out_of_memory(self) -> UserError:
        assert isinstance(self._at_work, Shape)
        data = self.config.data
        sentences = f" or data.batch_sentences (now {data.batch_sentences})" if data.batch_sentences else ""
        return out_of_memory(
            self._at_work,
            f"make data.batch_tokens (now {data.batch_tokens}){sentences} smaller",
            single="make the network smaller, or leave out such pairs with data.max_length",
        )


class Translation:
    """The task ``translation``."""

    kind = checkpoint.TRANSLATION

    def check(self, config: Config) -> None:
        scorer(config.metrics.tokenizer)  # a tokenizer of BLEU may have to be installed first
        check_source(config)

    def tokenizers(self, config: Config, data_folder: Path) -> Tokenizers:
        """Train the tokenizers of all sides that are text, or load those that ``tokenizer.like`` names.

        Raises:
            UserError: if it names a language model, which has one tokenizer; see also `load_like`.
        """
        if config.tokenizer.like is None:
            return train_tokenizers(data_folder, config.tokenizer, tgt_only=not reads_text(config))
        kind, found = load_like(config)
        if not reads_text(config):
            return Tokenizers(found.tgt, found.tgt)
        if not checkpoint.KINDS[kind].has_sources:
            raise UserError(
                f"tokenizer.like={config.tokenizer.like} is a {kind}, which has no tokenizer for sources; name "
                "a translator."
            )
        return found

    def build(self, config: Config, data_folder: Path, tokenizers: Tokenizers, *, fresh: bool) -> Built:
        data = TranslationData(config, data_folder, tokenizers)
        sizes = data.source.input_size, len(tokenizers.tgt)
        with sizes_that_fit():
            network = widened(config.model, *sizes)
            model = _network(config, network, *sizes)
        if fresh and config.warm_start is not None:
            warm_start(model, tokenizers.tgt, config.warm_start)
        rank_zero_only(log.info)(
            "%d + %d pieces, %s parameters, %d training pairs",
            *sizes,
            f"{num_parameters(model):,}",
            len(data.train_corpus.src),
        )
        module = LitTranslator(
            dataclasses.replace(config, model=network),
            model,
            tokenizers,
            valid_src=data.valid_src,
            valid_tgt=data.valid_tgt,
            source=data.source,
            **step_counts(config, num_batches(config, data.train_dataloader())),
        )
        return Built(data, module)

    def score(self, config: Config, folder: Path, data_folder: Path, tokenizers: Tokenizers) -> TranslationScores:
        """Translate, score and probe the test set with the best checkpoint.

        If the config asks for a shortlist, it is added to the checkpoint first.
        """
        if config.trainer.shortlist:
            _add_shortlist(config, folder, data_folder, tokenizers)
        best = folder / CHECKPOINTS / checkpoint.BEST
        translator = Translator.from_checkpoint(best, device=scoring_device(config))
        sources, references = read_lines(data_folder / "test.src"), read_lines(data_folder / "test.tgt")
        evaluation = evaluate(translator, sources, references)
        for name, lines in ((SOURCES, sources), (REFERENCES, references), (HYPOTHESES, evaluation.hypotheses)):
            write_lines(folder / name, lines)
        if config.trainer.probe:
            probed = slice(0, config.trainer.probe)
            _write_probe(folder / PROBE, translator, sources[probed], references[probed])
        if config.data.variant != "tokenized":
            return evaluation.scores
        value, signature = bleu(evaluation.hypotheses, references, tokenizer="none")
        return dataclasses.replace(evaluation.scores, bleu_tokenized=value, bleu_tokenized_signature=signature)

    def show(self, config: Config, folder: Path, scores: Scores) -> None:
        assert isinstance(scores, TranslationScores)
        lines = [folder / name for name in (SOURCES, REFERENCES, HYPOTHESES)]
        if config.trainer.samples and all(path.is_file() for path in lines):
            shown = slice(0, config.trainer.samples)
            show(show_samples(*(read_lines(path)[shown] for path in lines)) + "\n")
        show(
            f"test BLEU {scores.bleu:.2f}  chrF {scores.chrf:.2f}  TER {scores.ter:.2f}  "
            f"exact match {scores.exact_match:.2f} %  perplexity {scores.perplexity:.3f}"
        )
        show(f"signature {scores.bleu_signature}")
        if scores.bleu_tokenized is not None:
            show(f"test BLEU of tokens {scores.bleu_tokenized:.2f}, signature {scores.bleu_tokenized_signature}")


def smallest_loss(model: Seq2Seq, source: Source | None = None, line: str = "") -> Tensor:
    """Return the loss of one pair with one token on each side; a source that is not text reads a line instead."""
    items = [[UNK]] if source is None else source.encode([line])
    batch = collate(items, [[UNK]], [0], end_symbol=not model.fixed_length, layout=source)
    return model.loss(batch.src, batch.src_lengths, batch.tgt_in, batch.tgt_out)


def _network(config: Config, network: ModelConfig, src_size: int, tgt_vocab: int) -> Seq2Seq:
    """Build a network, and check that it can be decoded as ``decode`` says."""
    torch.manual_seed(config.seed)
    model = build_seq2seq(network, src_size, tgt_vocab)
    check_form(config.decode, model, scoring_device(config))
    if config.decode.int8:
        require_int8()
    return model


def _add_shortlist(config: Config, folder: Path, data_folder: Path, tokenizers: Tokenizers) -> None:
    """Learn a shortlist from the training pairs, and add it to the best checkpoints."""
    corpus = encode_corpus(data_folder, "train", tokenizers)
    shortlist = learn(*corpus, tokenizers, count=config.trainer.shortlist)
    for path in (folder / CHECKPOINTS / checkpoint.BEST, *checkpoint.kept_best(folder)):
        checkpoint.add_shortlist(path, shortlist)


def _write_probe(path: Path, translator: Translator, sources: Sequence[str], references: Sequence[str]) -> None:
    """Probe the memory, or log why that is not possible."""
    try:
        probe(translator, sources, references).write(path)
    except UserError as error:
        log.warning("%s is not written: %s", path, error)
