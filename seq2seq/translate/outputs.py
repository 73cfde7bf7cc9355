"""The output of a line: a translation, an n-best list, or a given translation's scores.

Alignments and pictures of the attention can be written beside them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from seq2seq.decoding.base import require_attention
from seq2seq.errors import UserError
from seq2seq.files.lines import iter_lines, iter_raw_lines
from seq2seq.files.writing import make_folder, writing
from seq2seq.translate.alignment import pharaoh
from seq2seq.translate.results import Results, Translation
from seq2seq.translate.translator import Translator

log = logging.getLogger(__name__)

SEPARATOR = " ||| "
BLANK = Translation("", 0.0, 0.0, [], [])  # of a blank line, without the model


@dataclass(frozen=True)
class Wanted:
    """The outputs to write for each line.

    Args:
        num_best: 0 for only the translation. Otherwise at most this many translations, each on a line
            ``index ||| translation ||| score``: the line's number from 0, and the search's score. A blank line has one
            blank translation with score 0. See `parse_n_best`.
        references: a file with a translation of each line, to be scored: the log-probability of all its tokens, the
            mean of them, and what a search would have ranked it by, with tabs between them.
        prefix: what every translation begins with.
        prefixes: a file with what the translation of each line begins with.
        alignments: a file for the alignment of each output line, in the Pharaoh format.
        pictures: a picture's file (.png, .svg, .pdf) for the attention of the first line that is not blank, or a folder
            for pictures of the first ``num_pictures`` lines; of the best translation, where there are several.

    Raises:
        ValueError: for a value out of range, and for what does not go together.
    """

    num_best: int = 0
    references: str | Path | None = None
    prefix: str = ""
    prefixes: str | Path | None = None
    alignments: str | Path | None = None
    pictures: str | Path | None = None
    num_pictures: int = 20

    def __post_init__(self) -> None:
        if self.num_best < 0 or self.num_pictures < 1:
            raise ValueError(
                f"num_best must be at least 0 and num_pictures at least 1; got {self.num_best} and {self.num_pictures}."
            )
        given = [bool(self.references), bool(self.prefix), self.prefixes is not None]
        if sum(given) > 1 or (self.references and self.num_best):
            raise ValueError("references, prefix and prefixes exclude each other, and references num_best.")

    @property
    def beside(self) -> str | Path | None:
        """The file that is read line by line with the input, if there is one."""
        return self.prefixes if self.references is None else self.references

    @property
    def attention(self) -> bool:
        """Whether attention is looked at."""
        return self.alignments is not None or self.pictures is not None

    @property
    def has_scores(self) -> bool:
        """Whether scores are written."""
        return bool(self.num_best) or self.references is not None

    def settings(self) -> dict[str, Any]:
        """The settings that make the output differ from plain translations, for a journal."""
        values = {
            "n-best": self.num_best,
            "prefix": self.prefix,
            "a file of prefixes": self.prefixes is not None,
            "scores of references": self.references is not None,
        }
        return {name: value for name, value in values.items() if value}

    def check(self, translator: Translator) -> None:
        """Refuse an output that this translator cannot make.

        Raises:
            UserError: if its search finds fewer translations, or it has no attention.
        """
        search, size = translator.decode.search, translator.decode.beam_size
        if search == "greedy" and self.num_best > 1:
            raise UserError(
                f"num_best={self.num_best} needs a search with more than one result; use decode.search=beam or "
                "decode.search=sample."
            )
        if search == "beam" and self.num_best > size:
            raise UserError(
                f"num_best={self.num_best} is more than a beam of {size} holds; use decode.beam_size={self.num_best}."
            )
        if self.alignments is not None:
            require_attention(translator.engine, "a file of alignments")
        if self.pictures is not None:
            require_attention(translator.engine, "a picture of the attention")


class Output(NamedTuple):
    """The text that is written for some lines."""

    text: str
    num_cut: int  # lines longer than decode.max_source


class Writer:
    """Makes the output of lines, and writes the files beside it. See `writer`."""

    def __init__(self, translator: Translator, wanted: Wanted, alignments: BinaryIO | None) -> None:
        self.translator, self.wanted = translator, wanted
        self._alignments = alignments
        self.num_drawn = 0

    def output(self, first: int, lines: Sequence[str], beside: Sequence[str] | None = None) -> Output:
        """Make the output of some lines: a block of whole lines for each.

        Args:
            first: the number of the first line, from 0.
            beside: the references or prefixes of these lines, where the input has a file of them.
        """
        wanted = self.wanted
        plain = wanted.references is None and not wanted.num_best
        if plain and not wanted.attention and beside is None and not wanted.prefix:
            found = self.translator.translate(lines)
            return Output(_joined(found), found.num_cut)
        if plain and not wanted.attention:
            found = self.translator.translate(lines, prefixes=self._prefixes(lines, beside))
            return Output(_joined(found), found.num_cut)
        listed = self._found(lines, beside)
        self._beside(first, listed)
        render = _plain if plain else _scored if wanted.references is not None else _listed
        rendered = (render(number, one) for number, own in enumerate(listed, start=first) for one in own)
        return Output(_joined(rendered), listed.num_cut)

    def _prefixes(self, lines: Sequence[str], beside: Sequence[str] | None) -> Sequence[str]:
        return [self.wanted.prefix] * len(lines) if beside is None else beside

    def _found(self, lines: Sequence[str], beside: Sequence[str] | None) -> Results[list[Translation]]:
        """At least one translation of each line."""
        attention = self.wanted.attention
        if self.wanted.references is not None:
            assert beside is not None
            scored = self.translator.score(lines, beside, attention=attention)
            return Results(([one] for one in scored), scored.num_cut)
        prefixes = self._prefixes(lines, beside)
        num_best = self.wanted.num_best or 1
        found = self.translator.n_best(lines, num_best, attention=attention, prefixes=prefixes, log_probs=False)
        return Results((own or [BLANK] for own in found), found.num_cut)

    def _beside(self, first: int, found: Sequence[Sequence[Translation]]) -> None:
        if self._alignments is not None:
            rows = (pharaoh(one.links or ()) + "\n" for own in found for one in own)
            self._alignments.write("".join(rows).encode())
        if self.wanted.pictures is not None:
            for number, own in enumerate(found, start=first):
                self._draw(number, own[0])

    def _draw(self, number: int, translation: Translation) -> None:
        from seq2seq.translate import attention_plot  # and with it matplotlib, only if it is needed

        assert self.wanted.pictures is not None
        path, limit = Path(self.wanted.pictures), 1
        if path.suffix.lower() not in attention_plot.ENDINGS:
            path, limit = path / f"{number:06d}.png", self.wanted.num_pictures
        if translation.attention is not None and self.num_drawn < limit:
            make_folder(path.parent)
            weights = np.asarray(translation.attention)
            attention_plot.draw(path, weights, translation.src_pieces, translation.tgt_pieces)
            self.num_drawn += 1


def _joined(lines: Iterable[str]) -> str:
    return "".join(line + "\n" for line in lines)


def _plain(number: int, translation: Translation) -> str:
    return translation.text


def _scored(number: int, translation: Translation) -> str:
    return f"{translation.log_prob:.6f}\t{translation.per_token:.6f}\t{translation.score:.6f}"


def _listed(number: int, translation: Translation) -> str:
    return f"{number}{SEPARATOR}{translation.text}{SEPARATOR}{translation.score:.6f}"


def parse_n_best(line: str) -> tuple[int, str, float]:
    """Parse a line of an n-best list into number, translation and score.

    The translation may hold `` ||| `` itself: the line's first and last separators count.

    Raises:
        UserError: if the line is not of that form.
    """
    try:
        number, rest = line.split(SEPARATOR, 1)
        translation, score = rest.rsplit(SEPARATOR, 1)
        return int(number), translation, float(score)
    except ValueError:
        raise UserError(
            f"{line[:60]!r} is not a line of an n-best list; it must be index ||| text ||| score."
        ) from None


@contextmanager
def writer(translator: Translator, wanted: Wanted) -> Iterator[Writer]:
    """A `Writer`, whose file of alignments appears when the block ends well.

    Raises:
        UserError: if the file system refuses, or as `Wanted.check`.
    """
    wanted.check(translator)
    with nullcontext() if wanted.alignments is None else writing(wanted.alignments) as stream:
        writer = Writer(translator, wanted, stream)
        yield writer
    if wanted.pictures is not None and not writer.num_drawn:
        log.warning("%s: there is no line to draw the attention of", wanted.pictures)


def num_blocks(path: str | Path, wanted: Wanted) -> int:
    """The number of input lines that a finished output has translations of."""
    if not wanted.num_best:
        return sum(1 for _ in iter_raw_lines(path))
    count, last = 0, b""
    for line in iter_raw_lines(path):
        number = line.partition(SEPARATOR.encode())[0]
        count, last = count + (number != last), number
    return count


class Beside(NamedTuple):
    """The rest of a file that is read line by line with the input."""

    path: str | Path
    lines: Iterator[str]

    @staticmethod
    def of(path: str | Path, source: str | Path | None) -> Beside:
        """The whole of a file, with as many lines as ``source``, if that is one.

        Raises:
            UserError: if the numbers of lines differ.
        """
        if source is not None and Path(source).is_file() and Path(path).is_file():  # not what can be read only once
            found, needed = (sum(1 for _ in iter_raw_lines(one)) for one in (path, source))
            if found != needed:
                raise UserError(f"{path} has {found} lines but {source} has {needed}; the two must be line-aligned.")
        return Beside(path, iter_lines(path))

    def take(self, count: int) -> list[str]:
        """The next lines.

        Raises:
            UserError: if there are fewer.
        """
        taken = [line for _, line in zip(range(count), self.lines, strict=False)]
        if len(taken) < count:
            raise UserError(f"{self.path} has fewer lines than the input; the two must be line-aligned.")
        return taken

    def end(self) -> None:
        """See that nothing is left.

        Raises:
            UserError: if there is.
        """
        if next(self.lines, None) is not None:
            raise UserError(f"{self.path} has more lines than the input; the two must be line-aligned.")
