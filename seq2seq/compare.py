"""The runs of a sweep side by side: an arm is what differs but for the seed; its figures are means over seeds."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from seq2seq.training import INCIDENTAL, read_config, read_result

FIGURES = {"bleu": "BLEU", "chrf": "chrF", "exact_match": "exact match %", "perplexity": "perplexity"}
WIDTH = 140  # of a table that goes to a file or a pipe, which have none


def arms(folders: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """The results of each arm, by the settings in which the runs differ; the seed is not one of them."""
    settings = [_flat(dataclasses.asdict(read_config(folder))) for folder in folders]
    ignored = {"seed", "name", *INCIDENTAL}
    factors = [key for key in settings[0] if key not in ignored and len({str(one[key]) for one in settings}) > 1]
    grouped: dict[str, list[dict[str, Any]]] = {}
    for folder, values in zip(folders, settings, strict=True):
        arm = " ".join(f"{key}={_shown(values[key])}" for key in factors) or values["name"]
        result = read_result(folder)
        if result is not None:
            grouped.setdefault(arm, []).append(result)
    return grouped


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def spread(values: Sequence[float]) -> str:
    """Mean and, of several values, their standard deviation (with n - 1)."""
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2f}"


def print_comparison(folders: Sequence[Path]) -> None:
    """Print a table of the finished runs' arms on stdout, and the signature of their BLEU."""
    table = Table()
    table.add_column("arm", overflow="fold")
    for title in ("seeds", *FIGURES.values(), "parameters", "seconds"):
        table.add_column(title, justify="right")
    signatures = set()
    for name, group in arms(folders).items():
        figures = [spread([result[figure] for result in group]) for figure in FIGURES]
        seconds = f"{statistics.mean(result['train_seconds'] for result in group):.0f}"
        table.add_row(name, str(len(group)), *figures, f"{group[0]['parameters']:,}", seconds)
        signatures |= {result["bleu_signature"] for result in group}
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
    print("± is the standard deviation over seeds; signature " + ", ".join(sorted(signatures)))
