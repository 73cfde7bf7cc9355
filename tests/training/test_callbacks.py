"""Callbacks that report on a training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from seq2seq.training.callbacks import Stopwatch


def test_the_stopwatch_tells_training_from_validation_and_goes_on_after_a_resume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("seq2seq.training.callbacks.time.perf_counter", lambda: now)
    trainer, batch = SimpleNamespace(world_size=2), SimpleNamespace(num_tokens=30)
    first, second = Stopwatch(), Stopwatch()
    first.on_train_start(trainer, None)
    now += 4  # a step
    first.on_train_batch_end(trainer, None, None, batch, 0)
    now += 1  # what comes between a step and a validation belongs to the training
    first.on_validation_start(trainer, None)
    now += 7
    first.on_validation_end(trainer, None)
    second.load_state_dict(first.state_dict())
    now += 1000  # nothing ran
    second.on_train_start(trainer, None)
    now += 5
    second.on_train_batch_end(trainer, None, None, batch, 1)
    second.on_validation_start(trainer, None)
    now += 2
    second.on_validation_end(trainer, None)
    assert (second.seconds, second.valid_seconds, second.tokens) == (10, 9, 120)
    assert second.tokens_per_second() == 12
