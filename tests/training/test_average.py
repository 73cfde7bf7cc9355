"""The mean of several checkpoints, by hand; and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seq2seq import checkpoint
from seq2seq.cli.average import main
from seq2seq.config.schema import DecodeConfig, ModelConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.errors import UserError
from seq2seq.models.build import build_language_model
from seq2seq.training.average import average, find_all
from seq2seq.translate.translator import Translator
from tests import attentive
from tests.conftest import LINES


def give(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    return int(str(ended.value.code))


def test_the_weights_are_the_mean_and_tied_ones_stay_one(tmp_path: Path) -> None:
    paths = [attentive.save(tmp_path / f"{seed}.ckpt", seed, tie="all") for seed in range(3)]
    assert give(*paths, "-o", tmp_path / "mean.ckpt") == 0
    weights = [checkpoint.read(path)["state_dict"] for path in paths]
    mean = checkpoint.read(tmp_path / "mean.ckpt")
    for name, tensor in mean["state_dict"].items():
        torch.testing.assert_close(tensor, (weights[0][name] + weights[1][name] + weights[2][name]) / 3)
    assert mean["seq2seq"] == checkpoint.read(paths[0])["seq2seq"]
    assert (tmp_path / "mean.ckpt").stat().st_size == paths[0].stat().st_size
    translator = Translator.from_checkpoint(tmp_path / "mean.ckpt")
    assert translator.model.decoder.output.weight is translator.model.decoder.embedding.weight
    assert len(translator.translate(LINES)) == len(LINES)


def test_the_mean_of_language_models_is_one(tmp_path: Path) -> None:
    tokenizer = attentive.tokenizers().tgt
    paths = []
    for seed in range(2):
        torch.manual_seed(seed)
        config = ModelConfig(hidden_size=8, embedding_size=8, tie="decoder")
        network = build_language_model(config, len(tokenizer))
        section = checkpoint.section(
            config, DecodeConfig(), Tokenizers(tokenizer, tokenizer), kind=checkpoint.LANGUAGE_MODEL
        )
        paths.append(tmp_path / f"{seed}.ckpt")
        checkpoint.save(paths[-1], {"state_dict": checkpoint.named_weights(network), "seq2seq": section})
    assert give(*paths, "-o", tmp_path / "mean.ckpt") == 0
    mean = checkpoint.load_language_model(tmp_path / "mean.ckpt").model
    for name, tensor in checkpoint.named_weights(mean).items():
        one, other = (checkpoint.read(path)["state_dict"][name] for path in paths)
        torch.testing.assert_close(tensor, (one + other) / 2)
    with pytest.raises(UserError, match=r"a.ckpt is a translation and .*0.ckpt a language model; average checkpoints"):
        average([paths[0], attentive.save(tmp_path / "a.ckpt")])


def test_the_mean_has_the_shortlist_of_the_first(tmp_path: Path) -> None:
    paths = [attentive.save(tmp_path / f"{seed}.ckpt", seed) for seed in range(2)]
    size = len(attentive.tokenizers().tgt)
    tables = torch.arange(size, dtype=torch.int32)
    checkpoint.add_shortlist(paths[0], Shortlist(tables.unsqueeze(1), tables[4:6], torch.tensor(size).int()))
    assert give(*paths, "-o", tmp_path / "mean.ckpt") == 0
    first, mean = (checkpoint.load(path).shortlist for path in (paths[0], tmp_path / "mean.ckpt"))
    assert first is not None and mean is not None
    assert all(map(torch.equal, mean, first))


def test_the_mean_of_a_checkpoint_with_its_copy_is_itself(tmp_path: Path) -> None:
    path = attentive.save(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(path.read_bytes())
    mean = average([path, tmp_path / "b.ckpt"])
    for name, tensor in checkpoint.read(path)["state_dict"].items():
        assert torch.equal(mean["state_dict"][name], tensor)


def test_the_frozen_checkpoint_of_before_goes_with_itself(tmp_path: Path) -> None:
    """It lacks newer keys."""
    frozen = Path(__file__).parents[1] / "data" / "v1.ckpt"
    (tmp_path / "b.ckpt").write_bytes(frozen.read_bytes())
    assert give(frozen, tmp_path / "b.ckpt", "-o", tmp_path / "mean.ckpt") == 0
    lines = ["1+1", "12+345"]
    wanted, found = (Translator.from_checkpoint(path).translate(lines) for path in (frozen, tmp_path / "mean.ckpt"))
    assert found == wanted


def test_a_run_folder_means_all_that_it_kept(tmp_path: Path) -> None:
    kept = [attentive.save(tmp_path / "run" / "checkpoints" / f"step-{step}.ckpt", step) for step in (20, 100, 3)]
    attentive.save(tmp_path / "run" / "checkpoints" / "best.ckpt", 20)
    other = attentive.save(tmp_path / "other" / "best.ckpt", 7)
    assert find_all([tmp_path / "run"]) == [kept[2], kept[0], kept[1]]
    assert find_all([tmp_path / "run" / "checkpoints", other]) == [kept[2], kept[0], kept[1], other]
    assert find_all([tmp_path / "other", kept[0], other]) == [other, kept[0]]


def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = attentive.save(tmp_path / "a.ckpt")
    wide = attentive.save(tmp_path / "wide.ckpt", hidden_size=8)
    dropping = attentive.save(tmp_path / "dropping.ckpt", dropout=0.5)
    foreign = attentive.save(tmp_path / "foreign.ckpt", both=attentive.tokenizers("word", 15))
    out = tmp_path / "out.ckpt"
    for words, message in (
        ([first, wide, "-o", out], f"wide.ckpt has another model.hidden_size (8 there, 6 in {first}); average"),
        ([first, dropping, "-o", out], f"dropping.ckpt has another model.dropout (0.5 there, 0.0 in {first}); average"),
        ([first, foreign, "-o", out], f"foreign.ckpt has other tokenizers than {first}; average checkpoints of one"),
        ([first, "-o", out], f"an average needs two checkpoints at least; got only {first}. A run keeps its K best"),
        ([first, first, "-o", out], f"an average needs two checkpoints at least; got only {first}."),
        ([first, tmp_path / "nowhere", "-o", out], "nowhere does not exist; name a .ckpt file or the folder"),
        ([first, wide, "-o", wide], "wide.ckpt is one of the checkpoints to average; name another output"),
        ([first, wide, "-o", tmp_path], "is a folder, not a checkpoint file; name a file inside it"),
    ):
        assert give(*words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert message in said
        assert not out.exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    first = attentive.save(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"b.ckpt is not a whole checkpoint"):
        average([first, tmp_path / "b.ckpt"])
