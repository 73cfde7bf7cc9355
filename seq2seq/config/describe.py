"""The keys as a documentation page and as help."""

from __future__ import annotations

import dataclasses
from typing import Any

from seq2seq.config.keys import default_of, facts_of, fields_below, written
from seq2seq.config.schema import Config


def describe() -> str:
    """Every key with its type, default and meaning, as the Markdown page ``docs/configuration.md``."""
    lines = [
        "# Every key",
        "",
        "`seq2seq-train KEY=VALUE ...` sets a key; `seq2seq-train GROUP=NAME` takes `conf/GROUP/NAME.yaml`, which may",
        "set several. The defaults here are the code's; `seq2seq-train --cfg job` shows the values after the files.",
        "A key marked *only with* has no effect otherwise. A new training then refuses any value but its default. The",
        "keys of `decode.` are never refused in this way: a checkpoint keeps them as defaults for a later search.",
        "",
        "A value of type str is taken literally, with any letters, spaces, brackets and signs:",
        '`"data.train_src=my file [1].en"`. There are three exceptions: `null`, `${KEY}` for the value of another',
        "key, and quotes around the whole value (`'null'` is a word). In a sweep (`-m`) a comma separates two values,",
        "except in quotes or brackets.",
        "",
        "A single run's folder is `runs/NAME/seed-N`, with the values of `name` and `seed`. Other settings under the",
        "same name are refused; give them another `name`. In a sweep the swept keys come before the seed, as in",
        "`model.reverse-true_seed-1`. Keys with one value for the whole sweep are not in the folder's name. Of a",
        "swept path only the last part is in it. `resume=FOLDER` continues a run in a folder of any name.",
    ]
    for title, name, cls in (
        ("The experiment", "", Config),
        *((one.name, f"{one.name}.", type(one.default_factory())) for one in _sections(Config)),
    ):
        lines += [
            "",
            f"## {title}",
            "",
            (cls.__doc__ or "").strip(),
            "",
            "| key | type | default | allowed | meaning |",
        ]
        lines.append("| --- | --- | --- | --- | --- |")
        for one in dataclasses.fields(cls):
            if cls is not Config or facts_of(one) is not None:
                lines += _describe_key(name, one)
    return "\n".join(lines) + "\n"


def documented_keys() -> list[tuple[str, str, str]]:
    """Every key with its default, its meaning and its allowed values."""
    found = []
    for name, one, facts in fields_below(Config):
        allowed = f" ({facts.allowed})" if facts.allowed else ""
        found.append((name, _shown_default(one), facts.meaning + allowed))
    return found


def _sections(cls: type) -> list[Any]:
    return [one for one in dataclasses.fields(cls) if facts_of(one) is None]


def _describe_key(prefix: str, spec: Any) -> list[str]:
    facts = facts_of(spec)
    if facts is None:
        inner = dataclasses.fields(spec.default_factory())
        return [row for one in inner for row in _describe_key(f"{prefix}{spec.name}.", one)]
    kind = str(spec.type).replace(" | ", " or ").replace("None", "null")
    escaped = facts.meaning.replace("<", "&lt;")  # or a page would take <unk> for markup
    condition = f"; only with {facts.applies.text}" if facts.applies else ""
    return [f"| `{prefix}{spec.name}` | {kind} | `{_shown_default(spec)}` | {facts.allowed} | {escaped}{condition} |"]


def _shown_default(spec: Any) -> str:
    default = default_of(spec)
    return str(default) if isinstance(default, float) else written(default)
