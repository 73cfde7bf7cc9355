"""``seq2seq-data KIND [--key value ...]``: make or fetch a dataset as text files."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seq2seq.cli.common import ArgumentParser, exit_status, set_up
from seq2seq.cli.flags import add_key
from seq2seq.config.choices import DATASETS
from seq2seq.config.schema import DataConfig
from seq2seq.config.values import from_dict
from seq2seq.terminal import show

NAME = "seq2seq-data"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = _parser()
    options = parser.parse_args(arguments)
    set_up(parser.flags)
    sys.exit(exit_status(lambda: _prepare(options), NAME, parser.flags))


def _parser() -> ArgumentParser:
    from seq2seq.data.prepare import fields_of

    parser = ArgumentParser(
        prog=NAME, description="Make or fetch a dataset: train, valid and test, each .src and .tgt."
    )
    parser.flags["data.root"] = "--root"
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND", help=", ".join(DATASETS))
    for kind in DATASETS:
        one = kinds.add_parser(kind)
        one.add_argument(
            "--out", type=Path, help="folder for the files (default: a folder below --root, named after its settings)"
        )
        one.add_argument("--root", default="data", help="folder for all datasets (default: %(default)s)")
        for field in fields_of(kind):
            parser.flags |= add_key(one, f"data.{field.name}", default=_yaml_default(kind, field))
    return parser


def _yaml_default(kind: str, field: dataclasses.Field[Any]) -> Any:
    """The default of ``conf/data/KIND.yaml``, so that both commands make the same dataset."""
    import yaml

    from seq2seq.cli.common import conf_dir

    values = yaml.safe_load((conf_dir() / "data" / f"{kind}.yaml").read_text(encoding="utf-8"))
    return values.get("data", values).get(field.name, field.default)  # a file of package _global_ has sections


def _prepare(options: argparse.Namespace) -> None:
    from seq2seq.data.prepare import prepare, read_manifest

    values = vars(options)
    out = values.pop("out")
    folder = prepare(from_dict(DataConfig, values, "data"), out)
    manifest = read_manifest(folder)
    assert manifest is not None
    show(f"{folder}: " + ", ".join(f"{count} {split}" for split, count in manifest["pairs"].items()))


if __name__ == "__main__":
    main()
