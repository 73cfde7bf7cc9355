"""The same networks as minimal torch programs, for comparison."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.config.schema import ModelConfig
from seq2seq.tokens.base import BOS, PAD

PairBatch = tuple[Tensor, Tensor, Tensor]  # src, tgt_in, tgt_out: each (batch, length), padded
State = tuple[Tensor, Tensor]


class Plain(nn.Module):
    """An encoder-decoder of `nn.LSTM` over padded batches, general attention after the recurrent stack."""

    def __init__(self, config: ModelConfig, src_vocab: int, tgt_vocab: int) -> None:
        super().__init__()
        embedding, hidden, layers = config.embedding_size, config.hidden_size, config.num_layers
        self.layers, self.hidden = layers, hidden
        memory = hidden * (2 if config.bidirectional else 1)
        self.src = nn.Embedding(src_vocab, embedding, padding_idx=PAD)
        self.tgt = nn.Embedding(tgt_vocab, embedding, padding_idx=PAD)
        self.encoder = nn.LSTM(embedding, hidden, layers, batch_first=True, bidirectional=config.bidirectional)
        self.decoder = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.attends = config.attention != "none"
        self.bridges = nn.ModuleList()
        if memory != hidden:
            self.bridges.extend(nn.Linear(layers * memory, layers * hidden) for _ in range(2))
        if self.attends:
            self.key = nn.Linear(memory, hidden, bias=False)
            self.attend = nn.Linear(memory + hidden, hidden, bias=False)
        self.output = nn.Linear(hidden, tgt_vocab)

    def encode(self, src: Tensor) -> tuple[Tensor, Tensor, State]:
        memory, (h, c) = self.encoder(self.src(src))
        if self.bridges:
            h, c = (self._bridge(bridge, state) for bridge, state in zip(self.bridges, (h, c), strict=True))
        return memory, src == PAD, (h, c)

    def _bridge(self, bridge: nn.Module, state: Tensor) -> Tensor:
        joined = state.permute(1, 0, 2).flatten(1)
        return torch.tanh(bridge(joined)).view(-1, self.layers, self.hidden).transpose(0, 1).contiguous()

    def decode(self, tgt_in: Tensor, memory: Tensor, padding: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, state = self.decoder(self.tgt(tgt_in), state)
        if self.attends:
            scores = outputs @ self.key(memory).transpose(1, 2)
            weights = scores.masked_fill(padding[:, None], -torch.inf).softmax(-1)
            outputs = torch.tanh(self.attend(torch.cat([weights @ memory, outputs], dim=-1)))
        return self.output(outputs), state

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        logits, _ = self.decode(tgt_in, *self.encode(src))
        return logits


class StepByStep(Plain):
    """The decoder as tutorials write it: a Python loop over target positions, with an output layer call in each."""

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        memory, padding, state = self.encode(src)
        logits = torch.zeros(*tgt_in.shape, self.output.out_features)
        for t in range(tgt_in.shape[1]):
            step, state = self.decode(tgt_in[:, t : t + 1], memory, padding, state)
            logits[:, t] = step[:, 0]
        return logits


class Steps:
    """The training step: cross-entropy of real tokens, a clipped norm, torch's default Adam."""

    def __init__(self, model: Plain, *, clip_norm: float = 5.0) -> None:
        self.model = model
        self.clip_norm = clip_norm
        self.optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        self.total_loss = 0.0

    def step(self, batch: PairBatch) -> None:
        src, tgt_in, tgt_out = batch
        self.optimizer.zero_grad()
        logits = self.model(src, tgt_in)
        loss = F.cross_entropy(logits.flatten(0, 1), tgt_out.flatten(), ignore_index=PAD)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        self.total_loss += loss.item()


@torch.no_grad()
def greedy(model: Plain, batches: Iterator[tuple[Tensor, int]]) -> list[Tensor]:
    """Greedy decoding by the module itself; a batch is its sources and the number of steps."""
    found = []
    for src, steps in batches:
        memory, padding, state = model.encode(src)
        tokens = [torch.full((len(src), 1), BOS)]
        for _ in range(steps):
            logits, state = model.decode(tokens[-1], memory, padding, state)
            tokens.append(logits.log_softmax(-1).argmax(-1))
        found.append(torch.cat(tokens[1:], dim=1))
    return found
