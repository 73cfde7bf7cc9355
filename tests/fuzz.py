"""Hostile input for what reads settings, text and checkpoints: whatever comes, it is taken or refused by a `UserError`.

``python -m tests.fuzz 10000`` makes so many cases of each kind and prints how they ended. Equal numbers and seeds make
equal cases.
"""

from __future__ import annotations

import copy
import dataclasses
import gzip
import io
import json
import logging
import random
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from seq2seq import checkpoint, runs
from seq2seq.cli.common import conf_dir
from seq2seq.cli.overrides import check_overrides, one_line, register_resolvers, run_folder
from seq2seq.cli.train import to_config
from seq2seq.config.schema import Config, DecodeConfig
from seq2seq.config.values import from_dict
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.pairs import read_parallel, read_question_answer, read_tsv
from seq2seq.decoding.engine import Engine
from seq2seq.errors import UserError
from seq2seq.files.lines import iter_raw_lines, read_lines
from seq2seq.models.build import build_seq2seq
from seq2seq.results.probe import Probe
from seq2seq.results.result import Origin, Result
from seq2seq.results.scores import TranslationScores
from seq2seq.tokens.pieces import Pieces
from seq2seq.tokens.train import train
from seq2seq.translate.translator import Translator
from tests.conftest import LINES, ROOT, tiny_model

REAL = ROOT / "tests" / "data" / "v1.ckpt"
RUNS_SOMETHING = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "os.mkdir", "os.remove")


class Finding(Exception):
    """Something else than a `UserError` came out."""


@contextmanager
def guarded(what: str, case: object, outcomes: Counter[str]) -> Iterator[None]:
    """Count how a case ends; whatever is no `UserError` on one line is a `Finding`."""
    try:
        yield
    except UserError as error:
        if "\n" in str(error.args[0]) or not str(error):
            raise Finding(f"{what} of {case!r:.2000}: not one line: {error}") from error
        outcomes[f"{what} refused"] += 1
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"{what} of {case!r:.2000}: {type(error).__name__}: {error}") from error
    else:
        outcomes[f"{what} taken"] += 1


# Settings

HOSTILE: list[Any] = [None, True, False, -1, 0, 1, 2, 7, 2**31, 2**63, -(2**70), 10**4000, 0.0, -0.5, 0.3, 1e300]
HOSTILE += [
    float("nan"),
    float("inf"),
    -float("inf"),
    "",
    " ",
    "a",
    "none",
    "lstm",
    "\0",
    "a\nb\x1b[31m",
    "\u2028",
    "ä" * 300,
    "\ud800",
]
HOSTILE += ["${seed}", "${nowhere}", "${", "../..", [], [1], ["csv"], [[[]]], {}, {"a": 1}, {"_target_": "os.system"}]
WORDS = [
    "",
    "null",
    "true",
    "nan",
    "inf",
    "-inf",
    "-1",
    "1e999",
    "9" * 400,
    "0x10",
    "1_0",
    "abc",
    "'",
    '"',
    "'a",
    '"a"',
]
WORDS += ["[", "]", "{", "}", "[1,[2,[3]]]", "{a:1}", "{a:{b:[1,{}]}}", "[" * 60, "(", "a,b", "1,2", ",", "range(1,3)"]
WORDS += ["${seed}", "${nowhere}", "${", "$", "${a:${b}}", "${oc.env:HOME}", "${now:%Y}", "é", "\u2028", "\x00", "日本"]
WORDS += [
    "{_target_: os.system}",
    "choice(a,b)",
    "glob(*)",
    "sort(3,1)",
    "a b",
    "a=b",
    "a:b",
    "\\",
    "\\,",
    "~",
    "!!python",
]
WORDS += ["shuffle()", "interval(1,2)", "tag(a,1)", "str(1)", "float(x)", "int(1.5)", "json_str(1)", "extend_list(1)"]


def keys(section: Any = None, prefix: str = "") -> list[str]:
    """Every key, sections included."""
    section = Config() if section is None else section
    found = []
    for name, value in vars(section).items():
        found.append(prefix + name)
        if hasattr(value, "__dataclass_fields__"):
            found += keys(value, f"{prefix}{name}.")
    return found


KEYS = keys()


def a_key(rng: random.Random) -> str:
    key = rng.choice(KEYS)
    return rng.choice(
        [key, key, key, key, key + "x", key[:-1], key + ".a", key.upper(), rng.choice(WORDS), "hydra.a", "_"]
    )


def an_override(rng: random.Random) -> str:
    word = rng.choice(["", "", "", "+", "++", "~", "-", "--"]) + a_key(rng)
    word += rng.choice(["=", "=", "=", "=", "", "==", "@x=", ":="]) + rng.choice(WORDS)
    return word + rng.choice(["", "", "", rng.choice(WORDS)])


def settings(rng: random.Random) -> Any:
    """A config as plain values, with some of them hostile."""
    values: Any = copy.deepcopy(PLAIN)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        *path, last = a_key(rng).split(".")
        at = values
        for name in path:
            at = at.get(name) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at[last if rng.random() < 0.95 else rng.choice([1, None, ("a",)])] = copy.deepcopy(rng.choice(HOSTILE))
    return values


def merged(words: list[str]) -> Any:
    """What Hydra makes of overrides, without its files."""
    config = OmegaConf.structured(Config)
    parser = OverridesParser.create()
    for word in words:
        override = parser.parse_override(word)
        OmegaConf.update(config, override.key_or_group, override.value(), force_add=word.startswith("+"))
    return to_config(config)


def fuzz_config(n: int, seed: int) -> Counter[str]:
    """Overrides, settings as plain values, and the files of a run folder."""
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        for i in range(n):
            kind = i % 10
            if kind < 4:
                words = [an_override(rng) for _ in range(rng.choice([1, 1, 2, 4]))]
                with guarded("overrides", words, outcomes):
                    check_overrides(words)
                    outcomes["run folder named"] += len(run_folder("runs", "n", 1, None, words)) < 250
            elif kind < 7:
                values = settings(rng)
                with guarded("settings", values, outcomes):
                    from_dict(Config, values)
            else:
                run_file(rng, Path(name), outcomes)
    return outcomes


FILES: dict[str, Callable[[Path], Any]] = {
    runs.CONFIG: runs.read_config,
    runs.RESULT: Result.read,
    runs.PROBE: Probe.read,
    runs.METRICS: runs.read_metrics,
    runs.PLAN: runs.read_plan,
}
PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"'",
    b":",
    b": ",
    b",",
    b"\n",
    b"\r\n",
    b"  ",
    b"- ",
    b"&a",
    b"*a",
    b"!!python/",
]
PIECES += [
    b"!!python/object/apply:os.system ['x']",
    b"2001-99-99",
    b"9" * 5000,
    b"1e999",
    b"NaN",
    b"null",
    b"\x00",
    b"\xff",
]
PIECES += [
    b"seed",
    b"model",
    b"runs",
    b"epoch,step",
    b"1,2",
    b"<<",
    b"|",
    b"? ",
    b"%",
    b"@",
    b"`",
    b"\xef\xbb\xbf",
    b"\t",
]
PIECES += [b"[" * 3000, b"a: " * 400, b"x" * 140_000, b"0b", b"1:99", b"=", b"!!int x", b"!!timestamp y", b"!!binary z"]
PIECES += [
    "\u2028".encode(),
    "\ud800".encode("utf-8", "surrogatepass"),
    b"#",
    b"---\n",
    b"...\n",
    b"~",
    b"0o9",
    b".inf",
]


def some_bytes(rng: random.Random, pieces: list[bytes], start: bytes = b"") -> bytes:
    """Pieces in a row, or a file with some of them put into it."""
    data = bytearray(start)
    for _ in range(rng.choice([0, 1, 1, 2, 3, 8])):
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.choice([0, 0, 1, 9])] = rng.choice(pieces)
    for _ in range(rng.choice([0, 0, 1, 3])):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def run_file(rng: random.Random, folder: Path, outcomes: Counter[str]) -> None:
    name = rng.choice(list(FILES))
    data = some_bytes(rng, PIECES, rng.choice([b"", SOUND[name], SOUND[name]]))
    (folder / name).write_bytes(data)
    with guarded(name, data, outcomes):
        FILES[name](folder)


def fuzz_composition(n: int, seed: int) -> Counter[str]:
    """Overrides through Hydra's own composition, and through OmegaConf alone, as far as our check lets them."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    register_resolvers()
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for i in range(n):
            word = f"{rng.choice(KEYS)}={rng.choice(WORDS)}" if rng.random() < 0.8 else an_override(rng)
            with guarded("composition", word, outcomes):
                check_overrides([word])
                try:
                    if i % 10:
                        merged([word])
                    else:
                        to_config(compose("train", [word]))
                except (HydraException, OmegaConfBaseException) as error:  # as cli/train has it
                    raise UserError(one_line(error)) from error
    return outcomes


# Text

LETTERS = [
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b"\t",
    b"_",
    b" ",
    b"a",
    b"dog",
    b"\x00",
    b"\x0b",
    b"\x0c",
    b"\x1c",
    b"\xff",
    b"\xc3",
]
LETTERS += [b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"<s>", b"</s>", b"<unk>", b"<0x0A>", b"x" * 400]
LETTERS += [
    one.encode() for one in ("\u2028", "\u2029", "\x85", "\u2581", "\uf8fe", "\uf8fe0", "\uf8fe1", "ä", "\u0308", "🎉")
]
LETTERS += [one.encode() for one in ("\u202e", "\u200d", "\ufeff", "日本", "\U000e0001", "ß", "İ")]


def fuzz_text(n: int, seed: int) -> Counter[str]:
    """Bytes as text files, then as lines for tokenizers and a network: as many lines out as in."""
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    known = some_tokenizers()
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(n):
            lines += a_text_file(rng, Path(name), outcomes)
            for tokenizer in known:
                round_trip(tokenizer, lines[-3:], outcomes)
            if len(lines) > 200:
                with guarded("translating", lines, outcomes):
                    expect(len(tiny_translator().translate(lines)) == len(lines), "as many lines out as in", lines)
                lines = []
    return outcomes


def expect(holds: bool, what: str, case: object) -> None:
    if not holds:
        raise Finding(f"not so: {what}: {case!r:.2000}")


def a_text_file(rng: random.Random, folder: Path, outcomes: Counter[str]) -> list[str]:
    """Read the bytes as every kind of file; returns the lines that are text."""
    data = b"".join(rng.choice(LETTERS) for _ in range(rng.choice([0, 1, 3, 12, 40])))
    path = folder / rng.choice(["a", "a", "a.gz"])
    packed = gzip.compress(data, mtime=0) if path.suffix else data
    if path.suffix and rng.random() < 0.5:
        packed = some_bytes(rng, [b"\x1f\x8b", b"\x00\x00", b"\xff"], packed)
    path.write_bytes(packed)
    raw: list[bytes] = []
    with guarded("raw lines", packed, outcomes):
        raw = list(iter_raw_lines(path))
        if packed is data or packed == gzip.compress(data, mtime=0):
            body = data.removeprefix(b"\xef\xbb\xbf")
            expect(len(raw) == body.count(b"\n") + (not body.endswith(b"\n") and body != b""), "lines end at \\n", data)
    for what, read in (("lines", read_lines), ("tsv", read_tsv), ("book", read_question_answer)):
        with guarded(what, packed, outcomes):
            read(path)
    other = folder / "b"
    other.write_bytes(data)
    with guarded("parallel", packed, outcomes):
        read_parallel(path, other, allow_blank=rng.random() < 0.5)
    return [line.decode("utf-8", "replace") for line in raw]


def some_tokenizers() -> list[Pieces]:
    kinds = (("unigram", 300), ("bpe", 300), ("char", 0))
    return [Pieces(train(LINES, type=type, vocab_size=size, byte_fallback=True)) for type, size in kinds]


def round_trip(tokenizer: Pieces, lines: list[str], outcomes: Counter[str]) -> None:
    with guarded("tokenizing", lines, outcomes):
        back = tokenizer.decode(tokenizer.encode(lines))
        expect(back == [line.replace("\r", " ") for line in lines], "text survives its tokenizer", (lines, back))


def tiny_translator() -> Translator:
    tokenizer = Pieces(train(LINES, type="char", vocab_size=0))
    decode = DecodeConfig(max_extra=2, max_ratio=0.0, max_source=50)
    return Translator(Engine([tiny_model(vocab=len(tokenizer))]), Tokenizers(tokenizer, tokenizer), decode)


# Checkpoints

PICKLED = [
    b"cos\nsystem\n(S'true'\ntR.",
    b"cbuiltins\neval\n(S'1'\ntR.",
    b"\x80\x02]q\x00.",
    b"\x80\x04N.",
    b"cposix\nsystem\n",
]
PICKLED += [
    b"R",
    b"\x81",
    b"b",
    b"c",
    b"ctorch\nload\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"(",
    b"t",
    b"}",
    b"K\xff",
    b".",
]


def fuzz_checkpoint(n: int, seed: int) -> Counter[str]:
    """A small checkpoint, damaged: as bytes, in its pickle with the checksums made right again, and in its values."""
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    whole = REAL.read_bytes()
    with warnings.catch_warnings(action="ignore"):
        contents = torch.load(REAL, weights_only=True)
    small = resized(contents)
    with tempfile.TemporaryDirectory() as name, nothing_runs():
        path = Path(name) / "a.ckpt"
        for i in range(n):
            kind = ("bytes", "bytes", "pickle", "values")[i % 4]
            {"bytes": damaged, "pickle": repickled, "values": revalued}[kind](rng, path, whole, small)
            with guarded(f"checkpoint, other {kind},", f"case {i} of seed {seed}", outcomes):
                loaded = checkpoint.load(path)
                if kind == "bytes":
                    same = checkpoint.named_weights(loaded.model)
                    right = all(torch.equal(same[key], tensor) for key, tensor in contents["state_dict"].items())
                    expect(right, "what is taken is what was saved", f"case {i} of seed {seed}")
    return outcomes


def resized(contents: dict[str, Any]) -> dict[str, Any]:
    """The same with a network of a few weights, so that a case takes little time."""
    section = copy.deepcopy(contents[checkpoint.SECTION])
    section["model"] |= {"hidden_size": 3, "embedding_size": 2}
    src, tgt = (len(Pieces(section["tokenizer"][side])) for side in ("src", "tgt"))
    model = build_seq2seq(from_dict(checkpoint.ModelConfig, section["model"], "model"), src, tgt)
    return {"state_dict": checkpoint.named_weights(model), checkpoint.SECTION: section}


def damaged(rng: random.Random, path: Path, whole: bytes, small: dict[str, Any]) -> None:
    """Changed bits, a piece missing, two that have changed places, zeros, or bytes too many."""
    data = bytearray(whole)
    one, other = sorted(rng.randrange(len(data)) for _ in range(2))
    kind = rng.randrange(7)
    if kind < 2:
        for _ in range(rng.choice([1, 1, 8])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del data[one:]
    elif kind == 3:
        del data[one:other]
    elif kind == 4:
        middle = (one + other) // 2
        data[one:other] = data[middle:other] + data[one:middle]
    elif kind == 5:
        data[one:other] = bytes(other - one)
    else:
        data[one:one] = rng.randbytes(rng.choice([1, 9, 999]))
    path.write_bytes(data)


def repickled(rng: random.Random, path: Path, whole: bytes, small: dict[str, Any]) -> None:
    """Another pickle inside, or parts that have changed places, with checksums that are right."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in parts if name.endswith("data.pkl"))
    if rng.random() < 0.7:
        parts[pickled] = some_bytes(rng, PICKLED, parts[pickled]) if rng.random() < 0.8 else rng.choice(PICKLED)
    else:
        one, other = (rng.choice(list(parts)) for _ in range(2))
        parts[one], parts[other] = parts[other], parts[one]
    if rng.random() < 0.2:
        del parts[rng.choice(list(parts))]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


ODD: list[Any] = [None, True, -1, 0, 3, 10**5000, 1.5, float("nan"), "", "lstm", "both", b"", b"junk", [], {}, (1,)]
ODD += [{"a": 1}, torch.zeros(2)]
ODD += [torch.zeros(0), torch.zeros(3, 3, dtype=torch.int64), torch.tensor(1.0), torch.zeros(2).to_sparse()]


def revalued(rng: random.Random, path: Path, whole: bytes, small: dict[str, Any]) -> None:
    """Other values, of other types, somewhere inside."""
    contents = copy.deepcopy(small)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at: Any = contents
        while True:
            key = rng.choice(list(at))
            if not isinstance(at[key], dict) or not at[key] or rng.random() < 0.1:
                break
            at = at[key]
        if isinstance(at[key], bytes) and rng.random() < 0.7:
            at[key] = some_bytes(rng, [b"\x0a\x00", b"\xff" * 4, bytes(9)], at[key])
        elif rng.random() < 0.2:
            del at[key]
            at[rng.choice(["a", "model", 1])] = copy.deepcopy(rng.choice(ODD))
        else:
            at[key] = copy.deepcopy(rng.choice(ODD))
    torch.save(contents, path)


_watched: list[list[str]] = []  # for each `nothing_runs` that is entered, what ran in it


def _watch(event: str, arguments: object) -> None:
    if _watched and event.startswith(RUNS_SOMETHING):
        _watched[-1].append(f"{event}{arguments!r:.200}")


@contextmanager
def nothing_runs() -> Iterator[None]:
    """See that no program is started and no folder is made while the block runs."""
    if not hasattr(sys, "_seq2seq_watched"):  # a hook stays for ever
        sys.addaudithook(_watch)
        sys._seq2seq_watched = True  # type: ignore[attr-defined]
    _watched.append([])
    try:
        yield
    finally:
        ran = _watched.pop()
    expect(not ran, "nothing is run", ran)


PLAIN = json.loads(json.dumps(Config(), default=vars))
SOUND = {
    runs.CONFIG: json.dumps(PLAIN, indent=1).encode(),
    runs.RESULT: json.dumps(
        {
            one.name: "" if one.type == "str" else 1.5
            for part in (TranslationScores, Origin)
            for one in dataclasses.fields(part)
            if one.type in ("str", "float", "int")
        }
    ).encode(),
    runs.PROBE: b'{"gradient_reach": [], "peeky_reliance": null, "accuracy_by_position": '
    b'{"overall": {"accuracy": 1.0}, "by_position": {"accuracy": [1, null], "count": [2, 1]}}}',
    runs.METRICS: b"epoch,step,seconds,valid/bleu\n1,10,2.5,nan\n2,20,5,30.1\n",
    runs.PLAN: b'{"runs": ["seed-1", "seed-2"]}',
}
KINDS = {
    "config": (fuzz_config, 1),
    "composition": (fuzz_composition, 20),
    "text": (fuzz_text, 1),
    "checkpoint": (fuzz_checkpoint, 5),
}  # with how many times dearer than the others a case is


def main(n: int, seed: int = 0) -> None:
    """Make the cases of each kind, and print how they ended and how long they took."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # of lines that are cut
    for name, (fuzz, dear) in KINDS.items():
        started = time.perf_counter()
        outcomes = fuzz(max(1, n // dear), seed)
        print(f"{name}: {n // dear} cases, {time.perf_counter() - started:.0f} s")
        for outcome, count in sorted(outcomes.items()):
            print(f"  {outcome}: {count}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
