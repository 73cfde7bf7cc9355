"""A language model reads one stream: its loss, its gradients and its perplexity are those of one long pass."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seq2seq import checkpoint, language_model
from seq2seq.config.schema import (
    Config,
    DataConfig,
    DecodeConfig,
    ModelConfig,
    OptimConfig,
    TokenizerConfig,
    TrainerConfig,
)
from seq2seq.data.arrays import TokenArray, Tokenizers, write_tokens
from seq2seq.data.prepare import prepare
from seq2seq.data.stream import Ids, StreamColumns, StreamLoader, Window, inputs_of, to_stream
from seq2seq.decoding.greedy import greedy
from seq2seq.decoding.settings import SamplingSettings
from seq2seq.errors import UserError
from seq2seq.language_model import LanguageModel
from seq2seq.models.build import build_language_model, num_parameters
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.tokens.base import BOS, EOS, PAD, UNK
from seq2seq.tokens.load import load
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.tokens.words import Words
from seq2seq.training.checkpoints import Checkpoints
from seq2seq.training.claim import claim
from seq2seq.training.experiment import run
from seq2seq.training.optimiser import lr_factor
from seq2seq.training.tasks.language_model import LitLanguageModel
from tests.conftest import LINES, ROOT, by_one_and_two_processes, equal, rows, weights

CELLS = ("rnn", "gru", "lstm")


def network(vocab: int = 12, seed: int = 0, **options: object) -> RNNLanguageModel:
    """A network with random weights, large enough for the past to count, in evaluation mode."""
    torch.manual_seed(seed)
    settings: dict[str, object] = {"hidden_size": 6, "embedding_size": 5, "num_layers": 2, **options}
    model = build_language_model(ModelConfig(**settings), vocab)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model.eval()


@pytest.fixture
def tokenizer() -> Pieces:
    return Pieces(train(LINES, type="char", vocab_size=0))


@pytest.fixture
def model(tokenizer: Pieces) -> LanguageModel:
    return LanguageModel(network(len(tokenizer)), tokenizer)


def a_stream(length: int = 60, vocab: int = 12, seed: int = 0) -> Ids:
    ids = np.random.default_rng(seed).integers(EOS, vocab, length).astype(np.int32)
    ids[-1] = EOS
    return ids


# The stream and its columns.


def test_a_stream_is_all_rows_with_their_ends(tmp_path: Path) -> None:
    write_tokens(tmp_path / "a", [[7, 8], [], [9]])
    assert to_stream(TokenArray(tmp_path / "a")).tolist() == [7, 8, EOS, EOS, 9, EOS]
    assert inputs_of(to_stream(TokenArray(tmp_path / "a"))).tolist() == [BOS, 7, 8, BOS, BOS, 9]


@pytest.mark.parametrize(("length", "columns", "bptt"), [(60, 4, 5), (61, 4, 7), (59, 7, 100), (10, 7, 1), (5, 5, 2)])
def test_every_token_is_predicted_once_from_the_one_before_it(length: int, columns: int, bptt: int) -> None:
    stream = a_stream(length)
    windows = list(StreamLoader(stream, num_columns=columns, bptt=bptt))
    tokens_out = torch.cat([one.tokens_out for one in windows], dim=1).flatten()
    tokens_in = torch.cat([one.tokens_in for one in windows], dim=1).flatten()
    assert tokens_out[:length].tolist() == stream.tolist()
    assert tokens_in[:length].tolist() == inputs_of(stream).tolist()
    assert (tokens_out[length:] == PAD).all()
    assert sum(one.num_tokens for one in windows) == length
    assert [one.is_first for one in windows] == [True] + [False] * (len(windows) - 1)


def test_processes_own_columns_and_together_all_of_them() -> None:
    stream = a_stream(61)
    whole = StreamColumns(stream, 5)
    shares = [list(StreamLoader(stream, num_columns=5, bptt=4, rank=rank, world_size=2)) for rank in (0, 1)]
    for rank, windows in enumerate(shares):
        mine = torch.cat([one.tokens_out for one in windows], dim=1)
        assert mine.tolist() == whole.tokens_out[rank::2].tolist()
    # What DDP makes of the two, their mean, is the mean over the tokens of a full window.
    assert {one.loss_scale for windows in shares for one in windows} == {5 * 4 / 2}


def test_a_loader_goes_on_in_the_middle_of_its_epoch_and_of_no_other() -> None:
    stream = a_stream(60)
    loader = StreamLoader(stream, num_columns=4, bptt=4)
    windows = iter(loader)
    next(windows)
    position = loader.state_dict()
    rest = [one.tokens_out.tolist() for one in windows]
    resumed = StreamLoader(stream, num_columns=4, bptt=4)
    resumed.load_state_dict(position)
    assert [one.tokens_out.tolist() for one in resumed] == rest
    resumed.load_state_dict(position)
    resumed.set_epoch(1)
    assert len(list(resumed)) == len(loader) == len(rest) + 1


def test_too_many_columns_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"data.columns=9 is more than the number of tokens in the text, 8; make it smaller"
    ):
        StreamLoader(a_stream(8), num_columns=9, bptt=4)
    with pytest.raises(UserError, match=r"data.columns=1 must be at least trainer.devices=2"):
        StreamLoader(a_stream(8), num_columns=1, bptt=4, world_size=2)


# Windows with a carried state.


def one_long_pass(model: RNNLanguageModel, stream: Ids) -> torch.Tensor:
    """The loss by single steps of the search's own function, token by token."""
    state, total = model.zero_state(1), torch.zeros(())
    for before, token in zip(inputs_of(stream).tolist(), stream.tolist(), strict=True):
        log_probs, state = model.step(torch.tensor([before]), state)
        total = total - log_probs[0, token]
    return total


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bptt", [1, 7, 100])
def test_windows_with_a_carried_state_have_the_loss_of_one_long_pass(cell: str, bptt: int) -> None:
    model, stream = network(cell=cell), a_stream()
    state, total = model.zero_state(1), 0.0
    for window in StreamLoader(stream, num_columns=1, bptt=bptt):
        loss, state = model.loss(window.tokens_in, window.tokens_out, state.detach())
        total += loss.item()
    assert total == pytest.approx(one_long_pass(model, stream).item(), rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_one_window_has_the_gradient_of_one_long_pass(cell: str) -> None:
    model, stream = network(cell=cell, tie="decoder"), a_stream()
    (window,) = StreamLoader(stream, num_columns=1, bptt=len(stream))
    gradients = []
    for loss in (model.loss(window.tokens_in, window.tokens_out, model.zero_state(1))[0], one_long_pass(model, stream)):
        model.zero_grad()
        loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_no_gradient_goes_back_past_the_start_of_a_window() -> None:
    model, stream = network(), a_stream()
    first, second, *_ = StreamLoader(stream, num_columns=1, bptt=10)
    _, state = model.loss(first.tokens_in, first.tokens_out, model.zero_state(1))
    loss, _ = model.loss(second.tokens_in, second.tokens_out, state.detach())
    loss.backward()
    weight = model.decoder.embedding.weight.grad
    assert weight is not None
    read = set(second.tokens_in.flatten().tolist())
    assert {i for i, row in enumerate(weight) if row.any()} == read
    assert set(first.tokens_in.flatten().tolist()) - read  # which would have had some


def test_padding_costs_nothing() -> None:
    model = network()
    tokens_in, tokens_out = torch.tensor([[4, 5, PAD]]), torch.tensor([[5, 6, PAD]])
    whole, _ = model.loss(tokens_in, tokens_out, model.zero_state(1))
    short, _ = model.loss(tokens_in[:, :2], tokens_out[:, :2], model.zero_state(1))
    assert whole.item() == pytest.approx(short.item())


# Perplexity.


@pytest.mark.parametrize("cell", CELLS)
def test_a_uniform_model_is_as_perplexed_as_its_vocabulary_is_large(tokenizer: Pieces, cell: str) -> None:
    model = LanguageModel(network(len(tokenizer), cell=cell), tokenizer)
    with torch.no_grad():
        model.model.decoder.output.weight.zero_()
        model.model.decoder.output.bias.zero_()
    score = model.score(LINES)
    assert score.perplexity == pytest.approx(len(tokenizer), rel=1e-5)
    num_tokens = sum(len(line) + 1 for line in LINES)
    num_words = sum(line.count(" ") + 2 for line in LINES)
    assert (score.num_tokens, score.num_words, score.num_unknown) == (num_tokens, num_words, 0)
    assert score.word_perplexity == pytest.approx(len(tokenizer) ** (num_tokens / num_words), rel=1e-4)


@pytest.mark.parametrize("window", [1, 5, 64, 100_000])
def test_perplexity_does_not_depend_on_the_window(model: LanguageModel, window: int) -> None:
    expected = model.score(LINES, window=13)
    found = model.score(LINES, window=window)
    assert found.perplexity == pytest.approx(expected.perplexity, rel=1e-5)
    assert found.line_nll == pytest.approx(expected.line_nll, rel=1e-4)


def test_a_text_is_read_in_chunks_as_in_one(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = model.score(LINES)
    monkeypatch.setattr(language_model, "LINES_AT_ONCE", 2)
    assert model.score(iter(LINES)).line_nll == pytest.approx(whole.line_nll, rel=1e-5)
    assert model.score(LINES)[1:] == whole[1:]


def test_a_line_costs_what_it_costs_after_all_before_it(model: LanguageModel) -> None:
    whole, part = model.score(LINES), model.score(LINES[:2])
    assert part.line_nll == pytest.approx(whole.line_nll[:2], rel=1e-5)
    alone = [-model.score([line]).nll for line in LINES]
    assert model.log_probs(LINES) == pytest.approx(alone, rel=1e-4)
    assert -whole.line_nll[2] != pytest.approx(alone[2], rel=1e-5)
    assert model.log_probs([]) == []


def test_a_text_without_lines_has_no_perplexity(model: LanguageModel) -> None:
    with pytest.raises(UserError, match="there is no text to score"):
        model.score([])


# Training.


def config(tmp_path: Path, **sections: dict[str, Any]) -> Config:
    """A training of a second; ``model={...}`` and so on change it."""
    data = {"kind": "text", "train_tgt": str(tmp_path / "text"), "valid_size": 10, "test_size": 10, "columns": 4}
    settings: dict[str, dict[str, Any]] = {
        "data": {**data, "bptt": 9, "root": str(tmp_path / "data")},
        "tokenizer": {"type": "char", "vocab_size": 0, "byte_fallback": False},
        "model": {"hidden_size": 12, "embedding_size": 6, "tie": "decoder"},
        "optim": {},
        "trainer": {"max_epochs": 2, "progress": False, "samples": 1, "monitor": "loss"},
    }
    built = {"data": DataConfig, "tokenizer": TokenizerConfig, "model": ModelConfig, "optim": OptimConfig}
    kinds = {**built, "trainer": TrainerConfig}
    parts = {s: kinds[s](**{**settings[s], **sections.get(s, {})}) for s in settings}
    return Config(name="t", task="language_model", **parts)


def write_text(tmp_path: Path, num_lines: int = 60) -> None:
    draw = np.random.default_rng(1)
    lines = [" ".join(draw.choice(["a", "dog", "runs", "the"], draw.integers(1, 5))) for _ in range(num_lines)]
    (tmp_path / "text").write_text("".join(f"{line}\n" for line in lines))


def test_a_run_leaves_perplexities_and_lines_that_it_made_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(tmp_path)
    result = run(config(tmp_path), tmp_path / "run").plain()
    printed = capsys.readouterr().out
    lines = (tmp_path / "text").read_text().splitlines()
    model = LanguageModel.from_checkpoint(tmp_path / "run")
    for prefix, part in (("train_", lines[:40]), ("valid_", lines[40:50]), ("", lines[50:])):
        score = model.score(part)
        assert result[f"{prefix}perplexity"] == pytest.approx(score.perplexity, rel=1e-6)
        assert result[f"{prefix}word_perplexity"] == pytest.approx(score.word_perplexity, rel=1e-6)
        assert result[f"{prefix}num_tokens"] == sum(len(line) + 1 for line in part)
        assert f"perplexity {score.perplexity:.2f} per token, {score.word_perplexity:.2f} per word" in printed
    assert (tmp_path / "run" / "samples.txt").read_text().splitlines() == list(model.generate(5))
    nll = [float(line) for line in (tmp_path / "run" / "test.nll").read_text().splitlines()]
    assert nll == pytest.approx(model.score(lines[50:]).line_nll, abs=1e-5)
    assert json.loads((tmp_path / "run" / "test.json").read_text()) == result
    assert min(float(row["valid/perplexity"]) for row in rows(tmp_path / "run")) == pytest.approx(
        result["valid_perplexity"], rel=1e-5
    )
    assert run(config(tmp_path), tmp_path / "run").plain() == result  # it is finished


def test_of_a_large_training_text_the_first_lines_are_scored_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(tmp_path)
    whole = run(config(tmp_path), tmp_path / "whole").plain()
    assert whole["train_scored_lines"] == whole["train_lines"]
    assert " lines" not in capsys.readouterr().out
    (train_text,) = (tmp_path / "data").glob("*/train.tgt")
    lines = train_text.read_text().splitlines()
    wanted = sum(len(line) + 1 for line in lines[:7]) + 1  # characters are the tokens: not enough for the eighth line
    result = run(config(tmp_path, trainer={"score_tokens": wanted}), tmp_path / "part").plain()
    score = LanguageModel.from_checkpoint(tmp_path / "part").score(lines[:7])
    assert result["train_perplexity"] == score.perplexity
    assert result["train_num_tokens"] == score.num_tokens == wanted - 1
    assert (result["train_scored_lines"], result["train_lines"]) == (7, len(lines))
    assert f"tokens; the first 7 of {len(lines)} lines)\nvalid" in capsys.readouterr().out
    for name in ("perplexity", "valid_perplexity", "num_tokens"):
        assert result[name] == whole[name]
    again = run(config(tmp_path, trainer={"score_tokens": 1}), tmp_path / "least").plain()
    assert again["train_scored_lines"] == 1


@pytest.mark.parametrize("changed", [{"columns": 1}, {"bptt": 3}, {"columns": 7, "bptt": 1000}])
def test_a_perplexity_is_the_same_whatever_columns_and_window_are_set_to(
    tmp_path: Path, changed: dict[str, int]
) -> None:
    """With a rate of next to nothing, trainings that differ in them end with equal networks."""
    write_text(tmp_path)
    still: dict[str, Any] = {"optim": {"lr": 1e-12, "algorithm": "sgd"}}
    one = run(config(tmp_path, **still), tmp_path / "one").plain()
    other = run(config(tmp_path, data=changed, **still), tmp_path / "other").plain()
    for name in ("perplexity", "word_perplexity", "train_perplexity", "valid_perplexity"):
        assert one[name] == pytest.approx(other[name], rel=1e-5), name
    column = "valid/perplexity"
    assert float(rows(tmp_path / "one")[0][column]) == pytest.approx(float(rows(tmp_path / "other")[0][column]), 1e-5)


def test_a_training_carries_the_state_from_window_to_window_and_begins_each_epoch_without(tmp_path: Path) -> None:
    """With a rate of next to nothing the losses of an epoch are those of one pass over whole columns."""
    write_text(tmp_path)
    changed: dict[str, Any] = {
        "data": {"columns": 3, "bptt": 4},
        "model": {"init": "uniform", "init_range": 1.0},
        "optim": {"lr": 1e-12, "algorithm": "sgd"},
    }
    run(config(tmp_path, **changed), tmp_path / "run")
    own = LanguageModel.from_checkpoint(tmp_path / "run")
    lines = (tmp_path / "text").read_text().splitlines()[:40]
    stream = np.array([one for row in own.tokenizer.encode(lines) for one in (*row, EOS)], dtype=np.int32)
    columns = StreamColumns(stream, 3)
    ids = [torch.from_numpy(side.astype(np.int64)) for side in (columns.tokens_in, columns.tokens_out)]
    with torch.no_grad():
        whole, _ = own.model.token_nll(*ids, own.model.zero_state(3))
        parts = zip(*(side.split(4, dim=1) for side in ids), strict=True)
        without = sum(own.model.token_nll(*part, own.model.zero_state(3))[0].sum() for part in parts)
    losses = [float(row["train/loss"]) for row in rows(tmp_path / "run")]
    assert losses == pytest.approx([whole.sum().item() / len(stream)] * 2, rel=1e-5)
    assert abs(float(without) / len(stream) - losses[0]) > 0.01


def test_a_validation_carries_the_state_from_window_to_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path)
    changed: dict[str, Any] = {"model": {"init": "uniform", "init_range": 1.0}, "optim": {"lr": 1e-12}}
    found = []
    for window in (1024, 3):
        monkeypatch.setattr("seq2seq.training.data.TOKENS_AT_ONCE", window)
        run(config(tmp_path, **changed), tmp_path / str(window))
        found.append([float(row["valid/loss"]) for row in rows(tmp_path / str(window))])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


class Killed(Exception):
    pass


RESUMED: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "dropout, restarts and plateau": {
        "data": {"restart": 0.5},
        "model": {"dropout": 0.3, "embedding_dropout": 0.2, "num_layers": 2, "cell": "gru"},
        "optim": {"schedule": "plateau", "algorithm": "sgd", "lr": 0.5, "plateau_patience": 0},
    },
    "average of the weights": {"optim": {"ema": 0.8}, "model": {"locked_dropout": True, "dropout": 0.3}},
    "accumulate": {
        "trainer": {"accumulate": 3, "validate_every": 0.5, "monitor": "loss", "progress": False, "max_epochs": 2}
    },
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_killed_at_any_step_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path)
    settings = config(tmp_path, **RESUMED[name])
    settings.trainer.save_minutes = 1e-9  # after every step
    run(settings, tmp_path / "whole")
    total = checkpoint.read(tmp_path / "whole" / "checkpoints" / "last.ckpt")["global_step"]
    original = Checkpoints._save_last
    saves = [0]

    def save_and_die(self: Checkpoints, trainer: Any) -> None:
        original(self, trainer)
        saves[0] += 1
        if saves[0] == limit:
            raise Killed

    for limit in (1, total // 3, total - 2):
        folder = tmp_path / f"killed-{limit}"
        saves[0] = 0
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "_save_last", save_and_die)
            with pytest.raises(Killed):
                run(settings, folder)
        run(settings, folder)
        assert equal(weights(tmp_path / "whole"), weights(folder)), limit
        assert equal(weights(tmp_path / "whole", "best.ckpt"), weights(folder, "best.ckpt")), limit
        assert rows(tmp_path / "whole") == rows(folder), limit


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_may_begin_with_the_weights_of_another(tmp_path: Path, ema: float) -> None:
    write_text(tmp_path)
    first = run(config(tmp_path, optim={"lr": 0.02}), tmp_path / "first").plain()
    still = config(tmp_path, optim={"lr": 1e-12, "algorithm": "sgd", "ema": ema})
    cold = run(still, tmp_path / "cold").plain()
    still.warm_start = str(tmp_path / "first")
    warm = run(still, tmp_path / "warm").plain()
    assert warm["perplexity"] == pytest.approx(first["perplexity"], rel=1e-5)
    assert cold["perplexity"] > 1.2 * first["perplexity"]
    still.warm_start = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nowhere does not exist"):
        run(still, tmp_path / "none")


def test_the_state_counts(tmp_path: Path) -> None:
    """A resumed run whose state was lost would end elsewhere: what the test above holds is not held by nothing."""
    write_text(tmp_path)
    settings = config(tmp_path)
    run(settings, tmp_path / "run")
    states = checkpoint.read(tmp_path / "run" / "checkpoints" / "last.ckpt")["training"]["state"]
    assert [tuple(one.shape) for one in states[0]] == [(4, 1, 12)] * 2
    assert all(one.any() for one in states[0])


def test_two_processes_with_columns_of_their_own_make_the_steps_of_one(tmp_path: Path) -> None:
    write_text(tmp_path)
    words = ["experiment=lm", "data=text", "data.train_tgt=text", "data.valid_size=10", "data.test_size=10"]
    words += ["tokenizer=char", "data.columns=5", "data.bptt=9", "model.hidden_size=8", "model.embedding_size=8"]
    words += ["model.dropout=0", "model.embedding_dropout=0", "trainer.max_epochs=1", "optim=sgd", "optim.lr=0.5"]
    words += ["trainer.save_minutes=1e-9", "trainer.samples=0", "data.restart=0"]
    (one, first), (two, second) = by_one_and_two_processes(tmp_path, words)
    assert first.count("per word") == second.count("per word") == 3
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(two)[name], rtol=1e-4, atol=1e-6)
    for mine, other in zip(rows(one)[0].values(), rows(two)[0].values(), strict=True):
        assert float(mine) == pytest.approx(float(other), rel=1e-4)
    states = checkpoint.read(two / "checkpoints" / "last.ckpt")["training"]["state"]
    assert [len(one[0]) for one in states] == [3, 2]  # columns


STATES = "abcde"


def transitions() -> np.ndarray:
    """Of a chain over five letters and the end of the line, which is followed by a letter."""
    matrix = np.random.default_rng(3).dirichlet(np.full(6, 0.4), size=6)
    matrix[:5, 5] = 0.1
    matrix[5, 5] = 0.0
    return matrix / matrix.sum(axis=1, keepdims=True)


def entropy_rate(matrix: np.ndarray) -> float:
    """Of a stationary chain, in nats a step (Shannon 1948)."""
    values, vectors = np.linalg.eig(matrix.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    logs = np.log(np.where(matrix > 0, matrix, 1))
    return float(-(stationary[:, None] * matrix * logs).sum())


def test_a_chain_with_known_transitions_is_learnt_to_within_two_percent_of_its_entropy_rate(tmp_path: Path) -> None:
    matrix, draw = transitions(), np.random.default_rng(5)
    state, letters = 5, []
    for _ in range(60_000):
        state = int(draw.choice(6, p=matrix[state]))
        letters.append((STATES + "\n")[state])
    (tmp_path / "text").write_text("".join(letters).rstrip("\n") + "\n")
    num_lines = letters.count("\n")
    settings = config(
        tmp_path,
        data={"valid_size": num_lines // 10, "test_size": num_lines // 3, "columns": 16, "bptt": 20, "restart": 0.5},
        model={"hidden_size": 24, "embedding_size": 8, "tie": "none"},
        optim={"lr": 0.02, "schedule": "cosine", "clip_norm": 1.0},
        trainer={"max_epochs": 4, "monitor": "loss", "progress": False, "samples": 0},
    )
    result = run(settings, tmp_path / "run").plain()
    found, expected = math.log(result["perplexity"]), entropy_rate(matrix)
    assert found == pytest.approx(expected, rel=0.02)
    drawn = list(LanguageModel.from_checkpoint(tmp_path / "run").generate(400, seed=7))
    order = STATES + "\n"
    pairs = [pair for line in drawn for pair in zip("\n" + line, line + "\n", strict=True) if set(pair) <= set(order)]
    assert len(pairs) > 3000
    counts = np.zeros((6, 6))
    for before, after in pairs:
        counts[order.index(before), order.index(after)] += 1
    seen = counts / counts.sum(axis=1, keepdims=True)
    assert np.abs(seen - matrix)[counts.sum(axis=1) > 300].max() < 0.08


# Settings of the papers.


def test_the_papers_step_is_ours_with_its_rate_times_the_window() -> None:
    """Zaremba et al.: the loss is summed over the window and averaged over columns, rate 1, gradients clipped at 5."""
    stream, bptt, columns = a_stream(400, seed=4), 20, 4
    window = next(iter(StreamLoader(stream, num_columns=columns, bptt=bptt)))
    after = []
    for scale, rate, norm in ((columns, 1.0, 5.0), (window.loss_scale, 20.0, 5 / 20)):
        model = network(seed=2)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(4)  # so that there is something to clip
        loss, _ = model.loss(window.tokens_in, window.tokens_out, model.zero_state(columns))
        (loss / scale).backward()
        assert torch.nn.utils.clip_grad_norm_(model.parameters(), norm) > norm
        torch.optim.SGD(model.parameters(), rate).step()
        after.append(model.state_dict())
    for name, tensor in after[0].items():
        torch.testing.assert_close(tensor, after[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "millions", "epochs", "rates"),
    [
        ("small", 4.65, 13, {0: 1, 3: 1, 4: 0.5, 12: 0.5**9}),
        ("medium", 19.8, 39, {5: 1, 6: 1 / 1.2, 38: 1.2**-33}),
        ("large", 66.0, 55, {13: 1, 14: 1 / 1.15, 54: 1.15**-41}),
    ],
)
def test_the_networks_and_rates_are_the_papers(
    size: str, millions: float, epochs: int, rates: dict[int, float]
) -> None:
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore

    from seq2seq.cli.overrides import register_resolvers
    from seq2seq.cli.train import to_config

    register_resolvers()
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        settings = to_config(compose("train", [f"experiment=lm_zaremba_{size}", "data.mirror=x"]))
    assert settings.trainer.max_epochs == epochs
    with torch.device("meta"):
        model = build_language_model(settings.model, 10_002)
    assert num_parameters(model) / 1e6 == pytest.approx(millions, rel=0.005)
    for epoch, rate in rates.items():
        assert lr_factor(settings.optim, 100 * epoch + 99, 0, 100) == pytest.approx(rate), epoch
    assert settings.optim.lr == settings.data.bptt
    assert settings.optim.clip_norm * settings.data.bptt == pytest.approx({"large": 10}.get(size, 5))


def test_uniform_first_weights_fill_their_range() -> None:
    torch.manual_seed(0)
    model = build_language_model(ModelConfig(init="uniform", init_range=0.05, hidden_size=40, embedding_size=40), 50)
    assert all(0.04 < parameter.abs().max() <= 0.05 for parameter in model.parameters())
    assert not model.decoder.embedding.weight[PAD].any()


def test_the_books_first_weights_of_tied_embeddings_are_those_of_embeddings() -> None:
    torch.manual_seed(0)
    model = build_language_model(ModelConfig(init="book", tie="decoder", hidden_size=64, embedding_size=64), 500)
    assert model.decoder.output.weight.std().item() == pytest.approx(0.01, rel=0.05)


# Words, and the Penn Treebank's files.


def test_words_are_those_of_the_text_the_most_frequent_first() -> None:
    lines = [" b b a <unk> <unk> c ", "", "N </s> a b"]
    words = load(train(lines, type="ptb", vocab_size=0))
    assert isinstance(words, Words)
    assert len(words) == 4 + 4
    assert words.encode(lines) == [[4, 4, 5, UNK, UNK, 7], [], [6, UNK, 5, 4]]
    assert words.decode([[4, 4, 5, UNK, UNK, 7, EOS, PAD]]) == ["b b a <unk> <unk> c"]
    assert words.pieces([UNK, 4]) == ["<unk>", "b"]
    assert words.unknowns("b <unk> x b") == ["<unk>", "x"]
    assert words.decode([[4, UNK, UNK, UNK], [4]], [["x", "y"], []]) == ["b x y <unk>", "b"]
    assert words.spell([BOS, 4, UNK, 5, EOS], ["x"]) == [b"", b"b", b" x", b" a", b""]
    few = load(train(lines, type="ptb", vocab_size=4))
    assert few.encode(["a b c"]) == [[5, 4, UNK]]
    assert load(train(["A a"], type="ptb", vocab_size=0, lowercase=True), lowercase=True).encode(["A"]) == [[4]]


def test_a_damaged_list_of_words_is_refused() -> None:
    proto = train(LINES, type="ptb", vocab_size=0)
    for bad in (proto + b"\nbirds", proto + b"\n\n", proto + b"\n\xff"):
        with pytest.raises(UserError, match="the tokenizer is not a list of words"):
            load(bad)
    with pytest.raises(UserError, match="it has no words"):
        train(["", " "], type="ptb", vocab_size=0)
    with pytest.raises(ValueError, match="a line holds a newline"):
        load(proto).encode(["a\nb"])


PTB = {
    "train": [" no it was n't black monday ", " but while the <unk> <unk> N % "],
    "valid": [" it was the <unk> "],
    "test": [" monday was black "],
}


def write_ptb(folder: Path) -> None:
    for split, lines in PTB.items():
        (folder / f"ptb.{split}.txt").write_text("".join(line + "\n" for line in lines))


def test_the_penn_treebank_is_read_as_its_benchmark_counts_it(tmp_path: Path) -> None:
    write_ptb(tmp_path)
    data = {"kind": "ptb", "train_tgt": None, "mirror": str(tmp_path), "columns": 2}
    settings = config(tmp_path, data=data, tokenizer={"type": "ptb", "vocab_size": 10_000})
    result = run(settings, tmp_path / "run").plain()
    counted = " ".join(PTB["train"]).split()  # as in Mikolov's: words between blanks, and an <eos> for each line
    assert result["train_num_tokens"] == result["train_num_words"] == len(counted) + 2
    assert result["train_num_unknown"] == 2
    assert result["perplexity"] == result["word_perplexity"]
    tokenizer = checkpoint.load_language_model(tmp_path / "run").tokenizer
    assert len(tokenizer) == len({*counted, "<eos>"}) + 2  # pad and bos


def test_a_file_of_the_penn_treebank_that_is_missing_is_named(tmp_path: Path) -> None:
    write_ptb(tmp_path)
    (tmp_path / "ptb.valid.txt").unlink()
    with pytest.raises(UserError, match=r"has neither ptb.valid.txt nor ptb.valid.txt.gz; put one there"):
        prepare(DataConfig(kind="ptb", mirror=str(tmp_path), root=str(tmp_path / "data")))


def test_another_folder_of_the_penn_treebank_is_another_run(tmp_path: Path) -> None:
    """Anywhere else a mirror holds files of known checksums."""
    ptb = config(tmp_path, data={"kind": "ptb", "train_tgt": None, "mirror": "small"})
    claim(ptb, tmp_path / "run")
    with pytest.raises(UserError, match=r"other settings \(data.mirror: small there, large here\)"):
        claim(dataclasses.replace(ptb, data=dataclasses.replace(ptb.data, mirror="large")), tmp_path / "run")
    for mirror in ("here", "there"):
        claim(Config(data=DataConfig(kind="multi30k", mirror=mirror)), tmp_path / "other")


def test_the_last_lines_of_a_text_are_held_out_unless_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n2\n\n4\n5\n6\n")
    held: dict[str, Any] = {"kind": "text", "train_tgt": str(tmp_path / "a"), "root": str(tmp_path / "data")}
    folder = prepare(DataConfig(**held, valid_size=2, test_size=1))
    found = {split: (folder / f"{split}.tgt").read_text() for split in ("train", "valid", "test")}
    assert found == {"train": "1\n2\n\n", "valid": "4\n5\n", "test": "6\n"}
    folder = prepare(DataConfig(**held, valid_tgt=held["train_tgt"], test_tgt=held["train_tgt"]))
    assert (folder / "test.tgt").read_text() == "1\n2\n\n4\n5\n6\n"
    with pytest.raises(UserError, match="has 6 lines; data.valid_size and data.test_size would hold out 2000"):
        prepare(DataConfig(**held))
    (tmp_path / "a").write_text(" \n\n")
    with pytest.raises(UserError, match="a has no text in it; name a file that has some"):
        prepare(DataConfig(**held, valid_size=1, test_size=1))


# Lines that are made up.


def test_a_line_depends_on_its_seed_and_number_alone(model: LanguageModel) -> None:
    lines = list(model.generate(70, seed=3))
    assert list(model.generate(3, seed=3)) == lines[:3]
    assert list(model.generate(70, seed=4)) != lines
    assert next(model.generate(10**9, seed=3)) == lines[0]  # which waits for none of the others
    assert len(set(lines)) > 60


def test_a_prefix_begins_every_line_and_the_likeliest_line_is_greedys(model: LanguageModel, tokenizer: Pieces) -> None:
    assert all(line.startswith("the d") for line in model.generate(20, prefix="the d"))
    found = greedy(model.model.step, model.model.zero_state(1), bos=BOS, eos=EOS, max_lengths=[30])
    settings = SamplingSettings(temperature=0.0)
    assert list(model.generate(2, settings=settings, max_length=30)) == tokenizer.decode([found[0].tokens]) * 2


def test_a_prefix_is_written_as_it_was_given_where_it_has_unknowns(model: LanguageModel) -> None:
    assert all(line.startswith("Ä d") for line in model.generate(5, prefix="Ä d "))


def test_a_prefix_that_fills_the_line_is_refused(model: LanguageModel) -> None:
    with pytest.raises(UserError, match="the prefix has 5 tokens, too many for max_length=5; make it shorter, or max_"):
        next(model.generate(1, prefix="a dog", max_length=5))


# What does not go together.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": {"reverse": True, "peeky": "both"}},
            "no source, so it cannot use model.reverse, model.peeky; leave them out",
        ),
        ({"model": {"attention": "dot"}}, "no source, so it cannot use model.attention"),
        ({"model": {"tie": "all"}, "tokenizer": {"joint": True}}, "model.tie=all shares with an encoder"),
        ({"tokenizer": {"joint": True}}, "no source, so it cannot use tokenizer.joint"),
        ({"tokenizer": {"type": "unigram", "vocab_size": 50, "sampling": 0.1}}, "would segment the text differently"),
        ({"trainer": {"monitor": "bleu"}}, "trainer.monitor=bleu is not a figure of task=language_model"),
    ],
)
def test_what_needs_an_encoder_is_refused(tmp_path: Path, changes: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(tmp_path, **changes)


def test_a_text_without_sources_is_no_data_for_a_translator(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.kind=text has no sources to translate; use experiment=lm data=text"):
        dataclasses.replace(config(tmp_path), task="translation")


def test_settings_of_one_sided_data_are_checked() -> None:
    with pytest.raises(UserError, match="data.kind=text needs data.train_tgt"):
        DataConfig(kind="text")
    with pytest.raises(UserError, match="takes both data.valid_tgt and data.test_tgt, or neither"):
        DataConfig(kind="text", train_tgt="a", valid_tgt="b")
    with pytest.raises(UserError, match="data.kind=ptb needs data.mirror, the folder of ptb.train.txt"):
        DataConfig(kind="ptb")
    with pytest.raises(UserError, match="type ptb takes 0 or at least 3"):
        TokenizerConfig(type="ptb", vocab_size=2)
    with pytest.raises(UserError, match=r"optim.decay_factor=0 is out of range; it must be in \(0, 1\]"):
        OptimConfig(decay_factor=0)


def test_cross_entropy_of_the_step_is_the_loss() -> None:
    """`token_nll`, `loss` and torch's own agree."""
    model, stream = network(), a_stream()
    (window,) = StreamLoader(stream, num_columns=3, bptt=100)
    logits, _ = model(window.tokens_in, model.zero_state(3))
    expected = F.cross_entropy(logits.transpose(1, 2), window.tokens_out, reduction="none")
    nll, _ = model.token_nll(window.tokens_in, window.tokens_out, model.zero_state(3))
    loss, _ = model.loss(window.tokens_in, window.tokens_out, model.zero_state(3))
    torch.testing.assert_close(nll, expected)
    assert loss.item() == pytest.approx(expected.sum().item(), rel=1e-5)


def test_lines_are_scored_alike_however_many_tokens_are_looked_at_once(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long one among short ones must not take memory for all of them at its length."""
    lines = [LINES[0], LINES[1] * 9, "", LINES[2]]
    shapes: list[tuple[int, ...]] = []
    whole = model.log_probs(lines)
    token_nll = model.model.token_nll

    def noted(tokens_in: torch.Tensor, *others: Any) -> Any:
        shapes.append(tuple(tokens_in.shape))
        return token_nll(tokens_in, *others)

    monkeypatch.setattr(model.model, "token_nll", noted)
    monkeypatch.setattr(language_model, "SCORED", 7)
    assert model.log_probs(lines) == pytest.approx(whole, rel=1e-5)
    assert max(columns for _, columns in shapes) == 7
    assert whole == pytest.approx([-model.score([line]).nll for line in lines], rel=1e-5)


def test_a_prefix_of_characters_keeps_the_space_at_its_end(model: LanguageModel) -> None:
    assert all(line.startswith("a ") for line in model.generate(5, prefix="a "))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_columns_at_the_start_of_a_line_and_no_others_forget(tmp_path: Path, tokenizer: Pieces, share: float) -> None:
    module = LitLanguageModel(
        config(tmp_path, data={"restart": share}),
        network(len(tokenizer)),
        tokenizer,
        valid_words=1,
        num_steps=1,
        steps_per_epoch=1,
    )
    ones = module.model.zero_state(3).map(lambda tensor: tensor + 1)
    window = Window(torch.tensor([[BOS, 4], [4, BOS], [BOS, 5]]), torch.tensor([[4, 4]] * 3), 6, 6.0, is_first=False)
    kept = [1 - share, 1.0, 1 - share]
    assert [hidden.mean(dim=(1, 2)).tolist() for hidden in module._restarted(window, ones).hidden] == [kept, kept]


def test_the_columns_of_two_processes_are_not_gone_on_with_by_one(tmp_path: Path, tokenizer: Pieces) -> None:
    sizes = {"valid_words": 1, "num_steps": 1, "steps_per_epoch": 1}
    module = LitLanguageModel(config(tmp_path), network(len(tokenizer)), tokenizer, **sizes)
    module.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    training = {"train_loss": 0.0, "train_tokens": 0, "plateau": None, "state": [None, None]}
    with pytest.raises(UserError, match=r"was trained by 2 processes, .* by 1; set trainer.devices=2"):
        module.on_load_checkpoint({"training": training})


# What a caller gives.


def test_one_string_is_one_line(model: LanguageModel) -> None:
    assert model.score("a dog runs") == model.score(["a dog runs"])
    assert model.score("a dog runs") == model.score(line for line in ["a dog runs"])
    assert model.log_probs("a dog runs") == model.log_probs(["a dog runs"])[0]
    assert model.log_probs(np.array(LINES)) == model.log_probs(LINES)


def test_what_is_no_line_is_a_type_error(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for score in (model.score, model.log_probs):
        with pytest.raises(TypeError, match=r"^lines\[1\] must be a string; got None. Replace it, for example by ''.$"):
            score(["a", None])
        for value in (None, b"a", {"a": 1}, {"a"}, 3):
            with pytest.raises(TypeError, match=r"^lines must be a string or (a list of )?strings; got "):
                score(value)
    with pytest.raises(TypeError, match=r"^lines\[1\] must be a string; got nan."):
        model.score(iter(["a", float("nan")]))
    with pytest.raises(TypeError, match="which can be read only once. Give list"):
        model.log_probs(iter(["a"]))
    with pytest.raises(TypeError, match="must be a string; got None"):
        next(model.generate(1, prefix=None))
    monkeypatch.setattr("seq2seq.tokens.bounded.MOST", 10)
    with pytest.raises(UserError, match=r"the line 'a dog and on'\.\.\. has 12 characters, and at most 10 are read"):
        model.log_probs("a dog and on")
    with pytest.raises(UserError, match="the prefix 'a dog and on'"):
        next(model.generate(1, prefix="a dog and on"))


def test_a_small_one_from_a_checkpoint_works_on_one_thread(model: LanguageModel, tmp_path: Path) -> None:
    section = checkpoint.section(
        ModelConfig(hidden_size=6, embedding_size=5, num_layers=2),
        DecodeConfig(),
        Tokenizers(model.tokenizer, model.tokenizer),
        kind=checkpoint.LANGUAGE_MODEL,
    )
    weights = checkpoint.named_weights(model.model)
    checkpoint.save(tmp_path / "a.ckpt", {"state_dict": weights, checkpoint.SECTION: section})
    loaded = LanguageModel.from_checkpoint(tmp_path / "a.ckpt")
    assert (model.threads, loaded.threads) == (0, 1)
    assert loaded.log_probs(LINES) == model.log_probs(LINES)
