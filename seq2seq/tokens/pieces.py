"""Text to ids and back, by SentencePiece, without losing a character.

Source: Kudo and Richardson (2018), https://arxiv.org/abs/1808.06226.
"""

from __future__ import annotations

import io
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import sentencepiece

from seq2seq.config.schema import NORMALIZATIONS
from seq2seq.errors import UserError
from seq2seq.tokens.reservoir import sample
from seq2seq.tokens.sampling import SPACE_MARK, Sampler

PAD, UNK, BOS, EOS = 0, 1, 2, 3
UNK_SURFACE = "\N{REPLACEMENT CHARACTER}"

# SentencePiece writes a space as U+2581, so that character itself must not reach it. It is spelled with an escape: a
# private-use character and a digit; the private-use character is spelled so too, which makes the spelling reversible.
_ESCAPE = "\uf8fe"
_ESCAPES = {_ESCAPE: _ESCAPE + "0", SPACE_MARK: _ESCAPE + "1"}
_UNKNOWN = _ESCAPE + "2"  # stands for an unknown while pieces are put together; no text is spelled so
_UNESCAPE = re.compile(_ESCAPE + "[012]")

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")  # by id
WORD = re.compile(r"[^ \t\n\v\f\r]+")  # what stands between blanks, of which U+00A0 is none
_WORDS = b"seq2seq words 1\n"  # what a serialised `Words` begins with


class Tokenizer:
    """A trained SentencePiece model; ids 0 to 3 are pad, unk, bos and eos.

    No id is ever built from text: ``</s>`` in a sentence is four ordinary characters. With byte fallback, or on text
    made of characters it was trained on, ``decode(encode(text)) == text`` for every text without a newline, a carriage
    return and NUL (lower-cased, if ``lowercase``, and in the Unicode form ``normalization``).

    Args:
        proto: a serialised SentencePiece model, as `train` returns and a checkpoint stores.
        lowercase: lower-case text before encoding.
        normalization: Unicode form that text is brought to before encoding: none, nfc, nfkc.

    Raises:
        UserError: if ``proto`` is no SentencePiece model, or one with other special ids, or if the normalisation is
            not known.
    """

    def __init__(self, proto: bytes, *, lowercase: bool = False, normalization: str = "none") -> None:
        self.proto = proto
        self.lowercase = lowercase
        self.normalization = _known(normalization)
        try:
            model = sentencepiece.SentencePieceProcessor(model_proto=proto)
            first = model.encode("a", out_type=str)[0]
            strange = model.encode("\U0010fffd", out_type=str)[0]
            every = list(range(model.get_piece_size()))
            model.id_to_piece(every)  # each is UTF-8,
            model.decode(every)  # and so is what they stand for
        except Exception as error:  # a forged one brings SentencePiece to raise nearly anything
            raise UserError(f"the tokenizer is no SentencePiece model ({len(proto)} bytes); train it again.") from error
        self._model = model
        self._sampler: Sampler | None = None  # made when it is asked for
        self._has_prefix = first.startswith(SPACE_MARK) or first == "<0xE2>"  # a space before every line
        # Whether an unknown is a whole word with the space before it, as in a word model, or characters of one.
        self._unknown_is_word = strange.startswith(SPACE_MARK + "\U0010fffd")
        special = (self._model.pad_id(), self._model.unk_id(), self._model.bos_id(), self._model.eos_id())
        if special != (PAD, UNK, BOS, EOS):
            raise UserError(f"the tokenizer's ids of pad, unk, bos, eos must be {(PAD, UNK, BOS, EOS)}; got {special}.")

    @property
    def spaces_begin_words(self) -> bool:
        """Whether a space is part of the word after it, and no token of its own."""
        return self._has_prefix

    @property
    def can_sample(self) -> bool:
        """Whether a text has several segmentations to draw from."""
        try:
            self.encode(["a"], sampling=0.5)
        except ValueError:  # of a character or word model
            return False
        return True

    def __len__(self) -> int:
        """Size of the vocabulary, special ids included."""
        return int(self._model.get_piece_size())

    @cached_property
    def longest_piece(self) -> int:
        """Most characters of a piece."""
        return max(map(len, self.pieces(range(len(self)))))

    def encode(self, lines: Sequence[str], *, sampling: float = 0.0, seed: int | None = None) -> list[list[int]]:
        """Ids of each line, without bos and eos; a blank line has none.

        Args:
            sampling: draw a segmentation instead of taking the best: alpha of the unigram model (Kudo 2018,
                https://arxiv.org/abs/1804.10959) or the probability that BPE skips a merge (Provilkov et al. 2020,
                https://arxiv.org/abs/1910.13267). 0 is off.
            seed: makes the draw of this call a function of it.

        Raises:
            ValueError: if a line holds a newline; with ``sampling``, of a model of characters or words.
        """
        escaped = [self._escape(line) for line in lines]
        if not sampling:
            return self._use("encode", escaped, num_threads=1)
        if self._sampler is None:
            self._sampler = Sampler(self._model)
        generator = random.Random(seed)
        prefix = SPACE_MARK if self._has_prefix else ""
        return [
            self._sampler.draw(prefix + line.replace(" ", SPACE_MARK), sampling, generator) if line else []
            for line in escaped
        ]

    def decode(self, ids: Sequence[Sequence[int]], unknowns: Sequence[Sequence[str]] | None = None) -> list[str]:
        """Detokenised text of each row of ids, on one line: a newline or carriage return that a model emits becomes a
        space.

        Args:
            unknowns: the texts of the unknowns of each row, in their order; by default, and where a row has more, each
                is U+FFFD.
        """
        texts = self._use("decode", [list(row) for row in ids], num_threads=1)
        outputs = [self._unescape(text, row) for text, row in zip(texts, ids, strict=True)]
        for i, row in enumerate(ids):
            if UNK in row:
                outputs[i] = self._decode_with_unknowns(row, unknowns[i] if unknowns else ())
        return outputs

    def _decode_with_unknowns(self, row: Sequence[int], unknowns: Sequence[str]) -> str:
        pieces = self.pieces(row)
        for i, one in enumerate(row):
            if one == UNK:
                pieces[i] = self._space_before_unknown(i) + _UNKNOWN
        return self._unescape(self._use("decode", pieces), row, unknowns)

    def _space_before_unknown(self, place: int) -> str:
        return " " if self._unknown_is_word and place else ""

    def unknowns(self, line: str) -> list[str]:
        """What a line has where its ids have unknowns, in their order; SentencePiece makes one of a run of them."""
        escaped = self._escape(line)
        pieces = zip(self._use("encode", escaped), self._use("encode", escaped, out_type=str), strict=True)
        texts = [self._unescape(piece, ()) for one, piece in pieces if one == UNK]
        return [text.removeprefix(" ") for text in texts] if self._unknown_is_word else texts

    def spell(self, ids: Sequence[int], unknowns: Sequence[str] = ()) -> list[bytes]:
        """The bytes that each id stands for; side by side they have the words of the text, between spaces that may be
        spelled as `SPACE_MARK`.

        Args:
            unknowns: as for `decode`, of this one row.
        """
        left = iter(unknowns)
        spelled = []
        for i, (one, piece) in enumerate(zip(ids, self.pieces(ids), strict=True)):
            if one == UNK:
                text = self._space_before_unknown(i) + _escaped(next(left, UNK_SURFACE))
                spelled.append(text.encode())
            elif self._model.is_byte(int(one)):
                spelled.append(bytes([int(piece[3:5], 16)]))  # "<0xE2>"
            else:
                spelled.append(b"" if self._model.is_control(int(one)) else piece.encode())
        return spelled

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The pieces behind ids, for people to look at."""
        return list(self._use("id_to_piece", [int(i) for i in ids]))

    def _use(self, method: str, *arguments: object, **options: object) -> Any:
        """Call SentencePiece, whose model may be forged: what fails in it is a UserError."""
        try:
            return getattr(self._model, method)(*arguments, **options)
        except (RuntimeError, UnicodeError) as error:
            raise UserError(f"the tokenizer fails on this text: {error}; train it again.") from error

    def _escape(self, line: str) -> str:
        refuse_newline(line)
        return _escaped(self.normalized(line))

    def normalized(self, line: str, *, keep_case: bool = False) -> str:
        """A line as it is encoded: in lower case, where text is lower-cased, and in the tokenizer's Unicode form.

        Args:
            keep_case: only the Unicode form is changed.
        """
        return normalized(line, lowercase=self.lowercase and not keep_case, normalization=self.normalization)

    def _unescape(self, text: str, ids: Sequence[int], unknowns: Sequence[str] = ()) -> str:
        # Where the space mark is in no vocabulary it comes back as bytes: spaces, and before them the prefix, which
        # SentencePiece takes away only where it is a piece.
        if self._has_prefix and len(ids) and self._model.is_byte(int(ids[0])):
            text = text.removeprefix(SPACE_MARK)
        text = text.replace(SPACE_MARK, " ")
        spelled = {_ESCAPES[_ESCAPE]: _ESCAPE, _ESCAPES[SPACE_MARK]: SPACE_MARK}
        left = iter(unknowns)
        text = _UNESCAPE.sub(lambda match: spelled.get(match[0]) or next(left, UNK_SURFACE), text)
        return self._composed(text.replace("\n", " ").replace("\r", " "))

    def _composed(self, text: str) -> str:
        """Decoded text in the tokenizer's Unicode form: a combining mark may be a piece of its own.

        NFC is enough for nfkc too, since the pieces are in that form, and it changes no space.
        """
        return text if self.normalization == "none" else in_form(text, "nfc")


class Words(Tokenizer):
    """A list of words between spaces, as the Penn Treebank benchmark has its text: an ``<unk>`` in it is the unknown
    word, and every other word that is not in the list is taken for one too. Nothing is spelled out, so
    ``decode(encode(text))`` has single spaces between words and ``<unk>`` for what is not known.

    Args:
        proto: as `train` with type ptb returns it: a first line that says what it is, then the words, one a line, the
            first of which has id 4.
        lowercase, normalization: as for `Tokenizer`.

    Raises:
        UserError: if ``proto`` is no list of words, or if the normalisation is not known.
    """

    def __init__(self, proto: bytes, *, lowercase: bool = False, normalization: str = "none") -> None:
        self.proto = proto
        self.lowercase = lowercase
        self.normalization = _known(normalization)
        try:
            words = proto.removeprefix(_WORDS).decode("utf-8").split("\n") if proto != _WORDS else []
        except UnicodeDecodeError:
            words = [""]
        self._words = [*SPECIAL, *words]
        self._ids = {word: i for i, word in enumerate(words, start=len(SPECIAL))}
        if not proto.startswith(_WORDS) or not all(words) or len(self._ids) < len(words):
            raise UserError(f"the tokenizer is no list of words ({len(proto)} bytes); train it again.")

    @property
    def spaces_begin_words(self) -> bool:
        return True

    @property
    def can_sample(self) -> bool:
        return False

    def __len__(self) -> int:
        return len(self._words)

    def encode(self, lines: Sequence[str], *, sampling: float = 0.0, seed: int | None = None) -> list[list[int]]:
        """Ids of each line's words; there is nothing to sample."""
        escaped = (self._escape(line) for line in lines)
        return [[self._ids.get(word, UNK) for word in words(line)] for line in escaped]

    def decode(self, ids: Sequence[Sequence[int]], unknowns: Sequence[Sequence[str]] | None = None) -> list[str]:
        """The words of each row between single spaces; one that is not known is ``<unk>``, or the next of the row's
        ``unknowns``.
        """
        given = unknowns or [()] * len(ids)
        rows = zip(ids, given, strict=True)
        return [self._composed(b"".join(self.spell(row, own)).decode("utf-8")) for row, own in rows]

    def unknowns(self, line: str) -> list[str]:
        """The words of a line that are not known, in their order."""
        return [word for word in words(self._escape(line)) if word not in self._ids]

    def spell(self, ids: Sequence[int], unknowns: Sequence[str] = ()) -> list[bytes]:
        """The bytes that each id stands for, a space before each word but the first."""
        left = iter(unknowns)
        spelled: list[bytes] = []
        for one in map(int, ids):
            word = "" if one in (PAD, BOS, EOS) else self._words[one]
            word = next(left, word) if one == UNK else word
            spelled.append((" " if word and any(spelled) else "").encode() + word.encode())
        return spelled

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._words[int(i)] for i in ids]

    def _escape(self, line: str) -> str:
        refuse_newline(line)
        return self.normalized(line).encode("utf-8", "replace").decode("utf-8")  # a lone surrogate has no UTF-8 form


def refuse_newline(line: str) -> None:
    """Raise a ValueError if a line holds a newline."""
    if "\n" in line:
        raise ValueError(f"a line holds a newline: {line[:40]!r}; split the text into lines first.")


def words(line: str) -> list[str]:
    """What stands between blanks."""
    return WORD.findall(line)


def in_form(line: str, form: str) -> str:
    """A line in a Unicode form: nfc or nfkc. Text that is in it already, as ASCII is, comes back as it is."""
    name = form.upper()
    if line.isascii() or unicodedata.is_normalized(name, line):  # type: ignore[arg-type]
        return line
    return unicodedata.normalize(name, line)  # type: ignore[arg-type]


def normalized(line: str, *, lowercase: bool, normalization: str) -> str:
    """A line as a tokenizer is trained on it and encodes it: in a Unicode form (none, nfc, nfkc), and lower-cased."""
    if normalization != "none":
        line = in_form(line, normalization)
    if not lowercase:
        return line
    line = line.lower()  # which can undo the form
    return line if normalization == "none" else in_form(line, normalization)


def _known(normalization: object) -> str:
    if not isinstance(normalization, str) or normalization not in NORMALIZATIONS:
        raise UserError(
            f"the tokenizer's normalization must be one of {', '.join(NORMALIZATIONS)}; got {normalization!r:.40}."
        )
    return normalization


def load(proto: bytes, *, lowercase: bool = False, normalization: str = "none") -> Tokenizer:
    """The tokenizer that `train` returned in bytes.

    Raises:
        UserError: as `Tokenizer` and `Words`.
    """
    kind = Words if proto.startswith(_WORDS) else Tokenizer
    return kind(proto, lowercase=lowercase, normalization=normalization)


def same_pieces(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers give the same ids to every text."""
    return _identity(one) == _identity(other)


def _identity(tokenizer: Tokenizer) -> tuple[bytes, bool, str]:
    return tokenizer.proto, tokenizer.lowercase, tokenizer.normalization


def _train_words(lines: Iterable[str], vocab_size: int) -> bytes:
    """The most frequent words, as `Words` reads them, of equally frequent ones the lesser first. ``vocab_size`` counts
    ``<unk>`` and ``</s>`` as the benchmark does, and neither pad nor bos.

    Raises:
        UserError: if there is no word.
    """
    counts = Counter(word for line in lines for word in words(line) if word not in SPECIAL)
    if not counts:
        raise UserError("the tokenizer has no text to train on: there is no word in it.")
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    kept = ranked[: vocab_size - 2] if vocab_size else ranked
    return _WORDS + "\n".join(kept).encode("utf-8")


def train(
    lines: Iterable[str],
    *,
    type: str,
    vocab_size: int,
    byte_fallback: bool = False,
    lowercase: bool = False,
    sample_lines: int = 0,
    normalization: str = "none",
) -> bytes:
    """Train a SentencePiece model, or for type ptb a list of words, on ``lines`` and return it serialised.

    The text is brought to the Unicode form ``normalization``; its spaces are not collapsed. A vocabulary larger than
    the text allows is clipped; its true size is that of the result. ``char``, ``word`` and ``ptb`` with
    ``vocab_size=0`` take all that there is.

    Args:
        sample_lines: train SentencePiece on a random sample of this size, if there are more lines; 0 for no bound. A
            list of words is counted over all lines. No character is lost: those of all lines are in the vocabulary.

    Raises:
        UserError: if there is no text, or ``vocab_size`` is smaller than the text's characters (and the bytes) need.
    """
    prepared = (normalized(line, lowercase=lowercase, normalization=normalization) for line in lines)
    if type == "ptb":
        return _train_words(prepared, vocab_size)
    chars: set[str] = set()
    filled = _filled(map(_escaped, prepared), chars)
    kept = sample(filled, sample_lines) if sample_lines else list(filled)
    if not kept:
        raise UserError("the tokenizer has no text to train on: every line is blank.")
    whole = type in ("char", "word") and vocab_size == 0
    settings = {
        "model_type": type,
        "vocab_size": 2**24 if whole else vocab_size,
        "byte_fallback": byte_fallback,
        "use_all_vocab": whole,
        "hard_vocab_limit": False,
        # A character model needs no mark of where a word begins, and the book's experiments count every character.
        "add_dummy_prefix": type != "char",
    }
    try:
        return _train_once(kept, chars, settings)
    except RuntimeError as error:
        clipped = re.search(r"set it to a value <= (\d+)", str(error))
        if clipped is None:
            raise _refused(type, vocab_size, str(error)) from error
        return _train_once(kept, chars, {**settings, "vocab_size": int(clipped[1])})


def _escaped(line: str) -> str:
    """A line as SentencePiece gets it, in training and later."""
    if _ESCAPE in line or SPACE_MARK in line:
        line = "".join(_ESCAPES.get(char, char) for char in line)
    # A lone surrogate (from a lenient decoder) has no UTF-8 form.
    return line if line.isascii() else line.encode("utf-8", "replace").decode("utf-8")


def _filled(lines: Iterable[str], chars: set[str]) -> Iterator[str]:
    """The lines that are not blank, whose characters are added to ``chars``."""
    for line in lines:
        if line.strip():
            chars.update(line)
            yield line


def _train_once(lines: Sequence[str], chars: set[str], settings: dict[str, object]) -> bytes:
    model = io.BytesIO()
    longest = max(len(line.encode("utf-8")) for line in lines)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        minloglevel=2,
        num_threads=1,  # with more, the sums of the EM algorithm and so the pieces could differ between two runs
        pad_id=PAD,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        unk_surface=UNK_SURFACE,
        character_coverage=1.0,
        # It cuts its own markers, "<unk>" say, out of the text that it trains on; their characters must not be lost.
        required_chars="".join(sorted(chars - {" ", "\0"})),
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        max_sentence_length=max(longest + 1, 10),  # SentencePiece's least
        **settings,  # type: ignore[arg-type]
    )
    return model.getvalue()


def _refused(type: str, vocab_size: int, message: str) -> UserError:
    needed = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if needed is None:
        return UserError(f"SentencePiece cannot train tokenizer.type={type} with vocab_size={vocab_size}: {message}")
    return UserError(
        f"tokenizer.vocab_size={vocab_size} is too small for type {type}: "
        f"the characters of the text (and the bytes) need at least {needed[1]}."
    )
