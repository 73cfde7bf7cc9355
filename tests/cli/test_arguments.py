"""The commands' arguments: what is given twice is collected or refused by name, and never dropped."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from seq2seq.cli import translate
from seq2seq.cli.common import ArgumentParser

COMMANDS = ("average", "data", "evaluate", "export", "generate", "probe", "report", "translate")
Option = tuple[ArgumentParser, argparse.Action]


class Built(Exception):
    """A command has its parser."""


def parser_of(name: str) -> ArgumentParser:
    """The parser that a command makes."""

    def stop(self: ArgumentParser, *arguments: object) -> None:
        raise Built(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArgumentParser, "parse_args", stop)
        with pytest.raises(Built) as built:
            importlib.import_module(f"seq2seq.cli.{name}").main([])
    parser = built.value.args[0]
    assert isinstance(parser, ArgumentParser)
    return parser


def options_of(parser: ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from options_of(one)
        elif action.option_strings and not isinstance(action, (argparse._HelpAction, argparse._VersionAction)):
            yield parser, action


OPTIONS = [(name, *option) for name in COMMANDS for option in options_of(parser_of(name))]


def words(action: argparse.Action, option: str) -> list[str]:
    return [option] if action.nargs == 0 else [option, str(next(iter(action.choices or ["1"])))]


@pytest.mark.parametrize(
    "parser, action",
    [option[1:] for option in OPTIONS],
    ids=[f"{name} {action.option_strings[-1]}" for name, _, action in OPTIONS],
)
def test_an_option_that_is_given_twice_is_collected_or_refused_by_name(
    parser: ArgumentParser, action: argparse.Action, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = action.option_strings[0], action.option_strings[-1]
    if isinstance(action, argparse._ExtendAction):
        options = parser.parse_args(["CKPT", *words(action, first), *words(action, last)])
        assert getattr(options, action.dest) == ["1", "1"]
        return
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([*words(action, first), *words(action, last)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    contradict = isinstance(action, argparse.BooleanOptionalAction)
    wanted = f"{first} and {last} exclude each other; give one of them" if contradict else f"{first} is given twice"
    assert said.startswith(f"{parser.prog}: {wanted}; ")


def test_a_parser_forgets_what_was_given_before() -> None:
    parser = ArgumentParser()
    parser.add_argument("--a")
    for value in ("1", "2"):
        assert parser.parse_args(["--a", value]).a == value


def test_inputs_of_several_options_are_all_translated(trained: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("1+2\n")
    given = [str(trained), "-i", str(tmp_path / "a"), "-i", str(tmp_path / "b"), str(tmp_path / "c"), "--suffix", "de"]
    with pytest.raises(SystemExit) as ended:
        translate.main(given)
    assert ended.value.code == 0
    assert sorted(path.name for path in tmp_path.glob("*.de")) == ["a.de", "b.de", "c.de"]
