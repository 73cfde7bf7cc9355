"""A damaged, foreign or hostile folder is refused in one line, whatever is wrong with it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.cli.translate import main
from seq2seq.errors import UserError
from seq2seq.runtime import folder
from seq2seq.runtime.graph import read_graph
from seq2seq.translate.translator import Translator
from tests.exported import both  # skips the module without onnx

import onnx  # isort: skip
from onnx import TensorProto, helper  # isort: skip

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return both(tmp_path_factory.mktemp("good"))[1]


@pytest.fixture
def copied(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "model"))


def config(path: Path, **changes: object) -> None:
    """Change fields of config.json."""
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**values, **changes}))


def put(path: Path, name: str, content: bytes) -> None:
    """Change a file, and config.json with it, as someone would who wants to get it in."""
    (path / name).write_bytes(content)
    files = json.loads((path / "config.json").read_text())["files"]
    files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    config(path, files=files)


def graph(path: Path, change: Callable[[Any], object], name: str = "step.onnx") -> None:
    """Change a graph."""
    model = onnx.load(path / name)
    change(model)
    put(path, name, model.SerializeToString())


def text(content: str) -> Change:
    return lambda path: (path / "config.json").write_text(content)


def field(name: str, value: object) -> Change:
    return lambda path: config(path, **{name: value})


def inside(name: str, key: str, value: object) -> Change:
    """Set a key of a field of config.json."""

    def change(path: Path) -> None:
        values = json.loads((path / "config.json").read_text())
        config(path, **{name: {**values[name], key: value}})

    return change


def replaced(name: str, make: Callable[[Path], object]) -> Change:
    """Put something else in the place of a file."""

    def change(path: Path) -> None:
        (path / name).unlink()
        make(path / name)

    return change


def flipped(path: Path) -> None:
    content = bytearray((path / "step.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "step.onnx").write_bytes(content)


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def retyped(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def reshaped(model: Any) -> None:
    (state,) = (one for one in model.graph.input if one.name == "state_0_layer_0")
    state.type.tensor_type.shape.dim[1].dim_value = 1 << 40


def branching(model: Any) -> None:
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))


def scan_of_a_branch(model: Any) -> None:
    """A Scan is allowed; its body may not hold what a graph may not."""
    branching(model)
    branch = model.graph.node.pop()
    body = helper.make_graph([branch], "body", [], [])
    model.graph.node.append(helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1))


def function(model: Any) -> None:
    model.functions.append(helper.make_function("d", "f", [], [], [], []))


def foreign(model: Any) -> None:
    model.graph.node.append(helper.make_node("System", [], ["y"], domain="evil"))


def unknown(model: Any) -> None:
    model.graph.node.append(helper.make_node("NoSuchOperator", ["last"], ["y"]))
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))


def failing(model: Any) -> None:
    """A graph that loads, and fails when it runs."""
    node = next(one for one in model.graph.node if one.op_type == "Gather")
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [7])
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("Reshape", [node.input[1], "shape"], ["wrong"]))
    node.input[1] = "wrong"


def shortlist(**tables: np.ndarray) -> Change:
    buffer = io.BytesIO()
    np.savez(buffer, **tables)  # type: ignore[arg-type]
    return lambda path: put(path, "shortlist.npz", buffer.getvalue())


def packed(path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, best=np.zeros((1 << 20, 20), np.int32), frequent=np.zeros(1, np.int32))
    put(path, "shortlist.npz", buffer.getvalue())


CASES: dict[str, tuple[Change, str]] = {
    "no config": (lambda path: (path / "config.json").unlink(), "config.json is missing; export the model again."),
    "an empty config": (text(""), "config.json is not JSON"),
    "a config of something else": (text("[1]"), "config.json is not of an exported model"),
    "a config without a format": (text("{}"), "config.json is not of an exported model"),
    "a config with a format that is true": (field("format", True), "config.json is not of an exported model"),
    "a config that is nested deeply": (text("[" * 300_000), "config.json is not JSON"),
    "a config with a number of many digits": (text('{"format":' + "9" * 9999 + "}"), "config.json is not JSON"),
    "a config with NaN": (text('{"format": NaN}'), "config.json is not JSON"),
    "a huge config": (text(" " * (1 << 20) + "{}"), "config.json has more than 1048576 bytes"),
    "a newer format": (field("format", 99), "has format 99 (seq2seq "),
    "a format out of range": (field("format", -(10**30)), "has format -1 (seq2seq "),
    "a language model": (field("kind", "language_model"), "holds a language model"),
    "another kind": (field("kind", "\x1b[2J"), "holds a model of kind"),
    "no kind": (field("kind", None), "kind must be of type str"),
    "no files": (field("files", {}), "files must name encoder.onnx, step.onnx"),
    "a file outside": (inside("files", "../x", {"bytes": 1, "sha256": "0" * 64}), "files must name"),
    "many files": (field("files", {f"f{i}": {} for i in range(99)}), "files must name"),
    "a file without facts": (inside("files", "step.onnx", 3), "files.step.onnx must have sha256 and bytes"),
    "a size that is true": (inside("files", "step.onnx", {"bytes": True, "sha256": "0" * 64}), "must have sha256"),
    "a missing file": (lambda path: (path / "step.onnx").unlink(), "step.onnx is missing"),
    "a file cut short": (lambda path: os.truncate(path / "step.onnx", 99), "step.onnx has 99 bytes in place of"),
    "a flipped bit": (flipped, "step.onnx is damaged: its SHA-256 is another one"),
    "a link": (replaced("src.model", lambda path: path.symlink_to("/etc/passwd")), "src.model is a link"),
    "a linked config": (replaced("config.json", lambda path: path.symlink_to("/etc/passwd")), "config.json is a link"),
    "a pipe": (replaced("src.model", os.mkfifo), "src.model is not a regular file"),
    "a folder": (replaced("src.model", Path.mkdir), "src.model is not a regular file"),
    "a huge tokenizer": (lambda path: os.truncate(path / "src.model", 1 << 29), "more than such a file can need"),
    "a huge graph": (lambda path: os.truncate(path / "step.onnx", 1 << 40), "more than such a file can need"),
    "no tokens": (field("tokens", {}), "tokens.src must have file"),
    "a tokenizer elsewhere": (field("tokens", {"src": {"file": "/etc/passwd"}}), "tokens.src must have file"),
    "a tokenizer that is none": (lambda path: put(path, "src.model", b"\0"), "src.model is refused: the tokenizer is"),
    "a vocabulary out of range": (field("vocabulary", {"src": 1 << 60, "tgt": 1 << 60}), "its vocabularies have"),
    "other special ids": (inside("special", "eos", 4), "special must be"),
    "a setting that is none": (inside("decode", "colour", 1), "decode.colour is not a key"),
    "a setting out of range": (inside("decode", "beam_size", 10**9), "decode.beam_size"),
    "a setting of another type": (inside("decode", "seed", [[]]), "decode.seed"),
    "settings that are none": (field("decode", 3), "decode must be of type dict"),
    "metrics that are none": (inside("metrics", "tokenizer", "x"), "metrics.tokenizer"),
    "8 bits in part": (field("int8", True), "decode.int8 is not that of its weights"),
    "tokens that are none": (field("barred", [-1]), "barred must be a list of target pieces"),
    "a fixed length out of range": (field("fixed_length", 1 << 40), "fixed_length must be a whole number in"),
    "a fixed length and an end": (field("fixed_length", 3), "fixed_length and end_symbol exclude each other"),
    "parameters that are none": (field("parameters", -1), "parameters must be a whole number in"),
    "no states": (field("states", []), "states must not be empty"),
    "many states": (field("states", [{"layers": 1, "width": 6}] * 3), "states[0].layers must be a whole number"),
    "many layers": (field("states", [{"layers": 10**9, "width": 6}] * 2), "states[0].layers must be a whole number"),
    "a width out of range": (field("states", [{"layers": 1, "width": 1 << 50}] * 2), "states[0].width must be"),
    "another width": (field("states", [{"layers": 1, "width": 7}] * 2), "encoder.onnx is refused: its output 'state_"),
    "more layers": (field("states", [{"layers": 2, "width": 6}] * 2), "its output 'state_0_layer_1' is missing"),
    "no attention": (field("attention", False), "step.onnx is refused: input 'keys' has no place"),
    "a graph that is none": (lambda path: put(path, "step.onnx", b"\xff" * 99), "step.onnx is refused: it is not an"),
    "an empty graph": (lambda path: put(path, "step.onnx", b""), "step.onnx is refused: it is not an ONNX model"),
    "weights elsewhere": (lambda path: graph(path, external), "step.onnx is refused: its weights are in another file"),
    "another type": (lambda path: graph(path, retyped), "step.onnx is refused: its input"),
    "another shape": (lambda path: graph(path, reshaped), "step.onnx is refused: its input 'state_0_layer_0'"),
    "a branch": (lambda path: graph(path, branching), "step.onnx is refused: it has a graph inside a graph"),
    "a branch in a scan": (lambda path: graph(path, scan_of_a_branch), "step.onnx is refused: it has a graph inside a"),
    "a function": (lambda path: graph(path, function), "step.onnx is refused: it defines functions"),
    "a foreign operator": (lambda path: graph(path, foreign), "step.onnx is refused: it needs operators of 'evil'"),
    "an unknown operator": (lambda path: graph(path, unknown), "step.onnx is refused by onnxruntime"),
    "a graph that fails": (lambda path: graph(path, failing), "step.onnx is refused by onnxruntime"),
    "no output": (
        lambda path: graph(path, lambda model: model.graph.output.pop(), "encoder.onnx"),
        "encoder.onnx is refused: its output 'mask' is missing",
    ),
    "a shortlist with an object": (shortlist(best=np.array([{}])), "shortlist.npz is refused: it does not go with"),
    "a shortlist of other sizes": (
        shortlist(best=np.zeros((1, 1), np.int32), frequent=np.zeros(1, np.int32)),
        "shortlist.npz is refused: it does not go with",
    ),
    "a shortlist that is packed": (packed, "shortlist.npz is refused"),
    "a shortlist that is none": (lambda path: put(path, "shortlist.npz", b"PK"), "shortlist.npz is refused"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_one_line(copied: Path, case: str) -> None:
    change, said = CASES[case]
    change(copied)
    with pytest.raises(UserError) as error:
        Translator.from_export(copied).translate("a dog")
    message = str(error.value)
    assert said in message
    assert "\n" not in message and "\x1b" not in message and len(message) < 600
    assert str(copied) in message or "config.json" in message
    assert ";" in message or "is not a key" in message


def test_onnxruntime_says_nothing_itself(copied: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not even of a node whose name is not text."""
    content = (copied / "step.onnx").read_bytes()
    put(copied, "step.onnx", content.replace(b"Gather", b"\xff\xffther", 1))
    with pytest.raises(UserError):
        Translator.from_export(copied).translate("a dog")
    assert capfd.readouterr() == ("", "")


def test_the_command_says_so_and_leaves_nothing(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flipped(copied)
    source = copied.parent / "in"
    source.write_text("a dog\n")
    with pytest.raises(SystemExit) as ended:
        main([str(copied), "-i", str(source), "-o", str(copied.parent / "out")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in copied.parent.iterdir()) == ["in", "model"]


def test_a_path_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, said in (("nowhere", "does not exist"), ("file", "is not a folder")):
        with pytest.raises(UserError, match=f"{name} {said}; name a folder that seq2seq-export wrote."):
            Translator.from_export(tmp_path / name)


def refusal(work: Callable[[], object]) -> str | None:
    """The message of a refusal, or None."""
    try:
        work()
    except UserError as error:
        return str(error)
    return None


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=9) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in items for found in places(one, (*path, key)))]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_config_is_read_as_something_else_or_ends_in_a_stack_trace(good: Path, data: st.DataObject) -> None:
    values = json.loads((good / "config.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from(places(values)[1:]))
        target = values
        for key in way[:-1]:
            target = target[key]
        target[way[-1]] = data.draw(JUNK)
    folder_ = good.parent / "fuzzed"
    shutil.copytree(good, folder_, dirs_exist_ok=True)
    (folder_ / "config.json").write_text(json.dumps(values))
    problem = refusal(lambda: folder.load(folder_))
    assert problem is None or "\n" not in problem


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_bytes_end_in_a_stack_trace(good: Path, data: st.DataObject) -> None:
    content = bytearray((good / "step.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 9))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    path = good.parent / "fuzzed.onnx"
    path.write_bytes(content)
    problem = refusal(lambda: read_graph(path))
    assert problem is None or "\n" not in problem


def test_what_a_graph_asks_for_is_what_onnx_reads(good: Path) -> None:
    for name in ("encoder.onnx", "step.onnx"):
        found, model = read_graph(good / name), onnx.load(good / name)
        for own, theirs in ((found.inputs, model.graph.input), (found.outputs, model.graph.output)):
            assert list(own) == [one.name for one in theirs]
            for port, one in zip(own.values(), theirs, strict=True):
                kind = one.type.tensor_type
                assert port.kind == helper.tensor_dtype_to_np_dtype(kind.elem_type).name
                assert port.shape == tuple(dim.dim_value or None for dim in kind.shape.dim)
