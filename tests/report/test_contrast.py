"""Significance against sacreBLEU, hand calculations, brute force and sweeps in which the truth is planted."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest
from scipy import stats

from seq2seq import metrics
from seq2seq.errors import UserError
from seq2seq.report import contrast as contrast_module
from seq2seq.report.contrast import Contrast, contrast, holm, resample
from seq2seq.report.metrics import METRICS, Array
from seq2seq.report.paired import paired_tests

SENTENCES = st.lists(st.sampled_from(["a", "b", "the", "cat", "Cat.", "sat", "on", "ü", "(", "12,5"]), max_size=8)
PAIRS = st.lists(st.tuples(SENTENCES.map(" ".join), SENTENCES.map(" ".join)), min_size=1, max_size=6)
DIFFERENCE = {"a": 1, "b": -1}
INTERACTION = {"both": 1, "reverse": -1, "peeky": -1, "baseline": 1}
EXACT = METRICS["exact_match"]


def equal(*arms: Sequence[Sequence[int]]) -> dict[str, Array]:
    """Exact match statistics of arms a, b, ... from whether each run's sentences are right."""
    tables = {name: np.array(arm, dtype=float) for name, arm in zip("abcd", arms, strict=False)}
    return {name: np.stack([table, np.ones_like(table)], axis=-1) for name, table in tables.items()}


# Statistics: a score is a function of sums over sentences.


@settings(max_examples=150, deadline=None)
@given(PAIRS)
def test_scores_from_summed_statistics_are_sacrebleus(pairs: list[tuple[str, str]]) -> None:
    hypotheses, references = [hyp for hyp, _ in pairs], [ref for _, ref in pairs]
    for name, theirs in (("bleu", BLEU()), ("chrf", CHRF())):
        statistics = METRICS[name].statistics(hypotheses, references)
        expected = theirs.corpus_score(hypotheses, [references]).score
        assert METRICS[name].score(statistics.sum(axis=0)) == pytest.approx(expected, abs=1e-9)
    statistics = EXACT.statistics(hypotheses, references)
    assert EXACT.score(statistics.sum(axis=0)) == pytest.approx(metrics.exact_match(hypotheses, references))


@pytest.mark.parametrize("theirs, name", [(BLEU(), "bleu"), (CHRF(), "chrf")])
def test_resampled_texts_score_like_resampled_statistics_whatever_the_leading_dimensions(
    theirs: BLEU | CHRF, name: str
) -> None:
    hypotheses = ["", "the cat sat on the mat today", "a b", "x", "one two three four five"]
    references = ["a", "the cat sat on a mat today", "a c", "", "one two three four six"]
    drawn = np.random.default_rng(0).integers(5, size=(2, 3, 5))
    statistics = METRICS[name].statistics(hypotheses, references)
    scores = METRICS[name].score(statistics[drawn].sum(axis=2))
    assert scores.shape == (2, 3)
    for index in np.ndindex(2, 3):
        texts = [[side[i] for i in drawn[index]] for side in (hypotheses, references)]
        assert scores[index] == pytest.approx(theirs.corpus_score(texts[0], [texts[1]]).score, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_statistics_of_lists_that_do_not_match_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="there are 1 hypotheses but 2 references"):
        METRICS[name].statistics(["a"], ["a", "b"])


# Contrasts worked out in another way.


def test_a_difference_is_that_of_the_formula_worked_out_by_hand() -> None:
    """Arm a scores 75 and 50, arm b 25 and 25, so that T = (312.5 + 0) / 2. On the sentences their means over seeds
    differ by 1, 0.5, 0 and 0, so that S = 100^2 var(1, 0.5, 0, 0) / 4. The runs of a differ on one sentence of four,
    those of b on none: E = 100^2 var(0, 1, 0, 0) / 2 / 4 / 2 = 312.5 / 2, with var over 3, and T - E = 0.
    """
    runs = resample(EXACT, equal([[1, 1, 0, 1], [1, 0, 0, 1]], [[0, 0, 0, 1], [0, 0, 0, 1]]), num_replicates=40_000)
    result = contrast(runs, DIFFERENCE)
    pseudo_count = 2 * 25**2
    sentences = 100**2 * np.var([1, 0.5, 0, 0], ddof=1) / 4 + pseudo_count
    assert result.estimate == pytest.approx(37.5)
    assert result.sentence_error == pytest.approx(math.sqrt(sentences), rel=0.01)
    assert result.seed_error == pytest.approx(0, abs=1)
    assert result.df == pytest.approx(sentences**2 / (156.25**2 / 1 + sentences**2 / 3), rel=0.02)
    assert result.p == pytest.approx(2 * stats.t.sf(37.5 / result.standard_error, result.df))
    assert result.num_seeds == {"a": 2, "b": 2} and result.num_sentences == 4


def analysis_of_variance(statistics: dict[str, Array], weights: dict[str, float]) -> tuple[float, float, float]:
    """S without its pseudo-count, T and E of the module, from the table of 0 and 100 instead of resampled scores."""
    contrast_of_sentences: float | Array = 0.0
    seeds, noise = 0.0, 0.0
    for arm, weight in weights.items():
        table = 100 * statistics[arm][..., 0]  # (seeds, sentences)
        num_seeds, num_sentences = table.shape
        rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
        contrast_of_sentences = contrast_of_sentences + weight * table.mean(0)
        seeds += weight**2 * table.mean(1).var(ddof=1) / num_seeds
        noise += weight**2 * (rest**2).sum() / (num_seeds - 1) / (num_sentences - 1) / num_seeds / num_sentences
    return float(np.var(contrast_of_sentences, ddof=1)) / num_sentences, seeds, noise


def test_an_interactions_variance_is_that_of_an_analysis_of_variance_with_unequal_seeds() -> None:
    arms = sweep(np.random.default_rng(3), dict.fromkeys(INTERACTION, 0.0), seeds=4, seed_spread=0.06, lean=0.2)
    arms["peeky"], arms["reverse"] = arms["peeky"][:2], arms["reverse"][:3]
    result = contrast(resample(EXACT, arms, num_replicates=20_000), INTERACTION)
    means = {arm: 100 * table[..., 0].mean() for arm, table in arms.items()}
    sentences, seeds, noise = analysis_of_variance(arms, INTERACTION)
    sentences += 4 * (100 / SIZE) ** 2
    assert result.estimate == pytest.approx(means["both"] - means["reverse"] - means["peeky"] + means["baseline"])
    assert result.sentence_error == pytest.approx(math.sqrt(sentences), rel=0.03)
    assert result.seed_error == pytest.approx(math.sqrt(seeds - noise), rel=0.03)
    assert result.standard_error == pytest.approx(math.hypot(result.seed_error or 0, result.sentence_error))
    assert result.num_seeds == {"both": 4, "reverse": 3, "peeky": 2, "baseline": 4}


def test_a_hierarchical_bootstrap_drawn_by_brute_force_agrees_once_its_two_faults_are_mended() -> None:
    arms = sweep(np.random.default_rng(5), {"a": 0.0, "b": 0.0}, seeds=3, seed_spread=0.1, lean=0.2)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(8000):
        sentences = rng.integers(SIZE, size=SIZE)
        means = [100 * arms[arm][..., 0][rng.integers(3, size=3)][:, sentences].mean() for arm in "ab"]
        drawn.append(means[0] - means[1])
    sentences_part, seeds, noise = analysis_of_variance(arms, {"a": 1.0, "b": -1.0})
    shrunk = (3 - 1) / 3
    assert np.var(drawn) == pytest.approx(sentences_part + shrunk * seeds + shrunk * noise, rel=0.08)
    result = contrast(resample(EXACT, arms), DIFFERENCE)
    pseudo_count = 2 * (100 / SIZE) ** 2
    mended = np.var(drawn) + (1 - shrunk) * seeds - (1 + shrunk) * noise + pseudo_count
    assert result.standard_error**2 == pytest.approx(mended, rel=0.1)


def test_runs_of_the_same_sentences_are_paired() -> None:
    """Ten sentences decide between the arms, the others are hard or easy for both; unpaired, an arm's error is 4."""
    shared = np.arange(SIZE) % 2
    better = np.where(np.arange(SIZE) < 20, 1, shared)
    result = contrast(resample(EXACT, equal([better, better], [shared, shared])), DIFFERENCE)
    assert result.sentence_error == pytest.approx(100 * math.sqrt(10 * (1 - 10 / SIZE) + 2) / SIZE, rel=0.05)


def test_the_signs_and_the_scale_of_weights_carry_over() -> None:
    arms = sweep(np.random.default_rng(1), {"a": 0.1, "b": 0.0, "c": 0.0}, seeds=3, seed_spread=0.03, lean=0.1)
    runs = resample(EXACT, arms)
    one, other = contrast(runs, DIFFERENCE), contrast(runs, {"a": -0.5, "b": 0.5, "c": 0})
    assert other.estimate == pytest.approx(-one.estimate / 2)
    assert (other.low, other.high) == pytest.approx((-one.high / 2, -one.low / 2))
    assert other.p == pytest.approx(one.p) and other.df == pytest.approx(one.df)
    assert list(other.num_seeds) == ["a", "b"]


def test_the_order_of_the_arms_does_not_matter() -> None:
    arms = sweep(np.random.default_rng(1), {"a": 0.45, "b": 0.0, "c": -0.2}, seeds=3, seed_spread=0.1, lean=0.1)
    arms["a"] = arms["a"][:2]
    results = [contrast(resample(EXACT, {arm: arms[arm] for arm in order}), DIFFERENCE) for order in ("abc", "cba")]
    for field in ("estimate", "p", "seed_error", "sentence_error", "df"):
        assert getattr(results[0], field) == pytest.approx(getattr(results[1], field))


# Where there is little to go by.


def test_a_single_seed_gives_an_interval_of_the_sentences_and_no_p() -> None:
    arms = equal([[1] * 80 + [0] * 20], [[1] * 30 + [0] * 70, [1] * 31 + [0] * 69])
    result = contrast(resample(EXACT, arms), DIFFERENCE)
    assert result.p is None and result.seed_error is None
    assert result.low < 49.5 < result.high and result.standard_error == result.sentence_error
    assert contrast(resample(EXACT, arms | {"a": arms["b"]}), DIFFERENCE).seed_error is not None


def test_arms_that_are_alike_in_every_run_differ_by_nothing() -> None:
    arms = equal([[1, 0, 1, 1]] * 3, [[1, 0, 1, 1]] * 3, [[1, 0, 1, 1]])
    runs = resample(EXACT, arms)
    assert contrast(runs, DIFFERENCE)[:5] == (0, 0, 0, 1, 0)
    assert contrast(runs, {"a": 1, "c": -1})[:5] == (0, 0, 0, None, 0)


def test_equal_scores_on_different_sentences_are_not_alike() -> None:
    result = contrast(resample(EXACT, equal([[1, 0, 1, 0]] * 2, [[0, 1, 0, 1]] * 2)), DIFFERENCE)
    assert result.estimate == 0 and result.p == 1 and result.low < -20 and result.high > 20


def test_all_against_nothing_keeps_a_doubt_that_shrinks_with_the_sentences() -> None:
    for num_sentences in (10, 1000):
        arms = equal([[1] * num_sentences] * 3, [[0] * num_sentences] * 3)
        result = contrast(resample(EXACT, arms), DIFFERENCE)
        assert (result.estimate, result.high) == (100, 100)
        assert contrast(resample(EXACT, arms), {"a": -1, "b": 1})[:2] == (-100, -100)
        assert 2.7 < (1 - result.low / 100) * num_sentences < 3.3  # about the rule of three
        assert result.p is not None and result.p < 0.001
    saturated = equal([[1] * 10] * 3, [[1] * 10] * 3, [[0] * 10] * 3, [[0] * 10] * 3)
    nothing = contrast(resample(EXACT, saturated), {"a": 1, "b": -1, "c": -1, "d": 1})
    assert nothing.estimate == 0 and nothing.p == 1 and nothing.low < 0 < nothing.high


@pytest.mark.parametrize(
    "won, lost", [(1, 0), (3, 0), (5, 0), (6, 0), (10, 0), (5, 1), (8, 1), (20, 8), (55, 45), (65, 35)]
)
def test_few_sentences_of_difference_are_judged_about_as_mcnemars_exact_test_does(won: int, lost: int) -> None:
    """With runs alike within arms the contrast is a comparison of two runs, which has an exact answer."""
    size = 2000
    before, after = np.zeros(size), np.zeros(size)
    after[:won], before[won : won + lost] = 1, 1
    result = contrast(resample(EXACT, equal([after] * 2, [before] * 2)), DIFFERENCE)
    exact = stats.binomtest(won, won + lost).pvalue
    assert result.p is not None
    assert exact / 3 < result.p < 3 * exact
    assert (result.p < 0.05) == (exact < 0.05)


def test_the_same_seed_gives_the_same_contrast_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    arms = sweep(np.random.default_rng(1), {"a": 0.1, "b": 0.0}, seeds=3, seed_spread=0.03, lean=0.1)
    first = contrast(resample(EXACT, arms, num_replicates=300, seed=4), DIFFERENCE)
    monkeypatch.setattr(contrast_module, "REPLICATES_AT_ONCE", 7)
    assert contrast(resample(EXACT, arms, num_replicates=300, seed=4), DIFFERENCE) == first
    assert contrast(resample(EXACT, arms, num_replicates=300, seed=5), DIFFERENCE) != first


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UserError, match="same sentences with one metric"):
        resample(EXACT, equal([[1, 0]], [[1, 0, 1]]))
    with pytest.raises(UserError, match="at least 2"):
        resample(EXACT, equal([[1]], [[0]]))
    with pytest.raises(UserError, match="every arm needs statistics"):
        resample(EXACT, {})
    runs = resample(EXACT, equal([[1, 0]], [[0, 0]]), num_replicates=10)
    with pytest.raises(UserError, match="unknown arms c; known are a, b"):
        contrast(runs, {"a": 1, "c": -1})
    for weights in ({"a": 1}, {"a": 0, "b": 0}, {"a": 1, "b": -0.5}):
        with pytest.raises(UserError, match="add up to 0"):
            contrast(runs, weights)


# Sweeps in which the truth is known.

SIZE = 150  # sentences
SWEEPS = 200
# Of 200 sweeps without a difference 10 are called different at 5 %. A rate of 5 % leaves 2 to 18 with probability 0.99.
NOMINAL = range(2, 19)


def sweep(
    rng: np.random.Generator, gains: dict[str, float], *, seeds: int, seed_spread: float, lean: float
) -> dict[str, Array]:
    """Exact matches of arms whose runs are right with a probability in which everything adds up.

    It is a half, what the arm gains, what makes the sentence easy (for all arms), what makes it easy for this arm
    (standard deviation ``lean``), and what the seed does for the run (standard deviation ``seed_spread``).
    """
    easy = rng.uniform(-0.3, 0.3, SIZE)
    tables = []
    for gain in gains.values():
        chance = 0.5 + gain + easy + rng.normal(0, lean, SIZE) + rng.normal(0, seed_spread, (seeds, 1))
        tables.append(rng.random((seeds, SIZE)) < np.clip(chance, 0, 1))
    both = (np.stack([table, np.ones_like(table)], axis=-1).astype(float) for table in tables)
    return dict(zip(gains, both, strict=True))


def word_sweep(
    rng: np.random.Generator, gains: dict[str, float], *, seeds: int, seed_spread: float, lean: float
) -> dict[str, Array]:
    """BLEU's statistics of sentences of nine words, each right or wrong like a whole sentence of :func:`sweep`."""
    length = 9
    easy = rng.uniform(-0.15, 0.15, (SIZE, 1))
    arms = {}
    for arm, gain in gains.items():
        chance = 0.75 + gain + easy + rng.normal(0, lean, (SIZE, 1)) + rng.normal(0, seed_spread, (seeds, 1, 1))
        right = rng.random((seeds, SIZE, length)) < np.clip(chance, 0, 1)
        windows = [np.lib.stride_tricks.sliding_window_view(right, order, axis=2) for order in (1, 2, 3, 4)]
        matches = [window.all(axis=-1).sum(axis=-1) for window in windows]
        constants = [np.full((seeds, SIZE), number) for number in (length, length, 9, 8, 7, 6)]
        arms[arm] = np.stack([*constants[:2], *matches, *constants[2:]], axis=-1).astype(float)
    return arms


def simulate(
    gains: dict[str, float],
    weights: dict[str, float],
    spread: dict[str, float],
    *,
    seeds: int = 3,
    metric: str = "exact_match",
    sweeps: int = SWEEPS,
) -> list[Contrast]:
    rng = np.random.default_rng(seeds)
    draw: Callable[..., dict[str, Array]] = word_sweep if metric == "bleu" else sweep
    results = []
    for number in range(sweeps):
        runs = resample(METRICS[metric], draw(rng, gains, seeds=seeds, **spread), num_replicates=250, seed=number)
        results.append(contrast(runs, weights))
    return results


def num_called(results: Sequence[Contrast]) -> int:
    return sum(result.p is not None and result.p < 0.05 for result in results)


SPREADS = {
    "seeds": {"seed_spread": 0.08, "lean": 0.0},
    "both": {"seed_spread": 0.03, "lean": 0.3},
    "sentences": {"seed_spread": 0.0, "lean": 0.4},
}
NULL = {"a": 0.0, "b": 0.0}


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", SPREADS)
def test_arms_that_differ_by_chance_are_called_different_at_the_nominal_rate(spread: str, seeds: int) -> None:
    results = simulate(NULL, DIFFERENCE, SPREADS[spread], seeds=seeds)
    assert num_called(results) in NOMINAL
    missed = sum(not result.low <= 0 <= result.high for result in results)
    assert missed == num_called(results)


def test_arms_that_differ_by_chance_in_bleu_are_called_different_at_the_nominal_rate() -> None:
    assert num_called(simulate(NULL, DIFFERENCE, {"seed_spread": 0.02, "lean": 0.1}, metric="bleu")) in NOMINAL


def test_without_the_seeds_the_same_arms_are_called_different_far_too_often() -> None:
    results = simulate(NULL, DIFFERENCE, SPREADS["seeds"])
    naive = sum(abs(result.estimate) > 1.96 * result.sentence_error for result in results)
    assert naive > 60 and num_called(results) in NOMINAL


def test_a_real_difference_is_found_and_its_interval_holds_it() -> None:
    """19 points between arms of 3 seeds that spread by 3 points, on 150 sentences: a standard error of 4."""
    results = simulate({"a": 0.095, "b": -0.095}, DIFFERENCE, {"seed_spread": 0.03, "lean": 0.1})
    assert num_called(results) > 0.8 * SWEEPS
    assert sum(not result.low <= 19 <= result.high for result in results) in NOMINAL
    assert np.mean([result.estimate for result in results]) == pytest.approx(19, abs=1)


def test_an_interaction_is_found_and_two_effects_that_add_up_are_not_taken_for_one() -> None:
    spread = {"seed_spread": 0.03, "lean": 0.1}
    additive = {"both": 0.1, "reverse": 0.0, "peeky": 0.0, "baseline": -0.1}
    assert num_called(simulate(additive, INTERACTION, spread)) in NOMINAL
    crossed = {"both": 0.06, "reverse": -0.06, "peeky": -0.06, "baseline": 0.06}
    found = simulate(crossed, INTERACTION, spread)
    assert num_called(found) > 0.8 * SWEEPS
    assert np.mean([result.estimate for result in found]) == pytest.approx(24, abs=1.5)


def test_after_holm_a_family_of_comparisons_makes_a_false_claim_at_the_nominal_rate() -> None:
    """All six differences and the interaction of four arms that differ by chance."""
    arms = list(INTERACTION)
    family = [{one: 1.0, other: -1.0} for number, one in enumerate(arms) for other in arms[:number]]
    family.append({arm: float(weight) for arm, weight in INTERACTION.items()})
    rng = np.random.default_rng(0)
    false, raw = 0, 0
    for number in range(SWEEPS):
        statistics = sweep(rng, dict.fromkeys(arms, 0.0), seeds=3, seed_spread=0.05, lean=0.1)
        runs = resample(EXACT, statistics, num_replicates=250, seed=number)
        p_values = [contrast(runs, weights).p for weights in family]
        raw += any(p is not None and p < 0.05 for p in p_values)
        false += any(p is not None and p < 0.05 for p in holm(p_values))
    assert false <= max(NOMINAL) < raw


# Holm


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_out_what_has_no_p() -> None:
    assert holm([None, 0.04, None, 0.01]) == [None, pytest.approx(0.04), None, pytest.approx(0.02)]
    assert holm([None]) == [None]


# One run against another


REFERENCES = [f"the {word} cat sat on mat number {number}." for number in range(20) for word in ("red", "blue")]
BASELINE = [ref.replace("sat", "lay") if number % 3 else ref for number, ref in enumerate(REFERENCES)]
SYSTEM = [ref.replace("red", "pink") if number % 5 else ref for number, ref in enumerate(REFERENCES)]


@pytest.mark.parametrize("environment", ["none", "0", "77", None])
def test_paired_tests_are_sacrebleus_whatever_the_environment_says(
    environment: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [("baseline", BASELINE), ("system", SYSTEM)]
    expected = []
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    for metric, name in ((BLEU, "BLEU"), (CHRF, "chrF2")):
        for option in ("bs", "ar"):
            signatures, results = PairedTest(named, {name: metric()}, [REFERENCES], option, 200)()
            expected.append((results[name][1].p_value, str(signatures[name])))  # type: ignore[union-attr]
    if environment is None:
        monkeypatch.delenv("SACREBLEU_SEED")
    else:
        monkeypatch.setenv("SACREBLEU_SEED", environment)
    found = paired_tests(BASELINE, SYSTEM, REFERENCES, metrics=["bleu", "chrf"], num_samples=200)
    assert [(result.p, result.signature) for result in found] == expected
    assert [result.test for result in found] == ["bootstrap", "randomization"] * 2
    assert os.environ.get("SACREBLEU_SEED") == environment
    assert found[0].difference == pytest.approx(
        metrics.bleu(SYSTEM, REFERENCES).value - metrics.bleu(BASELINE, REFERENCES).value
    )


def test_exact_match_has_mcnemars_test_and_agrees_with_random_exchanges() -> None:
    (result,) = paired_tests(BASELINE, SYSTEM, REFERENCES, metrics=["exact_match"])
    before, after = (EXACT.statistics(side, REFERENCES)[:, 0] for side in (BASELINE, SYSTEM))
    signs = np.random.default_rng(0).choice([-1, 1], size=(20_000, len(REFERENCES)))
    exchanged = np.abs(signs @ (after - before)) >= abs((after - before).sum())
    assert result.p == pytest.approx(exchanged.mean(), abs=0.01)
    assert result.test == "mcnemar" and "won:" in result.signature
    (same,) = paired_tests(SYSTEM, SYSTEM, REFERENCES, metrics=["exact_match"])
    assert same.p == 1 and same.difference == 0


def test_sacrebleus_bootstrap_p_is_half_of_randomizations() -> None:
    """As the docstring of paired_tests says; a release that changes it is noticed here."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(12):
        sides = [[ref if rng.random() < rate else "a dog" for ref in REFERENCES] for rate in (0.5, 0.7)]
        bootstrap, randomization = paired_tests(*sides, REFERENCES, metrics=["chrf"], num_samples=400)
        ratios.append(bootstrap.p / randomization.p)
    assert 0.3 < np.median(ratios) < 0.75


def test_paired_tests_are_silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    tokenized = [ref.replace(".", " .") for ref in REFERENCES] * 3
    with caplog.at_level(logging.DEBUG):
        paired_tests(tokenized, tokenized, REFERENCES * 3, num_samples=20)
        METRICS["bleu"].statistics(tokenized, REFERENCES * 3)
    assert not caplog.records and capfd.readouterr() == ("", "")
    assert not logging.getLogger("sacrebleu").disabled


def test_paired_tests_refuse_what_they_cannot_do() -> None:
    with pytest.raises(UserError, match="unknown metrics ter; known are bleu, chrf, exact_match"):
        paired_tests(["a"], ["a"], ["a"], metrics=["ter"])
    with pytest.raises(UserError, match="seed must be positive"):
        paired_tests(["a"], ["a"], ["a"], seed=0)
    with pytest.raises(UserError, match="there are 2 hypotheses but 1 references"):
        paired_tests(["a"], ["a", "b"], ["a"])
