"""Pictures of attention: what they show, how large they are, and that any label can be drawn."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from seq2seq.errors import UserError
from seq2seq.translate import attention_plot
from seq2seq.translate.attention_plot import draw

WEIGHTS = np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    header = path.read_bytes()[16:24]
    return int.from_bytes(header[:4]), int.from_bytes(header[4:])


def pixels(path: Path) -> np.ndarray:
    return mpl.image.imread(path)[:, :, :3].mean(-1)


def test_a_cell_is_as_dark_as_its_weight(tmp_path: Path) -> None:
    """The figure's own picture, and so the file, since both come of one call."""
    figure = attention_plot._figure(WEIGHTS, ["a", "b", "c"], ["x", "y"])
    axes, _ = figure.axes
    (image,) = axes.images
    assert image.get_array().tolist() == WEIGHTS.tolist()
    assert image.norm.vmin == 0
    assert image.norm.vmax == 1
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y"]
    draw(tmp_path / "a.png", np.ones((2, 3)), ["a", "b", "c"], ["x", "y"])
    draw(tmp_path / "b.png", np.zeros((2, 3)), ["a", "b", "c"], ["x", "y"])
    assert size(tmp_path / "a.png") == size(tmp_path / "b.png")
    darker = pixels(tmp_path / "b.png") - pixels(tmp_path / "a.png")
    assert darker.min() >= 0
    assert (darker > 0.99).sum() > 5 * (0.2 * 120) ** 2


@pytest.mark.parametrize("ending", attention_plot.ENDINGS)
def test_equal_pictures_are_equal_files(tmp_path: Path, ending: str) -> None:
    paths = [tmp_path / f"{name}{ending}" for name in "ab"]
    for path in paths:
        draw(path, WEIGHTS, ["a", "b", "</s>"], ["x", "</s>"])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}


def test_a_long_sentence_has_a_larger_picture_and_no_smaller_letters(tmp_path: Path) -> None:
    for num in (10, 100):
        draw(tmp_path / f"{num}.png", np.eye(num), [f"▁src{i}" for i in range(num)], [f"▁tgt{i}" for i in range(num)])
    short, long = (size(tmp_path / f"{num}.png") for num in (10, 100))
    assert long[0] - short[0] == pytest.approx(90 * attention_plot.CELL * 120, rel=0.05)
    assert long[1] - short[1] == pytest.approx(90 * attention_plot.CELL * 120, rel=0.05)


def test_what_has_no_room_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_plot, "MOST_PIECES", 4)
    monkeypatch.setitem(attention_plot.STYLE, "svg.fonttype", "none")  # letters as letters
    draw(tmp_path / "a.svg", np.eye(9, 7), [f"src{i}" for i in range(7)], [f"tgt{i}" for i in range(9)])
    svg = (tmp_path / "a.svg").read_text()
    assert "the first 4 of 7 source and 9 target pieces" in svg
    assert {"src3", "tgt3"} <= set(re.findall(r"\w+", svg))
    assert not {"src4", "tgt4"} & set(re.findall(r"\w+", svg))


@pytest.mark.parametrize(
    "label", ["$x_1$", "a$b", "\\frac", "_", "", "\t", "\n", "\x00", "€", "日本", "ἄν", "&<>", "\ud800"]
)
def test_any_label_can_be_drawn(tmp_path: Path, label: str) -> None:
    for ending in attention_plot.ENDINGS:
        draw(tmp_path / f"a{ending}", WEIGHTS, [label, "b", "c"], ["x", label])


def test_labels_are_shown_so_that_they_can_be_read() -> None:
    assert attention_plot._label("▁Hund") == "·Hund"
    assert attention_plot._label("ning") == "ning"
    assert attention_plot._label("\t") == "\\x09"
    assert attention_plot._label("a" * 30) == "a" * 23 + "…"


def test_characters_without_a_font_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    attention_plot._say_missing.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert attention_plot._families("a\U0010fffd")[0] == "DejaVu Sans"
    assert caplog.messages == [
        "no installed font has U+10FFFD; a box stands for it in pictures. Install one, such as Noto."
    ]


def test_a_font_that_has_what_is_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fonts = {"dejavu": "ab", "one": "xy", "two": "ayz", "three": "z"}
    monkeypatch.setattr(attention_plot, "_covered", lambda path: frozenset(map(ord, fonts.get(path, "ab"))))
    monkeypatch.setattr(
        attention_plot, "_installed", lambda: [(name.title(), name) for name in ("one", "two", "three")]
    )
    assert attention_plot._families("ab") == ["DejaVu Sans"]
    assert attention_plot._families("abx") == ["DejaVu Sans", "One"]
    assert attention_plot._families("bxz") == ["DejaVu Sans", "One", "Two"]


def test_a_damaged_font_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.ttf").write_bytes(b"junk")
    assert attention_plot._covered(str(tmp_path / "a.ttf")) == frozenset()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.png cannot be written"):
        draw(tmp_path / "none" / "a.png", WEIGHTS, ["a", "b", "c"], ["x", "y"])
