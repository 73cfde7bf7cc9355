"""The commands as a user meets them: what they print where, their exit status, and one line for each mistake."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from seq2seq.cli.common import BYTES, conf_dir, exit_status
from seq2seq.cli.overrides import GROUPS, register_resolvers, run_folder, sweep_folder, with_fixed_keys
from seq2seq.cli.sweep import note_error
from seq2seq.cli.train import to_config
from seq2seq.config.describe import documented_keys
from seq2seq.config.schema import Config
from seq2seq.errors import UserError
from seq2seq.files.lines import read_lines
from seq2seq.translate.translator import Translator
from tests.conftest import ROOT, SMALL_RUN, Command, last_of_each, small_run
from tests.processes import PIPE, start

TRAIN_MISTAKES = [
    (["model.revers=true"], r"model.revers is not a key. Did you mean reverse? model has: reverse, peeky, cell"),
    (["+model.revers=true"], r"model.revers is not a key. Did you mean reverse?"),
    (["++extra=1"], r"extra is not a key. The config has: name, seed"),
    (["~data"], r"~data would remove a part of the config; every part is needed"),
    (["modle=lstm"], r"modle is not a key. Did you mean model?"),
    (["model=lstn"], r"model=lstn is not known; choose from bilstm, gru, lstm, rnn."),
    (["experiment=nope"], r"experiment=nope is not known; choose from"),
    (["seed=one"], r"Value 'one' of type 'str' could not be converted to Integer"),
    (["model.reverse=maybe"], r"Value 'maybe' is not a valid bool"),
    (["model.peeky=sometimes"], r"model.peeky=sometimes is not known; choose from none, input, output, both"),
    (["model.hidden_size=0"], r"model.hidden_size=0 is out of range; it must be at least 1"),
    (["optim.lr=-1"], r"optim.lr=-1 is out of range; it must be above 0"),
    (["model.reverse.deep=1"], r"model.reverse.deep is not a key: model.reverse is a single value, not a section"),
    (["data=["], r"data=[ is not an override: "),
    (["+trainer.lightning.max_epoch=3"], r"trainer.lightning.max_epoch is not an argument of lightning.Trainer"),
    (["runs=/dev/null"], r"cannot be used"),
    (["trainer.loggers=csv"], r"trainer.loggers=csv is not a list; write it as in trainer.loggers=[csv,tensorboard]"),
    (["trainer.loggers=[wandb]"], r"trainer.loggers=[wandb] needs wandb, which is not installed"),
    (["trainer.validate_every=inf"], r"trainer.validate_every=inf is out of range"),
    (["trainer.max_minutes=inf"], r"trainer.max_minutes=inf is out of range"),
    (["tokenizer.vocab_size=4294967296"], r"tokenizer.vocab_size=4.29497e+09 is out of range"),
    (["data.max_ratio=0.5"], r"data.max_ratio=0.5 is out of range; it must be 0 (off) or at least 1"),
    (["data=multi30k", "data.src_lang=xx"], r"data.src_lang=xx is not known; choose from en, de, fr, cs"),
    (["name=a/../../b"], r"cannot be a folder's name"),
    (["resume=nowhere"], r"nowhere is not a run folder: it has no config.yaml"),
    (["data=files"], r"data.kind=files needs data.train_src, data.valid_src, data.test_src"),
    (["data=multi30k", "data.mirror=nowhere"], r"nowhere"),
    (["-m", "--cfg", "job"], r"-m and --cfg do not go together; leave out one of them."),
    (["model.peeky=both", "model.match_peeky=true"], r"model.match_peeky=true is a control for model.peeky=none"),
    (["model.peeky=none", "model.match_peeky=true", "model.decoder.hidden_size=9"], r"leave out the encoder's and"),
    (["-m", "resume=data", "seed=1,2"], r"resume continues one run; leave out -m"),
    (["arm=none"], r"arm=none is not known; choose from baseline, both, padded, peeky, reverse, reverse_padded"),
    (["-m", "seed=1,2", "trainer.devices=2"], r"a sweep cannot train on several devices"),
]


@pytest.mark.parametrize("words, message", TRAIN_MISTAKES, ids=[" ".join(words) for words, _ in TRAIN_MISTAKES])
def test_a_mistake_ends_in_one_line_and_status_2(
    command: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    done = command("train", *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("seq2seq-train: ")
    said = [line for line in done.stderr.splitlines() if not line.startswith("preparing ")]
    assert len(said) <= (3 if words[0] == "-m" else 1)
    assert not list(tmp_path.glob("data/*/train.src"))
    if "-m" not in words:
        assert not (tmp_path / "runs").exists()


def test_a_refused_run_leaves_what_was_there(command: Command, tmp_path: Path) -> None:
    words = ["name=r", *small_run("trainer.max_steps=1", "data.train_size=50")]
    late = last_of_each([*words, "model.hidden_size=100000000"])  # refused when all data is there
    diverging = last_of_each([*words, "optim=sgd", "optim.lr=1e38", "optim.clip_norm=0", "trainer.max_steps=9"])
    diverging += ("trainer.loggers=[csv,tensorboard]",)
    for refused in (late, diverging, [*words, "tokenizer.like=nowhere"]):
        done = command("train", *refused)
        assert done.returncode == 2, done.stderr
        assert not (tmp_path / "runs").exists()
    assert command("train", *words).returncode == 0
    (folder,) = (tmp_path / "runs" / "r").iterdir()
    (folder / "note").write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    resume = yaml.safe_load((folder / "config.yaml").read_text())
    assert resume["model"]["hidden_size"] == 16
    # Another folder's name, and no data.
    done = command("train", *last_of_each([*words, "overwrite=true", "data.valid_size=900000000"]))
    assert done.returncode == 2, done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in (tmp_path / "runs" / "r").iterdir()] == [folder.name]


NEEDED = {  # what a file of conf/ leaves to the command line
    "data=files": ["data.train_src=a", "data.valid_src=a", "data.test_src=a"],
    "data=text": ["experiment=lm", "data.train_tgt=a"],
    "data=ptb": ["experiment=lm", "data.mirror=a"],
    **{f"experiment=lm_zaremba_{size}": ["data.mirror=a"] for size in ("small", "medium", "large")},
    "experiment=lm_book": ["data.mirror=a"],
    "arm=padded": ["data=addition"],
    "arm=reverse_padded": ["data=addition"],
}


def test_every_group_and_experiment_makes_a_config_whose_keys_have_an_effect() -> None:
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for group in GROUPS:
            for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
                word = f"{group}={path.stem}"
                assert to_config(compose("train", [word, *NEEDED.get(word, [])])).seed == 1


def test_a_composed_config_is_printed(command: Command) -> None:
    done = command("train", "experiment=ablation", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["name"] == "ablation"


def test_a_key_without_effect_is_refused_before_a_folder_is_made(command: Command, tmp_path: Path) -> None:
    done = command("train", *SMALL_RUN, "optim.momentum=0.9", "optim.schedule=plateau")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "optim.momentum=0.9 has no effect without optim.algorithm=sgd; set optim.momentum=0, its default" in line
    assert not (tmp_path / "runs").exists()


def test_peeky_true_and_false_reach_the_run(command: Command, tmp_path: Path) -> None:
    for given, meant in (("true", "both"), ("false", "none")):
        done = command("train", f"name=peeky-{given}", f"model.peeky={given}", *SMALL_RUN, "trainer.max_steps=1")
        assert done.returncode == 0, done.stderr
        (folder,) = (tmp_path / "runs" / f"peeky-{given}").iterdir()
        assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["peeky"] == meant


def test_training_ends_with_a_score_its_signature_and_samples(command: Command, trained: Path) -> None:
    """A repeated command does not train again, and prints the same end."""
    done = command("train", "name=small", *SMALL_RUN, cwd=trained.parent.parent.parent)
    assert done.returncode == 0, done.stderr
    assert "is finished already" in done.stderr
    result = json.loads((trained / "test.json").read_text())
    assert f"test BLEU {result['bleu']:.2f}" in done.stdout
    assert "signature nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in done.stdout
    assert done.stdout.count("  source  ") == 2


def test_a_sweep_has_a_folder_for_each_run_and_a_rerun_skips_the_finished(command: Command, tmp_path: Path) -> None:
    words = ["-m", "name=s", *SMALL_RUN, "trainer.max_steps=2", "model.reverse=false,true", "seed=1,2"]
    done = command("train", *words)
    assert done.returncode == 0, done.stderr
    folders = sorted(path.parent for path in (tmp_path / "runs" / "s").glob("*/config.yaml"))
    assert len(folders) == 4
    assert set(json.loads((tmp_path / "runs" / "s" / "sweep.json").read_text())["runs"]) == {f.name for f in folders}
    assert not (tmp_path / "multirun.yaml").exists()
    settings = [yaml.safe_load((folder / "config.yaml").read_text()) for folder in folders]
    arms = {(values["model"]["reverse"], values["seed"]) for values in settings}
    assert arms == set(itertools.product((False, True), (1, 2)))
    stamps = {folder: (folder / "test.json").stat().st_mtime_ns for folder in folders}
    (folders[0] / "test.json").unlink()
    again = command("train", *words)
    assert again.returncode == 0, again.stderr
    assert "3 of 4 runs are finished already" in again.stderr
    changed = [folder for folder in folders if (folder / "test.json").stat().st_mtime_ns != stamps[folder]]
    assert changed == folders[:1]


def test_a_run_that_fails_does_not_stop_the_others_of_a_sweep(command: Command, tmp_path: Path) -> None:
    done = command("train", "-m", "name=f", *SMALL_RUN, "trainer.max_steps=1", "model.dropout=2,0.1")
    assert done.returncode == 2
    assert "model.dropout=2 is out of range" in done.stderr
    (error,) = (tmp_path / "runs" / "f").glob("*/error.txt")
    assert "model.dropout=2 is out of range" in error.read_text()
    assert len(list((tmp_path / "runs" / "f").glob("*/test.json"))) == 1


def test_run_folders_tell_runs_apart_and_need_no_quoting() -> None:
    def folder(*swept: str, seed: int = 1) -> str:
        return run_folder("runs", "n", seed, None, list(swept))

    assert folder() == "runs/n/seed-1"
    assert folder("model.reverse=true", "seed=3", "name=n", seed=3) == "runs/n/model.reverse-true_seed-3"
    assert folder("b=1", "a=2") == folder("a=2", "b=1")
    assert folder("a=True") == folder("a=true")
    assert folder("data.mirror=../x") == folder()
    odd = [folder("model.cell=a/b"), folder("model.cell=a b"), folder("model.cell=a:b")]
    assert len(set(odd)) == 3
    assert all(not set(path) - set("abcdefghijklmnopqrstuvwxyz0123456789._-/") for path in odd)
    assert len(folder(*(f"model.k{i}=1" for i in range(99)))) < 200
    assert run_folder("runs", "n", 1, "elsewhere/run") == "elsewhere/run"
    assert folder("experiment=n", "arm=both") == "runs/n/arm-both_seed-1"
    assert folder("experiment=m") == "runs/n/experiment-m_seed-1"
    assert sweep_folder("a/runs", "n", 2, ["seed=2"], []) == "n/seed-2"


def test_of_a_swept_path_a_folder_s_name_has_the_last_part_and_a_digest() -> None:
    one, other = (run_folder("runs", "n", 1, None, [f"data.train_src=/far/{part}/small.en"]) for part in "ab")
    assert re.fullmatch(r"runs/n/data.train_src-small.en-[0-9a-f]{8}_seed-1", one)
    assert one != other


@pytest.mark.parametrize(
    "words, names",
    [
        (
            ["data=files", "data.train_src=/a/b", "data.train_tgt=/a/c", "model.cell=gru,lstm", "seed=1"],
            ["model.cell-gru_seed-1", "model.cell-lstm_seed-1"],
        ),
        (["+trainer.lightning.benchmark=true", "model.dropout=0.1", "seed=1,2"], ["seed-1", "seed-2"]),
        (["model.hidden_size=range(8,10)", "arm=both"], ["model.hidden_size-8_seed-1", "model.hidden_size-9_seed-1"]),
        (
            ["experiment=book_dates", "seed=1", "optim.lr=0.1"],
            ["model.peeky-none_seed-1", "model.peeky-both_seed-1"],
        ),
        (["hydra.run.dir=x", "experiment=addition"], ["seed-1"]),
    ],
)
def test_the_swept_keys_name_the_folders_of_a_sweep(words: list[str], names: list[str]) -> None:
    """As Hydra's sweeper makes the runs: each has all overrides, those of the experiment's file before the others."""
    ConfigStore.instance().store(name="schema", node=Config)
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("train", with_fixed_keys(words), RunMode.MULTIRUN)
        given = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
        overrides = OverridesParser.create(config_loader=loader).parse_overrides([*given, *words])
        (jobs,) = BasicSweeper.split_arguments([one for one in overrides if not one.is_hydra_override()], None)
        found = []
        for job in jobs:
            config = loader.load_sweep_config(master, job)
            HydraConfig.instance().cfg = config
            found.append(Path(config.hydra.sweep.subdir).name)
        assert list(dict.fromkeys(found)) == names


def test_a_single_run_s_folder_has_its_name_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    ConfigStore.instance().store(name="schema", node=Config)
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        words = ["data=files", "data.train_src=/a/b", "model.cell=gru", "seed=3", "name=mine"]
        config = compose("train", words, return_hydra_config=True)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
        assert config.hydra.run.dir == "runs/mine/seed-3"


def test_evaluate_prints_json_and_the_bleu_of_the_sacrebleu_command(
    command: Command, trained: Path, tmp_path: Path
) -> None:
    result = json.loads((trained / "test.json").read_text())
    data = trained.parent.parent.parent / result["data"]
    done = command("evaluate", trained, "--src", data / "test.src", "--ref", data / "test.tgt", "--hyp", "hyp")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert {name: figures[name] for name in ("bleu", "chrf", "ter", "exact_match", "perplexity", "parameters")} == {
        name: result[name] for name in ("bleu", "chrf", "ter", "exact_match", "perplexity", "parameters")
    }
    assert (tmp_path / "hyp").read_bytes() == (trained / "test.hyp").read_bytes()
    without = command("evaluate", trained, "--src", data / "test.src", "--ref", data / "test.tgt")
    assert json.loads(without.stdout)["bleu"] == figures["bleu"]
    sacrebleu = [sys.executable, "-m", "sacrebleu", data / "test.tgt", "-i", "hyp", "--width", "8", "--score-only"]
    printed = subprocess.run(sacrebleu, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(printed.stdout) == pytest.approx(figures["bleu"], abs=1e-7)


def test_translate_is_a_filter(command: Command, trained: Path) -> None:
    lines = ["1+2", "", "33+4", "  ", "999+1"]
    done = command("translate", trained, stdin="\n".join(lines).encode())
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == [*Translator.from_checkpoint(trained).translate(lines), ""]
    assert done.stderr.startswith("stdin: 5 lines in ")


def test_translate_works_under_an_ascii_locale(command: Command, trained: Path) -> None:
    done = command("translate", trained, stdin="1+é\n".encode(), env={"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr


def test_translate_writes_files(command: Command, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1+2\n")
    (tmp_path / "b.txt").write_text("3+4\n5+6\n")
    assert command("translate", trained, "-i", "a.txt", "-o", "a.out").returncode == 0
    assert command("translate", trained, "-i", "a.txt", "b.txt", "--suffix", "sum").returncode == 0
    assert (tmp_path / "a.out").read_bytes() == (tmp_path / "a.txt.sum").read_bytes()
    assert len(read_lines(tmp_path / "b.txt.sum")) == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "nowhere does not exist; name a .ckpt file"),
        (["CKPT", "-i", "nowhere"], "nowhere does not exist"),
        (["CKPT", "-i", "."], ". is a folder, not a text file"),
        (["CKPT", "-i", "a", "b"], "2 inputs need --suffix"),
        (["CKPT", "-i", "a", "-o", "b", "--suffix", "c"], "--output and --suffix both name the output"),
        (["CKPT", "--suffix", "c"], "--suffix needs named inputs"),
        (["CKPT", "-i", "a", "-o", "a"], "a is both input and output"),
        (["CKPT", "--window", "0"], "--window 0 is out of range"),
        (["CKPT", "--threads", "-1"], "--threads -1 is out of range; it must be in [0, 1024]"),
        (["CKPT", "-i", "a", "-o", "./a"], "./a is both input and output"),
        (["CKPT", "--max-extra", "0"], "decode.max_extra=0 (--max-extra) is out of range"),
        (["CKPT", "--device", "abacus"], "--device abacus is not known; choose from cpu, cuda, mps"),
        (["CKPT", "-o", "no/such/folder"], "no/such/folder"),
    ],
)
def test_mistakes_with_translate(
    command: Command, trained: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "a").write_text("1+2\n")
    done = command("translate", *[trained if word == "CKPT" else word for word in words], stdin=b"1+2\n")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_resume_refuses_overrides_that_it_would_lose(command: Command, trained: Path) -> None:
    done = command("train", f"resume={trained}", "model.hidden_size=9")
    assert done.returncode == 2
    assert "resume uses the config of" in done.stderr
    assert "leave out model.hidden_size" in done.stderr


def test_evaluate_does_not_write_over_its_references(command: Command, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("3\n")
    (tmp_path / "src").write_text("1+2\n")
    done = command("evaluate", trained, "--src", "src", "--ref", "ref", "--hyp", "./ref")
    assert done.returncode == 2
    assert "--hyp ./ref would be written over an input" in done.stderr
    assert (tmp_path / "ref").read_text() == "3\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_stream_that_the_caller_closed_leaves_no_traceback(trained: Path, closed: str) -> None:
    program = f"echo 1+2 | {sys.executable} -m seq2seq.cli.translate {trained} {closed}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["--temperature", "0.5"],
            "temperature (--temperature) is for decode.search=sample (--sample), and this is greedy",
        ),
        (["--beam", "3", "--top-k", "2"], "top_k (--top-k) is for decode.search=sample (--sample), and this is beam"),
        (
            ["--sample", "--length-penalty", "1"],
            "length_penalty (--length-penalty) is for decode.search=beam (--beam N), and this is sample",
        ),
        (["--beam", "0"], "beam_size=0 (--beam) is out of range; it must be in [1, 1000]."),
        (["--sample", "--top-p", "0"], "top_p=0 (--top-p) leaves no token to choose; it must be above 0."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_of_another_search_are_refused(
    command: Command, trained: Path, words: list[str], message: str
) -> None:
    done = command("translate", trained, *words, stdin=b"1+2\n")
    remedy = "" if message.endswith(".") else "; give both, or leave it out."
    assert (done.returncode, done.stderr) == (2, f"seq2seq-translate: decode.{message}{remedy}\n")


def test_searches_and_ensembles_translate_line_for_line(command: Command, trained: Path) -> None:
    for words in (["--beam", "3"], ["--sample", "--seed", "7"], ["--greedy"]):
        done = command("translate", trained, trained, *words, stdin=b"1+2\n\n10+20\n")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 3


def test_a_closed_pipe_ends_quietly(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1+2\n" * 50_000)
    with open(tmp_path / "in") as stream, subprocess.Popen(["head", "-1"], stdin=PIPE, stdout=PIPE) as head:
        with start("translate", trained, "--window", 50, cwd=ROOT, stdin=stream, stdout=head.stdin, stderr=PIPE) as one:
            assert head.stdin is not None
            head.stdin.close()
            said = one.communicate(timeout=120)[1]
        assert head.stdout is not None and head.stdout.read().count(b"\n") == 1
    assert (one.returncode, said) == (141, b"")


def test_a_full_disk_is_said_in_one_line(trained: Path) -> None:
    with (
        open("/dev/full", "wb") as full,
        start("translate", trained, cwd=ROOT, stdin=PIPE, stdout=full, stderr=PIPE) as process,
    ):
        said = process.communicate(b"1+2\n", timeout=120)[1]
    assert process.returncode == 2
    assert said == b"seq2seq-translate: cannot write: No space left on device; check the free space.\n"


def test_data_makes_files_and_says_how_many(command: Command, tmp_path: Path) -> None:
    words = ["addition", "--out", "d", "--train-size", "30", "--valid-size", "3", "--test-size", "3", "--book-exact"]
    done = command("data", *words)
    assert (done.returncode, done.stdout) == (0, "d: 30 train, 3 valid, 3 test\n")
    assert all(len(line) == 7 for line in read_lines(tmp_path / "d" / "train.src"))
    refused = command("data", "multi30k", "--mirror", "nowhere")
    assert refused.returncode == 2
    assert "nowhere" in refused.stderr


def test_data_and_train_make_the_same_dataset(command: Command) -> None:
    sizes = ["--train-size", "300", "--valid-size", "20", "--test-size", "20"]
    printed = command("data", "addition", *sizes).stdout
    command("train", "name=x", *SMALL_RUN, "trainer.max_steps=1")
    assert command("data", "addition", *sizes).stdout == printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("name", ["data", "train", "evaluate", "translate"])
def test_help_says_what_a_command_does(command: Command, name: str) -> None:
    done = command(name, "--help")
    assert done.returncode == 0
    assert len(done.stdout) > 200


def test_the_help_of_train_names_every_key_and_every_file(command: Command) -> None:
    printed = command("train", "--help").stdout
    assert all(f"  {name}={default}  {meaning}\n" in printed + "\n" for name, default, meaning in documented_keys())
    for path in (ROOT / "conf").glob("*/*.yaml"):
        assert re.search(rf"^  {path.parent.name}: .*\b{path.stem}\b", printed, re.MULTILINE), path


def test_a_folder_whose_name_is_not_utf8_can_be_worked_in(command: Command, tmp_path: Path) -> None:
    """Its path is printed on stdout as it is on the disk, and escaped where only text can stand."""
    cwd, odd = tmp_path / os.fsdecode(b"x\xff y"), os.fsdecode(b"a\xfe")
    cwd.mkdir()
    for name in (odd, "b"):
        (cwd / name).write_text("1+1\n2+2\n3+3\n")
    files = [f"data.valid_src={odd}", "data.valid_tgt=b", f"data.test_src={odd}", "data.test_tgt=b"]
    small = ["tokenizer=char", "model.hidden_size=8", "model.embedding_size=8", "trainer.max_epochs=1"]
    words = [f"name=n{odd}", "data=files", *files, "data.train_tgt=b", *small, f"runs={cwd}/r{odd}", "trainer.probe=16"]
    done = command("train", "-m", *words, f"data.train_src={odd},{cwd}/{odd}", "seed=1,2", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("report: ")[1].strip() == f"{cwd}/r{odd}/n{odd}/report/report.html"
    assert "a\\udcfe" in (cwd / f"r{odd}" / f"n{odd}" / "report" / "report.md").read_text(encoding="utf-8")
    run = next((cwd / f"r{odd}" / f"n{odd}").glob("*_seed-1"))
    again = command("train", f"resume={run}", cwd=cwd)
    assert again.returncode == 0, again.stderr
    assert again.stdout.endswith(f"everything is in {run}\n")
    evaluated = command("evaluate", run, "--src", odd, "--ref", "b", "--hyp", f"{odd}.hyp", cwd=cwd)
    assert evaluated.returncode == 0, evaluated.stderr
    translated = command("translate", run, "-i", f"{cwd}/{odd}", "--suffix", odd, "--resume", cwd=cwd)
    assert translated.returncode == 0, translated.stderr
    assert (cwd / f"{odd}.{odd}").read_bytes() == (cwd / f"{odd}.hyp").read_bytes()
    failed = command("train", *words, "data.train_src=nowhere", cwd=cwd)
    assert failed.returncode == 2
    assert failed.stderr.endswith(f"relative to {tmp_path}/x\\udcff y.\n")


def test_a_run_that_failed_may_have_a_path_that_is_not_utf8_in_its_reason(tmp_path: Path) -> None:
    note_error(tmp_path, "a\udcff is no\nfile")
    assert (tmp_path / "error.txt").read_bytes() == b"a\\udcff is no file\n"


def test_stdout_writes_what_utf8_does_not_have() -> None:
    assert "ä\udcff\ud800".encode("utf-8", BYTES) == "ä".encode() + b"\xff\\ud800"
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", BYTES)


@pytest.mark.parametrize(
    "raised, status", [(UserError("bad"), 2), (KeyboardInterrupt(), 130), (None, 0)], ids=["mistake", "ctrl-C", "well"]
)
def test_exit_statuses(raised: BaseException | None, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    def end() -> None:
        if raised is not None:
            raised.__traceback__ = None
            raise raised

    assert exit_status(end, "name") == status
    assert capsys.readouterr().err.startswith("" if status == 0 else "name: ")


def test_a_user_error_is_not_taken_for_an_error_of_a_library() -> None:
    assert UserError.__mro__[1:] == Exception.__mro__


def test_the_configs_are_found_or_their_absence_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert conf_dir() == ROOT / "conf"
    monkeypatch.setattr("seq2seq.cli.common.__file__", str(tmp_path / "seq2seq" / "cli" / "common.py"))
    with pytest.raises(UserError, match=r"there is no train.yaml in .*; install seq2seq again"):
        conf_dir()
