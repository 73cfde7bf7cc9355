"""A run is a function of its config, survives a kill at any step bit for bit, and learns."""

from __future__ import annotations

import csv
import dataclasses
import inspect
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf

from seq2seq import checkpoint, stopping
from seq2seq.cli import train as cli_train
from seq2seq.config.schema import (
    Config,
    DataConfig,
    DecodeConfig,
    ModelConfig,
    OptimConfig,
    TokenizerConfig,
    TrainerConfig,
)
from seq2seq.data.arrays import train_tokenizers
from seq2seq.data.batches import Batch, collate
from seq2seq.data.pairs import SPLITS
from seq2seq.data.prepare import prepare
from seq2seq.decoding.forms import cpu
from seq2seq.errors import UserError
from seq2seq.files.lines import read_lines
from seq2seq.stopping import Interrupted, Stopped
from seq2seq.training import experiment
from seq2seq.training.callbacks import Checkpoints, Stopwatch
from seq2seq.training.data import TranslationData
from seq2seq.training.distributed import choose_strategy, without_gradient
from seq2seq.training.ema import RunningAverage
from seq2seq.training.experiment import check_trainer, read_config, run
from seq2seq.training.tasks.translation import LitModel, LitTranslator, build_optimizer, lr_factor
from seq2seq.training.trainer import ALLOWED, REFUSED, check_arguments
from tests.conftest import ROOT, tiny_model


def config(tmp_path: Path, **sections: dict[str, Any]) -> Config:
    """A training of a second; ``model={...}`` and so on change it."""
    data = {"kind": "addition", "train_size": 200, "valid_size": 12, "test_size": 12, "batch_sentences": 32}
    settings: dict[str, dict[str, Any]] = {
        "data": {**data, "root": str(tmp_path / "data")},
        "tokenizer": {"type": "char", "vocab_size": 0, "byte_fallback": False},
        "model": {"hidden_size": 12, "embedding_size": 6, "reverse": True, "peeky": "both"},
        "optim": {},
        "trainer": {"max_epochs": 2, "progress": False, "samples": 1},
    }
    built = {"data": DataConfig, "tokenizer": TokenizerConfig, "model": ModelConfig, "optim": OptimConfig}
    kinds = {**built, "trainer": TrainerConfig}
    return Config(name="t", **{s: kinds[s](**{**settings[s], **sections.get(s, {})}) for s in settings})


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "checkpoints" / name)["state_dict"]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without the columns that are times."""
    with open(folder / "metrics.csv", newline="") as stream:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(stream)]


def test_a_run_leaves_its_config_metrics_hypotheses_and_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(tmp_path)
    result = run(settings, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "test.json").read_text()) == result
    assert read_config(tmp_path / "run") == settings
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1", "2"]
    hypotheses = read_lines(tmp_path / "run" / "test.hyp")
    assert len(hypotheses) == 12
    references = read_lines(Path(result["data"]) / "test.tgt")
    from sacrebleu.metrics.bleu import BLEU

    assert result["bleu"] == BLEU().corpus_score(hypotheses, [references]).score
    printed = capsys.readouterr().out
    assert f"test BLEU {result['bleu']:.2f}" in printed
    assert result["bleu_signature"] in printed
    assert printed.count("hypothesis") == 1
    assert result["valid_seconds"] > 0


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


def test_tokenised_text_is_scored_as_it_stands_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = config(tmp_path, trainer={"max_steps": 1})
    settings.data.variant = "tokenized"  # only Multi30k can have it, whose files are not here
    result = run(settings, tmp_path / "run")
    assert "tok:none" in result["bleu_tokenized_signature"] and "tok:13a" in result["bleu_signature"]
    assert f"test BLEU of tokens {result['bleu_tokenized']:.2f}, signature nrefs:1" in capsys.readouterr().out


def test_every_step_of_every_epoch_and_process_draws_its_own_numbers() -> None:
    batch = collate([[4]], [[5]], [0])
    seeds = set()
    for seed in (1, 2):
        for rank in (0, 1):
            for epoch in (0, 1):
                at = SimpleNamespace(
                    config=SimpleNamespace(seed=seed),
                    current_epoch=epoch,
                    global_rank=rank,
                    device=torch.device("cpu"),
                )
                for batch_idx in range(150):
                    LitModel.on_train_batch_start(at, batch, batch_idx)  # type: ignore[arg-type]
                    expected = np.random.SeedSequence([seed, epoch, batch_idx, rank]).generate_state(1, np.uint64)[0]
                    assert torch.initial_seed() % 2**64 == int(expected)
                    seeds.add(torch.initial_seed())
    assert len(seeds) == 2 * 2 * 2 * 150


def test_the_same_config_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(dataclasses.replace(config(tmp_path, model={"dropout": 0.3}), seed=seed), tmp_path / name)
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert equal(weights(tmp_path / "a", "best.ckpt"), weights(tmp_path / "b", "best.ckpt"))
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("sampling", [0.0, 0.5])
def test_every_epoch_draws_its_batches_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int, sampling: float
) -> None:
    seen: dict[int, list[tuple[int, ...]]] = {}
    sources: dict[int, dict[int, list[int]]] = {}
    step = LitTranslator.training_step

    def note(self: LitTranslator, batch: Batch, batch_idx: int) -> torch.Tensor:
        seen.setdefault(self.current_epoch, []).append(tuple(batch.rows))
        read = zip(batch.rows, batch.src.tolist(), strict=True)
        sources.setdefault(self.current_epoch, {}).update({row: [one for one in src if one] for row, src in read})
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LitTranslator, "training_step", note)
    tokenizer = {"type": "bpe", "vocab_size": 40, "byte_fallback": False, "sampling": sampling}
    trainer = {"max_epochs": 3, "progress": False, "samples": 0}
    run(config(tmp_path, data={"num_workers": num_workers}, tokenizer=tokenizer, trainer=trainer), tmp_path / "run")
    assert list(seen) == [0, 1, 2]
    for epoch in seen:
        assert sorted(row for batch in seen[epoch] for row in batch) == list(range(200))
    batches = [set(seen[epoch]) for epoch in seen]
    assert not batches[0] & batches[1] and not batches[1] & batches[2]  # other sentences stand together
    assert (sources[0] == sources[1]) == (not sampling)


def test_r_drop_is_part_of_the_loss_that_is_trained_on(tmp_path: Path) -> None:
    """Equal seeds give the first step equal weights and masks; what differs is the weight of the divergence."""
    losses = []
    for weight in (1e-6, 1.0, 5.0):
        model = {"hidden_size": 12, "embedding_size": 6, "dropout": 0.5}
        trainer = {"max_steps": 1, "progress": False, "samples": 0}
        folder = tmp_path / str(weight)
        run(config(tmp_path, model=model, optim={"r_drop": weight}, trainer=trainer), folder)
        losses.append(float(rows(folder)[0]["train/loss"]))
    assert losses[1] > losses[0] + 1e-4
    assert losses[2] - losses[0] == pytest.approx(5 * (losses[1] - losses[0]), rel=1e-3)


class Killed(Exception):
    pass


RESUMED = {
    "plain": {},
    "accumulate": {"trainer": {"accumulate": 3, "max_epochs": 2, "progress": False, "samples": 0}},
    "validate inside": {
        "optim": {"ema": 0.5},
        "trainer": {
            "validate_every": 0.5,
            "max_epochs": 2,
            "progress": False,
            "samples": 0,
            "patience": 9,
            "keep_best": 2,
        },
    },
    "plateau and sampling": {
        "optim": {"schedule": "plateau", "algorithm": "sgd", "lr": 0.5, "plateau_patience": 0, "momentum": 0.9},
        "tokenizer": {"type": "bpe", "vocab_size": 40, "byte_fallback": False, "sampling": 0.2, "joint": True},
        "model": {"dropout": 0.3, "embedding_dropout": 0.2, "num_layers": 2},
    },
    "a bound in steps that is never reached": {"trainer": {"max_steps": 999, "max_epochs": 3}},
    "a bound in steps inside an epoch": {"trainer": {"max_steps": 10, "max_epochs": 3, "validate_every": 0.4}},
    "a bound in steps at the end of an epoch": {
        "trainer": {"max_steps": 14, "max_epochs": 4},
        "optim": {"schedule": "linear"},
    },
    "a bound in steps in the first epoch": {"trainer": {"max_steps": 6, "accumulate": 1, "max_epochs": 1}},
    "warm-up": {
        "optim": {"schedule": "cosine", "warmup_steps": 3, "algorithm": "adamw", "eps": 1e-3, "eps_hat": True},
        "data": {"num_workers": 1},
    },
    "every kind of dropout, layer by layer": {
        "model": {
            **{f"{kind}dropout": 0.2 for kind in ("", "embedding_", "memory_", "weight_", "src_word_", "tgt_word_")},
            **{"locked_dropout": True, "residual": True, "layer_norm": True, "attention": "general"},
            **{"num_layers": 2, "bidirectional": True, "hidden_size": 8, "embedding_size": 6},
        },
        "optim": {"schedule": "linear", "ema": 0.9},
    },
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_killed_at_any_step_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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

    for limit in range(1, 2 * total, max(1, total // 4)):
        folder = tmp_path / f"killed-{limit}"
        saves[0] = 0
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "_save_last", save_and_die)
            try:
                run(settings, folder)
            except Killed:
                pass
            else:
                break  # there were fewer saves than that
        run(settings, folder)
        assert equal(weights(tmp_path / "whole"), weights(folder)), limit
        assert equal(weights(tmp_path / "whole", "best.ckpt"), weights(folder, "best.ckpt")), limit
        assert rows(tmp_path / "whole") == rows(folder), limit
        kept = [checkpoint.kept_best(one) for one in (tmp_path / "whole", folder)]
        assert [path.name for path in kept[0]] == [path.name for path in kept[1]], limit
        for one, other in zip(*kept, strict=True):
            assert equal(weights(tmp_path / "whole", one.name), weights(folder, other.name)), limit
    assert limit > 3


def test_the_best_checkpoint_has_the_running_average_and_the_last_one_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worked out from the weights after each step, with two batches to a step, in a pass that the validation ends."""
    steps: list[dict[str, torch.Tensor]] = []
    first: dict[str, torch.Tensor] = {}
    original = LitTranslator.optimizer_step

    def keep(self: LitTranslator, *arguments: Any, **options: Any) -> None:
        if not first:
            first.update({name: one.clone() for name, one in self.state_dict().items()})
        original(self, *arguments, **options)
        steps.append({name: one.clone() for name, one in self.state_dict().items()})

    monkeypatch.setattr(LitTranslator, "optimizer_step", keep)
    trainer = {"max_epochs": 1, "accumulate": 2, "progress": False, "samples": 0}
    run(config(tmp_path, optim={"ema": 0.4, "lr": 0.05}, trainer=trainer), tmp_path / "run")
    assert len(steps) == 4
    average = first
    for step, decay in zip(steps, (2 / 11, 3 / 12, 4 / 13, 5 / 14), strict=True):
        average = {name: decay * average[name] + (1 - decay) * step[name] for name in step}
    assert equal(weights(tmp_path / "run"), steps[-1])
    best = weights(tmp_path / "run", "best.ckpt")
    for name, tensor in average.items():
        torch.testing.assert_close(best[name], tensor, msg=name)
    assert not equal(best, steps[-1])
    assert "average" not in checkpoint.read(tmp_path / "run" / "checkpoints" / "best.ckpt")["training"]


def test_the_running_average_forgets_no_faster_than_its_decay() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    average = RunningAverage(model, 0.5)
    wanted = 0.0
    for step in range(1, 30):
        torch.nn.init.constant_(model.weight, float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
    average.swap()
    assert model.weight.item() == pytest.approx(wanted)
    average.swap()
    assert model.weight.item() == 29.0


@pytest.mark.parametrize("bound", [-1, 1000])
def test_a_killed_process_goes_on_when_the_command_is_repeated(tmp_path: Path, bound: int) -> None:
    """SIGKILL at whatever moment, of a real process; without a bound in steps, and with one that is never reached."""
    words = [
        "data=addition",
        "tokenizer=char",
        "name=k",
        "data.train_size=400",
        "data.valid_size=20",
        "data.test_size=20",
    ]
    words += ["data.batch_sentences=16", "model.hidden_size=16", "model.embedding_size=8", "trainer.max_epochs=6"]
    words += ["trainer.save_minutes=1e-9", "model.dropout=0.2", f"trainer.max_steps={bound}"]
    command = [sys.executable, "-m", "seq2seq.cli.train", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for cwd in ("whole", "killed"):
        (tmp_path / cwd).mkdir()
    subprocess.run(command, cwd=tmp_path / "whole", env=environment, check=True, capture_output=True)
    child = subprocess.Popen(command, cwd=tmp_path / "killed", env=environment, stderr=subprocess.DEVNULL)
    waited = time.monotonic()
    while not list((tmp_path / "killed").glob("runs/k/*/checkpoints/last.ckpt")):
        assert time.monotonic() - waited < 120
        time.sleep(0.01)
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    subprocess.run(command, cwd=tmp_path / "killed", env=environment, check=True, capture_output=True)
    (whole,), (killed,) = ((tmp_path / cwd).glob("runs/k/*") for cwd in ("whole", "killed"))
    assert equal(weights(whole), weights(killed))
    assert rows(whole) == rows(killed)
    assert (whole / "test.hyp").read_bytes() == (killed / "test.hyp").read_bytes()


def test_a_run_that_is_stopped_and_killed_before_its_validation_is_validated_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = {"max_epochs": 500, "validate_every": 400.0, "max_minutes": 0.005}
    with monkeypatch.context() as patch:
        patch.setattr("lightning.Trainer.validate", lambda *arguments, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(config(tmp_path, trainer=trainer), tmp_path / "run")
    last = weights(tmp_path / "run")
    steps = checkpoint.read(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"]
    result = run(config(tmp_path, trainer=trainer), tmp_path / "run")
    assert equal(weights(tmp_path / "run", "best.ckpt"), last)
    assert result["best_step"] == steps > 0
    assert [row["step"] for row in rows(tmp_path / "run")] == [str(steps)]


def test_a_network_leaves_the_threads_as_they_were(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    run(config(tmp_path, trainer={"max_steps": 1}), tmp_path / "small")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name, ends", [("SIGINT", KeyboardInterrupt), ("SIGTERM", Stopped), ("SIGUSR1", Stopped)])
def test_a_second_signal_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ends: type[BaseException]
) -> None:
    def twice(*arguments: Any) -> None:
        for _ in range(2):
            signal.raise_signal(signal.Signals[name])

    monkeypatch.setattr(stopping, "ONE_STROKE", 0.0)
    monkeypatch.setattr(Checkpoints, "on_train_batch_end", twice)
    before = signal.getsignal(signal.Signals[name])
    with pytest.raises(ends):
        run(config(tmp_path), tmp_path / "run")
    assert signal.getsignal(signal.Signals[name]) is before
    assert not (tmp_path / "run").exists()  # for there is nothing in it to go on with


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
@pytest.mark.parametrize("where", ["on_train_batch_end", "on_validation_start", "on_train_end", "on_validation_end"])
def test_a_signal_saves_and_stops_and_the_run_ends_as_one_that_was_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    """Twice in a blink is once: timeout(1) signals a process, and then its whole group."""
    settings = config(tmp_path, trainer={"max_steps": 10}, model={"dropout": 0.2})
    run(settings, tmp_path / "whole")
    original = getattr(Stopwatch, where, None)

    def signalled(self: Stopwatch, *arguments: Any) -> None:
        if original:
            original(self, *arguments)
        for _ in range(2):
            signal.raise_signal(signal.Signals[name])

    with monkeypatch.context() as patch:
        patch.setattr(Stopwatch, where, signalled)
        with pytest.raises(Interrupted) as stop:
            run(settings, tmp_path / "run")
    assert stop.value.number == signal.Signals[name]
    assert not (tmp_path / "run" / "test.json").exists()
    run(settings, tmp_path / "run")
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    for checkpoint_name in ("last.ckpt", "best.ckpt"):
        assert equal(weights(tmp_path / "run", checkpoint_name), weights(tmp_path / "whole", checkpoint_name))


def test_pieces_of_another_run_have_to_suit(tmp_path: Path) -> None:
    run(config(tmp_path, trainer={"max_steps": 1}), tmp_path / "two")
    like = {"like": str(tmp_path / "two")}
    with pytest.raises(UserError, match="model.tie=all needs one vocabulary for both sides, and tokenizer.like=.* has"):
        run(config(tmp_path, tokenizer={**like, "joint": True}, model={"tie": "all"}), tmp_path / "a")
    with pytest.raises(UserError, match=r"tokenizer.sampling=0.3 needs pieces that can be cut anew, and those of"):
        run(config(tmp_path, tokenizer={**like, "type": "unigram", "vocab_size": 99, "sampling": 0.3}), tmp_path / "b")


def test_a_test_set_that_cannot_be_probed_is_scored_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nothing(*arguments: Any) -> None:
        raise UserError("there is nothing to probe")

    monkeypatch.setattr(experiment, "probe", nothing)
    assert "bleu" in run(config(tmp_path, trainer={"max_steps": 1}), tmp_path / "run")
    assert "probe.json is not written: there is nothing to probe" in caplog.text


SLURM = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
SLURM |= {"SLURM_JOB_ID": "71", "SLURM_JOB_NAME": "train"}


@pytest.mark.parametrize(
    "name, status, extra",
    [
        ("SIGINT", 130, []),
        ("SIGTERM", 143, ["data.num_workers=2"]),
        ("SIGUSR1", 138, []),
        ("SIGTERM", 143, ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1"]),
    ],
    ids=["ctrl-C", "TERM with workers", "USR1", "TERM under DDP"],
)
def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path, name: str, status: int, extra: list[str]) -> None:
    """Under Slurm too, to whose steps it sends a signal in all their processes."""
    words = [
        "data=addition",
        "tokenizer=char",
        "name=c",
        "data.train_size=2000",
        "data.valid_size=20",
        "data.test_size=20",
    ]
    words += ["data.batch_sentences=16", "model.hidden_size=16", "trainer.max_epochs=500", "trainer.samples=0"]
    child = subprocess.Popen(
        [sys.executable, "-m", "seq2seq.cli.train", *words, *extra],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **SLURM},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("epoch 1"):
                break
        os.killpg(child.pid, signal.Signals[name])
        rest = child.stderr.read()
    assert child.returncode == status
    said = re.search(r"the same command goes on, and so does: seq2seq-train resume=(\S+)", rest)
    assert said, rest
    assert "Traceback" not in rest
    folder = tmp_path / said[1]
    assert {path.name for path in tmp_path.iterdir()} == {"data", "runs"}
    assert checkpoint.read(folder / "checkpoints" / "last.ckpt")["global_step"] > 0
    if name != "SIGINT":
        return
    # The interrupted run's own config holds; make it a short one, as somebody might who has waited long enough.
    values = yaml.safe_load((folder / "config.yaml").read_text())
    assert values["trainer"]["max_epochs"] == 500
    values["trainer"]["max_epochs"] = int(rows(folder)[-1]["epoch"]) + 1
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    done = subprocess.run(
        [sys.executable, "-m", "seq2seq.cli.train", f"resume={folder}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr
    assert (folder / "test.json").is_file()


@pytest.mark.parametrize("kind", ["norm", "value", "none"])
def test_gradients_are_clipped_and_told_as_by_hand(kind: str, tmp_path: Path) -> None:
    module = LitModel(config(tmp_path), torch.nn.Linear(2, 1, bias=False), num_steps=1, steps_per_epoch=1)
    optimizer = torch.optim.SGD(module.model.parameters(), 1.0)
    bound = {"norm": 1.0, "value": 0.5, "none": None}[kind]
    weight = module.model.weight
    clipped = {
        "norm": [[0.6, 0.0], [0.6, 0.8], [0.0, 0.0]],
        "value": [[0.5, 0.0], [0.5, 0.5], [0.0, 0.0]],
        "none": [[0.6, 0.0], [3.0, 4.0], [0.0, 0.0]],
    }[kind]
    for gradient, expected in zip([[0.6, 0.0], [3.0, 4.0], [0.0, 0.0]], clipped, strict=True):
        weight.grad = torch.tensor([gradient])
        module.configure_gradient_clipping(optimizer, bound, "value" if kind == "value" else "norm")
        torch.testing.assert_close(weight.grad, torch.tensor([expected]), rtol=1e-5, atol=0)
    module.optimizer_zero_grad(0, 0, optimizer)
    assert weight.grad is None
    weight.grad = torch.tensor([[torch.inf, 0.0]])  # a step that is left out
    module.configure_gradient_clipping(optimizer, bound, "norm")
    figures = module._gradient_figures()
    assert figures["train/grad_norm"] == pytest.approx((0.6 + 5.0) / 3)
    assert figures["train/grad_norm_max"] == 5.0
    assert figures["train/clipped"] == pytest.approx(100 * {"norm": 1, "value": 2, "none": 0}[kind] / 3)


def test_gradients_are_told_of_many_steps(tmp_path: Path) -> None:
    module = LitModel(config(tmp_path), torch.nn.Linear(1, 1, bias=False), num_steps=1, steps_per_epoch=1)
    optimizer = torch.optim.SGD(module.model.parameters(), 1.0)
    for step in range(2500):
        module.model.weight.grad = torch.tensor([[float(step % 7)]])
        module.configure_gradient_clipping(optimizer, 3.0, "norm")
    norms = [step % 7 for step in range(2500)]
    figures = module._gradient_figures()
    assert figures["train/grad_norm"] == sum(norms) / 2500
    assert figures["train/grad_norm_max"] == 6.0
    assert figures["train/clipped"] == 100 * sum(norm > 3 for norm in norms) / 2500


def test_two_processes_train_on_every_sentence_and_give_one_result(tmp_path: Path) -> None:
    """The same batches, shared between two processes, make the same steps as in one."""
    words = ["data=addition", "tokenizer=char", "data.train_size=100", "data.valid_size=11", "data.test_size=10"]
    words += ["data.batch_sentences=16", "model.hidden_size=8", "model.dropout=0", "trainer.max_epochs=1"]
    words += ["optim=sgd", "optim.lr=0.1", "optim.ema=0.8", "trainer.samples=0"]
    for name, extra in (("one", []), ("two", ["trainer=ddp", "trainer.accelerator=cpu"])):
        done = subprocess.run(
            [sys.executable, "-m", "seq2seq.cli.train", f"name={name}", *words, *extra],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("test BLEU") == 1
    (one,), (two,) = ((tmp_path / "runs" / name).iterdir() for name in ("one", "two"))
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
    missing = set(without_gradient(model))
    encoder = {f"encoder.{name}" for name, _ in model.encoder.named_parameters()}
    assert missing == (encoder if (bridge, attention) == ("zero", "none") else set())
    assert model.training and torch.equal(torch.get_rng_state(), before)
    assert all(one.grad is None for one in model.parameters())
    chosen = choose_strategy(TrainerConfig(devices=devices), model)
    assert chosen == ("ddp_find_unused_parameters_true" if devices > 1 and missing else "auto")


def test_two_processes_train_a_decoder_that_sees_no_source(tmp_path: Path) -> None:
    """No gradient reaches the encoder with a bridge that hands over nothing, and DDP would wait for it."""
    words = ["data=addition", "tokenizer=char", "data.train_size=64", "data.valid_size=10", "data.test_size=10"]
    words += ["data.batch_sentences=16", "model.hidden_size=8", "model.bridge=zero", "trainer.max_epochs=1"]
    words += ["optim=sgd", "optim.lr=0.1", "optim.clip_norm=1", "model.dropout=0", "trainer.samples=0"]
    for name, extra in (("one", []), ("two", ["trainer=ddp", "trainer.accelerator=cpu"])):
        done = subprocess.run(
            [sys.executable, "-m", "seq2seq.cli.train", f"name={name}", *words, *extra],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    (one,), (two,) = ((tmp_path / "runs" / name).iterdir() for name in ("one", "two"))
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(two)[name], rtol=1e-4, atol=1e-6)


def test_bfloat16_trains_too_or_is_refused_where_the_cpu_lacks_it(tmp_path: Path) -> None:
    settings = config(tmp_path, trainer={"precision": "bf16-mixed"})
    if experiment.cpu_has_bfloat16():
        run(settings, tmp_path / "run")
        assert all(tensor.dtype == torch.float32 for tensor in weights(tmp_path / "run").values())
    else:
        with pytest.raises(UserError, match="torch has no recurrent layers in bfloat16 for this CPU; use 32-true"):
            run(settings, tmp_path / "run")


@pytest.mark.parametrize(
    ("decode", "said"),
    [
        (
            DecodeConfig(int8=True),
            r"decode.int8 \(--int8\) is for networks on the CPU, of torch's own recurrent layers",
        ),
        (DecodeConfig(shortlist=True), r"decode.shortlist \(--shortlist\) is for networks on the CPU, of torch's own"),
        (DecodeConfig(cuda_graphs=True), r"decode.cuda_graphs \(--cuda-graphs\) is for networks on a GPU, and this"),
    ],
)
def test_what_the_network_cannot_be_decoded_with_is_refused_before_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decode: DecodeConfig, said: str
) -> None:
    monkeypatch.setattr(experiment.L.Trainer, "fit", lambda *_, **__: pytest.fail("trained in vain"))
    wanted = config(tmp_path, model={"layer_norm": True}, trainer={"shortlist": 3})
    with pytest.raises(UserError, match=said):
        run(dataclasses.replace(wanted, decode=decode), tmp_path / "run")


def test_8_bits_that_this_machine_lacks_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "has_int8", lambda: False)
    monkeypatch.setattr(experiment.L.Trainer, "fit", lambda *_, **__: pytest.fail("trained in vain"))
    with pytest.raises(UserError, match=r"decode.int8 \(--int8\) needs oneDNN's 8-bit products and a processor with"):
        run(dataclasses.replace(config(tmp_path), decode=DecodeConfig(int8=True)), tmp_path / "run")


def test_bfloat16_is_refused_before_any_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "cpu_has_bfloat16", lambda: False)
    with pytest.raises(UserError, match="trainer.precision=bf16-mixed, but torch has no"):
        run(config(tmp_path, trainer={"precision": "bf16-mixed"}), tmp_path / "run")
    assert not (tmp_path / "data").exists()


def test_a_finished_run_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(config(tmp_path), tmp_path / "run")
    monkeypatch.setattr(experiment, "fit", None)
    assert run(config(tmp_path), tmp_path / "run") == first


def test_a_folder_with_another_run_is_refused_until_it_may_be_overwritten(tmp_path: Path) -> None:
    run(config(tmp_path), tmp_path / "run")
    other = config(tmp_path, model={"hidden_size": 8})
    with pytest.raises(UserError, match=r"other settings \(model.hidden_size: 12 there, 8 here\).*overwrite=true"):
        run(other, tmp_path / "run")
    other.overwrite = True
    (tmp_path / "run" / "probe.svg").write_text("<svg/>")  # of the weights that go
    run(other, tmp_path / "run")
    assert not (tmp_path / "run" / "probe.svg").exists()
    assert read_config(tmp_path / "run").model.hidden_size == 8
    assert len(rows(tmp_path / "run")) == 2


def test_an_overwriting_that_is_killed_leaves_nothing_that_is_taken_for_the_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = config(tmp_path, model={"hidden_size": 8})
    other.overwrite = True
    run(config(tmp_path, trainer={"max_epochs": 1}), tmp_path / "run")
    for survived in range(30):  # removals, of files and folders
        folder = Path(shutil.copytree(tmp_path / "run", tmp_path / f"run{survived}"))
        left = survived

        def die_after_some(path: Path, **options: object) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            subprocess.run(["rm", "-rf", str(path)], check=True)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", die_after_some)
            patch.setattr(experiment.shutil, "rmtree", die_after_some)
            try:
                experiment.claim(other, folder)
            except KeyboardInterrupt:
                if read_config(folder).model.hidden_size == 8:  # all had gone, and the new one had begun
                    assert not {"checkpoints", "test.json", "metrics.csv"} & {path.name for path in folder.iterdir()}
            else:
                assert survived > 10
                break
        experiment.claim(other, folder)
        assert {path.name for path in folder.iterdir()} - {".lock"} == {"config.yaml"}
        assert read_config(folder).model.hidden_size == 8
    else:
        pytest.fail("more files than were thought of")


@pytest.mark.parametrize(
    "refused",
    [{"data": {"valid_size": 10**9}}, {"model": {"hidden_size": 10**8}}, {"tokenizer": {"like": "nowhere"}}],
)
def test_a_refused_overwriting_leaves_the_old_run(tmp_path: Path, refused: dict[str, Any]) -> None:
    run(config(tmp_path, trainer={"max_epochs": 1}), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    other = config(tmp_path, **refused)
    other.overwrite = True
    with pytest.raises(UserError):
        run(other, tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("there", [False, True])
def test_a_refused_run_leaves_no_folder_and_no_config(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "runs" / "a" / "b"
    if there:
        folder.mkdir(parents=True)
        (folder / "note").write_text("mine")
    with pytest.raises(UserError, match="the loss is"):
        run(config(tmp_path, optim={"algorithm": "sgd", "lr": 1e38, "clip_norm": 0.0}), folder)
    if there:
        assert [path.name for path in folder.iterdir()] == ["note"]
    else:
        assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("left", ["test.json", "checkpoints"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_without_its_config_is_nobody_s(tmp_path: Path, left: str, overwrite: bool) -> None:
    folder = tmp_path / "run"
    run(config(tmp_path, trainer={"max_epochs": 1}), folder)
    for path in (folder / "config.yaml", folder / "test.json"):
        if path.name != left:
            path.unlink()
    if left != "checkpoints":
        (folder / "checkpoints").rename(tmp_path / "elsewhere")
    settings = config(tmp_path)
    settings.overwrite = overwrite
    with pytest.raises(UserError, match=rf"run has {left} but no config.yaml, so .* name="):
        run(settings, folder)
    assert (folder / left).exists()
    assert not (folder / "config.yaml").exists()


def files_of(tmp_path: Path, lines: list[str]) -> dict[str, Any]:
    """Settings of a data set with these lines on either side of every split."""
    files = {f"{split}_{side}": tmp_path / f"{split}.{side}" for split in SPLITS for side in ("src", "tgt")}
    for path in files.values():
        path.write_text("".join(f"{line}\n" for line in lines))
    return {"kind": "files", "root": str(tmp_path / "data"), **{name: str(path) for name, path in files.items()}}


def test_an_unfinished_run_is_not_gone_on_with_on_other_text(tmp_path: Path) -> None:
    lines = ["a b c", "b c a", "c a b a"] * 4
    settings = config(tmp_path, trainer={"max_epochs": 1})
    settings.data = DataConfig(**files_of(tmp_path, lines))
    run(settings, tmp_path / "run")
    (tmp_path / "run" / "test.json").unlink()
    before = weights(tmp_path / "run")
    files_of(tmp_path, [line.replace("a", "d") for line in lines])
    with pytest.raises(
        UserError, match=r"run was trained on other text: train.src, train.tgt, valid.src, valid.tgt .*"
    ):
        run(settings, tmp_path / "run")
    assert all(torch.equal(value, before[name]) for name, value in weights(tmp_path / "run").items())
    files_of(tmp_path, lines)
    run(settings, tmp_path / "run")  # the old text is back


def test_an_unfinished_run_is_not_gone_on_with_for_other_pieces(tmp_path: Path) -> None:
    run(config(tmp_path, trainer={"max_epochs": 1}), tmp_path / "like")
    settings = config(tmp_path, trainer={"max_epochs": 1}, tokenizer={"like": str(tmp_path / "like")})
    run(settings, tmp_path / "run")
    (tmp_path / "run" / "test.json").unlink()
    again = config(tmp_path, trainer={"max_epochs": 1}, tokenizer={"type": "unigram", "vocab_size": 40})
    again.overwrite = True
    run(again, tmp_path / "like")
    with pytest.raises(UserError, match=r"run was trained with other pieces than its tokenizer has now; .*overwrite"):
        run(settings, tmp_path / "run")


def test_a_bound_in_steps_still_validates_and_scores(tmp_path: Path) -> None:
    run(config(tmp_path, trainer={"max_steps": 9}), tmp_path / "run")
    assert [(row["epoch"], row["step"]) for row in rows(tmp_path / "run")] == [("1", "7"), ("2", "9")]


def test_validations_inside_an_epoch_come_at_their_share(tmp_path: Path) -> None:
    run(config(tmp_path, trainer={"validate_every": 0.5}), tmp_path / "run")
    assert [row["step"] for row in rows(tmp_path / "run")] == ["3", "6", "10", "13", "14"]  # and the end


def test_patience_ends_a_training_that_no_longer_improves(tmp_path: Path) -> None:
    run(config(tmp_path, optim={"lr": 1e-9}, trainer={"max_epochs": 50, "patience": 2}), tmp_path / "run")
    assert 2 < len(rows(tmp_path / "run")) < 50


def test_patience_counts_the_falling_loss_while_the_figure_is_0(tmp_path: Path) -> None:
    optim = {"schedule": "plateau", "plateau_patience": 0}
    settings = config(tmp_path, optim=optim, trainer={"max_epochs": 5, "patience": 1, "monitor": "exact_match"})
    run(settings, tmp_path / "run")
    found = rows(tmp_path / "run")
    assert len(found) == 5
    assert {float(row["valid/exact_match"]) for row in found} == {0.0}
    losses = [float(row["valid/loss"]) for row in found]
    assert losses == sorted(losses, reverse=True)
    assert {float(row["lr"]) for row in found} == {settings.optim.lr}


@pytest.mark.parametrize("limit, steps", [(3, ["3", "6"]), (0.6, ["4", "8"]), (99, ["7", "14"])])
def test_a_schedule_ends_with_the_batches_that_lightning_is_told_to_take(
    limit: float, steps: list[str], tmp_path: Path
) -> None:
    trainer = {"lightning": {"limit_train_batches": limit}}
    run(config(tmp_path, optim={"schedule": "linear"}, trainer=trainer), tmp_path / "run")
    found = rows(tmp_path / "run")
    assert [row["step"] for row in found] == steps
    assert float(found[-1]["lr"]) == 0.0
    assert float(found[0]["lr"]) > 0.0


def test_resume_shows_progress_as_its_own_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = config(tmp_path, trainer={"progress": True})
    experiment.claim(begun, tmp_path / "run")
    job = SimpleNamespace(mode=RunMode.RUN)
    monkeypatch.setattr(cli_train, "HydraConfig", SimpleNamespace(get=lambda: job))
    given: list[Config] = []
    monkeypatch.setattr(experiment, "run", lambda config, folder: given.append(config))
    again = Config(resume=str(tmp_path / "run"), trainer=TrainerConfig(progress=False))
    cli_train._train(OmegaConf.structured(again), tmp_path / "run")
    begun.trainer.progress = False
    assert given == [begun]


def test_a_run_that_stopped_early_does_not_train_on_when_only_its_test_was_lost(tmp_path: Path) -> None:
    settings = config(tmp_path, optim={"lr": 1e-9}, trainer={"max_epochs": 50, "patience": 2})
    first = run(settings, tmp_path / "run")
    before = rows(tmp_path / "run")
    (tmp_path / "run" / "test.json").unlink()
    again = run(settings, tmp_path / "run")
    assert rows(tmp_path / "run") == before
    assert again["best_step"] == first["best_step"]
    assert again["bleu"] == first["bleu"]


def test_a_run_begun_with_overwrite_is_gone_on_with_as_any_other(tmp_path: Path) -> None:
    settings = config(tmp_path)
    settings.overwrite = True
    run(settings, tmp_path / "run")
    assert not read_config(tmp_path / "run").overwrite


def test_a_network_too_large_for_the_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the network cannot be built: .*; make model.hidden_size smaller"):
        run(config(tmp_path, model={"hidden_size": 10**8}), tmp_path / "run")


def test_every_argument_of_the_trainer_is_allowed_or_refused_for_a_reason(tmp_path: Path) -> None:
    """A new Lightning may have new ones: they are to be decided on."""
    every = set(inspect.signature(experiment.L.Trainer).parameters)
    taken = {*experiment._trainer_arguments(config(tmp_path)), "callbacks", "logger"}
    assert set(ALLOWED) | set(REFUSED) | taken == every
    assert not set(ALLOWED) & (set(REFUSED) | taken)
    for name in every - set(ALLOWED):
        with pytest.raises(UserError, match=rf"^trainer.lightning.{name} (is set by|would) .*; \w+"):
            check_arguments({name: 1})


def test_a_profile_is_seen_and_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(config(tmp_path), tmp_path / "a")
    run(config(tmp_path, trainer={"lightning": {"profiler": "simple"}}), tmp_path / "b")
    assert "run_training_batch" in caplog.text
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_what_lightning_takes_from_the_environment_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(config(tmp_path), tmp_path / "a")
    for name, value in {"LIMIT_VAL_BATCHES": 1, "LIMIT_TRAIN_BATCHES": 2, "MIN_EPOCHS": 9, "FAST_DEV_RUN": 1}.items():
        monkeypatch.setenv(f"PL_TRAINER_{name}", str(value))
    run(config(tmp_path), tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


SCHEDULERS = {
    "slurm": {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}
    | {"SLURM_JOB_ID": "71", "SLURM_JOB_NAME": "train"},
    "torchrun": {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "0", "NODE_RANK": "1"}
    | {"MASTER_ADDR": "nowhere", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2"},
    "mpi": {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMI_RANK": "1", "JSM_NAMESPACE_RANK": "1"},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_run_on_one_device_does_not_mind_a_job_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nor does it begin with what Lightning would take for its own checkpoint."""
    trainer = {"loggers": ["csv", "tensorboard"]}
    settings = dataclasses.replace(config(tmp_path, trainer=trainer), seed=2)
    run(config(tmp_path), tmp_path / "other")
    expected = run(settings, tmp_path / "alone")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for place in (tmp_path / "cwd", tmp_path / "job"):
        place.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "other" / "checkpoints" / "last.ckpt", place / "hpc_ckpt_1.ckpt")
    for variable, value in SCHEDULERS[name].items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as Lightning has it when it is imported under these variables
    found = run(settings, tmp_path / "job")
    assert found["bleu"] == expected["bleu"]
    assert rows(tmp_path / "job") == rows(tmp_path / "alone")
    assert equal(weights(tmp_path / "job"), weights(tmp_path / "alone"))
    assert list((tmp_path / "job" / "tensorboard").iterdir())
    assert {path.name for path in (tmp_path / "cwd").iterdir()} == {"hpc_ckpt_1.ckpt"}
    assert all(os.environ[variable] == value for variable, value in SCHEDULERS[name].items())


def test_no_minutes_between_saves_are_none_inside_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves: list[int] = []
    original = Checkpoints._save_last

    def note(self: Checkpoints, trainer: Any) -> None:
        saves.append(trainer.global_step)
        original(self, trainer)

    monkeypatch.setattr(Checkpoints, "_save_last", note)
    for minutes, expected in ((0.0, [7, 14]), (1e-9, list(range(1, 15)))):
        saves.clear()
        run(config(tmp_path, trainer={"save_minutes": minutes}), tmp_path / str(minutes))
        assert saves == expected


def test_what_the_trainer_refuses_is_said_in_one_line(tmp_path: Path) -> None:
    extra = {"lightning": {"limit_train_batches": 1.5}, "progress": False}
    with pytest.raises(UserError, match=r"lightning.Trainer refuses limit_train_batches=1.5: "):
        run(config(tmp_path, trainer=extra), tmp_path / "run")


@pytest.mark.parametrize(
    "extra, said",
    [
        ({"limit_val_batches": 2}, "limit_val_batches would put a loss of a part of the validation set beside a score"),
        ({"limit_train_batches": 0.001}, "lightning.Trainer refuses limit_train_batches=0.001: "),
    ],
)
def test_batches_that_would_leave_nothing_or_half_a_figure_are_refused(
    tmp_path: Path, extra: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        run(config(tmp_path, trainer={"lightning": extra}), tmp_path / "run")


def test_fewer_pairs_than_processes_are_refused(tmp_path: Path) -> None:
    settings = config(tmp_path, data={"valid_size": 1})
    folder = prepare(settings.data)
    data = TranslationData(settings, folder, train_tokenizers(folder, settings.tokenizer))
    data.trainer = SimpleNamespace(world_size=2, global_rank=1)  # type: ignore[assignment]
    assert len(list(data.train_dataloader()))
    with pytest.raises(UserError, match=r"a split of 1 pairs, too few for 2 processes; make trainer.devices smaller"):
        data.val_dataloader()


def test_a_fixed_length_is_not_sampled(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer.sampling=0.1 changes how many tokens .* model.fixed_length=5"):
        config(tmp_path, model={"fixed_length": 5}, tokenizer={"type": "bpe", "vocab_size": 99, "sampling": 0.1})


def test_a_result_that_is_no_json_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text("{")
    with pytest.raises(UserError, match=r"test.json is not valid JSON: .*; delete it to have the run scored again"):
        experiment.read_result(tmp_path)


def test_a_fixed_length_has_no_place_for_a_blank_source(tmp_path: Path) -> None:
    for split, lines in (("train", "a\tb\n"), ("valid", "\tb\n"), ("test", "a\tb\n")):
        (tmp_path / split).write_text(lines)
    files = {f"{split}_src": str(tmp_path / split) for split in ("train", "valid", "test")}
    with pytest.raises(UserError, match="model.fixed_length has no end symbol to stand for a blank source"):
        run(config(tmp_path, data={"kind": "files", **files}, model={"fixed_length": 1}), tmp_path / "run")


def test_the_best_checkpoint_is_the_best_by_the_monitor(tmp_path: Path) -> None:
    settings = config(tmp_path, optim={"lr": 0.3, "clip_norm": 0.0}, trainer={"monitor": "loss", "max_epochs": 4})
    result = run(settings, tmp_path / "run")
    losses = {int(row["step"]): float(row["valid/loss"]) for row in rows(tmp_path / "run")}
    assert result["best_step"] == min(losses, key=losses.__getitem__)


@pytest.mark.parametrize("keep_best", [1, 3, 9])
def test_the_best_few_checkpoints_are_kept(tmp_path: Path, keep_best: int) -> None:
    trainer = {"monitor": "loss", "max_epochs": 6, "keep_best": keep_best}
    result = run(config(tmp_path, optim={"lr": 0.1, "clip_norm": 0.0}, trainer=trainer), tmp_path / "run")
    losses = {int(row["step"]): float(row["valid/loss"]) for row in rows(tmp_path / "run")}
    assert len(losses) == 6
    best = sorted(losses, key=losses.__getitem__)[:keep_best]
    assert result["best_step"] == best[0]
    wanted = [f"step-{step}.ckpt" for step in sorted(best)] if keep_best > 1 else []
    assert [path.name for path in checkpoint.kept_best(tmp_path / "run")] == wanted
    for name in wanted:
        same = equal(weights(tmp_path / "run", name), weights(tmp_path / "run", "best.ckpt"))
        assert same == (name == f"step-{best[0]}.ckpt")


def test_a_step_that_is_validated_twice_is_kept_once(tmp_path: Path) -> None:
    """With ten batches to a step, four of the first epoch's validations are of the first weights."""
    trainer = {"monitor": "loss", "accumulate": 10, "validate_every": 0.2, "keep_best": 3, "max_epochs": 2}
    run(config(tmp_path, data={"batch_sentences": 20}, trainer=trainer), tmp_path / "run")
    steps = [row["step"] for row in rows(tmp_path / "run")]
    assert len(steps) > len(set(steps)) == 3
    assert len(checkpoint.kept_best(tmp_path / "run")) == 3


def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path: Path) -> None:
    # Plain SGD, whose update is linear in the gradient; one epoch of one step.
    optim = {"algorithm": "sgd", "lr": 0.1, "clip_norm": 0.0}
    for name, data, trainer in (
        ("one", {"batch_sentences": 0, "batch_tokens": 10**6}, {"max_epochs": 1}),
        ("many", {"batch_sentences": 7}, {"max_epochs": 1, "accumulate": 10**3}),
    ):
        trainer = {"progress": False, "samples": 0, **trainer}
        run(config(tmp_path, data=data, optim=optim, trainer=trainer), tmp_path / name)
        assert rows(tmp_path / name)[0]["step"] == "1"
    one, many = weights(tmp_path / "one"), weights(tmp_path / "many")
    for name in one:
        torch.testing.assert_close(one[name], many[name], rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_no_number_names_the_step_and_what_to_try(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"the loss is (nan|inf) at step \d+ \(epoch 0\); try a smaller optim.lr \(now 1e\+38\)"
    ):
        run(config(tmp_path, optim={"algorithm": "sgd", "lr": 1e38, "clip_norm": 0.0}), tmp_path / "run")


def test_a_checkpoint_that_is_not_whole_is_refused_by_name(tmp_path: Path) -> None:
    settings = config(tmp_path)
    run(settings, tmp_path / "run")
    (tmp_path / "run" / "test.json").unlink()
    (tmp_path / "run" / "checkpoints" / "previous.ckpt").unlink()
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(b"half")
    with pytest.raises(UserError, match=r"last\.ckpt is (not a whole checkpoint|refused)"):
        run(settings, tmp_path / "run")


@pytest.mark.parametrize(
    "extra, message",
    [
        (
            {"lightning": {"max_epoch": 3}},
            r"trainer.lightning.max_epoch is no argument of lightning.Trainer; there are: ",
        ),
        ({"lightning": {"max_epochs": 3}}, r"trainer.lightning.max_epochs is set by seq2seq itself"),
    ],
)
def test_trainer_arguments_are_checked_before_any_data_is_read(
    tmp_path: Path, extra: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(config(tmp_path, trainer=extra), tmp_path / "run")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer.accelerator=gpu, but torch finds no GPU here; use trainer=cpu"):
        check_trainer(config(tmp_path, trainer={"accelerator": "gpu"}))


@pytest.mark.parametrize(
    "content, message",
    [
        (None, r"is not a run folder: it has no config.yaml"),
        ("a: [", r"config.yaml is not valid YAML: "),
        ("- 1", r"config.yaml holds no keys"),
        ("model: {revers: true}", r"config.yaml: model.revers is not a key. Did you mean reverse\?"),
    ],
)
def test_a_run_folder_that_cannot_be_read_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        read_config(tmp_path)


def test_tensorboard_gets_the_metrics(tmp_path: Path) -> None:
    run(config(tmp_path, trainer={"loggers": ["csv", "tensorboard"], "max_epochs": 1}), tmp_path / "run")
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))


def test_wandb_that_is_not_installed_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"trainer.loggers=\[wandb\] needs wandb, which is not installed; pip install '.\[wandb\]'"
    ):
        run(config(tmp_path, trainer={"loggers": ["wandb"]}), tmp_path / "run")


@pytest.mark.parametrize(
    "options, steps, expected",
    [
        ({}, [0, 5, 99], [1, 1, 1]),
        ({"warmup_steps": 4}, [0, 1, 3, 4], [0.25, 0.5, 1, 1]),
        ({"schedule": "inverse_sqrt", "warmup_steps": 4}, [0, 3, 15, 63], [0.25, 1, 0.5, 0.25]),
        ({"schedule": "cosine"}, [0, 50, 100], [1, 0.5, 0]),
        ({"schedule": "cosine", "warmup_steps": 20}, [19, 60, 100, 300], [1, 0.5, 0, 0]),
        ({"schedule": "linear", "warmup_steps": 10}, [4, 9, 50, 75, 100, 300], [0.5, 1, 1, 0.5, 0, 0]),
        ({"schedule": "linear", "decay_start": 0.0}, [0, 25, 99], [1, 0.75, 0.01]),
        ({"schedule": "linear", "warmup_steps": 80}, [39, 55, 60, 90], [0.5, 0.7, 0.7625, 0.2]),
    ],
)
def test_schedules_by_hand(options: dict[str, Any], steps: list[int], expected: list[float]) -> None:
    assert [lr_factor(OptimConfig(**options), step, 100) for step in steps] == pytest.approx(expected)


@pytest.mark.parametrize("algorithm", ["adam", "adamw", "sgd"])
def test_one_step_of_each_optimiser_by_hand(algorithm: str) -> None:
    settings = OptimConfig(algorithm=algorithm, lr=0.1, weight_decay=0.5, momentum=0.9, clip_norm=0.0)
    model = tiny_model()
    optimizer = build_optimizer(settings, model)
    bias = model.decoder.output.bias
    before, gradient = bias.detach().clone(), torch.linspace(0.5, 2, len(bias))
    bias.grad = gradient.clone()
    optimizer.step()
    if algorithm == "sgd":
        expected = before - 0.1 * (gradient + 0.5 * before)
    elif algorithm == "adam":  # the first step of Adam is the sign of the penalised gradient
        expected = before - 0.1 * torch.sign(gradient + 0.5 * before)
    else:
        expected = before - 0.1 * 0.5 * before - 0.1 * torch.sign(gradient)
    torch.testing.assert_close(bias.detach(), expected, rtol=1e-4, atol=1e-5)


def test_it_learns_pairs_by_heart(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        data={"train_size": 8, "valid_size": 2, "test_size": 2},
        model={"hidden_size": 64, "embedding_size": 16},
        optim={"lr": 1e-2},
        trainer={"max_epochs": 100, "validate_every": 50.0, "monitor": "loss", "progress": False, "samples": 0},
    )
    result = run(settings, tmp_path / "run")
    assert float(rows(tmp_path / "run")[-1]["train/loss"]) < 0.5
    from seq2seq.translate.translator import Translator

    folder = Path(result["data"])
    last = Translator.from_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last.translate(read_lines(folder / "train.src")) == read_lines(folder / "train.tgt")
    assert math.isfinite(result["perplexity"])
