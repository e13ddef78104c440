import json

import numpy as np
import pytest

from lib.study import coverage
from lib.study.variance import Design


def design(shape, names=("seed", "speaker", "sentence")):
    codes = dict(zip(names, (index.ravel() for index in np.indices(shape)), strict=True))
    return Design({name: code for name, code in codes.items() if code.max() > 0})


def influence(values):
    return (values - values.mean()).ravel() / values.size


def test_two_crossed_factors_agree_with_the_textbooks_analysis_of_variance():
    y = np.random.default_rng(0).normal(size=(4, 7)) + np.arange(4)[:, None] + 0.5 * np.arange(7)
    rows, columns, mean = y.mean(axis=1, keepdims=True), y.mean(axis=0, keepdims=True), y.mean()
    squares = 7 * np.square(rows - mean).sum() / 3, 4 * np.square(columns - mean).sum() / 6
    residual = np.square(y - rows - columns + mean).sum() / 18
    found = design(y.shape, ("seed", "speaker")).spread(influence(y))
    assert found.variance[0] == pytest.approx((sum(squares) - residual) / 28)
    assert found.terms["seed",][0] == pytest.approx((squares[0] - residual) / 28)
    below = squares[0] ** 2 / 3 + squares[1] ** 2 / 6 + residual**2 / 18
    assert found.df[0] == pytest.approx((sum(squares) - residual) ** 2 / below)


def test_three_crossed_factors_agree_with_expected_mean_squares():
    sizes, deviations = (4, 5, 6), {"seed": 1.0, "speaker": 2.0, "sentence": 0.7}
    generator = np.random.default_rng(1)
    columns = []
    for _ in range(4000):
        y = generator.normal(size=sizes)
        for axis, deviation in enumerate(deviations.values()):
            y = y + generator.normal(0, deviation, [size if i == axis else 1 for i, size in enumerate(sizes)])
        columns.append(influence(y))
    found = design(sizes).spread(np.array(columns).T)
    for (name, deviation), size in zip(deviations.items(), sizes, strict=True):
        assert found.terms[name,].mean() == pytest.approx(deviation**2 / size, rel=0.1)
    assert found.terms["seed", "speaker", "sentence"].mean() == pytest.approx(1 / 120, rel=0.1)


def test_more_rows_in_a_cell_only_share_its_mean():
    y = np.random.default_rng(2).normal(size=(1, 9, 4))
    alone = design((1, 9, 1)).spread(influence(y.mean(axis=2)))
    nested = Design({"speaker": np.repeat(np.arange(9), 4)}).spread(influence(y))
    assert nested.variance[0] == pytest.approx(alone.variance[0]) and nested.df[0] == pytest.approx(8)


def test_missing_cells_and_uneven_speakers_keep_the_coverage():
    generator, held = np.random.default_rng(3), 0
    seed, speaker = (index.ravel() for index in np.indices((4, 8)))
    seed, speaker = np.repeat(seed, 1 + speaker % 3), np.repeat(speaker, 1 + speaker % 3)
    kept = np.arange(len(seed)) != 11
    seed, speaker = seed[kept], speaker[kept]
    values = generator.normal(size=(len(seed), 2000)) + generator.normal(size=(4, 2000))[seed]
    values = values + 2 * generator.normal(size=(8, 2000))[speaker]
    found = Design({"seed": seed, "speaker": speaker}).spread((values - values.mean(axis=0)) / len(values))
    reach = coverage.stats.t.ppf(0.975, np.maximum(found.df, 1)) * np.sqrt(found.variance)
    held = (np.abs(values.mean(axis=0)) <= reach).mean()
    assert 0.93 <= held <= 0.99


def test_equal_values_have_no_variance_and_one_seed_no_seed_term():
    assert design((2, 3, 4)).spread(np.zeros(24)).variance[0] == 0
    assert set(design((1, 3, 1)).clusters) == {("speaker",)}


@pytest.mark.parametrize("shape", [(3, 3, 20), (3, 8, 6), (5, 6, 12)])
@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("spread", ["as in HT", "as in SP", "mostly seeds"])
def test_the_interval_holds_the_truth_as_often_as_it_says(shape, crossed, spread):
    found = coverage.simulate(shape, coverage.SPREADS[spread], crossed, count=1500, seed=1)
    assert 0.925 <= found["coverage"] <= 0.99


def test_one_seed_does_not_cover_what_seeds_change():
    assert coverage.simulate((1, 8, 6), coverage.SPREADS["mostly seeds"], count=1000)["coverage"] < 0.5


def test_the_committed_table_keeps_its_bounds_and_is_what_the_docs_show(tmp_path):
    cells = json.loads(coverage.REFERENCE.read_text(encoding="utf-8"))
    assert coverage.outside(cells) == []
    assert coverage.markdown(cells) in (coverage.ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    few = coverage.coverage(tmp_path / "coverage.json", count=50)
    assert [cell["spread"] for cell in few] == [cell["spread"] for cell in cells]
