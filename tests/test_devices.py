"""On a device without float64, such as Apple's GPUs, everything works and gives the CPU's figures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seq2seq.config.schema import Config, DecodeConfig, ModelConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.batches import collate
from seq2seq.data.stream import StreamLoader
from seq2seq.decoding.engine import Engine
from seq2seq.evaluation.probe import probe
from seq2seq.language_model import LanguageModel
from seq2seq.models.build import build_language_model
from seq2seq.models.language_model import RNNLanguageModel
from seq2seq.training.tasks.base import LitModel
from seq2seq.training.tasks.language_model import LitLanguageModel
from seq2seq.training.tasks.translation import LitTranslator
from seq2seq.translate.translator import Translator
from tests.conftest import LINES, tiny_model
from tests.stand_in import DEVICE, move, stand_in

SIZES = {"hidden_size": 6, "embedding_size": 5}


def language_model(vocab: int) -> RNNLanguageModel:
    torch.manual_seed(1)
    return build_language_model(ModelConfig(**SIZES), vocab).eval()


def on_both(model: Any, work: Callable[[Any], Any]) -> tuple[Any, Any]:
    """What some work gives with a network on the CPU, and with it on the device."""
    other = copy.deepcopy(model)
    expected = work(model)
    move(other)
    with stand_in():
        return expected, work(other)


def test_the_device_has_no_float64_and_computes_as_the_cpu() -> None:
    batch = collate([[4, 5, 6], [7]], [[4, 5], [6, 7, 8]], [0, 1])

    def gradients(model: Any) -> list[torch.Tensor]:
        own = batch.to(next(model.parameters()).device)
        model.loss(own.src, own.src_lengths, own.tgt_in, own.tgt_out).backward()
        return [one.grad.cpu() for one in model.parameters()]

    expected, found = on_both(tiny_model(attention="general", bidirectional=True, tie="decoder"), gradients)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)
    with stand_in(), pytest.raises(TypeError, match="float64"):
        torch.zeros(2).to(DEVICE).double()


def trained(module: LitModel, train: list[Any], valid: list[Any], device: torch.device) -> dict[str, Any]:
    """The sum of the training's losses, and the figures of a validation after it."""
    module._device = device
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=1, global_rank=0, global_step=0, should_stop=False, barebones=False
    )
    module.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    module.train()
    for index, batch in enumerate(train):
        module.training_step(batch.to(device), index).backward()
        module.configure_gradient_clipping(SimpleNamespace(param_groups=[{"params": list(module.parameters())}]), 1.0)
    contents: dict[str, Any] = {}
    module.on_save_checkpoint(contents)
    module.eval()
    with torch.no_grad():
        module.on_validation_epoch_start()
        for index, batch in enumerate(valid):
            module.validation_step(batch.to(device), index)
        module.on_validation_epoch_end()
    return {**module.valid_figures, "sum": contents["training"]["train_loss"]}


def test_a_translator_trains_on_a_device_without_float64(tokenizers: Tokenizers) -> None:
    ids = tokenizers.src.encode(LINES)
    batches = [collate(ids[:3], ids[3:], [0, 1, 2]), collate(ids[3:], ids[:3], [0, 1, 2])]
    model = tiny_model(vocab=len(tokenizers.src), attention="general")

    def work(model: Any) -> dict[str, Any]:
        config = Config(model=ModelConfig(attention="general", **SIZES))
        module = LitTranslator(
            config, model, tokenizers, valid_src=LINES, valid_tgt=LINES, num_steps=9, steps_per_epoch=9
        )
        return trained(module, batches, batches[:1], next(model.parameters()).device)

    expected, found = on_both(model, work)
    assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_a_language_model_trains_on_a_device_without_float64(tokenizers: Tokenizers) -> None:
    stream = torch.randint(3, len(tokenizers.tgt), (60,), generator=torch.Generator().manual_seed(1)).int().numpy()
    windows = list(StreamLoader(stream, num_columns=2, bptt=10))

    def work(model: Any) -> dict[str, Any]:
        config = Config(model=ModelConfig(**SIZES))
        module = LitLanguageModel(config, model, tokenizers.tgt, valid_words=9, num_steps=9, steps_per_epoch=9)
        module.config.trainer.monitor = "loss"
        return trained(module, windows, windows, next(model.parameters()).device)

    expected, found = on_both(language_model(len(tokenizers.tgt)), work)
    assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize(
    "decode",
    [
        {"search": "greedy"},
        {"search": "beam", "beam_size": 3, "coverage_penalty": 0.2, "length_penalty": 1.0},
        {"search": "sample", "top_k": 9, "top_p": 0.9},
    ],
    ids=lambda decode: decode["search"],
)
def test_a_translator_decodes_on_a_device_without_float64(tokenizers: Tokenizers, decode: dict[str, Any]) -> None:
    model = tiny_model(vocab=len(tokenizers.src), attention="additive", peeky="both")

    def work(model: Any) -> list[Any]:
        translator = Translator(Engine([model]), tokenizers, DecodeConfig(max_extra=4, max_ratio=1.0, **decode))
        found = translator.n_best(LINES, 1, attention=True)
        scored = translator.score(LINES, LINES[::-1], attention=True)
        links = [one.links for own in found for one in own]
        numbers = [one.score for own in [*found, scored] for one in own]
        return [translator.translate(LINES), links, pytest.approx(numbers), pytest.approx(translator.nll(LINES, LINES))]

    expected, found = on_both(model, work)
    assert found[:2] == expected[:2]
    for one, other in zip(found[2:], expected[2:], strict=True):
        assert list(one.expected) == other


def test_a_language_model_scores_and_draws_on_a_device_without_float64(tokenizers: Tokenizers) -> None:
    def work(model: Any) -> list[Any]:
        lm = LanguageModel(model, tokenizers.tgt)
        return [list(lm.generate(3, max_length=9)), lm.score(LINES).line_nll, lm.log_probs(LINES)]

    (text, *expected), (drawn, *found) = on_both(language_model(len(tokenizers.tgt)), work)
    assert drawn == text
    for one, other in zip(expected, found, strict=True):
        assert other == pytest.approx(one, rel=1e-5)


def test_a_probe_works_on_a_device_without_float64(tokenizers: Tokenizers) -> None:
    model = tiny_model(vocab=len(tokenizers.src), peeky="both")
    expected, found = on_both(
        model, lambda model: probe(Translator(Engine([model]), tokenizers), LINES, LINES[::-1]).plain()
    )
    for name in ("peeky_reliance", "accuracy_by_position"):
        for figure, value in expected[name]["overall"].items():
            assert found[name]["overall"][figure] == pytest.approx(value, rel=1e-4)
