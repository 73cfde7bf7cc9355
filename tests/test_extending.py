"""The examples of ``docs/extending.md`` run, one after the other, and what they add works."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import torch

from seq2seq.config import choices, schema
from seq2seq.models.cells import CELLS
from seq2seq.training.experiment import run
from seq2seq.training.tasks import TASKS
from seq2seq.translate.translator import Translator
from tests import attentive
from tests.conftest import LINES, ROOT
from tests.training.test_training import config

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def allow(section: type, name: str, word: str) -> tuple[Any, Any]:
    """Let a key take one more word, as an entry in ``config/choices.py`` does; returns what it was."""
    (field,) = [one for one in dataclasses.fields(section) if one.name == name]
    before, facts = field.metadata, field.metadata["facts"]
    field.metadata = {**before, "facts": facts._replace(choices=(*facts.choices, word))}
    return field, before


@pytest.fixture(scope="module")
def page() -> Any:
    """The names that the page's code defines; the tables are put back afterwards."""
    cells, tasks = dict(CELLS), dict(TASKS)
    before = [allow(schema.ModelConfig, "cell", "leaky"), allow(schema.Config, "task", "length_aware")]
    names: dict[str, Any] = {"__name__": "page"}
    torch.manual_seed(0)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/extending.md", "exec", dont_inherit=True), names)
    yield names
    for table, was in ((CELLS, cells), (TASKS, tasks)):
        table.clear()
        table.update(was)  # type: ignore[arg-type]
    for field, metadata in before:
        field.metadata = metadata


def test_every_choice_of_the_config_is_in_its_table() -> None:
    assert set(CELLS) == set(choices.CELLS)
    assert set(TASKS) == set(choices.TASKS)


def test_the_cell_reads_no_padding_and_gets_gradients(page: dict[str, Any]) -> None:
    cell = page["LeakyRNN"](schema.Stack("leaky", 5, 1), 4, dropout=0.0, bidirectional=False)
    x = torch.randn(2, 6, 4)
    _, (whole,) = cell(x, torch.tensor([6, 3]))
    _, (short,) = cell(x[1:, :3])
    torch.testing.assert_close(whole[1:], short)
    whole.sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in cell.parameters())


def test_the_task_and_the_cell_train_an_experiment(page: dict[str, Any], tmp_path: Path) -> None:
    settings = config(tmp_path, model={"cell": "leaky"}, trainer={"max_epochs": 1})
    settings = dataclasses.replace(settings, task="length_aware")
    result = run(settings, tmp_path / "run")
    assert result["length_ratio"] > 0 and "bleu" in result
    assert json.loads((tmp_path / "run" / "test.json").read_text())["length_ratio"] == result["length_ratio"]
    assert len(Translator.from_checkpoint(tmp_path / "run").translate(["1+2", "", "3+4"])) == 3


def test_the_server_answers_several_requests_at_once(page: dict[str, Any], tmp_path: Path) -> None:
    translator = Translator.from_checkpoint(attentive.save(tmp_path / "a.ckpt"))
    server = page["server"](translator)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"

    def ask(line: str) -> list[str]:
        with urlopen(address, json.dumps({"lines": [line]}).encode(), timeout=60) as answer:
            return json.load(answer)["translations"]

    try:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(ask, LINES * 2))
    finally:
        server.shutdown()
        server.server_close()
    assert answers == [translator.translate([line], beam=2) for line in LINES * 2]
