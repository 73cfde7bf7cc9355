"""Probes against finite differences, models built by hand, planted tasks and plain loops; the command as a user meets
it.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import random
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seq2seq.cli.probe import _draw
from seq2seq.config.choices import CELLS, PEEKY
from seq2seq.config.schema import DecodeConfig, ModelConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.batches import collate
from seq2seq.decoding.engine import Engine
from seq2seq.errors import UserError
from seq2seq.evaluation.probe import probe as measure
from seq2seq.models.build import build_seq2seq
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.results.probe import Probe
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.translate.translator import Translator
from tests.conftest import ROOT, Command, tiny_model

LETTERS = "abcdefgh"
TOKENIZER = Pieces(train([LETTERS], type="char", vocab_size=0))
TOKENIZERS = Tokenizers(TOKENIZER, TOKENIZER)
VOCAB = len(TOKENIZER)
PAIRS = [("abcd", "dcba"), ("hg", "ghg"), ("fedcba", "abc"), ("e", "ee"), ("gab", "b"), ("ccc", "abcdefgh")]
SOURCES, REFERENCES = [src for src, _ in PAIRS], [ref for _, ref in PAIRS]


def tiny(decode: DecodeConfig | None = None, **options: object) -> Translator:
    """Random weights in float64, so that what is compared differs by more than rounding."""
    return Translator(Engine([tiny_model(vocab=VOCAB, **options).double()]), TOKENIZERS, decode or DecodeConfig())


def probe(*arguments: Any, **options: Any) -> dict[str, Any]:
    """The measurements as ``probe.json`` would hold them."""
    return json.loads(json.dumps(measure(*arguments, **options).plain(), allow_nan=False))


def numbers(value: Any) -> list[float | None]:
    """All figures of a result, in order."""
    if isinstance(value, (dict, list)):
        return [number for one in (value.values() if isinstance(value, dict) else value) for number in numbers(one)]
    return [value]


def same(one: Any, other: Any) -> bool:
    """Equal in layout, and in figures to the digits that are kept."""
    close = zip(numbers(one), numbers(other), strict=True)
    return all(a == b if a is None or b is None else a == pytest.approx(b, rel=1e-5, abs=1e-5) for a, b in close)


def log_probs_of_reference(model: Seq2Seq, src: str, ref: str) -> Tensor:
    """(target length,), teacher-forced."""
    ids = TOKENIZER.encode([src, ref])
    batch = collate(ids[:1], ids[1:], [0], end_symbol=not model.fixed_length)
    log_probs = model(batch.src, batch.src_lengths, batch.tgt_in).log_softmax(-1)
    return log_probs[0].gather(-1, batch.tgt_out.T).squeeze(-1)


# Gradient reach


@torch.no_grad()
def norms_by_finite_differences(model: Seq2Seq, src: str, ref: str, steps: int) -> Tensor:
    """(steps, source length): a source token that occurs once is moved by moving its row of the embedding table."""
    table, step = model.encoder.embedding.weight, 1e-5
    tokens = TOKENIZER.encode([src])[0] + ([] if model.fixed_length else [3])
    assert len(set(tokens)) == len(tokens)
    gradient = torch.empty(steps, len(tokens), table.shape[1], dtype=torch.float64)
    for s, token in enumerate(tokens):
        for axis in range(table.shape[1]):
            table[token, axis] += step
            ahead = log_probs_of_reference(model, src, ref)[:steps]
            table[token, axis] -= 2 * step
            gradient[:, s, axis] = (ahead - log_probs_of_reference(model, src, ref)[:steps]) / (2 * step)
            table[token, axis] += step
    return gradient.norm(dim=-1)


REACH_OPTIONS: list[dict[str, object]] = [
    *(
        {"cell": cell, "bidirectional": bidirectional, "reverse": reverse}
        for cell in CELLS
        for bidirectional in (False, True)
        for reverse in (False, True)
    ),
    {"cell": "rnn", "num_layers": 2, "reverse": True},
    {"cell": "gru", "num_layers": 3, "bidirectional": True, "bridge": "dense"},
    *({"peeky": peeky, "reverse": True} for peeky in PEEKY),
    {"bridge": "hidden_only", "fixed_length": 4, "reverse": True, "peeky": "both"},
    {"fixed_length": 4, "bidirectional": True},
]


@pytest.mark.parametrize("options", REACH_OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_gradient_reach_equals_finite_differences_in_source_order(options: dict[str, object]) -> None:
    translator = tiny(**options)
    src, ref = "hbdfa", "badg"
    expected = norms_by_finite_differences(translator.model, src, ref, steps=3)
    for entry, norms in zip(probe(translator, [src], [ref])["gradient_reach"], expected, strict=True):
        assert entry["by_position"]["norm"] == pytest.approx(norms[:5].tolist(), rel=1e-4, abs=1e-8)
        assert entry["by_position"]["share"] == pytest.approx((norms / norms.sum())[:5].tolist(), rel=1e-4, abs=1e-8)
        end = None if translator.model.fixed_length else pytest.approx(norms[5].item(), rel=1e-4, abs=1e-8)
        assert entry["end_symbol"]["norm"] == end


def test_a_token_that_occurs_twice_has_a_gradient_at_each_place() -> None:
    translator = tiny()
    with torch.no_grad():
        translator.model.encoder.embedding.weight[4:] = translator.model.encoder.embedding.weight[4].clone()
    assert same(probe(translator, ["aaaa"], ["abc"]), probe(translator, ["dgba"], ["abc"]))


def test_tied_embeddings_are_followed_in_the_encoder_alone() -> None:
    """The same weights, once in two tables and once in one."""
    tied, apart = tiny(tie="all", embedding_size=6), tiny(tie="decoder", embedding_size=6)
    apart.model.load_state_dict(tied.model.state_dict())
    assert same(probe(tied, SOURCES, REFERENCES), probe(apart, SOURCES, REFERENCES))


@pytest.mark.parametrize("reverse", [False, True])
def test_distance_is_counted_from_reading_a_token_to_the_end_of_reading(reverse: bool) -> None:
    (entry,) = probe(tiny(reverse=reverse), ["abcd"], ["d"], steps=1)["gradient_reach"]
    in_order_of_distance = entry["by_position"]["norm"][:: 1 if reverse else -1]
    assert entry["by_distance"]["norm"] == [None, *in_order_of_distance]  # the end symbol is at 0, and left out
    assert entry["by_distance"]["log_norm"][1:] == pytest.approx([math.log(x) for x in in_order_of_distance], rel=1e-4)
    assert entry["by_distance"]["count"] == [0, 1, 1, 1, 1]


def test_with_two_directions_the_nearer_end_counts() -> None:
    (entry,) = probe(tiny(bidirectional=True), ["abc"], ["d"], steps=1)["gradient_reach"]
    first, second, third = entry["by_position"]["norm"]
    assert entry["by_distance"]["norm"] == pytest.approx([first, (second + third) / 2], rel=1e-5)
    assert entry["by_distance"]["count"] == [1, 2]


def test_means_are_over_the_sentences_that_have_the_position_and_the_step() -> None:
    translator = tiny(reverse=True)
    alone = [probe(translator, [src], [ref])["gradient_reach"] for src, ref in PAIRS]
    for t, together in enumerate(probe(translator, SOURCES, REFERENCES)["gradient_reach"]):
        having_step = [one[t] for one, ref in zip(alone, REFERENCES, strict=True) if len(ref) + 1 > t]
        for part, names in (("by_position", ("norm", "share")), ("by_distance", ("norm", "log_norm"))):
            for name in names:
                for i, mean in enumerate(together[part][name]):
                    values = [one[part][name][i] for one in having_step if i < len(one[part][name])]
                    assert together[part]["count"][i] == len([value for value in values if value is not None])
                    if mean is not None:
                        assert mean == pytest.approx(sum(values) / len(values), rel=1e-4)
    assert together["by_position"]["count"] == [5, 4, 3, 2, 1, 1]  # step 3, which ("gab", "b") has not


def test_a_decoder_that_gets_nothing_from_the_encoder_has_no_reach() -> None:
    translator = tiny(bridge="zero")
    for parameter in translator.model.parameters():
        parameter.requires_grad_(False)
    for entry in probe(translator, SOURCES, REFERENCES)["gradient_reach"]:
        assert set(entry["by_position"]["norm"]) == {0.0}
        assert set(entry["by_position"]["share"]) == {None}
        assert entry["by_position"]["count"][0] > 0
        assert entry["decay_per_step"] is None


@torch.no_grad()
def shift_register(length: int, *, first_in_first_out: bool, reverse: bool) -> Translator:
    """A network that copies by construction: its state is a row of boxes, each as wide as an embedding.

    The encoder puts what it reads into box 1 and moves the others up by one. The decoder reads one box: as a queue it
    goes on moving up and reads the last, as a stack it moves down and reads box 1.
    """
    box, num_boxes = 3, length + 2
    size = box * num_boxes
    model = build_seq2seq(
        ModelConfig(cell="rnn", hidden_size=size, embedding_size=box, reverse=reverse), VOCAB, VOCAB
    ).eval()
    up = torch.diag(torch.ones(size - box), -box)
    for rnn, shift in ((model.encoder.rnn, up), (model.decoder.rnn, up if first_in_first_out else up.T)):
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.weight_hh_l0.copy_(shift)
    model.encoder.rnn.weight_ih_l0[:box] = torch.eye(box)
    unread = slice(0, -box) if first_in_first_out else slice(box, None)
    model.decoder.output.weight[:, unread] = 0
    return Translator(Engine([model]), TOKENIZERS)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("first_in_first_out", [False, True])
def test_a_network_built_to_copy_reaches_exactly_the_token_that_it_copies(
    first_in_first_out: bool, reverse: bool
) -> None:
    """A queue copies what is read in order, a stack what is read in reverse; the others turn their sources round."""
    torch.manual_seed(0)
    translator = shift_register(5, first_in_first_out=first_in_first_out, reverse=reverse)
    sources = ["abcde", "hhgha", "edcba"]
    copies = first_in_first_out != reverse
    references = sources if copies else [src[::-1] for src in sources]
    for entry in probe(translator, sources, references)["gradient_reach"]:
        planted = entry["step"] if copies else 6 - entry["step"]
        assert entry["by_position"]["share"] == [float(position == planted) for position in range(1, 6)]
        assert entry["by_position"]["norm"][planted - 1] > 0


def trained_to_repeat(position: int, *, reverse: bool) -> tuple[dict[str, Any], float]:
    """Train on random strings of four letters whose translation is their letter at ``position``; the probe and the
    last loss in nats a token.
    """
    torch.manual_seed(0)
    draw = random.Random(0)
    model = build_seq2seq(
        ModelConfig(cell="gru", hidden_size=16, embedding_size=8, reverse=reverse, peeky="both"), VOCAB, VOCAB
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        src = TOKENIZER.encode(["".join(draw.choices(LETTERS, k=4)) for _ in range(32)])
        batch = collate(src, [row[position - 1 : position] for row in src], [])
        loss = model.loss(batch.src, batch.src_lengths, batch.tgt_in, batch.tgt_out) / batch.num_tokens
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sources = ["".join(draw.choices(LETTERS, k=4)) for _ in range(50)]
    references = [src[position - 1] for src in sources]
    return probe(Translator(Engine([model]), TOKENIZERS), sources, references, steps=1), loss.item()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("position", [1, 4])
def test_a_network_trained_on_a_planted_dependency_reaches_the_planted_token_most(position: int, reverse: bool) -> None:
    result, loss = trained_to_repeat(position, reverse=reverse)
    assert loss < 0.5
    shares = result["gradient_reach"][0]["by_position"]["share"]
    others = [share for i, share in enumerate(shares, start=1) if i != position]
    assert shares[position - 1] > 1.5 * max(others)
    assert result["accuracy_by_position"]["overall"]["accuracy"] > 0.9


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("factor", [0.5, 0.8])
def test_the_decay_of_a_near_linear_rnn_is_the_factor_of_its_recurrent_weights(factor: float, reverse: bool) -> None:
    translator = tiny(cell="rnn", hidden_size=8, embedding_size=8, reverse=reverse)
    encoder = translator.model.encoder
    with torch.no_grad():
        nn.init.orthogonal_(encoder.rnn.weight_hh_l0).mul_(factor)
        nn.init.orthogonal_(encoder.rnn.weight_ih_l0)
        encoder.embedding.weight.mul_(1e-4)  # tanh is the identity there
        encoder.rnn.bias_ih_l0.zero_()
        encoder.rnn.bias_hh_l0.zero_()
    for entry in probe(translator, ["abcdefgh", "hgfedcb", "aab"], ["abc", "bca", "cab"])["gradient_reach"]:
        assert entry["decay_per_step"] == pytest.approx(factor, rel=1e-4)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_decay_is_a_least_squares_fit_with_one_slope_and_a_level_for_each_sentence(bidirectional: bool) -> None:
    translator = tiny(cell="gru", bidirectional=bidirectional)
    rows, log_norms = [], []
    long_enough = [pair for pair in PAIRS if len(pair[0]) >= 3]
    for i, (src, ref) in enumerate(long_enough):
        (alone,) = probe(translator, [src], [ref], steps=1)["gradient_reach"]
        for s, norm in enumerate(alone["by_position"]["norm"]):
            distance = min(s, len(src) - s) if bidirectional else len(src) - s
            rows.append([distance, *(float(i == j) for j in range(len(long_enough)))])
            log_norms.append([math.log(norm)])
    slope = torch.linalg.lstsq(torch.tensor(rows), torch.tensor(log_norms)).solution[0].item()
    found = probe(translator, SOURCES, REFERENCES)["gradient_reach"][0]["decay_per_step"]
    assert found == pytest.approx(math.exp(slope), rel=1e-4)


def test_a_decay_needs_three_tokens() -> None:
    for src, has_decay in (("ab", False), ("abc", True)):
        assert (probe(tiny(), [src], ["a"])["gradient_reach"][0]["decay_per_step"] is not None) == has_decay


def test_a_step_that_no_reference_has_is_empty() -> None:
    last = probe(tiny(), ["abc"], ["a"], steps=3)["gradient_reach"][2]
    assert last["by_position"] == {"norm": [], "share": [], "count": []}
    assert last["decay_per_step"] is None


# Peeky reliance


@torch.no_grad()
def reading_the_summary_alone(sources: list[str], logits: dict[str, tuple[float, float]]) -> Translator:
    """A decoder whose output layer reads only the summary. The logit of each letter is slope * u + intercept, where u
    is 1 and -1 at the summaries of the two sources and so 0 at their average; other tokens have no chance.
    """
    translator = tiny(peeky="output")
    output, width = translator.model.decoder.output, 6
    ids = TOKENIZER.encode(sources)
    batch = collate(ids, ids, [0, 1])
    first, second = translator.model.encode(batch.src, batch.src_lengths).context
    direction = 2 * (first - second) / (first - second).square().sum()
    output.weight.zero_()
    output.bias.fill_(-1e4)
    for letter, (slope, intercept) in logits.items():
        ((token,),) = TOKENIZER.encode([letter])
        output.weight[token, width:] = slope * direction  # behind the state
        output.bias[token] = intercept - slope * direction @ (first + second) / 2
    return translator


def test_reliance_equals_total_variation_and_kl_worked_out_by_hand() -> None:
    """Two tokens, a and b: p(a) is 3/4 and 1/13 with the sentences' own summaries, 1/3 with their average."""
    sources = ["abc", "fgh"]
    translator = reading_the_summary_alone(sources, {"a": (math.log(6), -math.log(2)), "b": (0, 0)})
    kl = [
        3 / 4 * math.log((3 / 4) / (1 / 3)) + 1 / 4 * math.log((1 / 4) / (2 / 3)),
        1 / 13 * math.log((1 / 13) / (1 / 3)) + 12 / 13 * math.log((12 / 13) / (2 / 3)),
    ]
    reliance = probe(translator, sources, ["ab", "ba"])["peeky_reliance"]
    expected = {"total_variation": (5 / 12 + 10 / 39) / 2, "kl": sum(kl) / 2, "argmax_changed": 1 / 2}
    for name, value in expected.items():
        assert reliance["overall"][name] == pytest.approx(value, rel=1e-5)
        assert reliance["by_position"][name] == pytest.approx([value] * 3, rel=1e-5)
    assert reliance["overall"]["count"] == 6
    assert reliance["by_position"]["count"] == [2, 2, 2]


def test_a_decoder_that_reads_only_the_summary_relies_on_it_wholly() -> None:
    """It says a to one summary, b to the other, and c to their average."""
    sources = ["abc", "fgh"]
    translator = reading_the_summary_alone(sources, {"a": (100, 0), "b": (-100, 0), "c": (0, 50)})
    overall = probe(translator, sources, sources)["peeky_reliance"]["overall"]
    assert overall == {"total_variation": 1.0, "kl": 50.0, "argmax_changed": 1.0, "count": 8}


def test_a_decoder_without_weights_on_the_summary_does_not_rely_on_it() -> None:
    for peeky in ("input", "output", "both"):
        translator = tiny(peeky=peeky)
        decoder = translator.model.decoder
        with torch.no_grad():
            if decoder.peek_input:
                decoder.rnn.weight_ih_l0[:, 5:] = 0  # behind the embedding
            if decoder.peek_output:
                decoder.output.weight[:, 6:] = 0  # behind the state
        reliance = probe(translator, SOURCES, REFERENCES)["peeky_reliance"]
        assert reliance["overall"] == {"total_variation": 0.0, "kl": 0.0, "argmax_changed": 0.0, "count": 27}


@pytest.mark.parametrize("peeky", ["input", "output", "both"])
@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_reliance_equals_a_loop_over_sentences_that_changes_one_step(cell: str, peeky: str) -> None:
    """The whole prefix is read with the sentence's summary, and a last token once more with the average one."""
    translator = tiny(cell=cell, peeky=peeky, num_layers=2, bidirectional=True, reverse=True)
    model = translator.model
    batches = [collate(*([ids] for ids in TOKENIZER.encode(pair)), [0]) for pair in PAIRS]
    states = [model.encode(batch.src, batch.src_lengths) for batch in batches]
    average = sum(state.context for state in states) / len(states)
    moved = []
    for batch, state in zip(batches, states, strict=True):
        for t in range(batch.tgt_in.shape[1]):
            before = model.decoder.features(batch.tgt_in[:, :t], state)[1] if t else state
            p, q = (
                model.decoder(batch.tgt_in[:, t : t + 1], before._replace(context=context))[0][0, 0].softmax(-1)
                for context in (state.context, average)
            )
            moved.append([(p - q).clamp_min(0).sum(), nn.functional.kl_div(q.log(), p, reduction="sum")])
    tv, kl = torch.tensor(moved).mean(dim=0).tolist()
    overall = probe(translator, SOURCES, REFERENCES)["peeky_reliance"]["overall"]
    assert (overall["total_variation"], overall["kl"]) == (pytest.approx(tv, rel=1e-4), pytest.approx(kl, rel=1e-4))
    assert tv > 0.001


@pytest.mark.parametrize("reading", [1, 2, 3], ids=["reach", "average summary", "positions"])
def test_too_little_memory_for_a_batch_is_said_wherever_it_is_read(
    reading: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator, readings = tiny(peeky="both"), itertools.count(1)
    encode = translator.model.encode

    def out_of_memory(*arguments: Any) -> Any:
        if next(readings) == reading:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode(*arguments)

    monkeypatch.setattr(translator.model, "encode", out_of_memory)
    with pytest.raises(UserError, match=r"a batch of 1 sentence\(s\) x 5 source and 4 target tokens; leave out"):
        probe(translator, ["abcd"], ["abc"])


def test_without_peeky_there_is_nothing_to_rely_on() -> None:
    assert probe(tiny(), SOURCES, REFERENCES)["peeky_reliance"] is None


# Accuracy by position


@pytest.mark.parametrize("fixed_length", [0, 3])
def test_accuracy_by_position_equals_a_loop_over_sentences(fixed_length: int) -> None:
    translator = tiny(fixed_length=fixed_length, peeky="both", reverse=True)
    model, end = translator.model, [] if fixed_length else [3]
    with torch.no_grad():
        model.decoder.output.weight.mul_(3)
        model.decoder.output.bias.mul_(0.1)
    right: dict[int, list[bool]] = {}
    costs: dict[int, list[float]] = {}
    draw = random.Random(0)
    pairs = [tuple("".join(draw.choices(LETTERS, k=draw.randint(1, 5))) for _ in "st") for _ in range(60)]
    for src, ref in pairs:
        src_ids, tgt_ids = (row + end for row in TOKENIZER.encode([src, ref]))
        logits = model(torch.tensor([src_ids]), torch.tensor([len(src_ids)]), torch.tensor([[2, *tgt_ids[:-1]]]))
        for t, token in enumerate(tgt_ids):
            right.setdefault(t, []).append(logits[0, t].argmax().item() == token)
            costs.setdefault(t, []).append(-logits[0, t].log_softmax(-1)[token].item())
    result = probe(translator, [src for src, _ in pairs], [ref for _, ref in pairs])["accuracy_by_position"]
    found = result["by_position"]
    assert found["count"] == [len(right[t]) for t in sorted(right)]
    assert found["accuracy"] == pytest.approx([sum(right[t]) / len(right[t]) for t in sorted(right)], rel=1e-5)
    assert found["nll"] == pytest.approx([sum(costs[t]) / len(costs[t]) for t in sorted(costs)], rel=1e-5)
    every = [cost for one in costs.values() for cost in one]
    assert result["overall"]["nll"] == pytest.approx(sum(every) / len(every), rel=1e-5)
    assert result["overall"]["count"] == len(every)
    assert 0 < result["overall"]["accuracy"] < 1


# All three


@pytest.mark.parametrize("options", REACH_OPTIONS[::3], ids=lambda o: "-".join(map(str, o.values())))
def test_the_figures_do_not_depend_on_the_batches(options: dict[str, object]) -> None:
    model = tiny_model(vocab=VOCAB, **{"peeky": "both", **options})
    results = [
        probe(Translator(Engine([model]), TOKENIZERS, DecodeConfig(batch_tokens=tokens)), SOURCES, REFERENCES)
        for tokens in (1, 13, 8192)
    ]
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_the_model_is_left_as_it_was() -> None:
    translator = tiny(dropout=0.5, embedding_dropout=0.5, num_layers=2, peeky="both")
    model = translator.model
    calm = probe(translator, SOURCES, REFERENCES)
    model.train()
    model.bridge.eval()
    model.decoder.output.bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    learning = [parameter.requires_grad for parameter in model.parameters()]
    random_state = torch.get_rng_state()
    assert probe(translator, SOURCES, REFERENCES) == calm  # in training mode too there is no dropout
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == learning
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled()


def test_it_can_be_called_where_gradients_are_off() -> None:
    translator = tiny(peeky="both")
    expected = probe(translator, SOURCES, REFERENCES)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            assert probe(translator, SOURCES, REFERENCES) == expected


def test_blank_sides_and_sources_beyond_the_bound_are_left_out() -> None:
    bounded = tiny(DecodeConfig(max_source=6))
    more = [("", "a"), ("a", " "), ("abcdefg", "a"), *PAIRS]
    assert probe(bounded, [src for src, _ in more], [ref for _, ref in more]) == probe(bounded, SOURCES, REFERENCES)


def test_positions_beyond_the_last_that_is_told_apart_count_overall() -> None:
    long, short = (probe(tiny(peeky="both"), SOURCES, REFERENCES, max_positions=size) for size in (30, 2))
    for part in ("peeky_reliance", "accuracy_by_position"):
        assert short[part]["overall"] == long[part]["overall"]
        for name, values in short[part]["by_position"].items():
            assert values == long[part]["by_position"][name][:2]
    assert short["gradient_reach"][0]["by_position"]["share"] == long["gradient_reach"][0]["by_position"]["share"][:2]


@pytest.mark.parametrize("peeky", ["none", "both"])
def test_a_probe_that_is_written_reads_as_it_was(peeky: str, tmp_path: Path) -> None:
    result = measure(tiny(peeky=peeky), SOURCES, REFERENCES)
    result.write(tmp_path / "probe.json")
    assert Probe.read(tmp_path / "probe.json") == result


def test_the_result_is_json_of_six_digits() -> None:
    result = probe(tiny(peeky="both"), SOURCES, REFERENCES)
    assert list(result) == ["num_sentences", "gradient_reach", "peeky_reliance", "accuracy_by_position"]
    assert result["num_sentences"] == len(PAIRS)
    assert all(value == float(f"{value:.6g}") for value in numbers(result) if value is not None)


@pytest.mark.parametrize(
    "sources, references, steps, message",
    [
        ([], [], 3, "both hypotheses and references are empty"),
        (["a"], ["a", "b"], 3, "the two must be line-aligned"),
        (
            ["", "a"],
            ["a", ""],
            3,
            "there is nothing to probe: each of the 2 pairs has a blank side or a source of more",
        ),
        (["a"], ["a"], 0, "steps=0 is out of range; it must be at least 1"),
    ],
)
def test_what_cannot_be_probed_is_refused(sources: list[str], references: list[str], steps: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        probe(tiny(), sources, references, steps=steps)


# The command


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    """A run of one's own, to write into; relative to where commands run."""
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("probe.*", "last.ckpt"))
    return Path("run")


def test_probing_a_run_explains_its_figures_and_leaves_them_in_its_folder(
    command: Command, run_folder: Path, tmp_path: Path
) -> None:
    done = command("probe", run_folder)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    result = json.loads((tmp_path / run_folder / "probe.json").read_text())
    assert result["num_sentences"] == 20
    heads = ("Gradient reach: ", "Peeky reliance: how ", "Accuracy by position: ", "Means over 20 sentences.")
    assert [done.stdout.count(f"\n{head}") + done.stdout.startswith(head) for head in heads] == [1, 1, 1, 1]
    assert max(map(len, done.stdout.splitlines())) <= 100
    first = f"{100 * result['gradient_reach'][0]['by_position']['share'][0]:.1f}"
    assert first in next(line for line in done.stdout.splitlines() if line.startswith("│            1 "))
    assert ElementTree.parse(tmp_path / run_folder / "probe.svg").getroot().tag.endswith("svg")


def test_a_checkpoint_file_and_other_sentences_can_be_probed(
    command: Command, run_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "src").write_text("1+2\n\n30+4\n5+6\n")
    (tmp_path / "ref").write_text("3\n7\n34\n11\n")
    words = [run_folder / "checkpoints" / "best.ckpt", "--src", "src", "--ref", "ref", "--sentences", 3, "--steps", 1]
    done = command("probe", *words)
    assert done.returncode == 0, done.stderr
    assert "Means over 2 sentences." in done.stdout
    assert "target 2 %" not in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"run", "src", "ref"}
    assert command("probe", *words, "-o", "new/folder").stdout == done.stdout
    assert json.loads((tmp_path / "new" / "folder" / "probe.json").read_text())["num_sentences"] == 2


MISTAKES = [
    (["nowhere"], "nowhere does not exist; name the folder of a run"),
    (["empty"], "empty has no test.src and no test.ref; name a finished run, or files with --src and --ref"),
    (["empty", "--src", "one"], "--src and --ref belong together"),
    (["one"], "one is a single file, which has no test set beside it; name one with --src and --ref"),
    (["empty", "--src", "one", "--ref", "two"], "one has 1 lines but two has 2; the two must be line-aligned"),
    (["empty", "--src", "one", "--ref", "three"], "three does not exist"),
    (["empty", "--sentences", "0"], "--sentences 0 is out of range; it must be at least 1"),
    (["empty", "--steps", "-1"], "--steps -1 is out of range; it must be at least 1"),
    (["empty", "--src", "one", "--ref", "uno"], "empty has no checkpoint in it"),
]


@pytest.mark.parametrize("words, message", MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_ends_in_one_line_and_status_2(
    command: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    for name, content in (("one", "a\n"), ("uno", "b\n"), ("two", "a\nb\n")):
        (tmp_path / name).write_text(content)
    done = command("probe", *words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("seq2seq-probe: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not list((tmp_path / "empty").iterdir())


def test_help_comes_without_torch(command: Command) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['matplotlib'] = None\n"
        "from seq2seq.cli.probe import main; main(['--help'])"
    )
    done = command("probe", "--help")
    assert done.returncode == 0
    assert "--sentences N" in done.stdout
    again = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert again.stdout == done.stdout, again.stderr


@pytest.mark.parametrize("peeky", ["none", "both"])
def test_the_drawing_is_the_same_bytes_each_time_and_its_words_stay_text(tmp_path: Path, peeky: str) -> None:
    result = measure(tiny(peeky=peeky), SOURCES, REFERENCES)
    for name in ("one.svg", "other.svg"):
        _draw(tmp_path / name, result)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    words = {element.text for element in ElementTree.parse(tmp_path / "one.svg").iter() if element.tag.endswith("text")}
    assert {"Gradient by source position", "Peeky reliance", "Accuracy by target position", "target 3"} <= words
    assert ("no peeky" in words) == (peeky == "none")


def test_without_matplotlib_the_drawing_is_left_out_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level(logging.WARNING):
        _draw(tmp_path / "probe.svg", measure(tiny(), SOURCES, REFERENCES))
    assert "probe.svg is left out: matplotlib is not installed" in caplog.text
    assert not list(tmp_path.iterdir())
