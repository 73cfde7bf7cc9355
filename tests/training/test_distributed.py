"""Several processes train the same weights as one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from seq2seq.config.schema import (
    TrainerConfig,
)
from seq2seq.data.arrays import train_tokenizers
from seq2seq.data.prepare import prepare
from seq2seq.errors import UserError
from seq2seq.training.data import TranslationData
from seq2seq.training.distributed import choose_strategy, without_gradient
from seq2seq.training.tasks.translation import smallest_loss
from tests.conftest import by_one_and_two_processes, rows, tiny_model, weights
from tests.training.test_training import config


def test_two_processes_train_on_every_sentence_and_give_one_result(tmp_path: Path) -> None:
    """The same batches, shared between two processes, make the same steps as in one."""
    words = ["data=addition", "tokenizer=char", "data.train_size=100", "data.valid_size=11", "data.test_size=10"]
    words += ["data.batch_sentences=16", "model.hidden_size=8", "model.dropout=0", "trainer.max_epochs=1"]
    words += ["optim=sgd", "optim.lr=0.1", "optim.ema=0.8", "trainer.samples=0"]
    (one, first), (two, second) = by_one_and_two_processes(tmp_path, words)
    assert first.count("test BLEU") == second.count("test BLEU") == 1
    for checkpoint_name in ("last.ckpt", "best.ckpt"):
        for name, tensor in weights(one, checkpoint_name).items():
            torch.testing.assert_close(tensor, weights(two, checkpoint_name)[name], rtol=1e-4, atol=1e-6)
    for mine, other in zip(rows(one)[0].values(), rows(two)[0].values(), strict=True):
        assert float(mine) == pytest.approx(float(other), rel=1e-4)


@pytest.mark.parametrize("bridge", ["zero", "dense"])
@pytest.mark.parametrize("attention", ["none", "general"])
@pytest.mark.parametrize("devices", [1, 2])
def test_several_processes_look_for_parameters_without_gradient_where_there_are_some(
    bridge: str, attention: str, devices: int
) -> None:
    model = tiny_model(bridge=bridge, attention=attention, peeky="both", dropout=0.3).train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    missing = set(without_gradient(model, lambda: smallest_loss(model)))
    encoder = {f"encoder.{name}" for name, _ in model.encoder.named_parameters()}
    assert missing == (encoder if (bridge, attention) == ("zero", "none") else set())
    assert model.training and torch.equal(torch.get_rng_state(), before)
    assert all(one.grad is None for one in model.parameters())
    chosen = choose_strategy(TrainerConfig(devices=devices), model, lambda: smallest_loss(model))
    assert chosen == ("ddp_find_unused_parameters_true" if devices > 1 and missing else "auto")


def test_two_processes_train_a_decoder_that_sees_no_source(tmp_path: Path) -> None:
    """No gradient reaches the encoder with a bridge that hands over nothing, and DDP would wait for it."""
    words = ["data=addition", "tokenizer=char", "data.train_size=64", "data.valid_size=10", "data.test_size=10"]
    words += ["data.batch_sentences=16", "model.hidden_size=8", "model.bridge=zero", "trainer.max_epochs=1"]
    words += ["optim=sgd", "optim.lr=0.1", "optim.clip_norm=1", "model.dropout=0", "trainer.samples=0"]
    (one, _), (two, _) = by_one_and_two_processes(tmp_path, words)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(two)[name], rtol=1e-4, atol=1e-6)


def test_fewer_pairs_than_processes_are_refused(tmp_path: Path) -> None:
    settings = config(tmp_path, data={"valid_size": 1})
    folder = prepare(settings.data)
    data = TranslationData(settings, folder, train_tokenizers(folder, settings.tokenizer))
    data.trainer = SimpleNamespace(world_size=2, global_rank=1)  # type: ignore[assignment]
    assert len(list(data.train_dataloader()))
    with pytest.raises(UserError, match=r"a split of 1 pairs, too few for 2 processes; make trainer.devices smaller"):
        data.val_dataloader()
