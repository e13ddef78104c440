import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.study.contrasts import contrast, reduction, share_of_gain, slope, trend
from lib.study.statistics import StatisticsError, independent, interval, pair, paired_difference, share


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


def normal(*size, seed=0, spread=1.0):
    return np.random.default_rng(seed).normal(0, spread, size)


def test_one_factor_agrees_with_students_t():
    values = normal(20) + 1
    ours, theirs = interval(table(values)), stats.ttest_1samp(values, 0)
    low, high = theirs.confidence_interval()
    assert (ours.ci_low, ours.ci_high) == pytest.approx((low, high))
    assert ours.p() == pytest.approx(theirs.pvalue) and ours.df == pytest.approx(19)
    assert ours.fixed == ("seed", "speaker")
    assert ours.at(0.5) == pytest.approx(tuple(stats.t.interval(0.5, 19, ours.value, ours.se)))


def test_speakers_with_sentences_of_their_own_are_the_units():
    values = normal(1, 12, 5) + normal(1, 12, 1, seed=1)
    expected = stats.ttest_1samp(values.mean(axis=(0, 2)), 0).confidence_interval()
    ours = interval(table(values, speakers=12))
    assert (ours.ci_low, ours.ci_high) == pytest.approx((expected.low, expected.high))


def test_a_pair_of_systems_agrees_with_the_paired_t_test():
    a, b = normal(15, seed=1) + 0.3, normal(15, seed=2)
    ours, theirs = paired_difference(table(a), table(b)), stats.ttest_rel(a, b)
    assert ours.p() == pytest.approx(theirs.pvalue)


def test_different_speakers_agree_with_welchs_test():
    a, b = normal(9, seed=1) + 1, normal(14, seed=2, spread=3)
    ours = independent(interval(table(a)), interval(table(b)))
    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (ours.ci_low, ours.ci_high) == pytest.approx((low, high))


def test_order_of_rows_does_not_matter():
    rows = table(normal(2, 4, 5), 2, 4)
    assert interval(rows).at(0.9) == pytest.approx(interval(rows.sample(frac=1, random_state=0)).at(0.9))


def test_a_single_value_has_no_interval_and_no_p():
    estimate = interval(table([2.5]))
    assert (estimate.value, estimate.ci_low, estimate.ci_high, estimate.dz) == (2.5, None, None, None)
    assert estimate.fixed == ("seed", "speaker", "utterance")
    assert estimate.p() is None and estimate.half_width is None


def test_equal_values_have_an_interval_of_no_width():
    estimate = interval(table(np.full(8, 3.0)))
    assert (estimate.ci_low, estimate.ci_high) == (3.0, 3.0)
    assert estimate.p(3.0) == 1 and estimate.p(2.0) == 0


def test_null_factors_are_one_level():
    rows = table(np.arange(8.0)).assign(seed=pd.array([None] * 8, dtype="Int64"))
    assert interval(rows).seeds == 1


def test_styles_of_a_sentence_are_one_unit():
    means = normal(10)
    rows = table(np.repeat(means, 6)).assign(sentence=np.repeat(np.arange(10), 6))
    expected = stats.ttest_1samp(means, 0).confidence_interval()
    assert interval(rows).at(0.95) == pytest.approx((expected.low, expected.high))
    assert interval(rows).n == 60 and interval(rows).sentences == 10
    assert interval(rows.drop(columns="sentence")).half_width < 0.5 * interval(rows).half_width


def test_what_all_speakers_say_badly_widens_the_interval_when_the_sentence_is_known():
    hard = normal(1, 1, 8, seed=3, spread=3)
    rows = table(np.broadcast_to(hard, (1, 12, 8)) + normal(1, 12, 8), speakers=12)
    shared = rows.assign(sentence=rows["utterance"].str.split("-").str[1])
    assert interval(shared).half_width > 2 * interval(rows).half_width


def test_speakers_with_fewer_utterances_are_weighted_by_what_they_have():
    rows = pd.concat([table([0.0] * 6), table([10.0, 10.0]).assign(speaker="other")])
    assert interval(rows).value == pytest.approx(2.5)


def test_pairing_removes_what_both_systems_share():
    shared = normal(1, 6, 8, spread=10)
    a = table(shared + 1 + normal(*shared.shape, seed=1, spread=0.1), speakers=6)
    b = table(shared + normal(*shared.shape, seed=2, spread=0.1), speakers=6)
    assert paired_difference(a, b).value == pytest.approx(1, abs=0.1)
    assert paired_difference(a, b).half_width < 0.15 and interval(a).half_width > 3


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


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_an_error_that_names_the_utterance(value):
    with pytest.raises(StatisticsError, match="utterance s0-u1 of s0 has no finite value"):
        interval(table([1.0, value, 2.0]))


def test_no_rows_are_an_error():
    with pytest.raises(StatisticsError, match="no rows"):
        interval(table([1.0]).iloc[:0])


def test_a_reduction_is_of_the_means_and_its_interval_covers_it():
    held, true = 0, 40.0
    for repeat in range(150):
        generator = np.random.default_rng(repeat)
        before = generator.gamma(2, 0.2, 60)
        after = before * (1 - true / 100) + generator.normal(0, 0.1, 60)
        estimate = reduction(table(after, speakers=20), table(before, speakers=20))
        assert estimate.value == pytest.approx(100 * (1 - after.mean() / before.mean()))
        held += estimate.ci_low <= true <= estimate.ci_high
    assert 0.92 <= held / 150 <= 0.98
    with pytest.raises(StatisticsError, match="positive quantity"):
        reduction(table([1.0, 1.0]), table([0.0, 0.0]))


def test_the_share_of_a_gain_is_that_of_the_means_in_either_direction():
    base, a, ceiling = normal(30) + 10, normal(30, seed=1) + 13, normal(30, seed=2) + 14
    tables = [table(each, speakers=6) for each in (a, base, ceiling)]
    expected = 100 * (a - base).mean() / (ceiling - base).mean()
    estimate = share_of_gain(*tables)
    assert estimate.value == pytest.approx(expected) and estimate.ci_low < expected < estimate.ci_high
    fewer = [each.assign(value=-each["value"]) for each in tables]
    assert share_of_gain(*fewer, better=-1).ci_low == pytest.approx(estimate.ci_low)
    with pytest.raises(StatisticsError, match="cannot be told that full fine-tuning gains"):
        share_of_gain(*fewer)


def test_slope_recovers_the_gain_of_a_doubling():
    sizes = {2.0: [10.0, 20.0], 8.0: [14.0, 24.0], 32.0: [18.0, 28.0], 128.0: [22.0, 32.0]}
    estimate = slope({size: table(values) for size, values in sizes.items()})
    assert estimate.value == pytest.approx(2.0)
    assert estimate.ci_low == pytest.approx(2.0)
    x, y = np.log2([2, 8, 32, 128]), [75.89, 77.59, 79.38, 80.26]
    published = slope({float(2**i): table([v]) for i, v in zip(x, y, strict=True)})
    assert published.value == pytest.approx(stats.linregress(x, y).slope)
    with pytest.raises(StatisticsError, match="two or more sizes"):
        slope({2.0: table([1.0])})


def test_a_contrast_weighs_systems_pair_by_pair():
    tables = {name: table(normal(8, seed=i)) for i, name in enumerate("abcd")}
    ours = contrast(tables, [1, -1, -1, 1])
    values = [tables[name]["value"].to_numpy() for name in "abcd"]
    expected = stats.ttest_1samp(values[0] - values[1] - values[2] + values[3], 0)
    assert ours.p() == pytest.approx(expected.pvalue)


def test_a_trend_over_speakers_is_linear_regressions_and_its_interval_covers_it():
    held = 0
    for repeat in range(150):
        x = pd.Series(normal(8, seed=repeat), [f"s{i}" for i in range(8)])
        means = 2 * x.to_numpy() + normal(8, seed=1000 + repeat)
        ours = trend(table(np.repeat(means, 3), speakers=8), x)
        assert ours.value == pytest.approx(stats.linregress(x, means).slope)
        held += ours.ci_low <= 2 <= ours.ci_high
    assert 0.92 <= held / 150 <= 0.99
    with pytest.raises(StatisticsError, match="three or more speakers"):
        trend(table([1.0, 2.0], speakers=2), x)


def test_exact_shares_agree_with_the_binomial_quantiles():
    assert share(0, 18)[1] == pytest.approx(1 - 0.025 ** (1 / 18))
    assert share(3, 40)[0] == pytest.approx(stats.beta.ppf(0.025, 3, 38))


def test_differences_that_hardly_ever_happen_are_bounded_exactly():
    nothing = interval(table(np.zeros(20)), largest=1.0)
    assert nothing.ci_high == pytest.approx(1 - 0.025 ** (1 / 20)) and nothing.ci_low == -nothing.ci_high
    rare = interval(table([0.5, 0.2, *np.zeros(18)]), largest=1.0)
    assert rare.ci_high == pytest.approx(share(2, 20)[1]) and rare.p() is None
    assert rare.at(0.99)[1] > rare.ci_high
    often = interval(table([*np.full(6, 0.5), *np.zeros(14)]), largest=1.0)
    assert often.exact is None and often.p() is not None


def test_what_factors_add_to_the_squared_error_sums_to_it():
    estimate = interval(table(normal(4, 6, 5) + normal(4, 1, 1, seed=1), 4, 6))
    assert sum(estimate.terms.values()) == pytest.approx(estimate.se**2)
    nested = {("speaker", "sentence"), ("seed", "speaker", "sentence")}
    assert set(estimate.terms) == {("seed",), ("speaker",), ("seed", "speaker")} | nested


def test_columns_that_pair_stand_side_by_side():
    joined = pair({"a": table(np.arange(12.0), speakers=3), "b": table(np.arange(12.0) + 2, speakers=3)})
    assert np.allclose(joined["b"] - joined["a"], 2) and len(joined) == 12
