"""A network taken apart for the export, or refused by name."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import torch

from seq2seq.config.choices import ATTENTIONS, BRIDGES
from seq2seq.errors import UserError
from seq2seq.models.attention import Attention
from seq2seq.models.bridge import Bridge
from seq2seq.models.cells.base import Stack
from seq2seq.models.decoder import RNNDecoder, StepParts
from seq2seq.models.encoders.base import EncoderParts
from seq2seq.models.encoders.recurrent import RNNEncoder
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.models.seq2seq import Seq2Seq

Network = Seq2Seq | RNNLanguageModel


class NetworkParts(NamedTuple):
    """All that the graphs are written from."""

    step: StepParts
    num_states: int  # tensors in a state: (h,) or (h, c)
    width: int  # of each layer's state
    encoder: EncoderParts | None = None  # None for a language model
    bridge: Bridge | None = None
    memory_size: int = 0  # width of the encoder's outputs


def take_apart(network: Network) -> NetworkParts:
    """Take a network apart.

    Raises:
        UserError: for a network with a part that has no form in ONNX; it names the part.
    """
    if any(one.dtype != torch.float32 for one in network.parameters()):
        raise _refusal("weights that are not in float32", "convert it with .float()")
    decoder = network.decoder
    if type(decoder) is not RNNDecoder:
        raise _refusal(f"the decoder {type(decoder).__name__}")
    step = _step_parts(decoder)
    if type(decoder.attention) not in (type(None), Attention) or (
        decoder.attention is not None and decoder.attention.kind not in ATTENTIONS
    ):
        raise _refusal(f"the attention {getattr(decoder.attention, 'kind', type(decoder.attention).__name__)}")
    own = NetworkParts(step, decoder.num_states, decoder.hidden_size)
    return own if isinstance(network, RNNLanguageModel) else _with_encoder(own, network)


def _with_encoder(own: NetworkParts, network: Seq2Seq) -> NetworkParts:
    encoder, bridge = network.encoder, network.bridge
    if type(encoder) is not RNNEncoder:
        raise _refusal(f"the encoder {type(encoder).__name__}")
    parts = encoder.parts()
    if parts is None or any(cell.onnx is None for ways in parts.layers for cell in ways):
        raise _refusal(f"the cell {_name(encoder.rnn)} in the encoder")
    if type(bridge) is not Bridge or bridge.kind not in BRIDGES:
        raise _refusal(f"the bridge {getattr(bridge, 'kind', type(bridge).__name__)}")
    return own._replace(encoder=parts, bridge=bridge, memory_size=encoder.memory_size)


def _step_parts(decoder: RNNDecoder) -> StepParts:
    with suppress(NotImplementedError):
        parts = decoder.step_parts()
        if all(cell.onnx is not None for cell in parts.cells):
            return parts
    raise _refusal(f"the cell {_name(decoder.rnn)} in the decoder")


def _name(stack: Stack) -> str:
    return stack.describe()[0]


def _refusal(part: str, remedy: str = "use a network without it") -> UserError:
    return UserError(f"{part} cannot be exported, since it has no form in ONNX; {remedy}.")
