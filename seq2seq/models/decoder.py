"""The recurrent decoder and its state."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.config.schema import Stack
from seq2seq.models.attention import Attention
from seq2seq.models.cells.base import Join, StepWeights
from seq2seq.models.cells.stack import build_recurrent
from seq2seq.models.dropout import Lookup, build_dropout, drop_weights


class DecoderState(NamedTuple):
    """The state of a decoder between steps. Dimension 0 of every tensor is the batch."""

    hidden: tuple[Tensor, ...]  # (h,) or, for an LSTM, (h, c); each (batch, layers, hidden)
    context: Tensor | None = None  # (batch, hidden): the encoder's summary, the same at each step
    memory: Tensor | None = None  # (batch, src_length, memory): the encoder's outputs
    mask: Tensor | None = None  # (batch, src_length), True at real positions
    keys: Tensor | None = None  # (batch, src_length, hidden): of the memory, for attention
    attention: Tensor | None = None  # (batch, src_length): the weights of the step that led here

    def map(self, function: Callable[[Tensor], Tensor]) -> DecoderState:
        """The state with ``function`` done to each of its tensors."""
        rest = (None if tensor is None else function(tensor) for tensor in self[1:])
        return DecoderState(tuple(function(tensor) for tensor in self.hidden), *rest)

    def select(self, rows: Tensor) -> DecoderState:
        """Select and reorder rows; a row may be repeated or dropped."""
        return self.map(lambda tensor: tensor.index_select(0, rows))

    def detach(self) -> DecoderState:
        """The state without its history: truncated back-propagation through time."""
        return self.map(Tensor.detach)


class StepParts(NamedTuple):
    """The parts of a decoder's step, to compute it without the module.

    - gates of the first layer: ``inputs @ [embedding; summary if peek_input]``
    - ``seen``: the top layer's h
    - with attention: ``seen = tanh(attend @ [context; seen])``, `attention` giving the context
    - with ``peek_output``: ``seen = [seen; summary]``
    - logits: ``output @ (narrow @ seen) + output_bias``
    """

    embedding: Tensor  # (vocabulary, embedding)
    cells: list[StepWeights]  # of each layer
    joins: list[Join]  # what stands after each layer; empty for nothing
    stack_bounded: bool  # whether h is known to lie in [-1, 1] after a step
    keeps_state: bool  # whether h keeps a share of the first h, so that it is only bounded if that is
    peek_input: bool
    peek_output: bool
    attention: Attention | None
    attend: Tensor | None  # (hidden, memory + hidden)
    narrow: Tensor | None  # (width, hidden, or twice that with `peek_output`); None for the identity
    output: Tensor  # (vocabulary, width)
    output_bias: Tensor  # (vocabulary,)


class RNNDecoder(nn.Module):
    """A recurrent decoder. Without an encoder it is a language model.

    With ``peeky`` the encoder's summary is concatenated to the input of the recurrent stack, of the output layer, or of
    both, at every step. So the hidden state need not remember the source. The summary is the top layer of the decoder's
    first hidden state. With ``attention`` each output h of the stack is replaced by tanh(W [context; h]) (Luong et al.
    2015, eq. 5).

    Args:
        embedding: target embeddings.
        stack: cell, width, layers.
        peeky: where the summary is shown: "none", "input", "output" or "both".
        attention: its query_size is the stack's width; None leaves it out.
        tie: whether the output layer's weights are the embeddings. If the widths differ, a linear layer without bias
            comes before it.
        dropout: probability in [0, 1), between layers and before the output layer.
        lookup: looks up embeddings, with their dropout; None looks up without dropout.

    Shapes:
        tokens ``(batch, length)``; returns logits ``(batch, length, vocabulary)`` and the state after the last token.

    Raises:
        ValueError: if ``peeky`` is on and the state has no context, or ``attention`` and it has no memory.

    Source:
        Cho et al. (2014), https://arxiv.org/abs/1406.1078; "peeky" after Saito (2018), "Deep Learning from Scratch 2",
        ch. 7. Attention after the recurrent stack: Luong et al. (2015), https://arxiv.org/abs/1508.04025. Tied weights:
        Press and Wolf (2017), https://arxiv.org/abs/1608.05859.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        stack: Stack,
        *,
        peeky: str = "none",
        attention: Attention | None = None,
        tie: bool = False,
        dropout: float = 0.0,
        lookup: Lookup | None = None,
    ) -> None:
        super().__init__()
        self.peek_input = peeky in ("input", "both")
        self.peek_output = peeky in ("output", "both")
        self.cell, self.num_layers, self.hidden_size = stack.cell, stack.num_layers, stack.hidden_size
        self.embedding = embedding
        input_size = embedding.embedding_dim + self.peek_input * stack.hidden_size
        self.rnn = build_recurrent(stack, input_size, dropout=dropout)
        self.num_states = self.rnn.num_states
        self.lookup = lookup or Lookup()
        self.weight_dropout = stack.weight_dropout
        self.dropout = build_dropout(dropout, locked=stack.locked_dropout)
        self.attention = attention
        if attention is not None:
            self.attend = nn.Linear(attention.memory_size + stack.hidden_size, stack.hidden_size, bias=False)
        features = stack.hidden_size * (1 + self.peek_output)
        width = embedding.embedding_dim if tie else features
        self.narrow = nn.Identity() if width == features else nn.Linear(features, width, bias=False)
        self.output = nn.Linear(width, embedding.num_embeddings)
        if tie:
            self.output.weight = embedding.weight

    def zero_state(self, batch_size: int) -> DecoderState:
        """The state before the first token, without an encoder: zeros."""
        zeros = self.output.weight.new_zeros(batch_size, self.num_layers, self.hidden_size)
        return DecoderState((zeros,) * self.num_states)

    def features(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Compute the output layer's input ``(batch, length, width)``, and the state after the last token."""
        embedded = self.lookup(self.embedding, tokens)  # (batch, length, embedding)
        inputs = self._peek(embedded, state) if self.peek_input else embedded
        outputs, hidden = drop_weights(self.rnn, self.weight_dropout, inputs, None, state.hidden)
        if self.attention is not None:
            outputs, state = self._look_back(outputs, state)
        seen = self._peek(outputs, state) if self.peek_output else outputs
        return self.narrow(self.dropout(seen)), state._replace(hidden=hidden)

    def forward(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        features, state = self.features(tokens, state)
        return self.output(features), state

    def step(self, last: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Take one step of a search: ``step(last, state) -> (log_probs, state)``.

        Shapes:
            last tokens ``(batch,)``, log-probabilities ``(batch, vocabulary)``.
        """
        logits, state = self(last.unsqueeze(1), state)
        return logits.squeeze(1).log_softmax(-1), state

    @property
    def has_parts(self) -> bool:
        """Whether `step_parts` are the whole step, without joins.

        A subclass may compute something else, and has to say so itself.
        """
        return type(self) is RNNDecoder and self.rnn.has_steps

    def step_parts(self) -> StepParts:
        """The parts of `step`, for the export and for faster forms of decoding; see `has_parts`.

        Raises:
            NotImplementedError: for a cell that does not offer its step.
        """
        return StepParts(
            embedding=self.embedding.weight.detach(),
            cells=[layer for (layer,) in self.rnn.step_weights()],
            joins=self.rnn.joins(),
            stack_bounded=self.rnn.bounded,
            keeps_state=self.rnn.keeps_state,
            peek_input=self.peek_input,
            peek_output=self.peek_output,
            attention=self.attention,
            attend=None if self.attention is None else self.attend.weight.detach(),
            narrow=self.narrow.weight.detach() if isinstance(self.narrow, nn.Linear) else None,
            output=self.output.weight.detach(),
            output_bias=self.output.bias.detach(),
        )

    def _look_back(self, outputs: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """The attentional outputs, and the state with the last one's weights."""
        if state.memory is None or state.keys is None or state.mask is None:
            raise ValueError("a decoder with attention needs the encoder's outputs; got a state without memory.")
        assert self.attention is not None
        found, weights = self.attention(outputs, state.keys, state.memory, state.mask)
        attentional = torch.tanh(self.attend(torch.cat([found, outputs], dim=-1)))
        return attentional, state._replace(attention=weights[:, -1])

    def _peek(self, vectors: Tensor, state: DecoderState) -> Tensor:
        if state.context is None:
            raise ValueError("a peeky decoder needs the encoder's summary; got a state without context.")
        return torch.cat([vectors, state.context.unsqueeze(1).expand(-1, vectors.shape[1], -1)], dim=-1)
