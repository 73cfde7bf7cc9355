"""Every dataset becomes the same six files, in a folder that its settings and inputs decide."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from seq2seq.config.choices import DATASETS
from seq2seq.config.schema import Config, DataConfig, TokenizerConfig, TrainerConfig
from seq2seq.data import prepare as prepare_module
from seq2seq.data.arrays import encode_corpus, train_tokenizers
from seq2seq.data.corpora.phrasebook import rows
from seq2seq.data.corpora.table import CORPORA
from seq2seq.data.pairs import SPLITS, read_parallel
from seq2seq.data.prepare import prepare, read_manifest
from seq2seq.errors import UserError
from seq2seq.files import writing as writing_module
from seq2seq.files.lines import read_lines, sha256_file

FILES = [f"{split}.{side}" for split in SPLITS for side in ("src", "tgt")]


def config(tmp_path: Path, **options: Any) -> DataConfig:
    settings = {"kind": "addition", "train_size": 50, "valid_size": 5, "test_size": 5, "root": str(tmp_path / "data")}
    return DataConfig(**{**settings, **options})


def write(folder: Path, **files: str) -> dict[str, str]:
    """Text files, by the name of the setting that they are for."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8", newline="")
    return {name: str(folder / name) for name in files}


@pytest.mark.parametrize("kind", ["phrasebook", "addition", "dates"])
def test_generated_data_is_six_aligned_files_and_a_manifest(tmp_path: Path, kind: str) -> None:
    folder = prepare(config(tmp_path, kind=kind))
    splits = {split: read_parallel(folder / f"{split}.src", folder / f"{split}.tgt") for split in SPLITS}
    assert {split: len(pairs) for split, pairs in splits.items()} == {"train": 50, "valid": 5, "test": 5}
    sources = [src for pairs in splits.values() for src, _ in pairs]
    assert len(set(sources)) == 60
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest["pairs"] == {"train": 50, "valid": 5, "test": 5}
    assert manifest["sha256"] == {name: sha256_file(folder / name) for name in FILES}


def test_the_table_of_datasets_and_the_config_know_the_same() -> None:
    assert tuple(CORPORA) == DATASETS
    fields = {field.name for field in dataclasses.fields(DataConfig)}
    for corpus in CORPORA.values():
        assert {*corpus.settings, *corpus.takes} <= fields


def test_an_edited_table_of_words_makes_another_phrasebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(config(tmp_path, kind="phrasebook"))
    manifest = read_manifest(folder)
    assert manifest is not None and "words" not in manifest["settings"]  # the tables are as published
    words = shutil.copytree(rows.FOLDER, tmp_path / "words")
    monkeypatch.setattr(rows, "FOLDER", words)
    for path in words.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # as an editor on Windows has them
    assert prepare(config(tmp_path, kind="phrasebook")) == folder
    with (words / "cities.tsv").open("a", encoding="utf-8") as stream:
        stream.write("Zurich\tZürich\n")
    assert prepare(config(tmp_path, kind="phrasebook")) != folder


def test_equal_settings_share_a_folder_and_others_do_not(tmp_path: Path) -> None:
    folder = prepare(config(tmp_path))
    stamp = (folder / "train.src").stat().st_mtime_ns
    assert prepare(config(tmp_path, batch_tokens=7, num_workers=1)) == folder
    assert (folder / "train.src").stat().st_mtime_ns == stamp
    assert prepare(config(tmp_path, seed=2)) != folder
    assert prepare(config(tmp_path, book_exact=True)) != folder


def test_an_unfinished_folder_is_made_again(tmp_path: Path) -> None:
    folder = prepare(config(tmp_path))
    whole = (folder / "train.src").read_bytes()
    (folder / "dataset.json").unlink()
    (folder / "train.src").write_text("half")
    assert prepare(config(tmp_path)) == folder
    assert (folder / "train.src").read_bytes() == whole


def test_what_cannot_be_made_leaves_the_dataset_before_it(tmp_path: Path, two_columns: dict[str, str]) -> None:
    folder = prepare(config(tmp_path), tmp_path / "mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    uneven = two_columns | write(tmp_path / "own", valid_src="src 0\n")
    with pytest.raises(UserError, match="valid_src has 1 lines but"):
        prepare(config(tmp_path, kind="files", **uneven), folder)
    with pytest.raises(UserError, match="has neither train.de.gz nor train.de"):
        prepare(config(tmp_path, kind="multi30k", src_lang="de", tgt_lang="en", mirror=str(tmp_path / "own")), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert prepare(config(tmp_path), folder) == folder


@pytest.mark.parametrize("last", ["train.src", "valid.tgt"])
def test_what_was_stopped_while_files_were_moved_in_is_made_again(
    tmp_path: Path, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder named by the user, too, which holds no finished dataset then."""
    folder = prepare(config(tmp_path), tmp_path / "mine")
    rename = Path.rename

    def stop(source: Path, target: Path) -> Path:
        if target.name == last:
            raise KeyboardInterrupt
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(config(tmp_path, train_size=20), folder)
    monkeypatch.undo()
    assert not (folder / last).exists()
    assert prepare(config(tmp_path, train_size=20), folder) == folder
    assert len(read_lines(folder / "train.src")) == 20
    assert {path.name for path in folder.iterdir()} == {".lock", "dataset.json", *FILES}


def test_a_finished_dataset_needs_no_lock_and_another_says_where_it_cannot_be(tmp_path: Path) -> None:
    folder = prepare(config(tmp_path))
    tokenizers = train_tokenizers(folder, TokenizerConfig(type="char", vocab_size=0, byte_fallback=False))
    encode_corpus(folder, "train", tokenizers)
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()  # as where one may not write
    assert prepare(config(tmp_path)) == folder
    again = train_tokenizers(folder, TokenizerConfig(type="char", vocab_size=0, byte_fallback=False))
    assert len(encode_corpus(folder, "train", again).src) == 50
    with pytest.raises(UserError, match=rf"{folder} cannot be written to: .*; make it so, or name another data.root"):
        encode_corpus(folder, "valid", again)


def test_a_read_only_copy_of_a_dataset_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy has another time of change, so that the checksum kept beside a text is not believed."""
    settings = TokenizerConfig(type="char", vocab_size=0, byte_fallback=False)
    folder = prepare(config(tmp_path))
    tokenizers = train_tokenizers(folder, settings)
    expected = encode_corpus(folder, "train", tokenizers)
    copied = shutil.copytree(folder, tmp_path / "copied")
    before = {path.name: path.read_bytes() for path in copied.iterdir()}

    def refuse(path: object, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if set(mode) & set("wxa+"):
            raise OSError(errno.EROFS, "Read-only file system")
        return open(path, mode, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(writing_module, "open", refuse, raising=False)
    again = train_tokenizers(copied, settings)
    found = encode_corpus(copied, "train", again)
    assert found.src.ids.tolist() == expected.src.ids.tolist()
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before


def test_a_planted_link_to_a_folder_is_not_written_to(tmp_path: Path) -> None:
    folder, victim = tmp_path / "data", tmp_path / "victim"
    for one in (folder, victim):
        one.mkdir()
    (victim / "train.src").write_text("mine\n")
    (folder / ".new").symlink_to(victim)
    prepare(config(tmp_path), folder)
    assert (victim / "train.src").read_text() == "mine\n"
    assert [path.name for path in victim.iterdir()] == ["train.src"]
    assert not (folder / ".new").is_symlink()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"one\r\r\ntwo\nthree\nfour\n",
            r"a\.txt: line 1 ends in an extra carriage return, .*; remove them, for example",
        ),
        (
            b"one\ntwo\n\xef\xbb\xbfthree\nfour\n",
            r"valid.tgt: line 1 starts with a byte-order mark, .*; remove it from .*a\.txt\.$",
        ),
    ],
)
def test_lines_that_a_text_file_cannot_give_back_are_refused_without_sources_too(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=said):
        prepare(config(tmp_path, kind="text", train_tgt=str(tmp_path / "a.txt"), valid_size=1, test_size=1))


@pytest.mark.parametrize("option", [{"max_length": 5}, {"max_ratio": 2.0}, {"skip_blank": True}])
def test_filters_of_pairs_are_refused_where_there_are_none(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"data.{next(iter(option))} is for pairs, and data.kind=text has lines"):
        config(tmp_path, kind="text", train_tgt="a.txt", **option)


def test_unchecked_files_of_a_mirror_make_a_dataset_of_their_own(tmp_path: Path) -> None:
    """A later run without the mirror must not find them under the corpus's own name."""
    for split, lines in (("train", 4), ("val", 2), ("test_2016_flickr", 2)):
        for lang in ("fr", "cs"):
            write(tmp_path / "mirror", **{f"{split}.{lang}": f"{lang}\n" * lines})
    settings = config(tmp_path, kind="multi30k", src_lang="fr", tgt_lang="cs", mirror=str(tmp_path / "mirror"))
    first = prepare(settings)
    assert read_lines(first / "valid.src") == ["fr", "fr"]
    write(tmp_path / "mirror", **{"val.fr": "other\nother\n"})
    assert prepare(settings) != first
    official = prepare_module._settings(config(tmp_path, kind="multi30k", src_lang="fr", tgt_lang="cs"))
    manifests = [read_manifest(folder) for folder in (tmp_path / "data").iterdir()]
    assert len(manifests) == 2
    assert all(manifest is not None and manifest["settings"] != official for manifest in manifests)


def test_a_folder_named_by_the_user_holds_what_was_last_asked_for(tmp_path: Path) -> None:
    folder = prepare(config(tmp_path), tmp_path / "mine")
    assert folder == tmp_path / "mine"
    prepare(config(tmp_path, train_size=20), folder)
    assert len(read_lines(folder / "train.src")) == 20


@pytest.fixture
def two_columns(tmp_path: Path) -> dict[str, str]:
    plain = {
        f"{s}_{side}": "".join(f"{side} {i}\n" for i in range(n))
        for s, n in (("train", 4), ("valid", 2), ("test", 2))
        for side in ("src", "tgt")
    }
    return write(tmp_path / "own", **plain)


def test_the_users_own_files(tmp_path: Path, two_columns: dict[str, str]) -> None:
    folder = prepare(config(tmp_path, kind="files", **two_columns))
    assert read_parallel(folder / "train.src", folder / "train.tgt")[1] == ("src 1", "tgt 1")
    Path(two_columns["train_src"]).write_text("a\nb\nc\nd\n")
    assert prepare(config(tmp_path, kind="files", **two_columns)) != folder  # the content counts, not the name


def test_one_tsv_for_each_split(tmp_path: Path) -> None:
    files = write(tmp_path / "own", train_src="a\tb\nc\td\n", valid_src="e\tf\n", test_src="g\th\n")
    folder = prepare(config(tmp_path, kind="files", **files))
    assert read_parallel(folder / "train.src", folder / "train.tgt") == [("a", "b"), ("c", "d")]


def test_filtered_pairs_are_counted_and_reported(
    tmp_path: Path, two_columns: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "own", train_src="a b c\n\na\na\n", train_tgt="a\nb\na b c d\na\n")
    limits = {"max_length": 3, "max_ratio": 2.0, "skip_blank": True}
    with caplog.at_level(logging.WARNING):
        folder = prepare(config(tmp_path, kind="files", **two_columns, **limits))
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest["dropped"] == {"blank": 1, "too long": 1, "length ratio": 1}
    assert caplog.messages[-1].endswith("1 blank, 1 too long, 1 length ratio")
    assert read_lines(folder / "train.src") == ["a"]


@pytest.mark.parametrize(
    "files, options, message",
    [
        ({"train_tgt": "one\n"}, {}, r"train_src has 4 lines but .*train_tgt has 1; the two must be line-aligned"),
        ({"train_src": "a\n\nb\nc\n"}, {}, r"train_src.*line 2"),
        ({"train_src": ""}, {}, r"train_src is empty"),
        ({}, {"max_length": 1}, r"no training pair is left of 4 after data.max_length=1"),
        ({"train_src": "a\r\r\nb\nc\nd\n"}, {}, r"train.src: line 1"),
    ],
)
def test_files_that_do_not_fit_are_refused_on_one_line(
    tmp_path: Path, two_columns: dict[str, str], files: dict[str, str], options: dict[str, Any], message: str
) -> None:
    write(tmp_path / "own", **files)
    with pytest.raises(UserError, match=message) as error:
        prepare(config(tmp_path, kind="files", **two_columns, **options))
    assert "\n" not in str(error.value)


def test_blank_lines_of_a_test_set_stay_in_their_places(tmp_path: Path, two_columns: dict[str, str]) -> None:
    write(tmp_path / "own", test_src="a\n\n", test_tgt="b\nc\n")
    folder = prepare(config(tmp_path, kind="files", **two_columns))
    assert read_lines(folder / "test.src") == ["a", ""]


def test_the_books_own_file(tmp_path: Path) -> None:
    lines = "".join(f"{f'{i}+1':7}_{i + 1:<4}\n" for i in range(20))
    files = write(tmp_path / "own", book_file=lines)
    padded = prepare(config(tmp_path, **files, book_exact=True, train_size=10))
    rows = read_parallel(padded / "train.src", padded / "train.tgt")
    assert len(rows) == 10
    assert all((len(src), len(tgt)) == (7, 4) and int(tgt) == int(src.split("+")[0]) + 1 for src, tgt in rows)
    masked = prepare(config(tmp_path, **files, train_size=10))
    assert read_lines(masked / "train.src") == [src.rstrip() for src, _ in rows]
    with pytest.raises(UserError, match=r"has 20 pairs; data.valid_size and data.test_size would hold out 25"):
        prepare(config(tmp_path, **files, test_size=20))


def test_repeated_questions_of_a_book_file_do_not_cross_the_splits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write(tmp_path / "own", book_file="1+1_2 \n2+2_4 \n1+1_2 \n3+3_6 \n1+1_2 \n")
    folder = prepare(config(tmp_path, **files, valid_size=1, test_size=1))
    questions = [q for split in SPLITS for q in read_lines(folder / f"{split}.src")]
    assert sorted(questions) == ["1+1", "2+2", "3+3"]
    assert any(message.endswith("2 repeated questions") for message in caplog.messages)


def test_a_blank_side_of_a_training_tsv_is_refused(tmp_path: Path) -> None:
    files = write(tmp_path / "own", train_src="a\tb\nc\t\n", valid_src="e\t\n", test_src="g\th\n")
    with pytest.raises(UserError, match=r"train_src: line 2 is blank; remove the pair, or set data.skip_blank=true"):
        prepare(config(tmp_path, kind="files", **files))
    folder = prepare(config(tmp_path, kind="files", **files, skip_blank=True))
    assert read_lines(folder / "valid.tgt") == [""]


def test_files_that_are_not_ours_are_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "own", **{"train.src": "precious\n"})
    with pytest.raises(UserError, match=r"own holds a train.src that seq2seq did not write; name another folder"):
        prepare(config(tmp_path), tmp_path / "own")
    assert (tmp_path / "own" / "train.src").read_text() == "precious\n"


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": 1}', '{"_class": "x"}'])
def test_a_dataset_json_of_somebody_else_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    (tmp_path / "train.src").write_text("mine")
    with pytest.raises(UserError, match="holds a dataset.json that seq2seq did not write; name another folder"):
        prepare(config(tmp_path), tmp_path)
    assert (tmp_path / "train.src").read_text() == "mine"
    assert (tmp_path / "dataset.json").read_text() == content


@pytest.mark.parametrize("damage", ["train.src", "dataset.json"])
def test_a_dataset_with_a_part_missing_is_made_again(tmp_path: Path, damage: str) -> None:
    folder = prepare(config(tmp_path))
    whole = (folder / "train.src").read_bytes()
    (folder / damage).unlink()
    prepare(config(tmp_path))
    assert (folder / "train.src").read_bytes() == whole
    (folder / "dataset.json").write_text("{")
    prepare(config(tmp_path))
    assert read_manifest(folder) is not None


def test_more_sentences_than_there_are_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only 500500 different sources"):
        prepare(config(tmp_path, train_size=10**6))


def test_tokenizers_are_trained_once_for_a_text_and_a_setting(tmp_path: Path) -> None:
    folder = prepare(config(tmp_path))
    joint = TokenizerConfig(type="char", vocab_size=0, byte_fallback=False, joint=True)
    one = train_tokenizers(folder, joint)
    models = sorted(folder.glob("tokenizer-*.model"))
    stamp = models[0].stat().st_mtime_ns
    again = train_tokenizers(folder, joint)
    assert again.src.proto == one.src.proto == one.tgt.proto
    assert models[0].stat().st_mtime_ns == stamp
    separate = train_tokenizers(folder, TokenizerConfig(type="char", vocab_size=0, byte_fallback=False, joint=False))
    assert len(separate.tgt) < len(separate.src)  # there is no + in an answer
    assert len(sorted(folder.glob("tokenizer-*.model"))) == 3


@pytest.mark.parametrize("content", [b"", b"half a model"])
def test_a_kept_tokenizer_that_is_damaged_is_named(tmp_path: Path, content: bytes) -> None:
    folder = prepare(config(tmp_path))
    settings = TokenizerConfig(type="char", vocab_size=0, byte_fallback=False, joint=True)
    train_tokenizers(folder, settings)
    (kept,) = folder.glob("tokenizer-*.model")
    kept.write_bytes(content)
    with pytest.raises(
        UserError, match=rf"{kept.name} is damaged: the tokenizer is not a SentencePiece model .* Delete it"
    ):
        train_tokenizers(folder, settings)


def test_a_clipped_vocabulary_is_said_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        tokenizer = train_tokenizers(prepare(config(tmp_path)), TokenizerConfig(vocab_size=9000)).src
    assert f"tokenizer.vocab_size=9000 is clipped to the {len(tokenizer)} pieces of train.src" in caplog.messages


def test_of_many_lines_pieces_are_learnt_from_a_sample_which_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = prepare(config(tmp_path))
    num_lines = len((folder / "train.src").read_text().splitlines())

    def trained(**options: int) -> set[str]:
        """The names of the kept tokenizers that this one adds."""
        before = set(folder.glob("tokenizer-*"))
        with caplog.at_level("INFO"):
            train_tokenizers(folder, TokenizerConfig(type="bpe", vocab_size=290, **options))
        return {path.name for path in set(folder.glob("tokenizer-*")) - before}

    assert len(trained()) == 2  # source and target
    assert not trained(sample_lines=num_lines) and not trained(sample_lines=0)  # the same ones
    assert "sample_lines" not in caplog.text
    assert len(trained(sample_lines=num_lines - 1)) == 2
    said = f"pieces are learnt from tokenizer.sample_lines={num_lines - 1} of the {num_lines} lines of train.src"
    assert said in caplog.text
    caplog.clear()
    assert not trained(sample_lines=num_lines - 1)
    assert said in caplog.text  # also where they are there already


def test_a_corpus_is_encoded_once_and_holds_the_text(tmp_path: Path) -> None:
    folder = prepare(config(tmp_path))
    tokenizers = train_tokenizers(folder, TokenizerConfig(type="char", vocab_size=0, byte_fallback=False))
    corpus = encode_corpus(folder, "train", tokenizers)
    ids = [corpus.src[i].tolist() for i in range(len(corpus.src))]
    assert tokenizers.src.decode(ids) == read_lines(folder / "train.src")
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*.ids")}
    encode_corpus(folder, "train", tokenizers)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.ids")} == stamps
    for ending in (".ids", ".offsets"):
        next(folder.glob(f"train.src-*{ending}")).unlink()
        again = encode_corpus(folder, "train", tokenizers)
        assert [again.src[i].tolist() for i in range(len(again.src))] == ids


def test_the_manifest_says_what_it_was_made_from(tmp_path: Path) -> None:
    manifest = json.loads((prepare(config(tmp_path)) / "dataset.json").read_text())
    assert manifest["settings"]["kind"] == "addition"
    assert manifest["settings"]["train_size"] == 50


@pytest.mark.parametrize("kind", CORPORA)
def test_the_keys_that_decide_a_dataset_s_content_are_those_that_have_an_effect(kind: str) -> None:
    values = {f"{split}_{side}": "a" for split in SPLITS for side in ("src", "tgt")}
    data = DataConfig(kind=kind, mirror="a", src_lang="en", tgt_lang="vi" if kind == "iwslt15" else "de", **values)
    conditions = {one.name: one.metadata["facts"].applies for one in dataclasses.fields(DataConfig)}
    by_kind = {name: when for name, when in conditions.items() if when and when.text.startswith("data.kind=")}
    config = Config(task="language_model", data=data, trainer=TrainerConfig(monitor="loss"))
    found = {name for name, when in by_kind.items() if when.holds(config)}
    assert found - {"mirror"} == {*CORPORA[kind].settings} - {"variant"}
