"""Misalignment of the two latents, and directions that set what is read."""

import numpy as np
import pandas as pd
import pytest

from lib.papers.ld.diagnostics import WORN, _compared, cca, cka, direction, misalignment, steered, worn
from lib.papers.ld.study import Study
from lib.study.profile import merge


def test_cka_is_one_for_a_rotation_and_about_zero_for_unrelated():
    random = np.random.default_rng(0)
    x = random.standard_normal((200, 8))
    rotation = np.linalg.qr(random.standard_normal((8, 8)))[0]
    assert cka(x, 3 * x @ rotation + 1) == pytest.approx(1.0)
    assert abs(cka(x, random.standard_normal((200, 8)))) < 0.1


def test_cca_is_one_for_an_invertible_map():
    x = np.random.default_rng(0).standard_normal((100, 6))
    assert cca(x, x @ np.diag(np.arange(1.0, 7.0))) == pytest.approx(1.0)


def test_a_path_makes_unrelated_latents_alike_which_the_rows_of_another_sentence_tell(profile, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    made = Study(merge(profile, {"ld": {"data": {"sentences": {"test": 2}}}}))
    made.prepare()
    table = pd.DataFrame(misalignment(made)).query("variant == 'other'")
    assert set(table["metric"]) == {"cka", "cca", "frame_distance", "dtw_cost"} and table["utterance"].nunique() == 2
    random = np.random.default_rng(0)
    unrelated = [np.cumsum(random.standard_normal((80, 4)), 0) for _ in range(2)]
    drawn, warped = (
        row["value"] for row in _compared("s", "other", *unrelated, 10.0) if row["metric"] == "frame_distance"
    )
    assert warped < drawn


def test_shared_durations_have_no_difference_in_length(prepared):
    table = pd.DataFrame(misalignment(prepared))
    shared = table[(table["metric"] == "length_difference") & (table["variant"] == "shared")]
    assert (shared["value"] == 0).all()


def test_the_steering_direction_is_the_likeliest_change_that_raises_the_read_out_by_one():
    random = np.random.default_rng(0)
    mixing = random.standard_normal((5, 5))
    z = random.standard_normal((4000, 5)) @ mixing
    weights = random.standard_normal(5)
    u = direction(z, z @ weights + 3.0, alpha=1e-6)
    assert weights @ u == pytest.approx(1.0, rel=1e-4)
    precision = np.linalg.inv(np.cov(z.T))
    for _ in range(20):  # every other change with the same read-out lies further out
        other = random.standard_normal(5)
        other = u + 0.1 * (other - weights * (weights @ other) / (weights @ weights))
        assert u @ precision @ u < other @ precision @ other


def test_steering_measures_what_is_heard_for_what_was_asked(prepared):
    table = pd.DataFrame(steered(prepared))
    assert set(table["metric"]) == {"steered"} and set(table["variant"]) <= {"f0", "energy"}
    energy = table[table["variant"] == "energy"]
    assert sorted(energy["x"]) == [-8.0, -4.0, 4.0, 8.0] and np.isfinite(energy["value"]).all()


def test_words_of_a_worn_latent_are_counted_for_every_sentence_and_amount(prepared):
    table = pd.DataFrame(worn(prepared))
    sentences = [s.name for s in prepared.corpus.sentences("test")]
    assert list(zip(table["variant"], table["x"], strict=True)) == len(sentences) * [
        (variant, x) for variant, amounts in WORN.items() for x in amounts
    ]
    assert table["utterance"].unique().tolist() == sentences and (table["value"] >= 0).all()
    cer = table.groupby(["variant", "x"])["value"].mean()
    assert cer["noise", 0.5] < 0.3 and cer["mean", 5] < 0.3 < cer["mean", 17]
