"""Train a tokenizer on text."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import sentencepiece

from seq2seq.errors import UserError
from seq2seq.tokens.base import BOS, EOS, PAD, SPECIAL, UNK, UNK_SURFACE, normalized, words
from seq2seq.tokens.pieces import escaped
from seq2seq.tokens.reservoir import sample
from seq2seq.tokens.words import WORDS_MARK


def _train_words(lines: Iterable[str], vocab_size: int) -> bytes:
    """The most frequent words, serialised as `Words` reads them; ties in the order of code points.

    ``vocab_size`` counts ``<unk>`` and ``</s>`` as the benchmark does, and neither pad nor bos.

    Raises:
        UserError: if the text has no words.
    """
    counts = Counter(word for line in lines for word in words(line) if word not in SPECIAL)
    if not counts:
        raise UserError("the tokenizer has no text to train on: it has no words.")
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    kept = ranked[: vocab_size - 2] if vocab_size else ranked
    return WORDS_MARK + "\n".join(kept).encode("utf-8")


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
    """Train a SentencePiece model, or a list of words for type ptb, and serialise it.

    The text is brought to the Unicode form ``normalization``; its spaces are not collapsed. A vocabulary larger than
    the text allows is clipped; its true size is that of the result. ``char``, ``word`` and ``ptb`` with
    ``vocab_size=0`` take all that there is.

    Args:
        sample_lines: train SentencePiece on a random sample of this size, if there are more lines; 0 for no bound. A
            list of words is counted over all lines. No character is lost: those of all lines are in the vocabulary.

    Raises:
        UserError: if the text is empty, or ``vocab_size`` is smaller than the text's characters (and the bytes) need.
    """
    prepared = (normalized(line, lowercase=lowercase, normalization=normalization) for line in lines)
    if type == "ptb":
        return _train_words(prepared, vocab_size)
    chars: set[str] = set()
    filled = _filled(map(escaped, prepared), chars)
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
        # It cuts its own markers, such as "<unk>", out of the training text; their characters must not be lost.
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
