"""Plain text on a command line arrives as it was typed, through Hydra and through a shell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from seq2seq.cli.common import conf_dir
from seq2seq.cli.overrides import check_flags, check_overrides, register_resolvers, run_folder
from seq2seq.cli.words import is_sweep, is_text, plain_words, resume_word
from seq2seq.config.describe import documented_keys
from seq2seq.config.schema import Config
from seq2seq.errors import UserError

NAMES = [
    "Übung.en",
    "/x/josé",
    "my file [1],a=b.en",
    "a,b",
    "[a]",
    "{a: b}",
    "a: b",
    "C:\\new\\",
    "\\",
    "it's",
    "'",
    '"',
    "'a'b'",
    '"a',
    "'\\'",
    "\\'\\\\'",
    "$HOME",
    "$",
    "#1",
    "a#b",
    "(1)",
    "choice(a,b)",
    "range(1,3)",
    "int(3)",
    "glob(*)",
    "1e3",
    "007",
    "1_000",
    "1.50",
    "9" * 30,
    "True",
    "nan",
    " a ",
    "a\tb",
    "日本語 テキスト",
    "e\u0301te\u0301",
    "\udcff.en",
    "a;b|c&d",
    "~/x",
    "%d",
    "@",
    "=",
    ",",
    "]",
]
QUOTED = re.compile(r"""'(?:[^\\']|\\.)*'|"(?:[^\\"]|\\.)*\"""", re.DOTALL)


def is_plain(text: str) -> bool:
    """Whether a text has no meaning of its own for Hydra, which this page of the documentation names."""
    return not (QUOTED.fullmatch(text) or text.lower() == "null" or "${" in text or text == "???")


def arrived(key: str, text: str) -> object:
    """What Hydra puts into the schema for ``key=text``."""
    (word,) = plain_words([f"{key}={text}"], many=False)
    override = OverridesParser.create().parse_override(word)
    config = OmegaConf.structured(Config)
    OmegaConf.update(config, key, override.value())
    assert plain_words([word], many=False) == [word]
    return OmegaConf.select(config, key)


TEXT = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"])).filter(is_plain)


@pytest.mark.parametrize("key", ["name", "data.train_src", "tokenizer.like"])
@pytest.mark.parametrize("text", NAMES)
def test_a_name_arrives_as_it_was_typed(key: str, text: str) -> None:
    assert arrived(key, text) == text


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    st.sampled_from(["name", "runs", "resume", "warm_start", "data.mirror", "data.book_file", "tokenizer.like"]), TEXT
)
@example("name", "")
def test_any_plain_text_arrives_as_it_was_typed(key: str, text: str) -> None:
    assert arrived(key, text) == text


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.text(st.sampled_from("'\"\\,[]{}()=: $#aé\t~-"), max_size=8).filter(is_plain))
def test_any_text_of_the_grammar_s_own_characters_arrives(text: str) -> None:
    assert arrived("data.train_src", text) == text


@pytest.mark.parametrize(
    "text, meant",
    [
        ("'a,b'", "a,b"),
        ('"a b"', "a b"),
        ("'it\\'s'", "it's"),
        ("null", None),
        ("${task}-x", "translation-x"),
        ("josé/${task}", "josé/translation"),
    ],
)
def test_quotes_null_and_references_keep_their_meaning(text: str, meant: str | None) -> None:
    assert arrived("data.mirror", text) == meant


@pytest.mark.parametrize(
    "value, meant",
    [
        ("a,b", ["a", "b"]),
        ("a, b", ["a", "b"]),
        ("Übung,größer", ["Übung", "größer"]),
        ("'a,b',c", ["a,b", "c"]),
        ("x [1,2].en,y", ["x [1,2].en", "y"]),
        ("l'été,b", ["l'été", "b"]),
        ("1,true,a b", ["1", "true", "a b"]),
        ("choice(a,b)", ["a", "b"]),
        ("range(1,3)", ["1", "2"]),
        ("a\\,b,ü\\,c", ["a,b", "ü,c"]),
        ("${oc.env:HOME,a},b", ["${oc.env:HOME,a}", "b"]),
    ],
)
def test_a_comma_separates_the_values_of_a_sweep(value: str, meant: list[str]) -> None:
    (word,) = plain_words([f"data.mirror={value}"], many=True)
    override = OverridesParser.create().parse_override(word)
    assert override.is_sweep_override()
    parsed = [OverridesParser.create().parse_override(f"x={one}") for one in override.sweep_string_iterator()]
    assert [str(one.value()) for one in parsed] == meant


@pytest.mark.parametrize("value", ["'a,b'", "a[1,2]", "a\\,b", "ü", "a=b"])
def test_what_is_no_sweep_stays_one_value(value: str) -> None:
    (word,) = plain_words([f"data.mirror={value}"], many=True)
    text = OverridesParser.create().parse_override(word).value()
    assert text == value.strip("'").replace("\\,", ",")


def test_other_words_stay_as_they_are() -> None:
    words = ["data=files", "seed=1,2", "+trainer.lightning.x={a: b}", "trainer.loggers=[csv]", "-m", "model.reverse=ü"]
    words += ["model.peeky=none,both", "data.train_src=", "hydra.launcher.n_jobs=2", "arm=both,wide"]
    assert plain_words(words, many=False) == words
    assert plain_words(words, many=True) == words
    assert isinstance(OverridesParser.create().parse_override(words[6])._value, ChoiceSweep)


def test_plain_text_is_what_the_schema_says() -> None:
    texts = {name for name, _, _ in documented_keys() if is_text(name)}
    assert {"name", "runs", "resume", "data.mirror", "model.cell", "trainer.precision"} <= texts
    assert not {"seed", "trainer.loggers", "trainer.lightning", "model.reverse", "model.hidden_size"} & texts
    assert is_text("hydra.run.dir") and is_text("hydra.sweep.subdir")
    assert not is_text("hydra.launcher.n_jobs") and not is_text("data") and not is_text("nothing.at.all")


def test_an_experiment_can_make_a_command_a_sweep() -> None:
    assert is_sweep(["experiment=ablation"], multirun=False)
    assert is_sweep(["+experiment=ablation", "name=x"], multirun=False)
    assert is_sweep(["hydra.mode=MULTIRUN"], multirun=False)
    assert is_sweep([], multirun=True)
    assert not is_sweep(["experiment=addition", "experiment=../x", "name=MULTIRUN"], multirun=False)


def test_the_composed_config_has_what_was_typed_and_a_sane_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    register_resolvers()
    ConfigStore.instance().store(name="schema", node=Config)
    typed = {"name": "übung 1", "runs": "/x/josé", "data.train_src": "my file [1],a=b.en", "warm_start": "'a\"b\\"}
    words = plain_words([f"{key}={text}" for key, text in typed.items()], many=False)
    check_overrides(words)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", words, return_hydra_config=True)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
        folder = config.hydra.run.dir
    assert {key: OmegaConf.select(config, key) for key in typed} == typed
    assert folder == "/x/josé/übung 1/seed-1"


@pytest.mark.parametrize("text", NAMES)
def test_a_folder_s_name_does_not_depend_on_how_a_value_was_quoted(text: str) -> None:
    """A run by itself and one of a sweep, for which Hydra writes the values anew, have the same folder."""
    (word,) = plain_words([f"data.train_src={text}"], many=False)
    override = OverridesParser.create().parse_override(word)
    again = f"data.train_src={override.get_value_element_as_str()}"
    folder = run_folder("runs", "n", 1, None, [word])
    assert folder == run_folder("runs", "n", 1, None, [again])
    assert re.fullmatch(r"runs/n/[A-Za-z0-9._-]+", folder)


@pytest.mark.parametrize("words", [["seed=1", "seed=2"], ["seed=1", "+seed=1"], ["data=files", "data=text"]])
def test_a_key_that_is_given_twice_is_refused_by_name(words: list[str]) -> None:
    key = words[0].split("=")[0]
    with pytest.raises(UserError, match=f"^{key} is given twice; give it once.$"):
        check_overrides(words)


def test_the_keys_that_lightning_adds_to_its_processes_may_come_again() -> None:
    check_overrides(['hydra.run.dir="a b"', "seed=1", 'hydra.run.dir="c"', "hydra.job.name=x", "hydra.job.name=y"])


def test_a_flag_that_is_given_twice_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^--cfg is given twice; give it once.$"):
        check_flags(["--cfg", "job", "-c", "hydra"])
    assert check_flags(["-m", "seed=1,2"]).multirun


@pytest.mark.parametrize("name", [*(name for name in NAMES if "/" not in name), "a\x1b[31mb", "\udcff\udcfe'\\"])
def test_the_line_that_resumes_a_run_can_be_pasted(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.yaml").write_text("")
    printed = subprocess.run(["bash", "-c", f"printf %s {resume_word(folder)}"], capture_output=True, check=True)
    word = printed.stdout.decode("utf-8", "surrogateescape")
    assert word == f"resume={folder}"
    words = plain_words([word], many=False)
    check_overrides(words)
    assert run_folder("runs", "n", 1, OverridesParser.create().parse_override(words[0]).value()) == str(folder)
