"""Initial weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from seq2seq.models.cells.base import Stack


@torch.no_grad()
def init_as_book(module: nn.Module) -> None:
    """Initialise as in "Deep Learning from Scratch 2".

    Embeddings are drawn from N(0, 0.01^2) and weights from N(0, 1/fan-in); biases are 0. The book's recurrent layers
    have one bias. torch's have two, whose sum would learn at twice the rate, so the second stays 0. An output layer
    tied to embeddings keeps theirs.
    """
    embeddings = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.01)
            if part.padding_idx is not None:
                part.weight[part.padding_idx].zero_()
        elif isinstance(part, (nn.Linear, Stack)):
            seconds = {id(bias) for bias in part.second_biases()} if isinstance(part, Stack) else set()
            for parameter in part.parameters(recurse=False):
                if parameter.dim() == 1:
                    nn.init.zeros_(parameter)
                    parameter.requires_grad_(id(parameter) not in seconds)
                elif id(parameter) not in embeddings:
                    nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))


@torch.no_grad()
def init_uniform(module: nn.Module, bound: float) -> None:
    """Draw every weight, biases and embeddings included, from U(-bound, bound), as in Zaremba et al. (2014)."""
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -bound, bound)
    for part in module.modules():
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            part.weight[part.padding_idx].zero_()
