"""A run is a function of its config, survives a kill at any step bit for bit, and learns."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra.types import RunMode
from omegaconf import OmegaConf

from seq2seq import checkpoint
from seq2seq.cli import train as cli_train
from seq2seq.config.schema import (
    TASKS,
    Config,
    DataConfig,
    DecodeConfig,
    ModelConfig,
    OptimConfig,
    TokenizerConfig,
    TrainerConfig,
)
from seq2seq.data.batches import Batch, collate
from seq2seq.data.pairs import SPLITS
from seq2seq.errors import UserError
from seq2seq.files.lines import read_lines
from seq2seq.results.result import Result
from seq2seq.runs import read_config
from seq2seq.training import experiment, tasks
from seq2seq.training.checkpoints import Checkpoints
from seq2seq.training.claim import claim
from seq2seq.training.experiment import run
from seq2seq.training.tasks.base import LitModel
from seq2seq.training.tasks.translation import LitTranslator
from tests.conftest import ROOT, Command, equal, rows, weights
from tests.processes import start


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


def test_a_run_leaves_its_config_metrics_hypotheses_and_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(tmp_path)
    result = run(settings, tmp_path / "run").plain()
    assert json.loads((tmp_path / "run" / "test.json").read_text()) == result
    assert read_config(tmp_path / "run") == settings
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1", "2"]
    hypotheses = read_lines(tmp_path / "run" / "test.hyp")
    assert len(hypotheses) == 12
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert (result["git_revision"] or "").rstrip("+") == (commit if (ROOT / ".git").exists() else "")
    references = read_lines(Path(result["data"]) / "test.tgt")
    from sacrebleu.metrics.bleu import BLEU

    assert result["bleu"] == BLEU().corpus_score(hypotheses, [references]).score
    printed = capsys.readouterr().out
    assert f"test BLEU {result['bleu']:.2f}" in printed
    assert result["bleu_signature"] in printed
    assert printed.count("hypothesis") == 1
    assert result["valid_seconds"] > 0


def test_tokenised_text_is_scored_as_it_stands_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = config(tmp_path, trainer={"max_steps": 1})
    settings.data.variant = "tokenized"  # only Multi30k can have it, whose files are not here
    result = run(settings, tmp_path / "run").plain()
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


def test_the_config_knows_every_task_and_only_those() -> None:
    assert tuple(tasks.TASKS) == TASKS
    assert len({task.kind for task in tasks.TASKS.values()}) == len(TASKS)


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


@pytest.mark.parametrize("bound", [-1, 1000])
def test_a_killed_process_goes_on_when_the_command_is_repeated(command: Command, tmp_path: Path, bound: int) -> None:
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
    for cwd in ("whole", "killed"):
        (tmp_path / cwd).mkdir()
    assert command("train", *words, cwd=tmp_path / "whole").returncode == 0
    child = start("train", *words, cwd=tmp_path / "killed", stderr=subprocess.DEVNULL)
    waited = time.monotonic()
    while not list((tmp_path / "killed").glob("runs/k/*/checkpoints/last.ckpt")):
        assert time.monotonic() - waited < 120
        time.sleep(0.01)
    time.sleep(0.1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert command("train", *words, cwd=tmp_path / "killed").returncode == 0
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
    result = run(config(tmp_path, trainer=trainer), tmp_path / "run").plain()
    assert equal(weights(tmp_path / "run", "best.ckpt"), last)
    assert result["best_step"] == steps > 0
    assert [row["step"] for row in rows(tmp_path / "run")] == [str(steps)]


def test_a_network_leaves_the_threads_as_they_were(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    run(config(tmp_path, trainer={"max_steps": 1}), tmp_path / "small")
    assert torch.get_num_threads() == 2


def test_pieces_of_another_run_have_to_suit(tmp_path: Path) -> None:
    run(config(tmp_path, trainer={"max_steps": 1}), tmp_path / "two")
    like = {"like": str(tmp_path / "two")}
    with pytest.raises(UserError, match="model.tie=all needs one vocabulary for both sides, and tokenizer.like=.* has"):
        run(config(tmp_path, tokenizer={**like, "joint": True}, model={"tie": "all"}), tmp_path / "a")
    with pytest.raises(UserError, match=r"tokenizer.sampling=0.3 needs a tokenizer that can sample, and those of"):
        run(config(tmp_path, tokenizer={**like, "type": "unigram", "vocab_size": 99, "sampling": 0.3}), tmp_path / "b")


def test_a_test_set_that_cannot_be_probed_is_scored_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nothing(*arguments: Any) -> None:
        raise UserError("there is nothing to probe")

    monkeypatch.setattr("seq2seq.training.tasks.translation.probe", nothing)
    assert "bleu" in run(config(tmp_path, trainer={"max_steps": 1}), tmp_path / "run").plain()
    assert "probe.json is not written: there is nothing to probe" in caplog.text


@pytest.mark.parametrize(
    ("decode", "said"),
    [
        (
            DecodeConfig(int8=True),
            r"decode.int8 is for networks on the CPU, of torch's own recurrent layers",
        ),
        (DecodeConfig(shortlist=True), r"decode.shortlist is for networks on the CPU, of torch's own"),
        (DecodeConfig(cuda_graphs=True), r"decode.cuda_graphs is for networks on a GPU, and this"),
    ],
)
def test_what_the_network_cannot_be_decoded_with_is_refused_before_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decode: DecodeConfig, said: str
) -> None:
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: pytest.fail("trained in vain"))
    wanted = config(tmp_path, model={"layer_norm": True}, trainer={"shortlist": 3})
    with pytest.raises(UserError, match=said):
        run(dataclasses.replace(wanted, decode=decode), tmp_path / "run")


def test_8_bits_that_this_machine_lacks_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seq2seq.decoding.forms.products.has_int8", lambda: False)
    monkeypatch.setattr("lightning.Trainer.fit", lambda *_, **__: pytest.fail("trained in vain"))
    with pytest.raises(UserError, match=r"decode.int8 needs oneDNN's 8-bit products and a processor with"):
        run(dataclasses.replace(config(tmp_path), decode=DecodeConfig(int8=True)), tmp_path / "run")


def test_a_finished_run_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(config(tmp_path), tmp_path / "run").plain()
    monkeypatch.setattr(experiment, "fit", None)
    assert run(config(tmp_path), tmp_path / "run").plain() == first


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
    claim(begun, tmp_path / "run")
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
    first = run(settings, tmp_path / "run").plain()
    before = rows(tmp_path / "run")
    (tmp_path / "run" / "test.json").unlink()
    again = run(settings, tmp_path / "run").plain()
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


@pytest.mark.parametrize(
    "part, error, said",
    [
        ("build_seq2seq", UserError, "^the network cannot be built: odd; change the sizes in model.$"),
        ("TranslationData", ValueError, "^odd.$"),
        ("LitTranslator", ValueError, "^odd.$"),
    ],
)
def test_only_a_value_error_of_the_network_is_about_its_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, error: type[Exception], said: str
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ValueError("odd.")

    monkeypatch.setattr(f"seq2seq.training.tasks.translation.{part}", refuse)
    with pytest.raises(error, match=said):
        run(config(tmp_path), tmp_path / "run")


def test_a_fixed_length_is_not_sampled(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer.sampling=0.1 changes how many tokens .* model.fixed_length=5"):
        config(tmp_path, model={"fixed_length": 5}, tokenizer={"type": "bpe", "vocab_size": 99, "sampling": 0.1})


def test_a_result_that_is_no_json_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text("{")
    with pytest.raises(UserError, match=r"test.json is not valid JSON: .*; delete it to have the run scored again"):
        Result.read(tmp_path / "test.json")


def test_a_fixed_length_has_no_place_for_a_blank_source(tmp_path: Path) -> None:
    for split, lines in (("train", "a\tb\n"), ("valid", "\tb\n"), ("test", "a\tb\n")):
        (tmp_path / split).write_text(lines)
    files = {f"{split}_src": str(tmp_path / split) for split in ("train", "valid", "test")}
    with pytest.raises(UserError, match="model.fixed_length leaves out the end symbol, so a source cannot be blank"):
        run(config(tmp_path, data={"kind": "files", **files}, model={"fixed_length": 1}), tmp_path / "run")


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


def test_it_learns_pairs_by_heart(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        data={"train_size": 8, "valid_size": 2, "test_size": 2},
        model={"hidden_size": 64, "embedding_size": 16},
        optim={"lr": 1e-2},
        trainer={"max_epochs": 100, "validate_every": 50.0, "monitor": "loss", "progress": False, "samples": 0},
    )
    result = run(settings, tmp_path / "run").plain()
    assert float(rows(tmp_path / "run")[-1]["train/loss"]) < 0.5
    from seq2seq.translate.translator import Translator

    folder = Path(result["data"])
    last = Translator.from_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last.translate(read_lines(folder / "train.src")) == read_lines(folder / "train.tgt")
    assert math.isfinite(result["perplexity"])
