"""The encoder: a source becomes vectors that a decoder can start from and look back at."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seq2seq.config.schema import Stack
from seq2seq.models.cells.stack import build_recurrent
from seq2seq.models.dropout import Lookup, build_dropout, drop_weights
from seq2seq.models.padding import length_mask, reverse_padded
from seq2seq.tokens.base import PAD


class Encoded(NamedTuple):
    """What an encoder hands over. Dimension 0 of every tensor is the batch."""

    final: tuple[Tensor, ...]  # (h,) or (h, c); each (batch, layers, state_size)
    memory: Tensor | None = None  # (batch, positions, memory_size): one for each source token, in source order
    mask: Tensor | None = None  # (batch, positions), True at real positions


class Encoder(Protocol):
    """Anything that turns a batch of sources into `Encoded`."""

    memory_size: int  # width of Encoded.memory
    state_size: int  # width of Encoded.final

    def __call__(self, src: Tensor, src_lengths: Tensor) -> Encoded: ...


class RNNEncoder(nn.Module):
    """A recurrent encoder that reads each source to its true length, padding left out.

    With ``reverse`` it reads ``a b c </s> pad`` as ``c b a </s> pad``: the real tokens alone change places, so that the
    first source words lie near the first target words. A memory is put back into source order. With ``bidirectional``
    the two directions' final states and memories stand side by side, and ``reverse`` changes little but their roles.

    Args:
        embedding: source embeddings, shared with the decoder where they are tied.
        stack: cell, width in each direction, layers.
        end_symbol: whether every source ends with ``</s>``, which keeps its place in a reversal.
        keep_memory: whether the outputs at all positions are wanted (for attention).
        dropout: probability in [0, 1) between layers.
        memory_dropout: probability in [0, 1) on the outputs that are kept.
        lookup: looks up embeddings; None drops nothing of them.

    Shapes:
        src ``(batch, length)``, src_lengths ``(batch,)`` each at least 1, on the CPU to spare a device its
        synchronisation.

    Source:
        Sutskever et al. (2014), section 3.3, https://arxiv.org/abs/1409.3215, for ``reverse``.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        stack: Stack,
        *,
        reverse: bool = False,
        bidirectional: bool = False,
        end_symbol: bool = True,
        keep_memory: bool = False,
        dropout: float = 0.0,
        memory_dropout: float = 0.0,
        lookup: Lookup | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.rnn = build_recurrent(stack, embedding.embedding_dim, dropout=dropout, bidirectional=bidirectional)
        self.lookup = lookup or Lookup()
        self.memory_dropout = build_dropout(memory_dropout, locked=stack.locked_dropout)
        self.weight_dropout = stack.weight_dropout
        self.reverse = reverse
        self.end_symbol = end_symbol
        self.keep_memory = keep_memory
        self.num_layers = stack.num_layers
        self.state_size = self.memory_size = stack.hidden_size * (2 if bidirectional else 1)

    def forward(self, src: Tensor, src_lengths: Tensor) -> Encoded:
        turned = src_lengths - 1 if self.end_symbol else src_lengths
        tokens = reverse_padded(src, turned) if self.reverse else src
        embedded = self.lookup(self.embedding, tokens)  # (batch, length, embedding)
        lengths, inputs = src_lengths.cpu(), embedded
        if lengths.amin() < src.shape[1]:
            inputs = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        outputs, final = drop_weights(self.rnn, self.weight_dropout, inputs)
        states = final if isinstance(final, tuple) else (final,)
        joined = tuple(self._join_directions(state) for state in states)
        if not self.keep_memory:
            return Encoded(joined)
        if isinstance(outputs, PackedSequence):
            outputs, _ = pad_packed_sequence(outputs, batch_first=True, padding_value=PAD, total_length=src.shape[1])
        return Encoded(joined, *self._memory(outputs, src_lengths, turned))

    def _memory(self, memory: Tensor, src_lengths: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        if self.reverse:
            memory = reverse_padded(memory, turned)
        return self.memory_dropout(memory), length_mask(src_lengths.to(memory.device), memory.shape[1])

    def _join_directions(self, state: Tensor) -> Tensor:
        """(layers * directions, batch, hidden) to (batch, layers, directions * hidden)."""
        layers = state.unflatten(0, (self.num_layers, -1))  # (layers, directions, batch, hidden)
        return layers.permute(2, 0, 1, 3).flatten(2)
