"""Find the runs that can be compared: those with one test set and one tokenizer of BLEU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from seq2seq.report.arms import Arm, Run, Sweep


def same_test_set(arms: Sequence[Arm]) -> tuple[list[Arm], list[str]]:
    """The arms, with only the runs scored on the most common test sentences, and the names of the other runs.

    Spaces at the ends of sentences are ignored.
    """

    def lines(run: Run) -> tuple[str, ...]:
        return tuple(line.strip() for line in (*run.sources, *run.references))

    return most_common(arms, lines)


def bleu_tokenizer(run: Run) -> str:
    """The tokenizer of BLEU as the signature has it; sacreBLEU's own version does not count."""
    parts = str(run.result.figure("bleu_signature") or "").split("|")
    return next((part for part in parts if part.startswith("tok:")), "")


def without_other_bleu(sweep: Sweep, tokenizer: str) -> Sweep:
    """The sweep without the validation BLEU of runs with another tokenizer."""

    def kept(run: Run) -> Run:
        if bleu_tokenizer(run) == tokenizer:
            return run
        curve = [{name: value for name, value in row.items() if name != "valid/bleu"} for row in run.curve]
        return run._replace(curve=curve)

    return sweep._replace(arms=tuple(arm._replace(runs=tuple(map(kept, arm.runs))) for arm in sweep.arms))


def most_common(arms: Sequence[Arm], trait: Callable[[Run], Hashable]) -> tuple[list[Arm], list[str]]:
    """The arms, with only the runs that have the most common trait, and the names of the others."""
    counts = Counter(trait(run) for arm in arms for run in arm.runs)
    wanted = counts.most_common(1)[0][0]  # ties: the first
    same, others = [], []
    for arm in arms:
        kept = tuple(run for run in arm.runs if trait(run) == wanted)
        others += [f"{arm.name}, seed {run.seed}" for run in arm.runs if run not in kept]
        if kept:
            same.append(arm._replace(runs=kept))
    return same, others
