"""Batches hold every sentence once an epoch, in an order that can be repeated and resumed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.data.arrays import Corpus, Ragged, TokenArray, Tokenizers, write_tokens
from seq2seq.data.batches import AT_ONCE, Batch, BatchLoader, LengthBatchSampler, _cuts, collate, pad
from seq2seq.data.sources.text import TextSource
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from tests.conftest import LINES

LENGTHS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=60)


@pytest.fixture
def corpus(tmp_path: Path, tokenizers: Tokenizers) -> Corpus:
    lines = LINES * 9
    for side in ("src", "tgt"):
        write_tokens(tmp_path / side, tokenizers.src.encode(lines if side == "src" else lines[::-1]))
    return Corpus(TokenArray(tmp_path / "src"), TokenArray(tmp_path / "tgt"))


def loader(corpus: Corpus, **options: object) -> BatchLoader:
    lengths = np.stack([corpus.src.lengths() + 1, corpus.tgt.lengths() + 1], axis=1)
    return BatchLoader(corpus, LengthBatchSampler(lengths, batch_tokens=100, seed=3), **options)  # type: ignore[arg-type]


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        a.rows == b.rows and torch.equal(a.src, b.src) and torch.equal(a.tgt_out, b.tgt_out)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("position", [0, 1, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE + 3])
def test_an_epoch_of_many_batches_misses_none_wherever_it_begins(corpus: Corpus, position: int) -> None:
    lengths = np.stack([corpus.src.lengths() + 1, corpus.tgt.lengths() + 1], axis=1)
    alone = BatchLoader(corpus, LengthBatchSampler(lengths, batch_tokens=0, batch_sentences=1, seed=3))
    rows = [one.tolist() for one in alone.batch_sampler.batches()]
    assert len(rows) == len(corpus.src) > 2 * AT_ONCE + 3
    alone.load_state_dict({"epoch": 0, "position": position})
    assert [batch.rows for batch in alone] == rows[position:]


def test_a_batch_shifts_the_target_and_pads_with_zeros() -> None:
    batch = collate([[4, 5], [6]], [[7], [8, 9]], [0, 1])
    assert batch.src.tolist() == [[4, 5, 3], [6, 3, 0]]
    assert batch.src_lengths.tolist() == [3, 2]
    assert batch.tgt_in.tolist() == [[2, 7, 0], [2, 8, 9]]
    assert batch.tgt_out.tolist() == [[7, 3, 0], [8, 9, 3]]
    assert batch.num_tokens == 5


def test_without_an_end_symbol_nothing_is_added_to_either_side() -> None:
    batch = collate([[4, 5]], [[6, 7]], [0], end_symbol=False)
    assert (batch.src.tolist(), batch.tgt_in.tolist(), batch.tgt_out.tolist()) == ([[4, 5]], [[2, 6]], [[6, 7]])


def test_a_blank_source_still_has_its_end_symbol() -> None:
    assert collate([[]], [[4]], [0]).src.tolist() == [[3]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(4, 99), max_size=5), min_size=1, max_size=6), st.data())
def test_any_rows_are_taken_in_any_order(rows: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    with tempfile.TemporaryDirectory() as folder:
        write_tokens(Path(folder) / "a", rows)
        taken = TokenArray(Path(folder) / "a").take(np.array(chosen, dtype=np.int64))
    assert taken.lists() == [rows[row] for row in chosen]
    assert taken.lengths.tolist() == [len(rows[row]) for row in chosen]
    assert Ragged.of(taken.lists()).ids.tolist() == taken.ids.tolist()


def test_pad_fills_up_to_the_longest() -> None:
    assert pad([[1], [2, 3]]).tolist() == [[1, 0], [2, 3]]


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(0, 60), st.integers(0, 9), st.integers(0, 5), st.integers(1, 3))
def test_every_sentence_comes_once_an_epoch_within_the_bounds(
    lengths: list[tuple[int, int]], tokens: int, sentences: int, epoch: int, at_least: int
) -> None:
    table = np.array(lengths)
    sampler = LengthBatchSampler(table, batch_tokens=tokens, batch_sentences=sentences, seed=1, at_least=at_least)
    sampler.set_epoch(epoch)
    batches = sampler.batches()
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    for rows in batches:
        assert len(rows) >= min(at_least, len(lengths))
        if at_least == 1 and len(rows) > 1:
            assert not tokens or len(rows) * table[rows].max() <= tokens
            assert not sentences or len(rows) <= sentences


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    table = np.random.default_rng(0).integers(1, 9, (200, 2))

    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = LengthBatchSampler(table, batch_tokens=60, seed=seed)
        sampler.set_epoch(epoch)
        return [rows.tolist() for rows in sampler.batches()]

    assert order(1, 4) == order(1, 4)
    assert order(1, 4) != order(1, 5)
    assert order(1, 4) != order(2, 4)


def test_padding_stays_under_three_percent_on_sentences_of_usual_lengths() -> None:
    draw = np.random.default_rng(0)
    tgt = np.clip(draw.normal(14, 4, 20000).astype(int), 2, 45)
    table = np.stack([np.clip(tgt + draw.integers(-2, 3, 20000), 2, 45), tgt], axis=1)
    rows = LengthBatchSampler(table, batch_tokens=3000).batches()
    padded = sum(len(r) * table[r].max(axis=0) for r in rows).sum()
    assert 1 - table.sum() / padded < 0.03


@pytest.mark.parametrize("position", [0, 1, 4, 999])
def test_a_loader_goes_on_in_the_middle_of_an_epoch(corpus: Corpus, position: int) -> None:
    whole = loader(corpus)
    whole.batch_sampler.set_epoch(2)
    batches, states = [], [whole.state_dict()]
    for batch in whole:
        batches.append(batch)
        states.append(whole.state_dict())
    position = min(position, len(batches))
    resumed = loader(corpus)
    resumed.load_state_dict(states[position])
    resumed.batch_sampler.set_epoch(2)
    assert same(list(resumed), batches[position:])
    assert same(list(resumed), batches)  # and the next pass is a whole one


def test_a_state_of_another_epoch_starts_this_one_from_its_beginning(corpus: Corpus) -> None:
    resumed = loader(corpus)
    resumed.load_state_dict({"epoch": 0, "position": 3})
    resumed.batch_sampler.set_epoch(1)
    assert len(list(resumed)) == len(resumed)


def test_workers_change_nothing(tmp_path: Path) -> None:
    tokenizer = Pieces(train(LINES * 5, type="bpe", vocab_size=40))
    write_tokens(tmp_path / "a", tokenizer.encode(LINES * 5))
    corpus = Corpus(TokenArray(tmp_path / "a"), TokenArray(tmp_path / "a"))
    options = {"sampling": 0.3, "sides": [TextSource({}, tokenizer)] * 2}
    assert same(list(loader(corpus, **options)), list(loader(corpus, num_workers=2, **options)))


def test_subword_sampling_keeps_the_text_and_differs_between_epochs(tmp_path: Path) -> None:
    tokenizer = Pieces(train(LINES * 5, type="bpe", vocab_size=40))
    write_tokens(tmp_path / "a", tokenizer.encode(LINES * 5))
    corpus = Corpus(TokenArray(tmp_path / "a"), TokenArray(tmp_path / "a"))
    sampled = loader(corpus, sampling=0.5, sides=[TextSource({}, tokenizer)] * 2)
    pieces = []
    for epoch in (0, 1):
        sampled.batch_sampler.set_epoch(epoch)
        for batch in sampled:
            texts = tokenizer.decode([[i for i in row if i > 3] for row in batch.src.tolist()])
            assert texts == [(LINES * 5)[row] for row in batch.rows]
            pieces.append((epoch, sorted(map(str, batch.src.tolist()))))
    assert {p for e, p in ((e, str(p)) for e, p in pieces) if e == 0} != {str(p) for e, p in pieces if e == 1}


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_batch_is_cut_anew_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int, world_size: int
) -> None:
    tokenizer = Pieces(train(LINES * 5, type="bpe", vocab_size=40))
    write_tokens(tmp_path / "a", tokenizer.encode(LINES * 5))
    corpus = Corpus(TokenArray(tmp_path / "a"), TokenArray(tmp_path / "a"))
    sampled = loader(
        corpus,
        accumulate=accumulate,
        world_size=world_size,
        sampling=0.4,
        sides=[TextSource({}, tokenizer)] * 2,
    )
    cut: list[int] = []
    encode = Pieces.encode

    def counted(self: Pieces, lines: Sequence[str], **options: Any) -> list[list[int]]:
        cut.append(len(lines))
        return encode(self, lines, **options)

    monkeypatch.setattr(Pieces, "encode", counted)
    assert len(list(sampled)) == len(sampled) > accumulate
    assert len(cut) == 2 * len(sampled)  # either side


@pytest.mark.parametrize("sampling", [0.0, 0.4])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_every_target_token_weighs_the_same_in_a_step(
    tmp_path: Path, accumulate: int, world_size: int, sampling: float
) -> None:
    """Lightning divides a loss by ``accumulate`` and averages over processes; the whole must be a mean over tokens."""
    tokenizer = Pieces(train(LINES * 5, type="bpe", vocab_size=40))
    write_tokens(tmp_path / "a", tokenizer.encode(LINES * 5))
    corpus = Corpus(TokenArray(tmp_path / "a"), TokenArray(tmp_path / "a"))
    options = {"accumulate": accumulate, "sampling": sampling, "sides": [TextSource({}, tokenizer)] * 2}
    ranks = [list(loader(corpus, rank=r, world_size=world_size, **options)) for r in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    for start in range(0, len(ranks[0]), accumulate):
        step = [batches[start : start + accumulate] for batches in ranks]
        tokens = sum(batch.num_tokens for batches in step for batch in batches)
        for batches in step:
            for batch in batches:
                assert 1 / (batch.loss_scale * accumulate * world_size) == pytest.approx(1 / tokens)


def test_processes_share_every_sentence_of_an_epoch(corpus: Corpus) -> None:
    def rows(rank: int, world_size: int) -> list[int]:
        return [row for batch in loader(corpus, rank=rank, world_size=world_size) for row in batch.rows]

    assert sorted(rows(0, 2) + rows(1, 2)) == sorted(rows(0, 1)) == list(range(len(corpus.src)))


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=8))
def test_token_arrays_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[int]]
) -> None:
    path = tmp_path_factory.mktemp("tokens") / "a.b"
    write_tokens(path, rows)
    read = TokenArray(path)
    assert [read[i].tolist() for i in range(len(read))] == rows
    assert read.lengths().tolist() == list(map(len, rows))


def test_batches_are_as_large_as_they_may_be() -> None:
    """Against a loop over rows: a row opens a new batch where the one before would be too large with it."""
    draw = np.random.default_rng(0)
    for at_least in (1, 4):
        for tokens, sentences in ((60, 0), (0, 7), (90, 5), (1, 0)):
            widths = draw.integers(1, 30, 200)
            expected, rows = [0], 0
            for i in range(200):
                widest = widths[expected[-1] : i + 1].max()
                rows = i + 1 - expected[-1]
                too_large = (tokens and rows * widest > tokens) or (sentences and rows > sentences)
                if too_large and rows > at_least:
                    expected.append(i)
            if 200 - expected[-1] < at_least:
                expected.pop()
            assert _cuts(widths, tokens, sentences, at_least) == [*expected, 200]
