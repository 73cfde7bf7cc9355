"""A trained network in the form in which a CPU decodes fastest: the same numbers, but for rounding.

Of the decoder's step, all that does not depend on the last token or the state is worked out beforehand: the first
layer's part of the gates for each token of the vocabulary, the summary's part for each sentence, the attention's keys.
What is left are matrix products, of which the output layer's is the largest, and a few elementwise operations in
place. Hypotheses of one sentence share its memory, and it stays where it is while they change places.

With ``int8`` the matrices are 8-bit integers with a scale for each output, and inputs are 16-bit ones, as two of 8 bits
each, with a scale for each row. An 8-bit input would be twice as fast and about as good, but not reproducible: the last
bits of a sum depend on the shape of the batch, a number near the boundary between two of 255 steps falls on either
side, and the recurrence carries that on. Between two of 65,000 steps it makes no more of a difference than the last
bits themselves, so that a line's translation stays independent of its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from seq2seq.errors import UserError
from seq2seq.models.cells.stack import length_mask, reverse_padded
from seq2seq.models.decoder import RNNDecoder
from seq2seq.models.encoders.recurrent import Encoded, RNNEncoder
from seq2seq.models.seq2seq import Seq2Seq

TABLE_BYTES = 1 << 28  # the most that the first layer's table may take; above it there is a product for each step
LEVELS = 127
MIDDLE = 128  # the byte that stands for 0
LEAST_ROWS = 8
FULLNESS = 3 / 4  # share of the sentences that are still decoded, below which the others' memory is left behind

KNOWN_STACKS = (nn.LSTM, nn.GRU, nn.RNN)
# What stands between the parts of a decoder or encoder is known here part by part; another one is another network.
KNOWN_DECODER = {"embedding", "rnn", "attention", "attend", "narrow", "output"}
KNOWN_ENCODER = {"embedding", "rnn"}
IDLE = {"dropout", "lookup", "memory_dropout"}  # in evaluation


class Linear:
    """x @ weight.T + bias, in float32, for x ``(rows, inputs)``.

    With ``onto`` ``(rows, outputs)`` the product is added to that instead, which may be changed in place.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._set(weight.t().contiguous(), bias)  # in this order MKL is faster, with few rows up to twice

    def _set(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        if onto is not None:
            return onto.addmm_(x, self.weight)
        return x @ self.weight if self.bias is None else torch.addmm(self.bias, x, self.weight)

    def outputs(self, which: Tensor) -> Linear:
        """The layer with these outputs alone."""
        some = Linear.__new__(Linear)
        some._set(self.weight.index_select(1, which), None if self.bias is None else self.bias[which])
        return some


class Int8Linear:
    """The same with a weight of 8-bit integers, and x as two of them: x = (high + low / 254) * scale / 127.

    Args:
        bounded: whether no number in x is above 1 or below -1; else a row is scaled by its own largest.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, bounded: bool) -> None:
        scale = weight.abs().amax(1).clamp_min(torch.finfo(weight.dtype).tiny) / LEVELS
        whole = (weight / scale.unsqueeze(1)).round().to(torch.int8)
        self._set(whole, scale, bias, bounded)

    def _set(self, whole: Tensor, scale: Tensor, bias: Tensor | None, bounded: bool) -> None:
        self.whole, self.scale, self.bias, self.bounded = whole, scale, bias, bounded
        self._middle = torch.tensor(float(MIDDLE))
        self.zero = torch.zeros(len(scale), dtype=torch.int32)
        self.packed = torch.ops.onednn.qlinear_prepack(whole.contiguous(), None)

    def __call__(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        largest = None if self.bounded else x.abs().amax(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        product = self._product(
            x if largest is None else x / largest, self.bias if largest is None and onto is None else None
        )
        if largest is not None:
            product *= largest
            if onto is None and self.bias is not None:
                product += self.bias
        return product if onto is None else onto.add_(product)

    def _product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        rows, width = x.shape
        parts = torch.empty(2, rounded(rows), width, dtype=torch.uint8)  # of which oneDNN has the quicker products
        steps = torch.add(self._middle, x, alpha=LEVELS)
        high = steps.round()
        parts[0, :rows] = high
        parts[1, :rows] = steps.sub_(high).mul_(2 * LEVELS).add_(self._middle).round_()
        weights = (self.packed, self.scale, self.zero)
        rest: Any = (bias, 1.0, 0, torch.float32, "none", [], "")
        product = torch.ops.onednn.qlinear_pointwise(parts[0], 1 / LEVELS, MIDDLE, *weights, *rest)
        rest = (product, None, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], "")
        scale = 1 / (2 * LEVELS * LEVELS)
        return torch.ops.onednn.qlinear_pointwise.binary(parts[1], scale, MIDDLE, *weights, *rest)[:rows]

    def outputs(self, which: Tensor) -> Int8Linear:
        """The layer with these outputs alone."""
        some = Int8Linear.__new__(Int8Linear)
        bias = None if self.bias is None else self.bias[which]
        some._set(self.whole[which], self.scale[which], bias, self.bounded)
        return some


def rounded(rows: int) -> int:
    """The rows that an 8-bit product is made with, four sizes from a power of two to the next: for each size that it
    has not had, oneDNN needs a millisecond. For fewer than four rows it has slow code, so they are eight at least.
    """
    step = 1 << max(rows.bit_length() - 3, 0)
    return max(-(-rows // step) * step, LEAST_ROWS)


AnyLinear = Linear | Int8Linear
Build = Callable[..., AnyLinear]  # from weight, bias and bounded


class Cell:
    """One layer of a recurrent stack in one direction: from gates' inputs and state to state.

    ``inputs`` has what the layer's input adds to the gates, ``recurrent`` what its state does; biases are in the first,
    but for a GRU, whose reset gate stands between them.
    """

    def __init__(
        self, stack: nn.RNNBase, suffix: str, build: Build, *, bounded_input: bool, bounded_state: bool
    ) -> None:
        own = dict(stack.named_parameters(recurse=False))
        self.kind = stack.mode  # LSTM, GRU, RNN_TANH, RNN_RELU
        self.size = stack.hidden_size
        weights = [own[f"weight_{part}_{suffix}"].detach() for part in ("ih", "hh")]
        biases = [own[f"bias_{part}_{suffix}"].detach() for part in ("ih", "hh")]
        if self.kind == "LSTM":  # torch has i f g o; with g last, one call does the sigmoids
            weights, biases = ([self._g_last(one) for one in ones] for ones in (weights, biases))
        if self.kind != "GRU":
            biases = [biases[0] + biases[1], None]  # type: ignore[list-item]
        self.weight, self.bias = weights[0], biases[0]
        self._build, self._bounded_input = build, bounded_input
        self.recurrent = build(weights[1], biases[1], bounded=bounded_state)

    def _g_last(self, rows: Tensor) -> Tensor:
        i, f, g, o = rows.split(self.size)
        return torch.cat([i, f, o, g])

    def inputs(self) -> AnyLinear:
        """The layer that makes the gates' inputs."""
        return self._build(self.weight, self.bias, bounded=self._bounded_input)

    def step(self, gates: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The next (h,) or (h, c), each ``(rows, hidden)``; the gates' inputs may be changed in place."""
        h, size = state[0], self.size
        if self.kind == "GRU":
            recurrent = self.recurrent(h)
            reset, update = gates[:, : 2 * size].add_(recurrent[:, : 2 * size]).sigmoid_().chunk(2, 1)
            new = gates[:, 2 * size :].addcmul_(reset, recurrent[:, 2 * size :]).tanh_()
            return (torch.lerp(new, h, update),)
        gates = self.recurrent(h, gates)
        if self.kind == "LSTM":
            i, f, o = gates[:, : 3 * size].sigmoid_().chunk(3, 1)
            c = (state[1] * f).addcmul_(i, gates[:, 3 * size :].tanh_())
            return c.tanh().mul_(o), c
        return (gates.tanh_() if self.kind == "RNN_TANH" else gates.relu_(),)


class Source(NamedTuple):
    """What is the same at every step. Dimension 0 of every tensor is the sentences."""

    memory: Tensor | None = None  # (sentences, src_length, memory)
    mask: Tensor | None = None  # (sentences, src_length), True at real positions
    keys: Tensor | None = None  # (sentences, src_length, hidden)
    barred: Tensor | None = None  # (sentences, columns): 0 for a token that may be chosen, else -inf

    def select(self, sentences: Tensor) -> Source:
        """These sentences alone."""
        return Source(*(None if one is None else one.index_select(0, sentences) for one in self))

    def __bool__(self) -> bool:
        return any(one is not None for one in self)


class InferenceState(NamedTuple):
    """All that the next step needs; dimension 0 of every tensor is the batch, but for those of the source."""

    hidden: tuple[tuple[Tensor, ...], ...]  # of each layer, (h,) or (h, c), each (batch, hidden)
    source: Source
    sentence: Tensor  # (batch,), into the source
    places: Tensor | None = None  # (batch,), into a grid of sentences times `width`; None where they are the batch
    width: int = 1  # most rows of one sentence
    context: Tensor | None = None  # (batch, hidden), the encoder's summary for the output layer
    peek: Tensor | None = None  # (batch, gates): what the summary adds to the first layer's
    attention: Tensor | None = None  # (batch, src_length): the weights of the step that led here

    @property
    def mask(self) -> Tensor | None:
        """(batch, src_length), True at real positions; None without attention."""
        return None if self.source.mask is None else self.source.mask[self.sentence]

    def select(self, rows: Tensor) -> InferenceState:
        """The state of these rows of the batch, in this order; a row may come twice or not at all."""

        def pick(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.index_select(0, rows)

        hidden = tuple(tuple(one.index_select(0, rows) for one in layer) for layer in self.hidden)
        picked = self._replace(
            hidden=hidden,
            sentence=self.sentence[rows],
            context=pick(self.context),
            peek=pick(self.peek),
            attention=pick(self.attention),
        )
        return picked._rearrange() if self.source and len(rows) else picked

    def _rearrange(self) -> InferenceState:
        """With the source of the sentences that are left, and each row's place beside them."""
        source, sentence = self.source, self.sentence
        size = len(next(one for one in source if one is not None))
        left = torch.unique(sentence)
        if len(left) < FULLNESS * size:
            source, sentence, size = source.select(left), torch.searchsorted(left, sentence), len(left)
        if len(sentence) == size and torch.equal(sentence, torch.arange(size)):
            return self._replace(source=source, sentence=sentence, places=None, width=1)
        counts = torch.bincount(sentence, minlength=size)
        order = sentence.argsort(stable=True)
        rank = torch.empty_like(sentence)
        rank[order] = torch.arange(len(sentence)) - (counts.cumsum(0) - counts)[sentence[order]]
        width = int(counts.max())
        return self._replace(source=source, sentence=sentence, places=sentence * width + rank, width=width)


class Columns(NamedTuple):
    """A part of the target vocabulary that a batch is decoded with; a search then knows its tokens by their place."""

    tokens: Tensor  # (columns,), ascending
    allowed: Tensor  # (sentences, columns): which of them each sentence may choose

    def place(self, token: int) -> int:
        """Where a token that is there stands."""
        return int(torch.searchsorted(self.tokens, token))


class Inference:
    """A network's inference form. It holds copies: of a network that is trained on, make another.

    Args:
        model: in evaluation mode, in float32, on the CPU; see `is_known`.
        int8: whether matrices are 8-bit integers.

    Raises:
        UserError: for ``int8`` where this build of torch has no such products.
    """

    def __init__(self, model: Seq2Seq, *, int8: bool = False) -> None:
        decoder = model.decoder
        assert is_known(model)
        assert isinstance(decoder.rnn, KNOWN_STACKS)
        if int8:
            require_int8()
        build = _build_int8 if int8 else _build_float
        self.model = model
        stack = decoder.rnn
        # A ReLU encoder's state may be what the decoder's begins with. The gates of an LSTM bound the next one; a GRU
        # keeps a share of it.
        self._starts_bounded = _starts_bounded(model)
        self._bounded = _is_bounded(stack) and (stack.mode != "GRU" or self._starts_bounded)
        bounded_state = _is_bounded(stack) and self._starts_bounded
        self.cells = [
            Cell(stack, f"l{i}", build, bounded_input=i > 0 and self._bounded, bounded_state=bounded_state)
            for i in range(stack.num_layers)
        ]
        self.num_states = 2 if stack.mode == "LSTM" else 1
        self.inputs = [None, *(cell.inputs() for cell in self.cells[1:])]
        with torch.no_grad():
            self._prepare_first(build)
            self._prepare_output(build)
        self.encoder = Int8Encoder(model.encoder, build) if int8 and _knows_encoder(model.encoder) else None

    def _prepare_first(self, build: Build) -> None:
        """The first layer's inputs, as a table for all tokens if it is not too large."""
        embedding, first = self.model.decoder.embedding.weight.detach(), self.cells[0]
        own, peeked = first.weight.split([embedding.shape[1], first.weight.shape[1] - embedding.shape[1]], 1)
        self.peek = Linear(peeked) if self.model.decoder.peek_input else None
        self.table = self.lookup = None
        if embedding.shape[0] * own.shape[0] * embedding.element_size() <= TABLE_BYTES:
            self.table = F.linear(embedding, own, first.bias)
        else:
            self.embedding, self.lookup = embedding, build(own, first.bias, bounded=False)

    def _prepare_output(self, build: Build) -> None:
        decoder = self.model.decoder
        bounded = self._bounded or decoder.attention is not None  # attention ends with a tanh
        bounded &= self._starts_bounded or not decoder.peek_output  # the summary is what the state begins with
        self.key = self.attend = self.narrow = None
        if decoder.attention is not None:
            remembered = _knows_encoder(self.model.encoder) and _is_bounded(self.model.encoder.rnn)
            if decoder.attention.kind != "dot":
                self.key = build(decoder.attention.key.weight.detach(), None, bounded=remembered)
            self.attend = build(decoder.attend.weight.detach(), None, bounded=remembered and self._bounded)
        if isinstance(decoder.narrow, nn.Linear):
            self.narrow = build(decoder.narrow.weight.detach(), None, bounded=bounded)
        self.output = build(
            decoder.output.weight.detach(), decoder.output.bias.detach(), bounded=bounded and self.narrow is None
        )

    @torch.no_grad()
    def start(
        self, src: Tensor, src_lengths: Tensor, *, columns: Columns | None = None, normalise: bool = True
    ) -> tuple[Callable[[Tensor, InferenceState], tuple[Tensor, InferenceState]], InferenceState]:
        """A step function for a search and the state that it starts from.

        Args:
            src, src_lengths: as for `Seq2Seq.encode`.
            columns: what to choose from; log-probabilities are then of these alone, in their order, and so are tokens.
            normalise: whether the log-probabilities are wanted; else they may lack a constant for each row, which a
                choice of the highest does not need.
        """
        state = self._encode(src, src_lengths)
        if columns is not None:
            barred = torch.zeros(columns.allowed.shape).masked_fill_(~columns.allowed, -math.inf)
            state = state._replace(source=state.source._replace(barred=barred))
        output = self.output if columns is None else self.output.outputs(columns.tokens)

        def step(last: Tensor, state: InferenceState) -> tuple[Tensor, InferenceState]:
            seen, state = self._features(last if columns is None else columns.tokens[last], state)
            logits = output(seen)
            if state.source.barred is not None:
                logits += state.source.barred[state.sentence]
            return logits.log_softmax(-1) if normalise else logits, state

        return step, state

    def _encode(self, src: Tensor, src_lengths: Tensor) -> InferenceState:
        model = self.model
        encoded = model.encoder(src, src_lengths) if self.encoder is None else self.encoder(src, src_lengths)
        hidden, attention, source = model.bridge(encoded.final), model.decoder.attention, Source()
        if attention is not None:
            if encoded.memory is None or encoded.mask is None:
                raise ValueError("a decoder with attention needs the encoder's outputs; got none.")
            memory = encoded.memory
            keys = memory if self.key is None else self.key(memory.flatten(0, 1)).unflatten(0, memory.shape[:2])
            source = Source(memory, encoded.mask, keys)
        summary = hidden[0][:, -1]
        return InferenceState(
            tuple(tuple(one[:, i].contiguous() for one in hidden) for i in range(len(self.cells))),
            source,
            torch.arange(len(src)),
            context=summary if model.decoder.peek_output else None,
            peek=None if self.peek is None else self.peek(summary.contiguous()),
        )

    def _features(self, last: Tensor, state: InferenceState) -> tuple[Tensor, InferenceState]:
        """What the output layer reads, and the next state."""
        if self.table is not None:
            gates = self.table.index_select(0, last)
        else:
            assert self.lookup is not None
            gates = self.lookup(self.embedding.index_select(0, last))
        if state.peek is not None:
            gates += state.peek
        hidden = [self.cells[0].step(gates, state.hidden[0])]
        for cell, inputs, before in zip(self.cells[1:], self.inputs[1:], state.hidden[1:], strict=True):
            assert inputs is not None
            hidden.append(cell.step(inputs(hidden[-1][0]), before))
        seen = hidden[-1][0]
        state = state._replace(hidden=tuple(hidden))
        if self.attend is not None:
            found, weights = self._look_back(seen, state)
            seen, state = self.attend(torch.cat([found, seen], 1)).tanh_(), state._replace(attention=weights)
        if state.context is not None:
            seen = torch.cat([seen, state.context], 1)
        return (seen if self.narrow is None else self.narrow(seen)), state

    def _look_back(self, outputs: Tensor, state: InferenceState) -> tuple[Tensor, Tensor]:
        """What attention finds ``(batch, memory)`` and its weights ``(batch, src_length)``; rows of one sentence are
        queries to one memory.
        """
        attention, source = self.model.decoder.attention, state.source
        assert attention is not None
        assert source.memory is not None
        queries = outputs
        if state.places is not None:
            queries = outputs.new_zeros(len(source.memory) * state.width, outputs.shape[1])
            queries[state.places] = outputs
        queries = queries.view(len(source.memory), state.width, -1)
        found, weights = (one.flatten(0, 1) for one in attention(queries, source.keys, source.memory, source.mask))
        if state.places is not None:
            found, weights = found.index_select(0, state.places), weights.index_select(0, state.places)
        return found, weights


class Int8Encoder:
    """An `RNNEncoder` with 8-bit matrices, one step of the recurrence at a time."""

    def __init__(self, encoder: RNNEncoder, build: Build) -> None:
        stack = encoder.rnn
        assert isinstance(stack, KNOWN_STACKS)
        self.encoder = encoder
        self.directions = ("", "_reverse") if stack.bidirectional else ("",)
        bounded = _is_bounded(stack)
        self.layers = [
            [
                Cell(stack, f"l{i}{way}", build, bounded_input=i > 0 and bounded, bounded_state=bounded)
                for way in self.directions
            ]
            for i in range(stack.num_layers)
        ]
        self.inputs = [[cell.inputs() for cell in cells] for cells in self.layers]
        self.num_states = 2 if stack.mode == "LSTM" else 1

    def __call__(self, src: Tensor, src_lengths: Tensor) -> Encoded:
        encoder = self.encoder
        turned = src_lengths - 1 if encoder.end_symbol else src_lengths
        tokens = reverse_padded(src, turned) if encoder.reverse else src
        packed = pack_padded_sequence(tokens.unsqueeze(2), src_lengths.cpu(), batch_first=True, enforce_sorted=False)
        data = encoder.embedding(packed.data.squeeze(1))  # (tokens, embedding): all first ones, all second ones, ...
        sizes = packed.batch_sizes.tolist()
        mirrored = _mirrored(packed.batch_sizes)
        finals: list[list[Tensor]] = []
        for cells, inputs in zip(self.layers, self.inputs, strict=True):
            outputs = []
            states = []
            for way, (cell, make) in enumerate(zip(cells, inputs, strict=True)):
                read, state = self._run(cell, make(data[mirrored] if way else data), sizes)
                outputs.append(read[mirrored] if way else read)
                states.append(state)
            data = torch.cat(outputs, 1)
            finals.append([torch.cat(parts, 1) for parts in zip(*states, strict=True)])
        order = packed.unsorted_indices
        assert order is not None
        final = tuple(torch.stack(parts, 1)[order] for parts in zip(*finals, strict=True))
        if not encoder.keep_memory:
            return Encoded(final)
        memory = data.new_zeros(src.shape[1], len(src), data.shape[1])
        steps = torch.arange(len(sizes)).repeat_interleave(packed.batch_sizes)
        memory[steps, _ranks(packed.batch_sizes)] = data
        memory = memory.transpose(0, 1)[order]
        if encoder.reverse:
            memory = reverse_padded(memory, turned)
        return Encoded(final, memory, length_mask(src_lengths, src.shape[1]))

    def _run(self, cell: Cell, gates: Tensor, sizes: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs at all positions and each row's last state; ``sizes`` are how many rows reach each position."""
        state = tuple(gates.new_zeros(sizes[0], cell.size) for _ in range(self.num_states))
        outputs = []
        for size, part in zip(sizes, gates.split(list(sizes)), strict=True):
            new = cell.step(part, [one[:size] for one in state])
            outputs.append(new[0])
            if size == sizes[0]:
                state = new
            else:  # the rows that have ended keep what they have
                state = tuple(torch.cat([one, before[size:]]) for one, before in zip(new, state, strict=True))
        return torch.cat(outputs), state


def _ranks(sizes: Tensor) -> Tensor:
    """The row that each packed vector is of."""
    starts = sizes.cumsum(0) - sizes
    return torch.arange(int(sizes.sum())) - starts.repeat_interleave(sizes)


def _mirrored(sizes: Tensor) -> Tensor:
    """For each packed vector, where the one is that takes its place when every row is read backwards."""
    ranks = _ranks(sizes)
    steps = torch.arange(len(sizes)).repeat_interleave(sizes)
    lengths = torch.bincount(ranks)
    starts = sizes.cumsum(0) - sizes
    return starts[lengths[ranks] - 1 - steps] + ranks


def is_known(model: Seq2Seq) -> bool:
    """Whether a network has an inference form: it is in float32 on a CPU, and there is nothing in its decoder that this
    module does not know.
    """
    decoder = model.decoder
    parts = {name for name, _ in decoder.named_children()} - IDLE
    plain = all(one.device.type == "cpu" and one.dtype == torch.float32 for one in model.parameters())
    return plain and type(decoder) is RNNDecoder and isinstance(decoder.rnn, KNOWN_STACKS) and parts <= KNOWN_DECODER


def _knows_encoder(encoder: object) -> TypeGuard[RNNEncoder]:
    if type(encoder) is not RNNEncoder or not isinstance(encoder.rnn, KNOWN_STACKS):
        return False
    return {name for name, _ in encoder.named_children()} - IDLE <= KNOWN_ENCODER


def _is_bounded(stack: nn.Module) -> bool:
    """Whether a stack's outputs are all in [-1, 1]."""
    return stack.mode != "RNN_RELU"


def _starts_bounded(model: Seq2Seq) -> bool:
    """Whether the states that the decoder begins with are all in [-1, 1], an LSTM's c aside."""
    if model.bridge.kind in ("dense", "zero"):  # which end with a tanh, and are nothing
        return True
    encoder = model.encoder
    if type(encoder) is not RNNEncoder:
        return False
    return all(_is_bounded(part) for part in encoder.modules() if isinstance(part, nn.RNNBase))


def _build_float(weight: Tensor, bias: Tensor | None, *, bounded: bool) -> Linear:
    return Linear(weight, bias)


def _build_int8(weight: Tensor, bias: Tensor | None, *, bounded: bool) -> Int8Linear:
    return Int8Linear(weight, bias, bounded=bounded)


def require_int8() -> None:
    """See that there are products of 8-bit matrices.

    Raises:
        UserError: if this build of torch, or this processor, has none.
    """
    if not has_int8():
        raise UserError(
            "decode.int8 (--int8) needs oneDNN's 8-bit products and a processor with VNNI; torch "
            f"{torch.__version__} finds them not here. Leave it out (--no-int8)."
        )


def has_int8() -> bool:
    """Whether there are products of 8-bit matrices, and right ones: those of a processor without VNNI add up in 16
    bits, which do not hold them.
    """
    signs = torch.ones(64, 64).triu() * 2 - 1
    try:
        product = Int8Linear(signs, bounded=True)(signs)
    except (RuntimeError, AttributeError):
        return False
    return torch.allclose(product, signs @ signs.t(), atol=1e-3)
