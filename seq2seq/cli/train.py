"""``seq2seq-train [key=value ...] [-m]``: Hydra composes an experiment, then `training.run` has it. The only module
that knows Hydra.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.cli.common import EXIT_INTERRUPTED, conf_dir, exit_status, set_up
from seq2seq.config import Config, unknown_key
from seq2seq.errors import UserError

NAME = "seq2seq-train"
GROUPS = ("data", "tokenizer", "model", "optim", "decode", "trainer", "experiment")
# Overrides that decide where a run is or how it is watched, not what it is.
NOT_IN_NAMES = (
    "name",
    "runs",
    "resume",
    "overwrite",
    "seed",
    "data.root",
    "data.mirror",
    "data.num_workers",
    "trainer.progress",
)

log = logging.getLogger(f"seq2seq.{NAME}")  # also where this module is __main__


def main() -> None:
    """The command. Exit status 2 means a mistake of the user's, 130 ctrl-C."""
    set_up()
    sys.exit(exit_status(_compose_and_run, NAME))


def _compose_and_run() -> None:
    check_overrides(sys.argv[1:])
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    # Hydra prints errors itself and exits with 1, unless it is told to raise them.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    finished: list[Path] = []
    failures: list[UserError] = []
    job = partial(_job, finished, failures)
    job = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(job)
    try:
        job()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from error
    except OSError as error:
        where = error.filename or "the run folder"
        raise UserError(f"{where} cannot be used: {error.strerror or error}; choose another runs= or name=.") from None
    if len(finished) > 1:
        from seq2seq.compare import print_comparison

        print_comparison(finished)
    if failures:
        raise failures[0] if len(failures) == 1 else UserError(f"{len(failures)} runs failed; each is named above.")


def _job(finished: list[Path], failures: list[UserError], composed: DictConfig) -> None:
    """One experiment: of a single run, or of a sweep, where one that fails does not stop the others."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        _train(composed, folder)
        finished.append(folder)
    except UserError as error:
        failures.append(error)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            log.error("%s failed: %s", folder, error)


def _train(composed: DictConfig, folder: Path) -> None:
    config = to_config(composed)
    if HydraConfig.get().mode == RunMode.MULTIRUN and (config.trainer.devices > 1 or config.trainer.strategy == "ddp"):
        raise UserError(
            "a sweep cannot train on several devices, since each process would run the whole sweep again; "
            "run one experiment at a time, or sweep with trainer.devices=1 trainer.strategy=auto."
        )
    from seq2seq import training  # torch and Lightning: after the config is known to be right
    from seq2seq.callbacks import Interrupted

    if config.resume is not None:
        config = dataclasses.replace(training.read_config(folder), overwrite=False, resume=None)
    try:
        training.run(config, folder)
    except Interrupted:
        same = "" if config.overwrite else "the same command goes on, and so does: "
        log.warning("stopped and saved; %s%s resume=%s", same, NAME, folder)
        sys.exit(EXIT_INTERRUPTED)


def to_config(composed: DictConfig) -> Config:
    """A composed config as our dataclasses, every value checked.

    Raises:
        UserError: for a value of the wrong type or out of range, and for a key that ``+`` slipped past the schema.
    """
    try:
        _refuse_strays(composed, Config())
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    assert isinstance(config, Config)
    return config


def _refuse_strays(composed: DictConfig, schema: Any, prefix: str = "") -> None:
    allowed = [field.name for field in dataclasses.fields(schema)]
    for name in map(str, composed):
        where = f"{prefix}{name}"
        if name not in allowed:
            raise unknown_key(name, allowed, prefix.rstrip("."))
        default = getattr(schema, name)
        if dataclasses.is_dataclass(default):
            _refuse_strays(composed[name], default, where + ".")


def check_overrides(arguments: list[str]) -> None:
    """Refuse a misspelt key by name, with what it may have meant, before Hydra composes anything.

    Raises:
        UserError: for an override that is no override, or whose key is neither ours nor Hydra's.
    """
    parser = OverridesParser.create()
    for word in arguments:
        if word.startswith("~"):
            raise UserError(f"{word} would take a part of the config away; every part is needed.")
        if word.startswith("-") or "=" not in word:
            continue
        try:
            key = parser.parse_override(word).key_or_group
        except HydraException as error:
            raise UserError(
                f"{word} is no override: {one_line(error)}. Write key=value; quote what the shell would change."
            ) from None
        if key.split(".")[0].split("/")[0] != "hydra":
            _check_key(key)
    _check_resume([word.lstrip("+") for word in arguments if "=" in word and not word.startswith("-")])


def _check_resume(words: list[str]) -> None:
    """A run that is gone on with has its own config: say so before a folder is made, or an override is lost."""
    values = dict(word.split("=", 1) for word in words)
    folder = values.get("resume")
    if folder in (None, "null"):
        return
    if not (Path(folder) / "config.yaml").is_file():
        raise UserError(f"{folder} is no run folder: it has no config.yaml; name one that seq2seq-train made.")
    lost = sorted(
        name for name in values if name not in ("resume", "trainer.progress") and not name.startswith("hydra")
    )
    if lost:
        raise UserError(f"resume goes on with the config of {folder}; leave out {', '.join(lost)}.")


def _check_key(key: str) -> None:
    if key in GROUPS:
        return
    schema: Any = Config()
    seen: list[str] = []
    for name in key.split("."):
        allowed = [field.name for field in dataclasses.fields(schema)]
        if name not in allowed:
            raise unknown_key(name, allowed + (["experiment"] if not seen else []), ".".join(seen))
        seen.append(name)
        schema = getattr(schema, name)
        if not dataclasses.is_dataclass(schema):
            break
    rest = key.split(".")[len(seen) :]
    if rest and not isinstance(schema, dict):
        raise UserError(f"{key} is not a key: {'.'.join(seen)} is a single value, not a section.")


def run_folder(runs: str, name: str, seed: int, resume: str | None, overrides: Any) -> str:
    """Where a run lives: a function of what it is, with no time in it, so that the same command finds the same folder.

    ``runs/NAME/`` and then the overrides that make this run what it is, the seed last. Characters that a folder's name
    should not have become ``-``; a digest keeps apart what that, or shortening, would make equal.
    """
    if resume:
        return resume
    kept = []
    for override in sorted(str(word).lstrip("+") for word in overrides):
        key, _, value = override.partition("=")
        if key not in NOT_IN_NAMES:
            kept.append(f"{key}-{value.lower() if value in ('True', 'False') else value}")  # a sweep says True for true
    plain = "_".join(kept)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)
    if safe != plain or len(safe) > 150:
        safe = f"{safe[:120]}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"
    return f"{runs}/{name}/{safe + '_' if safe else ''}seed-{seed}"


def one_line(error: BaseException) -> str:
    """What a Hydra or OmegaConf error says, on one line, with the cause where that says more."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice} is not known; choose from {', '.join(error.options or ['(there is none)'])}."
    said = str(error).split("\n")
    if isinstance(error.__cause__, OmegaConfBaseException):
        said += str(error.__cause__).split("\n")
    if any("not a ListConfig" in line for line in said):
        given = said[0].removeprefix("Error merging override ")
        return f"{given} is no list; write it as in trainer.loggers=[csv,tensorboard]."
    lines = dict.fromkeys(line.strip() for line in said)
    return "; ".join(line for line in lines if line and not line.startswith(("object_type=", "reference_type=")))


if __name__ == "__main__":
    main()
