"""Flags that are made from the config's keys, and messages that tell them."""

from __future__ import annotations

import argparse
import dataclasses

import pytest

from seq2seq.cli.decode import SETTINGS
from seq2seq.cli.flags import KEYS, add_key, with_flags
from seq2seq.config.schema import DecodeConfig
from seq2seq.errors import UserError
from seq2seq.translate.options import settings
from tests.cli.test_arguments import parser_of

FLAGS = {
    "decode.beam_size": "--beam",
    "decode.beam": "--never",
    "decode.int8": "--int8",
    "decode.int8=false": "--no-int8",
    "decode.search=beam": "--beam N",
    "resume": "--resume",
    "resume=True": "--resume",
    "a file of alignments": "--alignments",
}


@pytest.mark.parametrize(
    "message, told",
    [
        ("make decode.beam_size smaller.", "make decode.beam_size (--beam) smaller."),
        ("use decode.beam_size=3.", "use decode.beam_size=3 (--beam)."),
        ("decode.beam_size=-1.5e+20 is out.", "decode.beam_size=-1.5e+20 (--beam) is out."),
        ("decode.int8 fails; use decode.int8=false.", "decode.int8 (--int8) fails; use decode.int8=false (--no-int8)."),
        ("decode.int8 and decode.int8", "decode.int8 and decode.int8 (--int8)"),
        ("set decode.search=beam.", "set decode.search=beam (--beam N)."),
        ("decode.search=greedy, decode.search", "decode.search=greedy, decode.search"),
        ("resume it; leave out resume=True.", "resume it; leave out resume=True (--resume)."),
        ("a file of alignments is a file", "a file of alignments (--alignments) is a file"),
        ("train with model.decode.int8", "train with model.decode.int8"),
        ("runs/decode.int8/a is gone; decode.int8/b too", "runs/decode.int8/a is gone; decode.int8/b too"),
        ("decode.int8s", "decode.int8s"),
        ("decode.beam_size=(an integer of 67 bits) is out", "decode.beam_size=(an integer of 67 bits) (--beam) is out"),
        ("decode.beam_size=x/y is out; stop.", "decode.beam_size=x/y (--beam) is out; stop."),
        ("decode.beam_size='\\n'; stop.", "decode.beam_size='\\n' (--beam); stop."),
        ("decode.beam_size=(3, decode.int8=4)", "decode.beam_size=(3, decode.int8=4) (--beam)"),
        ("(decode.beam_size=3), stop.", "(decode.beam_size=3 (--beam)), stop."),
        ("decode.beam_size= is out.", "decode.beam_size= (--beam) is out."),
        ("decode.beam_size=", "decode.beam_size= (--beam)"),
        ("decode.beam_size=; stop.", "decode.beam_size= (--beam); stop."),
        ("decode.beam_size=(3", "decode.beam_size=(3"),
        ("", ""),
    ],
)
def test_a_message_tells_the_flag_behind_the_last_mention_of_a_name(message: str, told: str) -> None:
    assert with_flags(message, FLAGS) == told
    assert with_flags(message, {}) == message


@pytest.mark.parametrize(
    "command, message, told",
    [
        ("data", "make it so, or name another data.root.", "make it so, or name another data.root (--root)."),
        ("generate", "too many for max_length=5; make", "too many for max_length=5 (--max-length); make"),
    ],
)
def test_a_command_knows_the_flags_of_its_librarys_messages(command: str, message: str, told: str) -> None:
    assert with_flags(message, parser_of(command).flags) == told


@pytest.mark.parametrize("name", sorted(KEYS))
def test_the_flag_of_any_key_takes_its_default(name: str) -> None:
    one, facts = KEYS[name]
    parser = argparse.ArgumentParser()
    flags = add_key(parser, name, shown="as trained")
    assert flags[name] == f"--{one.name.replace('_', '-')}"
    assert vars(parser.parse_args([])) == {one.name: None}
    assert " ".join(facts.meaning.split()[:2]) in parser.format_help()
    assert "as trained" in " ".join(parser.format_help().split())


@pytest.mark.parametrize("command", ["translate", "evaluate"])
def test_every_setting_of_a_search_has_a_flag_that_its_messages_tell(command: str) -> None:
    parser = parser_of(command)
    actions = {action.dest for action in parser._actions}
    for one in dataclasses.fields(DecodeConfig):
        name = f"decode.{one.name}"
        assert ("beam" if one.name == "beam_size" else one.name) in actions & set(SETTINGS)
        told = with_flags(f"use {name}={one.default}.", parser.flags)
        assert "(--" in told
    for flag in parser.flags.values():
        assert parser._option_string_actions[flag.split()[0]]


def test_a_setting_of_another_search_is_refused_by_its_key() -> None:
    of = {"beam": "sample", "sample": "beam", "": "greedy"}
    for name, (one, facts) in KEYS.items():
        if name.startswith("decode.") and facts.search:
            with pytest.raises(UserError, match=rf"^{name} is for decode.search={facts.search}, and this is"):
                settings(DecodeConfig(search=of[facts.search]), None, {one.name: one.default})
            assert settings(DecodeConfig(search=facts.search), None, {one.name: one.default})
