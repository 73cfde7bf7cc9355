"""The graphs compute what the network in torch computes, and a sentence's numbers do not depend on its neighbours."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seq2seq.config.choices import ATTENTIONS, BRIDGES, CELLS, PEEKY, TIES
from seq2seq.config.schema import ModelConfig, StackConfig
from seq2seq.errors import UserError
from seq2seq.export.form import session
from seq2seq.export.graph import FLOAT, Graph
from seq2seq.export.int8 import Int8Products, rounded
from seq2seq.export.network import ENCODER, STEP, graphs
from seq2seq.models.build import build_language_model
from seq2seq.models.decoder import DecoderState, RNNDecoder
from seq2seq.models.seq2seq import Seq2Seq
from tests.conftest import tiny_model

VOCAB = 12
PER_SENTENCE = ("memory", "keys", "mask")
ROWS = [0, 2, 0, 0, 1, 3]  # the sentence of each row of a step
PLACES = [[0, 2, 3], [4, 0, 0], [1, 0, 0], [5, 0, 0]]  # the same as a grid; 0 also where there is no row
PLACE_OF_ROW = [0, 6, 1, 2, 3, 9]
LAST = [4, 5, 2, 7, 3, 1]
SENTENCES = [[4, 5, 6, 3], [3], [7, 8, 9, 10, 4, 5, 11, 3], [6, 3]]


def configs() -> st.SearchStrategy[dict[str, Any]]:
    """Options of a network, those that go together."""
    free = {
        "cell": st.sampled_from(CELLS),
        "num_layers": st.integers(1, 3),
        "bidirectional": st.booleans(),
        "reverse": st.booleans(),
        "peeky": st.sampled_from(PEEKY),
        "bridge": st.sampled_from(BRIDGES),
        "attention": st.sampled_from(ATTENTIONS),
        "tie": st.sampled_from(TIES),
        "residual": st.booleans(),
        "layer_norm": st.booleans(),
        "fixed_length": st.sampled_from((0, 4)),
        "encoder": st.sampled_from(({}, {"hidden_size": 3}, {"num_layers": 2})),
    }
    return st.fixed_dictionaries(free).filter(is_allowed)


def is_allowed(options: dict[str, Any]) -> bool:
    try:
        ModelConfig(**{"hidden_size": 6, "embedding_size": 5, **with_stack(options)})
    except UserError:
        return False
    return True


def with_stack(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "encoder": StackConfig(**options.get("encoder", {}))}


def network_of(options: dict[str, Any], seed: int) -> Seq2Seq:
    """A network whose state is not chaotic: three layers of larger weights make 1e-4 of the last bits."""
    network = tiny_model(seed, VOCAB, **with_stack(options))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.5)
    return network


class Exported(NamedTuple):
    """A network's graphs, loaded."""

    encoder: Any
    step: Any

    @classmethod
    def of(cls, network: Seq2Seq, *, int8: bool = False) -> Exported:
        files = graphs(network, int8=int8)
        return cls(session(files[ENCODER]), session(files[STEP]))

    def encode(self, sentences: list[list[int]], padding: int = 0) -> dict[str, np.ndarray]:
        longest = max(map(len, sentences)) + padding
        src = np.array([row + [0] * (longest - len(row)) for row in sentences])
        return run(self.encoder, {"src": src, "lengths": np.array([len(row) for row in sentences])})

    def take_step(
        self,
        encoded: dict[str, np.ndarray],
        last: list[int],
        sentence_of_row: list[int],
        places: list[list[int]],
        place_of_row: list[int],
    ) -> dict[str, np.ndarray]:
        feeds = {name: value if name in PER_SENTENCE else value[sentence_of_row] for name, value in encoded.items()}
        if "memory" in encoded:
            feeds |= {"places": np.array(places), "rows": np.array(place_of_row)}
        return run(self.step, {**feeds, "last": np.array(last)})


def run(loaded: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [one.name for one in loaded.get_outputs()]
    return dict(zip(names, loaded.run(names, feeds), strict=True))


def in_torch(network: Seq2Seq, sentences: list[list[int]]) -> DecoderState:
    longest = max(map(len, sentences))
    src = torch.tensor([row + [0] * (longest - len(row)) for row in sentences])
    with torch.no_grad():
        return network.encode(src, torch.tensor([len(row) for row in sentences]))


def assert_same_state(found: dict[str, np.ndarray], state: DecoderState, prefix: str = "") -> None:
    for number, layers in enumerate(state.hidden):
        for layer in range(layers.shape[1]):
            close(found[f"{prefix}state_{number}_layer_{layer}"], layers[:, layer])


def close(found: np.ndarray, expected: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(found, np.asarray(expected), atol=tolerance, rtol=tolerance)


@given(options=configs(), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_the_graphs_equal_the_network(options: dict[str, Any], seed: int) -> None:
    network = network_of(options, seed)
    exported, state = Exported.of(network), in_torch(network, SENTENCES)
    encoded = exported.encode(SENTENCES)
    assert_same_state(encoded, state)
    if options["attention"] != "none":
        assert state.memory is not None and state.keys is not None and state.mask is not None
        real = state.mask.numpy()
        np.testing.assert_array_equal(encoded["mask"], real)
        close(encoded["memory"][real], state.memory[state.mask])
        close(encoded["keys"][real], state.keys[state.mask])
    if network.decoder.peek_output:
        close(encoded["context"], state.context)
    with torch.no_grad():
        log_probs, after = network.decoder.step(torch.tensor(LAST), state.select(torch.tensor(ROWS)))
    found = exported.take_step(encoded, LAST, ROWS, PLACES, PLACE_OF_ROW)
    close(found["log_probs"], log_probs)
    close(found["logits"] - np.log(np.exp(found["logits"]).sum(1, keepdims=True)), log_probs)
    assert_same_state(found, after, "next_")
    if options["attention"] != "none":
        close(found["attention"], after.attention)


@given(options=configs(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("int8", [False, True])
def test_a_sentence_does_not_depend_on_its_neighbours(int8: bool, options: dict[str, Any], seed: int) -> None:
    """In 8 bits all numbers are the same bit for bit, and in float32 but for the last bits.

    Attention has sums of floating-point numbers in 8 bits too, in an order that the padding decides. So its last bits
    may move an input of the output layer by a step, which is 1 / 63; states are not concerned.
    """
    network = network_of(options, seed)
    exported = Exported.of(network, int8=int8)
    together = exported.encode(SENTENCES, padding=3)
    found = exported.take_step(together, LAST, ROWS, PLACES, PLACE_OF_ROW)
    attends, exact = options["attention"] != "none", 0.0 if int8 else 1e-5
    for row, sentence in enumerate(ROWS):
        alone = exported.encode([SENTENCES[sentence]])
        for name, value in alone.items():
            own = together[name][sentence]
            close(own[: value.shape[1]] if name in PER_SENTENCE else own, value[0], exact)
        step = exported.take_step(alone, [LAST[row]], [0], [[0]], [0])
        for name, value in step.items():
            if name.startswith("next_"):
                close(found[name][row], value[0], exact)
        close(found["log_probs"][row], step["log_probs"][0], 0.1 if attends and int8 else exact)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_that_only_offers_its_step_is_exported_too(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cell does that ONNX has no operator for."""
    module = importlib.import_module(f"seq2seq.models.cells.{cell}")
    monkeypatch.setattr(module, "ONNX", module.ONNX._replace(operator=None))
    network = network_of({"cell": cell, "num_layers": 2, "bidirectional": True, "attention": "general"}, 0)
    files = graphs(network)
    assert {node.op_type for node in onnx.load_from_string(files[ENCODER]).graph.node} & {"Scan", "LSTM"} == {"Scan"}
    encoded, state = (
        Exported(session(files[ENCODER]), session(files[STEP])).encode(SENTENCES),
        in_torch(network, SENTENCES),
    )
    assert_same_state(encoded, state)
    assert state.memory is not None and state.mask is not None
    close(encoded["memory"][state.mask.numpy()], state.memory[state.mask])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tie", [False, True])
def test_a_language_model_is_a_step(cell: str, tie: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(cell=cell, hidden_size=6, embedding_size=5, num_layers=2, tie="decoder" if tie else "none")
    network = build_language_model(config, VOCAB).eval()
    files = graphs(network)
    assert list(files) == [STEP]
    loaded, state = session(files[STEP]), network.zero_state(3)
    feeds = {one.name: np.zeros((3, 6), np.float32) for one in loaded.get_inputs() if one.name != "last"}
    for last in ([2, 2, 2], [4, 5, 6], [7, 3, 11]):
        found = run(loaded, {**feeds, "last": np.array(last)})
        with torch.no_grad():
            log_probs, state = network.step(torch.tensor(last), state)
        close(found["log_probs"], log_probs)
        feeds = {name: found[f"next_{name}"] for name in feeds}


@given(
    weight=st.lists(st.lists(st.integers(-127, 127), min_size=64, max_size=64), min_size=1, max_size=9),
    sign=st.sampled_from((-1.0, 1.0)),
    rows=st.integers(1, 40),
    fine=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_products_of_8_bits_are_exact(weight: list[list[int]], sign: float, rows: int, fine: bool) -> None:
    """The largest inputs and weights there are, where 16 bits could overflow, against NumPy's integers."""
    matrix = np.array(weight, np.float32)
    matrix[:, 0] = 127  # so that each row's scale is 1
    draws = np.random.default_rng(rows).choice([-1.0, 1.0, 1 / 63, 0.0], (rows, 64)).astype(np.float32)
    draws[:, 1::2] += fine * np.float32(1 / 128)  # half of a coarse step: the rest is as large as it can be
    draws = draws.clip(-1, 1)
    draws[0] = sign
    draws[:, 0] = 1.0  # and each input's
    graph = Graph("product")
    product = Int8Products(graph).linear(torch.from_numpy(matrix), None, name="w", fine=fine)
    graph.output("y", product(graph.input("x", FLOAT, "rows", 64)), FLOAT, "rows", len(matrix))
    (found,) = session(graph.model()).run(["y"], {"x": draws})
    steps = 2 * 63 * 63 if fine else 63
    expected = np.rint(draws * steps).astype(np.int64) @ matrix.astype(np.int64).T / steps
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-4)


def test_weights_are_rounded_to_the_nearest_step_of_each_output() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 7) * torch.tensor([[1.0], [100.0], [1e-3], [1.0], [0.0]])
    whole, scale = rounded(weight)
    assert whole.dtype == np.int8 and np.abs(whole[:4]).max(1).tolist() == [127] * 4 and not whole[4].any()
    assert (np.abs(whole * scale[:, None] - weight.numpy()) <= scale[:, None] * 0.5001).all()


@pytest.mark.parametrize("int8", [False, True])
def test_nothing_in_a_graph_can_run_forever_or_reach_out(int8: bool) -> None:
    """No nested loops, no functions, no operators but ONNX's and onnxruntime's own, no weights outside the file."""
    network = tiny_model(attention="general", bidirectional=True, tie="decoder", peeky="both")
    for content in graphs(network, int8=int8).values():
        model = onnx.load_from_string(content)
        nodes = list(model.graph.node)
        bodies = [one.g for node in nodes for one in node.attribute if one.HasField("g")]
        assert all(node.op_type == "Scan" for node in nodes if any(one.HasField("g") for one in node.attribute))
        inner = [node for body in bodies for node in body.node]
        assert not any(one.HasField("g") for node in inner for one in node.attribute)
        assert {node.domain for node in (*nodes, *inner)} <= {"", "com.microsoft"}
        assert not model.functions and not any(one.external_data for one in model.graph.initializer)


def test_tied_weights_are_stored_once_and_8_bits_take_a_quarter() -> None:
    sizes = {
        (tie, int8): len(graphs(tiny_model(0, 500, embedding_size=32, hidden_size=32, tie=tie), int8=int8)[STEP])
        for tie in ("none", "decoder")
        for int8 in (False, True)
    }
    assert sizes["none", False] - sizes["decoder", False] > 0.9 * 500 * 32 * 4
    assert sizes["none", True] - sizes["decoder", True] > 0.9 * 500 * 32
    assert sizes["none", True] < 0.4 * sizes["none", False]


def test_equal_networks_give_equal_bytes() -> None:
    assert graphs(tiny_model(3), int8=True) == graphs(tiny_model(3), int8=True)


class OwnDecoder(RNNDecoder):
    """It may compute anything."""


def strange_decoder(network: Seq2Seq) -> None:
    network.decoder.__class__ = OwnDecoder


def strange_encoder(network: Seq2Seq) -> None:
    class OwnEncoder(type(network.encoder)):  # type: ignore[misc]
        pass

    network.encoder.__class__ = OwnEncoder


def cell_without_steps(side: str) -> Any:
    def make(network: Seq2Seq) -> None:
        def refuse() -> Any:
            raise NotImplementedError

        getattr(network, side).rnn.step_weights = refuse

    return make


def cell_without_onnx(side: str) -> Any:
    def make(network: Seq2Seq) -> None:
        stack = getattr(network, side).rnn
        known = stack.step_weights()
        stack.step_weights = lambda: [[one._replace(onnx=None) for one in ways] for ways in known]

    return make


@pytest.mark.parametrize(
    "make, name",
    [
        (strange_decoder, "the decoder OwnDecoder"),
        (strange_encoder, "the encoder OwnEncoder"),
        (cell_without_steps("decoder"), "the cell lstm in the decoder"),
        (cell_without_steps("encoder"), "the cell lstm in the encoder"),
        (cell_without_onnx("decoder"), "the cell lstm in the decoder"),
        (cell_without_onnx("encoder"), "the cell lstm in the encoder"),
        (lambda network: setattr(network.bridge, "kind", "winding"), "the bridge winding"),
        (lambda network: setattr(network.decoder.attention, "kind", "hard"), "the attention hard"),
        (nn.Module.double, "weights that are not in float32"),
    ],
)
def test_what_has_no_graph_is_refused_by_name(make: Any, name: str) -> None:
    network = tiny_model(attention="general", cell="lstm")
    make(network)
    with pytest.raises(UserError, match=f"^{name} cannot be exported, .*; .*\\.$"):
        graphs(network)
