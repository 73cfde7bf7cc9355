"""Check Hydra's overrides, and name a run's folder after them."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.cli.words import text_of
from seq2seq.config.schema import INCIDENTAL, PATHS, Config
from seq2seq.config.values import unknown_key
from seq2seq.errors import UserError

GROUPS = ("data", "tokenizer", "model", "optim", "decode", "trainer", "experiment", "arm")
NOT_IN_NAMES = ("name", "seed", *INCIDENTAL)  # the first two have their own place in a folder's path
# Hydra's list of the keys that are left out of the names of a sweep's folders.
FIXED = "hydra.job.config.override_dirname.exclude_keys"
LAUNCHERS = {"joblib": "compare", "submitit_local": "slurm", "submitit_slurm": "slurm"}  # and their extras
# Keys that Lightning adds to the command of each process that it starts, where the last one counts.
ADDED = ("hydra.run.dir", "hydra.job.name", "hydra.output_subdir")


def check_flags(arguments: list[str]) -> argparse.Namespace:
    """Refuse a word that is neither an override nor a flag of Hydra's.

    Returns:
        Hydra's flags, and the overrides.

    Raises:
        UserError: for a flag that is not known, is given twice, or has a value that it does not take.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; see seq2seq-train --help.")

    parser.error = refuse  # type: ignore[method-assign]
    given: set[str] = set()
    for word in arguments:
        action = parser._option_string_actions.get(word.split("=")[0])
        if action is not None and action.dest in given:
            raise UserError(f"--{action.dest.replace('_', '-')} is given twice; give it once.")
        given |= set() if action is None else {action.dest}
    return parser.parse_args(arguments)


def check_overrides(arguments: list[str], *, many: bool = False) -> None:
    """Refuse a misspelt key, with a suggestion, before Hydra composes the config.

    Raises:
        UserError: for a word that is not an override, is given twice, or has a key that is neither ours nor Hydra's.
    """
    parser = OverridesParser.create()
    given: dict[str, str] = {}
    for word in arguments:
        if word.startswith("~"):
            raise UserError(f"{word} would remove a part of the config; every part is needed.")
        if word.startswith("-") or "=" not in word:
            continue
        try:
            override = parser.parse_override(word)
        except HydraException as error:
            raise UserError(
                f"{word} is not an override: {one_line(error)}. Write key=value; quote what the shell would change."
            ) from None
        key = override.key_or_group
        if key in given and key not in ADDED:
            raise UserError(f"{key} is given twice; give it once.")
        given[key] = text_of(key, word.partition("=")[2])
        if _has_huge_number(override.value()):
            raise UserError(f"{key} is set to a number of more than 64 bits; write a smaller one.")
        if key in GROUPS and isinstance(override.value(), (bool, int, float, type(None))):
            raise UserError(f"{word} names no file of conf/{key}; write {key}=NAME, or {key}.KEY=VALUE for one key.")
        if key.split(".")[0].split("/")[0] != "hydra":
            _check_key(key)
    _check_resume(given, many=many)


def _has_huge_number(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return any(map(_has_huge_number, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and abs(value) >= 2**63


def _check_resume(values: dict[str, str], *, many: bool) -> None:
    """Refuse overrides beside ``resume``: a resumed run uses its own config."""
    folder = values.get("resume")
    if folder in (None, "null"):
        return
    if many:
        raise UserError("resume continues one run; leave out -m, or give the sweep's own command again.")
    try:
        known = (Path(folder) / "config.yaml").is_file()
    except OSError:  # for example, its name is too long
        known = False
    if not known:
        raise UserError(
            f"{folder or 'resume='} is not a run folder: it has no config.yaml; name one that seq2seq-train made."
        )
    lost = sorted(
        name for name in values if name not in ("resume", "trainer.progress") and not name.startswith("hydra")
    )
    if lost:
        raise UserError(f"resume uses the config of {folder}; leave out {', '.join(lost)}.")


def _check_key(key: str) -> None:
    if key in GROUPS:
        return
    schema: Any = Config()
    seen: list[str] = []
    for name in key.split("."):
        allowed = [field.name for field in dataclasses.fields(schema)]
        if name not in allowed:
            raise unknown_key(name, allowed + (["experiment", "arm"] if not seen else []), ".".join(seen))
        seen.append(name)
        schema = getattr(schema, name)
        if not dataclasses.is_dataclass(schema):
            break
    rest = key.split(".")[len(seen) :]
    if rest and not isinstance(schema, dict):
        raise UserError(f"{key} is not a key: {'.'.join(seen)} is a single value, not a section.")


def run_folder(runs: str, name: str, seed: int, resume: str | None, swept: Iterable[object] = ()) -> str:
    """Name a run's folder: ``runs/NAME/seed-N``, in a sweep ``runs/NAME/KEY-VALUE_..._seed-N``.

    The name holds no time, so the same command finds the same folder again. A single run has no overrides in its name:
    the run folder's config is compared with the command's instead. ``swept`` are the overrides that differ between the
    runs of a sweep. Of a path only the last part is kept. Characters that need quotes become ``-``; a digest is added
    where this, or shortening, could make two names equal.
    """
    if resume:
        return resume
    kept, whole = [], []
    for override in sorted(str(word).lstrip("+") for word in swept):
        key, _, value = override.partition("=")
        value = text_of(key, value)
        value = value.lower() if value in ("True", "False") else value  # a sweep says True for true
        if key not in NOT_IN_NAMES and (key, value) != ("experiment", name):
            whole.append(f"{key}-{value}")
            kept.append(f"{key}-{os.path.basename(value) if key in PATHS else value}")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(kept))
    if safe != "_".join(whole) or len(safe) > 150:
        digest = hashlib.sha256("_".join(whole).encode("utf-8", "surrogatepass")).hexdigest()
        safe = f"{safe[:120]}-{digest[:8]}"
    return f"{runs or '.'}/{name}/{safe + '_' if safe else ''}seed-{seed}"


def swept_only(overrides: Iterable[object], fixed: Iterable[str]) -> list[str]:
    """The overrides of a sweep's run, without those that all its runs share."""
    known = set(fixed)
    return [str(word) for word in overrides if str(word).lstrip("+").partition("=")[0] not in known]


def sweep_folder(runs: str, name: str, seed: int, overrides: Iterable[object], fixed: Iterable[str]) -> str:
    """Name the folder of one run of a sweep, relative to ``runs``."""
    return os.path.relpath(run_folder(runs, name, seed, None, swept_only(overrides, fixed)), runs or ".")


def with_fixed_keys(words: list[str]) -> list[str]:
    """Tell Hydra which keys have one value in a whole sweep: folders' names leave them out.

    Hydra passes its own keys on to every run, to another process or machine too; the overrides of a run do not say
    which of them are swept.
    """
    parser = OverridesParser.create()
    overrides = [parser.parse_override(word) for word in words if "=" in word and not word.startswith("-")]
    ours = [one for one in overrides if not one.is_hydra_override()]
    fixed = sorted({one.key_or_group for one in ours if not one.is_sweep_override()})
    if any(one.key_or_group == FIXED for one in overrides) or not fixed:
        return words
    first = next(at for at, word in enumerate(words) if "=" in word and not word.startswith("-"))
    return [*words[:first], f"{FIXED}=[{','.join(fixed)}]", *words[first:]]  # argparse wants overrides side by side


def register_resolvers() -> None:
    """Let the configs call the functions that name the folders."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True)


def one_line(error: BaseException) -> str:
    """Put a Hydra or OmegaConf error on one line, with its cause if that adds something."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        extra = LAUNCHERS.get(choice) if group == "hydra/launcher" else None
        if extra is not None:
            return f"{group}={choice} is not installed; pip install '.[{extra}]'."
        return f"{group}={choice} is not known; choose from {', '.join(error.options or ['(no choices)'])}."
    said = str(error).split("\n")
    if isinstance(error.__cause__, OmegaConfBaseException):
        said += str(error.__cause__).split("\n")
    if any("not a ListConfig" in line for line in said):
        given = said[0].removeprefix("Error merging override ")
        return f"{given} is not a list; write it as in trainer.loggers=[csv,tensorboard]."
    lines = dict.fromkeys(line.strip() for line in said)
    kept = [line for line in lines if line and not line.startswith(("object_type=", "reference_type=", "full_key:"))]
    if kept and kept[0].startswith("Error merging override "):
        kept[0] = kept[0].removeprefix("Error merging override ") + " is refused"
        kept[1:] = [line.rstrip(".") for line in kept[1:]] + ["see seq2seq-train --cfg job for what a key may hold."]
        return f"{kept[0]}: {'; '.join(kept[1:])}"
    if any(line.startswith("Interpolation") for line in kept):
        kept.append("the text in ${...} must be a key; see seq2seq-train --cfg job.")
    return "; ".join(kept)
