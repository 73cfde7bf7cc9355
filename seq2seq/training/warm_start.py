"""Initialise a network with the weights of a language model."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import nn

from seq2seq import checkpoint
from seq2seq.errors import UserError
from seq2seq.models.decoder import RNNDecoder
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import Tokenizer
from seq2seq.tokens.load import same_pieces


@torch.no_grad()
def warm_start(model: nn.Module, tokenizer: Tokenizer, path: str | Path) -> None:
    """Copy a language model's weights into a decoder, or into another language model.

    Parts that only the decoder has keep their first weights: attention, and the columns of a matrix that read the
    summary of peeky. Those are the last columns, because `RNNDecoder` appends the summary to its other inputs.

    Args:
        tokenizer: the decoder's.
        path: the language model.

    Raises:
        UserError: if ``path`` is not a language model, or has other pieces, layers or widths than the decoder.

    Source:
        Ramachandran, Liu and Le (2017), https://arxiv.org/abs/1611.02683.
    """
    found = checkpoint.load_language_model(path)
    if not same_pieces(found.tokenizer, tokenizer):
        raise UserError(
            f"warm_start={path} has other pieces than the target side here; train it on the same data, or with "
            "tokenizer.like=, or take its pieces over with tokenizer.like of the run that it shares them with."
        )
    decoder = cast(Seq2Seq | RNNLanguageModel, model).decoder
    theirs, ours = _shape(found.model.decoder), _shape(decoder)
    if isinstance(found.model.decoder.narrow, nn.Identity) and not _is_tied(decoder):
        theirs = theirs.replace(", tied", "")  # its output layer reads the state as an untied one does
    if theirs != ours:
        raise UserError(
            f"warm_start={path} and this network need equal decoders (cell, layers, size, embedding, and what else "
            f"they have); got {theirs} and {ours}. Set model.decoder, model.embedding_size, model.tie, and so on."
        )
    weights = found.model.decoder.state_dict()
    for name, parameter in decoder.named_parameters(remove_duplicate=False):
        source = weights.get(name)
        if source is None or source.dim() != parameter.dim() or source.shape[0] != parameter.shape[0]:
            continue
        if source.dim() == 2:
            parameter[:, : source.shape[1]] = source
        else:
            parameter.copy_(source)


def _shape(decoder: RNNDecoder) -> str:
    cell, *more = decoder.rnn.describe()
    parts = [cell, decoder.num_layers, decoder.hidden_size, decoder.embedding.embedding_dim, *more]
    parts += ["tied"] * _is_tied(decoder)
    return f"({', '.join(map(str, parts))})"


def _is_tied(decoder: RNNDecoder) -> bool:
    return decoder.output.weight is decoder.embedding.weight
