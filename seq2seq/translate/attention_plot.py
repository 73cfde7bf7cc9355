"""Draw attention: a row for each target piece, a column for each source piece.

How well writing from right to left, and scripts whose letters join, can be read is up to the version of matplotlib.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from seq2seq.files.writing import replacing
from seq2seq.tokens.sampling import SPACE_MARK

log = logging.getLogger(__name__)

ENDINGS = (".png", ".svg", ".pdf")  # of a picture's file; any other name is a folder's
MOST_PIECES = 200  # of a side; further pieces are not drawn
LONGEST = 24  # characters of a label
CELL = 0.24  # inches
NO_HELP = ("DejaVu Sans", "Last Resort")  # the first choice, and a font that has a box for everything
STYLE = {"font.size": 10, "svg.fonttype": "path", "svg.hashsalt": "seq2seq"}


def draw(path: Path, weights: np.ndarray, src: Sequence[str], tgt: Sequence[str]) -> None:
    """Draw one picture, in the format of its name's ending, atomically.

    Args:
        weights: ``(len(tgt), len(src))``, from 0 to 1.
        src, tgt: the pieces. Of more than 200 on a side the first ones are drawn, and the picture says so.

    Raises:
        UserError: if the file system refuses.
    """
    shown = weights[:MOST_PIECES, :MOST_PIECES]
    columns, rows = [_label(one) for one in src[:MOST_PIECES]], [_label(one) for one in tgt[:MOST_PIECES]]
    families = _families("".join([*columns, *rows]))
    with mpl.rc_context(cast(Any, {**STYLE, "font.family": families})), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # said once, by `_families`
        figure = _figure(shown, columns, rows)
        if shown.shape != weights.shape:
            figure.supxlabel(f"the first {MOST_PIECES} of {len(src)} source and {len(tgt)} target pieces")
        kind = path.suffix[1:].lower()
        when = {"png": "Software", "svg": "Date", "pdf": "CreationDate"}[kind]  # equal pictures are equal files
        with replacing(path) as stream:
            figure.savefig(stream, format=kind, metadata={when: None}, facecolor="white", dpi=120, bbox_inches="tight")


def _figure(weights: np.ndarray, columns: Sequence[str], rows: Sequence[str]) -> Figure:
    height, width = (max(1.0, CELL * size) for size in weights.shape)
    figure = Figure(figsize=(width + 1, height))  # and what the labels need is added when it is saved
    axes = figure.add_axes((0, 0, width / (width + 1), 1))
    image = axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(columns)), columns, rotation=90, parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(0.5, len(columns) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(rows) - 1), minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    bar = figure.add_axes(((width + 0.15) / (width + 1), 0, 0.12 / (width + 1), 1))
    figure.colorbar(image, cax=bar)
    return figure


def _label(piece: str) -> str:
    """Shorten a piece for a label, with a dot for a space and visible control characters."""
    piece = piece.replace(SPACE_MARK, "·")
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in piece)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def _families(characters: str) -> list[str]:
    """Font families that together cover as many of the characters as possible."""
    families = ["DejaVu Sans"]  # which comes with matplotlib
    missing = {ord(char) for char in characters} - _covered(font_manager.findfont(families[0]))
    for name, path in _installed() if missing else ():
        if found := missing & _covered(path):
            families.append(name)
            missing -= found
        if not missing:
            break
    if missing:
        _say_missing(frozenset(map(chr, missing)))
    return families


@functools.cache
def _installed() -> list[tuple[str, str]]:
    """(family, file) of the plain fonts, those of the widest use first."""
    plain = {
        one.name: one.fname
        for one in font_manager.fontManager.ttflist
        if one.style == "normal" and one.weight in (400, "normal", "regular") and not one.name.startswith(NO_HELP)
    }
    return sorted(plain.items(), key=lambda one: (not one[0].startswith("Noto Sans"), one[0]))


@functools.lru_cache(maxsize=512)
def _covered(path: str) -> frozenset[int]:
    """The characters that a font has."""
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a damaged font
        return frozenset()


@functools.cache
def _say_missing(characters: frozenset[str]) -> None:
    log.warning(
        "no installed font has %s; a box stands for it in pictures. Install one, such as Noto.",
        " ".join(f"U+{ord(char):04X}" for char in sorted(characters)[:8]),
    )
