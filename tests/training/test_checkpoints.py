"""Which checkpoints are written, kept and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seq2seq import checkpoint
from seq2seq.errors import UserError
from seq2seq.training.checkpoints import Checkpoints
from seq2seq.training.experiment import run
from tests.conftest import equal, rows, weights
from tests.training.test_training import config


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


def test_the_best_checkpoint_is_the_best_by_the_monitor(tmp_path: Path) -> None:
    settings = config(tmp_path, optim={"lr": 0.3, "clip_norm": 0.0}, trainer={"monitor": "loss", "max_epochs": 4})
    result = run(settings, tmp_path / "run").plain()
    losses = {int(row["step"]): float(row["valid/loss"]) for row in rows(tmp_path / "run")}
    assert result["best_step"] == min(losses, key=losses.__getitem__)


@pytest.mark.parametrize("keep_best", [1, 3, 9])
def test_the_best_few_checkpoints_are_kept(tmp_path: Path, keep_best: int) -> None:
    trainer = {"monitor": "loss", "max_epochs": 6, "keep_best": keep_best}
    result = run(config(tmp_path, optim={"lr": 0.1, "clip_norm": 0.0}, trainer=trainer), tmp_path / "run").plain()
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


def test_a_checkpoint_that_is_not_whole_is_refused_by_name(tmp_path: Path) -> None:
    settings = config(tmp_path)
    run(settings, tmp_path / "run")
    (tmp_path / "run" / "test.json").unlink()
    (tmp_path / "run" / "checkpoints" / "previous.ckpt").unlink()
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(b"half")
    with pytest.raises(UserError, match=r"last\.ckpt is (not a whole checkpoint|refused)"):
        run(settings, tmp_path / "run")
