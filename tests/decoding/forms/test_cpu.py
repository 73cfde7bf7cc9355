"""The form in which a CPU decodes is the network: the same log-probabilities, attention and texts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from seq2seq.config.choices import ATTENTIONS, CELLS, PEEKY
from seq2seq.config.schema import DecodeConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.decoding.engine import Engine
from seq2seq.decoding.forms import cpu
from seq2seq.decoding.forms.cpu import CpuForm, is_known
from seq2seq.decoding.forms.products import FloatLinear, Int8Linear, has_int8, rounded
from seq2seq.decoding.forms.state import Columns
from seq2seq.decoding.greedy import greedy
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.decoding.step import _highest
from seq2seq.errors import UserError
from seq2seq.models.bridge import Bridge
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import BOS, EOS
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.translate.translator import Translator
from tests.conftest import LINES, tiny_model

needs_int8 = pytest.mark.skipif(not has_int8(), reason="this machine has no 8-bit products")
VOCAB = 12
LENGTHS = [3, 7, 1, 5, 5]
GRID = [
    {
        "cell": cell,
        "bidirectional": bidirectional,
        "reverse": reverse,
        "peeky": peeky,
        "attention": attention,
        "tie": tie,
        "num_layers": layers,
    }
    for cell, bidirectional, reverse, peeky, attention, tie, layers in itertools.product(
        CELLS,
        [False, True],
        [False, True],
        PEEKY,
        ATTENTIONS,
        ["none", "decoder"],
        [1, 2],
    )
    if not (attention == "dot" and bidirectional)
]


def sources() -> tuple[Tensor, Tensor]:
    """Five sources of several lengths, padded."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randint(4, VOCAB, (len(LENGTHS), max(LENGTHS)), generator=generator)
    return rows * (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)), torch.tensor(LENGTHS)


@torch.no_grad()
def assert_alike(model: Seq2Seq, form: CpuForm, tolerance: float) -> None:
    """Steps as a beam takes them: rows of a sentence are doubled, change places, and leave; so do sentences."""
    src, lengths = sources()
    state = model.encode(src, lengths)
    step, mine = form.start(src, lengths)
    last = torch.full((len(src),), BOS)
    for rows in ([0, 0, 1, 4, 3, 4], [5, 1, 1, 0], [3, 2, 0], [0], [0, 0], [0, 1]):
        wanted, state = model.decoder.step(last, state)
        got, mine = step(last, mine)
        torch.testing.assert_close(got, wanted, atol=tolerance, rtol=tolerance)
        for name in ("attention", "mask"):
            assert (getattr(mine, name) is None) == (getattr(state, name) is None)
            if getattr(state, name) is not None:
                torch.testing.assert_close(getattr(mine, name), getattr(state, name), atol=tolerance, rtol=tolerance)
        last = wanted.argmax(-1)[rows]
        state, mine = state.select(torch.tensor(rows)), mine.select(torch.tensor(rows))


def test_every_network_has_the_steps_of_its_cpu_form() -> None:
    for options in GRID[::13]:
        model = tiny_model(1, VOCAB, **options)
        assert is_known(model)
        assert_alike(model, CpuForm(model), 2e-5)


@pytest.mark.usefixtures("relu_cell")
def test_a_relu_stack_and_one_too_wide_for_a_table_are_alike_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "TABLE_BYTES", 0)
    for options in ({"cell": "lstm"}, {"cell": "gru", "peeky": "both"}, {"cell": "relu"}):
        model = tiny_model(1, VOCAB, attention="general", **options)
        assert_alike(model, CpuForm(model), 2e-5)


def of_whole_numbers(model: Seq2Seq) -> Seq2Seq:
    """The network with matrices that 8 bits hold exactly: whole numbers with a 127 in each row, times a scale."""
    with torch.no_grad():
        for module in model.modules():
            named = dict(module.named_parameters(recurse=False))
            if isinstance(module, (nn.RNNBase, nn.Linear)):
                for name, weight in named.items():
                    if "weight" in name and weight is not model.decoder.embedding.weight:
                        scale = weight.abs().amax(1, keepdim=True) / 127
                        weight.copy_((weight / scale).round() * scale)
    return model


@needs_int8
@pytest.mark.parametrize("table_bytes", [0, 1 << 20])
def test_int8_is_the_network_of_the_rounded_weights(monkeypatch: pytest.MonkeyPatch, table_bytes: int) -> None:
    """The first layer's input part is not rounded where there is a table, and is where there is none."""
    monkeypatch.setattr(cpu, "TABLE_BYTES", table_bytes)
    for options in GRID[:: 59 if table_bytes else 71]:
        model = of_whole_numbers(tiny_model(1, VOCAB, **{**options, "tie": "none"}))
        if options["peeky"] in ("input", "both") and not table_bytes:
            continue  # whose two parts of the first matrix have scales of their own
        assert_alike(model, CpuForm(model, int8=True), 5e-3)


@needs_int8
@pytest.mark.usefixtures("relu_cell")
def test_int8_takes_stacks_that_are_not_bounded() -> None:
    for options in ({"attention": "general"}, {"peeky": "output"}, {"tie": "decoder", "bidirectional": True}):
        model = of_whole_numbers(tiny_model(1, VOCAB, cell="relu", num_layers=2, **options))
        if options.get("tie"):
            model.decoder.output.weight = nn.Parameter(model.decoder.output.weight.detach().clone())
            of_whole_numbers(model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.5)  # whose states else grow
        assert_alike(model, CpuForm(model, int8=True), 5e-3)


@needs_int8
@pytest.mark.usefixtures("relu_cell")
@pytest.mark.parametrize("cell", ["lstm", "gru", "relu"])
@pytest.mark.parametrize("options", [{}, {"peeky": "both"}, {"attention": "general"}, {"num_layers": 2}], ids=str)
def test_int8_takes_a_decoder_that_begins_with_what_is_not_bounded(cell: str, options: dict[str, Any]) -> None:
    """The book's bridge, from an encoder of ReLU units, whose state here is far above 1."""
    encoder = tiny_model(1, VOCAB, cell="relu", **options).encoder
    decoder = tiny_model(1, VOCAB, cell=cell, **options).decoder
    model = Seq2Seq(encoder, Bridge("hidden_only", encoder, decoder), decoder).eval()
    with torch.no_grad():
        for name, weight in model.encoder.rnn.named_parameters():
            weight.mul_(0.3 if "weight_hh" in name else 2)
        for weight in model.decoder.rnn.parameters():
            weight.mul_(0.3)
    of_whole_numbers(model)
    first = model.bridge(model.encoder(*sources()).final)[0]
    assert first.max() > 3
    assert_alike(model, CpuForm(model, int8=True), 5e-3)


@needs_int8
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 30), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_product_of_8_bit_weights_and_16_bit_inputs(
    rows: int, inputs: int, outputs: int, bounded: bool, bias: bool
) -> None:
    generator = torch.Generator().manual_seed(rows)
    whole = torch.randint(-127, 128, (outputs, inputs), generator=generator)
    whole[:, 0] = 127
    weight = whole * 0.01
    x = (torch.rand(rows, inputs, generator=generator) * 2 - 1) * (1 if bounded else 50)
    x[0] = 0
    own = torch.rand(outputs, generator=generator) if bias else None
    layer = Int8Linear(weight, own, bounded=bounded)
    wanted = (x.double() @ weight.double().t()).float()
    largest = 1.0 if bounded else float(x.abs().max())
    tolerance = 1.3 * inputs * largest / 2 / (2 * 127 * 127) + 1e-4  # half a step of each input
    with_bias = wanted if own is None else wanted + own
    assert (layer(x) - with_bias).abs().max() <= tolerance
    onto = torch.rand(rows, outputs, generator=generator)
    assert (layer(x, onto.clone()) - onto - wanted).abs().max() <= tolerance
    some = torch.arange(0, outputs, 2)
    assert (layer.outputs(some)(x) - with_bias[:, some]).abs().max() <= tolerance
    exact = FloatLinear(weight, own)
    torch.testing.assert_close(exact.outputs(some)(x), with_bias[:, some], atol=1e-3, rtol=1e-4)


@needs_int8
def test_a_product_does_not_depend_on_the_rows_beside() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(40, 33, generator=generator), torch.randn(90, 33, generator=generator)
    x[5] *= 1000  # a neighbour's scale is its own
    layer = Int8Linear(weight, None, bounded=False)
    together = layer(x)
    for rows in ([4], [6, 7, 8], list(range(6, 60))):
        torch.testing.assert_close(layer(x[rows]), together[rows], atol=1e-5, rtol=1e-6)


def test_products_are_made_in_few_sizes() -> None:
    sizes = {rounded(rows) for rows in range(1, 1025)}
    assert len(sizes) < 32
    assert all(rows <= rounded(rows) <= max(8, 1.25 * rows) for rows in range(1, 1025))


def test_the_likeliest_of_a_large_vocabulary_are_those_of_a_sort() -> None:
    generator = torch.Generator().manual_seed(0)
    for size, count in ((5000, 6), (64 * 24, 6), (64 * 24 + 1, 6), (300, 6), (40, 40)):
        scores = torch.randint(0, size // 2, (20, size), generator=generator).float()
        values, places = _highest(scores, count)
        torch.testing.assert_close(values, scores.sort(dim=1, descending=True).values[:, :count])
        torch.testing.assert_close(scores.gather(1, places), values)
        assert all(len(set(row)) == count for row in places.tolist())


# --- Columns and shortlists


def columns() -> Columns:
    """All sources may end; the first may else say 4 and 5, the others 6 to 9."""
    tokens = torch.tensor([BOS, EOS, 4, 5, 6, 7, 8, 9])
    allowed = torch.zeros(len(LENGTHS), len(tokens), dtype=torch.bool)
    allowed[:, 1] = allowed[0, 2:4] = allowed[1:, 4:] = True
    return Columns(tokens, allowed)


@pytest.mark.parametrize("int8", [False, pytest.param(True, marks=needs_int8)])
@torch.no_grad()
def test_columns_hold_the_networks_own_shares_of_what_is_allowed(int8: bool) -> None:
    model = tiny_model(2, VOCAB, attention="general", peeky="both")
    src, lengths = sources()
    form, part = CpuForm(model, int8=int8), columns()
    step, state = form.start(src, lengths, columns=part)
    whole, other = form.start(src, lengths)
    last, sentences = torch.full((len(src),), BOS), torch.arange(len(src))
    for rows in (torch.tensor([1, 0, 0, 3]), torch.tensor([2, 0]), torch.tensor([0, 0])):
        got, state = step(torch.searchsorted(part.tokens, last), state)
        wanted, other = whole(last, other)
        wanted = wanted[:, part.tokens].masked_fill(~part.allowed[sentences], -torch.inf).log_softmax(-1)
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
        last, sentences = part.tokens[got.argmax(-1)[rows]], sentences[rows]
        state, other = state.select(rows), other.select(rows)


# --- Translators


def translator(seed: int = 0, **options: Any) -> Translator:
    tokenizer = Pieces(train(LINES, type="char", vocab_size=0))
    model = tiny_model(seed, vocab=len(tokenizer), **options)
    with torch.no_grad():
        model.decoder.output.bias[:3] -= 50
        model.decoder.output.bias[EOS] -= 3
    best = (torch.arange(len(tokenizer)).unsqueeze(1) * 3 + torch.tensor([0, 1, 5])) % len(tokenizer)
    best[5, 1:] = -1
    vocab = torch.tensor(len(tokenizer), dtype=torch.int32)
    shortlist = Shortlist(best.int(), torch.tensor([4, 6], dtype=torch.int32), vocab)
    return Translator(Engine([model], shortlist=shortlist), Tokenizers(tokenizer, tokenizer), DecodeConfig(max_extra=4))


SEARCHES = [{"search": "greedy"}, {"search": "beam", "beam_size": 4}, {"search": "sample", "temperature": 0.8}]
NETWORKS = [
    {"attention": "general", "bidirectional": True, "num_layers": 2},
    {"cell": "gru", "peeky": "both", "reverse": True},
    {"cell": "rnn", "attention": "additive", "tie": "decoder"},
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda one: str(one["search"]))
@pytest.mark.parametrize("members", [1, 2])
def test_texts_scores_and_attention_are_those_of_the_networks_own_step(
    monkeypatch: pytest.MonkeyPatch, search: dict[str, Any], members: int
) -> None:
    for options in NETWORKS:
        one = translator(**options)
        others = [translator(seed, **options).model for seed in range(1, members)]
        fast = Translator(Engine([one.model, *others]), one.tokenizers, DecodeConfig(max_extra=4, **search))
        got, texts = fast.n_best(LINES, 1, attention=True), fast.translate(LINES)
        with monkeypatch.context() as patched:
            patched.setattr("seq2seq.decoding.forms.available.why_not", lambda model: "it is a test")
            plain = Translator(Engine([one.model, *others]), one.tokenizers, fast.decode)
            wanted = plain.n_best(LINES, 1, attention=True)
        assert texts == [found[0].text for found in wanted]
        for (mine,), (other,) in zip(got, wanted, strict=True):
            assert mine.text == other.text
            assert mine.log_prob == pytest.approx(other.log_prob, abs=1e-4)
            assert (mine.attention is None) == (other.attention is None)
            if mine.attention is not None:
                torch.testing.assert_close(mine.attention, other.attention, atol=1e-4, rtol=1e-4)


@given(
    st.lists(st.text(st.sampled_from("adehst ing"), max_size=20), min_size=1, max_size=8),
    st.sampled_from(NETWORKS),
    st.sampled_from(SEARCHES),
    st.sampled_from([(True, False), (False, True), (True, True)] if has_int8() else [(False, True)]),
    st.integers(1, 120),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_neighbours_change_nothing_in_8_bits_or_with_a_shortlist(
    lines: list[str],
    options: dict[str, Any],
    search: dict[str, Any],
    how: tuple[bool, bool],
    batch_tokens: int,
    rng: Any,
) -> None:
    plain, decode = translator(**options), DecodeConfig(max_extra=4, int8=how[0], shortlist=how[1], **search)
    engine = Engine(plain.engine.models, shortlist=plain.engine.shortlist, trained=True)
    one = Translator(engine, plain.tokenizers, decode)
    alone = [one.n_best([line], 1)[0] for line in lines]
    order = list(range(len(lines)))
    rng.shuffle(order)
    one = one.with_options(batch_tokens=batch_tokens)
    for i, found in zip(order, one.n_best([lines[i] for i in order], 1), strict=True):
        assert [each.text for each in found] == [each.text for each in alone[i]]
        assert [each.log_prob for each in found] == pytest.approx([each.log_prob for each in alone[i]], abs=1e-3)


@pytest.mark.parametrize("how", [{"shortlist": True}, {"int8": True}, {"shortlist": True, "int8": True}], ids=str)
@pytest.mark.parametrize("members", [1, 2])
def test_a_given_translation_is_scored_as_the_search_scores_it(how: dict[str, bool], members: int) -> None:
    if how.get("int8") and not has_int8():
        pytest.skip("this machine has no right 8-bit products")
    one = translator(attention="general")
    others = [translator(seed).model for seed in range(1, members)]
    for model in (one.model, *others):
        model.decoder.output.bias.data[EOS] += 6  # so that outputs end
    decode = DecodeConfig(max_extra=4, search="beam", beam_size=3, **how)  # type: ignore[arg-type]
    one = Translator(Engine([one.model, *others], shortlist=one.engine.shortlist), one.tokenizers, decode)
    found = [each[0] for each in one.n_best(LINES, 1)]
    scored = one.score(LINES, [each.text for each in found])
    pairs = [(mine, other) for mine, other in zip(scored, found, strict=True) if mine.tgt_pieces == other.tgt_pieces]
    assert len(pairs) > 2  # the others were cut off at their greatest length, without </s>
    for mine, other in pairs:
        assert (mine.log_prob, mine.score) == pytest.approx((other.log_prob, other.score), abs=1e-4)


def test_outputs_keep_to_the_shortlist() -> None:
    one = translator(attention="general")
    shortlist = one.engine.shortlist
    assert shortlist is not None
    one = one.with_options(DecodeConfig(max_extra=4, shortlist=True, search="beam", beam_size=3))
    for line, found in zip(LINES, one.n_best(LINES, 3), strict=True):
        ids = one.tokenizers.src.encode([line])[0]
        own = {*shortlist.best[ids].flatten().tolist(), *shortlist.frequent.tolist(), 1, EOS}
        pieces = one.tokenizers.tgt.pieces(sorted(own - {-1}))
        assert all(set(each.tgt_pieces) <= set(pieces) for each in found)


def test_a_shortlist_of_everything_changes_nothing() -> None:
    one = translator(attention="general")
    before = one.n_best(LINES, 1)
    size = len(one.tokenizers.tgt)
    everything = torch.arange(size, dtype=torch.int32)
    none = torch.full((size, 1), -1, dtype=torch.int32)
    shortlist = Shortlist(none, everything, torch.tensor(size, dtype=torch.int32))
    one = Translator(Engine(one.engine.models, shortlist=shortlist), one.tokenizers, one.decode).with_options(
        shortlist=True
    )
    for mine, other in zip(one.n_best(LINES, 1), before, strict=True):
        assert mine[0].text == other[0].text
        assert mine[0].log_prob == pytest.approx(other[0].log_prob, abs=1e-4)  # but for <s>, which is improbable


def test_a_network_that_goes_on_training_is_looked_at_anew() -> None:
    one = translator()
    before = one.translate(LINES)
    with torch.no_grad():
        for parameter in one.model.parameters():
            parameter.data.copy_(parameter.roll(1, 0))  # through `data`, of which no counter tells
    assert one.translate(LINES) != before


def test_what_has_no_cpu_form_takes_its_own_step_and_cannot_be_asked_for_8_bits() -> None:
    double = translator()
    double.model.double()
    assert not is_known(double.model)
    assert double.translate(LINES) == translator().translate(LINES)
    for name in ("int8", "shortlist"):
        double = double.with_options(DecodeConfig(**{name: True}))
        with pytest.raises(UserError, match=rf"decode.{name} is for networks on the CPU, of torch's own"):
            double.translate(LINES)
    without = translator()
    without = Translator(Engine(without.engine.models), without.tokenizers, DecodeConfig(shortlist=True))
    with pytest.raises(UserError, match=r"decode.shortlist: this checkpoint has none; train with"):
        without.translate(LINES)


@pytest.mark.parametrize("products", [None, -1.0])
def test_a_machine_without_right_8_bit_products_is_named(
    monkeypatch: pytest.MonkeyPatch, products: float | None
) -> None:
    def product(layer: Int8Linear, x: Tensor, bias: Tensor | None) -> Tensor:
        if products is None:
            raise NotImplementedError  # of which torch makes a RuntimeError
        return torch.full((len(x), len(layer.scale)), products)

    monkeypatch.setattr(Int8Linear, "_product", product)
    with pytest.raises(UserError, match=r"decode.int8 needs oneDNN's 8-bit products and a processor with"):
        CpuForm(tiny_model(), int8=True)


def test_attention_without_a_memory_is_refused() -> None:
    model = tiny_model(attention="general")
    model.encoder.keep_memory = False  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="a decoder with attention needs the encoder's outputs; got none"):
        CpuForm(model).start(*sources())


def test_greedy_without_normalising_finds_the_same() -> None:
    form = CpuForm(tiny_model(3, VOCAB))
    found = []
    for normalise in (True, False):
        step, state = form.start(*sources(), normalise=normalise)
        found.append([one.tokens for one in greedy(step, state, bos=BOS, eos=EOS, max_lengths=[9] * len(LENGTHS))])
    assert found[0] == found[1]
