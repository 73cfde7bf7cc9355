"""What several tests share: tiny networks, tiny corpora, and the commands as a user calls them."""

from __future__ import annotations

import csv
import dataclasses
import logging
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch

from seq2seq import checkpoint
from seq2seq.config.schema import ModelConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.models.build import build_seq2seq
from seq2seq.models.cells import CELLS
from seq2seq.models.seq2seq import Seq2Seq
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from tests.processes import ROOT as ROOT
from tests.processes import run as run_command
from tests.relu import ReLU

LINES = ["a dog runs", "the cat sleeps here", "two birds sing", "a cat sees the dog", "birds run", "the dog sings well"]

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    """What a command in an earlier test may have changed for the whole process."""
    torch.set_num_threads(1)
    logging.getLogger("seq2seq").setLevel(logging.NOTSET)


def tiny_model(seed: int = 0, vocab: int = 12, **options: object) -> Seq2Seq:
    """A network with random weights, large enough for outputs to differ, in evaluation mode."""
    settings: dict[str, object] = {"hidden_size": 6, "embedding_size": 5, **options}
    torch.manual_seed(seed)
    model = build_seq2seq(ModelConfig(**settings), vocab, vocab)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # torch's weights are so small that the output would hardly depend on the source
    return model.eval()


@pytest.fixture
def relu_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more cell, ``relu``, whose outputs have no bound."""
    (field,) = [one for one in dataclasses.fields(ModelConfig) if one.name == "cell"]
    facts = field.metadata["facts"]
    monkeypatch.setattr(field, "metadata", {"facts": facts._replace(choices=(*facts.choices, "relu"))})
    monkeypatch.setitem(CELLS, "relu", ReLU)


@pytest.fixture(scope="session")
def tokenizers() -> Tokenizers:
    """One character tokenizer for both sides."""
    tokenizer = Pieces(train(LINES, type="char", vocab_size=0))
    return Tokenizers(tokenizer, tokenizer)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run one of our commands in an empty folder, as a process of its own."""

    def run(
        name: str,
        *arguments: object,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path = tmp_path,
        fresh: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        return run_command(name, *arguments, cwd=cwd, stdin=stdin, env=env, fresh=fresh)

    return run


SMALL_RUN = (
    "data=addition",
    "tokenizer=char",
    "data.train_size=300",
    "data.valid_size=20",
    "data.test_size=20",
    "data.batch_sentences=32",
    "model.hidden_size=16",
    "model.embedding_size=8",
    "trainer.max_epochs=2",
    "trainer.samples=2",
)


def small_run(*words: str) -> tuple[str, ...]:
    """The words of `SMALL_RUN`, of which these take the place where they set the same key."""
    return last_of_each((*SMALL_RUN, *words))


def last_of_each(words: Sequence[str]) -> tuple[str, ...]:
    """Words of which the last one for each key is left, since a command refuses two."""
    return tuple({word.partition("=")[0]: word for word in words}.values())


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small finished run, made by the command."""
    cwd = tmp_path_factory.mktemp("trained")
    done = run_command("train", "name=small", *SMALL_RUN, cwd=cwd, fresh=True)
    assert done.returncode == 0, done.stderr
    (folder,) = (cwd / "runs" / "small").iterdir()
    return folder


def by_one_and_two_processes(cwd: Path, words: Sequence[str]) -> list[tuple[Path, str]]:
    """Train one experiment in one process and in two; the folder of each run, and what its command printed."""
    found = []
    for name, extra in (("one", []), ("two", ["trainer=ddp", "trainer.accelerator=cpu"])):
        # DDP starts processes like itself, so that one has to be a new interpreter.
        done = run_command("train", f"name={name}", *words, *extra, cwd=cwd, fresh=bool(extra))
        assert done.returncode == 0, done.stderr
        (folder,) = (cwd / "runs" / name).iterdir()
        found.append((folder, done.stdout))
    return found


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / "checkpoints" / name)["state_dict"]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without the columns that are times."""
    with open(folder / "metrics.csv", newline="") as stream:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(stream)]


def contents(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The bytes of some files of a folder."""
    return {name: (folder / name).read_bytes() for name in names}
