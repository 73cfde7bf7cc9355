r"""Translate files. Any bytes are accepted, and an interrupted translation can be resumed.

Lines end only at "\n". A carriage return before it belongs to the line's end and is left out, as is a byte-order mark
at the file's start. Both sides may be packed. A named output appears only when it is complete.

Where the output is not a regular file (stdout, a pipe), a window also ends when the input pauses. So a program that
sends a line and waits gets its translation. The text is the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from seq2seq.config.schema import DecodeConfig
from seq2seq.errors import UserError
from seq2seq.files import resumable
from seq2seq.files.lines import iter_groups, iter_raw_lines, not_utf8
from seq2seq.translate import outputs
from seq2seq.translate.translator import WINDOW, Translator

WINDOW_BYTES = 1 << 23  # a window of long lines ends here
RETURNS_INSIDE = "%s: its first line holds carriage returns; if they are line ends, convert it with tr '\\r' '\\n'"
RETURNS_TOO_MANY = "%s: %d lines end in an extra carriage return; tr -d '\\r' removes them"
NO_DIFFERENCE = {"batch_tokens"}  # decode settings that change no translation


log = logging.getLogger(__name__)


class FileReport(NamedTuple):
    """Counts of a translated file."""

    num_lines: int
    num_cut: int  # lines longer than decode.max_source
    num_replaced: int  # lines with bytes that are not UTF-8
    seconds: float
    num_kept: int = 0  # lines that an earlier call had translated
    finished_already: bool = False  # all of them; then nothing else is known of the earlier call


def translate_file(
    translator: Translator,
    source: str | Path | None,
    target: str | Path | None,
    *,
    window: int = WINDOW,
    strict: bool = False,
    shard: tuple[int, int] | None = None,
    resume: bool = False,
    made_with: Mapping[str, Any] | None = None,
    wanted: outputs.Wanted | None = None,
    options: DecodeConfig | None = None,
) -> FileReport:
    """Translate a file, or stdin (None), to a file, or stdout (None).

    Line i of the output is the translation of line i of the input. Progress is shown on stderr, if that is a terminal.

    Args:
        window: lines in memory at a time.
        strict: refuse bytes that are not UTF-8, instead of replacing them.
        shard: (k, n) for only the k-th of n blocks of the lines, from 1. The blocks joined in order are the whole.
        resume: continue an interrupted output to the bytes of an uninterrupted call; leave a finished one as it is.
        made_with: other things that the translations depend on; a resumed call must have the same.
        wanted: the kind of output for each line, which may be several lines. They are numbered through all blocks.
        options: decoding settings, in place of all of the translator's.

    Raises:
        UserError: if a file cannot be read or written, for bad UTF-8 with ``strict``, if a resumed call has other
            settings, or if the translator lacks what ``wanted`` needs.
        ValueError: for ``resume`` or ``shard`` without file names, and for a combination that has no meaning.

    Example:
        >>> report = translate_file(translator, "test.en", "test.de", resume=True)  # doctest: +SKIP
    """
    wanted = wanted or outputs.Wanted()
    translator = translator.with_options(options)
    _check_names(source, target, shard=shard, resume=resume, wanted=wanted)
    started = time.perf_counter()
    lines = _Lines(source, window=window, strict=strict, shard=shard, beside=wanted.beside)
    settings = {**(made_with or {}), **_settings(translator, wanted, lines)}
    with (
        outputs.writer(translator, wanted) as writer,
        resumable.open_output(target, settings, resume=resume) as output,
    ):
        if output is None:
            return _finished_already(lines, str(target), started, wanted)
        kept = _skip_finished(lines, output)
        lines.ends_window_at_pause = isinstance(output, resumable.Stream)
        _translate(writer, lines, output)
    return FileReport(lines.num_lines, lines.num_cut, lines.num_replaced, time.perf_counter() - started, kept)


def _check_names(
    source: str | Path | None,
    target: str | Path | None,
    *,
    shard: tuple[int, int] | None,
    resume: bool,
    wanted: outputs.Wanted,
) -> None:
    if (resume and None in (source, target)) or (shard and source is None):
        raise ValueError("resume needs a named source and target, and shard a named source.")
    if resume and wanted.attention:
        raise ValueError("alignments and pictures cannot be resumed.")


def _translate(writer: outputs.Writer, lines: _Lines, output: resumable.Stream | resumable.Partial) -> None:
    wanted = writer.wanted
    with _progress(lines) as advance:
        for window, beside in lines:
            made = writer.output(lines.next_number - len(window), window, beside)
            written = made.text.encode("utf-8")
            num_lines = written.count(b"\n")
            assert num_lines == len(window) or (wanted.num_best and num_lines > len(window))
            lines.num_cut += made.num_cut
            output.write(written, lines.mark())
            advance(len(window))


@contextmanager
def _progress(lines: _Lines) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, if that is a terminal; the function that is returned counts lines."""
    if not sys.stderr.isatty() or find_spec("rich") is None:  # the runtime's light install need not have it
        yield lambda count: None
        return
    from seq2seq.console import lines_bar  # which takes as long to import as a line to translate

    with lines_bar() as bar:
        task = bar.add_task(lines.name, total=lines.num_lines_wanted, completed=lines.num_lines)
        yield lambda count: bar.advance(task, count)


def _skip_finished(lines: _Lines, output: resumable.Stream | resumable.Partial) -> int:
    """Skip the lines that an earlier call has translated, and return their number.

    Raises:
        UserError: if they have changed.
    """
    if not isinstance(output, resumable.Partial) or output.mark is None:
        return 0
    before = output.mark
    lines.skip(before["lines"])
    lines.num_cut, lines.num_replaced = before["cut"], before["replaced"]
    if lines.mark() != before:
        raise output.refusal(f"the first {before['lines']} lines of {lines.name} have changed")
    return lines.num_lines


def _finished_already(lines: _Lines, target: str, started: float, wanted: outputs.Wanted) -> FileReport:
    """Check that a finished output has as many lines as this input."""
    found = outputs.num_blocks(target, wanted)
    lines.skip(sys.maxsize)
    if found != lines.num_lines:
        what = "translations of lines" if wanted.num_best else "lines"
        raise UserError(
            f"{target} is finished, but has {found} {what} for {lines.num_lines} of {lines.name}; "
            "leave out resume=True to make it again, or name another output."
        )
    return FileReport(found, 0, 0, time.perf_counter() - started, num_kept=found, finished_already=True)


def _settings(translator: Translator, wanted: outputs.Wanted, lines: _Lines) -> dict[str, Any]:
    """Everything that an output depends on: a resumed call must have the same."""
    settings = {**_decode_settings(translator), "strict": lines.strict, **wanted.settings()}
    if wanted.has_scores:  # whose last digits depend on the other lines in a batch, and on the device
        settings |= {"window": lines.window, "decode.batch_tokens": translator.decode.batch_tokens}
        settings["device"] = str(translator.engine.device)
    if lines.shard:
        settings["shard"] = f"{lines.shard[0]}/{lines.shard[1]} of {lines.num_lines_of_all} lines"
    return settings


def _decode_settings(translator: Translator) -> dict[str, Any]:
    settings = dataclasses.asdict(translator.decode)
    named = {f"decode.{name}": value for name, value in settings.items() if name not in NO_DIFFERENCE}
    form = translator.normalization
    return named if form == "none" else {**named, "tokenizer.normalization": form}


class _Lines:
    """Read lines of a file, a stream or a block of a file, a window at a time.

    With them come the lines of the file ``beside``, or None.

    Raises:
        UserError: if a file cannot be read, or the two are not line-aligned.
    """

    def __init__(
        self,
        source: str | Path | None,
        *,
        window: int,
        strict: bool,
        shard: tuple[int, int] | None = None,
        beside: str | Path | None = None,
    ) -> None:
        self.name = "stdin" if source is None else str(source)
        self.num_lines = self.num_cut = self.num_replaced = 0  # of the lines read so far
        self.num_lines_wanted: int | None = None  # None where it is not known
        self.num_lines_of_all: int | None = None
        self.ends_window_at_pause = False
        self.window, self.strict, self.shard = window, strict, shard
        self._digest = hashlib.sha256()
        self._first = 0
        self._raw: Iterator[bytes | None] = _with_pauses(_stdin_groups() if source is None else iter_groups(source))
        self._beside = None if beside is None else outputs.Beside.of(beside, source)
        self._beside_digest = hashlib.sha256()
        if source is not None and shard:
            self._take_block(source, *shard)

    def _take_block(self, source: str | Path, index: int, count: int) -> None:
        if not 1 <= index <= count:
            raise ValueError(f"a shard is (k, n) with 1 <= k <= n; got {(index, count)}.")
        if Path(source).exists() and not Path(source).is_file() and not Path(source).is_dir():
            raise UserError(f"{source} can be read only once, and a shard needs its lines counted first; name a file.")
        total = sum(1 for _ in iter_raw_lines(source))
        first, end = (total * i // count for i in (index - 1, index))
        self.num_lines_of_all, self.num_lines_wanted, self._first = total, end - first, first
        self._raw = itertools.islice(_without_pauses(self._raw), first, end)
        if self._beside is not None:
            for _ in itertools.islice(self._beside.lines, first):
                pass

    @property
    def next_number(self) -> int:
        """The number, from 0 and in the whole file, of the line that comes next."""
        return self._first + self.num_lines

    def __iter__(self) -> Iterator[tuple[list[str], list[str] | None]]:
        read = self._raw if self.ends_window_at_pause else _without_pauses(self._raw)
        num_returns = 0
        for window in _windows(read, self.window):
            num_returns += sum(line.endswith(b"\r") for line in window)
            if self.num_lines == 0 and len(window) == 1 and b"\r" in window[0].rstrip(b"\r"):
                log.warning(RETURNS_INSIDE, self.name)
            lines = self._decode(window)
            yield lines, self._count(window)
        if num_returns:
            log.warning(RETURNS_TOO_MANY, self.name, num_returns)
        if self._beside is not None and self.shard is None:
            self._beside.end()
        if self.num_lines_wanted not in (None, self.num_lines):
            raise UserError(f"{self.name} has become shorter while it was read; translate a file that does not change.")

    def skip(self, num_lines: int) -> None:
        """Read at most ``num_lines`` lines, only for their digest and number."""
        for window in _windows(itertools.islice(_without_pauses(self._raw), num_lines), self.window):
            self._count(window)

    def mark(self) -> dict[str, Any]:
        """The state of reading, in plain values."""
        mark = {
            "lines": self.num_lines,
            "sha256": self._digest.hexdigest(),
            "cut": self.num_cut,
            "replaced": self.num_replaced,
        }
        return mark if self._beside is None else {**mark, "sha256 beside": self._beside_digest.hexdigest()}

    def _count(self, window: list[bytes]) -> list[str] | None:
        """Count lines as read; returns those beside them."""
        self.num_lines += len(window)
        self._digest.update(b"\n".join(window))
        self._digest.update(b"\n")
        if self._beside is None:
            return None
        beside = self._beside.take(len(window))
        self._beside_digest.update("".join(line + "\n" for line in beside).encode())
        return beside

    def _decode(self, window: list[bytes]) -> list[str]:
        try:
            return b"\n".join(window).decode("utf-8").split("\n")
        except UnicodeDecodeError:
            number = self._first + self.num_lines + 1
            return [self._decode_line(raw, i) for i, raw in enumerate(window, start=number)]

    def _decode_line(self, raw: bytes, number: int) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if self.strict:
                raise not_utf8(self.name, number, raw, error) from None
            self.num_replaced += 1
            return raw.decode("utf-8", "replace")


def _windows(lines: Iterable[bytes | None], window: int) -> Iterator[list[bytes]]:
    """Lines in groups of ``window``, or fewer if they are long; None is a pause."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if line is not None:
            group.append(line)
            size += len(line)
        if group and (line is None or len(group) == window or size >= WINDOW_BYTES):
            yield group
            group, size = [], 0
    if group:
        yield group


def _with_pauses(groups: Iterable[list[bytes]]) -> Iterator[bytes | None]:
    """The lines of groups, and None for an empty group."""
    for group in groups:
        yield from group or (None,)


def _without_pauses(lines: Iterable[bytes | None]) -> Iterator[bytes]:
    return (line for line in lines if line is not None)


def _stdin_groups() -> Iterator[list[bytes]]:
    stream: BinaryIO = sys.stdin.buffer
    try:
        yield from iter_groups(stream, "stdin")
    except OSError as error:
        raise UserError(f"stdin cannot be read: {error.strerror or error}; check its source.") from None
