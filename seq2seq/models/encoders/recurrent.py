"""The recurrent encoder."""

from __future__ import annotations

from torch import Tensor, nn

from seq2seq.config.schema import ModelConfig, Stack
from seq2seq.models.cells.stack import build_recurrent
from seq2seq.models.dropout import Lookup, build_dropout, build_lookup, drop_weights
from seq2seq.models.encoders.base import Encoded, EncoderParts, Reading
from seq2seq.models.padding import length_mask, reverse_padded
from seq2seq.tokens.base import PAD


class RNNEncoder(nn.Module):
    """A recurrent encoder that reads each source to its true length, without padding.

    With ``reverse`` it reads ``a b c </s> pad`` as ``c b a </s> pad``, so that the first source words are near the
    first target words. Only the real tokens change places. The memory is put back into source order. With
    ``bidirectional``, final states and memories of the two directions are concatenated, and ``reverse`` does little
    more than exchange their roles.

    Args:
        embedding: source embeddings, shared with the decoder where they are tied.
        stack: cell, width in each direction, layers.
        end_symbol: whether every source ends with ``</s>``, which keeps its place in a reversal.
        keep_memory: whether to return the outputs at all positions (for attention).
        dropout: probability in [0, 1) between layers.
        memory_dropout: probability in [0, 1) on those outputs.
        lookup: looks up embeddings, with their dropout; None looks up without dropout.

    Shapes:
        src ``(batch, length)``, src_lengths ``(batch,)`` each at least 1, on the CPU to spare a device its
        synchronisation.

    Source:
        Sutskever et al. (2014), section 3.3, https://arxiv.org/abs/1409.3215, for ``reverse``.
    """

    reads = "ids"

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
        self.cell: str | None = stack.cell
        self.num_layers = self.rnn.num_layers
        self.state_bounded, self.memory_bounded = self.rnn.state_bounded, self.rnn.bounded
        self.state_size = self.memory_size = stack.hidden_size * (2 if bidirectional else 1)

    @staticmethod
    def inputs(config: ModelConfig, src_size: int) -> nn.Embedding:
        """Build the source embeddings."""
        return nn.Embedding(src_size, config.embedding_size, padding_idx=PAD)

    @classmethod
    def from_config(cls, config: ModelConfig, inputs: nn.Module) -> RNNEncoder:
        """Build the encoder that a config describes around its embeddings."""
        assert isinstance(inputs, nn.Embedding)
        return cls(
            inputs,
            config.stack("encoder"),
            reverse=config.reverse,
            bidirectional=config.bidirectional,
            end_symbol=config.fixed_length == 0,
            keep_memory=config.attention != "none",
            dropout=config.dropout,
            memory_dropout=config.memory_dropout,
            lookup=build_lookup(config, config.src_word_dropout),
        )

    def forward(self, src: Tensor, src_lengths: Tensor) -> Encoded:
        turned = src_lengths - 1 if self.end_symbol else src_lengths
        tokens = reverse_padded(src, turned) if self.reverse else src
        embedded = self.lookup(self.embedding, tokens)  # (batch, length, embedding)
        outputs, final = drop_weights(self.rnn, self.weight_dropout, embedded, src_lengths)
        if not self.keep_memory:
            return Encoded(final)
        return Encoded(final, *self._memory(outputs, src_lengths, turned))

    def parts(self) -> EncoderParts | None:
        """The encoder taken apart; None for a cell without steps, and a subclass, which may compute something else."""
        if type(self) is not RNNEncoder:
            return None
        try:
            layers = self.rnn.step_weights()
        except NotImplementedError:
            return None
        return EncoderParts(
            embedding=self.embedding,
            layers=layers,
            joins=self.rnn.joins(),
            num_states=self.rnn.num_states,
            bounded=self.rnn.bounded,
            reverse=self.reverse,
            end_symbol=self.end_symbol,
            keep_memory=self.keep_memory,
        )

    def reading(self) -> Reading | None:
        """The order of its steps; None for a subclass, which may read in another one."""
        if type(self) is not RNNEncoder:
            return None
        return Reading(self.embedding, self.reverse, self.end_symbol, self.rnn.bidirectional)

    def _memory(self, memory: Tensor, src_lengths: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        if self.reverse:
            memory = reverse_padded(memory, turned)
        return self.memory_dropout(memory), length_mask(src_lengths.to(memory.device), memory.shape[1])
