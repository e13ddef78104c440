import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.study.statistics import StatisticsError, holm, interval, pair, paired_difference, resample, slope


def table(values, seeds=1, speakers=1):
    """Rows of an array (seeds, speakers, utterances)."""
    values = np.asarray(values, dtype=float).reshape(seeds, speakers, -1)
    seed, speaker, utterance = np.indices(values.shape).reshape(3, -1)
    return pd.DataFrame(
        {
            "seed": seed,
            "speaker": [f"s{i}" for i in speaker],
            "utterance": [f"s{s}-u{u}" for s, u in zip(speaker, utterance, strict=True)],
            "value": values.ravel(),
        }
    )


def simulated(generator, seeds, speakers, utterances, spread):
    """Zero-mean values with standard deviations of seeds, speakers, utterances and noise."""
    size = (seeds, speakers, utterances)
    shapes = [(seeds, 1, 1), (1, speakers, 1), (1, speakers, utterances), size]
    return sum(generator.normal(0, s, shape) for s, shape in zip(spread, shapes, strict=True)) + np.zeros(size)


def test_one_speaker_and_seed_agree_with_scipy():
    values = np.random.default_rng(0).gamma(2, 3, size=60)
    ours = interval(table(values), draws=8000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=8000, method="percentile", rng=1).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert ours.ci_low == pytest.approx(theirs.low, abs=0.1)
    assert ours.ci_high == pytest.approx(theirs.high, abs=0.1)
    assert ours.fixed == ("seed", "speaker")


def test_speakers_count_when_utterances_of_a_speaker_agree():
    means = np.random.default_rng(1).normal(0, 1, size=12)
    estimate = interval(table(np.repeat(means, 5), speakers=12), draws=6000)
    expected = means.std(ddof=1) / np.sqrt(12)
    assert estimate.draws.std() == pytest.approx(expected, rel=0.05)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    covered = 0
    for repeat in range(150):
        values = simulated(np.random.default_rng(repeat), 3, 8, 6, (0.3, 1, 3, 1))
        estimate = interval(table(values, 3, 8), draws=300, seed=repeat)
        covered += estimate.ci_low <= 0 <= estimate.ci_high
    assert 0.91 <= covered / 150 <= 0.99


def test_same_seed_same_draws_and_another_seed_others():
    rows = table(np.random.default_rng(2).normal(size=(2, 4, 5)), 2, 4)
    assert np.array_equal(interval(rows, seed=3).draws, interval(rows, seed=3).draws)
    assert not np.array_equal(interval(rows, seed=3).draws, interval(rows, seed=4).draws)


def test_order_of_rows_does_not_matter():
    rows = table(np.random.default_rng(2).normal(size=(2, 4, 5)), 2, 4)
    shuffled = rows.sample(frac=1, random_state=0)
    assert np.array_equal(interval(rows).draws, interval(shuffled).draws)


def test_a_single_value_has_no_interval():
    estimate = interval(table([2.5]))
    assert (estimate.value, estimate.ci_low, estimate.ci_high, estimate.dz) == (2.5, None, None, None)
    assert estimate.fixed == ("seed", "speaker", "utterance")


def test_null_factors_are_one_level():
    rows = table(np.arange(8.0)).assign(seed=pd.array([None] * 8, dtype="Int64"))
    assert interval(rows).seeds == 1


def test_speakers_with_fewer_utterances_are_weighted_by_what_they_have():
    rows = pd.concat([table([0.0] * 6), table([10.0, 10.0]).assign(speaker="other")])
    estimate = interval(rows, draws=500)
    assert estimate.value == pytest.approx(2.5)
    assert np.isin(estimate.draws, [0.0, 10.0]).all()  # one of the two speakers is drawn


def test_pairing_removes_what_both_systems_share():
    generator = np.random.default_rng(5)
    shared = generator.normal(0, 10, size=(1, 6, 8))
    a = table(shared + 1 + generator.normal(0, 0.1, shared.shape), speakers=6)
    b = table(shared + generator.normal(0, 0.1, shared.shape), speakers=6)
    difference = paired_difference(a, b)
    assert difference.value == pytest.approx(1, abs=0.1)
    assert difference.ci_high - difference.ci_low < 0.3
    assert interval(a).ci_high - interval(a).ci_low > 3


def test_effect_size_is_the_mean_over_the_deviation_of_the_pairs():
    a, b = table([3.0, 5.0, 4.0, 6.0]), table([1.0, 2.0, 3.0, 2.0])
    pairs = np.array([2.0, 3.0, 1.0, 4.0])
    assert paired_difference(a, b).dz == pytest.approx(pairs.mean() / pairs.std(ddof=1))


def test_a_system_without_seeds_of_its_own_serves_every_seed():
    a = table([[1.0, 2.0], [3.0, 4.0]], seeds=2)
    b = table([1.0, 1.0])
    assert paired_difference(a, b, on=["speaker", "utterance"]).value == pytest.approx(1.5)
    assert paired_difference(a, b, on=["speaker", "utterance"]).seeds == 2
    assert paired_difference(a, b).seeds == 1


def test_nothing_in_common_is_an_error_that_names_the_fix():
    with pytest.raises(StatisticsError, match="nothing pairs on.*same utterances"):
        paired_difference(table([1.0]), table([1.0]).assign(utterance="other"))


def test_two_values_where_one_is_expected_are_an_error():
    with pytest.raises(StatisticsError, match="two values"):
        interval(pd.concat([table([1.0]), table([2.0])]))


def test_slope_recovers_the_gain_of_a_doubling():
    sizes = {2.0: [10.0, 20.0], 8.0: [14.0, 24.0], 32.0: [18.0, 28.0], 128.0: [22.0, 32.0]}
    estimate = slope({size: table(values) for size, values in sizes.items()})
    assert estimate.value == pytest.approx(2.0)
    assert estimate.ci_low == pytest.approx(2.0)
    x, y = np.log2([2, 8, 32, 128]), [75.89, 77.59, 79.38, 80.26]
    published = slope({float(2**i): table([v]) for i, v in zip(x, y, strict=True)})
    assert published.value == pytest.approx(stats.linregress(x, y).slope)


def test_p_value_of_an_effect_and_of_none():
    values = np.random.default_rng(6).normal(0, 1, size=200)
    estimate = interval(table(values), draws=2000)
    t = stats.ttest_1samp(values, 0.15).pvalue
    assert estimate.p(0.15) == pytest.approx(t, abs=0.03)
    assert estimate.p(5.0) == pytest.approx(2 / 2001)
    assert estimate.p(estimate.value) > 0.9


def test_holm_agrees_with_the_definition():
    p = [0.01, 0.04, 0.03, 0.005]
    literal = []
    for value in p:  # the largest (m - j + 1) p_(j) over the p values up to this one
        smaller = [(len(p) - rank) * q for rank, q in enumerate(sorted(p)) if q <= value]
        literal.append(min(1.0, max(smaller)))
    assert holm(p) == pytest.approx(literal)
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_columns_drawn_together_keep_their_relation():
    joined = pair({"a": table(np.arange(12.0), speakers=3), "b": table(np.arange(12.0) + 2, speakers=3)})
    draws, fixed = resample(joined, ["a", "b"], draws=100)
    assert np.allclose(draws[:, 1] - draws[:, 0], 2)
    assert fixed == ("seed",)
