"""What encoder and decoder share: building a recurrent stack, and setting its first weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seq2seq.config import Stack

Recurrent = nn.RNN | nn.GRU | nn.LSTM


def build_recurrent(stack: Stack, input_size: int, *, dropout: float, bidirectional: bool = False) -> Recurrent:
    """torch's fused stack for a cell: ``rnn`` (Elman 1990), ``gru`` (Cho et al. 2014) or ``lstm`` (Hochreiter and
    Schmidhuber 1997).

    ``dropout`` acts between layers, as in Zaremba et al. (2014), https://arxiv.org/abs/1409.2329.
    """
    sizes = {"input_size": input_size, "hidden_size": stack.hidden_size, "num_layers": stack.num_layers}
    options = {
        "batch_first": True,
        "dropout": dropout if stack.num_layers > 1 else 0.0,  # torch warns of dropout that has no place to act
        "bidirectional": bidirectional,
    }
    if stack.cell == "lstm":
        return nn.LSTM(**sizes, **options)
    if stack.cell == "gru":
        return nn.GRU(**sizes, **options)
    return nn.RNN(**sizes, nonlinearity=stack.nonlinearity, **options)


@torch.no_grad()
def init_as_book(module: nn.Module) -> None:
    """First weights as in "Deep Learning from Scratch 2": embeddings from N(0, 0.01^2), weights from N(0, 1/fan-in),
    biases 0.

    The book's recurrent layers have one bias where torch's have two, whose sum would learn at twice the rate: the
    second stays 0.
    """
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.01)
            if part.padding_idx is not None:
                part.weight[part.padding_idx].zero_()
        elif isinstance(part, (nn.Linear, nn.RNNBase)):
            for name, parameter in part.named_parameters(recurse=False):
                if "bias" in name:
                    nn.init.zeros_(parameter)
                    parameter.requires_grad_("bias_hh" not in name)
                else:
                    nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))


@torch.no_grad()
def spectral_radius(module: nn.Module) -> float:
    """The largest absolute eigenvalue of the recurrent matrices that carry the state, over layers and directions; NaN
    where nothing is recurrent, or not finite.

    Those of the candidate state in a gated cell, the only ones in a plain one. There a gradient that goes back t steps
    shrinks or grows with its t-th power, but for the nonlinearity (Pascanu et al. 2013,
    https://arxiv.org/abs/1211.5063).
    """
    matrices = []
    for stack in module.modules():
        if isinstance(stack, nn.RNNBase):
            size = stack.hidden_size
            first = 0 if isinstance(stack, nn.RNN) else 2 * size  # torch stacks the gates: r z n, and i f g o
            named = stack.named_parameters()
            matrices += [weights[first : first + size] for name, weights in named if "weight_hh" in name]
    if not all(matrix.isfinite().all() for matrix in matrices):
        return math.nan  # LAPACK would not survive it
    radii = [float(torch.linalg.eigvals(matrix.float().cpu()).abs().max()) for matrix in matrices]
    return max(radii, default=math.nan)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(batch, size), True at positions below each row's length."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def reverse_padded(rows: Tensor, lengths: Tensor) -> Tensor:
    """Each row's first ``length`` positions in reverse order, the others where they were.

    Shapes:
        rows ``(batch, size, ...)``, lengths ``(batch,)`` in [0, size]; returns the shape of rows.
    """
    position = torch.arange(rows.shape[1], device=rows.device)
    mirrored = lengths.to(rows.device).unsqueeze(1) - 1 - position  # (batch, size), negative past the length
    index = torch.where(mirrored >= 0, mirrored, position)
    return rows.gather(1, index.reshape(*index.shape, *[1] * (rows.dim() - 2)).expand_as(rows))
