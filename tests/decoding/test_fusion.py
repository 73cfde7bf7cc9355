"""A language model has its say in a translation, in an n-best list, and in a decoder's first weights."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq import checkpoint
from seq2seq.config.schema import DecodeConfig, ModelConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.decoding.beam import beam
from seq2seq.decoding.engine import Engine
from seq2seq.decoding.fusion import FusedState, fuse
from seq2seq.decoding.greedy import greedy
from seq2seq.decoding.settings import BeamSettings
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.errors import UserError
from seq2seq.language_model import LanguageModel
from seq2seq.models.build import build_language_model
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.base import BOS, EOS
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.training.warm_start import warm_start
from seq2seq.translate.rescore import parse, rescore
from seq2seq.translate.translator import Translator
from tests.chains import CHAIN, END, START, Nothing, nothing
from tests.conftest import tiny_model

OTHER = torch.tensor([[0.5, 0.1, 0.4], [0.3, 0.6, 0.1], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1]])


def chain(table: Tensor):  # type: ignore[no-untyped-def]
    def step(last: Tensor, state: Nothing) -> tuple[Tensor, Nothing]:
        assert len(last) == len(state.rows)
        return table[last].log(), state

    return step


def fused_score(tokens: list[int], weight: float) -> float:
    """Of a finished output, by hand."""
    pairs = list(itertools.pairwise([START, *tokens, END]))
    return sum(math.log(CHAIN[a, b]) + weight * math.log(OTHER[a, b]) for a, b in pairs)


@pytest.mark.parametrize("weight", [0.1, 0.7, 2.0])
def test_a_wide_beam_finds_the_best_weighted_sum_of_both(weight: float) -> None:
    longest = 4
    outputs = [list(o) for n in range(longest) for o in itertools.product((0, 1), repeat=n)]
    wanted = max(outputs, key=lambda tokens: fused_score(tokens, weight))
    step = fuse(chain(CHAIN), chain(OTHER), weight)
    (found,) = beam(
        step,
        FusedState(nothing(1), nothing(1)),
        bos=START,
        eos=END,
        max_lengths=[longest],
        settings=BeamSettings(40, 1, 0.0),
    )
    assert found[0].tokens == wanted
    assert found[0].score == pytest.approx(fused_score(wanted, weight), rel=1e-5)


def test_both_states_move_with_their_rows() -> None:
    step = fuse(chain(CHAIN), chain(OTHER), 1.0)
    state = FusedState(nothing(3), nothing(3)).select(torch.tensor([2, 2, 0]))
    log_probs, after = step(torch.tensor([0, 1, 0]), state)
    assert after.translator.rows.tolist() == after.language_model.rows.tolist() == [2, 2, 0]  # type: ignore[attr-defined]
    torch.testing.assert_close(log_probs, CHAIN[[0, 1, 0]].log() + OTHER[[0, 1, 0]].log())
    assert state.attention is None and state.mask is None
    assert len(greedy(step, FusedState(nothing(2), nothing(2)), bos=START, eos=END, max_lengths=[1, 3])) == 2


def test_impossible_for_the_language_model_is_possible_at_weight_0() -> None:
    none = torch.tensor([[0.0, 0.0, 1.0]] * 4)
    log_probs, _ = fuse(chain(CHAIN), chain(none), 0.0)(torch.tensor([0]), FusedState(nothing(1), nothing(1)))
    torch.testing.assert_close(log_probs, CHAIN[[0]].log())


def test_weights_and_vocabularies_are_checked() -> None:
    for weight in (-0.1, 1001.0, math.inf, math.nan):  # whose sums would be no numbers
        with pytest.raises(UserError, match=r"weight=\S+ is out of range; it must be in \[0, 1000\]"):
            fuse(chain(CHAIN), chain(OTHER), weight)
    step = fuse(chain(CHAIN), chain(OTHER[:, :2]), 0.1)
    with pytest.raises(ValueError, match="need one vocabulary; got sizes 3 and 2"):
        step(torch.tensor([0]), FusedState(nothing(1), nothing(1)))


def a_language_model(tokenizer: Pieces, seed: int = 3, **options: object) -> LanguageModel:
    torch.manual_seed(seed)
    settings: dict[str, object] = {"hidden_size": 6, "embedding_size": 5, **options}
    model = build_language_model(ModelConfig(**settings), len(tokenizer))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return LanguageModel(model.eval(), tokenizer)


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_a_translator_listens_to_its_language_model(tokenizers: Tokenizers, search: str) -> None:
    lines = ["a dog runs", "the cat", "two birds sing", ""]
    decode = DecodeConfig(search=search)
    plain = Translator(Engine([tiny_model(vocab=len(tokenizers.tgt))]), tokenizers, decode)
    fused = Translator(Engine([tiny_model(vocab=len(tokenizers.tgt))]), tokenizers, decode)
    fused = fused.fuse(a_language_model(tokenizers.tgt), 0.0)
    assert fused.translate(lines) == plain.translate(lines)
    fused = fused.fuse(a_language_model(tokenizers.tgt), 5.0)
    assert fused.translate(lines) != plain.translate(lines)
    assert fused.translate(lines)[1:2] == fused.translate(lines[1:2])
    assert fused.translate(lines)[3] == ""
    assert fused.translate(lines) == [own[0].text if own else "" for own in fused.n_best(lines, 1)]


def test_a_shortlist_beside_a_language_model_is_refused(tokenizers: Tokenizers) -> None:
    size = len(tokenizers.tgt)
    everything = Shortlist(torch.full((size, 1), -1).int(), torch.arange(size).int(), torch.tensor(size).int())
    model = tiny_model(vocab=size)
    translator = Translator(Engine([model], shortlist=everything), tokenizers, DecodeConfig(shortlist=True))
    assert translator.translate(["a dog runs"])
    translator = translator.fuse(a_language_model(tokenizers.tgt), 0.2)
    with pytest.raises(UserError, match="decode.shortlist and fusion with a language model do not go together"):
        translator.translate(["a dog runs"])


def test_a_fused_score_is_the_weighted_sum_of_both_models_log_probabilities(tokenizers: Tokenizers) -> None:
    translator = Translator(Engine([tiny_model(vocab=len(tokenizers.tgt))]), tokenizers, DecodeConfig(search="beam"))
    model = a_language_model(tokenizers.tgt)
    translator = translator.fuse(model, 0.4)
    (found,) = translator.n_best(["a dog runs"], 1)
    assert found[0].tgt_pieces[-1] == "</s>"  # else it was cut, and has no end
    nll, _ = translator.nll(["a dog runs"], [found[0].text])
    total = -nll + 0.4 * model.log_probs([found[0].text])[0]
    penalty = ((5 + len(found[0].tgt_pieces)) / 6) ** translator.decode.length_penalty
    assert found[0].score == pytest.approx(total / penalty, rel=1e-4)
    assert found[0].log_prob == pytest.approx(-nll, rel=1e-4)
    twice = Translator(Engine([translator.model, translator.model]), tokenizers)
    twice = twice.fuse(model, 0.4)
    assert twice.nll(["a dog runs"], [found[0].text])[0] == pytest.approx(nll, rel=1e-4)


SEARCHES = [
    {"search": "greedy"},
    {"search": "sample"},
    {"search": "beam", "beam_size": 4, "length_penalty": 0.7, "coverage_penalty": 0.3},
]


def log_prob_by_hand(models: list[Seq2Seq], src: list[int], tokens: list[int]) -> float:
    """The log of the models' mean probability of each token after those before it, summed up."""
    states = [model.encode(torch.tensor([src]), torch.tensor([len(src)])) for model in models]
    total = 0.0
    for last, token in itertools.pairwise([BOS, *tokens]):
        steps = [model.decoder.step(torch.tensor([last]), state) for model, state in zip(models, states, strict=True)]
        states = [state for _, state in steps]
        total += math.log(sum(log_probs[0, token].exp().item() for log_probs, _ in steps) / len(models))
    return total


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search["search"])
@pytest.mark.parametrize("fixed", [0, 4])
@pytest.mark.parametrize("members", [1, 2])
def test_a_log_probability_is_the_translators_own_whatever_it_was_ranked_by(
    search: dict[str, Any], fixed: int, members: int, tokenizers: Tokenizers
) -> None:
    lines, size = ["a dog runs", "the cat", "", "birds sing well"], len(tokenizers.tgt)
    models = [tiny_model(seed, vocab=size, attention="general", fixed_length=fixed) for seed in range(members)]
    decode = DecodeConfig(max_extra=3, max_ratio=0.3, **search)
    one = Translator(Engine(models), tokenizers, decode)
    one = one.fuse(a_language_model(tokenizers.tgt), 0.4)
    cut = 0
    with torch.no_grad():
        for line, own in zip(lines, one.n_best(lines, 3, prefixes=["b", "", "", ""]), strict=True):
            assert bool(own) == bool(line)
            for each in own:
                src = tokenizers.src.encode([line])[0] + ([] if fixed else [EOS])
                tokens = [tokenizers.tgt._model.piece_to_id(piece) for piece in each.tgt_pieces]
                assert each.log_prob == pytest.approx(log_prob_by_hand(models, src, tokens), rel=1e-4)
                assert each.score < each.log_prob or search["search"] == "beam"
                cut += tokens[-1] != EOS
    assert cut
    spared = one.n_best(lines, 3, prefixes=["b", "", "", ""], log_probs=False)
    assert all(math.isnan(each.log_prob) for own in spared for each in own)
    assert [[each.score for each in own] for own in spared] == [
        [each.score for each in own] for own in one.n_best(lines, 3, prefixes=["b", "", "", ""])
    ]


def test_a_given_translation_has_its_own_log_probability_beside_the_fused_score(tokenizers: Tokenizers) -> None:
    src, tgt = ["a dog runs", "the cat", ""], ["birds", "", "a dog"]
    options = {"attention": "general", "hidden_size": 6}
    one = Translator(Engine([tiny_model(vocab=len(tokenizers.tgt), **options)]), tokenizers, DecodeConfig())
    plain = one.score(src, tgt)
    model = a_language_model(tokenizers.tgt)
    one = one.fuse(model, 0.4)
    for search in ("greedy", "beam"):
        one = one.with_options(DecodeConfig(search=search, length_penalty=0.5))
        for before, after, text in zip(plain, one.score(src, tgt), tgt, strict=True):
            assert after.log_prob == pytest.approx(before.log_prob, rel=1e-4)
            assert after.per_token == pytest.approx(before.per_token, rel=1e-4)
            penalty = ((5 + len(after.tgt_pieces)) / 6) ** 0.5 if search == "beam" else 1
            total = before.log_prob + 0.4 * model.log_probs(text)
            assert after.score == pytest.approx(total / penalty, rel=1e-4)


def test_other_pieces_are_refused_by_name(tokenizers: Tokenizers) -> None:
    translator = Translator(Engine([tiny_model(vocab=len(tokenizers.tgt))]), tokenizers)
    other = Pieces(train(["abc"], type="char", vocab_size=0))
    with pytest.raises(UserError, match=r"runs/lm has other pieces than the translator's target side \(7 and \d+\)"):
        translator.fuse(a_language_model(other), 0.2, name="runs/lm")
    with pytest.raises(UserError, match="weight=-1 is out of range"):
        translator.fuse(a_language_model(tokenizers.tgt), -1)


# n-best lists.


def test_n_best_lists_are_put_in_the_order_of_the_weighted_sums(tokenizers: Tokenizers) -> None:
    model = a_language_model(tokenizers.tgt)
    lines = [
        "1 ||| a dog ||| -1.5",
        "0 ||| a cat runs ||| -1",
        "1 ||| the dog ||| -1.25",
        "1 |||  ||| -0.5",
    ]
    entries = parse(lines, "list")
    assert [(entry.number, entry.text, entry.score) for entry in entries] == [
        (1, "a dog", -1.5),
        (0, "a cat runs", -1.0),
        (1, "the dog", -1.25),
        (1, "", -0.5),
    ]
    found = rescore(entries, model, 0.5)
    expected = {text: -model.score([text]).nll for text in ("a dog", "a cat runs", "the dog", "")}
    scores = {"a dog": -1.5, "a cat runs": -1.0, "the dog": -1.25, "": -0.5}
    assert [entry.number for entry in found] == [0, 1, 1, 1]
    for entry in found:
        assert entry.score == pytest.approx(scores[entry.text] + 0.5 * expected[entry.text], rel=1e-4)
    assert [entry.score for entry in found[1:]] == sorted((entry.score for entry in found[1:]), reverse=True)
    assert str(found[0]) == f"0 ||| a cat runs ||| {found[0].score:.6f}"
    unchanged = rescore(entries, model, 0.0)
    assert [entry.text for entry in unchanged] == ["a cat runs", "", "the dog", "a dog"]


@pytest.mark.parametrize(
    "line", ["0 ||| a dog", "a dog", "x ||| a dog ||| 1", "0 ||| a ||| one", "0 ||| a ||| nan", ""]
)
def test_a_line_that_is_no_entry_is_named(line: str) -> None:
    with pytest.raises(UserError, match=r"list: line 2(: .* is not a line of an n-best list| has a score that is not)"):
        parse(["0 ||| a ||| 1", line], "list")


def test_an_empty_list_and_a_weight_out_of_range_are_refused(tokenizers: Tokenizers) -> None:
    with pytest.raises(UserError, match="list is empty"):
        parse([], "list")
    with pytest.raises(UserError, match=r"weight=-1 is out of range; it must be in \[0, 1000\]"):
        rescore(parse(["0 ||| a ||| 1"], "list"), a_language_model(tokenizers.tgt), -1.0)


# A warm start.


def saved(tmp_path: Path, tokenizer: Pieces, **options: object) -> tuple[Path, LanguageModel]:
    settings = {"hidden_size": 6, "embedding_size": 5, **options}
    model = a_language_model(tokenizer, **settings)
    contents = {
        "state_dict": checkpoint.named_weights(model.model),
        checkpoint.SECTION: checkpoint.section(
            ModelConfig(**settings),  # type: ignore[arg-type]
            DecodeConfig(),
            Tokenizers(tokenizer, tokenizer),
            kind=checkpoint.LANGUAGE_MODEL,
        ),
    }
    checkpoint.save(tmp_path / "lm.ckpt", contents)
    return tmp_path / "lm.ckpt", model


@pytest.mark.parametrize("tie", ["none", "decoder"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_decoder_that_begins_with_a_language_model_says_what_that_says(
    tmp_path: Path, tokenizers: Tokenizers, tie: str, cell: str
) -> None:
    shape = {"tie": tie, "cell": cell, "num_layers": 2}
    path, model = saved(tmp_path, tokenizers.tgt, **shape)
    network = tiny_model(vocab=len(tokenizers.tgt), **shape)
    before = {name: tensor.clone() for name, tensor in network.encoder.state_dict().items()}  # type: ignore[operator]
    warm_start(network, tokenizers.tgt, path)
    tokens = torch.tensor([[BOS, 5, 6, 7], [BOS, 8, 9, 4]])
    expected, _ = model.model(tokens, model.model.zero_state(2))
    found, _ = network.decoder(tokens, network.decoder.zero_state(2))
    torch.testing.assert_close(found, expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.encoder.state_dict().items())  # type: ignore[operator]


def test_a_tied_language_model_starts_an_untied_decoder_if_its_embeddings_are_as_wide_as_its_state(
    tmp_path: Path, tokenizers: Tokenizers
) -> None:
    path, model = saved(tmp_path, tokenizers.tgt, tie="decoder", embedding_size=6)
    network = tiny_model(vocab=len(tokenizers.tgt), embedding_size=6)
    warm_start(network, tokenizers.tgt, path)
    tokens = torch.tensor([[BOS, 5, 6, 7]])
    expected, _ = model.model(tokens, model.model.zero_state(1))
    torch.testing.assert_close(network.decoder(tokens, network.decoder.zero_state(1))[0], expected)


def test_what_peeky_adds_keeps_its_first_weights(tmp_path: Path, tokenizers: Tokenizers) -> None:
    """With a summary of zeros the columns that read it say nothing."""
    path, model = saved(tmp_path, tokenizers.tgt)
    network = tiny_model(vocab=len(tokenizers.tgt), peeky="both")
    columns = network.decoder.output.weight[:, 6:].clone()
    warm_start(network, tokenizers.tgt, path)
    assert torch.equal(network.decoder.output.weight[:, 6:], columns)
    tokens = torch.tensor([[BOS, 5, 6, 7]])
    state = network.decoder.zero_state(1)._replace(context=torch.zeros(1, 6))
    torch.testing.assert_close(network.decoder(tokens, state)[0], model.model(tokens, model.model.zero_state(1))[0])


def test_a_language_model_may_begin_with_another_one(tmp_path: Path, tokenizers: Tokenizers) -> None:
    path, model = saved(tmp_path, tokenizers.tgt)
    other = a_language_model(tokenizers.tgt, seed=8)
    warm_start(other.model, tokenizers.tgt, path)
    assert other.score(["a dog"]).nll == model.score(["a dog"]).nll


def test_a_start_that_does_not_fit_is_refused_by_name(tmp_path: Path, tokenizers: Tokenizers) -> None:
    path, _ = saved(tmp_path, tokenizers.tgt)
    network = tiny_model(vocab=len(tokenizers.tgt), num_layers=2, hidden_size=8)
    with pytest.raises(UserError, match=r"need equal decoders .*; got \(lstm, 1, 6, 5\) and \(lstm, 2, 8, 5\)"):
        warm_start(network, tokenizers.tgt, path)
    for theirs, ours in (
        ({"cell": "gru", "layer_norm": True}, {"cell": "lstm", "layer_norm": True}),
        ({"num_layers": 2}, {"num_layers": 2, "residual": True}),
        ({"tie": "decoder"}, {"tie": "none"}),  # whose output layer does not read the state itself
        ({"tie": "none"}, {"tie": "decoder"}),
        ({"tie": "none", "embedding_size": 6}, {"tie": "decoder", "embedding_size": 6}),
    ):
        path, _ = saved(tmp_path, tokenizers.tgt, **theirs)
        with pytest.raises(UserError, match="need equal decoders"):
            warm_start(tiny_model(vocab=len(tokenizers.tgt), **ours), tokenizers.tgt, path)
    other = Pieces(train(["abc"], type="char", vocab_size=0))
    with pytest.raises(UserError, match="has other pieces than the target side here"):
        warm_start(tiny_model(vocab=len(other)), other, path)
