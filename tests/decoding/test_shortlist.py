"""The pieces that a source can bring about are those that the training pairs say."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seq2seq import checkpoint
from seq2seq.cli import evaluate
from seq2seq.cli import train as train_command
from seq2seq.cli.decode import _threads
from seq2seq.config.schema import Config, DecodeConfig, ModelConfig
from seq2seq.data.arrays import TokenArray, Tokenizers, write_tokens
from seq2seq.decoding import shortlist
from seq2seq.decoding.forms.products import has_int8
from seq2seq.decoding.shortlist import Shortlist, learn, links, translation_probs
from seq2seq.errors import UserError
from seq2seq.tokens.base import BOS, EOS, UNK
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from tests.conftest import tiny_model

SRC = [["ein", "Hund"], ["ein", "Haus"], ["der", "Hund", "Rex"], ["das", "Haus"]]
TGT = [["a", "dog"], ["a", "house"], ["the", "dog", "Rex"], ["the", "house"]]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[TokenArray, TokenArray, Tokenizers]:
    tokenizers = []
    arrays = []
    for name, rows in (("src", SRC), ("tgt", TGT)):
        lines = [" ".join(row) for row in rows]
        tokenizer = Pieces(train(lines, type="word", vocab_size=0, byte_fallback=False))
        write_tokens(tmp_path / name, tokenizer.encode(lines))
        tokenizers.append(tokenizer)
        arrays.append(TokenArray(tmp_path / name))
    return arrays[0], arrays[1], Tokenizers(*tokenizers)


def by_hand(iterations: int) -> dict[tuple[str, str], float]:
    """Expectation maximisation as Brown et al. have it, a word at a time."""
    probs: dict[tuple[str, str], float] = defaultdict(lambda: 1.0)
    for _ in range(iterations):
        counts: dict[tuple[str, str], float] = defaultdict(float)
        totals: dict[str, float] = defaultdict(float)
        for src, tgt in zip(SRC, TGT, strict=True):
            for t in tgt:
                norm = sum(probs[s, t] for s in src)
                for s in src:
                    counts[s, t] += probs[s, t] / norm
                    totals[s] += probs[s, t] / norm
        probs = defaultdict(float, {(s, t): count / totals[s] for (s, t), count in counts.items()})
    return probs


def test_probabilities_are_those_of_ibm_model_1(pair: tuple[TokenArray, TokenArray, Tokenizers]) -> None:
    src, tgt, tokenizers = pair
    sources, targets, places = links(src, tgt)
    size = len(tokenizers.tgt)
    pairs, of_pair = np.unique(sources * size + targets, return_inverse=True)
    probs = translation_probs(pairs // size, of_pair, places)
    wanted = by_hand(shortlist.ITERATIONS)
    pieces = [tokenizer.pieces(range(len(tokenizer))) for tokenizer in tokenizers]
    for index, prob in zip(pairs, probs, strict=True):
        s, t = pieces[0][index // size].strip("\u2581"), pieces[1][index % size].strip("\u2581")
        assert prob == pytest.approx(wanted[s, t])
    assert len(probs) == len({pair for src, tgt in zip(SRC, TGT, strict=True) for pair in itertools.product(src, tgt)})


def test_each_piece_has_its_translations_and_its_own_spelling(
    pair: tuple[TokenArray, TokenArray, Tokenizers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist, "FREQUENT", 0)
    src, tgt, tokenizers = pair
    learnt = learn(src, tgt, tokenizers, count=1)
    assert learnt.fits(len(tokenizers.src), len(tokenizers.tgt))

    def best(word: str) -> list[str]:
        row = learnt.best[tokenizers.src.encode([word])[0][0]].tolist()
        return [piece.strip("\u2581") for piece in tokenizers.tgt.pieces([i for i in row if i >= 0])]

    assert best("Hund") == ["dog"]
    assert best("Haus") == ["house"]
    assert best("Rex")[0] == "Rex"
    assert best("ein") == ["a"]


def test_frequent_pieces_take_no_place(
    pair: tuple[TokenArray, TokenArray, Tokenizers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist, "FREQUENT", 4)
    learnt = learn(*pair, count=3)
    assert len(learnt.frequent) == 4
    words = pair[2].tgt.pieces(learnt.frequent.tolist())
    assert {word.strip("\u2581") for word in words} == {"a", "the", "dog", "house"}
    assert not set(learnt.best[:, 1:].flatten().tolist()) & set(learnt.frequent.tolist())


def test_a_large_corpus_is_sampled(
    pair: tuple[TokenArray, TokenArray, Tokenizers], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = links(pair[0], pair[1])
    monkeypatch.setattr(shortlist, "MOST_LINKS", 12)  # of 21
    some = links(pair[0], pair[1])
    assert len(whole[0]) == 21
    assert len(some[0]) == 13  # the first and the third
    assert some[2].tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


def test_columns_are_a_round_number_and_bar_what_is_not_a_sentences_own() -> None:
    vocab = 1000
    best = torch.full((20, 2), -1, dtype=torch.int32)
    best[5], best[6, 0] = torch.tensor([900, 901]), 700
    learnt = Shortlist(best, torch.tensor([4, 8], dtype=torch.int32), torch.tensor(vocab, dtype=torch.int32))
    part = learnt.columns([[5, 6], [6], []], [[], [33], []])
    assert len(part.tokens) == shortlist.ROUND
    assert part.tokens.tolist() == sorted(set(part.tokens.tolist()))
    allowed = [set(part.tokens[row].tolist()) for row in part.allowed]
    common = {EOS, UNK, 4, 8}
    assert allowed == [common | {900, 901, 700}, common | {700, 33}, common]
    assert part.tokens[part.place(BOS)] == BOS
    everything = Shortlist(best, torch.arange(vocab, dtype=torch.int32), learnt.vocab).columns([[5]], [[]])
    assert everything.tokens.tolist() == list(range(vocab))


def test_a_checkpoint_carries_its_shortlist_and_refuses_a_wrong_one(tmp_path: Path, tokenizers: Tokenizers) -> None:
    size = len(tokenizers.tgt)
    model = tiny_model(vocab=size)
    settings = {"hidden_size": 6, "embedding_size": 5}
    contents: dict[str, Any] = {
        "state_dict": checkpoint.named_weights(model),
        "seq2seq": checkpoint.section(ModelConfig(**settings), DecodeConfig(), tokenizers),  # type: ignore[arg-type]
    }
    path = tmp_path / "best.ckpt"
    checkpoint.save(path, contents)
    assert checkpoint.load(path).shortlist is None
    good = Shortlist(
        torch.zeros(size, 2, dtype=torch.int32),
        torch.tensor([4], dtype=torch.int32),
        torch.tensor(size, dtype=torch.int32),
    )
    checkpoint.add_shortlist(path, good)
    loaded = checkpoint.load(path).shortlist
    assert loaded is not None
    for mine, other in zip(loaded, good, strict=True):
        assert torch.equal(mine, other)
    for wrong in (
        good._replace(best=good.best + size),
        good._replace(best=good.best[1:]),
        good._replace(best=good.best.long()),
        good._replace(frequent=good.frequent - 5),
        good._replace(frequent=good.frequent.unsqueeze(0)),
        good._replace(vocab=good.vocab + 1),
    ):
        checkpoint.add_shortlist(path, wrong)
        with pytest.raises(UserError, match="its shortlist does not go with its vocabularies; train again"):
            checkpoint.load(path)


def test_training_learns_a_shortlist_that_commands_decode_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["data=addition", "tokenizer=char", "data.train_size=60", "data.valid_size=5", "data.test_size=5"]
    small += ["model.hidden_size=8", "model.embedding_size=4", "trainer.probe=0"]
    small += ["trainer.max_epochs=2", "trainer.keep_best=2"]
    monkeypatch.setattr("sys.argv", ["seq2seq-train", *small, "trainer.shortlist=2", "decode.shortlist=true"])
    with pytest.raises(SystemExit) as ended:
        train_command.main()
    assert not ended.value.code, capsys.readouterr().err
    (best,) = tmp_path.glob("runs/**/best.ckpt")
    loaded = checkpoint.load(best)
    assert loaded.shortlist is not None
    assert loaded.shortlist.best.shape == (len(loaded.tokenizers.src), 3)
    assert loaded.decode.shortlist
    kept = checkpoint.kept_best(best.parent)
    assert kept and all(checkpoint.load(path).shortlist is not None for path in kept)
    test = best.parent.parent
    asked = [str(best), "--src", str(test / "test.src"), "--ref", str(test / "test.ref"), "--hyp", "hyp"]
    for flags in ([], ["--shortlist"], ["--beam", "2", *(["--int8"] if has_int8() else [])]):
        with pytest.raises(SystemExit) as ended:
            evaluate.main([*asked, *flags])
        assert not ended.value.code, capsys.readouterr().err
        if "--beam" not in flags:
            assert (tmp_path / "hyp").read_bytes() == (test / "test.hyp").read_bytes()


@pytest.mark.parametrize(
    ("text", "parameters", "wanted"),
    [("max 100000", 10**6, 8), ("200000 100000", 10**6, 2), ("50000 100000", 10**6, 1), ("max 100000", 1000, 1)],
)
def test_threads_are_no_more_than_a_container_may_use(
    monkeypatch: pytest.MonkeyPatch, text: str, parameters: int, wanted: int
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: text)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert _threads(parameters) == wanted


def test_a_shortlist_must_be_learnt_to_be_used() -> None:
    with pytest.raises(UserError, match="decode.shortlist=true needs trainer.shortlist above 0, which learns one"):
        Config(decode=DecodeConfig(shortlist=True))
