"""Claim a run folder for one config."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import yaml

from seq2seq.config.schema import Config, TokenizerConfig
from seq2seq.config.tasks import TASKS
from seq2seq.errors import UserError
from seq2seq.files.writing import make_folder, write_lines
from seq2seq.runs import (
    CHECKPOINTS,
    CONFIG,
    DRAWING,
    ERROR,
    METRICS,
    PROBE,
    RESULT,
    SAMPLES,
    TENSORBOARD,
    differences,
    lacks_normalization,
    read_config,
)


def claim(config: Config, folder: Path) -> None:
    """Write the config into a new run folder, or compare it with the one there.

    Raises:
        UserError: if the folder holds a run with another config, or with none.
    """
    refuse_another_run(config, folder)
    if config.overwrite and (folder / CONFIG).is_file():
        for name in (CHECKPOINTS, TENSORBOARD):
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        # The config comes last: while any file of the run is left, its settings are too, even after a kill.
        files = dict.fromkeys(name for facts in TASKS.values() for name in facts.files)
        written = (METRICS, RESULT, *files, SAMPLES, PROBE, DRAWING, ERROR, CONFIG)
        for name in written:
            (folder / name).unlink(missing_ok=True)
    if not (folder / CONFIG).is_file():
        make_folder(folder)
        lines = yaml.safe_dump(kept_settings(config), sort_keys=False, allow_unicode=True).split("\n")[:-1]
        write_lines(folder / CONFIG, lines)


def kept_settings(config: Config) -> dict[str, Any]:
    """Return a config as it is written: a resumed run must not be overwritten again."""
    return dataclasses.asdict(dataclasses.replace(config, overwrite=False, resume=None))


def refuse_another_run(config: Config, folder: Path) -> None:
    """Check that a folder holds this run, or a run that may be overwritten, or none.

    Raises:
        UserError: if the folder holds a run with another config, or with none.
    """
    if (folder / CONFIG).is_file():
        there = dataclasses.asdict(read_config(folder))
        different = [] if config.overwrite else differences(there, kept_settings(config))
        if different:
            raise UserError(
                f"{folder} holds a run with other settings ({', '.join(different)}); "
                "give this one another name=..., or start again there with overwrite=true."
            )
        return
    for name in (CHECKPOINTS, RESULT):
        if (folder / name).exists():
            raise UserError(
                f"{folder} has {name} but no {CONFIG}, so it is not known what was trained there; move it away, or "
                "give this run another name=..."
            )


def as_begun(config: Config, folder: Path) -> Config:
    """Resume a run without ``tokenizer.normalization`` if it began before that key existed."""
    if config.overwrite or not (folder / CONFIG).is_file():
        return config
    if config.tokenizer.normalization != TokenizerConfig().normalization or not lacks_normalization(folder):
        return config
    there = read_config(folder).tokenizer.normalization
    return dataclasses.replace(config, tokenizer=dataclasses.replace(config.tokenizer, normalization=there))
