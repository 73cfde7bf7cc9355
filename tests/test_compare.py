"""A table of arms, with means and standard deviations worked out by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from seq2seq.compare import arms, print_comparison, spread
from seq2seq.config import Config, ModelConfig, StackConfig


def make(folder: Path, config: Config, bleu: float | None) -> Path:
    """A run folder; without a BLEU an unfinished one."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config)))
    figures = {"bleu_signature": "nrefs:1", "exact_match": 50.0, "perplexity": 3.0, "train_seconds": 60.4}
    if bleu is not None:
        result = {"bleu": bleu, "chrf": 2 * bleu, "parameters": 1234, **figures}
        (folder / "test.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    plain, reverse = ModelConfig(), ModelConfig(reverse=True, encoder=StackConfig(cell="gru"))
    return [
        make(tmp_path / "a", Config(seed=1, model=plain), 10.0),
        make(tmp_path / "b", Config(seed=2, model=plain, runs="elsewhere"), 14.0),
        make(tmp_path / "c", Config(seed=1, model=reverse), 30.0),
        make(tmp_path / "d", Config(seed=2, model=reverse), None),
    ]


def test_an_arm_is_named_after_what_differs_but_for_the_seed(folders: list[Path]) -> None:
    grouped = arms(folders)
    assert {name: len(group) for name, group in grouped.items()} == {
        "model.reverse=false model.encoder.cell=none": 2,
        "model.reverse=true model.encoder.cell=gru": 1,
    }
    assert list(arms(folders[:2])) == ["phrasebook"]


def test_spread_is_the_standard_deviation_of_a_sample() -> None:
    assert spread([10.0, 14.0]) == "12.00 ± 2.83"
    assert spread([3.14159]) == "3.14"


def test_the_table_has_a_row_for_each_arm(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(folders)
    printed = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line for line in printed.splitlines() if line.startswith("│")}
    plain, reverse = (
        rows["model.reverse=false model.encoder.cell=none"],
        rows["model.reverse=true model.encoder.cell=gru"],
    )
    assert "12.00 ± 2.83" in plain
    assert "24.00 ± 5.66" in plain
    assert "30.00" in reverse
    assert "±" not in reverse
    assert "1,234" in reverse
    assert "signature nrefs:1" in printed
