"""Words and their pieces, links by hand, and unknown words that are copied."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq import checkpoint
from seq2seq.cli.translate import main
from seq2seq.config.schema import Config, DecodeConfig, ModelConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.decoding.engine import Engine
from seq2seq.errors import UserError
from seq2seq.tokens.base import UNK, UNK_SURFACE, words
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.translate.alignment import align, most_attended, pharaoh, words_of_pieces
from seq2seq.translate.translator import Translator
from tests import attentive
from tests.conftest import LINES, tiny_model

AWKWARD = [*LINES, "日本 läuft", "x\u2581y \uf8fe2 \uf8fe0z"]
TOKENIZERS = {
    "unigram": Pieces(train(AWKWARD, type="unigram", vocab_size=60)),
    "bpe": Pieces(train(AWKWARD, type="bpe", vocab_size=80)),
    "bytes": Pieces(train(LINES, type="bpe", vocab_size=310, byte_fallback=True)),
    "char": Pieces(train(AWKWARD, type="char", vocab_size=0)),
    "word": Pieces(train(LINES, type="word", vocab_size=9)),
    "words and bytes": Pieces(train(LINES, type="word", vocab_size=300, byte_fallback=True)),
    "lower": Pieces(train(LINES, type="word", vocab_size=9, lowercase=True), lowercase=True),
}
TEXT = st.text(st.sampled_from("adogthe  \t\u00a0\u3000日本\u2581\uf8fe012XÄ\x0b\x85"), max_size=25)


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_the_pieces_of_any_text_have_its_words(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    (ids,) = tokenizer.encode([text])
    unknowns = tokenizer.unknowns(text)
    found = words_of_pieces(tokenizer.spell(ids, unknowns))
    assert len(found) == len(ids)
    assert {word for own in found for word in own} == set(range(len(words(text))))
    lowered = text.lower() if tokenizer.lowercase else text
    assert tokenizer.decode([ids], [unknowns]) == [lowered]  # with its unknowns back every text survives


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_pieces_of_any_ids_have_the_words_of_their_text(kind: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = data.draw(st.lists(st.sampled_from([UNK, *range(4, len(tokenizer))]), max_size=12))
    (text,) = tokenizer.decode([ids])
    found = words_of_pieces(tokenizer.spell(ids))
    assert {word for own in found for word in own} == set(range(len(words(text))))


def test_a_piece_belongs_to_the_words_that_it_has_a_part_of() -> None:
    assert words_of_pieces([]) == []
    pieces = ["▁a", "b", "▁", "c▁d", "▁▁", "\t", "▁e▁f", ""]
    spans = [range(0, 1), range(0, 1), range(0), range(1, 3), range(0), range(0), range(3, 5), range(0)]
    assert [list(own) for own in words_of_pieces([piece.encode() for piece in pieces])] == [list(own) for own in spans]


def test_links_worked_out_by_hand() -> None:
    """Source: two words of two pieces and one, then the end; target: two words of one piece and two, then the end."""
    src, tgt = [range(0, 1), range(0, 1), range(1, 2)], [range(0, 1), range(1, 2), range(1, 2)]
    attention = torch.tensor(
        [
            [0.3, 0.3, 0.4, 0.0],  # 0.6 to 0.4
            [0.1, 0.1, 0.2, 0.6],  # the end has most, and does not count
            [0.5, 0.0, 0.5, 0.0],  # with the row above 0.7 each: the first
            [0.0, 0.0, 1.0, 0.0],
        ]
    )
    assert align(attention, src, tgt) == [(0, 0), (0, 1)]
    attention[2] = torch.tensor([0.0, 0.2, 0.4, 0.4])
    assert align(attention, src, tgt) == [(0, 0), (1, 1)]
    assert align(torch.zeros(4, 4), src, tgt) == []
    assert align(attention, [], tgt) == []
    assert align(attention, src, []) == []
    assert pharaoh([(0, 0), (1, 1)]) == "0-0 1-1"


def test_the_word_that_was_looked_at_most() -> None:
    src = [range(0, 1), range(0), range(1, 2), range(1, 2), range(2, 3)]
    assert most_attended(torch.tensor([0.3, 0.9, 0.2, 0.2, 0.3, 0.9]), src) == range(1, 2)
    assert most_attended(torch.tensor([0.4, 0.0, 0.2, 0.2, 0.4, 0.0]), src) == range(0, 1)
    assert most_attended(torch.tensor([0.1, 0.5, 0.2]), [range(0, 1), range(1, 3), range(2, 4)]) == range(1, 4)
    assert most_attended(torch.tensor([1.0]), []) == range(0)


def test_unknown_words_keep_their_spaces() -> None:
    tokenizer = TOKENIZERS["word"]
    assert tokenizer.decode(tokenizer.encode(["a zebra dog"])) == [f"a {UNK_SURFACE} dog"]
    assert tokenizer.decode(tokenizer.encode(["zebra dog"])) == [f"{UNK_SURFACE} dog"]
    assert tokenizer.unknowns("a zebra  lion dog Zoe") == ["zebra  lion", "Zoe"]
    assert tokenizer.decode(tokenizer.encode(["a x dog y"]), [["one"]]) == [f"a one dog {UNK_SURFACE}"]


# Copies


def copying(kind: str, size: int, **decode: object) -> Translator:
    """A network that writes little else but unknowns."""
    both = attentive.tokenizers(kind, size)
    model = tiny_model(3, vocab=len(both.tgt), attention="general")
    with torch.no_grad():
        model.decoder.output.bias[UNK] += 6
        model.decoder.output.bias[0] -= 50
        model.decoder.output.bias[2] -= 50
    return Translator(Engine([model]), both, DecodeConfig(**{"copy_unknown": True, "max_extra": 4, **decode}))  # type: ignore[arg-type]


SEARCHES = [{}, {"search": "beam", "beam_size": 3}, {"search": "sample"}]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_an_unknown_becomes_the_source_word_with_most_attention(search: dict[str, object]) -> None:
    one = copying("word", 9, **search)
    lines = ["a zebra dog", "Zürich the cat", "dog Xaver a Yvonne the", "a dog"]
    seen = set()
    for line, output, (each,) in zip(lines, one.translate(lines), one.n_best(lines, 1, attention=True), strict=True):
        assert output == each.text
        assert each.attention is not None
        # In a word vocabulary, where no two unknowns are neighbours, piece i is word i; the last column is the end.
        best = each.attention[:, :-1].argmax(1).tolist()
        wanted = []
        for piece, place in zip(each.tgt_pieces, best, strict=True):
            if piece == "<unk>":
                wanted.append(line.split()[place])
            elif piece != "</s>":
                wanted.append(piece.removeprefix("▁"))
        assert output == " ".join(wanted)
        seen |= {word for piece, word in zip(each.tgt_pieces, wanted, strict=False) if piece == "<unk>"}
    assert seen & {"zebra", "Zürich", "Xaver", "Yvonne"}


@pytest.mark.parametrize("form", ["nfc", "nfkc"])
def test_copies_and_alignments_are_of_the_words_of_the_normalised_line(form: str) -> None:
    """Where a form changes how long a line is, or how many words it has."""
    plain = copying("word", 9)
    both = Tokenizers(*(Pieces(one.proto, normalization=form) for one in plain.tokenizers))
    composing = Translator(Engine([plain.model]), both, plain.decode)
    lines = [
        "a ze\u0301bra\xa0fou dog",
        "\ufb01ne the\u2003cat\xa0\xa0a",
        "dog Xave\u0301r a x\u0304x the",
        "\xa0 a dog",
    ]
    wanted = [unicodedata.normalize(form.upper(), line) for line in lines]
    assert lines != wanted
    ours, theirs = (one.n_best(own, 1, attention=True) for one, own in ((composing, lines), (plain, wanted)))
    assert composing.translate(lines) == plain.translate(wanted)
    for (mine,), (other,) in zip(ours, theirs, strict=True):
        assert (mine.text, mine.links, mine.src_pieces, mine.tgt_pieces) == (
            other.text,
            other.links,
            other.src_pieces,
            other.tgt_pieces,
        )
    prefixes = ["the caf\u0065\u0301"] * 4
    scored = composing.score(lines, prefixes, attention=True), plain.score(wanted, ["the café"] * 4, attention=True)
    assert [(one.log_prob, one.links) for one in scored[0]] == [(one.log_prob, one.links) for one in scored[1]]
    assert composing.translate(lines, prefixes=prefixes) == plain.translate(wanted, prefixes=["the café"] * 4)


def test_without_copying_an_unknown_is_shown_as_one() -> None:
    one = copying("word", 9, copy_unknown=False)
    assert UNK_SURFACE in one.translate(["a zebra dog"])[0].split()


def test_a_run_of_unknown_words_is_one_piece_and_is_copied_whole() -> None:
    one = copying("word", 9)
    words_written = one.translate(["San José"])[0]
    assert "San José" in words_written


def test_in_a_subword_vocabulary_the_whole_word_around_is_copied() -> None:
    one = copying("char", 0)
    (each,) = one.n_best(["the Qdog"], 1, attention=True)[0]
    assert each.attention is not None
    first = each.attention[0]  # of the characters t h e _ Q d o g and the end
    wanted = "the" if first[:3].sum() >= first[4:8].sum() else "Qdog"
    assert each.tgt_pieces[0] == "<unk>"
    assert each.text.startswith(wanted)


def test_a_prefix_keeps_its_own_unknown_words() -> None:
    one = copying("word", 9)
    (text,) = one.translate(["a zebra dog"], prefixes=["the Xaver"])
    assert text.startswith("the Xaver ")
    assert UNK_SURFACE not in text
    one = one.with_options(DecodeConfig(max_extra=4))
    assert one.translate(["a zebra dog"], prefixes=["the Xaver"])[0].startswith(f"the Xaver {UNK_SURFACE}")


def test_copying_needs_attention(tmp_path: Path) -> None:
    blind = attentive.load(attentive.save(tmp_path / "a.ckpt", attention="none"), copy_unknown=True)
    with pytest.raises(UserError, match="decode.copy_unknown needs a model with attention, and this one has none"):
        blind.translate(["a"])
    seeing = attentive.load(attentive.save(tmp_path / "b.ckpt"), copy_unknown=True)
    both = Translator(Engine([seeing.model, blind.model]), seeing.tokenizers, seeing.decode)
    with pytest.raises(UserError, match="and a model of this ensemble has none; train one with model"):
        both.translate(["a"])
    with pytest.raises(UserError, match="decode.copy_unknown=true needs attention; got model.attention=none"):
        Config(decode=DecodeConfig(copy_unknown=True))
    Config(decode=DecodeConfig(copy_unknown=True), model=ModelConfig(attention="dot"))


def test_the_command_copies_if_it_is_told_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = attentive.save(tmp_path / "a.ckpt", both=attentive.tokenizers("word", 9))
    contents = checkpoint.read(path)
    contents["state_dict"]["model.decoder.output.bias"][UNK] += 60
    checkpoint.save(path, contents)
    (tmp_path / "in").write_text("a zebra dog\n")
    (known,) = TOKENIZERS["word"].decode([list(range(4, 9))])
    for flags in ([], ["--copy-unknown", "--beam", "2"]):
        with pytest.raises(SystemExit) as ended:
            main([str(path), "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *flags])
        assert ended.value.code == 0
        output = (tmp_path / "out").read_text()
        assert (UNK_SURFACE in output) == (not flags)
        assert set(output.split()) <= {UNK_SURFACE, "a", "zebra", "dog", *known.split()}
